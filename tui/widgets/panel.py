# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A scrolling panel of text with a title."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import Static

from .spans import Line, content, cut, hang

#: Cells of a title; the border cuts what does not fit.
_MOST_TITLE = 200


class Panel(VerticalScroll):
    """Shows lines; long ones are wrapped."""

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

    def __init__(self, title: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.set_title(title)
        self._lines: Sequence[Line] | None = None

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)

    def set_title(self, title: str) -> None:
        """The title, which may be a stranger's text."""
        self.border_title = content(cut(title, _MOST_TITLE))

    def set_lines(self, lines: Sequence[Line]) -> None:
        """Show these lines. If they are shown already nothing happens, so the scroll position is kept."""
        if lines != self._lines:
            self._lines = lines
            self._wrap()

    def on_resize(self) -> None:
        self._wrap()

    def _wrap(self) -> None:
        # One cell is left for a scrollbar.
        width = self.size.width - 1
        wrapped = [part for line in self._lines or () for part in (hang(line, width) if width > 0 else [line])]
        self.query_one(Static).update(content(*wrapped))
