# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Placing the entries of an archive in a directory: one method for each type.

Every call works relative to a descriptor of the entry's directory, which :mod:`.folders` opened beneath the root, and
on a single name in it that is never followed. The names in an archive decide nothing else.

Speed comes from calls that are left out: no lstat before a file is created (``O_EXCL`` detects an old one), and no
chown and chmod if a new file has its owner and mode already (:mod:`.metadata`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from typing import TYPE_CHECKING, ClassVar, Optional

from ..errors import ArchiveError, Overlay2Error, from_os_error, printable
from ..linux import xattr
from ..linux.fs import OPEN_DIRECTORY_NOFOLLOW, write_all
from ..tree import remove_at
from . import headers
from .entry import clean
from .folders import NEW_FILE, Folders, FolderTimes
from .leftout import Tally
from .notalayer import LAYOUT, MANIFEST, refuse_image
from .whiteouts import OPAQUE, PLINKS, PREFIX, check_path, is_aufs_metadata

if TYPE_CHECKING:
    from typing import Callable

    from .entry import Entry
    from .file_process import FileProcess
    from .metadata import MetadataSetter
    from .reader import Reader
    from .whiteouts import Converter

log = logging.getLogger("overlay2")

_NODE_TYPES = {headers.CHARACTER: stat.S_IFCHR, headers.BLOCK_DEVICE: stat.S_IFBLK, headers.FIFO: stat.S_IFIFO}

_COPIED_AT_ONCE = 1 << 30


class Placing:
    """One run of :func:`~.unpack.unpack`.

    :param whiteouts: applies the whiteouts, and :class:`~.metadata.MetadataSetter` everything but content.
    :param scratch_fd: a private directory on the target's file system.
    """

    def __init__(
        self, reader: Reader, root_fd: int, whiteouts: Converter, metadata: MetadataSetter, scratch_fd: int
    ) -> None:
        self._reader = reader
        self._root_fd = root_fd
        self._whiteouts = whiteouts
        self._metadata = metadata
        self._scratch_fd = scratch_fd
        self._plinks: Optional[int] = None
        self._folders = Folders(root_fd)
        self._times = FolderTimes(scratch_fd)
        self._file_process: Optional[FileProcess] = None
        self._annotated: Optional[Overlay2Error] = None  # an error that has its entry's name already
        self.skipped_devices = Tally()
        #: as in :class:`~.unpack.Unpacked`
        self.size = 0
        self.tree_size: Optional[int] = None
        self.in_userns = False
        self.refuses_images = False
        #: so many small files are made before a second process helps; 0: it never does
        self.until_second_process = 0

    def close(self) -> None:
        """End the second process and close all descriptors."""
        if self._file_process is not None:
            self._file_process.close()
        self._folders.forget()
        self._times.close()
        if self._plinks is not None:
            os.close(self._plinks)

    def run(self) -> None:
        """Put every entry in its place, and set the directories' times in the end."""
        try:
            for entry in self._reader.entries():
                self.size += entry.size
                self._named(entry, self._place, entry)
        finally:  # also after an error: an earlier entry's error replaces it
            if self._file_process is not None:
                self._file_process.finish_pending()
        self._whiteouts.finish()
        for path, atime, mtime, default_acl in self._times:
            self._finish_folder(path, atime, mtime, default_acl)

    def _named(self, entry: Entry, action: Callable[..., None], *arguments: object) -> None:
        """Run one step of unpacking an entry; errors say which entry it was."""
        try:
            action(*arguments)
        except Overlay2Error as error:
            if error is not self._annotated and not isinstance(error, OSError):
                error.path = printable(entry.path)
            self._annotated = error
            raise
        except OSError as error:
            self._annotated = _refusal(entry, error, self._root_fd)
            raise self._annotated from error

    def _place(self, entry: Entry) -> None:
        path = entry.path
        folder, _slash, base = path.rpartition(b"/")
        if self._file_process is not None:
            self._file_process.wait_for_conflicts(path, folder, entry.kind == headers.HARD_LINK or PREFIX in path)
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
        parent = self._folders.get(folder, self._make_parent)
        make = self._MAKERS.get(entry.kind)
        if make is None:
            self._node(entry, parent, base)
        else:
            make(self, entry, parent, base)

    # One method for each type

    def _regular(self, entry: Entry, parent: int, base: bytes) -> None:
        if self.until_second_process:
            self.until_second_process -= 1
            if not self.until_second_process:
                self._start_second_process()
        if self.tree_size is not None:
            self.tree_size += entry.size
        if entry.path == base and self.refuses_images and base in (LAYOUT, MANIFEST):
            self._file(entry, parent, base)
            refuse_image(self._root_fd, base)
            return
        if self._file_process is not None and not entry.xattrs and entry.pieces is None:
            folder, needs = entry.path[: -len(base) - 1], self._metadata.missing_on_new_file(entry)
            if self._file_process.hand_over(entry, folder, base, needs, self._reader):
                return
        self._file(entry, parent, base)

    def _file(self, entry: Entry, parent: int, base: bytes, position: int | None = None) -> None:
        """Make a regular file.

        :param position: offset of its content in the reader's memory; None if the reader gives it next.
        """
        try:
            file = os.open(base, NEW_FILE, entry.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(entry, parent, base)
            file = os.open(base, NEW_FILE, entry.mode & 0o777, dir_fd=parent)
        try:
            if position is not None:
                write_all(file, self._reader.memory[position : position + entry.size])
            elif entry.pieces is not None:
                self._fill_sparse(file, entry.pieces, entry.size)
            elif entry.size:
                self._reader.copy(file, entry.size)
            self._metadata.set_on_file(file, entry)
        finally:
            os.close(file)

    def _folder(self, entry: Entry, parent: int, base: bytes) -> None:
        try:
            os.mkdir(base, entry.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(entry, parent, base)
            with contextlib.suppress(FileExistsError):
                os.mkdir(base, entry.mode & 0o777, dir_fd=parent)
            self._set_on_folder(entry, parent, base, False)
        else:
            self._set_on_folder(entry, parent, base, True)

    def _symlink(self, entry: Entry, parent: int, base: bytes) -> None:
        if not entry.link:
            raise ArchiveError("a symbolic link to nothing")
        try:
            os.symlink(entry.link, base, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(entry, parent, base)
            os.symlink(entry.link, base, dir_fd=parent)
        self._metadata.set_by_name(parent, base, entry, True)
        if self.tree_size is not None:
            self.tree_size += len(entry.link)

    def _hard_link(self, entry: Entry, parent: int, base: bytes) -> None:
        source, name = self._other_end(entry)
        try:
            self._link(entry, source, name, parent, base)
        except FileExistsError:
            if not self._same_file(source, name, parent, base):
                parent = self._clear(entry, parent, base)
                source, name = self._other_end(entry)
                self._link(entry, source, name, parent, base)
        info = os.stat(base, dir_fd=parent, follow_symlinks=False)
        self._metadata.set_by_name(parent, base, entry, stat.S_ISLNK(info.st_mode), info)

    def _node(self, entry: Entry, parent: int, base: bytes) -> None:
        device = 0
        if entry.kind != headers.FIFO:
            if self.in_userns:
                self.skipped_devices.add(os.fsdecode(entry.path), entry.path)
                return
            device = os.makedev(*headers.device_numbers(entry.device))
        mode = _NODE_TYPES[entry.kind] | 0o600
        try:
            os.mknod(base, mode, device, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(entry, parent, base)
            os.mknod(base, mode, device, dir_fd=parent)
        except PermissionError:
            if not self.in_userns:
                raise
            self.skipped_devices.add(os.fsdecode(entry.path), entry.path)
            return
        self._metadata.set_by_name(parent, base, entry, False)

    _MAKERS: ClassVar = {
        headers.REGULAR: _regular,
        headers.DIRECTORY: _folder,
        headers.SYMLINK: _symlink,
        headers.HARD_LINK: _hard_link,
    }

    # With a second process

    def _start_second_process(self) -> None:
        from . import file_process  # small archives do without

        self._reader.end_threads()
        if file_process.is_possible():
            with contextlib.suppress(OSError):  # no more processes or descriptors
                self._file_process = file_process.FileProcess(self._root_fd, self._reader.memory, self._place_returned)
                self._reader.before_reuse = self._file_process.before_reuse

    def _place_returned(self, entry: Entry, position: int) -> None:
        """Make a file that the second process did not make."""
        base = entry.path.rpartition(b"/")[2]
        self._named(entry, lambda: self._file(entry, self._parent(entry), base, position))

    # What the types need

    def _root(self, entry: Entry) -> None:
        """An entry for the target itself. moby skips one that is not a directory."""
        if entry.kind != headers.DIRECTORY:
            return
        if not self._whiteouts.keeps_root:
            self._set_on_folder(entry, self._root_fd, b".", False)
            return
        info, owner = os.fstat(self._root_fd), self._metadata.owner(entry.uid, entry.gid)
        if (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) != (*owner, entry.mode) or entry.xattrs:
            log.warning("as in moby, the layer's root does not get the owner, mode and attributes of its entry")

    def _set_on_folder(self, entry: Entry, parent: int, base: bytes, new: bool) -> None:
        folder = os.open(base, OPEN_DIRECTORY_NOFOLLOW, dir_fd=parent)
        self._folders.keep(entry.path, folder)
        self._whiteouts.keep(folder)
        default_acl = self._metadata.set_on_folder(folder, entry, new)
        self._times.add(entry.path, entry.atime, entry.mtime, default_acl)

    def _fill_sparse(self, file: int, pieces: list[tuple[int, int]], size: int) -> None:
        for offset, length in pieces:
            os.lseek(file, offset, os.SEEK_SET)
            self._reader.copy(file, length)
        os.ftruncate(file, size)

    def _other_end(self, entry: Entry) -> tuple[int, bytes]:
        """Descriptor of a directory, and name in it, of a hard link's target."""
        target = entry.link
        path = clean(target)
        if not path:
            raise ArchiveError("a hard link to nothing")
        folder, _slash, base = path.rpartition(b"/")
        if folder == PLINKS:
            if self._plinks is None:
                raise ArchiveError("invalid aufs hardlink: %s is not in the archive" % os.fsdecode(path))
            return self._plinks, base
        try:
            return self._folders.get(folder), base
        except (FileNotFoundError, NotADirectoryError):
            raise _no_such_target(path) from None

    def _link(self, entry: Entry, source: int, name: bytes, parent: int, base: bytes) -> None:
        try:
            os.link(name, base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise _no_such_target(entry.link) from None
        except OSError as error:
            if error.errno != errno.EXDEV or source != self._plinks:
                raise
            _copy(name, base, source, parent)  # the target is an overlay mount, the scratch folder is not

    @staticmethod
    def _same_file(source: int, name: bytes, parent: int, base: bytes) -> bool:
        """Whether two names are one file already: a link to itself, or one listed twice."""
        try:
            one = os.stat(name, dir_fd=source, follow_symlinks=False)
        except FileNotFoundError:
            return False
        other = os.stat(base, dir_fd=parent, follow_symlinks=False)
        return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)

    def _clear(self, entry: Entry, parent: int, base: bytes) -> int:
        """Remove what has an entry's name, but keep a directory for a directory. Returns the parent, reopened."""
        if self._file_process is not None:
            self._file_process.finish_pending()
            parent = self._parent(entry)  # again: that may have closed it
        folder = entry.kind == headers.DIRECTORY
        if self._whiteouts.uncover(parent, base, folder):
            return parent
        if folder and stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
            return parent
        remove_at(parent, base)
        self.tree_size = None
        self._forget_folders()
        return self._parent(entry)

    def _parent(self, entry: Entry) -> int:
        return self._folders.get(entry.path.rpartition(b"/")[0], self._make_parent)

    def _make_parent(self, dir_fd: int, name: bytes) -> None:
        """Make a directory of an entry's path that the archive has not listed (yet)."""
        try:
            os.mkdir(name, 0o755, dir_fd=dir_fd)
        except FileExistsError:
            if not self._whiteouts.uncover(dir_fd, name, True):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from None
        self._metadata.set_on_implied_folder(dir_fd, name)

    def _make_parent_of_whiteout(self, dir_fd: int, name: bytes) -> None:
        """Make a directory that is only needed to hide something in it."""
        try:
            os.mkdir(name, 0o755, dir_fd=dir_fd)
        except FileExistsError:  # this archive deletes the directory or has something else there
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
        self._metadata.set_on_implied_folder(dir_fd, name)
        self._whiteouts.imply(dir_fd, name)

    def _whiteout(self, entry: Entry, folder: bytes, base: bytes) -> None:
        make = self._make_parent_of_whiteout if self._whiteouts.needs_parent else None
        try:
            parent = self._folders.get(folder, make)
        except (FileNotFoundError, NotADirectoryError):
            return  # nothing is left in there
        owner, times = self._metadata.owner(entry.uid, entry.gid), (entry.atime, entry.mtime)
        if base == OPAQUE:
            removed = self._whiteouts.make_opaque(parent, owner, times)
        else:
            removed = self._whiteouts.hide(parent, base[len(PREFIX) :], owner, times)
        if removed:
            self._forget_folders()

    def _forget_folders(self) -> None:
        """Close directories, since something was removed: a path may lead to another one now."""
        self._folders.forget()
        if self._file_process is not None:
            self._file_process.forget()

    def _stash_plink(self, entry: Entry, folder: bytes, base: bytes) -> None:
        """Keep a file of AUFS' hard link directory aside for later links. Everything else of AUFS is dropped."""
        if folder != PLINKS or entry.kind != headers.REGULAR:
            return
        if self._plinks is None:
            os.mkdir(PLINKS, 0o700, dir_fd=self._scratch_fd)
            self._plinks = os.open(PLINKS, OPEN_DIRECTORY_NOFOLLOW, dir_fd=self._scratch_fd)
        remove_at(self._plinks, base)
        self._file(entry, self._plinks, base)
        self.tree_size = None

    # At the end

    def _finish_folder(self, path: bytes, atime: int, mtime: int, default_acl: bytes) -> None:
        folder, _slash, base = path.rpartition(b"/")
        try:
            descriptor = os.open(base or b".", OPEN_DIRECTORY_NOFOLLOW, dir_fd=self._folders.get(folder))
        except (OSError, ArchiveError):  # a later entry has taken its place
            return
        try:
            self._metadata.finish_folder(descriptor, path, atime, mtime, default_acl)
        finally:
            os.close(descriptor)


def _copy(name: bytes, base: bytes, source: int, parent: int) -> None:
    """Copy a file with its attributes from one directory to another; the rest is in the entry."""
    with contextlib.ExitStack() as stack:
        old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        stack.callback(os.close, old)
        new = os.open(base, NEW_FILE, 0o600, dir_fd=parent)
        stack.callback(os.close, new)
        while os.sendfile(new, old, None, _COPIED_AT_ONCE):
            pass
        for attribute in xattr.names(old):
            os.setxattr(new, attribute, os.getxattr(old, attribute))


def _refusal(entry: Entry, error: OSError, root_fd: int) -> Overlay2Error:
    """The error for an entry that the kernel refused."""
    needed = entry.size if entry.kind == headers.REGULAR else 0
    refusal = from_os_error(
        ArchiveError, "the entry can't be unpacked", error, path=entry.path, place=root_fd, needed=needed
    )
    if error.errno == errno.EINVAL and (entry.uid or entry.gid):
        refusal.remedy = (
            "If uid %d and gid %d are not in the user namespace, map more subordinate ids,"
            " or set overlay2.ignore_chown_errors=true" % (entry.uid, entry.gid)
        )
    return refusal


def _no_such_target(path: bytes) -> ArchiveError:
    return ArchiveError("the target of a hard link is missing: %s" % os.fsdecode(path))
