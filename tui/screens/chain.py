# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Chain: the lower layers of a layer, and the overlay mount that they make."""

from __future__ import annotations

from overlay2 import Driver
from overlay2.errors import Overlay2Error
from overlay2.linux.mountinfo import MountEntry
from overlay2.mounts import DATA_MAX, MountPlan
from overlay2.units import human_size
from textual import work
from textual.app import ComposeResult
from textual.message import Message

from ..messages import ShowScreen
from ..model.mounts import lowers_of
from ..model.snapshot import InspectedLayer, Snapshot
from ..widgets.grid import Column, Grid
from ..widgets.panel import Panel
from ..widgets.spans import Line, filled, fullness
from .base import HomeScreen, vanished_lines

_METHODS = {
    "classic": "mount(2) with absolute paths, which fit into one page",
    "fsconfig": "the mount API with one call for each lower folder: too long for the one page of mount(2)",
    "relative": "mount(2) with paths relative to the home: absolute ones do not fit into one page",
}


class ChainGrid(Grid):
    """The selected layer and its lower layers, uppermost first."""

    HELP = "The layer and its lower layers, uppermost first: the order in which overlayfs looks up a name."

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            [
                Column("#", 4, right=True),
                Column("Layer", 0),
                Column("Size", 10, right=True),
                Column("Link", 28, from_width=100),
                Column("Path", 36, from_width=130),
            ],
            id=id,
            empty="No layer is selected.",
        )
        self._snapshot = Snapshot("")
        self._links: dict[str, str] = {}

    def show(self, snapshot: Snapshot, facts: InspectedLayer) -> None:
        """Show the chain of a layer."""
        self._snapshot = snapshot
        layer = facts.layer
        self._links = dict(zip(layer.lower, layer.lower_links))
        self._links[layer.id] = f"l/{layer.link}" if layer.link else "none"
        # In a damaged home a layer may occur twice.
        self.set_keys(list(dict.fromkeys((layer.id, *layer.lower))))

    def cells(self, key: str) -> list[Line]:
        place = self._places[key]
        facts = self._snapshot.layers.get(key)
        size = self._snapshot.sizes.get(key)
        link = self._links.get(key, "")
        if facts is None:
            return [(str(place), "dim"), [(key, "bad"), (" ! missing", "bad")], "", (link, "bad"), ""]
        wrong = bool(facts.layer.problems)
        return [
            (str(place) if place else "top", "dim"),
            [(facts.title, "bad" if wrong else "strong" if not place else ""), (" !" if wrong else "", "bad")],
            human_size(size) if size is not None else ("…", "dim"),
            (link, "dim"),
            (facts.paths.upper, "dim"),
        ]


class ChainScreen(HomeScreen):
    """The chain of the selected layer."""

    MODE = "chain"
    HELP = "The lower layers of the selected layer, and how it is or would be mounted. Enter goes to a layer."

    class Planned(Message):
        """How a layer would be mounted."""

        def __init__(self, layer: str, plan: MountPlan | None, why: str) -> None:
            super().__init__()
            self.layer, self.plan, self.why = layer, plan, why

    def __init__(self) -> None:
        super().__init__()
        #: The layer that the plan is for, the plan, and why there is none.
        self._plan: tuple[str | None, MountPlan | None, str] = (None, None, "")
        self._planned_for: InspectedLayer | None = None

    def body(self) -> ComposeResult:
        yield ChainGrid(id="chain")
        yield Panel("Mount options", id="options")

    def show(self, snapshot: Snapshot) -> None:
        facts = self.facts
        grid, panel = self.query_one(ChainGrid), self.query_one("#options", Panel)
        if facts is None:
            grid.set_keys([])
            panel.set_lines(vanished_lines(self.selected, snapshot))
            return
        grid.show(snapshot, facts)
        if self._planned_for != facts:
            self._planned_for = facts
            self._make_plan(self.inspector.host.driver, facts.id)
        self._show_options(snapshot, facts)

    def path_here(self) -> str:
        return self.layer_path(self.query_one(ChainGrid).current)

    def text(self) -> list[str]:
        return chain_text(self.snapshot, self.facts) if self.snapshot and self.facts else []

    def on_grid_opened(self, message: Grid.Opened) -> None:
        message.stop()
        self.post_message(ShowScreen("layers", message.key))

    def on_grid_highlighted(self, message: Grid.Highlighted) -> None:
        message.stop()

    @work(thread=True, exclusive=True, group="plan", exit_on_error=False)
    def _make_plan(self, driver: Driver | None, layer: str) -> None:
        plan, why = None, ""
        if driver is None:
            why = "A snapshot from a file does not say how the layer would be mounted."
        else:
            try:
                plan = driver.mount_plan(layer)
            except (Overlay2Error, OSError) as error:
                why = f"It can't be mounted: {getattr(error, 'message', error)}."
        self.post_message(self.Planned(layer, plan, why))

    def on_chain_screen_planned(self, message: Planned) -> None:
        self._plan = (message.layer, message.plan, message.why)
        if self.snapshot is not None and self.facts is not None:
            self._show_options(self.snapshot, self.facts)

    def _show_options(self, snapshot: Snapshot, facts: InspectedLayer) -> None:
        layer, plan, why = self._plan
        mount = snapshot.mount_of(facts.id)
        lines: list[Line] = []
        if layer != facts.id:
            lines.append(("Planning…", "dim"))
        elif why:
            lines.append((why, "warn"))
        elif plan is None:
            lines.append("Nothing to mount: a layer without a parent is used in its diff folder.")
        else:
            lines += plan_lines(plan)
            if not snapshot.privileged and plan.method != "classic":
                lines.append(("Only root can find out whether this kernel has the mount API.", "warn"))
        if mount is not None and mount.entries:
            lines += ["", *kernel_lines(mount.entries[-1])]
        lines += [""] * bool(facts.layer.problems) + [[("! ", "bad"), (text, "")] for text in facts.layer.problems]
        self.query_one("#options", Panel).set_lines(lines)


def plan_lines(plan: MountPlan) -> list[Line]:
    """How a layer is or would be mounted."""
    share = plan.length / DATA_MAX
    kind = "read-only, with its own diff folder as the first lower folder" if plan.upper is None else "read-write"
    return [
        [("method  ", "dim"), (_METHODS.get(plan.method, plan.method), "")],
        [("kind    ", "dim"), (f"{kind}; {len(plan.lowers)} lower folders", "")],
        [
            ("length  ", "dim"),
            (filled(share, 16), fullness(share)),
            (f" {plan.length} of {DATA_MAX} bytes (one page)", ""),
        ],
        [("target  ", "dim"), (plan.target, "")],
        [("options ", "dim"), (plan.data, "")],
    ]


def kernel_lines(entry: MountEntry) -> list[Line]:
    """A mount in the kernel's mount table."""
    lowers = lowers_of(entry)
    return [
        ("The kernel's mount table", "title"),
        [("mount   ", "dim"), (f"{entry.mount_id} on {entry.parent_id}, device {entry.device}", "")],
        [("lowers  ", "dim"), (str(lowers) if lowers is not None else "not shown", "")],
        [("options ", "dim"), (",".join(entry.options), "")],
        [
            ("super   ", "dim"),
            (",".join(o for o in entry.super_options if not o.startswith("lowerdir")), ""),
        ],
    ]


def chain_text(snapshot: Snapshot, facts: InspectedLayer) -> list[str]:
    """The chain as plain lines."""
    lines = []
    for number, id in enumerate((facts.id, *facts.layer.lower)):
        size = snapshot.sizes.get(id)
        lines.append(f"{number:4} {human_size(size) if size is not None else '?':>12} {id}")
    return lines
