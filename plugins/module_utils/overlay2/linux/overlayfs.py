# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""How overlayfs wants its options written and marks what is deleted (Documentation/filesystems/overlayfs.rst)."""

from __future__ import annotations

import os
import stat

#: Most lower layers in one mount (OVL_MAX_STACK, fs/overlayfs/params.h).
MAX_LOWERS = 500

#: The kernel copies at most this many bytes of one fsconfig(2) string, its NUL included (fs/fsopen.c).
FSCONFIG_STRING_MAX = 256


def is_whiteout(info):
    """Whether lstat(2)'s answer ``info`` is a whiteout's: a character device 0:0, which hides the name below it."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def fits_fsconfig(value):
    """Whether ``value`` (str) can be the value of one fsconfig(2) string (bool)."""
    return len(os.fsencode(value)) < FSCONFIG_STRING_MAX


def escape(path):
    """``path`` as the value of ``upperdir`` or ``workdir`` in classic mount data: ``\\`` and ``,`` take a backslash."""
    return path.replace("\\", "\\\\").replace(",", "\\,")


def escape_lower(path):
    """``path`` as one entry of ``lowerdir`` in classic mount data, where ``:`` takes a backslash too."""
    return escape(path).replace(":", "\\:")


def data(lowers, upper=None, work=None, prefix=""):
    """Classic mount data (str): ``prefix``, then lowerdir, upperdir and workdir in moby's order.

    :param lowers: folders, uppermost first. Paths are escaped here.
    :param upper: None for a read-only mount, which has no work folder either.
    """
    joined = ":".join(lowers)
    if "\\" in joined or "," in joined or joined.count(":") >= len(lowers):
        joined = ":".join([escape_lower(lower) for lower in lowers])
    text = prefix + "lowerdir=" + joined
    if upper is not None:
        text += ",upperdir=" + escape(upper) + ",workdir=" + escape(work)
    return text
