# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Whiteouts in a layer's upper directory, as overlayfs keeps them: devices 0:0 and an attribute of opaque directories.

Two things go beyond moby, since a mount must show what OCI's layer.md says. The kernel lists a whiteout in a directory
that it does not merge with a lower one, so those are removed in the end: they hide nothing. And it ignores the
opaque attribute of the upper directory itself, so an opaque root becomes a whiteout for each name below.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from typing import Dict, Iterator, Optional, Sequence, Set, Tuple

from ..errors import ArchiveError, printable
from ..linux import xattr
from ..linux.beneath import open_directory
from ..linux.fs import OPEN_DIRECTORY, OPEN_DIRECTORY_NOFOLLOW
from ..linux.overlayfs import is_whiteout
from ..tree import remove_at
from .folders import SpilledPaths
from .whiteouts import ImpliedFolders, path_of, stat_or_none

log = logging.getLogger("overlay2")

#: Most paths whose lower directories are remembered.
_CACHED = 1024


class OverlayWhiteouts:
    """A :class:`~.whiteouts.Converter` for an upper directory that is not mounted.

    :param root_fd: the upper directory.
    :param scratch_fd: where the file for the paths of whiteouts is made.
    :param xattr_class: ``trusted`` or ``user``.
    :param lower_paths: the ``diff`` directories below, uppermost first, opened if there are whiteouts. None: they are
        not known, and whiteouts stay as moby makes them.
    """

    keeps_root = True
    needs_parent = True

    def __init__(self, root_fd: int, scratch_fd: int, xattr_class: str, lower_paths: Optional[Sequence[str]]) -> None:
        self._root_fd = root_fd
        self._root_path = path_of(root_fd)
        self._opaque = xattr.opaque(xattr_class)
        self._redirect = xattr.redirect(xattr_class)
        self._below = _LowerFolders(self._opaque, self._redirect, lower_paths or ())
        self._lower_paths = lower_paths
        self._implied = ImpliedFolders()
        self._noted = SpilledPaths(scratch_fd)
        self._opaque_root: Optional[Tuple[Tuple[int, int], Tuple[int, int]]] = None

    def make_opaque(self, dir_fd: int, owner: Tuple[int, int], times: Tuple[int, int]) -> bool:
        """Set the attribute; at the root, remember that everything below is to be hidden."""
        path = self._note(dir_fd)
        if path == b"" and self._lower_paths is not None:
            self._opaque_root = owner, times
        else:
            self._set_opaque(dir_fd, b".")
        return False

    def hide(self, dir_fd: int, name: bytes, owner: Tuple[int, int], times: Tuple[int, int]) -> bool:
        """Make a whiteout, with the entry's owner and times: so the copy of a layer has its diff ID."""
        self._note(dir_fd)
        removed = False
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=dir_fd)
        except FileExistsError:
            info = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                return False  # this archive's own
            if not self._is_disposable(dir_fd, name):
                self._set_opaque(dir_fd, name)
                return False
            remove_at(dir_fd, name)
            removed = True
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=dir_fd)
        os.chown(name, owner[0], owner[1], dir_fd=dir_fd, follow_symlinks=False)
        os.utime(name, ns=times, dir_fd=dir_fd, follow_symlinks=False)
        return removed

    def uncover(self, dir_fd: int, name: bytes, folder: bool) -> bool:
        """Remove a whiteout; a directory in its place is made here, and opaque."""
        if not is_whiteout(os.stat(name, dir_fd=dir_fd, follow_symlinks=False)):
            return False
        os.unlink(name, dir_fd=dir_fd)
        if folder:
            os.mkdir(name, 0o700, dir_fd=dir_fd)
            self._set_opaque(dir_fd, name)
        return True

    def imply(self, dir_fd: int, name: bytes) -> None:
        """Note a directory that was made only to hold whiteouts."""
        self._implied.add(os.stat(name, dir_fd=dir_fd, follow_symlinks=False))

    def keep(self, folder: int) -> None:
        """Note that the archive itself brings an open directory."""
        if self._implied:
            self._implied.discard(os.fstat(folder))

    def finish(self) -> None:
        """Hide everything below an opaque root, and remove whiteouts that the kernel would list."""
        if self._lower_paths is None:
            return
        if self._opaque_root is not None:
            for name in self._below.names():
                self.hide(self._root_fd, name, *self._opaque_root)
        for path in self._noted:
            self._remove_listed(path)
        if self._implied:
            for path in self._noted:
                self._copy_attributes(path)

    def close(self) -> None:
        """Close all descriptors."""
        self._below.close()
        self._noted.close()

    def _note(self, dir_fd: int) -> Optional[bytes]:
        try:
            path = path_of(dir_fd, self._root_path)
        except OSError:  # longer than a page: its whiteouts stay, listed or not
            return None
        self._noted.add(path)
        return path

    def _set_opaque(self, dir_fd: int, name: bytes) -> None:
        folder = os.open(name, OPEN_DIRECTORY_NOFOLLOW, dir_fd=dir_fd)
        try:
            os.setxattr(folder, self._opaque, xattr.OPAQUE)
        finally:
            os.close(folder)

    def _is_disposable(self, dir_fd: int, name: bytes) -> bool:
        folder = os.open(name, OPEN_DIRECTORY_NOFOLLOW, dir_fd=dir_fd)
        try:
            return self._implied.hold_nothing_else(folder)
        finally:
            os.close(folder)

    def _merged_with(self, path: bytes) -> Sequence[int]:
        """Lower directories that the kernel would merge with the upper one of that path, were that not opaque."""
        above = path
        while b"/" in above:
            above = above.rpartition(b"/")[0]
            if xattr.get(xattr.below(self._root_fd, above), self._opaque) == xattr.OPAQUE:
                return ()
        return self._below.find(path)

    def _remove_listed(self, path: bytes) -> None:
        """Remove the whiteouts of a directory that is not merged; and itself, if it was made for them."""
        try:
            below = self._merged_with(path)
            with self._opened(path) as folder:
                if below and not (path and xattr.get(folder, self._opaque) == xattr.OPAQUE):
                    return
                for name in os.listdir(folder):
                    if is_whiteout(os.stat(name, dir_fd=folder, follow_symlinks=False)):
                        os.unlink(name, dir_fd=folder)
            if not below and self._remove_implied(path):
                link = self._below.link_at(path)
                if link is not None:
                    log.warning("a deletion has no effect: %s is a symbolic link in a lower layer", printable(link))
        except (OSError, ArchiveError, _Unknown):
            return  # a later entry has replaced it, or what is below can't be told: then the whiteouts stay

    def _remove_implied(self, path: bytes) -> bool:
        """Remove an empty directory that was made for whiteouts, and those above it; returns True if it did."""
        removed = False
        while path:
            above, _slash, name = path.rpartition(b"/")
            with self._opened(above) as parent:
                info = stat_or_none(parent, name)
                if info is None or info not in self._implied or self._merged_with(path):
                    break
                try:
                    os.rmdir(name, dir_fd=parent)
                except OSError:  # not empty
                    break
            path, removed = above, True
        return removed

    def _copy_attributes(self, path: bytes) -> None:
        """Give directories that were made for whiteouts the owner, mode and times that they have below."""
        while path:
            try:
                with self._opened(path) as folder:
                    if os.fstat(folder) in self._implied:
                        below = self._merged_with(path)
                        if below:
                            info = os.stat(path, dir_fd=below[0], follow_symlinks=False)
                            os.fchown(folder, info.st_uid, info.st_gid)
                            os.fchmod(folder, stat.S_IMODE(info.st_mode))
                            os.utime(folder, ns=(info.st_atime_ns, info.st_mtime_ns))
                        self._implied.discard(os.fstat(folder))
            except (OSError, ArchiveError, _Unknown):
                return
            path = path.rpartition(b"/")[0]

    @contextlib.contextmanager
    def _opened(self, path: bytes) -> Iterator[int]:
        parent = open_directory(self._root_fd, path)
        try:
            folder = os.open(b".", OPEN_DIRECTORY_NOFOLLOW, dir_fd=parent)
        finally:
            os.close(parent)
        try:
            yield folder
        finally:
            os.close(folder)


class _Unknown(Exception):
    """Only a mount can tell what is merged."""


class _LowerFolders:
    """What lower layers show (Documentation/filesystems/overlayfs.rst, "Merging directories", "whiteouts")."""

    def __init__(self, opaque: str, redirect: str, paths: Sequence[str]) -> None:
        self._opaque = opaque
        self._redirect = redirect
        self._paths = paths
        self._open: Optional[list[int]] = None
        self._found: Dict[bytes, Sequence[int]] = {}

    def _roots(self) -> list[int]:
        if self._open is None:
            self._open = []
            for path in self._paths:
                self._open.append(os.open(path, OPEN_DIRECTORY))
        return self._open

    def close(self) -> None:
        """Close all descriptors."""
        while self._open:
            os.close(self._open.pop())

    def names(self) -> list[bytes]:
        """Names that show in the root."""
        shown: list[bytes] = []
        seen: Set[bytes] = set()
        for root in self._roots():
            for name in os.listdir(root):
                encoded = os.fsencode(name)
                if encoded not in seen:
                    seen.add(encoded)
                    if not is_whiteout(os.stat(name, dir_fd=root, follow_symlinks=False)):
                        shown.append(encoded)
        return shown

    def find(self, path: bytes) -> Sequence[int]:
        """Those that have a part of the directory ``path``, uppermost first; none if it does not show.

        :raises _Unknown: a directory on the way is redirected, or the path is too long to be looked up.
        """
        if not path:
            return self._roots()
        if path not in self._found:
            if len(self._found) >= _CACHED:
                self._found.clear()
            above = path.rpartition(b"/")[0]
            roots: Sequence[int] = self._roots()
            end = 0
            if above in self._found:
                roots, end = self._found[above], len(above) + 1
            while roots and end <= len(path):
                end = (path + b"/").index(b"/", end)
                roots = self._with_part(roots, path[:end])
                end += 1
            self._found[path] = roots
        return self._found[path]

    def _with_part(self, roots: Sequence[int], path: bytes) -> Sequence[int]:
        """Those of ``roots``, which have the directory above ``path``, that add to this one."""
        found = []
        for root in roots:
            try:
                info = stat_or_none(root, path)
            except OSError as error:
                raise _Unknown from error
            if info is None:
                continue
            if not stat.S_ISDIR(info.st_mode):  # a whiteout, for one
                break
            found.append(root)
            names = xattr.names(xattr.below(root, path))
            if self._redirect in names:
                raise _Unknown
            if self._opaque in names and xattr.get(xattr.below(root, path), self._opaque) == xattr.OPAQUE:
                break
        return found

    def link_at(self, path: bytes) -> Optional[bytes]:
        """The first part of ``path`` that is a symbolic link here, or None."""
        end = 0
        while end <= len(path):
            end = (path + b"/").index(b"/", end)
            for root in self._roots():
                info = stat_or_none(root, path[:end])
                if info is not None:
                    if stat.S_ISLNK(info.st_mode):
                        return path[:end]
                    break
            end += 1
        return None
