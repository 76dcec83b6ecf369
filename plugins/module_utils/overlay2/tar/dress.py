# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Owner, attributes, mode and times of what was unpacked, set in this order.

chown(2) clears set-id bits and file capabilities, so it comes first; anything changes times, so they come last.
What a new file has by itself is not set again: that saves two of six system calls for most files.
"""

from __future__ import annotations

import logging
import os
import stat

from ..errors import ArchiveError, OptionError, from_os_error
from ..linux import xattr
from .folders import FOLDER

log = logging.getLogger("overlay2")

_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ALL_BITS = 0o7777

#: Most owners that are remembered, and most names that a note about attributes lists.
_OWNERS = 4096
_NOTED = 8


class Dresser:
    """Sets the metadata of entries.

    :param root_fd: the target of the archive.
    :param empty: it has nothing in it, so that all folders in it will be made here.
    :param id_map: an :class:`~..idmap.IdMap`; entries have the container's ids.
    """

    def __init__(self, root_fd, empty, id_map):
        self._id_map = id_map
        self._owners = {}
        self._refused = {}
        # What a new file is like by itself: its owner, and the bits of its mode that need chmod(2).
        self._new_owner, self._unset_bits = (_new_file(root_fd) if empty else None) or (None, _ALL_BITS)

    def owner(self, uid, gid):
        """The host's (uid, gid) of a pair of the container's.

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

    def needs(self, entry):
        """What a new file does not have by itself (tuple): owner (uid, gid) or None, mode or None."""
        owner = self.owner(entry.uid, entry.gid)
        return owner if owner != self._new_owner else None, entry.mode if entry.mode & self._unset_bits else None

    def file(self, descriptor, entry):
        """Set all of a new file that is open and has its content."""
        owner, mode = self.needs(entry)
        if owner is not None:
            os.fchown(descriptor, owner[0], owner[1])
        if entry.xattrs:
            self._set_xattrs(descriptor, entry)
        if mode is not None:
            os.fchmod(descriptor, mode)
        os.utime(descriptor, ns=(entry.atime, entry.mtime))

    def folder(self, descriptor, entry, new):
        """Set what can be set of an open folder before all is in it.

        :param new: it was just made, with the entry's mode.
        :returns: its default ACL (bytes), which :meth:`finish_folder` sets: files made meanwhile would inherit it.
        """
        owner = self.owner(entry.uid, entry.gid)
        if not new or owner != self._new_owner:
            os.fchown(descriptor, owner[0], owner[1])
        default_acl = self._set_xattrs(descriptor, entry) if entry.xattrs else b""
        if not new or entry.mode & self._unset_bits:
            os.fchmod(descriptor, entry.mode)
        if entry.mode & stat.S_ISGID:  # what is made in it gets its group
            self._new_owner, self._unset_bits = None, _ALL_BITS
        return default_acl

    def implied_folder(self, dir_fd, name):
        """Set owner and mode of a new folder that the archive has not listed (yet): container root's, 0755."""
        folder = os.open(name, FOLDER, dir_fd=dir_fd)
        try:
            os.fchown(folder, *self.owner(0, 0))
            os.fchmod(folder, 0o755)
        finally:
            os.close(folder)

    def finish_folder(self, descriptor, path, atime, mtime, default_acl):
        """Set the rest of an open folder, when nothing is put into it any more."""
        if default_acl:
            self._set_xattr(descriptor, xattr.DEFAULT_ACL, default_acl, path)
        os.utime(descriptor, ns=(atime, mtime))

    def name(self, parent, base, entry, is_link, info=None):
        """Set all of what can't be opened, by its name.

        :param is_link: it is a symbolic link, which has no mode.
        :param info: what lstat(2) says of something that was there before; None for what was just made.
        """
        owner = self.owner(entry.uid, entry.gid)
        # Only where it differs: a hard link's entry need not repeat the capability that chown(2) would take away.
        if owner != (self._new_owner if info is None else (info.st_uid, info.st_gid)):
            os.chown(base, owner[0], owner[1], dir_fd=parent, follow_symlinks=False)
        if entry.xattrs:
            self._set_xattrs(xattr.below(parent, base), entry)
        if not is_link:
            _chmod(parent, base, entry.mode)
        os.utime(base, ns=(entry.atime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _set_xattrs(self, target, entry):
        """Set an entry's attributes, less a default ACL, which is returned (bytes)."""
        default_acl = b""
        for name, value in entry.xattrs:
            if name == xattr.DEFAULT_ACL:
                default_acl = value
            else:
                self._set_xattr(target, name, value, entry.path)
        return default_acl

    def _set_xattr(self, target, name, value, path):
        """Set an attribute of a descriptor, or of a path (bytes) that is not followed."""
        if xattr.is_overlay(name):
            raise ArchiveError("it carries overlayfs' own attribute %s" % name, remedy="Do not use this archive")
        try:
            os.setxattr(target, name, value, 0, follow_symlinks=not isinstance(target, bytes))
        except PermissionError:
            first, count = self._refused.get(name, (path, 0))
            if count or len(self._refused) < _NOTED:
                self._refused[name] = first, count + 1
        except OSError as error:
            message = "its attribute %s can't be set" % name
            raise from_os_error(ArchiveError, message, error, path=path) from error

    def notes(self):
        """What the kernel did not let be set, as one line for people (tuple of str, of length 0 or 1)."""
        if not self._refused:
            return ()
        each = [
            "%s on %s (%d in all)" % (name, os.fsdecode(path), count)
            for name, (path, count) in sorted(self._refused.items())
        ]
        note = "attributes that the kernel refused: " + ", ".join(each)
        log.warning("%s", note)
        return (note,)


def _new_file(root_fd):
    """What a new file in a folder is like: (owner, mode bits that the umask takes away or open(2) never sets).

    None where that can't be told for all that will be below the folder.
    """
    if os.fstat(root_fd).st_mode & stat.S_ISGID or xattr.get(root_fd, xattr.DEFAULT_ACL):
        return None  # folders below would inherit it
    try:
        probe = os.open(b".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o777, dir_fd=root_fd)
    except OSError:  # not every file system has it
        return None
    try:
        info = os.fstat(probe)
    finally:
        os.close(probe)
    return (info.st_uid, info.st_gid), _ALL_BITS & ~(info.st_mode & 0o777)


def _chmod(parent, base, mode):
    """chmod(2) of a name that is not followed if it turns out to be a link (fchmodat2 is of Linux 6.6 only)."""
    node = os.open(base, _NODE, dir_fd=parent)
    try:
        if not stat.S_ISLNK(os.fstat(node).st_mode):
            os.chmod("/proc/self/fd/%d" % node, mode)
    finally:
        os.close(node)
