# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The files of layers: folders, single files, and what a chain wastes. Each call opens and closes the chain."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from overlay2.units import human_size
from overlay2.view import Entry, Version, chain_view

from .plain import visible

if TYPE_CHECKING:
    from overlay2 import Driver
    from overlay2.waste import Waste

#: Bytes of a text file that are shown, and the most lines of it.
_HEAD_BYTES, _HEAD_LINES = 4096, 40


@dataclass(frozen=True)
class Listing:
    """One folder of a layer, own or merged."""

    folder: str
    entries: tuple[Entry, ...]
    #: What of the chain could not be seen, in plain sentences.
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileFacts:
    """All facts about one path."""

    path: str
    entry: Entry
    link_target: Optional[str]
    attributes: tuple[str, ...]
    versions: tuple[Version, ...]
    #: The first lines of a text file; None for anything else.
    lines: Optional[tuple[str, ...]]
    #: Why a file has no lines, as a clause.
    no_lines: str = ""


def sees_all(driver: Driver) -> bool:
    """True if this process may read the attributes of opaque folders: only root may read ``trusted.*``, xattr(7)."""
    return driver.features.xattr_class != "trusted" or os.geteuid() == 0


_BLIND = "Without root, opaque folders can't be told from others, so files that they hide are listed."


def list_folder(driver: Driver, layer: str, folder: str, merged: bool) -> Listing:
    """Lists a folder.

    :param merged: as the mounted layer shows it; otherwise the layer's own files.
    :raises Overlay2Error: it can't be read.
    """
    with chain_view(driver.opened, layer) as view:
        entries = tuple(view.merged(folder) if merged else view.own(folder))
        problems = view.problems
        if len(view.layers) > 1 and not sees_all(driver):
            problems += (_BLIND,)
        return Listing(folder, entries, problems)


def look_at(driver: Driver, layer: str, entry: Entry) -> FileFacts:
    """The facts about an entry of a :class:`Listing`.

    :raises Overlay2Error: it can't be read.
    """
    with chain_view(driver.opened, layer) as view:
        lines, no_lines = None, ""
        if stat.S_ISREG(entry.info.st_mode) and view.owner(entry.path) is not None:
            lines, no_lines = _text(view.head(entry.path, _HEAD_BYTES))
        return FileFacts(
            path=entry.path,
            entry=entry,
            link_target=view.link_target(entry.path),
            attributes=tuple(view.attributes(entry.path)),
            versions=tuple(view.versions(entry.path)),
            lines=lines,
            no_lines=no_lines,
        )


def owner_of(driver: Driver, layer: str, path: str) -> str | None:
    """Id of the layer that the file at ``path`` comes from; None if nothing shows there.

    :raises Overlay2Error: it can't be read.
    """
    clean = os.path.normpath("/" + path)
    with chain_view(driver.opened, layer) as view:
        return view.owner("" if clean in ("/", "//") else clean.replace("//", "/"))


def waste_of(driver: Driver, layer: str, progress: Callable[[int], None] | None = None) -> Waste:
    """How much the layer's chain stores that it does not show. Takes as long as measuring the chain.

    :param progress: called with the number of entries seen; an exception ends the walk.
    :raises Overlay2Error: it can't be read.
    """
    with chain_view(driver.opened, layer) as view:
        return view.waste(progress=progress)


def _text(head: bytes | None) -> tuple[tuple[str, ...] | None, str]:
    """The lines of a file's first bytes, or why there are none to show."""
    if head is None:
        return None, "it can't be opened as a file"
    if not head:
        return (), "the file is empty"
    if b"\0" in head:
        return None, "the file is binary"
    # The last bytes may be the first half of a character.
    text = head.decode("utf-8", "replace").removesuffix("\ufffd")
    if text.count("\ufffd") > len(text) // 10:
        return None, "the file is not UTF-8 text"
    return tuple(visible(line.expandtabs(4)) for line in text.splitlines()[:_HEAD_LINES]), ""


_TYPES = {
    stat.S_IFDIR: "folder", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
}  # fmt: skip


def type_of(info: os.stat_result) -> str:
    """The type of a file, in a word."""
    return _TYPES.get(stat.S_IFMT(info.st_mode), "file of unknown type")


def time_text(seconds: float) -> str:
    """A point in time for people, in local time; ``?`` for one that no calendar has."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "?"


def version_text(version: Version) -> str:
    """What one layer has at a path, as a phrase."""
    if version.whiteout:
        return "deletes it"
    text = type_of(version.info)
    if version.opaque:
        text += ", hides the folder below"
    if stat.S_ISREG(version.info.st_mode):
        text += f" of {human_size(version.info.st_size)}"
    if version.metacopy:
        text += ", its data is in a layer below"
    if version.path:
        text += f", stored as {visible(version.path)}"
    return text + ("" if version.shows else ", hidden")


def waste_text(waste: Waste) -> str:
    """How much a chain wastes, in a sentence."""
    return (
        f"{human_size(waste.hidden)} of the {human_size(waste.stored)} that the chain stores are hidden by layers "
        f"further up; {waste.score:.1%} shows."
    )
