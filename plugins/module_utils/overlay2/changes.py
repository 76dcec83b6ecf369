# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""The differences between two layers, found in two ways.

:func:`compare` reads two whole trees, as moby's archive.ChangesDirs does for every pair. :func:`overlay_changes` reads
the upper directory of a layer and looks up its names in the directories below. So its time depends on the number of
changes, not on the size of the layers.

Both report moby's differences: a change of type, mode, owner, device number or ``security.capability``, and for
everything but directories also of size or modification time. Contents are not read.
"""

from __future__ import annotations

import contextlib
import enum
import os
import stat
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Set

from .linux import fs, xattr
from .linux.overlayfs import is_whiteout

if TYPE_CHECKING:
    from typing import Iterable, Iterator, Sequence

_SECOND = 10**9
#: A path of this many characters, of up to four bytes each, fits into PATH_MAX.
_SHORT = 1000


class ChangeKind(enum.IntEnum):
    """What happened to a path; numbers as in moby's archive.ChangeType."""

    MODIFY = 0
    ADD = 1
    DELETE = 2

    @property
    def letter(self) -> str:
        """``C``, ``A`` or ``D``, as ``docker diff`` prints it."""
        return "CAD"[self]


class Change(NamedTuple):
    """One difference."""

    #: absolute within the layer
    path: str
    kind: ChangeKind


class NotComparable(Exception):
    """A layer's directory uses a feature of overlayfs that only a mount can interpret."""


class Place(NamedTuple):
    """Where a path was found."""

    #: descriptor of the layer's root directory
    root: int
    info: os.stat_result


#: Parts of a stat result by index, which is faster than by name.
_MODE = stat.ST_MODE
_OWNERS_AND_SIZE = slice(stat.ST_UID, stat.ST_SIZE + 1)


def compare(new: int, old: int | None) -> list[Change]:
    """Returns the changes from one tree to another, sorted by path; moby's ChangesDirs.

    :param new: descriptor of the new tree's root directory.
    :param old: descriptor of the old tree's; None for an empty tree.
    :raises OSError: a directory cannot be read. Files that vanish meanwhile count as missing.
    """
    found: Dict[str, ChangeKind] = {}
    pending = [("", old is not None)]
    while pending:
        folder, in_old = pending.pop()
        there = listing(old, folder) if in_old and old is not None else {}
        for name, info in listing(new, folder).items():
            before = there.pop(name, None)
            is_folder = stat.S_ISDIR(info.st_mode)
            if (
                before is not None
                and info.st_ino == before.st_ino
                and (info.st_dev == before.st_dev or (not is_folder and _untouched(info, before)))
            ):
                continue  # the very same file, or directory with everything below it
            path = folder + "/" + name
            if before is None or old is None:
                found[path] = ChangeKind.ADD
            elif differs(path, Place(new, info), Place(old, before)):
                found[path] = ChangeKind.MODIFY
            if is_folder:
                pending.append((path, before is not None and stat.S_ISDIR(before.st_mode)))
        for name in there:
            found[folder + "/" + name] = ChangeKind.DELETE
    return _finished(found)


def overlay_changes(upper: int, lowers: Sequence[int], xattr_class: str) -> list[Change]:
    """Returns the changes of a layer against the layer directly below it, read from its own directory.

    The result is that of :func:`compare` for the two layers, mounted.

    :param upper: descriptor of its ``diff`` directory.
    :param lowers: descriptors of the ``diff`` directories below, uppermost first.
    :param xattr_class: ``"trusted"`` or ``"user"``.
    :raises NotComparable: there is a redirect, or a whiteout that is an attribute.
    :raises OSError: a directory cannot be read.
    """
    view = LowerView(xattr_class)
    found: Dict[str, ChangeKind] = {}
    # The third item: an opaque directory here or further up hides everything below this layer.
    pending = [("", list(lowers), False)]
    while pending:
        folder, below, alone = pending.pop()
        here = listing(upper, folder)
        # The kernel does not look whether the root of a layer is opaque.
        alone = (view.is_opaque(upper, folder) and bool(folder)) or alone
        if alone:
            for name in view.names(below, folder):
                if name not in here:
                    found[folder + "/" + name] = ChangeKind.DELETE
        for name, info in here.items():
            path = folder + "/" + name
            before, adding = view.look_up(below, path)
            if is_whiteout(info):
                if before is not None:
                    found[path] = ChangeKind.DELETE
                continue
            if before is None:
                found[path] = ChangeKind.ADD
            elif differs(path, Place(upper, info), before):
                found[path] = ChangeKind.MODIFY
            if stat.S_ISDIR(info.st_mode):
                pending.append((path, adding, alone))
    return _finished(found)


class LowerView:
    """Merges lower directories as overlayfs does (Documentation/filesystems/overlayfs.rst)."""

    def __init__(self, xattr_class: str) -> None:
        self._opaque = xattr.opaque(xattr_class)
        self._redirect = xattr.redirect(xattr_class)

    def look_up(self, roots: Iterable[int], path: str) -> tuple[Place | None, list[int]]:
        """Returns where the visible file at ``path`` is; for a directory, also the roots that it is merged from.

        :param roots: those that the directory above ``path`` is merged from, uppermost first.
        """
        top: Optional[Place] = None
        adding: List[int] = []
        for root in roots:
            info = lstat(root, path)
            if info is None:
                continue
            if is_whiteout(info):
                break
            top = top or Place(root, info)
            if not stat.S_ISDIR(info.st_mode):
                break  # uppermost, it hides the rest; below a directory, it is hidden itself
            adding.append(root)
            if self.is_opaque(root, path):
                break
        return top, adding

    def names(self, roots: Iterable[int], folder: str) -> dict[str, Place]:
        """Returns the visible names in a directory and where each comes from."""
        shown: Dict[str, Place] = {}
        hidden: Set[str] = set()
        for root in roots:
            for name, info in listing(root, folder).items():
                if name in shown or name in hidden:
                    continue
                if is_whiteout(info):
                    hidden.add(name)
                else:
                    shown[name] = Place(root, info)
        return shown

    def is_opaque(self, root: int, folder: str) -> bool:
        """True if a directory hides those of its name below.

        :raises NotComparable: it is redirected, or marks whiteouts by attribute.
        """
        descriptor = open_directory(root, folder)
        try:
            names = xattr.names(descriptor)
            if self._redirect in names and folder:
                raise NotComparable("the directory %s is redirected" % folder)
            value = xattr.get(descriptor, self._opaque) if self._opaque in names else None
        finally:
            os.close(descriptor)
        if value == xattr.OPAQUE_WHITEOUTS:
            raise NotComparable("the directory %s has whiteouts as attributes" % folder)
        return value == xattr.OPAQUE


def require_no_redirect(xattr_class: str, descriptor: int) -> None:
    """Refuses a directory whose content is elsewhere.

    :raises NotComparable: it is redirected.
    """
    if xattr.get(descriptor, xattr.redirect(xattr_class)) is not None:
        raise NotComparable("the directory %s is redirected" % os.readlink("/proc/self/fd/%d" % descriptor))


def open_directory(root: int, folder: str) -> int:
    """Opens a directory by its path below an open one, however long; no link is followed at the end."""
    path = folder[1:] or "."
    if len(path) <= _SHORT:
        return os.open(path, fs.OPEN_DIRECTORY_NOFOLLOW, dir_fd=root)
    with _brought_near(root, path) as (near, rest):
        return os.open(rest, fs.OPEN_DIRECTORY_NOFOLLOW, dir_fd=near)


@contextlib.contextmanager
def _brought_near(root: int, path: str) -> Iterator[tuple[int, str]]:
    """For a path that is too long for the kernel: yields the descriptor of a directory on the way, and the rest."""
    current = os.dup(root)
    try:
        while len(path) > _SHORT:
            cut = path.rindex("/", 0, _SHORT)
            below = os.open(path[:cut], fs.OPEN_DIRECTORY_NOFOLLOW, dir_fd=current)
            os.close(current)
            current, path = below, path[cut + 1 :]
        yield current, path
    finally:
        os.close(current)


def listing(root: int, folder: str) -> dict[str, os.stat_result]:
    """Returns the names in a directory and the result of lstat(2) for each; none if the directory is gone."""
    try:
        descriptor = open_directory(root, folder)
    except FileNotFoundError:
        return {}
    found: Dict[str, os.stat_result] = {}
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                try:
                    found[entry.name] = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
    finally:
        os.close(descriptor)
    return found


def lstat(root: int, path: str) -> os.stat_result | None:
    """Returns the result of lstat(2) for a path below an open directory; None if the path is missing."""
    try:
        if len(path) <= _SHORT:
            return os.stat(path[1:], dir_fd=root, follow_symlinks=False)
        with _brought_near(root, path[1:]) as (near, rest):
            return os.stat(rest, dir_fd=near, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def differs(path: str, new: Place, old: Place) -> bool:
    """True if two files of one path count as different; moby's FileInfo comparison and sameFsTime."""
    here, there = new.info, old.info
    if here.st_mode != there.st_mode or here.st_rdev != there.st_rdev:
        return True
    if here.st_uid != there.st_uid or here.st_gid != there.st_gid:
        return True
    has_content = not stat.S_ISDIR(here.st_mode)
    if has_content and (here.st_size != there.st_size or not _same_time(here.st_mtime_ns, there.st_mtime_ns)):
        return True
    if (here.st_ino, here.st_ctime_ns) == (there.st_ino, there.st_ctime_ns):
        return False  # one inode seen twice: a change of an attribute would have changed its ctime
    return _capability(new.root, path) != _capability(old.root, path)


def _untouched(one: os.stat_result, other: os.stat_result) -> bool:
    """True if two stat results with one inode number belong to one file that did not change in between.

    st_dev cannot be used: each overlay mount reports its own. st_ino survives copy-up, so ctime, mtime, mode, owner and
    size must match as well; the clock of ctime alone is too coarse.
    """
    return (
        one.st_ctime_ns == other.st_ctime_ns
        and one.st_mtime_ns == other.st_mtime_ns
        and one[_MODE] == other[_MODE]
        and one[_OWNERS_AND_SIZE] == other[_OWNERS_AND_SIZE]
    )


def _same_time(one: int, other: int) -> bool:
    """True if two times in nanoseconds are equal, or if one is a whole second, as in archives, and the other in it."""
    if one == other:
        return True
    return one // _SECOND == other // _SECOND and (one % _SECOND == 0 or other % _SECOND == 0)


def _capability(root: int, path: str) -> bytes:
    try:
        if len(path) <= _SHORT:
            return os.getxattr("/proc/self/fd/%d%s" % (root, path), xattr.CAPABILITY, follow_symlinks=False)
        with _brought_near(root, path[1:]) as (near, rest):
            return os.getxattr("/proc/self/fd/%d/%s" % (near, rest), xattr.CAPABILITY, follow_symlinks=False)
    except OSError:
        return b""


def _finished(found: dict[str, ChangeKind]) -> list[Change]:
    """Adds the directories that only have changes below them, and returns sorted records."""
    for path in list(found):
        folder = os.path.dirname(path)
        while folder != "/" and folder not in found:
            found[folder] = ChangeKind.MODIFY
            folder = os.path.dirname(folder)
    return [Change(path, found[path]) for path in sorted(found, key=os.fsencode)]
