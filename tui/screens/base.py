# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What all screens share: the bars, the place for a failure, and how a Snapshot reaches their widgets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, Optional, cast

from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen
from textual.widgets import Footer

from ..messages import ShowScreen
from ..model.snapshot import Failure, InspectedLayer, Snapshot
from ..widgets.bars import Choices, HomeBar
from ..widgets.grid import Grid
from ..widgets.panel import Panel
from ..widgets.spans import Line

if TYPE_CHECKING:
    from ..app import Overlay2App

#: The screens: mode, name in the bar, key.
MODES = (
    ("layers", "1 Layers"),
    ("chain", "2 Chain"),
    ("files", "3 Files"),
    ("mounts", "4 Mounts"),
    ("status", "5 Status"),
    ("health", "6 Health"),
)


class View(NamedTuple):
    """What the app gives a screen to show."""

    #: None before the home was read for the first time.
    snapshot: Optional[Snapshot]
    #: The selected layer, the same one on all screens; "" if there is none.
    selected: str
    #: When updates were paused, or stopped by an error (seconds since the epoch); 0 if they were not.
    paused: float
    stale: float
    #: The number of the host.
    host: int


class HomeScreen(Screen[None]):
    """Base of the six screens. A subclass fills in :meth:`body` and :meth:`show`."""

    MODE = ""
    #: What the screen is for, in the help.
    HELP = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (112, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (16, "-high")]
    # The list gets the focus when there is something in it, see follow().
    AUTO_FOCUS = ""

    def __init__(self) -> None:
        super().__init__()
        #: What is shown now.
        self.snapshot: Snapshot | None = None
        self.selected = ""
        self._followed = ""
        #: The widgets are there.
        self._is_filled = False

    @property
    def inspector(self) -> Overlay2App:
        """The app."""
        return cast("Overlay2App", self.app)

    def compose(self) -> ComposeResult:
        yield HomeBar(markup=False)
        hosts = self.inspector.host_names
        if len(hosts) > 1:
            yield Choices([(str(number), name) for number, name in enumerate(hosts)], "0", id="hosts")
        yield Choices(MODES, self.MODE, id="modes")
        with Container(id="body"):
            yield from self.body()
        yield Panel("Nothing to show", id="failure")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self._is_filled = True
        self.inspector.arrived(self.MODE)

    def on_screen_resume(self) -> None:
        if self._is_filled:
            self.inspector.arrived(self.MODE)

    def body(self) -> ComposeResult:
        """The screen's own widgets."""
        raise NotImplementedError

    def show(self, snapshot: Snapshot) -> None:
        """Bring the widgets up to ``snapshot`` and ``self.selected``. The snapshot is not a failure."""
        raise NotImplementedError

    def text(self) -> list[str]:
        """The screen as plain lines, for an export."""
        return []

    def path_here(self) -> str:
        """The path of the item under the cursor; "" if there is none."""
        return self.layer_path(self.selected)

    def layer_path(self, layer: str | None) -> str:
        """The directory of a layer; "" if there is none."""
        if self.snapshot is None or not layer:
            return ""
        facts = self.snapshot.layers.get(layer)
        return os.path.dirname(facts.paths.upper) if facts is not None else os.path.join(self.snapshot.home, layer)

    @property
    def is_reading(self) -> bool:
        """Whether the list is incomplete because something is still being read."""
        return False

    # The selected layer

    def choose(self, layer: str) -> None:
        """Select a layer for all screens, because the cursor of this one is on it."""
        self._followed = self.selected = layer
        self.inspector.choose(layer)

    def has_moved(self) -> bool:
        """Whether another screen selected another layer since the last call: the cursor has to go there, once."""
        moved = self.selected != self._followed
        self._followed = self.selected
        return moved

    @property
    def facts(self) -> InspectedLayer | None:
        """The selected layer; None if it is gone."""
        return None if self.snapshot is None else self.snapshot.layers.get(self.selected)

    # Updates

    def follow(self, view: View) -> None:
        """Show this. Does nothing before the widgets are there; then the screen asks for it itself."""
        # They are not there any more while the app ends.
        if not self._is_filled or not self.query(HomeBar):
            return
        snapshot = view.snapshot
        self.snapshot, self.selected = snapshot, view.selected
        home_bar = self.query_one(HomeBar)
        home_bar.snapshot, home_bar.paused, home_bar.stale = snapshot, view.paused, view.stale
        for hosts in self.query("#hosts").results(Choices):
            hosts.chosen = str(view.host)
        has_home = snapshot is not None and snapshot.failure is None
        if not has_home:
            # Textual would give it to a neighbour, which nobody chose.
            self.set_focus(None)
        # Set here, not by a class: a widget can only have the focus once it is displayed.
        self.query_one("#body").display = has_home
        self.query_one("#failure").display = not has_home
        if snapshot is None:
            self.query_one("#failure", Panel).set_lines([("Reading the home…", "dim")])
        elif snapshot.failure is not None:
            self.query_one("#failure", Panel).set_lines(failure_lines(snapshot, snapshot.failure))
        else:
            self.show(snapshot)
            self._focus_list()

    def _focus_list(self) -> None:
        """The list has the focus unless something else was chosen."""
        if self.app.app_focus and (self.focused is None or not self.focused.focusable):
            self.set_focus(self.query_one(Grid))

    def on_choices_chosen(self, message: Choices.Chosen) -> None:
        message.stop()
        if message.choices.id == "modes":
            self.post_message(ShowScreen(message.key))
        else:
            self.inspector.show_host(int(message.key))


def failure_lines(snapshot: Snapshot, failure: Failure) -> list[Line]:
    """Why there is nothing to show, and what to do about it."""
    lines: list[Line] = [(failure.message + ".", "bad"), ""]
    if failure.remedy:
        lines += [failure.remedy + ".", ""]
    if not snapshot.gathered:
        lines.append(("The screen fills as soon as the home can be read. Press r to retry now, q to quit.", "dim"))
    return lines


def vanished_lines(layer: str, snapshot: Snapshot) -> list[Line]:
    """What to say if the selected layer is missing."""
    if not snapshot.layers:
        return [("The home is empty: no layer has been created yet.", "dim")]
    if not layer:
        return [("No layer is selected. Press 1 to select one.", "dim")]
    return [
        ("This layer is gone: it was removed after you selected it.", "warn"),
        ("Press 1 to go back to the layers.", "dim"),
    ]
