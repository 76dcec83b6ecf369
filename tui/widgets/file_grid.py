# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The files of a layer as a tree. A folder is read when it is unfolded."""

from __future__ import annotations

import stat

from overlay2 import ChangeKind
from overlay2.units import human_size
from overlay2.view import Entry
from textual.binding import Binding
from textual.message import Message

from ..model.files import Listing
from ..model.snapshot import short
from .grid import Column, Grid
from .spans import Line, Span

#: Sign, word and meaning of what a layer did to a path.
SIGNS: dict[ChangeKind | None, tuple[str, str, str]] = {
    ChangeKind.ADD: ("+", "added", "good"),
    ChangeKind.MODIFY: ("~", "changed", "warn"),
    ChangeKind.DELETE: ("-", "deleted", "bad"),
    None: (" ", "", ""),
}


class FileGrid(Grid):
    """One row for each entry of the unfolded folders. :class:`Wanted` asks for their contents."""

    HELP = "+ added, ~ changed, - deleted by this layer; without a sign: unchanged from a lower layer."

    BINDINGS = [
        Binding("enter", "open", "Open", show=False, tooltip="Open or fold a folder"),
        Binding("space,right,l", "unfold", "Open/fold", key_display="space", tooltip="Open or fold a folder"),
        Binding("left,h", "up", "To parent", show=False, tooltip="Fold the folder, or go to its parent"),
    ]

    class Wanted(Message):
        """A folder is to be listed."""

        def __init__(self, folder: str) -> None:
            super().__init__()
            self.folder = folder

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            [
                Column("", 1),
                Column("Name", 0),
                Column("Size", 10, right=True),
                Column("Mode", 10, from_width=70),
                Column("From", 14, from_width=50),
            ],
            id=id,
        )
        self.clear("")

    def clear(self, empty: str) -> None:
        """Forget all folders and show the text ``empty``."""
        self._listings: dict[str, Listing] = {}
        self._entries: dict[str, Entry] = {}
        self._open = {""}
        self.empty = empty
        self.set_keys([])

    def put(self, listing: Listing) -> None:
        """Show the entries of a folder."""
        if self._listings.get(listing.folder) == listing:
            return
        self._listings[listing.folder] = listing
        self._entries.update({entry.path: entry for entry in listing.entries})
        if not listing.folder and not listing.entries:
            self.empty = "Nothing of it can be read." if listing.problems else "The layer is empty."
        self._arrange()

    @property
    def entry(self) -> Entry | None:
        """The entry under the cursor."""
        return self._entries.get(self.current or "")

    @property
    def open_folders(self) -> set[str]:
        """The folders that are unfolded."""
        return set(self._open)

    def _arrange(self) -> None:
        keys: list[str] = []
        pending = [""]
        while pending:
            path = pending.pop()
            if path:
                keys.append(path)
            if path in self._open and path in self._listings:
                entries = sorted(self._listings[path].entries, key=lambda entry: (not entry.is_folder, entry.name))
                pending.extend(entry.path for entry in reversed(entries))
        self.set_keys(keys)

    # Rendering

    def cells(self, key: str) -> list[Line]:
        entry = self._entries[key]
        sign, _word, meaning = SIGNS[entry.kind]
        size = "" if entry.is_folder else human_size(entry.info.st_size)
        return [
            (sign, meaning),
            self._name_cell(key, entry, meaning),
            (size, "dim" if entry.kind == ChangeKind.DELETE else ""),
            (stat.filemode(entry.info.st_mode), "dim"),
            (short(entry.owner), "dim"),
        ]

    def _name_cell(self, key: str, entry: Entry, meaning: str) -> list[Span]:
        line = [("  " * (key.count("/") - 1), "")]
        if entry.is_folder:
            line.append(("▾ " if key in self._open else "▸ ", "dim"))
        else:
            line.append(("  ", ""))
        line.append((entry.name + ("/" if entry.is_folder else ""), meaning))
        if entry.opaque and entry.kind != ChangeKind.ADD:
            line.append(("  opaque", "warn"))
        elif entry.kind == ChangeKind.DELETE and not entry.owner:
            line.append(("  whiteout without effect", "dim"))
        if key in self._open and key not in self._listings:
            line.append(("  reading…", "dim"))
        return line

    # Actions

    def action_open(self) -> None:
        self.action_unfold()

    def action_unfold(self) -> None:
        entry = self.entry
        if entry is None or not entry.is_folder:
            return
        self._open ^= {entry.path}
        if entry.path in self._open and entry.path not in self._listings:
            self.post_message(self.Wanted(entry.path))
        self._arrange()

    def action_up(self) -> None:
        entry = self.entry
        if entry is None:
            return
        if entry.path in self._open:
            self.action_unfold()
        else:
            self.go_to(entry.path.rpartition("/")[0])

    def fold(self, folder: str) -> None:
        """Fold a folder that could not be read."""
        self._open.discard(folder)
        self._arrange()
