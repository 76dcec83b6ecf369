# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Whiteouts carried out on a mounted layer or a plain tree: what they name is removed."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Iterator, Optional, Tuple

from ..linux.beneath import open_directory
from ..linux.fs import OPEN_DIRECTORY_NOFOLLOW
from ..linux.overlayfs import is_whiteout
from ..tree import remove_at, walk
from .whiteouts import ImpliedFolders, path_of, stat_or_none


class MergeWhiteouts:
    """A :class:`~.whiteouts.Converter` that removes what a whiteout names, except what this archive has put there.

    :param root_fd: the tree that is unpacked into.
    :param upper_fd: where entries of this archive show: the upper directory of an overlay mount, or ``root_fd`` itself
        if that was empty. None: that is not known, and everything is removed.
    """

    keeps_root = False
    needs_parent = False

    def __init__(self, root_fd: int, upper_fd: Optional[int]) -> None:
        self._upper_fd = upper_fd
        self._root_path = path_of(root_fd)
        self._implied = ImpliedFolders()

    def make_opaque(self, dir_fd: int, _owner: Tuple[int, int], _times: Tuple[int, int]) -> bool:
        """Remove what a directory has from below."""
        self._prune_below(dir_fd, b".")
        return True

    def hide(self, dir_fd: int, name: bytes, _owner: Tuple[int, int], _times: Tuple[int, int]) -> bool:
        """Remove what a name has from below."""
        with self._upper_of(dir_fd) as upper:
            if self._prune_one(dir_fd, upper, name):
                self._prune_below(dir_fd, name)
        return True

    def uncover(self, _dir_fd: int, _name: bytes, _folder: bool) -> bool:
        """Return False: a merged tree has no whiteouts."""
        return False

    def imply(self, dir_fd: int, name: bytes) -> None:
        """Do nothing: directories are not made for whiteouts here."""

    def keep(self, folder: int) -> None:
        """Note that the archive itself brings an open directory."""
        if self._implied:
            with self._upper_of(folder) as upper:
                if upper is not None:
                    self._implied.discard(os.fstat(upper))

    def finish(self) -> None:
        """Do nothing: everything was removed at once."""

    def close(self) -> None:
        """Do nothing: no descriptor is kept."""

    def _prune_below(self, dir_fd: int, name: bytes) -> None:
        folder = os.open(name, OPEN_DIRECTORY_NOFOLLOW, dir_fd=dir_fd)
        try:
            walk(folder, self._prune)
        finally:
            os.close(folder)

    def _prune(self, dir_fd: int) -> list[str]:
        """Remove from a directory what this archive has not put there; returns names of directories to look into."""
        with self._upper_of(dir_fd) as upper:
            return [name for name in os.listdir(dir_fd) if self._prune_one(dir_fd, upper, os.fsencode(name))]

    def _prune_one(self, dir_fd: int, upper: Optional[int], name: bytes) -> bool:
        """Remove a name unless this archive has put it there; returns True if a directory is left to look into."""
        info = stat_or_none(upper, name) if upper is not None else None
        if upper is None or info is None or is_whiteout(info) or self._is_disposable(upper, name, info):
            remove_at(dir_fd, name)
            return False
        return stat.S_ISDIR(info.st_mode)

    def _is_disposable(self, upper: int, name: bytes, info: os.stat_result) -> bool:
        """Whether the upper directory has it only because something in it was removed."""
        if not stat.S_ISDIR(info.st_mode) or info not in self._implied:
            return False
        folder = os.open(name, OPEN_DIRECTORY_NOFOLLOW, dir_fd=upper)
        try:
            return self._implied.hold_nothing_else(folder)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _upper_of(self, dir_fd: int) -> Iterator[Optional[int]]:
        """The directory of the upper tree for one of the merged tree: yields a descriptor, or None if it is missing.

        Directories that overlayfs copies up meanwhile, as something in them is removed, are noted.
        """
        if self._upper_fd is None:
            yield None
            return
        path = path_of(dir_fd, self._root_path)
        try:
            upper = open_directory(self._upper_fd, path)
        except (FileNotFoundError, NotADirectoryError):
            missing = []
            while path and stat_or_none(self._upper_fd, path) is None:
                missing.append(path)
                path = path.rpartition(b"/")[0]
            yield None
            for path in missing:
                info = stat_or_none(self._upper_fd, path)
                if info is not None:
                    self._implied.add(info)
            return
        try:
            yield upper
        finally:
            os.close(upper)
