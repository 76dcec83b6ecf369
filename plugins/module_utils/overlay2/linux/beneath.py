# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Opens directories beneath another one, and never anything else, whatever symbolic links say.

:func:`open_directory` uses openat2(2) with ``RESOLVE_BENEATH``. That call is missing before Linux 5.6, some seccomp
filters refuse it, and it refuses every absolute link. In these cases a walk opens one component at a time with
``O_NOFOLLOW``. When it meets a link, it replaces the link in the path by its text and starts again at the root. So the
walk that succeeds has followed neither a link nor a ``..``.

In both cases the kernel checks at the moment of opening. Later calls work relative to the descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
from typing import TYPE_CHECKING

from ..errors import BreakoutError
from .libc import AT_FDCWD, syscall

if TYPE_CHECKING:
    from typing import Callable, Sequence

    Make = Callable[[int, bytes], None]

#: The same number on every architecture (include/uapi/asm-generic/unistd.h).
_SYS_OPENAT2 = 437

#: include/uapi/linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

#: ``struct open_how``: flags, mode, resolve.
_OPEN_HOW = struct.Struct("=QQQ")

#: The most links in one path. The kernel's limit is 40 (MAXSYMLINKS), but here a ``..`` within a link counts too.
_MAX_TURNS = 100

#: openat2(2) is missing or filtered, or met an absolute link or a race: the walk decides.
_WALK_INSTEAD = frozenset((errno.ENOSYS, errno.EPERM, errno.EXDEV, errno.EAGAIN))
_NOT_A_DIRECTORY = frozenset((errno.ENOTDIR, errno.ELOOP))
_MAKEABLE = frozenset((errno.ENOENT, errno.ENOTDIR))

#: Bytes of a path that the kernel takes at once (PATH_MAX, with its NUL).
_LONGEST = 4095

_PATH_ONLY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def openat2(dir_fd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): opens a file and returns its descriptor.

    :param path: relative to the directory ``dir_fd``.
    :param resolve: ``RESOLVE_*`` bits.
    :raises OSError: ``ENOSYS`` before Linux 5.6; ``EXDEV`` if the path leaves the tree that ``resolve`` allows.
    """
    how = ctypes.create_string_buffer(_OPEN_HOW.pack(flags, mode, resolve), _OPEN_HOW.size)
    return syscall(_SYS_OPENAT2, dir_fd, path, how, _OPEN_HOW.size, path=path)


@functools.lru_cache(maxsize=None)
def has_openat2() -> bool:
    """True if this process may call openat2(2), which is new in Linux 5.6 and refused by some seccomp filters."""
    try:
        os.close(openat2(AT_FDCWD, b"/", _PATH_ONLY))
    except OSError:
        return False
    return True


def open_directory(root_fd: int, path: bytes, make: Make | None = None) -> int:
    """Opens a directory beneath another one.

    Relative symbolic links are followed as long as they stay beneath ``root_fd``. An absolute link starts at
    ``root_fd``, as for a process with that root directory.

    :param path: clean and relative, without empty, ``.`` and ``..`` components; ``b""`` is the root itself.
    :param make: called with a directory's descriptor and a name in it that is missing, or that is neither a directory
        nor a link. It makes the directory or raises. The missing target of a link is made too.
    :returns: an ``O_PATH`` descriptor that the caller closes.
    :raises BreakoutError: a relative link leads out.
    :raises OSError: the directory is missing or cannot be opened, or is something else.
    """
    try:
        return _open_beneath(root_fd, path or b".")
    except OSError as error:
        missing = make is not None and error.errno in _MAKEABLE
        if not missing and error.errno not in _WALK_INSTEAD:
            raise
    return walk(root_fd, path, make)


def _open_beneath(root_fd: int, path: bytes) -> int:
    """Opens a directory by one openat2(2), or by several if the path is too long for the kernel."""
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


def open_without_links(root_fd: int, path: bytes) -> int:
    """Opens a directory beneath another one if its path contains no symbolic link: then no other path leads to it.

    :param path: as for :func:`open_directory`.
    :returns: an ``O_PATH`` descriptor that the caller closes.
    :raises OSError: ``ELOOP`` for a link; ``ENOSYS`` before Linux 5.6; or the directory is missing or cannot be opened.
    """
    return openat2(root_fd, path or b".", _PATH_ONLY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


def walk(root_fd: int, path: bytes, make: Make | None = None) -> int:
    """:func:`open_directory` by steps that follow no link; parameters, result and errors are the same."""
    names = path.split(b"/") if path else []
    for _turn in range(_MAX_TURNS):
        found = _descend(root_fd, names, make)
        if isinstance(found, int):
            return found
        at, text = found
        # All names before were just found to be directories, so ".." may remove the last one as text.
        names = _turned(names[:at], text, path) + names[at + 1 :]
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _descend(root_fd: int, names: Sequence[bytes], make: Make | None) -> int | tuple[int, bytes]:
    """Goes down ``names`` until their end, or a link, or ``..``.

    :returns: the descriptor of the last directory, or the index of the link or ``..`` and where it points.
    """
    current, reached = _step(root_fd, b"."), False
    try:
        for index, name in enumerate(names):
            if name == b"..":
                return index, name
            try:
                below = _step(current, name)
            except OSError as error:
                text = _link_text(current, name) if error.errno in _NOT_A_DIRECTORY else None
                if text is not None:
                    return index, text
                if make is None or error.errno not in _MAKEABLE:
                    raise
                make(current, name)
                below = _step(current, name)
            os.close(current)
            current = below
        reached = True
        return current
    finally:
        if not reached:
            os.close(current)


def _step(dir_fd: int, name: bytes) -> int:
    return os.open(name, _PATH_ONLY | os.O_NOFOLLOW, dir_fd=dir_fd)


def _link_text(dir_fd: int, name: bytes) -> bytes | None:
    """Returns where the link ``name`` points; None if it is not a link."""
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def _turned(before: Sequence[bytes], text: bytes, path: bytes) -> list[bytes]:
    """Returns the names to go on with after ``before`` led to a link (or to ``..``) that points to ``text``.

    Only a ``..`` at the start of the text is resolved: the name before a later one may be a link itself.

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
