# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Layers: the tree, the facts about the layer under the cursor, the filter."""

from __future__ import annotations

from overlay2 import Driver
from overlay2.errors import Overlay2Error
from overlay2.units import human_size
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.widgets import Input

from ..messages import ShowScreen
from ..model import files
from ..model.snapshot import InspectedLayer, Snapshot
from ..widgets.filter_bar import FilterBar
from ..widgets.grid import Column, Grid
from ..widgets.layer_grid import LayerGrid
from ..widgets.panel import Panel
from ..widgets.spans import Line
from .base import HomeScreen
from .dialogs import Ask, Pick
from .layer_facts import layer_lines, sentence


class LayersScreen(HomeScreen):
    """The layers of the home as a tree."""

    MODE = "layers"
    HELP = "All layers with their sizes, mounts and owners. Enter shows the files of a layer."
    BINDINGS = [
        Binding(
            "slash",
            "filter",
            "Filter",
            tooltip="Filter by words of ids, owners and holders, or by rw, ro, mounted, broken, unowned",
        ),
        Binding("escape", "clear", "Show all", tooltip="Clear the filter"),
        Binding("i", "facts", "Facts", tooltip="Show or hide the facts about the layer"),
        Binding("o", "owner", "Owner of path", show=False, tooltip="Go to the layer that a path comes from"),
    ]

    def body(self) -> ComposeResult:
        with Horizontal():
            yield LayerGrid(id="layers")
            yield Panel("Layer", id="detail")
        yield FilterBar("words of ids, owners, holders; rw, ro, mounted, broken, unowned")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The footer shows only keys that do something: no filter key while typing, none to clear what is not there."""
        if not self.is_mounted:
            return True
        typed = self.query_one(FilterBar)
        if action == "filter":
            return not typed.input.has_focus
        if action == "clear":
            return typed.display
        return True

    def show(self, snapshot: Snapshot) -> None:
        grid = self.query_one(LayerGrid)
        grid.show(snapshot)
        if self.has_moved() and grid.current != self.selected:
            grid.reveal(self.selected)
        self._show_detail(snapshot, grid.current)
        self._count()

    def action_facts(self) -> None:
        """Show or hide the facts: a narrow screen hides them at first, a wide one shows them."""
        self.toggle_class("-flipped")

    def _count(self) -> None:
        if self.snapshot is not None:
            self.query_one(FilterBar).count(len(self.query_one(LayerGrid).keys), len(self.snapshot.layers))

    def _show_detail(self, snapshot: Snapshot, layer: str | None) -> None:
        facts = snapshot.layers.get(layer or "")
        panel = self.query_one("#detail", Panel)
        panel.set_title(facts.title if facts else "Layer")
        panel.set_lines(layer_lines(snapshot, facts) if facts else [])

    def text(self) -> list[str]:
        return self.query_one(LayerGrid).text()

    # The list

    def on_grid_highlighted(self, message: Grid.Highlighted) -> None:
        message.stop()
        if self.snapshot is not None and message.key:
            self._show_detail(self.snapshot, message.key)
            self.choose(message.key)

    def on_grid_opened(self, message: Grid.Opened) -> None:
        message.stop()
        self.post_message(ShowScreen("files", message.key))

    def on_layer_grid_filter_dropped(self, message: LayerGrid.FilterDropped) -> None:
        message.stop()
        self.query_one(FilterBar).clear()

    def on_layer_grid_branched(self, message: LayerGrid.Branched) -> None:
        message.stop()
        snapshot = self.snapshot
        if snapshot is None or message.key not in snapshot.layers:
            return
        facts = [snapshot.layers[id] for id in message.children if id in snapshot.layers]
        rows = {one.id: child_cells(snapshot, one) for one in facts}
        title = f"{len(rows)} children of {snapshot.layers[message.key].title}"
        self.app.push_screen(Pick(title, CHILD_COLUMNS, rows), self._go_to_child)

    def _go_to_child(self, layer: str | None) -> None:
        if layer is not None:
            self.query_one(LayerGrid).reveal(layer)

    def on_grid_header_clicked(self, message: Grid.HeaderClicked) -> None:
        message.stop()
        self.query_one(LayerGrid).set_order(message.key)

    # Filter

    def action_filter(self) -> None:
        self.query_one(FilterBar).open()

    def action_clear(self) -> None:
        self.query_one(FilterBar).clear()
        self.query_one(LayerGrid).focus()
        self.refresh_bindings()

    def on_input_changed(self, message: Input.Changed) -> None:
        message.stop()
        self.query_one(LayerGrid).set_filter(message.value)
        self._count()

    def on_input_submitted(self, message: Input.Submitted) -> None:
        message.stop()
        if not message.value.strip():
            self.query_one(FilterBar).clear()
        self.query_one(LayerGrid).focus()

    # The owner of a path

    def action_owner(self) -> None:
        if self.snapshot is None or self.query_one(LayerGrid).current is None:
            return
        self.app.push_screen(Ask("Path in the mounted layer, such as /etc/passwd"), self._find_owner)

    def _find_owner(self, path: str | None) -> None:
        layer, driver = self.query_one(LayerGrid).current, self.inspector.host.driver
        if not path or layer is None:
            return
        if driver is None:
            self.notify("Snapshots from files do not contain the files of layers.", severity="warning")
        else:
            self._look_for_owner(driver, layer, path)

    @work(thread=True, exclusive=True, group="owner", exit_on_error=False)
    def _look_for_owner(self, driver: Driver, layer: str, path: str) -> None:
        try:
            owner = files.owner_of(driver, layer, path)
        except (Overlay2Error, OSError) as error:
            self.app.call_from_thread(self.notify, sentence(error), severity="error")
            return
        self.app.call_from_thread(self._go_to_owner, path, owner)

    def _go_to_owner(self, path: str, owner: str | None) -> None:
        if owner is None:
            self.notify(f"{path} is not in the merged view of this layer.", severity="warning")
            return
        self.inspector.choose(owner)
        self.notify(f"{path} comes from {owner}.")
        self.inspector.bring_up_to_date()


CHILD_COLUMNS = [Column("Layer", 0), Column("Size", 10, right=True), Column("Kind", 4), Column("Mounted", 7)]


def child_cells(snapshot: Snapshot, facts: InspectedLayer) -> list[Line]:
    """A layer in the list of children of another one."""
    size, mount = snapshot.sizes.get(facts.id), snapshot.mount_of(facts.id)
    owner = snapshot.owner_of(facts.id)
    name = (f" {facts.name or (owner.text if owner is not None else '')}", "accent")
    return [
        [(facts.title, "bad" if facts.layer.problems else ""), name],
        human_size(size) if size is not None else ("…", "dim"),
        (facts.kind, "" if facts.kind == "rw" else "dim"),
        ("● yes", "good") if mount is not None and mount.mounted else "",
    ]
