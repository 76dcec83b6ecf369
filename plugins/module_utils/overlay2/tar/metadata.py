# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Owner, attributes, mode and times of unpacked files, set in this order.

chown(2) clears set-id bits and file capabilities, so it comes first; everything changes times, so they come last.
Whatever a new file has by itself is not set again: that saves two of six system calls for most files.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Dict, Optional, Tuple

from ..errors import ArchiveError, OptionError, from_os_error
from ..linux import xattr
from ..linux.fs import OPEN_DIRECTORY_NOFOLLOW
from . import acl
from .leftout import Tally

if TYPE_CHECKING:
    from ..idmap import IdMap
    from .entry import Entry

_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ALL_BITS = 0o7777

#: Most owners that are remembered.
_OWNERS = 4096

#: Refusals that are no fault of the archive: the file system or the kernel does not have such attributes (unknown
#: classes, names that are too long), or not on this type of file, or not for this process.
_NOT_TAKEN = frozenset((errno.ENOTSUP, errno.EPERM, errno.ERANGE))
_ACLS = (xattr.ACCESS_ACL, xattr.DEFAULT_ACL)


class MetadataSetter:
    """Sets the metadata of entries.

    :param root_fd: the target of the archive.
    :param empty: the target is empty, so that all directories in it are made here.
    :param id_map: for the entries' ids, which are the container's.
    :param ignore_chown_errors: an entry whose owner this user namespace does not know keeps this process's.
    """

    def __init__(self, root_fd: int, empty: bool, id_map: IdMap, ignore_chown_errors: bool = False) -> None:
        self._id_map = id_map
        self._ignore_chown_errors = ignore_chown_errors
        self._owners: Dict[Tuple[int, int], Tuple[int, int]] = {}
        #: attributes that were left out
        self.dropped = Tally()
        #: owners that were not set
        self.unset_owners = Tally()
        # What a new file is like by itself: its owner, and the bits of its mode that need chmod(2).
        self._new_owner: Optional[Tuple[int, int]] = None
        self._unset_bits = _ALL_BITS
        new_file = _new_file(root_fd) if empty else None
        if new_file is not None:
            self._new_owner, self._unset_bits = new_file

    def owner(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's uid and gid for a pair of the container's.

        :raises ArchiveError: the id map has no place for them.
        """
        try:
            return self._owners[uid, gid]
        except KeyError:
            pass
        try:
            owner = self._id_map.to_host(uid, gid)
        except OptionError as error:
            raise ArchiveError("its owner can't be mapped: %s" % error.message, remedy=error.remedy) from error
        if len(self._owners) >= _OWNERS:
            self._owners.clear()
        self._owners[uid, gid] = owner
        return owner

    def missing_on_new_file(self, entry: Entry) -> tuple[tuple[int, int] | None, int | None]:
        """Owner and mode of an entry, each None if a new file has it by itself."""
        owner = self.owner(entry.uid, entry.gid)
        return owner if owner != self._new_owner else None, entry.mode if entry.mode & self._unset_bits else None

    def set_on_file(self, descriptor: int, entry: Entry) -> None:
        """Set everything on a new file that is open and has its content."""
        owner, mode = self.missing_on_new_file(entry)
        if owner is not None:
            self._chown(descriptor, owner, entry.path)
        if entry.xattrs:
            self._set_xattrs(descriptor, entry)
        if mode is not None:
            os.fchmod(descriptor, mode)
        os.utime(descriptor, ns=(entry.atime, entry.mtime))

    def set_on_folder(self, descriptor: int, entry: Entry, new: bool) -> bytes:
        """Set on an open directory what does not depend on its content.

        :param new: it was just made, with the entry's mode.
        :returns: its default ACL, for :meth:`finish_folder`: files that are made meanwhile would inherit it.
        """
        owner = self.owner(entry.uid, entry.gid)
        if not new or owner != self._new_owner:
            self._chown(descriptor, owner, entry.path)
        default_acl = self._set_xattrs(descriptor, entry) if entry.xattrs else b""
        if not new or entry.mode & self._unset_bits:
            os.fchmod(descriptor, entry.mode)
        if entry.mode & stat.S_ISGID:  # what is made in it gets its group
            self._new_owner, self._unset_bits = None, _ALL_BITS
        return default_acl

    def set_on_implied_folder(self, dir_fd: int, name: bytes) -> None:
        """Set owner and mode of a new directory that the archive has not listed (yet): container root's, 0755."""
        folder = os.open(name, OPEN_DIRECTORY_NOFOLLOW, dir_fd=dir_fd)
        try:
            os.fchown(folder, *self.owner(0, 0))
            os.fchmod(folder, 0o755)
        finally:
            os.close(folder)

    def finish_folder(self, descriptor: int, path: bytes, atime: int, mtime: int, default_acl: bytes) -> None:
        """Set the rest on an open directory, when nothing more is put into it."""
        if default_acl:
            self._set_xattr(descriptor, xattr.DEFAULT_ACL, default_acl, path)
        os.utime(descriptor, ns=(atime, mtime))

    def set_by_name(
        self, parent: int, base: bytes, entry: Entry, is_link: bool, info: os.stat_result | None = None
    ) -> None:
        """Set everything on what can't be opened, by its name.

        :param is_link: it is a symbolic link, which has no mode.
        :param info: from lstat(2), if it was there before; None if it was just made.
        """
        owner = self.owner(entry.uid, entry.gid)
        # Only if it differs: a hard link's entry need not repeat the capability that chown(2) would remove.
        if owner != (self._new_owner if info is None else (info.st_uid, info.st_gid)):
            self._chown(base, owner, entry.path, parent)
        if entry.xattrs:
            self._set_xattrs(xattr.below(parent, base), entry)
        if not is_link:
            _chmod(parent, base, entry.mode)
        os.utime(base, ns=(entry.atime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _chown(self, target: int | bytes, owner: tuple[int, int], path: bytes, dir_fd: int | None = None) -> None:
        """chown(2) of a descriptor, or of a name in a directory that is not followed."""
        try:
            os.chown(target, owner[0], owner[1], dir_fd=dir_fd, follow_symlinks=isinstance(target, int))
        except OSError as error:
            if not self._ignore_chown_errors or error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            self.unset_owners.add("%d:%d" % owner, "%d:%d on %s" % (*owner, os.fsdecode(path)))

    def _set_xattrs(self, target: int | bytes, entry: Entry) -> bytes:
        """Set an entry's attributes, except a default ACL, which is returned."""
        default_acl = b""
        for name, value in entry.xattrs:
            if value is None:
                self._drop(name, entry.path)
            elif name == xattr.DEFAULT_ACL:
                default_acl = value
            else:
                self._set_xattr(target, name, value, entry.path)
        return default_acl

    def _set_xattr(self, target: int | bytes, name: str, value: bytes, path: bytes) -> None:
        """Set an attribute of a descriptor, or of a path that is not followed."""
        if xattr.is_overlay(name):
            raise ArchiveError("it carries overlayfs' own attribute %s" % name[:255], remedy="Do not use this archive")
        try:
            if name in _ACLS and not self._id_map.empty:
                value = acl.to_host(value, self._id_map)
            os.setxattr(target, name, value, 0, follow_symlinks=not isinstance(target, bytes))
        except OptionError:
            self._drop(name, path)
        except OSError as error:
            not_taken = error.errno in _NOT_TAKEN or (error.errno == errno.EINVAL and name in _ACLS)
            if not_taken and name != xattr.CAPABILITY:
                self._drop(name, path)
                return
            message = "its attribute %s can't be set" % name[:255]
            raise from_os_error(ArchiveError, message, error, path=path) from error

    def _drop(self, name: str, path: bytes) -> None:
        self.dropped.add(name, "%s on %s" % (name, os.fsdecode(path)))


def _new_file(root_fd: int) -> tuple[tuple[int, int], int] | None:
    """Owner of a new file below a directory, and the mode bits that the umask removes or open(2) never sets.

    None if that is not known for all directories below.
    """
    if os.fstat(root_fd).st_mode & stat.S_ISGID or xattr.get(root_fd, xattr.DEFAULT_ACL):
        return None  # directories below would inherit it
    try:
        probe = os.open(b".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o777, dir_fd=root_fd)
    except OSError:  # not every file system has it
        return None
    try:
        info = os.fstat(probe)
    finally:
        os.close(probe)
    return (info.st_uid, info.st_gid), _ALL_BITS & ~(info.st_mode & 0o777)


def _chmod(parent: int, base: bytes, mode: int) -> None:
    """chmod(2) of a name that is not followed if it turns out to be a link (fchmodat2 is of Linux 6.6 only)."""
    node = os.open(base, _NODE, dir_fd=parent)
    try:
        if not stat.S_ISLNK(os.fstat(node).st_mode):
            os.chmod("/proc/self/fd/%d" % node, mode)
    finally:
        os.close(node)
