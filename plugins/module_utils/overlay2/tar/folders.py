# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The directories of entries: opened beneath the root once, kept open for the next entries, made if missing.

Their times are kept on disk until everything is in its place, so that memory does not grow with their number.
"""

from __future__ import annotations

import io
import os
import struct
from typing import TYPE_CHECKING, Dict, Iterator, Optional

from ..linux.beneath import open_directory, open_without_links

if TYPE_CHECKING:
    from typing import Callable

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

#: Descriptors that are kept, the most recently used. Archives go depth first, so that a few serve nearly all entries.
_KEPT = 64

_LENGTH = struct.Struct("=I")
#: atime and mtime in nanoseconds, length of the path, length of the default ACL.
_TIMES = struct.Struct("=qqHI")


class Folders:
    """Descriptors of directories beneath a root, by their path as in the archive.

    :param root_fd: the root, which stays the caller's.
    """

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._open: Dict[bytes, int] = {}

    def get(self, path: bytes, make: Callable[[int, bytes], None] | None = None) -> int:
        """A descriptor of the directory ``path``.

        It stays this object's, and open until many other directories were asked for.

        :param make: called as ``make(dir_fd, name)`` for each missing directory, and makes it; None makes nothing.
        :raises BreakoutError: a symbolic link leads out.
        :raises FileNotFoundError: it is missing, and nothing is made.
        :raises OSError: something on the way is not a directory.
        """
        kept = self._open
        descriptor = kept.pop(path, None)
        if descriptor is None:
            descriptor = self._opened(path, make)
            self._make_room()
        kept[path] = descriptor  # as the latest
        return descriptor

    def _opened(self, path: bytes, make: Callable[[int, bytes], None] | None) -> int:
        return open_directory(self._root_fd, path, make)

    def keep(self, path: bytes, descriptor: int) -> None:
        """Take over an open descriptor of the directory ``path``."""
        old = self._open.pop(path, None)
        if old is not None:
            os.close(old)
        self._make_room()
        self._open[path] = descriptor

    def _make_room(self) -> None:
        if len(self._open) >= _KEPT:
            os.close(self._open.pop(next(iter(self._open))))

    def forget(self) -> None:
        """Close all, since something was removed: a path may lead to another directory now, or to none."""
        while self._open:
            os.close(self._open.popitem()[1])


class UnlinkedFolders(Folders):
    """Directories whose paths have no symbolic link in them, so that each has one path; others are an OSError."""

    def _opened(self, path: bytes, make: Callable[[int, bytes], None] | None) -> int:
        return open_without_links(self._root_fd, path)


class FolderTimes:
    """Times (and default ACLs, which would be inherited) of directories, to be set when nothing more is put into them.

    :param scratch_fd: where the file for them is made.
    """

    def __init__(self, scratch_fd: int) -> None:
        self._file = unnamed_file(scratch_fd)

    def add(self, path: bytes, atime: int, mtime: int, default_acl: bytes = b"") -> None:
        """Remember the times (nanoseconds) of the directory ``path``."""
        self._file.write(_TIMES.pack(atime, mtime, len(path), len(default_acl)) + path + default_acl)

    def __iter__(self) -> Iterator[tuple[bytes, int, int, bytes]]:
        """Generate the parameters of each :meth:`add`, in order."""
        self._file.seek(0)
        while True:
            head = self._file.read(_TIMES.size)
            if not head:
                return
            atime, mtime, length, acl_length = _TIMES.unpack(head)
            yield self._file.read(length), atime, mtime, self._file.read(acl_length)

    def close(self) -> None:
        """Free the space."""
        self._file.close()


class SpilledPaths:
    """Paths in a file that has no name, each once in a row: memory does not grow with their number.

    :param scratch_fd: where the file is made, when it is needed.
    """

    def __init__(self, scratch_fd: int) -> None:
        self._scratch_fd = scratch_fd
        self._file: Optional[io.BufferedRandom] = None
        self._last: Optional[bytes] = None

    def add(self, path: bytes) -> None:
        """Add a path, unless it is the same as the last one."""
        if path != self._last:
            self._last = path
            if self._file is None:
                self._file = unnamed_file(self._scratch_fd)
            self._file.write(_LENGTH.pack(len(path)) + path)

    def __iter__(self) -> Iterator[bytes]:
        """Generate what was added, in order. Nothing may be added meanwhile."""
        if self._file is None:
            return
        self._file.seek(0)
        while True:
            head = self._file.read(_LENGTH.size)
            if not head:
                return
            yield self._file.read(*_LENGTH.unpack(head))

    def close(self) -> None:
        """Free the space."""
        if self._file is not None:
            self._file.close()


def unnamed_file(scratch_fd: int) -> io.BufferedRandom:
    """A new read-write file in a directory, deleted when it is closed."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        descriptor = os.open(b".", flags | os.O_TMPFILE, 0o600, dir_fd=scratch_fd)
    except OSError:  # not every file system has it
        name = b".spill-%d-%s" % (os.getpid(), os.urandom(6).hex().encode())
        descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=scratch_fd)
        os.unlink(name, dir_fd=scratch_fd)
    return io.BufferedRandom(io.FileIO(descriptor, "r+b"), 1 << 16)
