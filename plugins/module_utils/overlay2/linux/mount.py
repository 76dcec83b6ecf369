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
from typing import TYPE_CHECKING, TypeVar

from .libc import AT_FDCWD, call, libc, prepared, syscall

if TYPE_CHECKING:
    from typing import Callable, Iterator

Result = TypeVar("Result")

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

#: Prepared, because a mount calls it for each lower layer.
_fsconfig = prepared(SYS_FSCONFIG, ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long)

libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


def mount(source: str, target: str, fs_type: str, flags: int = 0, data: str = "") -> None:
    """The classic mount(2).

    :param data: the file system's options, at most ``PAGE_SIZE - 1`` bytes when encoded.
    :raises OSError: the kernel refused; names ``target``.
    """
    names = [os.fsencode(name) for name in (source, target, fs_type)]
    call(libc.mount, *names, flags, os.fsencode(data), path=target)


def in_directory(directory: str, action: Callable[[], Result]) -> Result:
    """Runs ``action()`` with ``directory`` as the working directory, so that it may use relative paths.

    Runs in a separate thread (like moby's ``mountFrom``), because the working directory of other threads must not
    change. In a single-threaded process it changes the working directory and restores it instead, which is twice as
    fast.

    :returns: the result of ``action``.
    :raises OSError: the directory cannot be entered; or any exception from ``action``.
    """
    back = _reopened_cwd()
    if back is None:
        return _in_thread(directory, action)
    try:
        return _there_and_back(directory, back, action)
    finally:
        os.close(back)


def _reopened_cwd() -> int | None:
    """Returns a descriptor of the working directory if this thread is the only one.

    Returns None if the process has other threads, or if the current directory cannot be reopened.
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


def _there_and_back(directory: str, back: int, action: Callable[[], Result]) -> Result:
    """Runs ``action()`` in another working directory, with signals blocked: a handler may rely on the old one."""
    import signal  # only deep chains need it, and it takes a millisecond to import

    before = ctypes.create_string_buffer(_SIGSET_SIZE)
    call(libc.sigprocmask, signal.SIG_BLOCK, _ALL_SIGNALS, before)
    try:
        os.chdir(directory)
        try:
            return action()
        finally:
            os.fchdir(back)
    finally:
        call(libc.sigprocmask, signal.SIG_SETMASK, before, None)


def _in_thread(directory: str, action: Callable[[], Result]) -> Result:
    """Runs ``action()`` in a thread that first stops sharing its working directory with the others (``CLONE_FS``).

    A bare thread: ``threading.Thread`` would double the time, and nothing else has to know this thread.
    """
    results: list[Result] = []
    failures: list[BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def worker() -> None:
        try:
            call(libc.unshare, CLONE_FS)
            os.chdir(directory)
            results.append(action())
        except BaseException as error:  # raised again in the caller's thread, whatever it is
            failures.append(error)
        finally:
            done.release()

    _thread.start_new_thread(worker, ())
    done.acquire()
    if failures:
        raise failures[0]
    return results[0]


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2).

    :param flags: 0 or ``MNT_DETACH``.
    :raises OSError: ``EINVAL`` if ``target`` is not a mount point.
    """
    call(libc.umount2, os.fsencode(target), flags, path=target)


@contextlib.contextmanager
def filesystem_context(fs_type: str) -> Iterator[int]:
    """fsopen(2): yields the descriptor of a file system to configure, and closes it at the end.

    :raises OSError: ``ENOSYS`` before Linux 5.2; ``ENODEV`` if the file system is unknown.
    """
    descriptor = syscall(SYS_FSOPEN, os.fsencode(fs_type), FSOPEN_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def set_option(context: int, key: str, value: str | None = None) -> None:
    """fsconfig(2): sets one option of a file system to configure; a flag if ``value`` is None.

    :raises OSError: ``EINVAL`` if the kernel does not know the option; with the kernel's message if it has one.
    """
    command = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
    argument = None if value is None else os.fsencode(value)
    try:
        _fsconfig(context, command, os.fsencode(key), argument, 0, path=value)
    except OSError as error:
        raise _explained(error, context) from None


def attach(context: int, target: str) -> None:
    """Creates the configured file system and mounts it at ``target``: fsconfig(2), fsmount(2), move_mount(2).

    :raises OSError: the kernel refused; names ``target``.
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


def _explained(error: OSError, context: int) -> OSError:
    """Returns the error with the lines that the kernel wrote to the context's log, which say more than the errno."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        while len(lines) < 8:
            lines.append(os.read(context, 1024).decode("utf-8", "replace").strip())
    if not lines:
        return error
    return OSError(error.errno, "%s (%s)" % (error.strerror, "; ".join(lines)), error.filename)


def unmount_stack(target: str) -> int:
    """Detaches everything mounted at ``target``; one call of umount2(2) detaches the uppermost of several mounts only.

    :returns: how many mounts were detached; 0 if it is not a mount point or is missing.
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
