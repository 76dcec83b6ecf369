# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A place to unpack into, next to something that must not change."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from pathlib import Path

from overlay2.tar.pack import pack_tree
from overlay2.tar.unpack import unpack
from overlay2.tar.whiteouts import Whiteouts


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a slow pipe may."""

    def __init__(self, data, step):
        self._data = memoryview(data)
        self._step = step

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self._data[: min(self._step, len(buffer))]
        buffer[: len(part)] = part
        self._data = self._data[len(part) :]
        return len(part)


class Place:
    """A target directory beside a directory `outside`."""

    def __init__(self, base: Path):
        self.base = base
        self.outside = base / "outside"
        self.outside.mkdir(mode=0o700)
        (self.outside / "secret").write_bytes(b"secret\n")
        self.target = self.fresh("target")
        self.scratch = self.fresh("scratch")

    def fresh(self, name):
        folder = self.base / name
        folder.mkdir(mode=0o755)
        return folder

    def unpack(self, data, whiteouts=Whiteouts.OVERLAY, target=None, **options):
        """Unpack bytes, or a stream, into the target (or another folder)."""
        stream = io.BytesIO(data) if isinstance(data, (bytes, bytearray)) else data
        with opened(target or self.target) as root, opened(self.scratch) as scratch:
            result = unpack(stream, root, whiteouts=whiteouts, scratch_fd=scratch, **options)
        assert not os.listdir(self.scratch) or os.listdir(self.scratch) == [".wh..wh.plnk"]
        return result

    def pack(self, folder=None, overlay=True, **options):
        """The archive of the target (or another folder), as bytes."""
        with opened(folder or self.target) as root:
            return b"".join(pack_tree(root, overlay=overlay, **options))

    def path(self, name):
        """A path (bytes) in the target."""
        return os.path.join(os.fsencode(self.target), name if isinstance(name, bytes) else os.fsencode(name))


@contextlib.contextmanager
def opened(folder):
    """A descriptor of a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def facts(folder):
    """Everything about a tree except inode numbers, by path."""
    found = {}
    for above, folders, files in os.walk(os.fsencode(folder)):
        for name in folders + files + [b"."]:
            path = os.path.join(above, name)
            info = os.lstat(path)
            content = None
            if stat.S_ISREG(info.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            attributes = {name: os.getxattr(path, name, follow_symlinks=False)
                          for name in os.listxattr(path, follow_symlinks=False)}  # fmt: skip
            found[os.path.relpath(path, os.fsencode(folder))] = (
                info.st_mode, info.st_uid, info.st_gid, info.st_rdev, info.st_mtime_ns, content, attributes,
                info.st_nlink if not stat.S_ISDIR(info.st_mode) else 0,
            )  # fmt: skip
    return found
