# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Opening what lies beneath a folder, and never anything else, whatever symbolic links say.

:func:`open_folder` asks openat2(2) with ``RESOLVE_BENEATH``. What that call can't do (it is of Linux 5.6,
some seccomp filters refuse it, and it takes every absolute link for a way out) is done by a walk that opens
one component at a time with ``O_NOFOLLOW``. The walk reads a link it meets, puts the link's text in the path
and starts again at the root: so the walk that succeeds has followed no link and no ``..`` at all.

Both are checked by the kernel at the moment of opening. Later calls work relative to the descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct

from ..errors import BreakoutError
from .libc import AT_FDCWD, syscall

#: The same number on every architecture (include/uapi/asm-generic/unistd.h).
_SYS_OPENAT2 = 437

#: include/uapi/linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

#: ``struct open_how``: flags, mode, resolve.
_OPEN_HOW = struct.Struct("=QQQ")

#: Most links in one path: the kernel's limit is 40 (MAXSYMLINKS), but here a ``..`` within a link counts too.
_MAX_TURNS = 100

#: openat2(2) is missing, filtered, or met an absolute link or a race: the walk decides.
_WALK_INSTEAD = frozenset((errno.ENOSYS, errno.EPERM, errno.EXDEV, errno.EAGAIN))
_NOT_A_FOLDER = frozenset((errno.ENOTDIR, errno.ELOOP))
_MAKEABLE = frozenset((errno.ENOENT, errno.ENOTDIR))

#: Bytes of a path that the kernel takes at once (PATH_MAX, with its NUL).
_LONGEST = 4095

_PATH_ONLY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def openat2(dir_fd, path, flags, mode=0, resolve=0):
    """openat2(2).

    :param path: relative to the folder ``dir_fd`` (bytes).
    :param resolve: ``RESOLVE_*`` bits.
    :returns: a descriptor (int).
    :raises OSError: ``ENOSYS`` before Linux 5.6; ``EXDEV`` where the path leaves what ``resolve`` allows.
    """
    how = ctypes.create_string_buffer(_OPEN_HOW.pack(flags, mode, resolve), _OPEN_HOW.size)
    return syscall(_SYS_OPENAT2, dir_fd, path, how, _OPEN_HOW.size, path=path)


@functools.lru_cache(maxsize=None)
def has_openat2():
    """Whether this process may call openat2(2) (bool): it is of Linux 5.6, and some seccomp filters refuse it."""
    try:
        os.close(openat2(AT_FDCWD, b"/", _PATH_ONLY))
    except OSError:
        return False
    return True


def open_folder(root_fd, path, make=None):
    """Open a folder beneath another one.

    Relative symbolic links are followed as long as they stay beneath ``root_fd``; an absolute link counts from
    ``root_fd``, as it would for a process whose root that folder is.

    :param path: clean and relative: no empty, ``.`` or ``..`` component (bytes); ``b""`` is the root itself.
    :param make: called as ``make(dir_fd, name)`` with a folder's descriptor and a name in it (bytes) that is missing,
        or is neither a folder nor a link. It makes the folder or raises. What a link points to is made too.
    :returns: an ``O_PATH`` descriptor (int) that the caller closes.
    :raises BreakoutError: a relative link leads out.
    :raises OSError: the folder is missing, is none, or can't be opened.
    """
    try:
        return _open_beneath(root_fd, path or b".")
    except OSError as error:
        missing = make is not None and error.errno in _MAKEABLE
        if not missing and error.errno not in _WALK_INSTEAD:
            raise
    return walk(root_fd, path, make)


def _open_beneath(root_fd, path):
    """One openat2(2), or several where the kernel does not take the path in one piece."""
    current = root_fd
    try:
        while True:
            cut = len(path) if len(path) <= _LONGEST else path.rfind(b"/", 0, _LONGEST)
            if cut < 0:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path[:_LONGEST])
            below = openat2(current, path[:cut], _PATH_ONLY, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
            if current != root_fd:
                os.close(current)
            current, path = below, path[cut + 1 :]
            if not path:
                found, current = current, root_fd
                return found
    finally:
        if current != root_fd:
            os.close(current)


def open_without_links(root_fd, path):
    """Open a folder beneath another one, if its path meets no symbolic link: then no other path means that folder.

    :param path: as for :func:`open_folder`.
    :returns: an ``O_PATH`` descriptor (int) that the caller closes.
    :raises OSError: ``ELOOP`` for a link; ``ENOSYS`` before Linux 5.6; or the folder is missing, or can't be opened.
    """
    return openat2(root_fd, path or b".", _PATH_ONLY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


def walk(root_fd, path, make=None):
    """:func:`open_folder` by steps that follow nothing; parameters and errors are the same."""
    names = path.split(b"/") if path else []
    for _turn in range(_MAX_TURNS):
        descriptor, at, text = _descend(root_fd, names, make)
        if text is None:
            return descriptor
        # All names before were just found to be folders, so that ".." may be taken off them as text.
        names = _turned(names[:at], text, path) + names[at + 1 :]
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _descend(root_fd, names, make):
    """Go down ``names`` until their end, or a link, or ``..``.

    :returns: (descriptor, None, None), or (None, index of the link or ``..``, where it points).
    """
    current = _step(root_fd, b".")
    try:
        for index, name in enumerate(names):
            if name == b"..":
                return None, index, name
            try:
                below = _step(current, name)
            except OSError as error:
                text = _link_text(current, name) if error.errno in _NOT_A_FOLDER else None
                if text is not None:
                    return None, index, text
                if make is None or error.errno not in _MAKEABLE:
                    raise
                make(current, name)
                below = _step(current, name)
            os.close(current)
            current = below
        found, current = current, None
        return found, None, None
    finally:
        if current is not None:
            os.close(current)


def _step(dir_fd, name):
    return os.open(name, _PATH_ONLY | os.O_NOFOLLOW, dir_fd=dir_fd)


def _link_text(dir_fd, name):
    """Where the link ``name`` points (bytes), or None if it is no link."""
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def _turned(before, text, path):
    """The names to go on with, where ``before`` led to a link (or to ``..``) that points to ``text``.

    Only ``..`` at the start of the text is resolved here: what comes before a later one may be a link itself.

    :raises BreakoutError: it leads above the root. For an absolute link the root is its own parent, as in chroot(2).
    """
    names, absolute = list(before), text.startswith(b"/")
    if absolute:
        names.clear()
    ahead = [name for name in text.split(b"/") if name not in (b"", b".")]
    while ahead[:1] == [b".."]:
        if not names and not absolute:
            raise BreakoutError("a symbolic link leads out of the layer", path=path)
        del ahead[0], names[-1:]
    return names + ahead
