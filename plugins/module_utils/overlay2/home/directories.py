# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Makes directories and small files with an exact owner and mode, and has them on disk."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Sequence

from ..linux import fs


def make_directory(path: str, mode: int, owner: tuple[int, int]) -> None:
    """mkdir(2) with exactly this mode, whatever the umask, and this (uid, gid)."""
    os.mkdir(path, mode)
    try:
        _adjust(path, os.stat(path), mode, owner)
    except BaseException:
        os.rmdir(path)
        raise


def ensure_directory(path: str, mode: int, owner: tuple[int, int]) -> None:
    """Makes a directory and its parents, or gives an existing one this mode and owner; moby's MkdirAllAndChown.

    :raises NotADirectoryError: something else has the name.
    """
    try:
        info = os.stat(path)
    except FileNotFoundError:
        parent = os.path.dirname(path)
        if parent and not os.path.isdir(parent):
            ensure_directory(parent, mode, owner)
        with contextlib.suppress(FileExistsError):  # another process may be as far
            make_directory(path, mode, owner)
        return
    if not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    _adjust(path, info, mode, owner)


def _adjust(path: str, info: os.stat_result, mode: int, owner: tuple[int, int]) -> None:
    """Gives a directory another mode and owner if they differ from its stat result ``info``."""
    if (info.st_uid, info.st_gid) != owner:
        os.chown(path, *owner)
    if stat.S_IMODE(info.st_mode) != mode:
        os.chmod(path, mode)


def sync_directory(path: str) -> None:
    """Makes the names in a directory survive a power cut: fsync(2) of the directory."""
    descriptor = os.open(path, fs.OPEN_DIRECTORY)  # the home may be a symbolic link
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(directory: int, name: str, content: bytes, mode: int, sync: bool = True) -> None:
    """Writes a file that does not exist yet.

    :param directory: descriptor of its directory.
    :param sync: have it on disk when this returns.
    """
    descriptor = write_open(directory, name, content, mode)
    try:
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_open(directory: int, name: str, content: bytes, mode: int) -> int:
    """Writes a new file and returns its descriptor, still open."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=directory)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.fchmod(descriptor, mode)
        fs.write_all(descriptor, content)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def sync_together(descriptors: Sequence[int]) -> None:
    """fsync(2) of several new files.

    All writes are started first, so that the commit of the first file to the journal covers the others, and syncing
    those has nothing left to do. On ext4 that is a third faster for two files.
    """
    for descriptor in descriptors[1:]:
        with contextlib.suppress(OSError):  # fsync reports what is wrong with the file
            fs.start_writing(descriptor)
    for descriptor in descriptors:
        os.fsync(descriptor)
