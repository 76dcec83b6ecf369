# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Names in archives that remove something of the layers below (OCI image-spec, layer.md, "Whiteouts").

``.wh.x`` hides ``x``, ``.wh..wh..opq`` hides everything that lower layers have in its directory, other ``.wh..wh.``
names at the top are AUFS' own bookkeeping. Whiteouts concern lower layers only: an entry of the same archive stays,
whichever comes first. A whiteout alone does not bring back its directory if the same archive deletes that.
:mod:`.overlay_whiteouts` and :mod:`.merge_whiteouts` apply them, and the mounted result is the same.
"""

from __future__ import annotations

import enum
import os
import stat
from typing import Optional, Protocol, Set, Tuple

from ..errors import ArchiveError
from ..linux.overlayfs import is_whiteout
from ..tree import walk

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_META_PREFIX = b".wh..wh."
#: Folder of AUFS' stand-ins for files with several names.
PLINKS = b".wh..wh.plnk"

#: What a whiteout of the empty name, of ``.`` and of ``..`` would be called.
_NAMELESS = frozenset((b".wh.", b".wh..", b".wh..."))


class Whiteouts(enum.Enum):
    """What :func:`~.unpack.unpack` makes of whiteouts."""

    #: devices and attributes as overlayfs keeps them: the target is a layer's upper folder
    OVERLAY = "overlay"
    #: removal: the target is a mounted layer or a plain tree
    MERGE = "merge"


def is_aufs_metadata(path: bytes) -> bool:
    """Whether an entry's path lies in what AUFS keeps for itself at the top of a branch."""
    return path.startswith(_META_PREFIX) and path != OPAQUE


def check_path(path: bytes, base: bytes) -> None:
    """Refuse names that can't be whiteouts, and names below a whiteout.

    :param path: has :data:`PREFIX` in it somewhere.
    :param base: its last component.
    :raises ArchiveError: saying so.
    """
    if base in _NAMELESS:
        raise ArchiveError("a whiteout without a name", path=path)
    if any(part.startswith(PREFIX) for part in path.split(b"/")[:-1]):
        raise ArchiveError("an entry below a whiteout", path=path)


class Converter(Protocol):
    """How whiteouts are applied: see :class:`~.overlay_whiteouts.OverlayWhiteouts`."""

    #: The archive's entry for the root changes nothing, as in moby's overlay2.
    keeps_root: bool
    #: A whiteout needs its directory to exist; otherwise there is nothing to delete if it does not.
    needs_parent: bool

    def make_opaque(self, dir_fd: int, owner: Tuple[int, int], times: Tuple[int, int]) -> bool:
        """Hide what lower layers have in a directory; returns True if directories may have been removed.

        :param owner: host uid and gid of the entry; ``times`` are its access and modification in nanoseconds.
        """

    def hide(self, dir_fd: int, name: bytes, owner: Tuple[int, int], times: Tuple[int, int]) -> bool:
        """Hide a name of lower layers; parameters and result as for :meth:`make_opaque`."""

    def uncover(self, dir_fd: int, name: bytes, folder: bool) -> bool:
        """Replace a whiteout by the archive's own entry; returns False if the name is not a whiteout.

        :param folder: make a directory in its place, which hides what the whiteout hid.
        """

    def imply(self, dir_fd: int, name: bytes) -> None:
        """Note a directory that was made only to hold whiteouts."""

    def keep(self, folder: int) -> None:
        """Note that the archive itself brings an open directory."""

    def finish(self) -> None:
        """Complete what needs the whole archive."""

    def close(self) -> None:
        """Close all descriptors."""


#: Most directories that :class:`ImpliedFolders` remembers.
_IMPLIED = 1 << 16


class ImpliedFolders:
    """Directories that only exist because whiteouts are in them: a deletion of one of these is not undone by them.

    If there are too many, some are forgotten and stay as empty directories; what they contained is still hidden.
    """

    def __init__(self) -> None:
        self._known: Set[Tuple[int, int]] = set()

    def __bool__(self) -> bool:
        return bool(self._known)

    def __contains__(self, info: os.stat_result) -> bool:
        return (info.st_dev, info.st_ino) in self._known

    def add(self, info: os.stat_result) -> None:
        """Remember the directory that stat(2) described."""
        if len(self._known) >= _IMPLIED:
            self._known.clear()
        self._known.add((info.st_dev, info.st_ino))

    def discard(self, info: os.stat_result) -> None:
        """Forget the directory that stat(2) described."""
        self._known.discard((info.st_dev, info.st_ino))

    def hold_nothing_else(self, folder: int) -> bool:
        """True if an open directory is one of these and has nothing but whiteouts and others of these in it."""
        if os.fstat(folder) not in self:
            return False
        try:
            walk(folder, self._whiteouts_only)
        except _OtherContent:
            return False
        return True

    def _whiteouts_only(self, folder: int) -> list[str]:
        folders = []
        for name in os.listdir(folder):
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode) and info in self:
                folders.append(name)
            elif not is_whiteout(info):
                raise _OtherContent
        return folders


class _OtherContent(Exception):
    """A directory has content of its own."""


def stat_or_none(dir_fd: int, path: bytes) -> Optional[os.stat_result]:
    """lstat(2) of a path below an open directory; None if it is missing."""
    try:
        return os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def path_of(descriptor: int, root_path: bytes = b"") -> bytes:
    """Path of an open directory as this process sees it now, relative to ``root_path`` if that is given."""
    path = os.readlink(b"/proc/self/fd/%d" % descriptor)
    return path[len(root_path) :].strip(b"/") if root_path else path
