# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Mounts: holders, the kernel's view, busy processes, and where they disagree."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal

from ..messages import ShowScreen
from ..model.mounts import holders_text
from ..model.snapshot import MountFacts, Snapshot
from ..widgets.grid import Column, Grid
from ..widgets.panel import Panel
from ..widgets.spans import Line, plain
from .base import HomeScreen
from .chain import kernel_lines

_MOST_NAMESPACES, _MOST_PROCESSES = 5, 40


class MountGrid(Grid):
    """One row for each mounted or held layer, and each foreign mount below the home."""

    HELP = "● mounted here, ○ only in another mount namespace, - held without a mount, ! with a problem."

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            [
                Column("", 1),
                Column("Layer", 20),
                Column("Refs", 4, right=True),
                Column("Holders", 0),
                Column("Mode", 4, from_width=70),
                Column("Other ns", 8, right=True, from_width=70),
                Column("Busy", 4, right=True, from_width=70),
            ],
            id=id,
            empty="Nothing is mounted, and no layer is held.",
        )
        self._mounts: dict[str, MountFacts] = {}

    def show(self, snapshot: Snapshot) -> None:
        """Show a Snapshot."""
        self._mounts = {mount.path: mount for mount in snapshot.mounts}
        self.set_keys([mount.path for mount in snapshot.mounts])

    @property
    def chosen_mount(self) -> MountFacts | None:
        """The mount under the cursor."""
        return self._mounts.get(self.current or "")

    def cells(self, key: str) -> list[Line]:
        mount = self._mounts[key]
        wrong = any(remark.is_problem for remark in mount.remarks)
        sign = "!" if wrong else "●" if mount.mounted else "○" if mount.elsewhere else "-"
        meaning = "bad" if wrong else "good" if mount.mounted else "warn" if mount.elsewhere else "dim"
        return [
            (sign, meaning),
            (mount.title, "" if mount.id else "dim"),
            ("?" if mount.holders is None else str(mount.references)) if mount.id else "",
            (holders_text(mount.holders), "" if mount.holders else "dim") if mount.id else "",
            ("ro" if mount.read_only else "rw" if mount.mounted else "", "dim"),
            (str(len(mount.elsewhere) or ""), "dim"),
            "…" if mount.processes is None and mount.mounted else str(len(mount.processes or ()) or ""),
        ]


class MountsScreen(HomeScreen):
    """The mounts of the home."""

    MODE = "mounts"
    HELP = "All mounts and holders. The panel shows the kernel's view, busy processes, and contradictions."

    def body(self) -> ComposeResult:
        with Horizontal():
            yield MountGrid(id="mounts")
            yield Panel("Mount", id="mount")

    def show(self, snapshot: Snapshot) -> None:
        grid = self.query_one(MountGrid)
        grid.show(snapshot)
        mount = snapshot.mount_of(self.selected)
        if self.has_moved() and mount is not None:
            grid.go_to(mount.path)
        self._show_mount(snapshot, grid.chosen_mount)

    def path_here(self) -> str:
        mount = self.query_one(MountGrid).chosen_mount
        return mount.path if mount is not None else ""

    def text(self) -> list[str]:
        if self.snapshot is None:
            return []
        privileged = self.snapshot.privileged
        return [plain(line) for mount in self.snapshot.mounts for line in [*mount_lines(mount, privileged), ""]]

    def on_grid_highlighted(self, message: Grid.Highlighted) -> None:
        message.stop()
        mount = self.query_one(MountGrid).chosen_mount
        if self.snapshot is not None:
            self._show_mount(self.snapshot, mount)
        if mount is not None and mount.id:
            self.choose(mount.id)

    def on_grid_opened(self, message: Grid.Opened) -> None:
        message.stop()
        mount = self.query_one(MountGrid).chosen_mount
        if mount is not None and mount.id:
            self.post_message(ShowScreen("layers", mount.id))

    def _show_mount(self, snapshot: Snapshot, mount: MountFacts | None) -> None:
        panel = self.query_one("#mount", Panel)
        panel.set_title(mount.title if mount else "Mount")
        panel.set_lines(mount_lines(mount, snapshot.privileged) if mount else [])


def mount_lines(mount: MountFacts, privileged: bool = True) -> list[Line]:
    """The facts about a mount.

    :param privileged: processes and mount namespaces of other users could be seen.
    """
    lines: list[Line] = [[("path     ", "dim"), (mount.path, "")]]
    if mount.id:
        lines.append([("held by  ", "dim"), (holders_text(mount.holders), "")])
    for remark in mount.remarks:
        lines.append(
            [("! " if remark.is_problem else "· ", "bad" if remark.is_problem else "accent"), (remark.text, "")]
        )
    if mount.id and not mount.remarks and mount.mounted:
        lines.append([("✓ ", "good"), ("The mount table, the holders and the layer's files agree.", "")])
    if mount.processes is not None:
        lines += ["", ("Processes that keep it busy", "title")]
        if not mount.processes:
            lines.append(("none found" if privileged else "none of yours", "dim"))
        for process in mount.processes[:_MOST_PROCESSES]:
            lines.append([(f"{process.pid:>7} ", "accent"), (f"{process.name} ({process.user}): {process.how}", "")])
        if len(mount.processes) > _MOST_PROCESSES:
            lines.append((f"and {len(mount.processes) - _MOST_PROCESSES} more", "dim"))
        if not privileged:
            lines.append(("Only root can see processes and mount namespaces of other users.", "warn"))
    if mount.elsewhere:
        lines += ["", ("Also mounted in other mount namespaces", "title")]
        for namespace, pid, name in mount.elsewhere[:_MOST_NAMESPACES]:
            lines.append([(f"{namespace} ", "accent"), (f"process {pid} ({name})", "")])
        if len(mount.elsewhere) > _MOST_NAMESPACES:
            lines.append((f"and {len(mount.elsewhere) - _MOST_NAMESPACES} more", "dim"))
    if mount.entries:
        lines += ["", *kernel_lines(mount.entries[-1])]
    return lines
