# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Unpacking a tar stream into a folder that it can't leave (moby's archive.Unpack and archive.UnpackLayer).

Every call works relative to a descriptor of the folder an entry goes into, which :mod:`.folders` opened beneath the
root, and on a single name in it that is never followed. The names in an archive decide nothing else.

What makes it fast is what is not done: no lstat before a file is created (``O_EXCL`` tells), and no chown and chmod
where a new file has its owner and mode already (:mod:`.dress`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from typing import ClassVar, NamedTuple, Optional, Tuple

from ..errors import ArchiveError, CompressionNotSupported, CorruptArchive, Overlay2Error, from_os_error, printable
from ..idmap import IDENTITY
from ..linux import xattr
from ..linux.fs import write_all
from ..tree import remove_at
from . import headers
from .decompression import decompressed
from .dress import Dresser
from .folders import FOLDER, NEW_FILE, Folders, FolderTimes
from .merge_whiteouts import MergeWhiteouts
from .overlay_whiteouts import OverlayWhiteouts
from .reader import Reader, clean
from .whiteouts import OPAQUE, PLINKS, PREFIX, Whiteouts, check_path, is_aufs_metadata

log = logging.getLogger("overlay2")

_NODE_TYPES = {headers.CHARACTER: stat.S_IFCHR, headers.BLOCK_DEVICE: stat.S_IFBLK, headers.FIFO: stat.S_IFIFO}

_COPIED_AT_ONCE = 1 << 30

#: Small files after which a second process is worth what it costs.
HELP_AFTER = 500


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
    lower_paths=None,
    scratch_fd,
    progress=None,
    has_digest=False,
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
        the target shows there, and its whiteouts must not remove that. Without it they remove all from a plain tree,
        unless that was empty before.
    :param lower_paths: paths of the ``diff`` folders below, uppermost first, if the target is a layer's upper folder:
        an opaque root and whiteouts that hide nothing depend on what is below. None if they are not known.
    :param scratch_fd: descriptor of a private folder on the target's file system, for files that have no name.
    :param progress: called with the number of uncompressed bytes read so far, now and then.
    :param has_digest: the caller compares the diff ID with one that it was given. Otherwise an uncompressed archive
        without an end mark, which may have been cut between two entries, is unpacked with a warning.
    :returns: :class:`Unpacked`.
    :raises CorruptArchive: the stream is cut short, damaged, or not a tar archive. ``path`` is the stream's name.
    :raises BreakoutError: an entry would have reached outside the target.
    :raises ArchiveError: anything else in it that can't be unpacked; ``path`` is the entry's name.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_errors_about(stream))
        source = stack.enter_context(decompressed(stream))
        reader = stack.enter_context(contextlib.closing(Reader(source, progress)))
        empty = _is_empty(root_fd)
        if whiteouts is Whiteouts.OVERLAY:
            converter = OverlayWhiteouts(root_fd, scratch_fd, xattr_class, lower_paths)
        else:
            converter = MergeWhiteouts(root_fd, root_fd if empty and upper_fd is None else upper_fd)
        stack.callback(converter.close)
        dresser = Dresser(root_fd, empty, id_map)
        work = _Unpacking(reader, root_fd, converter, dresser, in_userns, scratch_fd)
        work.tree_size = 0 if empty else None
        with contextlib.closing(work):
            work.run()
            result = work.result()
        if not (reader.end_is_marked or has_digest or getattr(source, "proves_itself", True)):
            log.warning(
                "%s has no end mark: nothing shows that it is whole. Give its digest to be sure",
                printable(_name_of(stream) or "the archive"),
            )
        return result


@contextlib.contextmanager
def _errors_about(stream):
    """Errors about the archive as a whole get its path, and those about damage a remedy."""
    try:
        yield
    except (ArchiveError, CompressionNotSupported) as error:
        if error.path is None and _name_of(stream) is not None:
            error.path = printable(_name_of(stream))
        if isinstance(error, CorruptArchive) and error.remedy is None:
            error.remedy = "Fetch the archive again and compare its digest, or have it made again"
        raise


def _name_of(stream):
    """The path that a stream was opened by, or None."""
    name = getattr(stream, "name", None)
    return name if isinstance(name, (str, bytes)) else None


class _Unpacking:
    """One run of :func:`unpack`."""

    def __init__(self, reader, root_fd, whiteouts, dresser, in_userns, scratch_fd):
        self._reader = reader
        self._root_fd = root_fd
        self._whiteouts = whiteouts
        self._dresser = dresser
        self._in_userns = in_userns
        self._scratch_fd = scratch_fd
        self._plinks = None
        self._folders = Folders(root_fd)
        self._times = FolderTimes(scratch_fd)
        self._size = self._count = 0
        self.tree_size = 0  # None when it can't be told
        self._devices = 0
        self._helper = None
        self._until_help = HELP_AFTER
        self._told = None  # an error that names its entry already

    def close(self):
        """End the second process and close all descriptors."""
        if self._helper is not None:
            self._helper.close()
        self._folders.forget()
        self._times.close()
        if self._plinks is not None:
            os.close(self._plinks)

    def result(self):
        """The :class:`Unpacked` of a run that has ended."""
        return Unpacked(self._size, self._reader.diff_id, self._count, self.tree_size, tuple(self._notes()))

    def run(self):
        """Put every entry in its place, and set the folders' times in the end."""
        try:
            for entry in self._reader.entries():
                self._count += 1
                self._size += entry.size
                self._named(entry, self._place, entry)
        finally:  # also after an error: one about an earlier entry takes its place
            if self._helper is not None:
                self._helper.settle()
        self._whiteouts.finish()
        for path, atime, mtime, default_acl in self._times:
            self._finish_folder(path, atime, mtime, default_acl)

    def _named(self, entry, action, *arguments):
        """Run one step of unpacking an entry; errors say which entry it was."""
        try:
            action(*arguments)
        except Overlay2Error as error:
            if error is not self._told and not isinstance(error, OSError):
                error.path = printable(entry.path)
            self._told = error
            raise
        except OSError as error:
            self._told = _refusal(entry, error)
            raise self._told from error

    def _place(self, entry):
        path = entry.path
        folder, _slash, base = path.rpartition(b"/")
        if self._helper is not None:
            self._helper.make_way(path, folder, entry.kind == headers.HARD_LINK or PREFIX in path)
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

    def _regular(self, entry, parent, base):
        if self._until_help:
            self._until_help -= 1
            if not self._until_help:
                self._get_help()
        if self.tree_size is not None:
            self.tree_size += entry.size
        if self._helper is None or entry.xattrs or entry.pieces is not None or not self._offer(entry, base):
            self._file(entry, parent, base)

    def _offer(self, entry, base):
        folder = entry.path[: -len(base) - 1]
        return self._helper.offer(entry, folder, base, self._dresser.needs(entry), self._reader)

    def _file(self, entry, parent, base, position=None):
        """Make a regular file.

        :param position: where its content lies in the reader's memory; None if that is what the reader has next.
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
                self._fill_sparse(file, entry)
            elif entry.size:
                self._reader.copy(file, entry.size)
            self._dresser.file(file, entry)
        finally:
            os.close(file)

    def _folder(self, entry, parent, base):
        try:
            os.mkdir(base, entry.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(entry, parent, base)
            with contextlib.suppress(FileExistsError):
                os.mkdir(base, entry.mode & 0o777, dir_fd=parent)
            self._dress_folder(entry, parent, base, False)
        else:
            self._dress_folder(entry, parent, base, True)

    def _symlink(self, entry, parent, base):
        if not entry.link:
            raise ArchiveError("a symbolic link to nothing")
        try:
            os.symlink(entry.link, base, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(entry, parent, base)
            os.symlink(entry.link, base, dir_fd=parent)
        self._dresser.name(parent, base, entry, True)
        if self.tree_size is not None:
            self.tree_size += len(entry.link)

    def _hard_link(self, entry, parent, base):
        source, name = self._other_end(entry)
        try:
            self._link(entry, source, name, parent, base)
        except FileExistsError:
            if not self._same_file(source, name, parent, base):
                parent = self._clear(entry, parent, base)
                source, name = self._other_end(entry)
                self._link(entry, source, name, parent, base)
        info = os.stat(base, dir_fd=parent, follow_symlinks=False)
        self._dresser.name(parent, base, entry, stat.S_ISLNK(info.st_mode), info)

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
        self._dresser.name(parent, base, entry, False)

    _MAKERS: ClassVar = {
        headers.REGULAR: _regular,
        headers.DIRECTORY: _folder,
        headers.SYMLINK: _symlink,
        headers.HARD_LINK: _hard_link,
    }

    # With a second process

    def _get_help(self):
        from . import helper  # small archives do without

        self._reader.end_threads()
        if helper.is_possible():
            with contextlib.suppress(OSError):  # no more processes or descriptors
                self._helper = helper.Helper(self._root_fd, self._reader.memory, self._place_left)
                self._reader.before_reuse = self._helper.before_reuse

    def _place_left(self, entry, position):
        """Make a file that the second process has left alone."""
        base = entry.path.rpartition(b"/")[2]
        self._named(entry, lambda: self._file(entry, self._parent(entry), base, position))

    # What the types need

    def _root(self, entry):
        """An entry for the target itself. moby passes over one that is not a directory."""
        if entry.kind != headers.DIRECTORY or self._whiteouts.keeps_root:
            return
        self._dress_folder(entry, self._root_fd, b".", False)

    def _dress_folder(self, entry, parent, base, new):
        folder = os.open(base, FOLDER, dir_fd=parent)
        self._folders.keep(entry.path, folder)
        self._whiteouts.keep(folder)
        default_acl = self._dresser.folder(folder, entry, new)
        self._times.add(entry.path, entry.atime, entry.mtime, default_acl)

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
            return self._folders.get(folder), base
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
        if self._helper is not None:
            self._helper.settle()
            parent = self._parent(entry)  # anew: that may have closed it
        folder = entry.kind == headers.DIRECTORY
        if self._whiteouts.uncover(parent, base, folder):
            return parent
        if folder and stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
            return parent
        remove_at(parent, base)
        self.tree_size = None
        self._forget_folders()
        return self._parent(entry)

    def _parent(self, entry):
        return self._folders.get(entry.path.rpartition(b"/")[0], self._make_parent)

    def _make_parent(self, dir_fd, name):
        """Make a folder that an entry's path needs and the archive has not listed (yet)."""
        try:
            os.mkdir(name, 0o755, dir_fd=dir_fd)
        except FileExistsError:
            if not self._whiteouts.uncover(dir_fd, name, True):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from None
        self._dresser.implied_folder(dir_fd, name)

    def _make_parent_of_whiteout(self, dir_fd, name):
        """Make a folder that is only needed to hide something in it."""
        try:
            os.mkdir(name, 0o755, dir_fd=dir_fd)
        except FileExistsError:  # this archive deletes the folder or has something else there
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
        self._dresser.implied_folder(dir_fd, name)
        self._whiteouts.imply(dir_fd, name)

    def _whiteout(self, entry, folder, base):
        make = self._make_parent_of_whiteout if self._whiteouts.needs_parent else None
        try:
            parent = self._folders.get(folder, make)
        except (FileNotFoundError, NotADirectoryError):
            return  # nothing can be in there any more
        owner, times = self._dresser.owner(entry.uid, entry.gid), (entry.atime, entry.mtime)
        if base == OPAQUE:
            removed = self._whiteouts.make_opaque(parent, owner, times)
        else:
            removed = self._whiteouts.hide(parent, base[len(PREFIX) :], owner, times)
        if removed:
            self._forget_folders()

    def _forget_folders(self):
        """Something was removed: a path may mean another folder now."""
        self._folders.forget()
        if self._helper is not None:
            self._helper.forget()

    def _stash_plink(self, entry, folder, base):
        """Keep a file of AUFS' hard link folder aside: the links to it come later. All else of AUFS is dropped."""
        if folder != PLINKS or entry.kind != headers.REGULAR:
            return
        if self._plinks is None:
            os.mkdir(PLINKS, 0o700, dir_fd=self._scratch_fd)
            self._plinks = os.open(PLINKS, FOLDER, dir_fd=self._scratch_fd)
        remove_at(self._plinks, base)
        self._file(entry, self._plinks, base)
        self.tree_size = None

    # At the end

    def _finish_folder(self, path, atime, mtime, default_acl):
        folder, _slash, base = path.rpartition(b"/")
        try:
            descriptor = os.open(base or b".", FOLDER, dir_fd=self._folders.get(folder))
        except (OSError, ArchiveError):  # a later entry has taken its place
            return
        try:
            self._dresser.finish_folder(descriptor, path, atime, mtime, default_acl)
        finally:
            os.close(descriptor)

    def _notes(self):
        if self._devices:
            yield "%d devices or fifos were left out: a user namespace may not make them" % self._devices
        yield from self._dresser.notes()


def _is_empty(folder):
    with os.scandir(folder) as listing:
        return next(listing, None) is None


def _copy(name, base, source, parent):
    """Copy a file with its attributes from one folder to another; all else of it is in the entry."""
    with contextlib.ExitStack() as stack:
        old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        stack.callback(os.close, old)
        new = os.open(base, NEW_FILE, 0o600, dir_fd=parent)
        stack.callback(os.close, new)
        while os.sendfile(new, old, None, _COPIED_AT_ONCE):
            pass
        for attribute in xattr.names(old):
            os.setxattr(new, attribute, os.getxattr(old, attribute))


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
