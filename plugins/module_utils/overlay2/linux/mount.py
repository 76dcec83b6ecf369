# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Mounting: the classic call, the file-descriptor mount API, and unmounting.

Sources: mount(2), umount2(2), include/uapi/linux/mount.h, Documentation/filesystems/overlayfs.rst.
The system calls 428 to 442 have the same number on every architecture but alpha.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import errno
import os

from .libc import AT_FDCWD, call, libc, prepared, syscall

#: include/uapi/linux/mount.h and umount2(2)
MNT_DETACH = 2
FSOPEN_CLOEXEC = 0x1
FSMOUNT_CLOEXEC = 0x1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
MOVE_MOUNT_F_EMPTY_PATH = 0x4

#: include/uapi/linux/sched.h
CLONE_FS = 0x200

SYS_MOVE_MOUNT = 429
SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432

#: The classic call copies one page of data, its closing NUL included (mount(2)).
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")

#: ``sigset_t``, with glibc as with musl.
_SIGSET_SIZE = 128
_ALL_SIGNALS = b"\xff" * _SIGSET_SIZE

#: One per lower layer and mount.
_fsconfig = prepared(SYS_FSCONFIG, ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long)

libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


def mount(source, target, fs_type, flags=0, data=""):
    """The classic mount(2).

    :param data: the file system's options, at most ``PAGE_SIZE - 1`` bytes once encoded.
    :raises OSError: as the kernel reports it, naming ``target``.
    """
    names = [os.fsencode(name) for name in (source, target, fs_type)]
    call(libc.mount, *names, flags, os.fsencode(data), path=target)


def in_folder(folder, action):
    """Run ``action()`` with ``folder`` as the working directory, so that the paths it uses may be relative to it.

    The process's own working directory must not move under other threads. So this runs in a thread of its own, as in
    moby's ``mountFrom``, unless the process has but one: that one goes there and back, which takes half as long.

    :returns: what ``action`` returns.
    :raises OSError: what ``action`` raises, or ``OSError`` where the folder can't be entered.
    """
    back = _way_back()
    if back is None:
        return _in_thread(folder, action)
    try:
        return _there_and_back(folder, back, action)
    finally:
        os.close(back)


def _way_back():
    """The working directory, opened (int), where this thread may leave it for a moment: it is the process's only one.

    None where it is not, or where that can't be told, or nobody could return.
    """
    try:
        if len(os.listdir("/proc/self/task")) > 1:
            return None
        back = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        os.fchdir(back)
    except OSError:
        os.close(back)
        return None
    return back


def _there_and_back(folder, back, action):
    """Run ``action()`` in another working directory. Signals wait meanwhile, as a handler may rely on the old one."""
    import signal  # only deep chains need it, and it takes a millisecond to import

    before = ctypes.create_string_buffer(_SIGSET_SIZE)
    call(libc.sigprocmask, signal.SIG_BLOCK, _ALL_SIGNALS, before)
    try:
        os.chdir(folder)
        try:
            return action()
        finally:
            os.fchdir(back)
    finally:
        call(libc.sigprocmask, signal.SIG_SETMASK, before, None)


def _in_thread(folder, action):
    """Run ``action()`` in a thread that leaves the shared fs state first (``CLONE_FS``) and ends afterwards.

    A bare thread: what ``threading.Thread`` does around one takes as long again, and nobody else has to know this one.
    """
    outcome = []
    done = _thread.allocate_lock()
    done.acquire()

    def worker():
        try:
            call(libc.unshare, CLONE_FS)
            os.chdir(folder)
            outcome.append((action(), None))
        except BaseException as error:  # handed to the caller's thread, whatever it is
            outcome.append((None, error))
        finally:
            done.release()

    _thread.start_new_thread(worker, ())
    done.acquire()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def unmount(target, flags=0):
    """umount2(2).

    :param flags: 0 or ``MNT_DETACH``.
    :raises OSError: ``EINVAL`` where ``target`` is no mount point.
    """
    call(libc.umount2, os.fsencode(target), flags, path=target)


@contextlib.contextmanager
def filesystem_context(fs_type):
    """fsopen(2): a file system being configured, as a descriptor that is closed at the end.

    :raises OSError: ``ENOSYS`` before Linux 5.2, ``ENODEV`` where the file system is unknown.
    """
    descriptor = syscall(SYS_FSOPEN, os.fsencode(fs_type), FSOPEN_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def set_option(context, key, value=None):
    """fsconfig(2): set one option of a file system being configured; a flag where ``value`` is None.

    :raises OSError: ``EINVAL`` where the kernel does not know the option, with its own log line if there is one.
    """
    command = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
    argument = None if value is None else os.fsencode(value)
    try:
        _fsconfig(context, command, os.fsencode(key), argument, 0, path=value)
    except OSError as error:
        raise _explained(error, context) from None


def attach(context, target):
    """Create the configured file system and mount it at ``target``: fsconfig(2), fsmount(2), move_mount(2).

    :raises OSError: as the kernel reports it, naming ``target``.
    """
    try:
        _fsconfig(context, FSCONFIG_CMD_CREATE, None, None, 0, path=target)
        mounted = syscall(SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, 0, path=target)
    except OSError as error:
        raise _explained(error, context) from None
    try:
        syscall(SYS_MOVE_MOUNT, mounted, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH, path=target)
    finally:
        os.close(mounted)


def _explained(error, context):
    """The same OSError with what the kernel wrote into the context's log, which says more than the errno does."""
    lines = []
    with contextlib.suppress(OSError):
        while len(lines) < 8:
            lines.append(os.read(context, 1024).decode("utf-8", "replace").strip())
    if not lines:
        return error
    return OSError(error.errno, "%s (%s)" % (error.strerror, "; ".join(lines)), error.filename)


def unmount_stack(target):
    """Detach everything mounted at ``target``: of mounts stacked on one point the call takes only the top one.

    :returns: how many mounts were detached (int); 0 where it was no mount point or is not there.
    :raises OSError: any other refusal.
    """
    count = 0
    while True:
        try:
            unmount(target, MNT_DETACH)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return count
            raise
        count += 1
