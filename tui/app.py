# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The inspector's app: which hosts are open, which one shows, and what all screens have in common."""

from __future__ import annotations

import threading
import time

from textual.app import App
from textual.binding import Binding
from textual.reactive import reactive
from textual.worker import Worker, WorkerState

from . import actions
from .messages import ShowScreen, SnapshotReady
from .model.hosts import LiveHost, gathered_hosts
from .model.plain import quoted
from .model.rows import arrange
from .screens.base import HomeScreen
from .screens.chain import ChainScreen
from .screens.files import FilesScreen
from .screens.health import HealthScreen
from .screens.layers import LayersScreen
from .screens.mounts import MountsScreen
from .screens.status import StatusScreen
from .widgets.spans import cut

#: Seconds that the program's end waits for a check that is under way.
_PATIENCE = 0.3
#: Cells of a toast's text.
_MOST_TOAST = 300


class Overlay2App(actions.Actions, App):
    """Look into a home. It is read-only.

    :param home: the home's folder (str).
    :param snapshots: files that ``overlay2_info`` or ``--json`` made: these are shown then, and ``home`` is not.
    """

    TITLE = "overlay2"
    CSS_PATH = "overlay2.tcss"
    MODES = {
        screen.MODE: screen
        for screen in (LayersScreen, ChainScreen, FilesScreen, MountsScreen, StatusScreen, HealthScreen)
    }
    BINDINGS = [
        Binding("1", "go('layers')", "Layers", show=False, tooltip="The layers as a tree"),
        Binding("2", "go('chain')", "Chain", show=False, tooltip="What the selected layer stands on"),
        Binding("3", "go('files')", "Files", show=False, tooltip="What the selected layer changed"),
        Binding("4", "go('mounts')", "Mounts", show=False, tooltip="What is mounted, and who holds it"),
        Binding("5", "go('status')", "Status", show=False, tooltip="What the host can do, space and quotas"),
        Binding("6", "go('health')", "Health", show=False, tooltip="What is wrong"),
        Binding("right_square_bracket", "host(1)", "Next host", show=False, tooltip="The next host"),
        Binding("left_square_bracket", "host(-1)", "Previous host", show=False, tooltip="The host before"),
        Binding("p", "pause", "Pause", tooltip="Stand still, or go on"),
        Binding("r", "refresh", "Refresh", show=False, tooltip="Read everything again now"),
        Binding("y", "copy", "Copy path", show=False, tooltip="Copy the path of what the cursor is on"),
        Binding("e", "export", "Export", show=False, tooltip="Write this view to a file: text, JSON or a picture"),
        Binding("t", "theme", "Theme", show=False, tooltip="Switch between dark and light"),
        Binding("question_mark", "help", "Help", tooltip="What this screen is for, and all keys"),
        Binding("q", "quit", "Quit", tooltip="Leave"),
    ]

    #: Since when nothing is read any more (seconds since the epoch), 0 while it is.
    paused = reactive(0.0, init=False)
    #: The same, by the fault of an error.
    stale = reactive(0.0, init=False)

    def __init__(self, home="/var/lib/overlay2", snapshots=()):
        super().__init__()
        self._live = None if snapshots else LiveHost(home, self._publish)
        self.hosts = gathered_hosts(snapshots) if snapshots else [self._live]
        self._current = 0

    @property
    def host(self):
        """The host that shows."""
        return self.hosts[self._current]

    @property
    def host_names(self):
        """The hosts' names (list of str), in the order of their tabs."""
        return [host.name for host in self.hosts]

    # From the model to the screen

    async def on_mount(self):
        self.theme = "textual-dark"
        # Not as DEFAULT_MODE: with eager tasks, of Python 3.12, its widgets would be mounted before it is on the stack.
        await self.switch_mode("layers")
        self.call_after_refresh(self.bring_up_to_date)
        if self._live is not None:
            poller = self._live.poller
            for name, run in (("follow", poller.run), ("sizes", poller.run_sizes)):
                self.run_worker(run, name=name, group=name, thread=True, exit_on_error=False)
            # No worker, as the end of the program would wait for it: a check can't be broken off, and may take seconds.
            self._checks = threading.Thread(target=self._check, daemon=True)
            self._checks.start()

    def on_unmount(self):
        if self._live is not None:
            self._live.poller.stop()
            self._checks.join(_PATIENCE)

    def _check(self):
        try:
            self._live.poller.run_checks()
        except Exception as error:
            self.call_from_thread(self._thread_ended, "checks", error)

    def _publish(self, snapshot):
        """Called by the poller's threads."""
        self.post_message(SnapshotReady(0, snapshot))

    def on_snapshot_ready(self, message: SnapshotReady):
        if not self.paused:
            self.hosts[message.host].snapshot = message.snapshot
            self.stale = 0.0
            self.bring_up_to_date()

    def on_worker_state_changed(self, event: Worker.StateChanged):
        if event.state == WorkerState.ERROR and event.worker.group in ("follow", "sizes"):
            self._thread_ended(event.worker.name, event.worker.error)

    def _thread_ended(self, name, error):
        self.stale = time.time()
        self.notify(f"The thread {name} ended with {error!r}", severity="error", timeout=20)

    def bring_up_to_date(self):
        """Give the screen in front what it is to show."""
        screen = next((screen for screen in reversed(self.screen_stack) if isinstance(screen, HomeScreen)), None)
        if screen is None or not screen.is_mounted:
            return
        host = self.host
        if host.snapshot is not None and not host.selected:
            host.selected = next((row.id for row in arrange(host.snapshot)), "")
        screen.set_reactive(HomeScreen.selected, host.selected)
        screen.paused, screen.stale = self.paused, self.stale
        if screen.snapshot is host.snapshot:
            screen.watch_snapshot(host.snapshot)
        screen.snapshot = host.snapshot

    def watch_paused(self):
        self.bring_up_to_date()

    def watch_stale(self):
        self.bring_up_to_date()

    # What goes out

    def notify(self, message, *, title="", severity="information", timeout=None, markup=False):
        """A toast. Its text may be a stranger's, so it is never markup, whatever the caller says."""
        super().notify(
            cut(message, _MOST_TOAST), title=cut(title, _MOST_TOAST), severity=severity, timeout=timeout, markup=False
        )

    def copy_to_clipboard(self, text):
        """Copy a path or text; what a terminal or shell would obey is quoted."""
        super().copy_to_clipboard(quoted(text))

    def action_help_quit(self):
        """For Ctrl+C, which does not end the program."""
        self.notify("Press q to leave.")

    # From the screens

    def choose(self, layer):
        """Make a layer the one that all screens talk of. At once: news that come meanwhile must not take it back."""
        self.host.selected = layer

    def on_show_screen(self, message: ShowScreen):
        if message.layer is not None:
            self.host.selected = message.layer
        self.action_go(message.mode)
