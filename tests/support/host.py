# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What this host is and has, and how to leave nothing of ours on it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator

MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def alarm(seconds: int, expired: Callable[[], None]) -> Iterator[None]:
    """Call `expired`, which raises, in what takes longer. An alarm around this one goes on afterwards."""
    since = time.monotonic()
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: expired())
    outer = signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(max(1, outer - int(time.monotonic() - since)) if outer else 0)
        signal.signal(signal.SIGALRM, before)


def in_user_namespace() -> bool:
    """Tell whether this process runs in a user namespace that maps less than all ids."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def is_real_root() -> bool:
    """Tell whether we are the host's root, not only a namespace's."""
    return os.geteuid() == 0 and not in_user_namespace()


def filesystem_type(path: str | os.PathLike[str]) -> str:
    """Name the filesystem that holds *path*, as mountinfo spells it (ext4, tmpfs, overlay …)."""
    real = os.path.realpath(path)
    best = ("", "")
    for mount_point, kind in _mounts():
        if (real == mount_point or real.startswith(mount_point.rstrip("/") + "/")) and len(mount_point) >= len(best[0]):
            best = (mount_point, kind)
    return best[1]


def mounts_below(root: str | os.PathLike[str]) -> list[str]:
    """List the mount points at and below *root*, in the order of mounting."""
    real = os.path.realpath(root)
    return [point for point, kind in _mounts() if point == real or point.startswith(real + "/")]


def _mounts() -> list[tuple[str, str]]:
    result = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, right = line.split(" - ", 1)
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), left.split()[4])
        result.append((point, right.split()[0]))
    return result


def unmount_below(root: str | os.PathLike[str]) -> list[str]:
    """Unmount all at and below *root*, the latest first; lazily where something is busy. Returns what was mounted."""
    points = mounts_below(root)
    for point in reversed(points):
        _libc.umount2(os.fsencode(point), 0) and _libc.umount2(os.fsencode(point), MNT_DETACH)
    return points


def loop_devices_below(root: str | os.PathLike[str]) -> list[str]:
    """List the loop devices whose backing file lies below *root*."""
    prefix = os.path.realpath(root) + "/"
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if entry.read_text().startswith(prefix):
                found.append("/dev/" + entry.parts[3])
    return found


def remove_tree(root: str | os.PathLike[str]) -> None:
    """Unmount, detach and delete all below *root*; files that refuse are an error, as they would stay for ever."""
    unmount_below(root)
    for device in loop_devices_below(root):
        subprocess.run(["losetup", "-d", device], check=False)
    shutil.rmtree(root, onerror=_make_writable_and_retry)


def _make_writable_and_retry(function, path, info):
    """Overlay's work/work has mode 000, and some tests take away permissions: give them back once."""
    if isinstance(info[1], FileNotFoundError):
        return
    os.chmod(os.path.dirname(path), 0o700)
    if not os.path.islink(path):
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def stop(process: subprocess.Popen, grace: float = 10.0) -> None:
    """End a process that a test started: SIGTERM, and SIGKILL after *grace* seconds."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
