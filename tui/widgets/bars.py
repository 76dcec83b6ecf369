# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The lines at the top: the home and its state, the screens, the hosts."""

from __future__ import annotations

import time
from collections.abc import Sequence

from overlay2.units import human_size
from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from ..model.snapshot import Snapshot
from .spans import Span, content, cut, cut_start, plain

#: Cells: the least of a path that is shown, the most of a host's name.
_LEAST_PATH, _MOST_NAME = 12, 40


class HomeBar(Static):
    """One line: the home, whether it is live, and the figures that matter most."""

    DEFAULT_CSS = "HomeBar { height: 1; background: $panel; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }"

    snapshot: reactive[Snapshot | None] = reactive(None)
    paused = reactive(0.0)
    stale = reactive(0.0)

    def render(self) -> Content:
        snapshot = self.snapshot
        if snapshot is None:
            return content([("overlay2 ", "title"), ("reading…", "dim")])
        where = snapshot.home
        if snapshot.host and snapshot.gathered:
            where += f" on {cut(snapshot.host, _MOST_NAME)}"
        rest: list[Span] = [("  ", ""), *self._state_words(snapshot)]
        if snapshot.failure is None:
            rest += self._figures(snapshot)
        # The path gives way to what changes.
        where = cut_start(where, max(_LEAST_PATH, self.size.width - 2 - len("overlay2 ") - cell_len(plain(rest))))
        return content([("overlay2 ", "title"), (where, "strong"), *rest])

    def _state_words(self, snapshot: Snapshot) -> list[Span]:
        if snapshot.gathered:
            return [(f"◆ gathered {_clock(snapshot.taken, date=True)}", "accent")]
        if self.paused:
            return [(f"‖ paused since {_clock(self.paused)}", "warn")]
        if self.stale:
            return [(f"! stale since {_clock(self.stale)}", "bad")]
        if snapshot.failure is not None:
            return [("✗ no home", "bad")]
        return [("● live", "good")]

    def _figures(self, snapshot: Snapshot) -> list[Span]:
        mounted = sum(mount.mounted for mount in snapshot.mounts if mount.id)
        total = human_size(sum(snapshot.sizes.values()))
        count = len(snapshot.layers)
        parts = [f"{count} layer{'s' * (count != 1)}", f"{mounted} mounted"]
        if snapshot.sized < count and not snapshot.gathered:
            parts.append(f"measuring {snapshot.sized}/{count}")
        elif snapshot.sizes:
            parts.append(total)
        line: list[Span] = [("  " + " · ".join(parts), "")]
        problems = len(snapshot.problems)
        if problems:
            line.append((f" · {problems} problem{'s' * (problems != 1)}", "bad"))
        return line


def _clock(seconds: float, date: bool = False) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S", time.localtime(seconds))


class Choices(Static):
    """One line of names, one of which is chosen; a click chooses another."""

    DEFAULT_CSS = "Choices { height: 1; padding: 0 1; background: $surface; text-wrap: nowrap; }"

    chosen = reactive("")

    class Chosen(Message):
        """A name was clicked."""

        def __init__(self, choices: Choices, key: str) -> None:
            super().__init__()
            self.choices, self.key = choices, key

        @property
        def control(self) -> Choices:
            return self.choices

    def __init__(self, items: Sequence[tuple[str, str]], chosen: str = "", *, id: str | None = None) -> None:
        """:param items: (key, name) pairs."""
        super().__init__("", id=id, markup=False)
        self.items = [(key, cut(name, _MOST_NAME)) for key, name in items]
        self.set_reactive(Choices.chosen, chosen)

    def render(self) -> Content:
        line: list[Span] = []
        for key, name in self.items:
            line += [
                (f"[{name}]" if key == self.chosen else f" {name} ", "title" if key == self.chosen else "dim"),
                (" ", ""),
            ]
        return content(line)

    def on_click(self, event: events.Click) -> None:
        left = 1
        for key, name in self.items:
            width = cell_len(name) + 2
            if left <= event.x < left + width:
                self.post_message(self.Chosen(self, key))
                return
            left += width + 1
