# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Files: what a layer changed, what shows through it, and what its chain wastes."""

from __future__ import annotations

import stat

from overlay2.errors import Overlay2Error, printable
from overlay2.units import human_size
from textual import work
from textual.binding import Binding
from textual.containers import Horizontal
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static
from textual.worker import get_current_worker

from ..messages import ShowScreen
from ..model import files
from ..model.sizes import Cancelled
from ..model.snapshot import short
from ..widgets.bars import Choices
from ..widgets.file_grid import SIGNS, FileGrid
from ..widgets.grid import Grid
from ..widgets.panel import Panel
from ..widgets.spans import content
from .base import HomeScreen, vanished_lines

_VIEWS = (("own", "own changes"), ("merged", "merged view"))


class FilesScreen(HomeScreen):
    """The files of the selected layer."""

    MODE = "files"
    HELP = (
        "What the selected layer added (+), changed (~) and deleted (-); or, merged, all that shows when it is mounted."
    )
    BINDINGS = [
        Binding("m", "merge", "Own/merged", tooltip="Switch between the layer's own changes and the merged view"),
        Binding(
            "w", "waste", "Waste", tooltip="Measure what the chain stores and does not show; this reads every folder"
        ),
        Binding("o", "owner", "Owner", show=False, tooltip="Go to the files of the layer that this comes from"),
        Binding("tab", "app.focus_next", "Next pane", show=False, tooltip="To the next pane"),
    ]

    merged = reactive(False, init=False)

    class Listed(Message):
        """A folder was read."""

        def __init__(self, layer, merged, listing):
            super().__init__()
            self.layer, self.merged, self.listing = layer, merged, listing

    class Looked(Message):
        """A file was looked at: lines to show."""

        def __init__(self, layer, path, lines):
            super().__init__()
            self.layer, self.path, self.lines = layer, path, lines

    class Failed(Message):
        """The layer, or a folder of it, can't be read."""

        def __init__(self, layer, text):
            super().__init__()
            self.layer, self.text = layer, text

    def __init__(self):
        super().__init__()
        self._shown = None
        self._waste = None

    def body(self):
        yield Choices(_VIEWS, "own", id="view")
        yield Static("", id="unseen", markup=False)
        with Horizontal():
            yield FileGrid(id="files")
            yield Panel("File", id="file")

    def show(self):
        facts, grid, panel = self.facts, self.query_one(FileGrid), self.query_one("#file", Panel)
        if facts is None:
            self._shown = None
            grid.clear("")
            panel.set_lines(vanished_lines(self.selected, self.snapshot))
        elif self.app.host.driver is None:
            self._shown = None
            grid.clear("Files are not part of what was gathered; look at them on that host.")
            panel.set_lines([])
        elif self._shown != (facts.id, self.merged):
            self._shown = (facts.id, self.merged)
            self._waste = None
            self._say_unseen(())
            grid.clear("Reading…")
            panel.set_title(f"File of {facts.title}")
            panel.set_lines([])
            self._list(self.app.host.driver, facts.id, "", self.merged)

    def text(self):
        return self.query_one(FileGrid).text()

    def _say_unseen(self, sentences):
        """What of the chain can't be seen, so that nobody takes the list for all there is."""
        unseen = self.query_one("#unseen", Static)
        unseen.display = bool(sentences)
        unseen.update(content(*([("! ", "warn"), (text, "")] for text in sentences)))

    def watch_merged(self, merged):
        self.query_one("#view", Choices).chosen = "merged" if merged else "own"
        self.show()

    def on_choices_chosen(self, message: Choices.Chosen):
        if message.choices.id == "view":
            message.stop()
            self.merged = message.key == "merged"
        else:
            super().on_choices_chosen(message)

    def action_merge(self):
        self.merged = not self.merged

    def reread(self):
        """Read all open folders again."""
        if self._shown is not None and self.app.host.driver is not None:
            for folder in self.query_one(FileGrid).open_folders:
                self._list(self.app.host.driver, self._shown[0], folder, self.merged)

    # Folders

    def on_file_grid_wanted(self, message: FileGrid.Wanted):
        message.stop()
        if self._shown is not None and self.app.host.driver is not None:
            self._list(self.app.host.driver, self._shown[0], message.folder, self.merged)

    @work(thread=True, group="folders", exit_on_error=False)
    def _list(self, driver, layer, folder, merged):
        try:
            listing = files.list_folder(driver, layer, folder, merged)
        except (Overlay2Error, OSError) as error:
            self.post_message(self.Failed(layer, sentence(error)))
            return
        self.post_message(self.Listed(layer, merged, listing))

    def on_files_screen_listed(self, message: Listed):
        if self._shown == (message.layer, message.merged):
            self.query_one(FileGrid).put(message.listing)
            self._say_unseen(message.listing.problems)
            if not self.query_one(FileGrid).keys:
                self._show_panel([])

    def on_files_screen_failed(self, message: Failed):
        if self._shown is not None and self._shown[0] == message.layer:
            grid = self.query_one(FileGrid)
            if not grid.keys:
                grid.clear("It can't be read.")
            self._show_panel([(message.text, "bad")])

    # One file

    def on_grid_highlighted(self, message: Grid.Highlighted):
        message.stop()
        entry = self.query_one(FileGrid).entry
        if self._shown is not None and entry is not None and self.app.host.driver is not None:
            self._look(self.app.host.driver, self._shown[0], entry)

    def on_grid_opened(self, message: Grid.Opened):
        message.stop()

    @work(thread=True, exclusive=True, group="file", exit_on_error=False)
    def _look(self, driver, layer, entry):
        try:
            lines = fact_lines(files.look_at(driver, layer, entry))
        except (Overlay2Error, OSError) as error:
            lines = [(sentence(error), "bad")]
        if not get_current_worker().is_cancelled:
            self.post_message(self.Looked(layer, entry.path, lines))

    def on_files_screen_looked(self, message: Looked):
        if (
            self._shown is not None
            and self._shown[0] == message.layer
            and self.query_one(FileGrid).current == message.path
        ):
            self._show_panel(message.lines)

    def _show_panel(self, lines):
        """The facts of a file with the chain's score below; or, without any, all that is known of the waste."""
        waste = self._waste or []
        self.query_one("#file", Panel).set_lines([*lines, "", *waste[:2]] if lines and waste else lines or waste)

    def action_owner(self):
        entry = self.query_one(FileGrid).entry
        if entry is not None and entry.owner and entry.owner != self.selected:
            self.post_message(ShowScreen("files", entry.owner))

    # Waste

    def action_waste(self):
        if self._shown is not None and self.app.host.driver is not None:
            self._waste = [("Measuring the chain…", "dim")]
            self._show_panel([])
            self._measure_waste(self.app.host.driver, self._shown[0])

    @work(thread=True, exclusive=True, group="waste", exit_on_error=False)
    def _measure_waste(self, driver, layer):
        worker = get_current_worker()

        def progress(_entries):
            if worker.is_cancelled:
                raise Cancelled

        try:
            lines = waste_lines(files.waste_of(driver, layer, progress))
        except Cancelled:
            return
        except (Overlay2Error, OSError) as error:
            lines = [(sentence(error), "bad")]
        self.app.call_from_thread(self._have_waste, layer, lines)

    def _have_waste(self, layer, lines):
        if self._shown is not None and self._shown[0] == layer:
            self._waste = lines
            self._show_panel([])


def sentence(error):
    """An error of the core or the kernel as a sentence."""
    if isinstance(error, Overlay2Error):
        return f"{error}."
    return f"It can't be read: {error.strerror or error}."


def fact_lines(facts):
    """All that is known of a file."""
    entry, info = facts.entry, facts.entry.info
    _sign, word, meaning = SIGNS[entry.kind]
    lines = [
        [(printable(facts.path), "strong")],
        [
            (files.type_of(info), ""),
            (f", {word} by this layer" if word else f", from {short(entry.owner)}", meaning or "dim"),
        ],
    ]
    if entry.opaque:
        lines.append([("opaque: hides the folder of that name in every layer below", "warn")])
    if entry.redirect:
        lines.append(
            [("renamed: shows the content of ", "warn"), (entry.redirect, ""), (" in the layers below", "warn")]
        )
    if entry.metacopy:
        lines.append([("metacopy: only attributes changed; the data is in a layer below", "warn")])
    if facts.link_target is not None:
        lines.append([("leads to ", "dim"), (printable(facts.link_target), "")])
    if stat.S_ISREG(info.st_mode):
        lines.append(
            [
                ("size     ", "dim"),
                (f"{human_size(info.st_size)}, {info.st_nlink} name{'s' * (info.st_nlink != 1)}", ""),
            ]
        )
    if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        lines.append([("device   ", "dim"), (f"{info.st_rdev >> 8 & 0xFFF}:{info.st_rdev & 0xFF}", "")])
    lines += [
        [("mode     ", "dim"), (f"{stat.filemode(info.st_mode)}, owner {info.st_uid}:{info.st_gid}", "")],
        [("changed  ", "dim"), (files.time_text(info.st_mtime), "")],
    ]
    if facts.attributes:
        lines.append([("xattrs   ", "dim"), (printable(", ".join(facts.attributes)), "")])
    if len(facts.versions) > 1 or entry.kind is None:
        lines += ["", ("In the chain, uppermost first", "title")]
        lines += [
            [(f"{short(version.owner):<14} ", "strong" if version.shows else "dim"), (files.version_text(version), "")]
            for version in facts.versions
        ]
    if facts.lines is not None:
        lines += ["", ("First lines", "title"), *([line or " "] and [(line, "")] for line in facts.lines)]
        if not facts.lines:
            lines.append(("The file is empty.", "dim"))
    elif facts.no_lines:
        lines += ["", (f"No text to show: {facts.no_lines}.", "dim")]
    return lines


def waste_lines(waste):
    """What a chain wastes, the worst first."""
    lines = [("Waste of the chain", "title"), (files.waste_text(waste), "good" if waste.score >= 0.9 else "warn")]
    for path, size, copies in waste.worst[:15]:
        times = f" in {copies} copies" if copies > 1 else ""
        lines.append([(f"{human_size(size):>10} ", "warn"), (printable(path), ""), (times, "dim")])
    return lines
