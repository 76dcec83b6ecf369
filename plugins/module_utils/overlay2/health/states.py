# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What is at a path, as one line: how a repair says what it found and what it leaves, and checks both.

``link -> ../web/diff``, ``file 0644: 6Y5IM2XC7TSNIJZZFLJCS6I4I4``, ``folder 0700 0:0``, ``folder 0700 0:0, empty``;
nothing is the empty string.
"""

from __future__ import annotations

import os
import stat

from ..home.layout import read_small

#: Content of files beyond this is none of a repair's business.
_LONGEST = 65536


def state_of(path):
    """What is at ``path`` (str).

    :raises OSError: it can't be looked at.
    """
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return ""
    if stat.S_ISLNK(info.st_mode):
        return link_state(os.readlink(path))
    if stat.S_ISDIR(info.st_mode):
        return folder_state(stat.S_IMODE(info.st_mode), info, empty=not os.listdir(path))
    if not stat.S_ISREG(info.st_mode):
        return "special file %o" % info.st_mode
    if info.st_size > _LONGEST:
        return "file %04o: %d bytes" % (stat.S_IMODE(info.st_mode), info.st_size)
    return file_state(os.fsdecode(read_small(path) or b""), stat.S_IMODE(info.st_mode))


def link_state(target):
    """State of a symbolic link."""
    return "link -> " + target


def file_state(text, mode=0o644):
    """State of a small file."""
    return "file %04o: %s" % (mode, text)


def folder_state(mode, owner, empty=True):
    """State of a folder.

    :param owner: a stat result of which it has the owner and group.
    """
    return "folder %04o %d:%d%s" % (mode, owner.st_uid, owner.st_gid, ", empty" if empty else "")
