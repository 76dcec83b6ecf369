# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The one place that makes foreign text safe for a terminal.

Names in homes and archives, processes' names and everything in another host's snapshot may hold escape sequences,
control characters, and characters that reorder or hide text. Widgets, toasts, titles, ``--print`` and messages on
stderr show such text through :func:`visible`; the clipboard gets it through :func:`quoted`.
"""

from __future__ import annotations

import functools
import os
import unicodedata

from overlay2.errors import printable

#: Printable characters that show nothing: Default_Ignorable_Code_Point of Unicode, less what ``printable`` escapes.
_BLANK = frozenset((0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0))
_BLANK_RANGES = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0000, 0xE1000))
#: So many combining marks stand on one character at most; more would be drawn over other lines.
_MOST_MARKS = 3


def visible(text: object) -> str:
    """Foreign text as one line without anything that a terminal obeys or hides.

    C0 and C1 controls, DEL, line breaks, bidirectional and zero-width characters, surrogates (bytes that are not UTF-8)
    and combining marks without a base are escaped as Python writes them. Idempotent.
    """
    if not isinstance(text, str):
        text = os.fsdecode(text) if isinstance(text, bytes) else str(text)
    if text.isascii() and text.isprintable():
        return text
    return _escaped(text)


@functools.lru_cache(maxsize=4096)
def _escaped(text: str) -> str:
    shown, marks = [], _MOST_MARKS
    for character in printable(text):
        if character.isascii():
            marks = 0
        elif unicodedata.category(character) in ("Mn", "Me"):
            marks += 1
        else:
            marks = 0
        shown.append(_escape(character) if marks > _MOST_MARKS or _is_blank(ord(character)) else character)
    return "".join(shown)


def _is_blank(code: int) -> bool:
    return code in _BLANK or (code >= 0x180B and any(code in blank for blank in _BLANK_RANGES))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def quoted(path: str) -> str:
    """A path for the clipboard: as it is, or as bash's ``$'...'`` if it holds anything that :func:`visible` escapes.

    Either form names the file when it is pasted into a shell, and neither can run anything there by a line break.
    """
    if visible(path) == path:
        return path
    escaped = []
    for byte in os.fsencode(path):
        character = chr(byte)
        if character in "'\\":
            escaped.append("\\" + character)
        else:
            escaped.append(character if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")
    return "$'" + "".join(escaped) + "'"
