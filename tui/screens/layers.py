# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Layers: the tree, what is known of the layer under the cursor, the filter."""

from __future__ import annotations

from overlay2.errors import printable
from overlay2.units import human_size
from textual.binding import Binding
from textual.containers import Horizontal
from textual.widgets import Input

from ..messages import ShowScreen
from ..widgets.filter_bar import FilterBar
from ..widgets.grid import Column, Grid
from ..widgets.layer_grid import LayerGrid
from ..widgets.panel import Panel
from .base import HomeScreen
from .dialogs import Ask, Pick
from .layer_facts import layer_lines


class LayersScreen(HomeScreen):
    """The layers of the home as a tree."""

    MODE = "layers"
    HELP = "All layers: what they stand on, how large they are, what is mounted. Enter opens a layer's files."
    BINDINGS = [
        Binding(
            "slash",
            "filter",
            "Filter",
            priority=True,  # done before the next key is given to whoever has the focus
            tooltip="Show what matches only: words of ids, owners, holders; or rw, ro, mounted, broken, unowned",
        ),
        Binding("escape", "clear", "Show all", tooltip="Forget the filter"),
        Binding("i", "facts", "Facts", tooltip="Show or hide all that is known of the layer"),
        Binding("o", "owner", "Owner of path", show=False, tooltip="Go to the layer that a path comes from"),
    ]

    def body(self):
        with Horizontal():
            yield LayerGrid(id="layers")
            yield Panel("Layer", id="detail")
        yield FilterBar("words of ids, owners, holders; rw, ro, mounted, broken, unowned")

    def check_action(self, action, parameters):
        """Keys show where they do something: typing needs no key for the filter, and no filter none to end it."""
        if not self.is_mounted:
            return True
        typed = self.query_one(FilterBar)
        if action == "filter":
            return not typed.input.has_focus
        if action == "clear":
            return typed.display
        return True

    def show(self):
        grid = self.query_one(LayerGrid)
        grid.show(self.snapshot)
        if self.has_moved() and grid.current != self.selected:
            grid.reveal(self.selected)
        self._show_detail(grid.current)
        self._count()

    def action_facts(self):
        """A narrow screen hides the facts until they are asked for, a wide one shows them until then."""
        self.toggle_class("-flipped")

    def _count(self):
        if self.snapshot is not None:
            self.query_one(FilterBar).count(len(self.query_one(LayerGrid).keys), len(self.snapshot.layers))

    def _show_detail(self, layer):
        facts = self.snapshot.layers.get(layer) if layer else None
        panel = self.query_one("#detail", Panel)
        panel.set_title(facts.title if facts else "Layer")
        panel.set_lines(layer_lines(self.snapshot, facts) if facts else [])

    def text(self):
        return self.query_one(LayerGrid).text()

    # The grid's words

    def on_grid_highlighted(self, message: Grid.Highlighted):
        message.stop()
        if self.snapshot is not None and message.key is not None:
            self._show_detail(message.key)
            self.choose(message.key)

    def on_grid_opened(self, message: Grid.Opened):
        message.stop()
        self.post_message(ShowScreen("files", message.key))

    def on_layer_grid_filter_dropped(self, message: LayerGrid.FilterDropped):
        message.stop()
        self.query_one(FilterBar).clear()

    def on_layer_grid_branched(self, message: LayerGrid.Branched):
        message.stop()
        facts = [self.snapshot.layers[id] for id in message.children]
        rows = {one.id: child_cells(self.snapshot, one) for one in facts}
        title = f"{len(rows)} layers stand on {self.snapshot.layers[message.key].title}"
        self.app.push_screen(Pick(title, CHILD_COLUMNS, rows), self._go_to_child)

    def _go_to_child(self, layer):
        if layer is not None:
            self.query_one(LayerGrid).reveal(layer)

    def on_grid_header_clicked(self, message: Grid.HeaderClicked):
        message.stop()
        self.query_one(LayerGrid).set_order(message.key)

    # Filter

    def action_filter(self):
        self.query_one(FilterBar).open()

    def action_clear(self):
        self.query_one(FilterBar).clear()
        self.query_one(LayerGrid).focus()
        self.refresh_bindings()

    def on_input_changed(self, message: Input.Changed):
        message.stop()
        self.query_one(LayerGrid).set_filter(message.value)
        self._count()

    def on_input_submitted(self, message: Input.Submitted):
        message.stop()
        if not message.value.strip():
            self.query_one(FilterBar).clear()
        self.query_one(LayerGrid).focus()

    # The owner of a path

    def action_owner(self):
        if self.snapshot is None or self.query_one(LayerGrid).current is None:
            return
        self.app.push_screen(Ask("Which path? As seen in the mounted layer, such as /etc/passwd"), self._find_owner)

    def _find_owner(self, path):
        layer = self.query_one(LayerGrid).current
        if path and layer is not None:
            self.app.find_owner(layer, path)


CHILD_COLUMNS = [Column("Layer", 0), Column("Size", 10, right=True), Column("Kind", 4), Column("Mounted", 7)]


def child_cells(snapshot, facts):
    """A layer in the list of those that stand on another one."""
    size, mount = snapshot.sizes.get(facts.id), snapshot.mount_of(facts.id)
    owner = snapshot.owner_of(facts.id)
    name = (f" {printable(facts.name) if facts.name else owner.text if owner is not None else ''}", "accent")
    return [
        [(facts.title, "bad" if facts.layer.problems else ""), name],
        human_size(size) if size is not None else ("…", "dim"),
        (facts.kind, "" if facts.kind == "rw" else "dim"),
        ("● yes", "good") if mount is not None and mount.mounted else "",
    ]
