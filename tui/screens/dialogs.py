# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Small questions and the help, over whatever screen is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Optional

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label

from ..model.plain import visible
from ..widgets.filter_bar import PLAIN_INPUT
from ..widgets.grid import Column, Grid
from ..widgets.panel import Panel
from ..widgets.spans import Line, content, cut

#: Cells of a question or title.
_MOST_WORDS = 200


class Ask(ModalScreen[Optional[str]]):
    """Asks for one line; returns it, or None."""

    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel", tooltip="Close without doing anything")]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question, self._value = question, value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(content(cut(self._question, _MOST_WORDS)))
            yield Input(visible(self._value), select_on_focus=False, restrict=PLAIN_INPUT)

    def on_input_submitted(self, message: Input.Submitted) -> None:
        message.stop()
        self.dismiss(message.value)


class PickGrid(Grid):
    """The rows of a :class:`Pick`."""

    def __init__(self, columns: Sequence[Column], rows: Mapping[str, Sequence[Line]]) -> None:
        super().__init__(columns)
        self._cells = rows

    def cells(self, key: str) -> Sequence[Line]:
        return self._cells[key]


class Pick(ModalScreen[Optional[str]]):
    """Offers the rows of a list; returns the key of the chosen one, or None.

    :param rows: the cells of each row by its key.
    """

    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel", tooltip="Close without doing anything")]

    def __init__(self, title: str, columns: Sequence[Column], rows: Mapping[str, Sequence[Line]]) -> None:
        super().__init__()
        self._title, self._columns, self._rows = title, columns, rows

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -list"):
            yield Label(content(cut(self._title, _MOST_WORDS)))
            yield PickGrid(self._columns, self._rows)
            yield Label("Enter goes to the layer, Esc cancels.", classes="-hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(PickGrid).set_keys(list(self._rows))

    def on_grid_highlighted(self, message: Grid.Highlighted) -> None:
        message.stop()

    def on_grid_opened(self, message: Grid.Opened) -> None:
        message.stop()
        self.dismiss(message.key)


class Help(ModalScreen[None]):
    """The purpose of the screen and all keys, made from the bindings."""

    BINDINGS = [Binding("escape,question_mark,q", "dismiss", "Close", tooltip="Back to the screen")]
    AUTO_FOCUS = "Panel"

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall"):
            yield Panel("Help (Esc closes it)")

    def on_mount(self) -> None:
        self.query_one(Panel).set_lines(self._lines)


#: A part of the help: its title, a text, the bindings.
Section = tuple[str, str, Sequence[Binding]]

#: Keys as people write them.
_NAMES = {
    "slash": "/", "question_mark": "?", "left_square_bracket": "[", "right_square_bracket": "]", "escape": "Esc",
    "enter": "Enter", "space": "Space", "pageup": "PgUp", "pagedown": "PgDn", "up": "↑", "down": "↓", "left": "←",
    "right": "→", "home": "Home", "end": "End", "tab": "Tab", "shift+tab": "Shift+Tab",
}  # fmt: skip


def key_name(key: str) -> str:
    """A key as people write it."""
    if key in _NAMES:
        return _NAMES[key]
    return key.replace("ctrl+", "Ctrl+").replace("shift+", "Shift+")


def by_command(bindings: Iterable[Binding]) -> dict[tuple[str, str], list[str]]:
    """The keys of each command, which is named by its description and tooltip."""
    keys: dict[tuple[str, str], list[str]] = {}
    for binding in bindings:
        keys.setdefault((binding.description, binding.tooltip), []).append(binding.key)
    return keys


def help_lines(sections: Iterable[Section]) -> list[Line]:
    """The help: each command once, with all its keys."""
    lines: list[Line] = []
    for title, text, bindings in sections:
        commands = by_command(bindings)
        if not commands and not text:
            continue
        lines += [(title, "title")]
        if text:
            lines.append((text, ""))
        for (_description, tooltip), keys in commands.items():
            lines.append([(f"  {' '.join(map(key_name, keys)):<14}", "accent"), (tooltip, "")])
        lines.append("")
    return lines[:-1]
