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
from ..model.files import time_text
from ..model.mounts import holders_text
from ..model.rows import children_of
from ..widgets.filter_bar import FilterBar
from ..widgets.grid import Column, Grid
from ..widgets.layer_grid import LayerGrid
from ..widgets.panel import Panel
from .base import HomeScreen
from .dialogs import Ask, Pick


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
        panel.border_title = facts.title if facts else "Layer"
        panel.set_lines(detail_lines(self.snapshot, facts) if facts else [])

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


_MOST_OWNERS, _MOST_EVIDENCE = 8, 4
_INDENT = ("         ", "")
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


def detail_lines(snapshot, facts):
    """What is known of one layer."""
    layer = facts.layer
    lines = [[("id       ", "dim"), (printable(layer.id), "")]]
    if facts.name:
        lines.append([("name     ", "dim"), printable(facts.name)])
    lines.append([("parent   ", "dim"), (_parent_text(layer), "" if layer.parent is not None else "bad")])
    children = children_of(snapshot.layers).get(layer.id, ())
    lines.append([("children ", "dim"), (f"{len(children)}", "")])
    lines.append([("depth    ", "dim"), (f"{layer.depth} below it", "")])
    lines.append([("kind     ", "dim"), (_kind_text(facts), "")])
    size = snapshot.sizes.get(layer.id)
    why = snapshot.unsized.get(layer.id)
    lines.append(
        [
            ("size     ", "dim"),
            (f"can't be measured: {why}", "bad") if why else (human_size(size) if size is not None else "…", ""),
        ]
    )
    if layer.quota:
        limit = human_size(layer.quota.limit) if layer.quota.limit else "no limit"
        lines.append(
            [("quota    ", "dim"), (f"{human_size(layer.quota.used)} of {limit}, {layer.quota.inodes} inodes", "")]
        )
    if facts.made:
        lines.append([("made     ", "dim"), (time_text(facts.made), "")])
    lines.append([("link     ", "dim"), (f"l/{layer.link}" if layer.link else "none", "" if layer.link else "bad")])
    lines.append([("diff id  ", "dim"), (layer.diff_id or "unknown", "")])
    mount, told = snapshot.mount_of(layer.id), ()
    if mount is not None:
        told = [remark.text for remark in mount.remarks]
        state = "mounted" if mount.mounted else "in another mount namespace" if mount.elsewhere else "not mounted"
        lines.append([("mount    ", "dim"), (state, "good" if mount.mounted else "")])
        lines.append([("held by  ", "dim"), (holders_text(mount.holders), "")])
        lines += [
            [("! " if remark.wrong else "· ", "bad" if remark.wrong else "dim"), (remark.text, "")]
            for remark in mount.remarks
        ]
    lines += owner_lines(snapshot.owner_of(layer.id))
    wrongs = [remark for remark in snapshot.wrongs if remark.layer == layer.id and remark.text not in told]
    if wrongs:
        lines += ["", ("Problems", "bad")]
    for remark in wrongs:
        lines.append([("! ", "bad"), (remark.text, "")])
        if remark.remedy:
            lines.append([("  ", ""), (f"{remark.remedy}.", "dim")])
    return lines


def owner_lines(owner):
    """Whose a layer is, and how that is known."""
    if owner is None:
        return [[("owner    ", "dim"), ("not known yet", "dim")]]
    head = ("owner    ", "dim")
    if owner.kind in ("unowned", "unknown"):
        lines = [[head, (owner.kind, "warn" if owner.kind == "unowned" else "")]]
        lines.append([_INDENT, (owner.reason + (", most likely" if owner.certainty == "likely" else ""), "")])
    else:
        who = [printable(one) for one in owner.needed_by[:_MOST_OWNERS]] or [f"{owner.kind}: its own"]
        lines = [[head if not number else _INDENT, (one, "")] for number, one in enumerate(who)]
        if len(owner.needed_by) > _MOST_OWNERS:
            lines.append([_INDENT, (f"and {len(owner.needed_by) - _MOST_OWNERS} more", "dim")])
    return lines + [[_INDENT, (printable(where), "dim")] for where in owner.evidence[:_MOST_EVIDENCE]]


def _parent_text(layer):
    if layer.parent is None:
        return "can't be told: the link to it is broken"
    return printable(layer.parent) or "none: it is a base"


def _kind_text(facts):
    if facts.layer.committed:
        return "read-only: other layers stand on it"
    if facts.layer.read_write is None:
        return "unknown: another program made it"
    return "made for writing" if facts.layer.read_write else "read-only"
