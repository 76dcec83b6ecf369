# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Small questions and the help, over whatever screen is there."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label

from ..model.plain import visible
from ..widgets.filter_bar import PLAIN_INPUT
from ..widgets.grid import Grid
from ..widgets.panel import Panel
from ..widgets.spans import content, cut

#: Cells of a question or title.
_MOST_WORDS = 200


class Ask(ModalScreen):
    """Asks for one line; gives it, or None."""

    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel", tooltip="Leave things as they are")]

    def __init__(self, question, value=""):
        super().__init__()
        self._question, self._value = question, value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(content(cut(self._question, _MOST_WORDS)))
            yield Input(visible(self._value), select_on_focus=False, restrict=PLAIN_INPUT)

    def on_input_submitted(self, message: Input.Submitted):
        message.stop()
        self.dismiss(message.value)


class PickGrid(Grid):
    """The rows of a :class:`Pick`."""

    def __init__(self, columns, rows):
        super().__init__(columns)
        self._cells = rows

    def cells(self, key):
        return self._cells[key]


class Pick(ModalScreen):
    """Offers rows of a list; gives the key of the chosen one, or None.

    :param columns: list of :class:`~..widgets.grid.Column`.
    :param rows: dict of key to cells.
    """

    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel", tooltip="Leave things as they are")]

    def __init__(self, title, columns, rows):
        super().__init__()
        self._title, self._columns, self._rows = title, columns, rows

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -list"):
            yield Label(content(cut(self._title, _MOST_WORDS)))
            yield PickGrid(self._columns, self._rows)
            yield Label("Enter goes there, Esc stays here.", classes="-hint", markup=False)

    def on_mount(self):
        self.query_one(PickGrid).set_keys(list(self._rows))

    def on_grid_highlighted(self, message: Grid.Highlighted):
        message.stop()

    def on_grid_opened(self, message: Grid.Opened):
        message.stop()
        self.dismiss(message.key)


class Help(ModalScreen):
    """What the screen is for and which keys there are, made from the bindings themselves."""

    BINDINGS = [Binding("escape,question_mark,q", "dismiss", "Close", tooltip="Back to the screen")]
    AUTO_FOCUS = "Panel"

    def __init__(self, lines):
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall"):
            yield Panel("Help (escape closes it)")

    def on_mount(self):
        self.query_one(Panel).set_lines(self._lines)


#: Keys as people write them.
_NAMES = {
    "slash": "/", "question_mark": "?", "left_square_bracket": "[", "right_square_bracket": "]", "escape": "Esc",
    "enter": "Enter", "space": "Space", "pageup": "PgUp", "pagedown": "PgDn", "up": "↑", "down": "↓", "left": "←",
    "right": "→", "home": "Home", "end": "End", "tab": "Tab", "shift+tab": "Shift+Tab",
}  # fmt: skip


def key_name(key):
    """A key as people write it (str)."""
    if key in _NAMES:
        return _NAMES[key]
    return key.replace("ctrl+", "Ctrl+").replace("shift+", "Shift+")


def by_command(bindings):
    """Keys by what they do: dict of (description, tooltip) to a list of keys."""
    keys = {}
    for binding in bindings:
        keys.setdefault((binding.description, binding.tooltip), []).append(binding.key)
    return keys


def help_lines(sections):
    """The help: sections of (title, text, bindings), each binding once with all its keys."""
    lines = []
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
