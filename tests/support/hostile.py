# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Names that do harm where they reach a terminal raw, or are read as markup."""

from __future__ import annotations

import os
import unicodedata

#: The markup names run this action of an app that has it.
ACTION = "pwn"

NAMES = (
    "[@click=app.pwn]x[/]",
    "[@click=app.pwn]",
    "[/x]",
    "[red]x",
    "[bold",
    "\\[/x]",
    "$primary",
    "a\x1b]52;c;cHduZWQ=\x07b",
    "a\x1b]2;PWNED\x1b\\b",
    "a\x1b[31mb",
    "a\x1bPqb\x1b\\",
    "a\x9b31mb\x9d2;PWNED\x9c",
    "a\rb\nc\td\x08e\x0ef\x7fg",
    "a\nProblems none",
    "\u202etxt.exe\u2066x\u2069",
    "a\u200bb\u200dc\ufeffd\u2060e\u00ade",
    "\N{COMBINING ACUTE ACCENT}" * 40,
    "日本語の名前" * 8,
    os.fsdecode(b"caf\xe9\xff\xfe"),
    "a\N{LINE SEPARATOR}b\N{PARAGRAPH SEPARATOR}c\x85d",
    "\N{HANGUL FILLER}\N{VARIATION SELECTOR-16}\N{TAG LATIN SMALL LETTER A}",
    "x" * 4000,
)


def is_safe(text):
    """Whether text holds nothing but what shows as itself in one line (bool)."""
    return all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in text)
