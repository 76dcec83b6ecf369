# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The inspector's app: which hosts are open, which one is shown, and the actions that all screens share."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Optional, Union

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.dom import DOMNode
from textual.notifications import SeverityLevel
from textual.reactive import reactive
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from . import commands, export
from .messages import ShowScreen, SnapshotReady
from .model import report
from .model.hosts import GatheredHost, LiveHost, gathered_hosts
from .model.plain import quoted, visible
from .model.rows import arrange
from .model.snapshot import Snapshot
from .screens.base import HomeScreen, View
from .screens.chain import ChainScreen
from .screens.dialogs import Ask, Help, help_lines
from .screens.files import FilesScreen
from .screens.health import HealthScreen
from .screens.layers import LayersScreen
from .screens.mounts import MountsScreen
from .screens.status import StatusScreen
from .terminal import wait_for_hangup
from .typed_ahead import Typed, TypedAhead
from .widgets.grid import Grid
from .widgets.spans import cut

#: Seconds to wait at exit for a check of the home that is still running.
_PATIENCE = 0.3
#: Cells of a toast's text.
_MOST_TOAST = 300
#: Keys that end the program or warn about it do not wait behind others.
_AT_ONCE = ("ctrl+q", "ctrl+c")
#: Keys that do something sensible before the home was read.
_NEED_NO_HOME = (
    *"123456qprt",
    *("question_mark", "left_square_bracket", "right_square_bracket", "escape", "tab", "shift+tab", "ctrl+p"),
)


class Overlay2App(App[None]):
    """Inspect a home. Read-only.

    :param home: the path of the home.
    :param snapshots: files written by ``overlay2_info`` or ``--json``; if there are any, they are shown instead.
    """

    TITLE = "overlay2"
    CSS_PATH = "overlay2.tcss"
    MODES = {
        screen.MODE: screen
        for screen in (LayersScreen, ChainScreen, FilesScreen, MountsScreen, StatusScreen, HealthScreen)
    }
    BINDINGS = [
        Binding("1", "go('layers')", "Layers", show=False, tooltip="The layers as a tree"),
        Binding("2", "go('chain')", "Chain", show=False, tooltip="The lower layers of the selected layer"),
        Binding("3", "go('files')", "Files", show=False, tooltip="What the selected layer changed"),
        Binding("4", "go('mounts')", "Mounts", show=False, tooltip="What is mounted, and who holds it"),
        Binding("5", "go('status')", "Status", show=False, tooltip="Features of the host, free space and quotas"),
        Binding("6", "go('health')", "Health", show=False, tooltip="Problems, and the owners of the layers"),
        Binding("right_square_bracket", "host(1)", "Next host", show=False, tooltip="Show the next host"),
        Binding("left_square_bracket", "host(-1)", "Previous host", show=False, tooltip="Show the previous host"),
        Binding("p", "pause", "Pause", tooltip="Pause or resume updates"),
        Binding("r", "refresh", "Refresh", show=False, tooltip="Read everything again now"),
        Binding("y", "copy", "Copy path", show=False, tooltip="Copy the path of the item under the cursor"),
        Binding("e", "export", "Export", show=False, tooltip="Write this view to a new file: text, JSON or SVG"),
        Binding("t", "theme", "Theme", show=False, tooltip="Switch between dark and light"),
        Binding("question_mark", "help", "Help", tooltip="Help for this screen, and all keys"),
        Binding("q", "quit", "Quit", tooltip="Quit"),
    ]

    #: When updates were paused (seconds since the epoch); 0 while they are not.
    paused = reactive(0.0, init=False)
    #: When updates stopped because of an error; 0 while they have not.
    stale = reactive(0.0, init=False)

    def __init__(self, home: str = "/var/lib/overlay2", snapshots: Sequence[str] = ()) -> None:
        super().__init__()
        self._live = None if snapshots else LiveHost(home, self._publish)
        self.hosts: Sequence[Union[LiveHost, GatheredHost]] = (
            gathered_hosts(snapshots) if self._live is None else [self._live]
        )
        self._current = 0
        self._checks: Optional[threading.Thread] = None
        #: Keys on their way to the screen.
        self.typed = TypedAhead(self, self._give, self._must_wait)

    @property
    def host(self) -> LiveHost | GatheredHost:
        """The host that is shown."""
        return self.hosts[self._current]

    @property
    def host_names(self) -> list[str]:
        """The hosts' names, in the order of their tabs."""
        return [host.name for host in self.hosts]

    # Start and end

    async def on_mount(self) -> None:
        self.theme = "textual-dark"
        # Not as DEFAULT_MODE: with eager tasks, of Python 3.12, its widgets would be mounted before it is on the stack.
        await self.switch_mode("layers")
        self.run_worker(self.typed.run(), name="keys", group="keys")
        if not self.is_headless:
            self._follow_the_terminal()
        if self._live is not None:
            poller = self._live.poller
            for name, run in (("follow", poller.run), ("sizes", poller.run_sizes)):
                self.run_worker(run, name=name, group=name, thread=True, exit_on_error=False)
            # Not a worker: at exit the app would wait for it, and a check cannot be cancelled and may take seconds.
            self._checks = threading.Thread(target=self._check, args=(self._live,), daemon=True)
            self._checks.start()

    def on_unmount(self) -> None:
        if self._live is not None:
            self._live.poller.stop()
        if self._checks is not None:
            self._checks.join(_PATIENCE)

    def _follow_the_terminal(self) -> None:
        """End as the terminal ends, and restore it when told to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread
                loop.add_signal_handler(number, self.exit, None, 128 + number)
        threading.Thread(target=wait_for_hangup, args=(self._hung_up,), daemon=True).start()

    def _hung_up(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended already
            self.call_from_thread(self.exit, None, 128 + signal.SIGHUP)

    # Keys

    async def on_event(self, event: events.Event) -> None:
        at_once = event.is_forwarded or (isinstance(event, events.Key) and event.key in _AT_ONCE)
        if isinstance(event, (events.Key, events.Paste)) and not at_once:
            self.typed.put(event)
        else:
            await super().on_event(event)

    async def _give(self, event: Typed) -> None:
        await super().on_event(event)

    def _must_wait(self, event: Typed) -> bool:
        screen = self.screen
        if not isinstance(screen, HomeScreen):
            return False
        key = event.key if isinstance(event, events.Key) else ""
        if screen.snapshot is None:
            return key not in _NEED_NO_HOME
        if not screen.is_reading or not isinstance(screen.focused, Grid):
            return False
        return any(key == binding.key for binding in commands.own_bindings(type(screen.focused)))

    def watch_app_focus(self, focus: bool) -> None:
        """The terminal got the focus, or lost it."""
        if focus:
            self.call_later(self.bring_up_to_date)

    # From the model to the screen

    def _check(self, live: LiveHost) -> None:
        try:
            live.poller.run_checks()
        except Exception as error:
            self.call_from_thread(self._thread_ended, "checks", error)

    def _publish(self, snapshot: Snapshot) -> None:
        """Called by the poller's threads."""
        self.post_message(SnapshotReady(0, snapshot))

    def on_snapshot_ready(self, message: SnapshotReady) -> None:
        if not self.paused:
            self.hosts[message.host].snapshot = message.snapshot
            self.stale = 0.0
            self.bring_up_to_date()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state == WorkerState.ERROR and event.worker.group in ("follow", "sizes"):
            self._thread_ended(event.worker.name, event.worker.error)

    def _thread_ended(self, name: str, error: BaseException | None) -> None:
        self.stale = time.time()
        self.notify(f"The thread {name!r} failed: {error!r}", severity="error", timeout=20)

    def bring_up_to_date(self) -> None:
        """Show the current host on the screen in front, below any dialog."""
        screen = next((screen for screen in reversed(self.screen_stack) if isinstance(screen, HomeScreen)), None)
        if screen is None:
            return
        host = self.host
        if host.snapshot is not None and not host.selected:
            host.selected = next((row.id for row in arrange(host.snapshot)), "")
        screen.follow(View(host.snapshot, host.selected, self.paused, self.stale, self._current))

    def watch_paused(self) -> None:
        self.bring_up_to_date()

    def watch_stale(self) -> None:
        self.bring_up_to_date()

    # What leaves the program

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a toast. Its text may come from a stranger, so it is never markup, whatever the caller asks for."""
        super().notify(
            cut(message, _MOST_TOAST), title=cut(title, _MOST_TOAST), severity=severity, timeout=timeout, markup=False
        )

    def copy_to_clipboard(self, text: str) -> None:
        """Copy text; characters that a terminal or a shell would obey are quoted."""
        super().copy_to_clipboard(quoted(text))

    def action_copy(self) -> None:
        """Copy the path of the item under the cursor."""
        path = self.screen.path_here() if isinstance(self.screen, HomeScreen) else ""
        if path:
            self.copy_to_clipboard(path)
            self.notify(quoted(path), title="Copied")

    def action_export(self) -> None:
        """Ask for a file name and write this view to it."""
        screen = self.screen
        if isinstance(screen, HomeScreen) and screen.snapshot is not None:
            name = report.file_name(screen.snapshot, screen.MODE, "txt")
            question = "Export to a new file. The suffix decides: .txt this view, .json all facts, .svg a picture"
            self.push_screen(Ask(question, name), self._export)

    def _export(self, path: str | None) -> None:
        screen = self.screen
        if not path or not isinstance(screen, HomeScreen) or screen.snapshot is None:
            return
        if path.endswith(".svg"):
            text = self.export_screenshot(title=f"overlay2 {screen.MODE}")
        elif path.endswith(".json"):
            text = report.as_json([screen.snapshot]) + "\n"
        else:
            text = "\n".join(map(visible, screen.text())) + "\n"
        try:
            self.notify(export.write_new(path, text), title="Exported")
        except OSError as error:
            self.notify(f"{path}: {error.strerror}", title="Nothing was written", severity="error")

    # Screens and hosts

    async def action_go(self, mode: str) -> None:
        """Show a screen."""
        if isinstance(self.screen, HomeScreen) and mode != self.current_mode:
            await self.switch_mode(mode)

    def arrived(self, mode: str) -> None:
        """A screen came to the front."""
        self.bring_up_to_date()
        if self._live is not None:
            self._live.poller.attend_processes(mode == "mounts")

    def choose(self, layer: str) -> None:
        """Make a layer the selected one, at once: a Snapshot that arrives now must not undo it."""
        self.host.selected = layer

    async def on_show_screen(self, message: ShowScreen) -> None:
        if message.layer is not None:
            self.choose(message.layer)
        await self.action_go(message.mode)
        self.bring_up_to_date()

    def action_host(self, step: int) -> None:
        """Show the next host."""
        self.show_host((self._current + step) % len(self.hosts))

    def show_host(self, number: int) -> None:
        """Show a host by its number."""
        self._current = number
        self.bring_up_to_date()

    # Time

    def action_pause(self) -> None:
        """Pause or resume updates."""
        if self._live is None:
            self.notify("Snapshots from files do not change.")
            return
        self.paused = 0.0 if self.paused else time.time()
        self._live.poller.pause(bool(self.paused))
        if not self.paused:
            self._live.poller.refresh()

    def action_refresh(self) -> None:
        """Read everything again now."""
        if self._live is None:
            return
        if self.paused:
            self.action_pause()
        self._live.poller.refresh()
        if isinstance(self.screen, FilesScreen):
            self.screen.reread()

    # Looks, help, palette

    def action_theme(self) -> None:
        """Switch between a dark and a light theme."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_help(self) -> None:
        """The purpose of the screen and all keys."""
        if isinstance(self.screen, HomeScreen):
            self.push_screen(Help(help_lines(commands.help_sections(self, self.screen))))

    def action_help_quit(self) -> None:
        """Ctrl+C does not end the program; Textual calls this instead."""
        self.notify("Press q to quit.")

    def get_system_commands(self, screen: Screen[None]) -> Iterable[SystemCommand]:
        """Every command that has a key, by its name."""
        yield SystemCommand("Choose theme", "Choose one of all themes", self.search_themes)
        for owner, binding in commands.palette(self, screen):
            yield SystemCommand(binding.description, binding.tooltip, self._runner(owner, binding.action))

    def _runner(self, owner: DOMNode, action: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            await self.run_action(action, owner)

        return run
