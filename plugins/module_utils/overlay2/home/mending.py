# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Writes to a home for repairs: one change of one path, whole or not at all, and on disk when it returns.

Beside :mod:`.staging`, which writes layers, the only module that writes to a home.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Iterator

from ..linux import fs
from .directories import sync_directory, write_new


def replace_file(path: str, content: bytes, mode: int) -> None:
    """Puts a new file in the place of a name."""
    with _replacing(path) as (directory, temporary):
        write_new(directory, temporary, content, mode)


def replace_link(path: str, target: str) -> None:
    """Puts a new symbolic link in the place of a name."""
    with _replacing(path) as (directory, temporary):
        os.symlink(target, temporary, dir_fd=directory)


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[tuple[int, str]]:
    """Yields a descriptor of the directory and a name in it for something new, which then gets the name of ``path``."""
    temporary = ".tmp-" + os.urandom(8).hex()  # as moby's AtomicWriteFile, so what a kill leaves is known for that
    directory = os.open(os.path.dirname(path), fs.OPEN_DIRECTORY_NOFOLLOW)
    try:
        yield directory, temporary
        os.rename(temporary, os.path.basename(path), src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(directory)


def make_directory(path: str) -> None:
    """Makes a directory that only this user may enter."""
    os.mkdir(path, 0o700)
    sync_directory(os.path.dirname(path))


def set_rights(path: str, mode: int, owner: tuple[int, int]) -> None:
    """Gives a directory a mode and a (uid, gid), as far as they differ. The owner comes first, which may clear bits."""
    directory = os.open(path, fs.OPEN_DIRECTORY_NOFOLLOW)
    try:
        info = os.fstat(directory)
        if (info.st_uid, info.st_gid) != owner:
            os.fchown(directory, *owner)
        if stat.S_IMODE(os.fstat(directory).st_mode) != mode:
            os.fchmod(directory, mode)
        os.fsync(directory)
    finally:
        os.close(directory)


def remove(path: str) -> None:
    """Removes a file, a link or an empty directory; nothing more."""
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)
    else:
        os.unlink(path)
    sync_directory(os.path.dirname(path))
