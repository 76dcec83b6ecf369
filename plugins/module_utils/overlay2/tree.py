# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Walking whole trees: removing one, and measuring one."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import time

from .linux import beneath, mount, mountinfo

log = logging.getLogger("overlay2")

_ANY_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DIRECTORY = _ANY_DIRECTORY | os.O_NOFOLLOW
#: A busy entry is detached and tried again this often, this far apart (moby's EnsureRemoveAll).
_BUSY_TRIES = 50
_BUSY_PAUSE = 0.1


def unmount_below(folder, itself=True):
    """Detach every mount under ``folder``, the innermost first (moby's mount.RecursiveUnmount).

    :param folder: an absolute path without symbolic links.
    :param itself: also what is mounted at ``folder`` itself.
    :returns: the mount points that were detached (list of str).
    :raises OSError: the last refusal, once all have been tried.
    """
    done = []
    while True:
        # Again and again, as one mount may hide the path of another, which shows when the first is gone.
        points = {entry.mount_point for entry in mountinfo.mounts(below=folder)}
        if not itself:
            points.discard(folder)
        detached, failure = [], None
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
            return done  # what is left is hidden by a mount further up, and out of everybody's reach
        done += detached


@contextlib.contextmanager
def scratch_folder(parent, prefix):
    """A new private folder (str) below ``parent`` for the length of a ``with`` block, removed with all in it.

    :raises OSError: it can't be made, or not all of it can be removed.
    """
    path = os.path.join(parent, prefix + os.urandom(8).hex())
    os.mkdir(path, 0o700)
    try:
        yield path
    finally:
        remove_tree(path)


def remove_tree(path):
    """Remove a folder with all in it; a missing one is fine (moby's EnsureRemoveAll).

    What is mounted inside is detached first, so that no mounted file system is emptied by mistake.

    :raises OSError: an entry that can't be removed.
    """
    opener = _open_unmounted
    if not beneath.has_openat2():
        opener = os.open
        unmount_below(os.path.realpath(path))
    for attempt in range(_BUSY_TRIES):
        try:
            _remove(path, opener=opener)
            return
        except FileNotFoundError:
            # Somebody else removes here too; what is left is tried again.
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


def _open_unmounted(name, flags, dir_fd=None):
    """os.open(), that fails with ``EBUSY`` where a file system is mounted on what would be opened.

    So the kernel itself keeps a removal out of mounts, and the whole mount table need not be read for each.
    """
    if dir_fd is None:
        above, name = os.path.split(name)
        dir_fd = os.open(above or ".", _ANY_DIRECTORY)
        try:
            return _open_unmounted(name, flags, dir_fd)
        finally:
            os.close(dir_fd)
    try:
        return beneath.openat2(dir_fd, os.fsencode(name), flags, 0, beneath.RESOLVE_NO_XDEV)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise OSError(errno.EBUSY, "a file system is mounted on it", name) from None
        raise


def remove_at(dir_fd, name):
    """Remove what is at a name in an open folder, with all below it; nothing there is fine. Mounts are not looked for.

    :raises OSError: an entry that can't be removed.
    """
    try:
        os.unlink(name, dir_fd=dir_fd)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
            raise
    _remove(name, dir_fd)


def _remove(name, dir_fd=None, opener=os.open):
    """One try at removing a folder with all in it.

    :param name: its path, or with ``dir_fd`` its name there.
    :param opener: opens its folders as os.open() does.
    """
    descriptor = opener(name, _DIRECTORY, dir_fd=dir_fd)
    try:
        walk(descriptor, _unlink_files, _remove_folder, opener)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=dir_fd)


def _remove_folder(parent, name):
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        pass  # somebody else removes here too
    except OSError as error:
        raise _with_path(error, parent, name) from None


def _unlink_files(descriptor):
    """Remove what is no folder from an open folder; returns the names of the folders in it."""
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
            # Somebody else removes here too; or it is a whiteout in a folder that nothing is merged into, which
            # overlayfs lists without having anything of that name.
            pass
        except OSError as error:
            raise _with_path(error, descriptor, name) from None
    return folders


def _with_path(error, descriptor, name):
    """The same OSError with the whole path, where the call was only given a name in an open folder."""
    return OSError(error.errno, error.strerror, os.path.join(os.readlink("/proc/self/fd/%d" % descriptor), name))


def tree_size(path, progress=None):
    """Bytes of all that is in a folder but folders themselves (int); moby's directory.Size.

    Each inode counts once, a symbolic link with the length of its target. What vanishes meanwhile is passed over.

    :param progress: called without arguments for each folder; what it raises ends the walk.
    :raises OSError: ``path`` itself can't be read.
    """
    total, seen = 0, set()

    def add_files(descriptor):
        nonlocal total
        if progress is not None:
            progress()
        folders = []
        for name, info in _stats(descriptor):
            if stat.S_ISDIR(info.st_mode):
                folders.append(name)
                continue
            if info.st_nlink > 1:  # only a file with more than one name can come up again
                if info.st_ino in seen:
                    continue
                seen.add(info.st_ino)
            total += info.st_size
        return folders

    descriptor = os.open(path, _DIRECTORY)
    try:
        walk(descriptor, add_files)
    finally:
        os.close(descriptor)
    return total


def _stats(descriptor):
    """(name, stat result) of the entries of an open folder, less those that vanish meanwhile."""
    with os.scandir(descriptor) as entries:
        for entry in entries:
            try:
                yield entry.name, entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


def walk(root, enter, leave=None, opener=os.open):
    """Go through a tree with one open descriptor at a time, however deep it is.

    The way back up is ``..``, checked against the folder that was left, so a folder that is moved meanwhile
    ends the walk with an error instead of leading it elsewhere.

    :param root: an open folder (int), which stays open.
    :param enter: called with each folder's descriptor; returns the names of its folders to go into.
    :param leave: called with a parent's descriptor and the name of the folder in it that is done.
    :param opener: opens a folder as os.open() does.
    :raises OSError: a folder can't be opened, or was moved. One that vanished is passed over.
    """
    current = os.dup(root)
    try:
        trail = [(None, _identity(current), enter(current))]
        while True:
            name, _folder, pending = trail[-1]
            if pending:
                child = pending.pop()
                try:
                    below = opener(child, _DIRECTORY, dir_fd=current)
                except FileNotFoundError:
                    continue
                os.close(current)
                current = below
                trail.append((child, _identity(current), enter(current)))
                continue
            trail.pop()
            if not trail:
                return
            above = os.open("..", _DIRECTORY, dir_fd=current)
            os.close(current)
            current = above
            if _identity(current) != trail[-1][1]:
                raise OSError(errno.ESTALE, "a folder was moved while its tree was being read", name)
            if leave is not None:
                leave(current, name)
    finally:
        os.close(current)


def _identity(descriptor):
    info = os.fstat(descriptor)
    return info.st_dev, info.st_ino
