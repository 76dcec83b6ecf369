# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A list of any length with columns, a cursor and a fixed header. Only the lines on the screen are ever rendered."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from .spans import Line, Span, fit, plain

_MEANINGS = ("dim", "strong", "accent", "good", "warn", "bad", "title")


class Column(NamedTuple):
    """One column. The one of width 0 takes the rest of the width."""

    title: str
    width: int
    right: bool = False
    #: Hide it on a narrower grid (cells).
    from_width: int = 0
    #: What a click on its header asks for.
    key: str = ""


class Grid(ScrollView, can_focus=True):
    """Base of all lists. A subclass gives the cells of a row in :meth:`cells`.

    Rows are identified by keys: cursor and scroll position stay with their row when an update moves it.
    """

    COMPONENT_CLASSES = {"grid--header", "grid--cursor", *(f"grid--{meaning}" for meaning in _MEANINGS)}

    DEFAULT_CSS = """
    Grid {
        height: 1fr;
        background: $background;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        & > .grid--header { color: $foreground-muted; background: $surface; text-style: bold; }
        & > .grid--cursor { background: $surface-lighten-1; text-style: bold; }
        &:focus > .grid--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
        & > .grid--dim { color: $foreground-muted; }
        & > .grid--strong { text-style: bold; }
        & > .grid--accent { color: $text-primary; }
        & > .grid--good { color: $text-success; }
        & > .grid--warn { color: $text-warning; }
        & > .grid--bad { color: $text-error; }
        & > .grid--title { color: $text-primary; text-style: bold; }
        &:nocolor > .grid--cursor { text-style: reverse; }
    }
    """

    BINDINGS = [
        Binding("up,k", "move(-1)", "Up", show=False, tooltip="One line up"),
        Binding("down,j", "move(1)", "Down", show=False, tooltip="One line down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, tooltip="One page up"),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, tooltip="One page down"),
        Binding("home,g", "first", "First", show=False, tooltip="To the first line"),
        Binding("end,G", "last", "Last", show=False, tooltip="To the last line"),
        Binding("enter", "open", "Open", tooltip="Open the item under the cursor"),
    ]

    cursor = reactive(0)

    class _About(Message):
        """Something happened to a row or a column, named by its key."""

        def __init__(self, grid: Grid, key: str) -> None:
            super().__init__()
            self.grid, self.key = grid, key

        @property
        def control(self) -> Grid:
            return self.grid

    class Highlighted(_About):
        """The cursor is on another row; ``key`` is "" if there is none."""

    class Opened(_About):
        """Enter was pressed on a row, or it was clicked twice."""

    class HeaderClicked(_About):
        """The header of a column with a key was clicked."""

    def __init__(self, columns: Sequence[Column], *, id: str | None = None, empty: str = "Nothing to show.") -> None:
        super().__init__(id=id)
        self.columns = columns
        self.empty = empty
        self.keys: list[str] = []
        self._places: dict[str, int] = {}

    # What a subclass fills in

    def cells(self, key: str) -> Sequence[Line]:
        """The cells of a row, one for each column."""
        raise NotImplementedError

    def sorted_by(self) -> str:
        """The key of the column to mark as the one that sorts; ""."""
        return ""

    def has_use_for(self, column: Column) -> bool:
        """Whether a column shows."""
        return self.size.width >= column.from_width

    # Rows

    def set_keys(self, keys: list[str]) -> None:
        """Show these rows. Cursor and scroll position stay with their row, or in place if it is gone."""
        old = self.current
        height = self.cursor - self.scroll_offset.y
        self.keys = keys
        self._places = {key: place for place, key in enumerate(keys)}
        self.virtual_size = Size(self.size.width, len(keys) + 1)
        place = self._places.get(old or "", min(self.cursor, max(0, len(keys) - 1)))
        moved = place != self.cursor
        if moved:
            self.set_reactive(Grid.cursor, place)
            self.scroll_to(y=place - height, animate=False, immediate=True)
        if self.current != old:
            self.post_message(self.Highlighted(self, self.current or ""))
        self.refresh()

    @property
    def current(self) -> str | None:
        """The key of the row under the cursor; None if there are no rows."""
        return self.keys[self.cursor] if self.cursor < len(self.keys) else None

    def go_to(self, key: str) -> bool:
        """Put the cursor on a row; returns whether there is such a row."""
        place = self._places.get(key)
        if place is None:
            return False
        self.cursor = place
        return True

    def validate_cursor(self, place: int) -> int:
        return max(0, min(place, len(self.keys) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        if old != new:
            self._show_cursor()
            self.refresh()
            self.post_message(self.Highlighted(self, self.current or ""))

    def _show_cursor(self) -> None:
        # The header covers the uppermost line of what is scrolled.
        top, rows = self.scroll_offset.y, max(1, self.size.height - 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + rows:
            self.scroll_to(y=self.cursor - rows + 1, animate=False, immediate=True)

    def on_resize(self, event: events.Resize) -> None:
        self.virtual_size = Size(event.size.width, len(self.keys) + 1)
        self._show_cursor()

    # Rendering

    def _widths(self) -> list[tuple[int, Column, int]]:
        """The columns that fit: (index, column, width)."""
        total = self.size.width
        shown = [(at, column) for at, column in enumerate(self.columns) if self.has_use_for(column)]
        taken = sum(column.width for _at, column in shown if column.width) + 2 * (len(shown) - 1) + 2
        return [(at, column, column.width or max(8, total - taken)) for at, column in shown]

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            return self._strip(self._header(), "grid--header", width)
        place = y - 1 + self.scroll_offset.y
        if place >= len(self.keys):
            lines = textwrap.wrap(self.empty, max(1, width - 4)) if not self.keys else []
            text = lines[y - 2] if 2 <= y < len(lines) + 2 else ""
            return self._strip([(f"  {text}", "dim")], "", width)
        line: list[Span] = []
        for at, column, size in self._columns_of(self.cells(self.keys[place])):
            line += [(" " if not line else "  ", ""), *fit(at, size, column.right)]
        return self._strip(line, "grid--cursor" if place == self.cursor else "", width)

    def _columns_of(self, cells: Sequence[Line]) -> list[tuple[Line, Column, int]]:
        return [(cells[at], column, size) for at, column, size in self._widths()]

    def _header(self) -> list[Span]:
        line: list[Span] = []
        for _at, column, size in self._widths():
            title = column.title + (" ▾" if column.key and column.key == self.sorted_by() else "")
            line += [(" " if not line else "  ", ""), *fit(title, size, column.right)]
        return line

    def _strip(self, line: list[Span], row_class: str, width: int) -> Strip:
        base = self.rich_style
        row = base + self.get_component_rich_style(row_class, partial=True) if row_class else base
        on_cursor = row_class == "grid--cursor" and self.has_focus
        segments = []
        for text, meaning in line:
            style = row
            if meaning and not on_cursor:
                style = row + self._foreground(meaning)
            segments.append(Segment(text, style))
        return Strip(segments).adjust_cell_length(width, row)

    def _foreground(self, meaning: str) -> Style:
        style = self.get_component_rich_style(f"grid--{meaning}")  # not partial: that would lose what fades it
        return Style(color=style.color, bold=style.bold)

    # Input

    def action_move(self, lines: int) -> None:
        self.cursor += lines

    def action_page(self, pages: int) -> None:
        self.cursor += pages * max(1, self.size.height - 2)

    def action_first(self) -> None:
        self.cursor = 0

    def action_last(self) -> None:
        self.cursor = len(self.keys) - 1

    def action_open(self) -> None:
        if self.current is not None:
            self.post_message(self.Opened(self, self.current))

    def on_click(self, event: events.Click) -> None:
        self.focus()
        if event.y == 0:
            self._click_header(event.x)
            return
        place = event.y - 1 + self.scroll_offset.y
        if place < len(self.keys):
            self.cursor = place
            if event.chain == 2:
                self.action_open()

    def _click_header(self, x: int) -> None:
        left = 1
        for _at, column, size in self._widths():
            if left <= x < left + size + 2:
                if column.key:
                    self.post_message(self.HeaderClicked(self, column.key))
                return
            left += size + 2

    # Export

    def text(self) -> list[str]:
        """All rows and columns as plain lines, the header first."""
        rows = [[column.title for column in self.columns]]
        rows += [[plain(cell) for cell in self.cells(key)] for key in self.keys]
        widths = [max(map(cell_len, cells)) for cells in zip(*rows)]
        lines = []
        for row in rows:
            fitted = [plain(fit(cell, width, column.right)) for cell, width, column in zip(row, widths, self.columns)]
            lines.append("  ".join(fitted).rstrip())
        return lines
