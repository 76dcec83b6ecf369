# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""How overlayfs takes its options and marks deleted names (Documentation/filesystems/overlayfs.rst)."""

from __future__ import annotations

import os
import stat
from typing import Sequence

#: The most lower layers in one mount (OVL_MAX_STACK, fs/overlayfs/params.h).
MAX_LOWERS = 500

#: The kernel copies at most this many bytes of one fsconfig(2) string, its NUL included (fs/fsopen.c).
FSCONFIG_STRING_MAX = 256


def is_whiteout(info: os.stat_result) -> bool:
    """True if ``info`` is that of a whiteout: a character device 0:0, which hides the same name in lower layers."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def fits_fsconfig(value: str) -> bool:
    """True if ``value`` is short enough for one fsconfig(2) string."""
    return len(os.fsencode(value)) < FSCONFIG_STRING_MAX


def escape(path: str) -> str:
    """Returns ``path`` as the value of ``upperdir`` or ``workdir`` in classic mount data: escapes ``\\`` and ``,``."""
    return path.replace("\\", "\\\\").replace(",", "\\,")


def escape_lower(path: str) -> str:
    """Returns ``path`` as one entry of ``lowerdir`` in classic mount data, which escapes ``:`` too."""
    return escape(path).replace(":", "\\:")


def data(lowers: Sequence[str], upper: str | None = None, work: str | None = None, prefix: str = "") -> str:
    """Returns classic mount data: ``prefix``, then lowerdir, upperdir and workdir in moby's order.

    :param lowers: directories, uppermost first. Paths are escaped here.
    :param upper: None for a read-only mount.
    :param work: the work directory that an upper directory needs.
    """
    joined = ":".join(lowers)
    if "\\" in joined or "," in joined or joined.count(":") >= len(lowers):
        joined = ":".join([escape_lower(lower) for lower in lowers])
    text = prefix + "lowerdir=" + joined
    if upper is not None and work is not None:
        text += ",upperdir=" + escape(upper) + ",workdir=" + escape(work)
    return text
