# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Walks whole directory trees: to remove or to measure them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import time
from typing import TYPE_CHECKING, List, NamedTuple, Optional, Tuple

from .linux import beneath, fs, mount, mountinfo

if TYPE_CHECKING:
    from typing import Callable, Iterator, Protocol

    class Opener(Protocol):
        """Opens a directory as os.open() does."""

        def __call__(self, path: str, flags: int, *, dir_fd: int | None = None) -> int:
            """Returns a descriptor."""


log = logging.getLogger("overlay2")

#: A busy entry is detached and tried again this often, this far apart (moby's EnsureRemoveAll).
_BUSY_TRIES = 50
_BUSY_PAUSE = 0.1
#: The unit of st_blocks, whatever the file system's own (stat(2)).
_BLOCK = 512


def unmount_below(directory: str, itself: bool = True) -> list[str]:
    """Detaches every mount below a directory, the innermost first; moby's mount.RecursiveUnmount.

    :param directory: an absolute path without symbolic links.
    :param itself: also detach mounts at ``directory`` itself.
    :returns: the mount points that were detached.
    :raises OSError: the last refusal, after all have been tried.
    """
    done: list[str] = []
    while True:
        # Repeated, because one mount may hide the path of another until it is detached.
        points = {entry.mount_point for entry in mountinfo.mounts(below=directory)}
        if not itself:
            points.discard(directory)
        detached: list[str] = []
        failure = None
        for point in sorted(points, key=len, reverse=True):
            try:
                if mount.unmount_stack(point):
                    detached.append(point)
            except OSError as error:
                log.warning("failed to unmount %s: %s", point, error)
                failure = error
        if not detached and failure is not None:
            raise failure
        if not detached:
            return done  # any mount that is left is hidden by one further up and cannot be reached
        done += detached


@contextlib.contextmanager
def scratch_folder(parent: str, prefix: str) -> Iterator[str]:
    """Makes a new private directory below ``parent`` for the length of a ``with`` block, then removes it.

    :raises OSError: it cannot be made, or not all of it can be removed.
    """
    path = os.path.join(parent, prefix + os.urandom(8).hex())
    os.mkdir(path, 0o700)
    try:
        yield path
    finally:
        remove_tree(path)


def remove_tree(path: str) -> None:
    """Removes a directory with everything in it, if it exists; moby's EnsureRemoveAll.

    Mounts inside are detached first, so that no mounted file system is emptied by mistake.

    :raises OSError: an entry cannot be removed.
    """
    opener: Opener = _open_unmounted
    if not beneath.has_openat2():
        opener = os.open
        unmount_below(os.path.realpath(path))
    for attempt in range(_BUSY_TRIES):
        try:
            _remove(path, opener=opener)
            return
        except FileNotFoundError:
            # Another process removes here too: try the rest again.
            if not os.path.lexists(path):
                return
            if attempt:
                raise
        except OSError as error:
            if error.errno == errno.ENOTEMPTY and not attempt:
                continue
            if error.errno != errno.EBUSY or attempt == _BUSY_TRIES - 1:
                raise
            if not unmount_below(os.path.realpath(path)):
                time.sleep(_BUSY_PAUSE)


def _open_unmounted(path: str, flags: int, *, dir_fd: int | None = None) -> int:
    """os.open() that fails with ``EBUSY`` if a file system is mounted there.

    With it the kernel itself keeps a removal out of mounts, and the mount table does not have to be read.
    """
    if dir_fd is None:
        above, name = os.path.split(path)
        dir_fd = os.open(above or ".", fs.OPEN_DIRECTORY)
        try:
            return _open_unmounted(name, flags, dir_fd=dir_fd)
        finally:
            os.close(dir_fd)
    try:
        return beneath.openat2(dir_fd, os.fsencode(path), flags, 0, beneath.RESOLVE_NO_XDEV)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise OSError(errno.EBUSY, "a file system is mounted on it", path) from None
        raise


def remove_at(dir_fd: int, name: str | bytes) -> None:
    """Removes a name in an open directory, with everything below it, if it exists. Mounts are not looked for.

    :raises OSError: an entry cannot be removed.
    """
    try:
        os.unlink(name, dir_fd=dir_fd)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
            raise
    _remove(os.fsdecode(name), dir_fd)


def _remove(name: str, dir_fd: int | None = None, opener: Opener = os.open) -> None:
    """Tries once to remove a directory with everything in it.

    :param name: its path, or with ``dir_fd`` its name there.
    """
    descriptor = opener(name, fs.OPEN_DIRECTORY_NOFOLLOW, dir_fd=dir_fd)
    try:
        walk(descriptor, _unlink_files, _remove_folder, opener)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=dir_fd)


def _remove_folder(parent: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        pass  # another process removes here too
    except OSError as error:
        raise _with_path(error, parent, name) from None


def _unlink_files(descriptor: int) -> list[str]:
    """Removes everything but directories from an open directory; returns the names of its directories."""
    with os.scandir(descriptor) as entries:
        listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    folders = []
    for name, is_folder in listed:
        if is_folder:
            folders.append(name)
            continue
        try:
            os.unlink(name, dir_fd=descriptor)
        except FileNotFoundError:
            # Another process removes here too; or it is a whiteout in a directory that is not merged with another,
            # which overlayfs lists although a lookup of the name fails.
            pass
        except OSError as error:
            raise _with_path(error, descriptor, name) from None
    return folders


def _with_path(error: OSError, descriptor: int, name: str) -> OSError:
    """Returns the error with the whole path instead of a name in an open directory."""
    return OSError(error.errno, error.strerror, os.path.join(os.readlink("/proc/self/fd/%d" % descriptor), name))


class Usage(NamedTuple):
    """The size of a directory tree, in bytes."""

    #: The lengths of everything but directories; moby's directory.Size.
    size: int
    #: The space that it takes on disk, directories included, as du(1) counts it.
    disk: int


def tree_size(path: str, look: Callable[[int], None] | None = None) -> int:
    """Returns the bytes of everything in a directory but directories, as :func:`tree_usage` counts them."""
    return tree_usage(path, look).size


def tree_usage(path: str, look: Callable[[int], None] | None = None) -> Usage:
    """Measures a directory tree.

    Each inode counts once, a symbolic link with the length of its target. Files that vanish meanwhile do not count.

    :param look: called with the descriptor of each directory; an exception from it ends the walk.
    :raises OSError: ``path`` itself cannot be read.
    """
    size = blocks = 0
    seen: set[int] = set()

    def add_files(descriptor: int) -> list[str]:
        nonlocal size, blocks
        if look is not None:
            look(descriptor)
        folders = []
        for name, info in _stats(descriptor):
            if stat.S_ISDIR(info.st_mode):
                blocks += info.st_blocks
                folders.append(name)
                continue
            if info.st_nlink > 1:  # only a file with more than one name can come up again
                if info.st_ino in seen:
                    continue
                seen.add(info.st_ino)
            size += info.st_size
            blocks += info.st_blocks
        return folders

    descriptor = os.open(path, fs.OPEN_DIRECTORY_NOFOLLOW)
    try:
        blocks = os.fstat(descriptor).st_blocks
        walk(descriptor, add_files)
    finally:
        os.close(descriptor)
    return Usage(size, blocks * _BLOCK)


def _stats(descriptor: int) -> Iterator[tuple[str, os.stat_result]]:
    """Yields name and stat result of the entries of an open directory, but not of those that vanish meanwhile."""
    with os.scandir(descriptor) as entries:
        for entry in entries:
            try:
                yield entry.name, entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


class _Visited(NamedTuple):
    """A directory on the way down."""

    #: None for the root.
    name: Optional[str]
    identity: Tuple[int, int]
    #: Names of the directories in it that are still to come.
    pending: List[str]


def walk(
    root: int,
    enter: Callable[[int], list[str]],
    leave: Callable[[int, str], None] | None = None,
    opener: Opener = os.open,
) -> None:
    """Visits a tree of any depth with one open descriptor at a time.

    The walk returns through ``..`` and compares the directory with the one that it came from. So if a directory is
    moved meanwhile, the walk fails instead of continuing elsewhere.

    :param root: descriptor of a directory, which stays open.
    :param enter: called with the descriptor of each directory; returns the names of the directories in it to visit.
    :param leave: called with a directory's descriptor and the name of a directory in it, after that one's last visit.
    :raises OSError: a directory cannot be opened, or was moved. One that vanished is skipped.
    """
    current = os.dup(root)
    try:
        above = [_Visited(None, identity(current), enter(current))]
        while True:
            here = above[-1]
            if here.pending:
                child = here.pending.pop()
                try:
                    below = opener(child, fs.OPEN_DIRECTORY_NOFOLLOW, dir_fd=current)
                except FileNotFoundError:
                    continue
                os.close(current)
                current = below
                above.append(_Visited(child, identity(current), enter(current)))
                continue
            above.pop()
            if here.name is None:
                return
            parent = os.open("..", fs.OPEN_DIRECTORY_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = parent
            if identity(current) != above[-1].identity:
                raise OSError(errno.ESTALE, "a directory was moved while its tree was being read", here.name)
            if leave is not None:
                leave(current, here.name)
    finally:
        os.close(current)


def identity(descriptor: int) -> tuple[int, int]:
    """Returns device and inode number of an open file."""
    info = os.fstat(descriptor)
    return info.st_dev, info.st_ino
