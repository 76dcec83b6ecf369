# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Files: what a layer changed, the merged view, and what its chain wastes."""

from __future__ import annotations

import stat
import time
from collections.abc import Sequence

from overlay2 import Driver
from overlay2.errors import Overlay2Error
from overlay2.units import human_size
from overlay2.view import Entry
from overlay2.waste import Waste
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static
from textual.worker import get_current_worker

from ..messages import ShowScreen
from ..model import files
from ..model.sizes import Cancelled
from ..model.snapshot import Snapshot, short
from ..widgets.bars import Choices
from ..widgets.file_grid import SIGNS, FileGrid
from ..widgets.grid import Grid
from ..widgets.panel import Panel
from ..widgets.spans import Line, content
from .base import HomeScreen, vanished_lines
from .layer_facts import sentence

_NO_FILES = "Snapshots from files do not contain the files of layers. Run overlay2-tui on that host."
#: Seconds between two readings of the unfolded folders, and the rest after one, times what it took.
_FOLLOW_EVERY, _FOLLOW_REST = 2.0, 20.0
_VIEWS = (("own", "own changes"), ("merged", "merged view"))


class FilesScreen(HomeScreen):
    """The files of the selected layer."""

    MODE = "files"
    HELP = "What the selected layer added (+), changed (~) and deleted (-), or everything in its merged view."
    BINDINGS = [
        Binding("m", "merge", "Own/merged", tooltip="Switch between the layer's own changes and the merged view"),
        Binding(
            "w", "waste", "Waste", tooltip="Measure what the chain stores but does not show; this reads every folder"
        ),
        Binding("o", "owner", "Owner", show=False, tooltip="Go to the files of the layer that this comes from"),
        Binding("tab", "app.focus_next", "Next pane", show=False, tooltip="To the next pane"),
    ]

    merged = reactive(False, init=False)

    class Listed(Message):
        """A folder was read."""

        def __init__(self, layer: str, merged: bool, listing: files.Listing) -> None:
            super().__init__()
            self.layer, self.merged, self.listing = layer, merged, listing

    class Looked(Message):
        """A file was read: its facts."""

        def __init__(self, layer: str, path: str, lines: list[Line]) -> None:
            super().__init__()
            self.layer, self.path, self.lines = layer, path, lines

    class Failed(Message):
        """A folder can't be read; "" is the layer itself."""

        def __init__(self, layer: str, folder: str, text: str) -> None:
            super().__init__()
            self.layer, self.folder, self.text = layer, folder, text

    def __init__(self) -> None:
        super().__init__()
        #: The layer that is shown, and whether merged.
        self._shown: tuple[str, bool] | None = None
        #: Folders that are being read for the first time.
        self._pending: set[str] = set()
        self._waste: list[Line] = []
        #: Readings under way, when the first of them began, and when to read again (time.monotonic).
        self._readings, self._began, self._next = 0, 0.0, 0.0

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(_FOLLOW_EVERY, self._follow_files)

    def body(self) -> ComposeResult:
        yield Choices(_VIEWS, "own", id="view")
        yield Static("", id="unseen", markup=False)
        with Horizontal():
            yield FileGrid(id="files")
            yield Panel("File", id="file")

    def show(self, snapshot: Snapshot) -> None:
        facts, panel = self.facts, self.query_one("#file", Panel)
        driver = self.inspector.host.driver
        if facts is None:
            self._forget(None, "")
            panel.set_lines(vanished_lines(self.selected, snapshot))
        elif driver is None:
            self._forget(None, _NO_FILES)
            panel.set_lines([])
        elif self._shown != (facts.id, self.merged):
            self._forget((facts.id, self.merged), "Reading…")
            self._say_unseen(())
            panel.set_title(f"File of {facts.title}")
            panel.set_lines([])
            self._read_folder(driver, facts.id, "")

    def _forget(self, shown: tuple[str, bool] | None, empty: str) -> None:
        self._shown = shown
        self._pending.clear()
        self._waste = []
        self.query_one(FileGrid).clear(empty)

    def path_here(self) -> str:
        entry = self.query_one(FileGrid).entry
        layer = entry.owner if entry is not None and self.merged and entry.owner else self.selected
        facts = self.snapshot.layers.get(layer) if self.snapshot is not None else None
        if facts is None:
            return ""
        return facts.paths.upper + (entry.path if entry is not None else "")

    @property
    def is_reading(self) -> bool:
        return bool(self._pending)

    def text(self) -> list[str]:
        return self.query_one(FileGrid).text()

    def _say_unseen(self, sentences: Sequence[str]) -> None:
        """Say which layers of the chain can't be read, so that nobody takes the list for complete."""
        unseen = self.query_one("#unseen", Static)
        unseen.display = bool(sentences)
        lines: list[Line] = [[("! ", "warn"), (text, "")] for text in sentences]
        unseen.update(content(*lines))

    def watch_merged(self, merged: bool) -> None:
        self.query_one("#view", Choices).chosen = "merged" if merged else "own"
        if self.snapshot is not None and self.snapshot.failure is None:
            self.show(self.snapshot)

    def on_choices_chosen(self, message: Choices.Chosen) -> None:
        if message.choices.id == "view":
            message.stop()
            self.merged = message.key == "merged"
        else:
            super().on_choices_chosen(message)

    def action_merge(self) -> None:
        self.merged = not self.merged

    def reread(self) -> None:
        """Read all unfolded folders again."""
        driver = self.inspector.host.driver
        if self._shown is not None and driver is not None:
            for folder in self.query_one(FileGrid).open_folders:
                self._begin(driver, self._shown[0], folder)

    def _follow_files(self) -> None:
        """Read again while the screen is in front: no event tells of changes deep in a layer."""
        if self.is_current and not self.inspector.paused and not self._readings and time.monotonic() >= self._next:
            self.reread()

    # Folders

    def _read_folder(self, driver: Driver, layer: str, folder: str) -> None:
        self._pending.add(folder)
        self._begin(driver, layer, folder)

    def _begin(self, driver: Driver, layer: str, folder: str) -> None:
        if not self._readings:
            self._began = time.monotonic()
        self._readings += 1
        self._list(driver, layer, folder, self.merged)

    def _end(self) -> None:
        self._readings -= 1
        now = time.monotonic()
        self._next = now + (now - self._began) * _FOLLOW_REST

    def on_file_grid_wanted(self, message: FileGrid.Wanted) -> None:
        message.stop()
        driver = self.inspector.host.driver
        if self._shown is not None and driver is not None:
            self._read_folder(driver, self._shown[0], message.folder)

    @work(thread=True, group="folders", exit_on_error=False)
    def _list(self, driver: Driver, layer: str, folder: str, merged: bool) -> None:
        try:
            listing = files.list_folder(driver, layer, folder, merged)
        except (Overlay2Error, OSError) as error:
            self.post_message(self.Failed(layer, folder, sentence(error)))
            return
        self.post_message(self.Listed(layer, merged, listing))

    def on_files_screen_listed(self, message: Listed) -> None:
        self._end()
        if self._shown == (message.layer, message.merged):
            grid = self.query_one(FileGrid)
            self._pending.discard(message.listing.folder)
            grid.put(message.listing)
            self._say_unseen(message.listing.problems)
            if not grid.keys:
                self._show_panel([])

    def on_files_screen_failed(self, message: Failed) -> None:
        self._end()
        if self._shown is not None and self._shown[0] == message.layer:
            grid = self.query_one(FileGrid)
            self._pending.discard(message.folder)
            if message.folder:
                grid.fold(message.folder)
            elif not grid.keys:
                grid.clear("The layer can't be read.")
            self._show_panel([(message.text, "bad")])

    # One file

    def on_grid_highlighted(self, message: Grid.Highlighted) -> None:
        message.stop()
        entry, driver = self.query_one(FileGrid).entry, self.inspector.host.driver
        if self._shown is not None and entry is not None and driver is not None:
            self._look(driver, self._shown[0], entry)

    def on_grid_opened(self, message: Grid.Opened) -> None:
        message.stop()

    @work(thread=True, exclusive=True, group="file", exit_on_error=False)
    def _look(self, driver: Driver, layer: str, entry: Entry) -> None:
        try:
            lines = fact_lines(files.look_at(driver, layer, entry))
        except (Overlay2Error, OSError) as error:
            lines = [(sentence(error), "bad")]
        if not get_current_worker().is_cancelled:
            self.post_message(self.Looked(layer, entry.path, lines))

    def on_files_screen_looked(self, message: Looked) -> None:
        if (
            self._shown is not None
            and self._shown[0] == message.layer
            and self.query_one(FileGrid).current == message.path
        ):
            self._show_panel(message.lines)

    def _show_panel(self, lines: list[Line]) -> None:
        """The facts of a file with the summary of the waste below; without a file, all that is known of the waste."""
        waste = self._waste
        self.query_one("#file", Panel).set_lines([*lines, "", *waste[:2]] if lines and waste else lines or waste)

    def action_owner(self) -> None:
        entry = self.query_one(FileGrid).entry
        if entry is not None and entry.owner and entry.owner != self.selected:
            self.post_message(ShowScreen("files", entry.owner))

    # Waste

    def action_waste(self) -> None:
        driver = self.inspector.host.driver
        if self._shown is not None and driver is not None:
            self._waste = [("Measuring the chain…", "dim")]
            self._show_panel([])
            self._measure_waste(driver, self._shown[0])

    @work(thread=True, exclusive=True, group="waste", exit_on_error=False)
    def _measure_waste(self, driver: Driver, layer: str) -> None:
        worker = get_current_worker()

        def progress(_entries: int) -> None:
            if worker.is_cancelled:
                raise Cancelled

        try:
            lines = waste_lines(files.waste_of(driver, layer, progress))
        except Cancelled:
            return
        except (Overlay2Error, OSError) as error:
            lines = [(sentence(error), "bad")]
        self.app.call_from_thread(self._have_waste, layer, lines)

    def _have_waste(self, layer: str, lines: list[Line]) -> None:
        if self._shown is not None and self._shown[0] == layer:
            self._waste = lines
            self._show_panel([])


def fact_lines(facts: files.FileFacts) -> list[Line]:
    """The facts about a file."""
    entry, info = facts.entry, facts.entry.info
    _sign, word, meaning = SIGNS[entry.kind]
    lines: list[Line] = [
        [(facts.path, "strong")],
        [
            (files.type_of(info), ""),
            (f", {word} by this layer" if word else f", from {short(entry.owner)}", meaning or "dim"),
        ],
    ]
    if entry.opaque:
        lines.append([("opaque: hides this folder of all lower layers", "warn")])
    if entry.redirect:
        lines.append([("renamed: shows ", "warn"), (entry.redirect, ""), (" of the lower layers", "warn")])
    if entry.metacopy:
        lines.append([("metacopy: only attributes changed; the data is in a lower layer", "warn")])
    if facts.link_target is not None:
        lines.append([("target   ", "dim"), (facts.link_target, "")])
    if stat.S_ISREG(info.st_mode):
        links = f", {info.st_nlink} hard links" if info.st_nlink > 1 else ""
        lines.append([("size     ", "dim"), (f"{human_size(info.st_size)}{links}", "")])
    if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        lines.append([("device   ", "dim"), (f"{info.st_rdev >> 8 & 0xFFF}:{info.st_rdev & 0xFF}", "")])
    lines += [
        [("mode     ", "dim"), (f"{stat.filemode(info.st_mode)}, owner {info.st_uid}:{info.st_gid}", "")],
        [("modified ", "dim"), (files.time_text(info.st_mtime), "")],
    ]
    if facts.attributes:
        lines.append([("xattrs   ", "dim"), (", ".join(facts.attributes), "")])
    if len(facts.versions) > 1 or entry.kind is None:
        lines += ["", ("In the chain, uppermost first", "title")]
        for version in facts.versions:
            meaning = "strong" if version.shows else "dim"
            lines.append([(f"{short(version.owner):<14} ", meaning), (files.version_text(version), "")])
    if facts.lines is not None:
        lines += ["", ("First lines", "title"), *[(line or " ", "") for line in facts.lines]]
        if not facts.lines:
            lines.append(("The file is empty.", "dim"))
    elif facts.no_lines:
        lines += ["", (f"No preview: {facts.no_lines}.", "dim")]
    return lines


def waste_lines(waste: Waste) -> list[Line]:
    """What a chain wastes, the largest first."""
    lines: list[Line] = [
        ("Waste of the chain", "title"),
        (files.waste_text(waste), "good" if waste.score >= 0.9 else "warn"),
    ]
    for path, size, copies in waste.worst[:15]:
        times = f" in {copies} copies" if copies > 1 else ""
        lines.append([(f"{human_size(size):>10} ", "warn"), (path, ""), (times, "dim")])
    return lines
