# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""docs/tui.md tells the keys that there are, and its picture is what the program draws."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts/tui_page.py"


@pytest.fixture(scope="module")
def tui_page():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("tui_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(svg):
    """What stands in a picture (list of str); its colours and fonts are Textual's affair."""
    return [html.unescape(text).replace("\xa0", " ").strip() for text in re.findall(r"<text[^>]*>([^<]*)", svg)]


def test_the_page_has_every_key(tui_page):
    text = tui_page.PAGE.read_text(encoding="utf-8")
    assert text == tui_page.page(text), "run scripts/tui_page.py"
    assert "| `d` | Go to a child of this layer |" in text


def test_the_picture_is_the_programs_own(tui_page):
    kept = tui_page.PICTURE.read_text(encoding="utf-8")
    assert words(kept) == words(tui_page.picture()), "run scripts/tui_page.py"
    assert "http" not in kept.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")
