# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""File systems, paths and directory entries: statfs(2), statx(2), getdents64(2), renameat2(2), syncfs(2)."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import TYPE_CHECKING

from .libc import AT_FDCWD, AT_SYMLINK_NOFOLLOW, call, libc, prepared, syscall

if TYPE_CHECKING:
    import contextlib

#: Names of file system magics as Docker prints them (include/uapi/linux/magic.h and each file system's own header).
MAGIC_NAMES = {
    0x61756673: "aufs", 0x9123683E: "btrfs", 0x28CD3D45: "cramfs", 0x0000F15F: "ecryptfs",
    0x0000EF53: "extfs", 0xF2F52010: "f2fs", 0x65735546: "fuse", 0x47504653: "gpfs",
    0x000072B6: "jffs2", 0x3153464A: "jfs", 0x00006969: "nfs", 0x794C7630: "overlayfs",
    0x858458F6: "ramfs", 0x52654973: "reiserfs", 0x0000517B: "smb", 0x73717368: "squashfs",
    0x01021994: "tmpfs", 0xA501FCF5: "vxfs", 0x58465342: "xfs", 0x2FC12FC1: "zfs",
    0x00000000: "unsupported",
}  # fmt: skip

OVERLAYFS_MAGIC = 0x794C7630

#: Flags to open a directory for reading: through a symbolic link, or not.
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
OPEN_DIRECTORY_NOFOLLOW = OPEN_DIRECTORY | os.O_NOFOLLOW

#: Docker's name of a file system that it does not know.
UNKNOWN_FS = "<unknown>"

#: include/uapi/linux/stat.h
STATX_ATTR_MOUNT_ROOT = 0x2000
#: include/uapi/linux/fcntl.h
AT_STATX_DONT_SYNC = 0x4000

#: include/uapi/linux/fs.h
SYNC_FILE_RANGE_WRITE = 2

#: renameat2(2)
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_MACHINE = os.uname().machine
#: From each architecture's syscall table; the last entry is asm-generic's, which newer architectures share.
_SYS_STATX = {"x86_64": 332, "i686": 383, "ppc64le": 383, "s390x": 379, "armv7l": 397}.get(_MACHINE, 291)
_SYS_RENAMEAT2 = {"x86_64": 316, "i686": 353, "ppc64le": 357, "s390x": 347, "armv7l": 382}.get(_MACHINE, 276)
_SYS_GETDENTS64 = {"x86_64": 217, "i686": 220, "ppc64le": 202, "s390x": 220, "armv7l": 217}.get(_MACHINE, 61)

libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

#: Prepared, because every mount and unmount calls it.
_statx = prepared(_SYS_STATX, ctypes.c_long, ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_char_p)

#: ``struct statfs`` starts with f_type: a long on most architectures, an unsigned int on s390x.
_F_TYPE = struct.Struct("=I" if _MACHINE == "s390x" or sys.maxsize < 2**32 else "=q")

#: ``struct statx``: stx_attributes is at 8, stx_attributes_mask at 56 (256 bytes in all).
_STATX_SIZE = 256
_STATX_ATTRIBUTES = struct.Struct("=Q")
_STATX_MASK_OFFSET = 56
#: stx_dev_major and stx_dev_minor are at 136.
_STATX_DEVICE = struct.Struct("=II")
_STATX_DEVICE_OFFSET = 136

#: ``struct linux_dirent64``: d_ino, d_off, d_reclen, d_type, then the name.
_DIRENT = struct.Struct("=QqHB")
DT_UNKNOWN = 0


def magic(path: str) -> int:
    """statfs(2): returns the file system magic at ``path``.

    :raises OSError: the path cannot be reached.
    """
    buffer = ctypes.create_string_buffer(512)
    call(libc.statfs, os.fsencode(path), buffer, path=path)
    value: int = _F_TYPE.unpack_from(buffer)[0]
    return value & 0xFFFFFFFF


def fs_name(path: str) -> str:
    """Returns Docker's name of the file system at ``path``; :data:`UNKNOWN_FS` if it has none.

    :raises OSError: the path cannot be reached.
    """
    return MAGIC_NAMES.get(magic(path), UNKNOWN_FS)


def open_on(stack: contextlib.ExitStack, path: str) -> int:
    """Opens the directory at ``path`` and returns its descriptor, which ``stack`` closes.

    :raises OSError: it cannot be opened.
    """
    descriptor = os.open(path, OPEN_DIRECTORY)
    stack.callback(os.close, descriptor)
    return descriptor


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Writes all of ``content``, which write(2) may take in parts.

    :raises OSError: not all of it can be written.
    """
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def is_read_only(path: str) -> bool:
    """True if the mount at ``path`` is read-only, by statvfs(3).

    :raises OSError: the path cannot be reached.
    """
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def is_mount_point(path: str) -> bool | None:
    """True if a file system is mounted exactly at ``path``; None if the kernel does not report it (before Linux 5.8).

    :raises OSError: the path cannot be reached. One that is missing is not a mount point.
    """
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    try:
        _statx(AT_FDCWD, os.fsencode(path), AT_SYMLINK_NOFOLLOW, 0, buffer, path=path)
    except FileNotFoundError:
        return False
    known = _STATX_ATTRIBUTES.unpack_from(buffer, _STATX_MASK_OFFSET)[0]
    if not known & STATX_ATTR_MOUNT_ROOT:
        return None
    return bool(_STATX_ATTRIBUTES.unpack_from(buffer, 8)[0] & STATX_ATTR_MOUNT_ROOT)


def device(path: str) -> int:
    """Returns the device number of the file system of ``path``, without asking a server for it.

    Unlike stat(2) it does not hang on a network file system whose server is gone.

    :raises OSError: the path cannot be reached.
    """
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    _statx(AT_FDCWD, os.fsencode(path), AT_STATX_DONT_SYNC, 0, buffer, path=path)
    return os.makedev(*_STATX_DEVICE.unpack_from(buffer, _STATX_DEVICE_OFFSET))


def entry_types(descriptor: int) -> list[int]:
    """getdents64(2): returns the d_type of the first entries of a directory, ``.`` and ``..`` included.

    :param descriptor: an open directory at its start.
    """
    buffer = ctypes.create_string_buffer(4096)
    length = syscall(_SYS_GETDENTS64, descriptor, buffer, len(buffer))
    types: list[int] = []
    offset = 0
    while offset < length:
        _ino, _off, record_length, d_type = _DIRENT.unpack_from(buffer, offset)
        types.append(d_type)
        offset += record_length
    return types


def rename(source: str, target: str, flags: int = 0, source_fd: int = AT_FDCWD, target_fd: int = AT_FDCWD) -> None:
    """renameat2(2).

    :param flags: ``RENAME_NOREPLACE``, ``RENAME_EXCHANGE`` or 0.
    :raises OSError: ``EINVAL`` if the file system does not support the flags.
    """
    syscall(_SYS_RENAMEAT2, source_fd, os.fsencode(source), target_fd, os.fsencode(target), flags, path=target)


def start_writing(descriptor: int) -> None:
    """sync_file_range(2): starts to write a file's data to disk without waiting for it.

    :raises OSError: the kernel refused.
    """
    call(libc.sync_file_range, descriptor, 0, 0, SYNC_FILE_RANGE_WRITE)


def syncfs(descriptor: int) -> None:
    """syncfs(2): writes everything that the file system of ``descriptor`` holds in memory to disk.

    :raises OSError: ``EIO``, ``ENOSPC`` or ``EDQUOT`` if that failed.
    """
    call(libc.syncfs, descriptor)
