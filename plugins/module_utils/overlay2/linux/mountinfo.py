# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The kernel's mount table, as /proc/self/mountinfo shows it (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import re
from typing import NamedTuple, Tuple

from . import kernel

_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")
#: The characters that the kernel escapes in paths (fs/proc_namespace.c, mangle).
_ESCAPED = re.compile(rb"[ \t\n\\#]")


class MountEntry(NamedTuple):
    """One line of mountinfo; paths are unescaped."""

    mount_id: int
    parent_id: int
    device: str
    root: str
    mount_point: str
    options: Tuple[str, ...]
    fs_type: str
    source: str
    super_options: Tuple[str, ...]


def _unescape(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes((int(match.group(1), 8),)), field))


def parse(line: bytes) -> MountEntry:
    """Parses one line of mountinfo."""
    left, _dash, right = line.rstrip(b"\n").partition(b" - ")
    fields, tail = left.split(b" "), right.split(b" ")
    return MountEntry(
        mount_id=int(fields[0]),
        parent_id=int(fields[1]),
        device=fields[2].decode("ascii"),
        root=_unescape(fields[3]),
        mount_point=_unescape(fields[4]),
        options=tuple(fields[5].decode("ascii", "replace").split(",")),
        fs_type=_unescape(tail[0]),
        source=_unescape(tail[1]) if len(tail) > 1 else "",
        super_options=tuple(_unescape(option) for option in tail[2].split(b",")) if len(tail) > 2 else (),
    )


def _lines(content: bytes) -> list[bytes]:
    return content.split(b"\n")[:-1]  # a carriage return is not escaped, so splitlines() would cut there


def mounts(pid: int | str = "self", below: str | None = None) -> list[MountEntry]:
    """Returns the mounts of a process's namespace in the kernel's order (a later one covers an earlier one).

    :param pid: the process.
    :param below: only mounts at this absolute path or under it; lines are filtered before they are parsed.
    :raises OSError: the process is gone or may not be inspected.
    """
    with open("/proc/%s/mountinfo" % pid, "rb", buffering=0) as table:
        content: bytes = table.readall()
    if below is None:
        return [parse(line) for line in _lines(content)]
    wanted = os.fsencode(below).rstrip(b"/")
    if not _ESCAPED.search(wanted) and wanted not in content:
        return []  # by far the most common answer, on a host that may have thousands of mounts
    found = []
    for line in _lines(content):
        point = line.split(b" ", 5)[4]
        if b"\\" in point:
            point = os.fsencode(_unescape(point))
        if point == wanted or point.startswith(wanted + b"/"):
            found.append(parse(line))
    return found


class NamespaceMember(NamedTuple):
    """A mount namespace, by its inode number, and a process in it."""

    namespace: int
    pid: int


def other_namespaces() -> list[NamespaceMember]:
    """Returns each mount namespace but this one, with one of its processes.

    Processes that end meanwhile, or whose namespace this process may not see, are skipped.
    """
    mine = kernel.mount_namespace()
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            namespace = os.stat("/proc/%s/ns/mnt" % name).st_ino
        except OSError:
            continue
        if namespace != mine:
            found.setdefault(namespace, int(name))
    return [NamespaceMember(namespace, pid) for namespace, pid in found.items()]
