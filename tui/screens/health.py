# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Health and owners: all that is wrong in one list, what to do about it, and whose home it is."""

from __future__ import annotations

from overlay2.errors import printable
from overlay2.units import human_size

from ..messages import ShowScreen
from ..model import report
from ..model.snapshot import short
from ..widgets.grid import Column, Grid
from ..widgets.panel import Panel
from ..widgets.spans import plain
from .base import HomeScreen


class ProblemGrid(Grid):
    """One row for everything that is wrong."""

    def __init__(self, *, id=None):
        super().__init__(
            [Column("", 1), Column("Where", 26), Column("What is wrong", 0), Column("Code", 24, from_width=130)],
            id=id,
        )
        self._remarks = {}

    def show(self, snapshot):
        """Follow a Snapshot."""
        remarks = [*snapshot.problems, *snapshot.notes]
        self.empty = "Nothing wrong was found: layers, links, chains, mounts and holders agree."
        if snapshot.health is None:
            self.empty = "Nothing wrong was seen so far. The whole home was not checked yet."
        self._remarks = {f"{remark.layer}\0{remark.text}": remark for remark in remarks}
        self.set_keys(list(self._remarks))

    @property
    def remark(self):
        """The remark that the cursor is on, or None."""
        return self._remarks.get(self.current)

    def cells(self, key):
        remark = self._remarks[key]
        return [
            ("!", "bad") if remark.is_problem else ("·", "accent"),
            short(remark.layer) if remark.layer else ("the home", "dim"),
            remark.text,
            (remark.code, "dim"),
        ]


class HealthScreen(HomeScreen):
    """What is wrong, and whose the layers are."""

    MODE = "health"
    HELP = "Everything that is wrong with the home, what to do about it, and whose home it is. Enter goes to the layer."

    def body(self):
        yield ProblemGrid(id="problems")
        yield Panel("Problem", id="problem")
        yield Panel("Owners", id="owners")

    def show(self):
        self.query_one(ProblemGrid).show(self.snapshot)
        self._show_remark()
        self.query_one("#owners", Panel).set_lines(owners_lines(self.snapshot))

    def text(self):
        lines = [plain(line) for remark in self.snapshot.problems for line in remark_lines(remark)]
        return [*(lines or ["Nothing wrong was found."]), "", *map(plain, owners_lines(self.snapshot))]

    def _show_remark(self):
        remark = self.query_one(ProblemGrid).remark
        panel = self.query_one("#problem", Panel)
        panel.display = remark is not None
        if remark is not None:
            panel.set_lines(remark_lines(remark))

    def on_grid_highlighted(self, message: Grid.Highlighted):
        message.stop()
        self._show_remark()

    def on_grid_opened(self, message: Grid.Opened):
        message.stop()
        remark = self.query_one(ProblemGrid).remark
        if remark is not None and remark.layer in self.snapshot.layers:
            self.post_message(ShowScreen("layers", remark.layer))


def remark_lines(remark):
    """What is wrong, and what to do about it."""
    where = f"Layer {printable(remark.layer)}" if remark.layer else "The home"
    lines = [(where, "strong"), (remark.text, "bad" if remark.is_problem else "")]
    return [*lines, f"{remark.remedy}."] if remark.remedy else lines


def owners_lines(snapshot):
    """Whose the home's layers are, and what nobody needs."""
    if snapshot.owners is None:
        return [("Whose the layers are is not known yet.", "dim")]
    unowned = snapshot.owners.unowned
    lines = [f"{report.engine_text(snapshot.owners)}."]
    if unowned:
        size = human_size(sum(snapshot.sizes.get(id, 0) for id in unowned))
        many = "1 layer is" if len(unowned) == 1 else f"{len(unowned)} layers are"
        lines.append([("! ", "warn"), (f"{many} needed by nobody: {size}. The filter unowned lists them.", "")])
    return lines
