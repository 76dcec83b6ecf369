# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Whether the engine of a home is at work on it now: shown by the locks that it holds, without taking one.

dockerd keeps its databases locked (flock) for as long as it runs; containers/storage locks its files (fcntl) while it
changes something. ``/proc/locks`` lists both, by inode and by the process that holds them.
"""

from __future__ import annotations

import glob
import os
from typing import Iterable, NamedTuple, Optional

from ..linux import fs, kernel

#: File systems whose files are on the device that their super block has: ext2 to ext4, XFS, tmpfs.
_PLAIN = (0xEF53, 0x58465342, 0x01021994)


class Activity(NamedTuple):
    """The state of an engine."""

    #: It holds its locks; None if that is not known.
    running: Optional[bool]
    #: When it started, in seconds since the epoch; None if it does not run, or that is not known.
    since: Optional[float] = None


def dockerd_files(data_root: str) -> list[str]:
    """Returns the databases that a running dockerd has locked."""
    patterns = ("buildkit/*.db", "volumes/metadata.db", "network/files/local-kv.db")
    return sorted(path for pattern in patterns for path in glob.glob(os.path.join(glob.escape(data_root), pattern)))


def activity(files: Iterable[str]) -> Activity:
    """Returns the state of an engine that keeps one of ``files`` locked while it works."""
    wanted = set()
    for path in files:
        try:
            wanted.add(_name_in_table(path))
        except FileNotFoundError:
            continue
        except OSError:
            return Activity(None)
    if not wanted:
        return Activity(None)
    holders = _holders(wanted)
    if holders is None:
        return Activity(None)
    if not holders:
        # From inside a pid namespace the locks of processes outside are not listed.
        return Activity(False if kernel.in_initial_pid_namespace() else None)
    starts = [_started(process) for process in holders]
    known = [start for start in starts if start is not None]
    return Activity(True, min(known) if len(known) == len(starts) else None)


def _name_in_table(path: str) -> tuple[str, str]:
    """Returns how ``/proc/locks`` names a file: device and inode.

    The device is "" if ``/proc/locks`` may show another one than stat(2), as on btrfs: then the inode must do.
    """
    info = os.stat(path)
    device = "%02x:%02x" % (os.major(info.st_dev), os.minor(info.st_dev))
    return device if fs.magic(path) in _PLAIN else "", str(info.st_ino)


def _holders(wanted: set[tuple[str, str]]) -> set[int] | None:
    """Returns the other processes that hold a lock for writing on one of some files; None if that can't be read.

    :param wanted: the files, as :func:`_name_in_table` names them.
    """
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as table:
            lines = table.read().splitlines()
    except OSError:
        return None
    found: set[int] = set()
    for line in lines:
        fields = line.split()
        if "->" in fields or len(fields) < 6 or fields[3] != "WRITE":
            continue
        device, _colon, inode = fields[5].rpartition(":")
        if (device, inode) in wanted or ("", inode) in wanted:
            found.add(int(fields[4]))
    return found - {os.getpid()}


def _started(process: int) -> float | None:
    """Returns when a process started, in seconds since the epoch; None if not known. proc_pid_stat(5), field 22."""
    try:
        with open("/proc/%d/stat" % process, "rb") as source:
            ticks = int(source.read().rpartition(b") ")[2].split()[19])
        with open("/proc/stat", "rb") as source:
            boot = next(int(line.split()[1]) for line in source if line.startswith(b"btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return boot + ticks / os.sysconf("SC_CLK_TCK")
