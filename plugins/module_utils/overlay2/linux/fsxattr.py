# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Project id of a file or directory, and whether new files inherit it: FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR.

Sources: ``struct fsxattr``, ``FS_XFLAG_*`` and the two requests in the kernel's include/uapi/linux/fs.h; the layout of
a request in include/uapi/asm-generic/ioctl.h and, for machines that differ, in arch/*/include/uapi/asm/ioctl.h.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import NamedTuple

#: ``FS_XFLAG_PROJINHERIT``: new files in the directory get its project id, and new directories this flag too.
PROJINHERIT = 0x200

#: u32 xflags, extsize, nextents, projid, cowextsize; 8 bytes of padding. 28 bytes in all.
_FSXATTR = struct.Struct("=5I8x")


class Attributes(NamedTuple):
    """``struct fsxattr``."""

    #: ``FS_XFLAG_*`` bits
    flags: int
    #: extent size hint, bytes
    extent_size: int
    #: data extents (read only)
    extents: int
    project_id: int
    #: copy-on-write extent size hint, bytes
    cow_extent_size: int

    @property
    def inherited(self) -> bool:
        """True if new files below get the project id too."""
        return bool(self.flags & PROJINHERIT)


def ioctl_codes(machine: str) -> tuple[int, int]:
    """Returns the codes of FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR on a machine.

    ``_IOR('X', 31, struct fsxattr)`` and ``_IOW('X', 32, struct fsxattr)``: direction, size, letter and number from the
    highest bits down. Most machines have 2 bits of direction over 14 of size; powerpc, mips, sparc and alpha
    have 3 over 13 and other values; parisc exchanges the two values.

    :param machine: its name as in uname(2).
    """
    read, write, shift = 2, 1, 30
    if machine.startswith(("ppc", "mips", "sparc", "alpha")):
        read, write, shift = 2, 4, 29
    elif machine.startswith("parisc"):
        read, write = 1, 2
    request = _FSXATTR.size << 16 | ord("X") << 8
    return read << shift | request | 31, write << shift | request | 32


FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR = ioctl_codes(os.uname().machine)


def get(descriptor: int) -> Attributes:
    """Returns the attributes of an open file or directory (not one opened with ``O_PATH``).

    :raises OSError: ``ENOTTY`` or ``EOPNOTSUPP`` if the file system has none.
    """
    return Attributes(*_FSXATTR.unpack(fcntl.ioctl(descriptor, FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))))


def put(descriptor: int, attributes: Attributes) -> None:
    """Writes the attributes of an open file or directory.

    :param attributes: from :func:`get`, changed with ``_replace``, because all are written.
    :raises OSError: ``EPERM`` without ownership or in a user namespace; ``EOPNOTSUPP``, ``EINVAL`` or ``ENOTTY`` if the
        file system does not support them.
    """
    fcntl.ioctl(descriptor, FS_IOC_FSSETXATTR, _FSXATTR.pack(*attributes))


def set_project(descriptor: int, project_id: int, inherited: bool = True) -> Attributes:
    """Gives an open file or directory a project id and leaves its other attributes unchanged.

    Files that exist in a directory keep their ids; only new ones inherit.

    :param project_id: 0 to 2**32 - 2.
    :param inherited: new files below get the id too.
    :returns: the attributes before, for :func:`put` to restore them.
    :raises OSError: as :func:`get` and :func:`put`.
    """
    before = get(descriptor)
    flags = before.flags | PROJINHERIT if inherited else before.flags & ~PROJINHERIT
    put(descriptor, before._replace(project_id=project_id, flags=flags))
    return before
