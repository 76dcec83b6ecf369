# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The running kernel and this process: release, boot id, user and mount namespace."""

from __future__ import annotations

import os
import re

#: Inode of the initial user namespace (PROC_USER_INIT_INO, include/linux/proc_ns.h).
_INITIAL_USERNS = 0xEFFFFFFD
#: Inode of the initial pid namespace (PROC_PID_INIT_INO, there as well).
_INITIAL_PIDNS = 0xEFFFFFFC
#: include/uapi/linux/capability.h
_CAP_SYS_ADMIN = 21
#: uid_map of the initial user namespace.
_FULL_MAP = ["0", "0", "4294967295"]


def release() -> tuple[int, int]:
    """Returns (major, minor) of the running kernel."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def boot_id() -> str:
    """Returns the kernel's random id of this boot, see random(4)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
        return source.read().strip()


def in_user_namespace() -> bool:
    """True if this process is in a user namespace other than the host's; moby's userns package."""
    try:
        return os.stat("/proc/self/ns/user").st_ino != _INITIAL_USERNS
    except OSError:
        return uid_map() not in ([], _FULL_MAP)


def in_initial_pid_namespace() -> bool:
    """True if this process sees all processes of the host; False if /proc does not show it."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _INITIAL_PIDNS
    except OSError:
        return False


def uid_map() -> list[str]:
    """Returns the fields of the first line of /proc/self/uid_map: inner id, outer id, count."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as source:
            return source.readline().split()
    except OSError:
        return []


def is_admin() -> bool:
    """True if this process has CAP_SYS_ADMIN in its user namespace, which mounts and ``trusted`` attributes need."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as source:
        for line in source:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def mount_namespace() -> int:
    """Returns the inode number of this process's mount namespace; 0 if /proc does not show it."""
    try:
        return int(os.readlink("/proc/self/ns/mnt")[len("mnt:[") : -1])
    except OSError:
        return 0
