# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Whether an overlay is mounted on a directory: the kernel's answer, not that of a file."""

from __future__ import annotations

import os

from ..errors import MountError
from ..linux import fs, kernel, mountinfo


def shows_overlay(target: str) -> bool:
    """True if ``target`` shows the files of an overlay, by one system call, for callers who are about to unmount.

    True where an overlay is mounted; in a home that lies on an overlay itself also where none is.
    """
    try:
        return fs.magic(target) == fs.OVERLAYFS_MAGIC
    except OSError:
        return False


def is_mounted(target: str, strict: bool = False) -> bool:
    """True if an overlay is mounted exactly at ``target``.

    :param strict: for callers who would mount or unmount there.
    :raises MountError: ``strict``, and another file system is mounted there.
    """
    is_overlay = False
    try:
        mounted = fs.is_mount_point(target)
        is_overlay = bool(mounted) and fs.magic(target) == fs.OVERLAYFS_MAGIC
    except FileNotFoundError:  # unmounted and removed between the two calls
        return False
    except PermissionError:
        mounted = None
    if mounted is None:  # a kernel before 5.8, or a reader without access: everybody may read the mount table
        real = os.path.realpath(target)
        kinds = [entry.fs_type for entry in mountinfo.mounts(below=real) if entry.mount_point == real]
        mounted, is_overlay = bool(kinds), kinds[-1:] == ["overlay"]
    if not mounted:
        return False
    if strict and not is_overlay:
        raise MountError(
            "a file system other than an overlay is mounted on its merged folder",
            path=target,
            remedy="Unmount it: umount %s" % target,
        )
    return is_overlay


def process_with_mount(namespace: int, target: str) -> int | None:
    """Returns the pid of a process in another mount namespace that has ``target`` mounted; None if there is none.

    :param namespace: inode of the mount namespace; 0 if unknown.
    """
    if not namespace or namespace == kernel.mount_namespace():
        return None
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.stat("/proc/%s/ns/mnt" % name).st_ino == namespace:
                # All processes of a namespace see the same table.
                return int(name) if mountinfo.mounts(name, below=target) else None
        except OSError:
            continue
    return None


def point_of_upper(upper: str) -> str | None:
    """Returns where an overlay with this upper directory is mounted in this mount namespace; None if nowhere.

    Finds a mount that was made by another path to the same home. The directories are compared by device and inode: the
    option may name a path that this process reaches differently.
    """
    try:
        wanted = os.stat(upper)
    except OSError:
        return None
    name = os.path.join(*upper.split("/")[-2:])
    for entry in mountinfo.mounts():
        if entry.fs_type != "overlay":
            continue
        for option in entry.super_options:
            if not option.startswith("upperdir=") or not option.endswith(name):
                continue
            # A long chain is mounted with names relative to the home, which is two levels above ``merged``.
            home = os.path.dirname(os.path.dirname(entry.mount_point))
            try:
                if os.path.samestat(wanted, os.stat(os.path.join(home, option[len("upperdir=") :]))):
                    return entry.mount_point
            except OSError:
                continue
    return None
