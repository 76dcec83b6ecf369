# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Entries of a directory tree, or of changes in it, as pieces of a tar stream.

Order, headers and names are those of moby's archive package: depth first, names sorted as bytes, whole seconds, no user
or group names, extended headers only where something does not fit.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from typing import TYPE_CHECKING, Dict, NamedTuple, Optional, Tuple

from ..changes import ChangeKind
from ..errors import ChangedWhileRead, OptionError, Overlay2Error, from_os_error, printable
from ..linux import xattr
from ..linux.fs import OPEN_DIRECTORY_NOFOLLOW
from ..linux.overlayfs import is_whiteout
from . import acl, headers, pax
from .dirstack import DirStack, Level, listing
from .folders import Folders
from .whiteouts import OPAQUE, PREFIX
from .writer import Writer

if TYPE_CHECKING:
    from typing import Callable, Iterable, Iterator

    from ..changes import Change
    from ..idmap import IdMap

log = logging.getLogger("overlay2")

#: A file that turns into a fifo while it is being archived must not block.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: Bytes of one chunk of the stream, about: small files are put together, large ones cut.
CHUNK = 1 << 20

_NANO = 10**9
#: Files up to this size are read at once.
_SMALL = 1 << 18

_KINDS = {
    stat.S_IFREG: headers.REGULAR,
    stat.S_IFLNK: headers.SYMLINK,
    stat.S_IFCHR: headers.CHARACTER,
    stat.S_IFBLK: headers.BLOCK_DEVICE,
    stat.S_IFIFO: headers.FIFO,
}


class _Link(NamedTuple):
    """A file with several names: the first one in the archive, and how many are still to come."""

    name: bytes
    left: int


#: A large file, whose body remains to be written: descriptor, size, path.
_Large = Tuple[int, int, bytes]
#: Records of pax headers.
_Records = Optional[Dict[bytes, bytes]]


class Packer:
    """One run of :func:`~.pack.pack_tree` or :func:`~.pack.pack_changes`.

    :param xattr_class: None if whiteouts are not to be converted.
    :param merged: as for :func:`~.pack.pack_tree`.
    """

    def __init__(
        self, id_map: IdMap, all_xattrs: bool, xattr_class: str | None, merged: Callable[[], int] | None = None
    ) -> None:
        self._id_map = None if id_map.empty else id_map
        self._all_xattrs = all_xattrs
        self._overlay = xattr_class is not None
        if xattr_class is not None:
            self._opaque = xattr.opaque(xattr_class)
            self._whiteout = xattr.whiteout(xattr_class)
            self._redirect = xattr.redirect(xattr_class)
            self._metacopy = xattr.metacopy(xattr_class)
        self._merged = merged
        self._merged_folders: Optional[Folders] = None
        self._writer = Writer()
        self._links: Dict[Tuple[int, int], _Link] = {}  # by device and inode
        self._at = b""  # path for errors

    def guarded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """``chunks`` with the system's errors turned into ours."""
        try:
            yield from chunks
        except OSError as error:
            if isinstance(error, Overlay2Error):
                raise
            raise from_os_error(Overlay2Error, "it can't be archived", error, path=self._at) from error

    def tree(self, root_fd: int) -> Iterator[bytes]:
        """Generate the archive of a tree."""
        try:
            yield from self._walk(root_fd, b"")
            self._writer.end()
            yield self._writer.flush()
        finally:
            if self._merged_folders is not None:
                self._merged_folders.forget()

    def _walk(self, root_fd: int, prefix: bytes) -> Iterator[bytes]:
        """Generate the entries below a directory, whose own name in the archive is ``prefix``."""
        stack, writer = DirStack(root_fd), self._writer
        try:
            level = Level(prefix, listing(stack.descriptor), False)
            while True:
                below = None
                for name, is_folder, is_file in level.names:
                    if is_folder:
                        below = self._enter(stack.descriptor, level.prefix, name)
                        if below is not None and below[2]:
                            yield from self._redirected(below[0], below[1])
                            below = None
                    else:
                        large = self._add(stack.descriptor, level.prefix + name, name, is_file, level.by_attribute)
                        if large is not None:
                            yield from self._stream(*large)
                    if writer.size >= CHUNK:
                        yield writer.flush()
                    if below is not None:
                        break
                if below is not None:
                    stack.down(below[0], level)
                    level = below[1]
                elif stack.depth:
                    level = stack.up()
                else:
                    break
        finally:
            stack.close()

    def _redirected(self, folder: int, level: Level) -> Iterator[bytes]:
        """Generate the entries below a directory whose content is in another place, as the mounted layer shows them.

        Its own entry and an opaque marker are written already: it hides a directory of its name in lower layers.
        """
        os.close(folder)
        folder = os.open(b".", OPEN_DIRECTORY_NOFOLLOW, dir_fd=self._shown(self._redirect).get(level.prefix[:-1]))
        self._overlay = False
        try:
            yield from self._walk(folder, level.prefix)
        finally:
            self._overlay = True
            os.close(folder)

    def _shown(self, attribute: str) -> Folders:
        """The directories of the mounted layer, which is needed because of an attribute."""
        if self._merged is None:
            raise Overlay2Error(
                "it has the attribute %s: only a mount shows its content" % attribute,
                path=self._at,
                remedy="Archive it through a mount of the layer",
            )
        if self._merged_folders is None:
            self._merged_folders = Folders(self._merged())
        return self._merged_folders

    def changes(self, root_fd: int, changes: Iterable[Change]) -> Iterator[bytes]:
        """Generate the archive of changes."""
        folders, writer = Folders(root_fd), self._writer
        try:
            for change in changes:
                path = os.fsencode(change.path).strip(b"/")
                folder, _slash, base = path.rpartition(b"/")
                if change.kind == ChangeKind.DELETE:
                    writer.entry(headers.REGULAR, path[: len(path) - len(base)] + PREFIX + base, 0, 0, 0, 0, 0)
                else:
                    large = self._add_any(folders, folder, path, base)
                    if large is not None:
                        yield from self._stream(*large)
                if writer.size >= CHUNK:
                    yield writer.flush()
            writer.end()
            yield writer.flush()
        finally:
            folders.forget()

    # Entries

    def _add_any(self, folders: Folders, folder: bytes, path: bytes, base: bytes) -> _Large | None:
        """Add a changed file, or a changed directory without its content."""
        try:
            parent = folders.get(folder)
            info = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            _vanished(path)
            return None
        if not stat.S_ISDIR(info.st_mode):
            return self._add(parent, path, base, stat.S_ISREG(info.st_mode), False)
        below = self._enter(parent, path[: -len(base)], base)
        if below is not None:
            os.close(below[0])
        return None

    def _enter(self, parent: int, prefix: bytes, name: bytes) -> tuple[int, Level, bool] | None:
        """Add a directory; returns None if it is gone.

        :returns: its descriptor and level to go on with, and whether it is redirected.
        """
        path = self._at = prefix + name
        if name.startswith(PREFIX):
            _unspeakable(path)
            return None
        try:
            folder = os.open(name, OPEN_DIRECTORY_NOFOLLOW, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError):
            _vanished(path)
            return None
        try:
            info = os.fstat(folder)
            names = xattr.names(folder)
            archive_name = path + b"/"
            written = self._header(headers.DIRECTORY, archive_name, info, 0, xattrs=self._xattrs(folder, names))
            by_attribute = opaque = False
            if self._overlay and self._opaque in names:
                value = xattr.get(folder, self._opaque)
                by_attribute = value == xattr.OPAQUE_WHITEOUTS
                opaque = value == xattr.OPAQUE
            redirected = self._overlay and self._redirect in names
            if redirected and self._merged is None:
                self._shown(self._redirect)  # which refuses
            if written and (opaque or redirected):
                uid, gid = self._ids(info)
                self._writer.entry(headers.REGULAR, archive_name + OPAQUE, info.st_mode & 0o777, uid, gid, 0, 0)
            return folder, Level(archive_name, listing(folder), by_attribute), redirected
        except BaseException:
            os.close(folder)
            raise

    def _add(self, parent: int, path: bytes, base: bytes, is_file: bool, by_attribute: bool) -> _Large | None:
        """Add anything but a directory; returns a large file, whose body remains to be written.

        :param by_attribute: the directory may have whiteouts that are attributes of empty files.
        """
        self._at = path
        if base.startswith(PREFIX):
            _unspeakable(path)
            return None
        try:
            if is_file:
                return self._file(parent, path, base, by_attribute)
            self._other(parent, path, base)
        except FileNotFoundError:
            _vanished(path)
        return None

    def _file(self, parent: int, path: bytes, base: bytes, by_attribute: bool) -> _Large | None:
        file: Optional[int]
        try:
            file = os.open(base, _FILE, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):
                raise
            self._other(parent, path, base)  # its type has changed
            return None
        try:
            info = os.fstat(file)
            if not stat.S_ISREG(info.st_mode):
                self._other(parent, path, base)
                return None
            names = xattr.names(file)
            if by_attribute and not info.st_size and self._whiteout in names:
                self._whiteout_entry(path, base, info)
                return None
            xattrs = self._xattrs(file, names) if names else None
            if info.st_nlink > 1 and self._known_link(path, info, xattrs):
                return None
            size = info.st_size
            if names and self._overlay and self._metacopy in names:
                os.close(file)
                file = None  # opened again as the mounted layer shows it
                folder = self._shown(self._metacopy).get(path[: -len(base)].rstrip(b"/"))
                file = os.open(base, _FILE, dir_fd=folder)
            if not self._header(headers.REGULAR, path, info, size, xattrs=xattrs):
                return None
            if size > _SMALL:
                large, file = file, None
                return large, size, path
            if size:
                self._writer.body(_content(file, size, path))
            return None
        finally:
            if file is not None:
                os.close(file)

    def _stream(self, file: int, size: int, path: bytes) -> Iterator[bytes]:
        """Generate a large file's body, and close it."""
        try:
            yield self._writer.flush()
            left = size
            while left:
                data = os.read(file, min(left, CHUNK))
                if not data:
                    raise _shrank(path)
                left -= len(data)
                yield data
        finally:
            os.close(file)
        self._writer.pad(size)

    def _other(self, parent: int, path: bytes, base: bytes) -> None:
        """Add a link, device or fifo, or leave out a socket."""
        info = os.stat(base, dir_fd=parent, follow_symlinks=False)
        kind = _KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            log.info("left out of the archive, as it can't hold a %s: %s", _type_name(info.st_mode), _text(path))
            return
        if self._overlay and is_whiteout(info):
            self._whiteout_entry(path, base, info)
            return
        xattrs = None
        if self._all_xattrs:
            target = xattr.below(parent, base)
            xattrs = self._xattrs(target, xattr.names(target))
        if info.st_nlink > 1 and self._known_link(path, info, xattrs):
            return
        link = os.readlink(base, dir_fd=parent) if kind == headers.SYMLINK else b""
        device = (0, 0)
        if kind in (headers.CHARACTER, headers.BLOCK_DEVICE):
            device = os.major(info.st_rdev), os.minor(info.st_rdev)
        self._header(kind, path, info, 0, link, device, xattrs)

    def _known_link(self, path: bytes, info: os.stat_result, xattrs: _Records) -> bool:
        """Add a link to the first name of a file that was added before; returns False if it was not."""
        key = info.st_dev, info.st_ino
        known = self._links.get(key)
        if known is None:
            if self._header_possible(info):
                self._links[key] = _Link(path, info.st_nlink - 1)
            return False
        self._header(headers.HARD_LINK, path, info, 0, known.name, xattrs=xattrs)
        if known.left == 1:  # the last of its names: no need to remember it
            del self._links[key]
        else:
            self._links[key] = known._replace(left=known.left - 1)
        return True

    def _whiteout_entry(self, path: bytes, base: bytes, info: os.stat_result) -> None:
        """Add a whiteout. Its ids are not mapped, as in moby."""
        name = path[: len(path) - len(base)] + PREFIX + base
        mtime = info.st_mtime_ns // _NANO
        self._writer.entry(headers.REGULAR, name, 0o600, info.st_uid, info.st_gid, 0, mtime)

    # Headers

    def _xattrs(self, target: int | bytes, names: list[str]) -> _Records:
        """Records for the attributes to archive, or None."""
        records = {}
        for name in names:
            if xattr.is_overlay(name):
                continue
            if name != xattr.CAPABILITY and not self._all_xattrs:
                continue
            value = xattr.get(target, name)
            if value is not None and name == xattr.CAPABILITY:
                value = _portable(value)
            elif value is not None and self._id_map is not None and name in (xattr.ACCESS_ACL, xattr.DEFAULT_ACL):
                try:
                    value = acl.to_container(value, self._id_map)
                except OptionError as error:
                    log.warning("ACL left out of the archive: %s: %s", _text(self._at), error)
                    continue
            if value is not None:
                records[pax.xattr_keyword(name)] = value
        return records or None

    def _ids(self, info: os.stat_result) -> tuple[int, int]:
        """The container's uid and gid."""
        if self._id_map is None:
            return info.st_uid, info.st_gid
        return self._id_map.to_container(info.st_uid, info.st_gid)

    def _header_possible(self, info: os.stat_result) -> bool:
        try:
            self._ids(info)
        except OptionError:
            return False
        return True

    def _header(
        self,
        kind: bytes,
        path: bytes,
        info: os.stat_result,
        size: int,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
        xattrs: _Records = None,
    ) -> bool:
        """Add the header of an entry; returns False if its owner has no id in the container, and it is left out."""
        try:
            uid, gid = self._ids(info)
        except OptionError as error:
            log.warning("left out of the archive: %s: %s", _text(path), error)
            return False
        mode = info.st_mode & 0o7777
        self._writer.entry(kind, path, mode, uid, gid, size, info.st_mtime_ns // _NANO, link, device, xattrs)
        return True


def _content(file: int, size: int, path: bytes) -> bytes:
    """The content of a small file, cut to ``size`` if it has grown."""
    data = os.read(file, size)
    while len(data) < size:
        more = os.read(file, size - len(data))
        if not more:
            raise _shrank(path)
        data += more
    return data


def _portable(capability: bytes) -> bytes:
    """A file capability without the root id of its user namespace: version 3 becomes version 2."""
    if len(capability) >= 20 and capability[3] == 3:
        return capability[:3] + b"\x02" + capability[4:20]
    return capability


def _vanished(path: bytes) -> None:
    log.info("left out of the archive, as it vanished: %s", _text(path))


def _unspeakable(path: bytes) -> None:
    log.warning("left out of the archive, where its name would be a deletion: %s", _text(path))


def _shrank(path: bytes) -> ChangedWhileRead:
    return ChangedWhileRead(
        "it shrank while it was being archived", path=path, remedy="Stop what writes to the layer, and try again"
    )


def _type_name(mode: int) -> str:
    return "socket" if stat.S_ISSOCK(mode) else "file of type %o" % stat.S_IFMT(mode)


def _text(path: bytes) -> str:
    return printable(path)
