# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Looking into layers: folders, single files, and what a chain wastes. Each call opens and closes the chain."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import Optional

from overlay2.errors import printable
from overlay2.units import human_size
from overlay2.view import Entry, Version, Waste, chain_view

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
    """All that is known of one path."""

    path: str
    entry: Entry
    link_target: Optional[str]
    attributes: tuple[str, ...]
    versions: tuple[Version, ...]
    #: The first lines of a text file; None for what is no text or no file.
    lines: Optional[tuple[str, ...]]
    #: Why there are no lines, where it is a file.
    no_lines: str = ""


def sees_all(driver):
    """Whether this process may read what marks a folder as opaque (bool): ``trusted.*`` is for root only, xattr(7)."""
    return driver.features.xattr_class != "trusted" or os.geteuid() == 0


_BLIND = "Without root, opaque folders look like any other: what they hide seems to show."


def list_folder(driver, layer, folder, merged):
    """The :class:`Listing` of a folder.

    :param merged: what the mounted layer would show; else the layer's own files.
    :raises Overlay2Error: it can't be read.
    """
    with chain_view(driver.opened, layer) as view:
        entries = tuple(view.merged(folder) if merged else view.own(folder))
        problems = view.problems
        if len(view.layers) > 1 and not sees_all(driver):
            problems += (_BLIND,)
        return Listing(folder, entries, problems)


def look_at(driver, layer, entry):
    """The :class:`FileFacts` of an entry of a :class:`Listing`.

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


def owner_of(driver, layer, path):
    """Id of the layer that what shows at ``path`` comes from; None where nothing shows.

    :raises Overlay2Error: it can't be read.
    """
    clean = os.path.normpath("/" + path)
    with chain_view(driver.opened, layer) as view:
        return view.owner("" if clean in ("/", "//") else clean.replace("//", "/"))


def waste_of(driver, layer, progress=None):
    """What the layer's chain wastes: an ``overlay2.view.Waste``. Takes as long as measuring the chain.

    :param progress: called with the number of entries seen; what it raises ends the walk.
    :raises Overlay2Error: it can't be read.
    """
    with chain_view(driver.opened, layer) as view:
        return view.waste(progress=progress)


def _text(head):
    """The lines of a file's first bytes, or why it has none to show."""
    if head is None:
        return None, "it can't be opened as a file"
    if not head:
        return (), "it is empty"
    if b"\0" in head:
        return None, "it is no text"
    # The last bytes may be the first half of a character.
    text = head.decode("utf-8", "replace").removesuffix("\ufffd")
    if text.count("\ufffd") > len(text) // 10:
        return None, "it is no text"
    return tuple(printable(line.expandtabs(4)) for line in text.splitlines()[:_HEAD_LINES]), ""


_TYPES = {
    stat.S_IFDIR: "folder", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
}  # fmt: skip


def type_of(info):
    """What a file is, in a word (str)."""
    return _TYPES.get(stat.S_IFMT(info.st_mode), "something unknown")


def time_text(seconds: float) -> str:
    """A point in time for people, in local time; ``?`` for one that no calendar has."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "?"


def version_text(version):
    """What one layer has at a path, in a sentence's half (str)."""
    if version.whiteout:
        return "deletes it"
    what = type_of(version.info)
    if version.opaque:
        what += ", hides the folder below"
    if stat.S_ISREG(version.info.st_mode):
        what += f" of {human_size(version.info.st_size)}"
    return what + ("" if version.shows else ", hidden")


def waste_text(waste: Waste):
    """How much a chain wastes, in a sentence (str)."""
    return (
        f"{waste.score:.1%} of what the chain stores shows: "
        f"{human_size(waste.hidden)} of {human_size(waste.stored)} are hidden by layers further up."
    )
