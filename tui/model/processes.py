# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Who keeps a mount busy: processes whose root, working folder, program or open files lie on it."""

from __future__ import annotations

import contextlib
import os

import psutil
from overlay2.errors import printable

from .snapshot import ProcessFacts

_PLACES = (("root", "root folder"), ("cwd", "working folder"), ("exe", "program"))


def busy(mounts):
    """Processes by layer id (dict of tuple of :class:`~.snapshot.ProcessFacts`), for mounts the kernel has.

    An overlay has a device number of its own in every mount namespace, so a container's process is found by the number
    of its root folder even where its paths read like any other container's. Looking at other users' processes takes
    root; what can't be looked at is passed over.
    """
    devices = {_device(mount.entries[-1].device): mount for mount in mounts if mount.mounted and mount.entries}
    found = {mount.id: [] for mount in devices.values()}
    if not devices:
        return {}
    for process in psutil.process_iter(["name", "username"]):
        for device, how in _uses(process, devices):
            found[devices[device].id].append(
                ProcessFacts(process.pid, printable(process.info["name"] or "?"), process.info["username"] or "?", how)
            )
    return {layer: tuple(processes) for layer, processes in found.items()}


def _uses(process, devices):
    """(device, how) for the first way in which a process uses each of the devices."""
    seen = set()
    for place, how in _PLACES:
        with contextlib.suppress(OSError):
            device = os.stat(f"/proc/{process.pid}/{place}").st_dev
            if device in devices and device not in seen:
                seen.add(device)
                yield device, how
    with contextlib.suppress(psutil.Error, OSError):
        for file in process.open_files():
            with contextlib.suppress(OSError):
                device = os.stat(f"/proc/{process.pid}/fd/{file.fd}").st_dev
                if device in devices and device not in seen:
                    seen.add(device)
                    yield device, f"open file {printable(file.path)}"


def _device(text):
    major, minor = text.split(":")
    return os.makedev(int(major), int(minor))
