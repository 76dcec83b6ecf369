# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What all screens share: the bars, the place for a failure, and how news of a home reaches their widgets."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Footer

from ..messages import ShowScreen
from ..widgets.bars import Choices, HomeBar
from ..widgets.panel import Panel

#: The screens: mode, name in the bar, key.
MODES = (
    ("layers", "1 Layers"),
    ("chain", "2 Chain"),
    ("files", "3 Files"),
    ("mounts", "4 Mounts"),
    ("status", "5 Status"),
    ("health", "6 Health"),
)


class HomeScreen(Screen):
    """Base of the six screens. The app sets the reactives; a subclass fills :meth:`body` and :meth:`show`."""

    MODE = ""
    #: What the screen is for, in the help.
    HELP = ""
    #: Whether the screen can say something where the home can't be read.
    SHOWS_FAILURE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (112, "-wide")]
    AUTO_FOCUS = "Grid, Panel"

    snapshot = reactive(None, init=False)
    selected = reactive("", init=False)
    paused = reactive(0.0, init=False)
    stale = reactive(0.0, init=False)

    def __init__(self):
        super().__init__()
        self._followed = ""

    def compose(self) -> ComposeResult:
        yield HomeBar(markup=False)
        hosts = self.app.host_names
        if len(hosts) > 1:
            yield Choices([(str(number), name) for number, name in enumerate(hosts)], "0", id="hosts")
        yield Choices(MODES, self.MODE, id="modes")
        with Container(id="body"):
            yield from self.body()
        yield Panel("Nothing to show", id="failure")
        yield Footer(show_command_palette=False, compact=True)

    def body(self) -> ComposeResult:
        """The screen's own widgets."""
        raise NotImplementedError

    def show(self):
        """Bring the widgets up to ``self.snapshot`` and ``self.selected``; the snapshot has no failure here."""
        raise NotImplementedError

    def text(self):
        """The screen as plain lines, for an export (list of str)."""
        return []

    # The layer that is looked at

    def choose(self, layer):
        """Make a layer, chosen on this screen, the one that all screens talk of."""
        self._followed = layer
        self.app.choose(layer)

    def has_moved(self):
        """Whether another layer was chosen elsewhere since this was asked last: the cursor is to go there, once."""
        moved = self.selected != self._followed
        self._followed = self.selected
        return moved

    # News

    def watch_snapshot(self, snapshot):
        home_bar = self.query_one(HomeBar)
        home_bar.snapshot = snapshot
        failed = snapshot is None or (snapshot.failure is not None and not self.SHOWS_FAILURE)
        self.set_class(failed, "-failed")
        if snapshot is None:
            self.query_one("#failure", Panel).set_lines([("Reading the home…", "dim")])
        elif failed:
            self.query_one("#failure", Panel).set_lines(failure_lines(snapshot))
        else:
            self.show()

    def watch_selected(self):
        if self.snapshot is not None and self.snapshot.failure is None:
            self.show()

    def watch_paused(self, paused):
        self.query_one(HomeBar).paused = paused

    def watch_stale(self, stale):
        self.query_one(HomeBar).stale = stale

    def on_choices_chosen(self, message: Choices.Chosen):
        message.stop()
        if message.choices.id == "modes":
            self.post_message(ShowScreen(message.key))
        else:
            self.app.show_host(int(message.key))

    @property
    def facts(self):
        """The :class:`~..model.LayerFacts` of the selected layer; None where it is gone."""
        return None if self.snapshot is None else self.snapshot.layers.get(self.selected)


def failure_lines(snapshot):
    """Why there is nothing to show, and what to do about it."""
    failure = snapshot.failure
    lines = [(failure.message + ".", "bad"), ""]
    if failure.remedy:
        lines += [failure.remedy + ".", ""]
    if not snapshot.gathered:
        lines.append(("The screen fills as soon as the home can be read. Press r to look now, q to quit.", "dim"))
    return lines


def vanished_lines(layer, snapshot):
    """What to say where the selected layer is not there."""
    if not snapshot.layers:
        return [("The home is empty: no layer has been created in it yet.", "dim")]
    if not layer:
        return [("No layer is chosen. Go to the layers with 1.", "dim")]
    return [
        ("This layer is gone: it was removed after it was chosen.", "warn"),
        ("Go back to the layers with 1.", "dim"),
    ]
