# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The C library and the one way in which this package calls it.

A wrapper in this package encodes the arguments, uses :func:`call`, and returns a value or raises ``OSError`` with the
path that was meant. Each number names the kernel header that it comes from.
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any, Callable

#: The process has loaded the C library already, so no file has to be searched for, and ``ldconfig`` is not run.
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

#: ``AT_FDCWD`` and ``AT_SYMLINK_NOFOLLOW`` of include/uapi/linux/fcntl.h
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100


def call(function: Callable[..., int], *arguments: Any, path: str | bytes | None = None) -> int:
    """Calls a C function that returns -1 and sets errno if it fails.

    :param path: the path to name in an error.
    :returns: the function's result.
    :raises OSError: with the errno and ``path``.
    """
    result = function(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def syscall(number: int, *arguments: Any, path: str | bytes | None = None) -> int:
    """Makes a system call for which the C library, or an old version of it, has no wrapper.

    Integers are passed as C longs, because ``syscall(2)`` is variadic and would take ints otherwise.

    :raises OSError: as :func:`call`; ``ENOSYS`` on a kernel without it.
    """
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return call(libc.syscall, ctypes.c_long(number), *wide, path=path)


def prepared(number: int, *types: Any) -> Callable[..., int]:
    """Returns a system call as a function with fixed argument types, which is faster if it is called often.

    :param types: its arguments' ctypes, ``c_long`` for every integer.
    :returns: a function of those arguments and ``path``, see :func:`call`.
    """
    prototype = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *types, use_errno=True)
    return functools.partial(call, prototype(("syscall", libc)), number)
