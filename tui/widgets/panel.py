# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A scrolling panel of text with a title: details, sentences, facts."""

from __future__ import annotations

from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import Static

from .spans import content, cut, hang

#: Cells of a title; the border cuts what does not fit.
_MOST_TITLE = 200


class Panel(VerticalScroll):
    """Shows lines (see ``spans``); long ones are wrapped."""

    DEFAULT_CSS = """
    Panel {
        border: round $foreground 30%;
        border-title-color: $text-primary;
        padding: 0 1;
        height: 1fr;
        scrollbar-size-vertical: 1;
        &:focus { border: round $border; }
        & > Static { height: auto; width: 1fr; }
    }
    """

    BINDINGS = [
        Binding("k", "scroll_up", "Up", show=False, tooltip="One line up"),
        Binding("j", "scroll_down", "Down", show=False, tooltip="One line down"),
    ]

    def __init__(self, title, *, id=None):
        super().__init__(id=id)
        self.set_title(title)
        self._lines = None

    def compose(self):
        yield Static("", markup=False)

    def set_title(self, title):
        """The title, which may be a stranger's text."""
        self.border_title = content(cut(title, _MOST_TITLE))

    def set_lines(self, lines):
        """Show these; nothing happens where they are shown already, so that the scroll position stays."""
        if lines != self._lines:
            self._lines = lines
            self._wrap()

    def on_resize(self):
        self._wrap()

    def _wrap(self):
        # One cell is left for the scrollbar that may come.
        width = self.size.width - 1
        wrapped = [part for line in self._lines or () for part in (hang(line, width) if width > 0 else [line])]
        self.query_one(Static).update(content(*wrapped))
