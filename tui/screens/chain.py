# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Chain: what a layer stands on, and the mount that comes of it."""

from __future__ import annotations

from overlay2.errors import Overlay2Error, printable
from overlay2.mounts import DATA_MAX
from overlay2.units import human_size
from textual import work
from textual.message import Message

from ..messages import ShowScreen
from ..model.mounts import lowers_of
from ..widgets.grid import Column, Grid
from ..widgets.panel import Panel
from ..widgets.spans import filled, fullness
from .base import HomeScreen, vanished_lines

_METHODS = {
    "classic": "mount(2) with absolute paths: they fit one page",
    "fsconfig": "the mount API, one lower folder at a time: too long for one page, and no limit there",
    "relative": "mount(2) with names relative to the home: absolute paths do not fit one page",
}


class ChainGrid(Grid):
    """The selected layer and all below it, uppermost first."""

    HELP = "The layer and what it stands on, uppermost first: the order in which overlayfs looks for a name."

    def __init__(self, *, id=None):
        super().__init__(
            [
                Column("#", 4, right=True),
                Column("Layer", 0),
                Column("Size", 10, right=True),
                Column("Link", 28, from_width=100),
                Column("Path", 36, from_width=130),
            ],
            id=id,
            empty="No layer is chosen.",
        )
        self._snapshot = None
        self._links = {}

    def show(self, snapshot, facts):
        """Follow the chain of a layer."""
        self._snapshot = snapshot
        layer = facts.layer
        self._links = dict(zip(layer.lower, layer.lower_links))
        self._links[layer.id] = f"l/{layer.link}" if layer.link else "none"
        # A broken home may name a layer twice.
        self.set_keys(list(dict.fromkeys((layer.id, *layer.lower))))

    def cells(self, key):
        place = self._places[key]
        facts = self._snapshot.layers.get(key)
        size = self._snapshot.sizes.get(key)
        link = self._links.get(key, "")
        if facts is None:
            return [(str(place), "dim"), [(printable(key), "bad"), (" ! missing", "bad")], "", (link, "bad"), ""]
        wrong = bool(facts.layer.problems)
        return [
            (str(place) if place else "top", "dim"),
            [(facts.title, "bad" if wrong else "strong" if not place else ""), (" !" if wrong else "", "bad")],
            human_size(size) if size is not None else ("…", "dim"),
            (link, "dim"),
            (printable(facts.paths.upper), "dim"),
        ]


class ChainScreen(HomeScreen):
    """The chain of the selected layer."""

    MODE = "chain"
    HELP = "What the selected layer stands on, and how it is mounted, or would be. Enter goes to a layer of the chain."

    class Planned(Message):
        """How a layer would be mounted."""

        def __init__(self, layer, plan, why):
            super().__init__()
            self.layer, self.plan, self.why = layer, plan, why

    def __init__(self):
        super().__init__()
        self._plan = (None, None, "")
        self._planned_for = None

    def body(self):
        yield ChainGrid(id="chain")
        yield Panel("Mount options", id="options")

    def show(self):
        facts = self.facts
        grid, panel = self.query_one(ChainGrid), self.query_one("#options", Panel)
        if facts is None:
            grid.set_keys([])
            panel.set_lines(vanished_lines(self.selected, self.snapshot))
            return
        grid.show(self.snapshot, facts)
        if self._planned_for != facts:
            self._planned_for = facts
            self._make_plan(self.app.host.driver, facts.id)
        self._show_options(facts)

    def text(self):
        return chain_text(self.snapshot, self.facts) if self.facts else []

    def on_grid_opened(self, message: Grid.Opened):
        message.stop()
        self.post_message(ShowScreen("layers", message.key))

    def on_grid_highlighted(self, message: Grid.Highlighted):
        message.stop()

    @work(thread=True, exclusive=True, group="plan", exit_on_error=False)
    def _make_plan(self, driver, layer):
        plan, why = None, ""
        if driver is None:
            why = "This was gathered elsewhere: how it would be mounted there is not known."
        else:
            try:
                plan = driver.mount_plan(layer)
            except (Overlay2Error, OSError) as error:
                why = f"It can't be mounted: {getattr(error, 'message', error)}."
        self.post_message(self.Planned(layer, plan, why))

    def on_chain_screen_planned(self, message: Planned):
        self._plan = (message.layer, message.plan, message.why)
        if self.facts is not None:
            self._show_options(self.facts)

    def _show_options(self, facts):
        layer, plan, why = self._plan
        mount = self.snapshot.mount_of(facts.id)
        lines = []
        if layer != facts.id:
            lines.append(("Planning…", "dim"))
        elif why:
            lines.append((why, "warn"))
        elif plan is None:
            lines.append("It stands on nothing, so nothing is mounted: who gets it works in its diff folder.")
        else:
            lines += plan_lines(plan)
            if not self.snapshot.privileged and plan.method != "classic":
                lines.append(("Without root it can't be told whether this kernel has the mount API.", "warn"))
        if mount is not None and mount.entries:
            lines += ["", *kernel_lines(mount.entries[-1])]
        lines += [""] * bool(facts.layer.problems) + [[("! ", "bad"), (text, "")] for text in facts.layer.problems]
        self.query_one("#options", Panel).set_lines(lines)


def plan_lines(plan):
    """How a layer is or would be mounted."""
    share = plan.length / DATA_MAX
    kind = "read-only, its own folder being the uppermost lower" if plan.upper is None else "for writing"
    return [
        [("method  ", "dim"), (_METHODS.get(plan.method, plan.method), "")],
        [("kind    ", "dim"), (f"{kind}; {len(plan.lowers)} lower folders", "")],
        [
            ("length  ", "dim"),
            (filled(share, 16), fullness(share)),
            (f" {plan.length} of {DATA_MAX} bytes that fit one page", ""),
        ],
        [("target  ", "dim"), (printable(plan.target), "")],
        [("options ", "dim"), (printable(plan.data), "")],
    ]


def kernel_lines(entry):
    """What the kernel says of a mount."""
    lowers = lowers_of(entry)
    return [
        ("The kernel's mount table", "title"),
        [("mount   ", "dim"), (f"{entry.mount_id} on {entry.parent_id}, device {entry.device}", "")],
        [("lowers  ", "dim"), (str(lowers) if lowers is not None else "not shown", "")],
        [("options ", "dim"), (",".join(entry.options), "")],
        [
            ("super   ", "dim"),
            (printable(",".join(o for o in entry.super_options if not o.startswith("lowerdir"))), ""),
        ],
    ]


def chain_text(snapshot, facts):
    """The chain as plain lines."""
    lines = []
    for number, id in enumerate((facts.id, *facts.layer.lower)):
        size = snapshot.sizes.get(id)
        lines.append(f"{number:4} {human_size(size) if size is not None else '?':>12} {printable(id)}")
    return lines
