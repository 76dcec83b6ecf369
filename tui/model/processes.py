# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Who keeps a mount busy: processes whose root, working folder, program, open or mapped files lie on it (proc(5))."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterable, Iterator

from .plain import visible
from .snapshot import MountFacts, ProcessFacts

_PLACES = (("root", "root folder"), ("cwd", "working folder"), ("exe", "program"))


def busy(mounts: Iterable[MountFacts]) -> dict[str, tuple[ProcessFacts, ...]]:
    """Processes by layer id, for the mounts that the kernel has.

    An overlay has a device number of its own in every mount namespace, so a container's process is found by the number
    of its root folder even if its paths read like any other container's. Looking at other users' processes takes root;
    those that can't be looked at are left out.
    """
    devices = {_device(mount.entries[-1].device): mount for mount in mounts if mount.mounted and mount.entries}
    found: dict[str, list[ProcessFacts]] = {mount.id: [] for mount in devices.values()}
    if not devices:
        return {}
    sockets = _sockets({mount.path: device for device, mount in devices.items()})
    mapped: dict[tuple[int, str], int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        uses: dict[int, str] = {}
        for device, how in _uses(f"/proc/{name}", mapped, sockets):
            if device in devices:
                uses.setdefault(device, how)
        for device, how in uses.items():
            found[devices[device].id].append(ProcessFacts(int(name), name_of(int(name)) or "?", _user(name), how))
    return {layer: tuple(sorted(processes)) for layer, processes in found.items()}


def _uses(process: str, mapped: dict[tuple[int, str], int], sockets: dict[str, int]) -> Iterator[tuple[int, str]]:
    """Device numbers that a process uses, and how.

    :param mapped: the devices of mapped files by root and line in ``maps``; a library is looked at once for each root.
    :param sockets: the devices of bound unix sockets, as :func:`_sockets` finds them.
    """
    for place, how in _PLACES:
        yield _device_of(f"{process}/{place}"), how
    for descriptor in _names(f"{process}/fd"):
        link = f"{process}/fd/{descriptor}"
        target = _target(link)
        if target in sockets:
            yield sockets[target], f"unix socket {target}"
        else:
            yield _device_of(link), f"open file {target}"
    for thread in _names(f"{process}/task"):
        # A thread may have a working folder of its own, unshare(2) with CLONE_FS.
        yield _device_of(f"{process}/task/{thread}/cwd"), "working folder of a thread"
    root = _device_of(f"{process}/root")
    for span, file in _mappings(f"{process}/maps"):
        if (root, file) not in mapped:
            mapped[root, file] = _device_of(f"{process}/map_files/{span}")
        yield mapped[root, file], f"mapped file {visible(file.split(None, 2)[-1])}"


def _sockets(paths: dict[str, int]) -> dict[str, int]:
    """Unix sockets that are bound below these paths: ``socket:[inode]`` to the path's device number."""
    found = {}
    with contextlib.suppress(OSError), open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.rstrip("\n").split(None, 7)
            for path, device in paths.items():
                if len(fields) == 8 and fields[7].startswith(path + "/"):
                    found[f"socket:[{fields[6]}]"] = device
    return found


def _mappings(path: str) -> Iterator[tuple[str, str]]:
    """Address range, and device, inode and path, of each mapped file of a process."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(None, 3)
            if "/" in fields[3]:
                # map_files has the addresses without the leading zeros that maps prints.
                yield "-".join(address.lstrip("0") or "0" for address in fields[0].split("-")), fields[3]


def _device(text: str) -> int:
    major, minor = text.split(":")
    return os.makedev(int(major), int(minor))


def _device_of(path: str) -> int:
    """Device number of the file behind a link of /proc; -1 if it can't be seen."""
    try:
        return os.stat(path).st_dev
    except OSError:
        return -1


def _target(link: str) -> str:
    try:
        return visible(os.readlink(link))
    except OSError:
        return "?"


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def name_of(pid: int) -> str:
    """The name of a process; "" if it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", "rb") as source:
        return visible(source.read().rstrip(b"\n"))
    return ""


def _user(pid: str) -> str:
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return "?"
    try:
        return visible(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)
