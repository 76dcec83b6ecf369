# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The entries of a folder, as ``lstat`` and ``listxattr`` report them."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import NamedTuple


class Item(NamedTuple):
    """One thing below a folder. `mtime` is in nanoseconds; `first_name` is the least name of a hard-linked file."""

    name: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    device: int
    target: str
    sha256: str
    xattrs: tuple
    first_name: str


def items(folder):
    """All below `folder` (a path) as a list of :class:`Item`, sorted by name; `folder` itself is named ``""``."""
    found = [_item(folder, "", {})]
    first_names = {}
    for where, folders, files in os.walk(folder):
        folders.sort()
        for base in sorted(folders + files):
            path = os.path.join(where, base)
            found.append(_item(path, os.path.relpath(path, folder), first_names))
    return sorted(found)


def applied(folder, listed=None):
    """What lies in a layer's diff folder, less what no archive says.

    * the times of whiteouts, of the folder itself, and of folders that the archive does not list (those not in
      `listed`, a set of names; None: it lists all), are those of the moment they were made;
    * overlayfs notes things of its own on the upper folder of a mount (impure, origin, uuid); opaque is what counts.
    """
    found = []
    for item in items(folder):
        is_whiteout = stat.S_ISCHR(item.mode) and item.device == 0
        is_implied = stat.S_ISDIR(item.mode) and listed is not None and item.name not in listed
        if item.name == "" or is_whiteout or is_implied:
            item = item._replace(mtime=0)
        kept = [
            (name, value)
            for name, value in item.xattrs
            if name == "trusted.overlay.opaque" or not name.startswith("trusted.overlay.")
        ]
        found.append(item._replace(xattrs=tuple(kept)))
    return found


def _item(path, name, first_names):
    info = os.lstat(path)
    is_file = stat.S_ISREG(info.st_mode)
    is_dir = stat.S_ISDIR(info.st_mode)
    first = first_names.setdefault((info.st_dev, info.st_ino), name) if not is_dir and info.st_nlink > 1 else ""
    return Item(
        name=name,
        mode=info.st_mode,
        uid=info.st_uid,
        gid=info.st_gid,
        size=0 if is_dir else info.st_size,
        mtime=info.st_mtime_ns,
        device=info.st_rdev,
        target=os.readlink(path) if stat.S_ISLNK(info.st_mode) else "",
        sha256=_digest(path) if is_file else "",
        xattrs=tuple(
            (key, os.getxattr(path, key, follow_symlinks=False))
            for key in sorted(os.listxattr(path, follow_symlinks=False))
        ),
        first_name=first,
    )


def _digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as content:
        for block in iter(lambda: content.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(folder, leave_out=()):
    """What any write below `folder` would change: per path the inode, mode, owner, size, mtime, ctime and links.

    :param leave_out: paths whose insides are not looked at (mount points).
    """
    prints = {}
    for where, folders, files in os.walk(folder):
        folders[:] = [base for base in folders if os.path.join(where, base) not in leave_out]
        for path in [where] + [os.path.join(where, base) for base in files]:
            info = os.lstat(path)
            prints[path] = (
                info.st_ino,
                info.st_mode,
                info.st_uid,
                info.st_gid,
                info.st_size,
                info.st_mtime_ns,
                info.st_ctime_ns,
                info.st_nlink,
            )
    return prints
