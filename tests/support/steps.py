# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""End a process, or do something else, at a chosen step: before each of the calls that change something."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from typing import Any, Callable

#: Calls after which the disk, the mount table or a file's attributes are different.
CHANGING = frozenset((
    "mkdir", "rmdir", "chmod", "fchmod", "chown", "fchown", "lchown", "write", "pwrite", "writev", "sendfile", "fsync",
    "rename", "replace", "symlink", "link", "unlink", "remove", "setxattr", "removexattr", "utime", "mknod", "mkfifo",
    "truncate", "ftruncate", "copy_file_range",
))  # fmt: skip
_BY_CTYPES = ("call", "syscall")  # of linux/libc.py: mount, umount2, renameat2, syncfs and others


def _watch(action: Callable[[], None]) -> None:
    """Have *action* called before each changing call of this thread and those it starts."""

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event == "c_call":
            hit = argument.__name__ in CHANGING
        else:
            code = frame.f_code
            hit = event == "call" and code.co_name in _BY_CTYPES and code.co_filename.endswith("/linux/libc.py")
        if hit:
            action()

    threading.setprofile(profile)
    sys.setprofile(profile)


def count(function: Callable[[], Any]) -> int:
    """Run *function* in a child process to its end; returns how many steps it took."""
    read_end, write_end = os.pipe()
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    pid = _fork(function, step, lambda: os.write(write_end, b"%d" % steps))
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        text = answer.read()
    status = _status(pid)
    assert status == 0, f"the child ended with {status}"
    return int(text)


def kill_before(number: int, function: Callable[[], Any]) -> bool:
    """Run *function* in a child process and kill it before its step *number*, from 1; whether it came so far."""
    left = number

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    status = _status(_fork(function, step, lambda: None))
    assert status in (0, -signal.SIGKILL), f"the child ended with {status}"
    return status != 0


def kill_in(name: str, function: Callable[[], Any]) -> None:
    """Run *function* in a child process and kill it when a Python function called *name* is entered."""

    def act() -> None:
        with Once(name, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            function()

    status = _status(_fork(act, lambda: None, lambda: None))
    assert status == -signal.SIGKILL, f"the child never came to {name}"


def _fork(function: Callable[[], Any], step: Callable[[], None], finish: Callable[[], Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _watch(step)
        function()
        sys.setprofile(None)
        finish()
        status = 0
    except BaseException:
        sys.setprofile(None)
        traceback.print_exc()
    finally:
        os._exit(status)


def _status(pid: int) -> int:
    """Exit status of a child, or minus the signal that ended it."""
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


class Once:
    """Within the block: *action* is called once, when a function named *name* is entered in this thread."""

    def __init__(self, name: str, action: Callable[[], Any]) -> None:
        self._name = name
        self._action = action
        self.happened = False

    def _profile(self, frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_name == self._name and not self.happened:
            self.happened = True
            sys.setprofile(None)
            self._action()

    def __enter__(self) -> Once:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_unused: object) -> None:
        sys.setprofile(None)
