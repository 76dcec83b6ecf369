# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Health and owners: all that is wrong in one list; what the core does not say yet is unknown."""

from __future__ import annotations

from overlay2.errors import printable

from ..messages import ShowScreen
from ..widgets.grid import Column, Grid
from ..widgets.panel import Panel
from .base import HomeScreen


class ProblemGrid(Grid):
    """One row for everything that is wrong."""

    def __init__(self, *, id=None):
        super().__init__(
            [Column("", 1), Column("Where", 26), Column("What is wrong", 0)],
            id=id,
            empty="Nothing wrong was found: layers, links, chains, mounts and holders agree.",
        )
        self._remarks = {}

    def show(self, snapshot):
        """Follow a Snapshot."""
        notes = [remark for remark in snapshot.remarks if not remark.wrong]
        self._remarks = {f"{remark.layer}\0{remark.text}": remark for remark in [*snapshot.wrongs, *notes]}
        self.set_keys(list(self._remarks))

    @property
    def remark(self):
        """The remark that the cursor is on, or None."""
        return self._remarks.get(self.current)

    def cells(self, key):
        remark = self._remarks[key]
        return [
            ("!", "bad") if remark.wrong else ("·", "accent"),
            printable(remark.layer) if remark.layer else ("the home", "dim"),
            remark.text,
        ]


class HealthScreen(HomeScreen):
    """What is wrong, and whose the layers are."""

    MODE = "health"
    HELP = "Everything that is wrong with the home, its layers and its mounts. Enter goes to the layer."

    def body(self):
        yield ProblemGrid(id="problems")
        yield Panel("Problem", id="problem")
        yield Panel("Owners", id="owners")

    def show(self):
        self.query_one(ProblemGrid).show(self.snapshot)
        self._show_remark()
        owners = self.snapshot.owners
        lines = [("Whose the layers are: unknown. Nothing here tells yet.", "dim")]
        if owners is not None:
            lines = [[(f"{printable(layer):<28} ", "dim"), (owner, "")] for layer, owner in owners]
        if self.snapshot.health is None:
            lines.append(("A deeper check of the home: unknown. Only what reading shows is listed above.", "dim"))
        self.query_one("#owners", Panel).set_lines(lines)

    def text(self):
        return [f"! {remark.layer or 'home'}: {remark.text}" for remark in self.snapshot.wrongs] or [
            "Nothing wrong was found."
        ]

    def _show_remark(self):
        remark = self.query_one(ProblemGrid).remark
        panel = self.query_one("#problem", Panel)
        panel.display = remark is not None
        if remark is not None:
            where = f"Layer {printable(remark.layer)}" if remark.layer else "The home"
            panel.set_lines([(where, "strong"), (remark.text, "bad" if remark.wrong else "")])

    def on_grid_highlighted(self, message: Grid.Highlighted):
        message.stop()
        self._show_remark()

    def on_grid_opened(self, message: Grid.Opened):
        message.stop()
        remark = self.query_one(ProblemGrid).remark
        if remark is not None and remark.layer in self.snapshot.layers:
            self.post_message(ShowScreen("layers", remark.layer))
