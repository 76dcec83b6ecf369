# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Status: features of the host, free space, quotas."""

from __future__ import annotations

from overlay2.units import human_size
from textual.app import ComposeResult

from ..messages import ShowScreen
from ..model.snapshot import Snapshot
from ..widgets.grid import Column, Grid
from ..widgets.panel import Panel
from ..widgets.spans import Line, filled, fullness, plain, trend
from .base import HomeScreen

#: Values that deserve attention.
_POOR = {
    ("Supports d_type", "false"),
    ("Native Overlay Diff", "false"),
    ("Using metacopy", "true"),
    ("Backing Filesystem", "overlayfs"),
    ("Backing Filesystem", "tmpfs"),
}


class QuotaGrid(Grid):
    """One row for each layer with a quota."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            [
                Column("Layer", 0),
                Column("Used", 10, right=True),
                Column("Limit", 10, right=True),
                Column("Full", 15),
                Column("Inodes", 8, right=True, from_width=70),
                Column("History", 20, from_width=90),
            ],
            id=id,
        )
        self._snapshot = Snapshot("")

    def show(self, snapshot: Snapshot) -> None:
        """Show a Snapshot."""
        self._snapshot = snapshot
        reason = next((meaning for label, _value, meaning in snapshot.features if label == "Project Quota"), "")
        self.empty = "No layer has a quota" + (f": {reason}." if reason else ".")
        self.set_keys([id for id, facts in snapshot.layers.items() if facts.layer.quota])

    def cells(self, key: str) -> list[Line]:
        facts = self._snapshot.layers[key]
        quota = facts.layer.quota
        if quota is None:
            return [facts.title, "", "", "", "", ""]
        share = quota.used / quota.limit if quota.limit else 0.0
        full: Line = (
            [(filled(share, 9), fullness(share)), (f" {share:5.0%}", "")] if quota.limit else ("no limit", "dim")
        )
        return [
            facts.title,
            human_size(quota.used),
            human_size(quota.limit) if quota.limit else ("-", "dim"),
            full,
            str(quota.inodes),
            (trend(self._snapshot.history.get(key, ()), 20), "accent"),
        ]


class StatusScreen(HomeScreen):
    """The driver's Status, space and quotas."""

    MODE = "status"
    HELP = "The driver's Status and its meaning, space on the file system, quotas with a short history."

    def body(self) -> ComposeResult:
        yield Panel("Status", id="features")
        yield Panel("Space", id="space")
        yield QuotaGrid(id="quotas")

    def show(self, snapshot: Snapshot) -> None:
        self.query_one("#features", Panel).set_lines(feature_lines(snapshot))
        self.query_one("#space", Panel).set_lines(space_lines(snapshot))
        quotas = self.query_one(QuotaGrid)
        quotas.show(snapshot)
        if self.has_moved():
            quotas.go_to(self.selected)

    def path_here(self) -> str:
        return self.layer_path(self.query_one(QuotaGrid).current) or super().path_here()

    def text(self) -> list[str]:
        if self.snapshot is None:
            return []
        lines = [*feature_lines(self.snapshot), "", *space_lines(self.snapshot), ""]
        return [plain(line) for line in lines] + self.query_one(QuotaGrid).text()

    def on_grid_highlighted(self, message: Grid.Highlighted) -> None:
        message.stop()
        if message.key:
            self.choose(message.key)

    def on_grid_opened(self, message: Grid.Opened) -> None:
        message.stop()
        self.post_message(ShowScreen("layers", message.key))


def feature_lines(snapshot: Snapshot) -> list[Line]:
    """The driver's Status, each line with its meaning."""
    if not snapshot.features:
        return [("The snapshot has no Status.", "dim")]
    width = max(len(label) for label, _value, _meaning in snapshot.features)
    values = max(len(value) for _label, value, _meaning in snapshot.features)
    return [
        [
            (f"{label:<{width}}  ", "dim"),
            (f"{value:<{values}}", "warn" if (label, value) in _POOR else "strong"),
            ("  ", ""),
            (f"{'! ' if (label, value) in _POOR else ''}{meaning}", ""),
        ]
        for label, value, meaning in snapshot.features
    ]


def space_lines(snapshot: Snapshot) -> list[Line]:
    """Space on the file system, and the recent history of its use."""
    space = snapshot.space
    if space is None:
        return [("The free space is unknown.", "dim")]
    share = space.used / space.total if space.total else 0.0
    lines: list[Line] = [
        [
            ("bytes  ", "dim"),
            (filled(share, 10), fullness(share)),
            (f" {share:4.0%} ", "strong"),
            (f"{human_size(space.used)} of {human_size(space.total)}, {human_size(space.available)} available", ""),
        ],
    ]
    if space.inodes:
        share = space.inodes_used / space.inodes
        lines += [
            [
                ("inodes ", "dim"),
                (filled(share, 10), fullness(share)),
                (f" {share:4.0%} ", "strong"),
                (f"{space.inodes_used} of {space.inodes}", ""),
            ],
        ]
    history = snapshot.history.get("", ())
    if len(history) > 1:
        change = history[-1] - history[0]
        lines += [
            [
                ("use    ", "dim"),
                (trend(history, 24), "accent"),
                (f" {'+' if change >= 0 else '-'}{human_size(abs(change))} in the last {len(history)} samples", ""),
            ],
        ]
    return lines
