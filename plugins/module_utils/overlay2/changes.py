# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""What differs between two layers.

Two ways to the same answer. :func:`compare` looks at two whole trees, as moby's archive.ChangesDirs does for
every pair. :func:`overlay_changes` reads the upper folder of a layer alone and asks the folders below only about
the names found there, so it costs what has changed, not what there is.

The answer is moby's: a change of type, mode, owner, device number or ``security.capability``, and of anything
but a folder also of size or modification time. Contents are not read.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import stat
from typing import Dict, List, NamedTuple, Optional, Set

from .linux import xattr
from .linux.overlayfs import is_whiteout

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SECOND = 10**9
#: Characters of a path, of up to four bytes each, that surely fit into PATH_MAX.
_SHORT = 1000
_CAPABILITY = "security.capability"


class ChangeKind(enum.IntEnum):
    """What happened to a path; numbers as in moby's archive.ChangeType."""

    MODIFY = 0
    ADD = 1
    DELETE = 2

    @property
    def letter(self):
        """``C``, ``A`` or ``D``, as ``docker diff`` prints it (str)."""
        return "CAD"[self]


class Change(NamedTuple):
    """One difference: ``path`` is absolute within the layer (str), ``kind`` a :class:`ChangeKind`."""

    path: str
    kind: ChangeKind


class NotComparable(Exception):
    """A layer's folder uses an overlay feature that only a mount can make sense of."""


class Place(NamedTuple):
    """Where a path was found: the root folder's descriptor, and what lstat(2) said."""

    root: int
    info: os.stat_result

    @property
    def is_folder(self):
        return stat.S_ISDIR(self.info.st_mode)


#: Parts of a stat result as a tuple, which cost less than names.
_MODE = stat.ST_MODE
_OWNERS_AND_SIZE = slice(stat.ST_UID, stat.ST_SIZE + 1)


def compare(new, old):
    """Changes from one tree to another (moby's ChangesDirs).

    :param new: the tree's root, an open folder (int).
    :param old: the other's; None stands for an empty one.
    :returns: list of :class:`Change`, sorted by path.
    :raises OSError: a folder can't be read. What vanishes meanwhile counts as not there.
    """
    found: Dict[str, ChangeKind] = {}
    pending = [("", old is not None)]
    while pending:
        folder, in_old = pending.pop()
        there = listing(old, folder) if in_old else {}
        for name, info in listing(new, folder).items():
            before = there.pop(name, None)
            is_folder = stat.S_ISDIR(info.st_mode)
            same_number = before is not None and info.st_ino == before.st_ino
            if same_number and (info.st_dev == before.st_dev or (not is_folder and _untouched(info, before))):
                continue  # the very same file, or folder with all below it
            path = folder + "/" + name
            if before is None:
                found[path] = ChangeKind.ADD
            elif differs(path, Place(new, info), Place(old, before)):
                found[path] = ChangeKind.MODIFY
            if is_folder:
                pending.append((path, before is not None and stat.S_ISDIR(before.st_mode)))
        for name in there:
            found[folder + "/" + name] = ChangeKind.DELETE
    return _finished(found)


def overlay_changes(upper, lowers, xattr_class):
    """Changes of a layer against the layer directly below it, out of its own folder.

    :param upper: its ``diff`` folder, open (int).
    :param lowers: the ``diff`` folders below, open, uppermost first (list of int).
    :param xattr_class: ``"trusted"`` or ``"user"``.
    :returns: what :func:`compare` would say of the two layers, mounted.
    :raises NotComparable: a redirect, or a whiteout in the form of an attribute, was met.
    :raises OSError: a folder can't be read.
    """
    view = LowerView(xattr_class)
    found: Dict[str, ChangeKind] = {}
    # The third item: an opaque folder here or further up hides everything below this layer.
    pending = [("", list(lowers), False)]
    while pending:
        folder, below, alone = pending.pop()
        here = listing(upper, folder)
        # The kernel asks no layer's uppermost folder whether it is opaque.
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
    """Names as they show through a stack of lower folders (Documentation/filesystems/overlayfs.rst)."""

    def __init__(self, xattr_class):
        self._opaque = "%s.overlay.opaque" % xattr_class
        self._redirect = "%s.overlay.redirect" % xattr_class

    def look_up(self, roots, path):
        """What shows at ``path``.

        :param roots: those that add to the folder ``path`` is in, uppermost first.
        :returns: (:class:`Place` or None, list of the roots that add to it where it is a folder).
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
                break  # on top it hides what follows, below a folder it is hidden itself
            adding.append(root)
            if self.is_opaque(root, path):
                break
        return top, adding

    def names(self, roots, folder):
        """Names that show in ``folder`` and where each comes from (dict of :class:`Place`)."""
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

    def is_opaque(self, root, folder):
        """Whether a folder hides those below it (bool).

        :raises NotComparable: it is redirected, or marks whiteouts by attribute.
        """
        descriptor = open_directory(root, folder)
        try:
            names = os.listxattr(descriptor)
            if self._redirect in names and folder:
                raise NotComparable("the folder %s is redirected" % folder)
            value = os.getxattr(descriptor, self._opaque) if self._opaque in names else b""
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.ENODATA):
                return False
            raise
        finally:
            os.close(descriptor)
        if value == b"x":
            raise NotComparable("the folder %s has whiteouts as attributes" % folder)
        return value == b"y"


def require_no_redirect(xattr_class: str, descriptor: int) -> None:
    """Refuses a directory whose content is elsewhere.

    :raises NotComparable: it is redirected.
    """
    if xattr.get(descriptor, xattr.redirect(xattr_class)) is not None:
        raise NotComparable("the folder %s is redirected" % os.readlink("/proc/self/fd/%d" % descriptor))


def open_directory(root, folder):
    path = folder[1:] or "."
    if len(path) <= _SHORT:
        return os.open(path, _DIRECTORY, dir_fd=root)
    with _brought_near(root, path) as (near, rest):
        return os.open(rest, _DIRECTORY, dir_fd=near)


@contextlib.contextmanager
def _brought_near(root, path):
    """A path longer than the kernel takes in one piece: yields an open folder on the way and the rest from there."""
    current = os.dup(root)
    try:
        while len(path) > _SHORT:
            cut = path.rindex("/", 0, _SHORT)
            below = os.open(path[:cut], _DIRECTORY, dir_fd=current)
            os.close(current)
            current, path = below, path[cut + 1 :]
        yield current, path
    finally:
        os.close(current)


def listing(root, folder):
    """Names in a folder and what lstat(2) says of them (dict); empty where it vanished."""
    try:
        descriptor = open_directory(root, folder)
    except FileNotFoundError:
        return {}
    found = {}
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


def lstat(root, path):
    """What lstat(2) says of a path below an open folder; None where there is nothing."""
    try:
        if len(path) <= _SHORT:
            return os.stat(path[1:], dir_fd=root, follow_symlinks=False)
        with _brought_near(root, path[1:]) as (near, rest):
            return os.stat(rest, dir_fd=near, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def differs(path, new, old):
    """Whether two files of one path count as different (moby's FileInfo comparison and sameFsTime)."""
    here, there = new.info, old.info
    if here.st_mode != there.st_mode or here.st_rdev != there.st_rdev:
        return True
    if here.st_uid != there.st_uid or here.st_gid != there.st_gid:
        return True
    has_content = not stat.S_ISDIR(here.st_mode)
    if has_content and (here.st_size != there.st_size or not _same_time(here.st_mtime_ns, there.st_mtime_ns)):
        return True
    if (here.st_ino, here.st_ctime_ns) == (there.st_ino, there.st_ctime_ns):
        return False  # one inode seen twice: any change of an attribute would have changed its ctime
    return _capability(new.root, path) != _capability(old.root, path)


def _untouched(one, other):
    """Whether two stat results with one inode number are of one file that nobody changed in between.

    Device numbers say nothing: each overlay mount shows the files of its lower layers under one of its own. And a file
    that is copied up keeps its number, so all else must be the same; the time of change alone has too coarse a clock.
    """
    return (
        one.st_ctime_ns == other.st_ctime_ns
        and one.st_mtime_ns == other.st_mtime_ns
        and one[_MODE] == other[_MODE]
        and one[_OWNERS_AND_SIZE] == other[_OWNERS_AND_SIZE]
    )


def _same_time(one, other):
    """Equal, or equal to the second where one side has no finer part: archives carry whole seconds."""
    if one == other:
        return True
    return one // _SECOND == other // _SECOND and (one % _SECOND == 0 or other % _SECOND == 0)


def _capability(root, path):
    try:
        if len(path) <= _SHORT:
            return os.getxattr("/proc/self/fd/%d%s" % (root, path), _CAPABILITY, follow_symlinks=False)
        with _brought_near(root, path[1:]) as (near, rest):
            return os.getxattr("/proc/self/fd/%d/%s" % (near, rest), _CAPABILITY, follow_symlinks=False)
    except OSError:
        return b""


def _finished(found):
    """Add the folders that only have changes below them, sort, and make records."""
    for path in list(found):
        folder = os.path.dirname(path)
        while folder != "/" and folder not in found:
            found[folder] = ChangeKind.MODIFY
            folder = os.path.dirname(folder)
    return [Change(path, found[path]) for path in sorted(found, key=os.fsencode)]
