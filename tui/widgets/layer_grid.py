# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The list of layers: a tree by parent, or sorted."""

from __future__ import annotations

from overlay2.home.quota import QuotaUsage
from overlay2.units import human_size
from textual.binding import Binding

from ..model.rows import ORDERS, Row, arrange, children_of, find
from ..model.snapshot import InspectedLayer, MountFacts, Snapshot
from .grid import Column, Grid
from .spans import Line, Span, filled, fullness

_OWNER_MEANINGS = {"unowned": "warn", "unknown": "dim"}
_NO_LAYERS = "The home is empty: no layer has been created yet."
_AGES = ((60, "s"), (60, "m"), (24, "h"), (365, "d"))


class LayerGrid(Grid):
    """One row for each layer: a Snapshot, sorted, filtered and folded."""

    HELP = "Each layer is below its parent. ↳ continues a chain; ├ and └ are branches."

    BINDINGS = [
        Binding("space", "fold", "Fold", tooltip="Fold or unfold the layers on top of this one"),
        Binding("s", "sort", "Sort", tooltip="Sort as a tree, by size, age, depth, name or owner, in turn"),
        Binding("u", "parent", "Parent", show=False, tooltip="Go to the parent of this layer"),
        Binding("d", "child", "Children", show=False, tooltip="Go to a child of this layer"),
    ]

    class FilterDropped(Grid._About):
        """The filter was cleared, to show a layer that it hid."""

    class Branched(Grid._About):
        """The children of a layer were asked for, and there are several."""

        def __init__(self, grid: Grid, key: str, children: list[str]) -> None:
            super().__init__(grid, key)
            self.children = children

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            [
                Column("Layer", 0, key="name"),
                Column("Size", 10, right=True, key="size"),
                Column("Depth", 5, right=True, key="depth"),
                Column("Kind", 4),
                Column("Mounted", 9),
                Column("Quota", 14, from_width=84),
                Column("Age", 5, right=True, key="age"),
            ],
            id=id,
            empty=_NO_LAYERS,
        )
        self.order = ORDERS[0]
        self.filter = ""
        self.now = 0.0
        self._folded: set[str] = set()
        self._snapshot = Snapshot("")
        self._has_quotas = False
        self._rows: dict[str, Row] = {}
        self._mounts: dict[str, MountFacts] = {}

    # What is shown

    def show(self, snapshot: Snapshot) -> None:
        """Show a Snapshot. Rows are only rearranged if something they depend on changed."""
        old = self._snapshot
        self._snapshot = snapshot
        self._mounts = {mount.id: mount for mount in snapshot.mounts}
        self.now = snapshot.taken
        same = old.layers is snapshot.layers
        if not same:
            self._has_quotas = any(facts.layer.quota for facts in snapshot.layers.values())
        if (
            same
            and (self.order != "size" or old.sizes is snapshot.sizes)
            and (self.order != "owner" or old.owners is snapshot.owners)
            and (not self.filter or (old.mounts is snapshot.mounts and old.owners is snapshot.owners))
        ):
            self.refresh()
        else:
            self.rearrange()

    def rearrange(self) -> None:
        """Sort and filter the rows."""
        wanted = find(self._snapshot, self.filter) if self.filter.strip() else None
        rows = arrange(self._snapshot, self.order, self._folded, wanted)
        self._rows = {row.id: row for row in rows}
        self.empty = _NO_LAYERS if wanted is None else "No layer matches the filter."
        self.set_keys([row.id for row in rows])

    def set_filter(self, text: str) -> None:
        """Show only what matches; "" for all."""
        self.filter = text
        self.rearrange()

    def set_order(self, order: str) -> None:
        """Sort by one of ``ORDERS``; as a tree if that is the order already."""
        self.order = ORDERS[0] if order == self.order else order
        self.rearrange()

    def reveal(self, layer: str) -> bool:
        """Put the cursor on a layer, unfolding what hides it; returns whether it exists."""
        if layer not in self._snapshot.layers:
            return False
        if self.filter and layer not in self._rows:
            self.filter = ""
            self.post_message(self.FilterDropped(self, layer))
        hidden = set(self._snapshot.layers[layer].layer.lower) & self._folded
        if hidden or layer not in self._rows:
            self._folded -= hidden
            self.rearrange()
        return self.go_to(layer)

    # Rendering

    def sorted_by(self) -> str:
        return self.order

    def has_use_for(self, column: Column) -> bool:
        return super().has_use_for(column) and (self._has_quotas or column.title != "Quota")

    def cells(self, key: str) -> list[Line]:
        row, facts = self._rows[key], self._snapshot.layers.get(key)
        if facts is None:
            return [("gone", "dim"), "", "", "", "", "", ""]
        return [
            self._name_cell(row, facts),
            self._size_cell(key),
            (str(facts.layer.depth), "dim"),
            (facts.kind, "" if facts.kind == "rw" else "dim"),
            self._mounted_cell(key),
            self._quota_cell(facts.layer.quota),
            (age(facts.made, self.now), "dim"),
        ]

    def _name_cell(self, row: Row, facts: InspectedLayer) -> list[Span]:
        line = [(row.guide, "dim")]
        if row.folded:
            line.append(("▸ ", "accent"))
        line.append((facts.title, "bad" if facts.layer.problems else ""))
        if facts.layer.problems:
            line.append((" ! " + facts.layer.problems[0], "bad"))
        owner = self._snapshot.owner_of(facts.id)
        if facts.name:
            line.append((f" {facts.name}", "accent"))
        elif owner is not None and owner.text:
            line.append((f" {owner.text}", _OWNER_MEANINGS.get(owner.kind, "accent")))
        return line

    def _size_cell(self, key: str) -> Line:
        size = self._snapshot.sizes.get(key)
        if size is not None:
            return human_size(size)
        return ("?", "bad") if key in self._snapshot.size_errors else ("…", "dim")

    def _mounted_cell(self, key: str) -> Line:
        mount = self._mounts.get(key)
        if mount is None:
            return ""
        wrong = any(remark.is_problem for remark in mount.remarks)
        count = f" ×{mount.references}" if mount.references else ""
        if mount.mounted:
            return ("● " if not wrong else "! ") + "yes" + count, "bad" if wrong else "good"
        if mount.elsewhere:
            return "○ other ns", "warn"
        return ("! stale", "bad") if wrong else (f"held{count}", "")

    def _quota_cell(self, quota: QuotaUsage | None) -> Line:
        if not quota:
            return ""
        if not quota.limit:
            return human_size(quota.used)
        share = quota.used / quota.limit
        return [(filled(share, 8), fullness(share)), (f" {share:4.0%}", "")]

    # Actions

    def action_fold(self) -> None:
        key = self.current
        if key is None or not self._rows[key].has_children:
            return
        self._folded ^= {key}
        self.rearrange()

    def action_sort(self) -> None:
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self.rearrange()

    def action_parent(self) -> None:
        facts = self._snapshot.layers.get(self.current or "")
        if facts is not None and facts.layer.parent:
            self.reveal(facts.layer.parent)

    def action_child(self) -> None:
        if self.current is None:
            return
        children = children_of(self._snapshot.layers).get(self.current)
        if children and len(children) > 1:
            self.post_message(self.Branched(self, self.current, children))
        elif children:
            self.reveal(children[0])


def age(made: float | None, now: float) -> str:
    """How long ago: ``42s``, ``3h``; "" if unknown."""
    if made is None or not now:
        return ""
    value = max(0, int(now - made))
    for size, unit in _AGES:
        if value < size:
            return f"{value}{unit}"
        value //= size
    return f"{value}y"
