# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Unpacking a tar stream into a folder that it can't leave (moby's archive.Unpack and archive.UnpackLayer).

Every call works relative to a descriptor of the folder an entry goes into, which :mod:`.folders` opened beneath the
root, and on a single name in it that is never followed. The names in an archive decide nothing else.

What makes it fast is what is not done: no lstat before a file is created (``O_EXCL`` tells), and no chown and chmod
where a new file has its owner and mode already (:class:`_Defaults`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from typing import ClassVar, NamedTuple, Optional, Tuple

from ..errors import ArchiveError, OptionError, Overlay2Error, from_os_error, printable
from ..idmap import IDENTITY
from ..linux import xattr
from . import headers
from .compression import decompressed
from .folders import FOLDER, Folders, FolderTimes, unnamed_file
from .reader import Reader, clean
from .whiteouts import (
    OPAQUE,
    PLINKS,
    PREFIX,
    MergeWhiteouts,
    OverlayWhiteouts,
    Whiteouts,
    check_path,
    is_aufs_metadata,
    remove_at,
)

log = logging.getLogger("overlay2")

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

_NODE_TYPES = {headers.CHARACTER: stat.S_IFCHR, headers.BLOCK_DEVICE: stat.S_IFBLK, headers.FIFO: stat.S_IFIFO}

_ALL_BITS = 0o7777
_COPIED_AT_ONCE = 1 << 30

#: Most names that a note about attributes lists.
_NOTED = 8


class Unpacked(NamedTuple):
    """What :func:`unpack` did."""

    #: sum of the sizes in the headers of all entries, in bytes
    size: int
    #: ``sha256:<hex>`` of the whole uncompressed stream
    diff_id: str
    #: number of entries
    entries: int
    #: bytes of all files in the target as moby's directory.Size counts them, or None where only a walk can tell
    tree_size: Optional[int]
    #: short notes about what could not be done, for people
    skipped: Tuple[str, ...]


def unpack(
    stream,
    root_fd,
    *,
    whiteouts,
    xattr_class="trusted",
    id_map=IDENTITY,
    in_userns=False,
    upper_fd=None,
    scratch_fd,
    progress=None,
):
    """Unpack a tar stream, plain or compressed, into a folder.

    After an exception the folder holds part of the archive; the caller throws it away.

    :param stream: a binary file with ``read()`` or ``readinto()``; it is read to its end and never sought.
    :param root_fd: descriptor of the target folder.
    :param whiteouts: a :class:`~.whiteouts.Whiteouts`.
    :param xattr_class: ``trusted`` or ``user``: where overlayfs keeps its attributes.
    :param id_map: an :class:`~..idmap.IdMap`; the archive has the container's ids.
    :param in_userns: devices are skipped and fifos may be refused, as nothing in a user namespace may make them.
    :param upper_fd: descriptor of the upper folder if the target is an overlay mount: what this archive has put into
        the target shows there, and its whiteouts must not remove that.
    :param scratch_fd: descriptor of a private folder on the target's file system, for files that have no name.
    :param progress: called with the number of uncompressed bytes read so far, now and then.
    :returns: :class:`Unpacked`.
    :raises CorruptArchive: the stream is cut short, damaged, or no tar archive.
    :raises BreakoutError: an entry would have reached outside the target.
    :raises ArchiveError: anything else in it that can't be unpacked; ``path`` is the entry's name.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(decompressed(stream))
        reader = Reader(source, progress)
        defaults = _Defaults.of(root_fd, scratch_fd)
        if whiteouts is Whiteouts.OVERLAY:
            converter = OverlayWhiteouts(xattr_class)
        else:
            converter = MergeWhiteouts(root_fd, root_fd if defaults.empty and upper_fd is None else upper_fd)
        work = _Unpacking(reader, root_fd, converter, defaults, id_map, in_userns, scratch_fd)
        with contextlib.closing(work):
            work.run()
            return work.result()


class _Defaults(NamedTuple):
    """What a new file in the target is like before anything is set."""

    #: the target has nothing in it, so all folders in it will be ours
    empty: bool
    #: uid and gid of a new file, or None where that depends on the folder
    owner: Optional[Tuple[int, int]]
    #: mode bits that must be set by chmod(2) where a file has them
    unset: int

    @classmethod
    def of(cls, root_fd, scratch_fd):
        """Ask the file system, by a file in the scratch folder."""
        with os.scandir(root_fd) as listing:
            empty = next(listing, None) is None
        inherits = os.fstat(root_fd).st_mode & stat.S_ISGID or xattr.get(root_fd, xattr.DEFAULT_ACL)
        if not empty or inherits:
            return cls(empty, None, _ALL_BITS)
        with unnamed_file(scratch_fd, 0o777) as probe:
            info = os.fstat(probe.fileno())
        return cls(empty, (info.st_uid, info.st_gid), _ALL_BITS & ~(info.st_mode & 0o777))


class _Unpacking:
    """One run of :func:`unpack`."""

    def __init__(self, reader, root_fd, whiteouts, defaults, id_map, in_userns, scratch_fd):
        self._reader = reader
        self._root_fd = root_fd
        self._whiteouts = whiteouts
        self._new_owner, self._unset_mode = defaults.owner, defaults.unset
        self._id_map = id_map
        self._owners = {}
        self._root_owner = id_map.root
        self._in_userns = in_userns
        self._scratch_fd = scratch_fd
        self._plinks = None
        self._folders = Folders(root_fd, self._make_parent)
        self._times = FolderTimes(scratch_fd)
        self._size = self._count = 0
        self._tree_size = 0 if defaults.empty else None
        self._refused_xattrs = {}
        self._devices = 0

    def close(self):
        """Close all descriptors."""
        self._folders.forget()
        self._times.close()
        if self._plinks is not None:
            os.close(self._plinks)

    def result(self):
        """The :class:`Unpacked` of a run that has ended."""
        return Unpacked(self._size, self._reader.diff_id, self._count, self._tree_size, tuple(self._notes()))

    def run(self):
        """Put every entry in its place, and set the folders' times in the end."""
        for entry in self._reader.entries():
            self._count += 1
            self._size += entry.size
            try:
                self._place(entry)
            except OSError as error:
                if isinstance(error, Overlay2Error):
                    raise
                raise _refusal(entry, error) from error
            except Overlay2Error as error:
                error.path = printable(entry.path)
                raise
        for path, atime, mtime, default_acl in self._times:
            self._finish_folder(path, atime, mtime, default_acl)

    def _place(self, entry):
        path = entry.path
        folder, _slash, base = path.rpartition(b"/")
        if PREFIX in path:
            if is_aufs_metadata(path):
                self._stash_plink(entry, folder, base)
                return
            check_path(path, base)
            if base.startswith(PREFIX):
                self._whiteout(entry, folder, base)
                return
        elif not base:
            self._root(entry)
            return
        parent = self._folders.get(folder)
        make = self._MAKERS.get(entry.kind)
        if make is None:
            self._node(entry, parent, base)
        else:
            make(self, entry, parent, base)

    # One method for each type

    def _regular(self, entry, parent, base):
        try:
            file = os.open(base, _CREATE, entry.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(entry, parent, base)
            file = os.open(base, _CREATE, entry.mode & 0o777, dir_fd=parent)
        try:
            if entry.pieces is not None:
                self._fill_sparse(file, entry)
            elif entry.size:
                self._reader.copy(file, entry.size)
            self._dress(file, entry, self._new_owner, self._unset_mode)
            os.utime(file, ns=(entry.atime, entry.mtime))
        finally:
            os.close(file)
        if self._tree_size is not None:
            self._tree_size += entry.size

    def _folder(self, entry, parent, base):
        try:
            os.mkdir(base, entry.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(entry, parent, base)
            with contextlib.suppress(FileExistsError):
                os.mkdir(base, entry.mode & 0o777, dir_fd=parent)
            self._dress_found(entry, parent, base)
            return
        folder = os.open(base, FOLDER, dir_fd=parent)
        self._folders.keep(entry.path, folder)
        self._dress_folder(folder, entry, self._new_owner, self._unset_mode)

    def _symlink(self, entry, parent, base):
        if not entry.link:
            raise ArchiveError("a symbolic link to nothing")
        try:
            os.symlink(entry.link, base, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(entry, parent, base)
            os.symlink(entry.link, base, dir_fd=parent)
        self._dress_name(entry, parent, base)
        if self._tree_size is not None:
            self._tree_size += len(entry.link)

    def _hard_link(self, entry, parent, base):
        source, name = self._other_end(entry)
        try:
            self._link(entry, source, name, parent, base)
        except FileExistsError:
            if self._same_file(source, name, parent, base):
                return
            parent = self._clear(entry, parent, base)
            source, name = self._other_end(entry)
            self._link(entry, source, name, parent, base)
        self._dress_name(entry, parent, base, os.stat(base, dir_fd=parent, follow_symlinks=False))

    def _node(self, entry, parent, base):
        device = 0
        if entry.kind != headers.FIFO:
            if self._in_userns:
                self._devices += 1
                return
            device = os.makedev(*headers.device_numbers(entry.device))
        mode = _NODE_TYPES[entry.kind] | 0o600
        try:
            os.mknod(base, mode, device, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(entry, parent, base)
            os.mknod(base, mode, device, dir_fd=parent)
        except PermissionError:
            if not self._in_userns:
                raise
            self._devices += 1
            return
        self._dress_name(entry, parent, base)

    _MAKERS: ClassVar = {
        headers.REGULAR: _regular,
        headers.DIRECTORY: _folder,
        headers.SYMLINK: _symlink,
        headers.HARD_LINK: _hard_link,
    }

    # What the types need

    def _root(self, entry):
        """An entry for the target itself."""
        if entry.kind != headers.DIRECTORY:
            raise ArchiveError("an entry that is no folder in place of the layer's root")
        if self._whiteouts.keeps_root:
            return
        self._dress_found(entry, self._root_fd, b".")

    def _fill_sparse(self, file, entry):
        for offset, length in entry.pieces:
            os.lseek(file, offset, os.SEEK_SET)
            self._reader.copy(file, length)
        os.ftruncate(file, entry.size)

    def _other_end(self, entry):
        """(descriptor of a folder, name in it) of a hard link's target."""
        target = entry.link
        path = clean(target)
        if not path:
            raise ArchiveError("a hard link to nothing")
        folder, _slash, base = path.rpartition(b"/")
        if folder == PLINKS:
            if self._plinks is None:
                raise ArchiveError("invalid aufs hardlink: %s is not in the archive" % _text(path))
            return self._plinks, base
        try:
            return self._folders.find(folder), base
        except (FileNotFoundError, NotADirectoryError):
            raise _no_such_target(path) from None

    def _link(self, entry, source, name, parent, base):
        try:
            os.link(name, base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise _no_such_target(entry.link) from None
        except OSError as error:
            if error.errno != errno.EXDEV or source != self._plinks:
                raise
            _copy(name, base, source, parent)  # the target is an overlay mount, the scratch folder is not

    @staticmethod
    def _same_file(source, name, parent, base):
        """Whether two names are one file already: a link onto itself, or one listed twice."""
        try:
            one = os.stat(name, dir_fd=source, follow_symlinks=False)
        except FileNotFoundError:
            return False
        other = os.stat(base, dir_fd=parent, follow_symlinks=False)
        return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)

    def _clear(self, entry, parent, base):
        """Make room for an entry whose name is taken; a folder for a folder stays. Returns the parent, opened anew."""
        folder = entry.kind == headers.DIRECTORY
        if self._whiteouts.uncover(parent, base, folder):
            return parent
        if folder and stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
            return parent
        remove_at(parent, base)
        self._tree_size = None
        self._folders.forget()
        return self._folders.get(entry.path.rpartition(b"/")[0])

    def _make_parent(self, dir_fd, name):
        """Make a folder that an entry's path needs and the archive has not listed (yet)."""
        try:
            os.mkdir(name, 0o755, dir_fd=dir_fd)
        except FileExistsError:
            if not self._whiteouts.uncover(dir_fd, name, True):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from None
        folder = os.open(name, FOLDER, dir_fd=dir_fd)
        try:
            if self._root_owner != self._new_owner:
                os.fchown(folder, *self._root_owner)
            os.fchmod(folder, 0o755)
        finally:
            os.close(folder)

    def _whiteout(self, entry, folder, base):
        parent = self._folders.get(folder)
        if base == OPAQUE:
            self._whiteouts.make_opaque(parent)
        else:
            self._whiteouts.hide(parent, base[len(PREFIX) :], self._owner(entry))
        if self._whiteouts.removes:
            self._folders.forget()

    def _stash_plink(self, entry, folder, base):
        """Keep a file of AUFS' hard link folder aside: the links to it come later. All else of AUFS is dropped."""
        if folder != PLINKS or entry.kind != headers.REGULAR:
            return
        if self._plinks is None:
            os.mkdir(PLINKS, 0o700, dir_fd=self._scratch_fd)
            self._plinks = os.open(PLINKS, FOLDER, dir_fd=self._scratch_fd)
        remove_at(self._plinks, base)
        self._regular(entry, self._plinks, base)
        self._tree_size = None

    # Owner, attributes, mode and times, in this order: chown clears set-id bits and capabilities

    def _owner(self, entry):
        """Host (uid, gid) of an entry."""
        pair = entry.uid, entry.gid
        owner = self._owners.get(pair)
        if owner is None:
            try:
                owner = self._id_map.to_host(*pair)
            except OptionError as error:
                raise ArchiveError("its owner can't be mapped: %s" % error.message, remedy=error.remedy) from error
            if len(self._owners) > 4096:
                self._owners.clear()
            self._owners[pair] = owner
        return owner

    def _dress(self, descriptor, entry, has_owner, unset_mode):
        """Give an open file or folder its owner, attributes and mode.

        :param has_owner: the (uid, gid) that it is known to have, or None.
        :param unset_mode: the mode bits that have to be set if the entry has any of them.
        """
        owner = self._owner(entry)
        if owner != has_owner:
            os.fchown(descriptor, owner[0], owner[1])
        if entry.xattrs:
            self._set_xattrs(descriptor, entry)
        if entry.mode & unset_mode:
            os.fchmod(descriptor, entry.mode)

    def _dress_folder(self, folder, entry, has_owner, unset_mode):
        """As :meth:`_dress`; what would be passed on to files in the folder, or change with them, comes last of all."""
        if entry.mode & stat.S_ISGID:  # what is made in it gets its group
            self._new_owner, self._unset_mode = None, _ALL_BITS
        default_acl = b""
        if entry.xattrs:
            default_acl = dict(entry.xattrs).get(xattr.DEFAULT_ACL, b"")
            entry = entry._replace(xattrs=tuple([pair for pair in entry.xattrs if pair[0] != xattr.DEFAULT_ACL]))
        self._dress(folder, entry, has_owner, unset_mode)
        self._times.add(entry.path, entry.atime, entry.mtime, default_acl)

    def _dress_found(self, entry, parent, base):
        """A folder that was there before gets the entry's metadata."""
        folder = os.open(base, FOLDER, dir_fd=parent)
        try:
            os.fchmod(folder, entry.mode)  # also where _dress sees no bit to set
            self._dress_folder(folder, entry, None, _ALL_BITS)
        finally:
            os.close(folder)

    def _dress_name(self, entry, parent, base, info=None):
        """Give what can't be opened its owner, attributes, mode and times, by its name.

        :param info: what lstat(2) says of something that was there before; None for what was just made.
        """
        owner = self._owner(entry)
        # chown(2) takes file capabilities away, which a hard link's entry need not repeat.
        if owner != (self._new_owner if info is None else (info.st_uid, info.st_gid)):
            os.chown(base, owner[0], owner[1], dir_fd=parent, follow_symlinks=False)
        if entry.xattrs:
            self._set_xattrs(xattr.below(parent, base), entry)
        if entry.kind != headers.SYMLINK and not (info is not None and stat.S_ISLNK(info.st_mode)):
            _chmod(parent, base, entry.mode)
        os.utime(base, ns=(entry.atime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _set_xattrs(self, target, entry):
        for name, value in entry.xattrs:
            self._set_xattr(target, name, value, entry.path)

    def _set_xattr(self, target, name, value, path):
        """Set an attribute of a descriptor, or of a path (bytes) that is not followed."""
        if xattr.is_overlay(name):
            raise ArchiveError("it carries overlayfs' own attribute %s" % name, remedy="Do not use this archive")
        try:
            os.setxattr(target, name, value, 0, follow_symlinks=not isinstance(target, bytes))
        except PermissionError:
            first, count = self._refused_xattrs.get(name, (path, 0))
            if count or len(self._refused_xattrs) < _NOTED:
                self._refused_xattrs[name] = first, count + 1
        except OSError as error:
            message = "its attribute %s can't be set" % name
            raise from_os_error(ArchiveError, message, error, path=path) from error

    def _finish_folder(self, path, atime, mtime, default_acl):
        folder, _slash, base = path.rpartition(b"/")
        try:
            descriptor = os.open(base or b".", FOLDER, dir_fd=self._folders.find(folder))
        except OSError:  # a later entry has taken its place
            return
        try:
            if default_acl:
                self._set_xattr(descriptor, xattr.DEFAULT_ACL, default_acl, path)
            os.utime(descriptor, ns=(atime, mtime))
        finally:
            os.close(descriptor)

    def _notes(self):
        if self._devices:
            yield "%d devices or fifos were left out: a user namespace may not make them" % self._devices
        if self._refused_xattrs:
            note = "attributes that the kernel refused: " + ", ".join(
                "%s on %s (%d in all)" % (name, _text(path), count)
                for name, (path, count) in sorted(self._refused_xattrs.items())
            )
            log.warning("%s", note)
            yield note


def _copy(name, base, source, parent):
    """Copy a file with its attributes from one folder to another; all else of it is in the entry."""
    with contextlib.ExitStack() as stack:
        old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        stack.callback(os.close, old)
        new = os.open(base, _CREATE, 0o600, dir_fd=parent)
        stack.callback(os.close, new)
        while os.sendfile(new, old, None, _COPIED_AT_ONCE):
            pass
        for attribute in xattr.names(old):
            os.setxattr(new, attribute, os.getxattr(old, attribute))


def _chmod(parent, base, mode):
    """chmod(2) of a name that is not followed if it turns out to be a link (fchmodat2 is of Linux 6.6 only)."""
    node = os.open(base, _NODE, dir_fd=parent)
    try:
        if not stat.S_ISLNK(os.fstat(node).st_mode):
            os.chmod("/proc/self/fd/%d" % node, mode)
    finally:
        os.close(node)


def _refusal(entry, error):
    """The error for what the kernel refused."""
    refusal = from_os_error(ArchiveError, "the entry can't be unpacked", error, path=entry.path)
    if error.errno == errno.EINVAL and (entry.uid or entry.gid):
        refusal.remedy = "If uid %d and gid %d have no place in the user namespace, map more subordinate ids" % (
            entry.uid,
            entry.gid,
        )
    return refusal


def _no_such_target(path):
    return ArchiveError("a hard link to %s, which is not there" % _text(path))


def _text(path):
    return os.fsdecode(path)
