# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Names in archives that remove something of the layers below (OCI image-spec, layer.md, "Whiteouts").

``.wh.x`` hides ``x``, ``.wh..wh.opq`` hides all that its folder has below, other ``.wh..wh.`` names at the top are
AUFS' own bookkeeping. Whiteouts concern lower layers only: what the same archive brings stays, whichever comes first.
"""

from __future__ import annotations

import enum
import os
import stat

from ..errors import ArchiveError
from ..linux import xattr
from ..linux.beneath import open_folder
from ..linux.overlayfs import is_whiteout
from ..tree import remove_at, walk
from .folders import FOLDER

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


def is_aufs_metadata(path):
    """Whether an entry's path (bytes) lies in what AUFS keeps for itself at the top of a branch."""
    return path.startswith(_META_PREFIX) and path != OPAQUE


def check_path(path, base):
    """Refuse names that can't be whiteouts, and names below a whiteout.

    :param path: has :data:`PREFIX` in it somewhere (bytes).
    :param base: its last component.
    :raises ArchiveError: saying so.
    """
    if base in _NAMELESS:
        raise ArchiveError("a whiteout without a name", path=path)
    if any(part.startswith(PREFIX) for part in path.split(b"/")[:-1]):
        raise ArchiveError("an entry below a whiteout", path=path)


class OverlayWhiteouts:
    """Whiteouts as overlayfs keeps them, in a layer's upper folder.

    :param xattr_class: ``trusted`` or ``user``.
    """

    #: moby leaves a layer's own folder as the driver made it, whatever the archive says of its root
    keeps_root = True
    removes = False

    def __init__(self, xattr_class):
        self._opaque = xattr.opaque(xattr_class)

    def make_opaque(self, dir_fd, name=b"."):
        """Hide what the layers below have in a folder."""
        folder = os.open(name, FOLDER, dir_fd=dir_fd)
        try:
            os.setxattr(folder, self._opaque, xattr.OPAQUE)
        finally:
            os.close(folder)

    def hide(self, dir_fd, name, owner, times):
        """Hide what the layers below have at a name, by a device.

        :param owner: whose it is (uid, gid).
        :param times: (access, modification) in nanoseconds; with the archive's the copy of a layer has its diff ID.
        """
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=dir_fd)
            os.chown(name, owner[0], owner[1], dir_fd=dir_fd, follow_symlinks=False)
            os.utime(name, ns=times, dir_fd=dir_fd, follow_symlinks=False)
        except FileExistsError:
            # This archive has put something there: that stays, and only what a folder has below is hidden.
            if stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
                self.make_opaque(dir_fd, name)

    def uncover(self, dir_fd, name, folder):
        """Take away a whiteout that the archive now puts something in place of; returns whether there was one.

        :param folder: a folder is to come, which has to hide what the whiteout hid. It is made here.
        """
        if not is_whiteout(os.stat(name, dir_fd=dir_fd, follow_symlinks=False)):
            return False
        os.unlink(name, dir_fd=dir_fd)
        if folder:
            os.mkdir(name, 0o700, dir_fd=dir_fd)
            self.make_opaque(dir_fd, name)
        return True


class MergeWhiteouts:
    """Whiteouts carried out: what they name is removed, but for what this archive has put there.

    :param root_fd: the tree that is unpacked into.
    :param upper_fd: where what this archive has put there shows: the upper folder of an overlay mount, or ``root_fd``
        itself if that was empty. None: not known, all goes.
    """

    keeps_root = False
    #: folders may be gone after a call
    removes = True

    def __init__(self, root_fd, upper_fd):
        self._upper_fd = upper_fd
        self._root_path = _path_of(root_fd)

    def make_opaque(self, dir_fd):
        """Remove what a folder has from below."""
        self._prune_below(dir_fd, b".")

    def hide(self, dir_fd, name, _owner, _times):
        """Remove what a name has from below."""
        upper = self._upper_of(dir_fd)
        try:
            if self._prune_one(dir_fd, upper, name):
                self._prune_below(dir_fd, name)
        finally:
            _close(upper)

    def uncover(self, _dir_fd, _name, _folder):
        """There are no whiteouts in a merged tree."""
        return False

    def _prune_below(self, dir_fd, name):
        folder = os.open(name, FOLDER, dir_fd=dir_fd)
        try:
            walk(folder, self._prune)
        finally:
            os.close(folder)

    def _prune(self, dir_fd):
        """Remove from a folder what this archive has not put there; returns names of the folders to look into."""
        upper = self._upper_of(dir_fd)
        try:
            return [name for name in os.listdir(dir_fd) if self._prune_one(dir_fd, upper, name)]
        finally:
            _close(upper)

    def _prune_one(self, dir_fd, upper, name):
        """Remove a name unless this archive has put it there; returns whether a folder is left to look into."""
        info = _stat(upper, name) if upper is not None else None
        if info is None or is_whiteout(info):
            remove_at(dir_fd, name)
            return False
        return stat.S_ISDIR(info.st_mode)

    def _upper_of(self, dir_fd):
        """The folder of the upper tree that belongs to one of the merged tree, or None; to be closed."""
        if self._upper_fd is None:
            return None
        path = _path_of(dir_fd)[len(self._root_path) :].strip(b"/")
        try:
            return open_folder(self._upper_fd, path)
        except (FileNotFoundError, NotADirectoryError):
            return None


def _stat(dir_fd, name):
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _path_of(descriptor):
    """Where an open folder is now (bytes), as this process sees it."""
    return os.readlink(b"/proc/self/fd/%d" % descriptor)


def _close(descriptor):
    if descriptor is not None:
        os.close(descriptor)
