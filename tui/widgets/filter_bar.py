# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The line for typing a filter, with the number of rows that match."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Input, Static

#: What may be typed or pasted: no control characters, no bidirectional and zero-width ones.
PLAIN_INPUT = (
    r"[^\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ud800-\udfff\ufe00-\ufe0f\u3164\U000e0000-\U000e0fff]*"
)


class FilterInput(Input):
    """The input of the :class:`FilterBar`."""

    BINDINGS = [
        Binding("enter", "submit", "Keep", tooltip="Keep the filter and go to the list"),
        Binding("down,up", "submit", "To the list", show=False, tooltip="Keep the filter and go to the list"),
    ]


class FilterBar(Widget):
    """Hidden until it is opened. Typing posts Textual's own ``Input.Changed`` and ``Input.Submitted``."""

    DEFAULT_CSS = """
    FilterBar {
        dock: bottom;
        layout: horizontal;
        height: 1;
        padding: 0 1;
        background: $boost;
        display: none;
        & > .filter--sign { width: 2; color: $text-accent; }
        & > .filter--count { width: auto; color: $foreground-muted; }
        & > FilterInput, & > FilterInput:focus { width: 1fr; border: none; padding: 0; background: transparent; }
    }
    """

    def __init__(self, placeholder: str) -> None:
        super().__init__()
        self._placeholder = placeholder

    def compose(self) -> ComposeResult:
        yield Static("/", classes="filter--sign", markup=False)
        yield FilterInput(placeholder=self._placeholder, compact=True, restrict=PLAIN_INPUT)
        yield Static("", classes="filter--count", markup=False)

    @property
    def input(self) -> FilterInput:
        """The :class:`FilterInput`."""
        return self.query_one(FilterInput)

    def open(self) -> None:
        """Show it and give it the focus."""
        self.display = True
        self.screen.set_focus(self.input)

    def clear(self) -> None:
        """Clear the filter and hide."""
        self.input.value = ""
        self.display = False

    def count(self, shown: int, of: int) -> None:
        """Show how many rows match."""
        self.query_one(".filter--count", Static).update(f" {shown} of {of}" if self.input.value.strip() else "")
