# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Health: the problems of the home with their remedies, and the owners of the layers."""

from __future__ import annotations

from overlay2.units import human_size
from textual.app import ComposeResult

from ..messages import ShowScreen
from ..model import report
from ..model.snapshot import Remark, Snapshot, short
from ..widgets.grid import Column, Grid
from ..widgets.panel import Panel
from ..widgets.spans import Line, plain
from .base import HomeScreen


class ProblemGrid(Grid):
    """One row for each problem and note."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            [Column("", 1), Column("Where", 26), Column("Problem", 0), Column("Code", 24, from_width=130)],
            id=id,
        )
        self._remarks: dict[str, Remark] = {}

    def show(self, snapshot: Snapshot) -> None:
        """Show a Snapshot."""
        remarks = [*snapshot.problems, *snapshot.notes]
        self.empty = "No problems: layers, links, chains, mounts and holders agree."
        if snapshot.health is None:
            self.empty = "No problems so far. The check of the whole home is still running."
        self._remarks = {f"{remark.layer}\0{remark.text}": remark for remark in remarks}
        self.set_keys(list(self._remarks))

    @property
    def remark(self) -> Remark | None:
        """The problem or note under the cursor."""
        return self._remarks.get(self.current or "")

    def cells(self, key: str) -> list[Line]:
        remark = self._remarks[key]
        return [
            ("!", "bad") if remark.is_problem else ("·", "accent"),
            short(remark.layer) if remark.layer else ("the home", "dim"),
            remark.text,
            (remark.code, "dim"),
        ]


class HealthScreen(HomeScreen):
    """The problems of the home, and the owners of its layers."""

    MODE = "health"
    HELP = "All problems of the home with their remedies, and the owners of the layers. Enter goes to the layer."

    def body(self) -> ComposeResult:
        yield ProblemGrid(id="problems")
        yield Panel("Problem", id="problem")
        yield Panel("Owners", id="owners")

    def show(self, snapshot: Snapshot) -> None:
        self.query_one(ProblemGrid).show(snapshot)
        self._show_remark()
        self.query_one("#owners", Panel).set_lines(owners_lines(snapshot))

    def path_here(self) -> str:
        remark = self.query_one(ProblemGrid).remark
        if remark is None or self.snapshot is None:
            return ""
        return self.layer_path(remark.layer) or self.snapshot.home

    def text(self) -> list[str]:
        if self.snapshot is None:
            return []
        lines = [plain(line) for remark in self.snapshot.problems for line in remark_lines(remark)]
        return [*(lines or ["No problems."]), "", *map(plain, owners_lines(self.snapshot))]

    def _show_remark(self) -> None:
        remark = self.query_one(ProblemGrid).remark
        panel = self.query_one("#problem", Panel)
        panel.set_class(remark is None, "-empty")
        if remark is not None:
            panel.set_lines(remark_lines(remark))

    def on_grid_highlighted(self, message: Grid.Highlighted) -> None:
        message.stop()
        self._show_remark()

    def on_grid_opened(self, message: Grid.Opened) -> None:
        message.stop()
        remark = self.query_one(ProblemGrid).remark
        if remark is not None and self.snapshot is not None and remark.layer in self.snapshot.layers:
            self.post_message(ShowScreen("layers", remark.layer))


def remark_lines(remark: Remark) -> list[Line]:
    """A problem and its remedy."""
    where = f"Layer {remark.layer}" if remark.layer else "The home"
    lines: list[Line] = [(where, "strong"), (remark.text, "bad" if remark.is_problem else "")]
    return [*lines, f"{remark.remedy}."] if remark.remedy else lines


def owners_lines(snapshot: Snapshot) -> list[Line]:
    """The owners of the layers, and the layers without one."""
    if snapshot.owners is None:
        return [("Looking for the owners of the layers…", "dim")]
    unowned = snapshot.owners.unowned
    lines: list[Line] = [f"{report.engine_text(snapshot.owners)}."]
    if unowned:
        size = human_size(sum(snapshot.sizes.get(id, 0) for id in unowned))
        many = "1 layer has" if len(unowned) == 1 else f"{len(unowned)} layers have"
        lines.append([("! ", "warn"), (f'{many} no owner: {size}. The filter "unowned" lists them.', "")])
    return lines
