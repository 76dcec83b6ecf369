# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The C library, and the one way in which this package calls it.

A wrapper in this folder is a few lines: encode the arguments, :func:`call`, return a value or raise
``OSError`` with the path that was meant. Numbers come from the kernel's headers, named where they stand.
"""

from __future__ import annotations

import ctypes
import functools
import os

#: The process itself already has the C library loaded: no search for a file name, no ``ldconfig`` run.
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

#: ``AT_FDCWD`` and ``AT_SYMLINK_NOFOLLOW`` of include/uapi/linux/fcntl.h
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100


def call(function, *arguments, path=None):
    """Call a C function that answers -1 and sets errno when it fails.

    :param path: what an error message should name (str or bytes).
    :returns: the function's result (int).
    :raises OSError: with the errno and ``path``.
    """
    result = function(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def syscall(number, *arguments, path=None):
    """Make a system call that the C library has no wrapper for, or has one only in newer versions.

    Integers are passed as C longs, since ``syscall(2)`` is variadic and would otherwise take ints.

    :raises OSError: as :func:`call`; ``ENOSYS`` on a kernel without it.
    """
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return call(libc.syscall, ctypes.c_long(number), *wide, path=path)


def prepared(number, *types):
    """A system call as a function whose argument types are settled once: for one that is made by the hundred.

    :param types: its arguments' ctypes, ``c_long`` for every integer.
    :returns: a function of those arguments and ``path``; see :func:`call`.
    """
    prototype = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *types, use_errno=True)
    return functools.partial(call, prototype(("syscall", libc)), number)
