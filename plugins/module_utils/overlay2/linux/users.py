# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The processes that use a file system, found in /proc (proc(5)), as fuser(1) does.

A file system that was detached lazily is no longer in a mount table, although it may be in use. Its device number is
still that of the files that processes have open there.
"""

from __future__ import annotations

import os
from typing import Container, Iterator, NamedTuple

from . import fs


class User(NamedTuple):
    """A process that uses a file system."""

    pid: int
    #: The name of its program, 15 bytes at most, as the process chose it.
    command: str
    #: Inode of its mount namespace; 0 where that cannot be seen.
    namespace: int
    #: The first use that was found: ``cwd``, ``root``, ``exe``, ``fd`` or ``map``.
    use: str

    def __str__(self) -> str:
        return "%d (%s)" % (self.pid, self.command)


def find(devices: Container[int], directory: str) -> list[User]:
    """Returns the processes that use one of these file systems or a file in a directory, sorted by pid.

    Processes that end meanwhile, or that this process may not inspect, are skipped.

    :param devices: device numbers of the file systems.
    :param directory: real path of the directory.
    """
    search = _Search(devices, directory)
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            use = search.use("/proc/%s/" % name)
            if use:
                found.append(User(int(name), _command(name), _namespace(name), use))
    return sorted(found)


class _Search:
    """One search through all processes."""

    def __init__(self, devices: Container[int], directory: str) -> None:
        self._devices = devices
        self._directory = directory
        #: A library is looked up once for each root, not for each process that has it mapped.
        self._mapped: dict[tuple[int, bytes], bool] = {}

    def use(self, process: str) -> str:
        """Returns how a process (its directory in /proc) uses the searched files; "" if not, or if not visible."""
        for use in ("cwd", "root", "exe"):
            if self._is_there(process + use):
                return use
        for descriptor in _names(process + "fd"):
            if self._is_there("%sfd/%s" % (process, descriptor)):
                return "fd"
        root = _device(process + "root")
        for span, file in _mappings(process + "maps"):
            if (root, file) not in self._mapped:
                self._mapped[root, file] = self._is_there("%smap_files/%s" % (process, span))
            if self._mapped[root, file]:
                return "map"
        return ""

    def _is_there(self, link: str) -> bool:
        if _device(link) in self._devices:
            return True
        try:
            path = os.readlink(link)
        except OSError:
            return False
        return path == self._directory or path.startswith(self._directory + "/")


def _mappings(path: str) -> Iterator[tuple[str, bytes]]:
    """Address range, and device, inode and path, of each mapped file of a process."""
    try:
        with open(path, "rb") as maps:
            content = maps.read()
    except OSError:
        return
    for line in content.splitlines():
        fields = line.split(None, 3)
        if b"/" in fields[3]:
            yield _span(fields[0].decode("ascii")), fields[3]


def _span(text: str) -> str:
    """An address range as map_files names it: without the leading zeros that maps prints."""
    return "-".join(address.lstrip("0") or "0" for address in text.split("-"))


def _device(path: str) -> int:
    """Device number of the file behind a link of /proc; -1 where it cannot be seen."""
    try:
        return fs.device(path)
    except OSError:
        return -1


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _command(pid: str) -> str:
    try:
        with open("/proc/%s/comm" % pid, "rb") as source:
            return source.read().rstrip(b"\n").decode("utf-8", "backslashreplace")
    except OSError:
        return "?"


def _namespace(pid: str) -> int:
    try:
        return os.stat("/proc/%s/ns/mnt" % pid).st_ino
    except OSError:
        return 0
