# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What a terminal may be given of names that strangers chose."""

from __future__ import annotations

import os
import subprocess
import unicodedata

import pytest
from overlay2_tui.model.plain import quoted, visible
from support.hostile import NAMES, is_safe

#: All but the ideographs and the private planes, of which there are too many.
MOST = [chr(code) for code in (*range(0x3500), *range(0xD700, 0x20000), *range(0xE0000, 0xE1000), 0x10FFFF)]


def test_no_character_that_a_terminal_obeys_or_hides_is_left():
    for character in MOST:
        shown = visible(f"a{character}b")
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            assert shown.isascii(), hex(ord(character))
        assert is_safe(shown), hex(ord(character))


def test_ordinary_text_of_any_language_is_left_alone():
    for text in (
        "etc/motd",
        "Grüße",
        "日本語",
        "한국어",
        "עברית",
        "ไทย",
        "e\N{COMBINING ACUTE ACCENT}",
        "│  ├─ ↳ ● ×2 …",
    ):
        assert visible(text) == text


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names(name):
    shown = visible(name)
    assert is_safe(shown)
    assert visible(shown) == shown
    assert visible(os.fsencode(name)) == shown


def test_combining_marks_stay_within_their_line():
    mark = "\N{COMBINING ACUTE ACCENT}"
    assert visible(mark + "a") == "\\u0301a"
    assert visible("a" + mark * 5) == "a" + mark * 3 + "\\u0301" * 2


@pytest.mark.parametrize("name", [name for name in NAMES if "\0" not in name])
def test_the_clipboard_s_form_names_the_same_file_in_a_shell(name):
    path = "/srv/it's\\here/" + name
    text = quoted(path)
    assert is_safe(text)
    if text != path:
        done = subprocess.run(["bash", "-c", f"printf %s {text}"], capture_output=True, check=True)
        assert done.stdout == os.fsencode(path)
    assert quoted("/srv/a b") == "/srv/a b"
