# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The way into the C library: results, errno and widths of arguments."""

from __future__ import annotations

import ctypes
import errno
import os
import threading

import pytest
from overlay2.linux import libc
from support import headers


def test_numbers_are_those_of_the_c_headers(real_tmp):
    assert headers.ask(real_tmp, ["fcntl.h"], ["AT_FDCWD", "AT_SYMLINK_NOFOLLOW"]) == [
        libc.AT_FDCWD,
        libc.AT_SYMLINK_NOFOLLOW,
    ]


def test_call_returns_the_result():
    assert libc.call(libc.libc.getpid) == os.getpid()


def test_a_failure_is_an_os_error_of_the_right_kind_with_the_path_meant():
    with pytest.raises(FileNotFoundError) as refused:
        libc.call(libc.libc.chdir, b"/nowhere", path="/what/was/meant")
    assert (refused.value.errno, refused.value.filename) == (errno.ENOENT, "/what/was/meant")
    assert refused.value.strerror == os.strerror(errno.ENOENT)


def test_a_failure_without_a_path():
    with pytest.raises(OSError, match=r"^\[Errno 9\] Bad file descriptor$"):
        libc.call(libc.libc.close, -1)


def test_a_system_call_takes_and_gives_64_bits(real_tmp):
    number = headers.ask(real_tmp, ["sys/syscall.h"], ["SYS_lseek"])[0]
    with open(real_tmp / "file", "wb") as file:
        assert libc.syscall(number, file.fileno(), 2**40 + 7, os.SEEK_SET) == 2**40 + 7


def test_a_system_call_that_the_kernel_has_not():
    with pytest.raises(OSError) as refused:
        libc.syscall(99999, path="there")
    assert (refused.value.errno, refused.value.filename) == (errno.ENOSYS, "there")


def test_errno_is_each_threads_own():
    ctypes.set_errno(0)
    seen = []

    def fail():
        with pytest.raises(OSError) as refused:
            libc.call(libc.libc.close, -1)
        seen.append(refused.value.errno)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert seen == [errno.EBADF]
    assert ctypes.get_errno() == 0
