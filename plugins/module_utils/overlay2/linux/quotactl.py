# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Project quota of XFS by quotactl(2) and quotactl_fd(2).

Sources: structures and ``Q_X*`` commands in the kernel's include/uapi/linux/dqblk_xfs.h; ``QCMD`` and ``PRJQUOTA`` in
include/uapi/linux/quota.h; which errors mean what in fs/quota/quota.c.

A *target* says which file system a call is about: an open descriptor of anything on it (``O_PATH`` is enough), for
which the kernel must have quotactl_fd (Linux 5.14), or the path of its block device.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

from .libc import call, libc, syscall

PRJQUOTA = 2
Q_XGETQUOTA = 0x5803
Q_XSETQLIM = 0x5804
Q_XGETQSTAT = 0x5805

#: ``FS_QUOTA_PDQ_ACCT`` and ``FS_QUOTA_PDQ_ENFD`` of ``qs_flags``
_PDQ_ACCT = 0x10
_PDQ_ENFD = 0x20

#: ``FS_DQUOT_VERSION``, ``FS_PROJ_QUOTA``, and the bits of ``d_fieldmask`` that say which limits a call sets
_DQUOT_VERSION = 1
_PROJ_QUOTA = 2
_BSOFT = 0x4
_BHARD = 0x8

#: Unit of all sizes here, bytes: the "basic block".
BLOCK = 512

#: ``struct fs_disk_quota``, 112 bytes: i8 version, i8 flags, u16 fieldmask, u32 id, u64 block hard and soft limit,
#: inode hard and soft limit, blocks used, inodes used; then timers, warnings and realtime limits, none of which we use.
_FS_DISK_QUOTA = struct.Struct("=bbHI6QiiHHi3QiHh8s")
#: ``struct fs_quota_stat``, 80 bytes: i8 version, u16 flags at 2; the rest is not used.
_FS_QUOTA_STAT = struct.Struct("=bxH76x")

#: One number in all system call tables that took part in their unification (Linux 5.14), which alpha and mips did not.
_MACHINE = os.uname().machine
_SYS_QUOTACTL_FD = -1 if _MACHINE.startswith(("alpha", "mips")) else 443


class State(NamedTuple):
    """Whether the file system counts the use of each project, and whether it enforces the limits."""

    accounting: bool
    enforcing: bool


class DiskQuota(NamedTuple):
    """Limits and use of one project; sizes in :data:`BLOCK` units, 0 is no limit."""

    project_id: int
    hard_blocks: int
    soft_blocks: int
    hard_inodes: int
    soft_inodes: int
    used_blocks: int
    used_inodes: int


def has_descriptor_call() -> bool:
    """True if this kernel takes a descriptor as target."""
    if _SYS_QUOTACTL_FD < 0:
        return False
    try:
        _call(-1, Q_XGETQSTAT, 0, ctypes.create_string_buffer(_FS_QUOTA_STAT.size))
    except OSError as error:
        return error.errno == errno.EBADF
    return False


def state(target: int | str) -> State:
    """Returns whether project quota is accounted and enforced. Needs no privilege.

    :raises OSError: ``ENOSYS``, ``EINVAL``, ``ESRCH`` without quota; ``ENOTBLK``, ``ENODEV``, ``EACCES`` (mounted
        nodev) if the path is not that of a usable device.
    """
    buffer = ctypes.create_string_buffer(_FS_QUOTA_STAT.size)
    _call(target, Q_XGETQSTAT, 0, buffer)
    _version, flags = _FS_QUOTA_STAT.unpack(buffer.raw)
    return State(bool(flags & _PDQ_ACCT), bool(flags & _PDQ_ENFD))


def get_quota(target: int | str, project_id: int) -> DiskQuota | None:
    """Returns limits and use of a project; None if it has neither. Needs CAP_SYS_ADMIN on the host.

    :raises OSError: as :func:`state`, and ``EPERM``.
    """
    buffer = ctypes.create_string_buffer(_FS_DISK_QUOTA.size)
    try:
        _call(target, Q_XGETQUOTA, project_id, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            return None
        raise
    fields = _FS_DISK_QUOTA.unpack(buffer.raw)
    return DiskQuota(*fields[3:10])


def set_block_limits(target: int | str, project_id: int, blocks: int) -> None:
    """Sets both the hard and the soft limit of a project. Needs CAP_SYS_ADMIN on the host.

    For project 0 this would set the default of every project without a limit of its own.

    :param blocks: in :data:`BLOCK` units; 0 removes the limits. XFS rounds up to its own blocks.
    :raises OSError: as :func:`get_quota`, ``EROFS``, ``ENOSPC``.
    """
    fieldmask = _BSOFT | _BHARD
    limits = (blocks, blocks, 0, 0)
    record = _FS_DISK_QUOTA.pack(_DQUOT_VERSION, _PROJ_QUOTA, fieldmask, project_id, *limits, *[0] * 13, b"")
    _call(target, Q_XSETQLIM, project_id, ctypes.create_string_buffer(record, len(record)))


def _call(target: int | str, subcommand: int, project_id: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
    command = subcommand << 8 | PRJQUOTA
    if isinstance(target, int):
        syscall(_SYS_QUOTACTL_FD, target, command, project_id, buffer)
    else:
        call(libc.quotactl, command, os.fsencode(target), ctypes.c_uint(project_id), buffer, path=target)
