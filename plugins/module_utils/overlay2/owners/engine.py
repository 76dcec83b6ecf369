# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Is the engine of a home at work on it now? Told by the locks that it holds, without taking one.

dockerd keeps its databases locked (flock) for as long as it runs; containers/storage locks its files (fcntl) while it
changes something. ``/proc/locks`` lists both, by inode and by the process that holds them.
"""

from __future__ import annotations

import glob
import os
from typing import NamedTuple, Optional

from ..linux import kernel


class Activity(NamedTuple):
    """What is known of an engine."""

    #: It holds its locks; None where that can't be told.
    running: Optional[bool]
    #: Since when (seconds since the epoch); None where it does not run, or that can't be told.
    since: Optional[float] = None


def dockerd_files(data_root):
    """The databases (list of str) that a running dockerd has locked."""
    patterns = ("buildkit/*.db", "volumes/metadata.db", "network/files/local-kv.db")
    return sorted(path for pattern in patterns for path in glob.glob(os.path.join(glob.escape(data_root), pattern)))


def activity(files):
    """The :class:`Activity` of an engine that keeps one of ``files`` (list of paths) locked while it works."""
    inodes = set()
    for path in files:
        try:
            inodes.add(os.stat(path).st_ino)
        except FileNotFoundError:
            continue
        except OSError:
            return Activity(None)
    if not inodes:
        return Activity(None)
    holders = _holders(inodes)
    if holders is None:
        return Activity(None)
    if not holders:
        # From inside a pid namespace the locks of processes outside are not listed.
        return Activity(False if kernel.in_initial_pid_namespace() else None)
    starts = [_started(process) for process in holders]
    return Activity(True, None if None in starts else min(starts))


def _holders(inodes):
    """Other processes (set of int) that hold a lock for writing on one of the inodes; None where that can't be read.

    Devices are not compared: btrfs has others in the table than stat(2) tells.
    """
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as table:
            lines = table.read().splitlines()
    except OSError:
        return None
    found = set()
    for line in lines:
        fields = line.split()
        if "->" in fields or len(fields) < 6 or fields[3] != "WRITE":
            continue
        inode = fields[5].rpartition(":")[2]
        if inode.isdigit() and int(inode) in inodes:
            found.add(int(fields[4]))
    return found - {os.getpid()}


def _started(process):
    """When a process started (seconds since the epoch), None where that can't be told; proc_pid_stat(5), field 22."""
    try:
        with open("/proc/%d/stat" % process, "rb") as source:
            ticks = int(source.read().rpartition(b") ")[2].split()[19])
        with open("/proc/stat", "rb") as source:
            boot = next(int(line.split()[1]) for line in source if line.startswith(b"btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return boot + ticks / os.sysconf("SC_CLK_TCK")
