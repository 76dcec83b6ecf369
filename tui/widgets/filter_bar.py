# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The line in which a filter is typed, with how many rows match it."""

from __future__ import annotations

from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Input, Static

#: What may be typed or pasted: no control characters, no bidirectional and zero-width ones.
PLAIN_INPUT = r"[^\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]*"


class FilterInput(Input):
    """The text itself."""

    BINDINGS = [
        Binding("enter", "submit", "Keep", tooltip="Back to the list, with the filter in force"),
        Binding("down,up", "submit", "To the list", show=False, tooltip="Back to the list, with the filter in force"),
    ]


class FilterBar(Widget):
    """Hidden until it is opened. What is typed is told by Textual's own ``Input.Changed`` and ``Input.Submitted``."""

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

    def __init__(self, placeholder):
        super().__init__()
        self._placeholder = placeholder

    def compose(self):
        yield Static("/", classes="filter--sign", markup=False)
        yield FilterInput(placeholder=self._placeholder, compact=True, restrict=PLAIN_INPUT)
        yield Static("", classes="filter--count", markup=False)

    @property
    def input(self):
        """The :class:`FilterInput`."""
        return self.query_one(FilterInput)

    def open(self):
        """Show it, to be typed in."""
        self.display = True
        # At once, as focus() is not: keys that are typed fast would go to the list, which takes them for its own.
        self.screen.set_focus(self.input)

    def clear(self):
        """Forget the filter and hide."""
        self.input.value = ""
        self.display = False

    def count(self, shown, of):
        """Say how many rows match."""
        self.query_one(".filter--count", Static).update(f" {shown} of {of}" if self.input.value.strip() else "")
