# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What keys do on every screen, and the same in the command palette."""

from __future__ import annotations

import os
import time

from overlay2.errors import Overlay2Error
from textual import work
from textual.app import SystemCommand
from textual.widgets import Input

from .model import files, report
from .model.plain import quoted, visible
from .screens.base import HomeScreen
from .screens.dialogs import Ask, Help, help_lines
from .screens.files import FilesScreen, sentence
from .widgets.bars import Choices


class Actions:
    """The app's actions; mixed into it."""

    # Getting around

    def action_go(self, mode):
        """Show a screen."""
        if not isinstance(self.screen, HomeScreen):
            return
        if mode != self.current_mode:
            self.switch_mode(mode)
        self.call_after_refresh(self._arrived)

    def _arrived(self):
        self.bring_up_to_date()
        if self._live is not None:
            self._live.poller.attend_processes(self.current_mode == "mounts")

    def action_host(self, step):
        """Show the next host."""
        self.show_host((self.hosts.index(self.host) + step) % len(self.hosts))

    def show_host(self, number):
        """Show a host by its number."""
        self._current = number
        self.bring_up_to_date()
        for choices in self.screen.query("#hosts").results(Choices):
            choices.chosen = str(number)

    def on_screen_resume(self):
        """A screen came to the front."""
        for choices in self.screen.query("#hosts").results(Choices):
            choices.chosen = str(self.hosts.index(self.host))

    # Time

    def action_pause(self):
        """Stand still, or go on."""
        if self._live is None:
            self.notify("What was gathered elsewhere does not change.")
            return
        self.paused = 0.0 if self.paused else time.time()
        self._live.poller.pause(bool(self.paused))
        if not self.paused:
            self._live.poller.refresh()

    def action_refresh(self):
        """Read everything again now."""
        if self._live is None:
            return
        if self.paused:
            self.action_pause()
        self._live.poller.refresh()
        if isinstance(self.screen, FilesScreen):
            self.screen.reread()

    # Looks

    def action_theme(self):
        """Switch between a dark and a light theme."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_help(self):
        """The screen's purpose and all keys, from the bindings."""
        screen = self.screen
        if not isinstance(screen, HomeScreen):
            return
        focused = self.focused
        sections = [(screen.MODE.capitalize(), screen.HELP, own_bindings(type(screen)))]
        if focused is not None and not isinstance(focused, Input):
            sections.append(("Here", getattr(type(focused), "HELP", "") or "", own_bindings(type(focused))))
        everywhere = "Ctrl+P opens the palette: every command by its name. The mouse works too."
        sections.append(("Everywhere", everywhere, own_bindings(type(self))))
        self.push_screen(Help(help_lines(sections)))

    def get_system_commands(self, screen):
        """Everything that is bound to a key, by its name."""
        for command in super().get_system_commands(screen):
            if command.title in ("Theme", "Quit"):
                yield command
        # The screen's own focus: the palette has the app's by now.
        owners = [self, screen] + ([screen.focused] if screen.focused is not None else [])
        seen = {"Quit"}
        for owner in owners:
            for binding in own_bindings(type(owner)):
                if binding.description and binding.description not in seen:
                    seen.add(binding.description)
                    yield SystemCommand(binding.description, binding.tooltip, self._runner(owner, binding.action))

    def _runner(self, owner, action):
        async def run():
            await self.run_action(action, owner)

        return run

    # What goes out

    def action_copy(self):
        """Copy the path of the selected layer, or of what the cursor is on."""
        path = self._path_here()
        if path:
            self.copy_to_clipboard(path)
            self.notify(quoted(path), title="Copied")

    def _path_here(self):
        snapshot, layer = self.host.snapshot, self.host.selected
        if snapshot is None or not layer:
            return ""
        path = os.path.join(snapshot.home, layer)
        if isinstance(self.screen, FilesScreen) and layer in snapshot.layers:
            grid = self.screen.query_one("#files")
            return snapshot.layers[layer].paths.upper + (grid.current or "")
        mount = snapshot.mount_of(layer)
        return mount.path if self.current_mode == "mounts" and mount is not None else path

    def action_export(self):
        """Ask for a file name and write this view to it."""
        if not isinstance(self.screen, HomeScreen) or self.screen.snapshot is None:
            return
        name = visible(report.file_name(self.screen.snapshot, self.current_mode, "txt"))
        self.push_screen(
            Ask("Export to which new file? .txt this view, .json all facts, .svg a picture", name), self._export
        )

    def _export(self, path):
        if not path:
            return
        screen = self.screen
        if path.endswith(".svg"):
            text = self.export_screenshot(title=f"overlay2 {screen.MODE}")
        elif path.endswith(".json"):
            text = report.as_json([screen.snapshot]) + "\n"
        else:
            text = "\n".join(map(visible, screen.text())) + "\n"
        try:
            # A new file only: an export must not overwrite anything.
            with open(os.path.expanduser(path), "x", encoding="utf-8", errors="backslashreplace") as target:
                target.write(text)
        except OSError as error:
            self.notify(f"{path}: {error.strerror}", title="Nothing was written", severity="error")
        else:
            self.notify(os.path.abspath(os.path.expanduser(path)), title="Exported")

    # Which layer a path comes from

    def find_owner(self, layer, path):
        """Go to the layer that a path of the mounted layer comes from."""
        if self.host.driver is None:
            self.notify("Files are not part of what was gathered.", severity="warning")
        else:
            self._find_owner(self.host.driver, layer, path)

    @work(thread=True, exclusive=True, group="owner", exit_on_error=False)
    def _find_owner(self, driver, layer, path):
        try:
            owner = files.owner_of(driver, layer, path)
        except (Overlay2Error, OSError) as error:
            self.call_from_thread(self.notify, sentence(error), severity="error")
            return
        self.call_from_thread(self._go_to_owner, path, owner)

    def _go_to_owner(self, path, owner):
        if owner is None:
            self.notify(f"{path} does not show in this layer.", severity="warning")
            return
        self.host.selected = owner
        self.notify(f"{path} comes from {owner}.")
        self.bring_up_to_date()


def own_bindings(owner, below=object):
    """The bindings that the program itself gives to the app, a screen or a widget, one for each key.

    :param owner: its class.
    :param below: leave out what this class has.
    """
    found = []
    for cls in owner.__mro__:
        if not cls.__module__.startswith(__package__) or issubclass(below, cls):
            continue
        for binding in cls.__dict__.get("BINDINGS", ()):
            found += [binding.with_key(key.strip()) for key in binding.key.split(",")]
    return found
