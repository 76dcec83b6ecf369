# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Tests that need a kernel with XFS quota. The VM scenario copies this folder into its guest and runs it there.

They create an XFS of their own on a loop device. On a host with such a kernel, `pytest tests/vm` runs them as root.
OVERLAY2_TEST_DIR says where the image lies (default: /var/tmp).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from xfs_report import XfsReport


def pytest_configure(config):
    # The guest's pytest sees no pyproject.toml.
    config.addinivalue_line("markers", "root: needs real root")


@pytest.fixture(scope="session")
def xfs():
    """Mount point (Path) of an XFS with project quota that nobody else uses."""
    parent = Path(tempfile.mkdtemp(prefix="overlay2-quota-", dir=os.environ.get("OVERLAY2_TEST_DIR") or "/var/tmp"))
    parent.chmod(0o755)
    try:
        yield mount_new_xfs(parent / "image", parent / "mounted", "pquota", 1 << 30)
    finally:
        unmount_below(parent)
        shutil.rmtree(parent)


@pytest.fixture
def report(xfs):
    """What xfs_quota says about the file system: a witness that shares no code with ours."""
    return XfsReport(xfs)


@pytest.fixture
def folder(xfs, report):
    """An empty folder (Path) on the XFS, where no project is in use. Afterwards it is so again, whatever happened."""
    path = Path(tempfile.mkdtemp(prefix="test-", dir=xfs))
    yield path
    unmount_below(path)
    shutil.rmtree(path)
    report.lift_all_limits()
    report.wait_until_unused()


@pytest.fixture
def home(folder):
    """An empty folder (str) for a driver's home."""
    path = folder / "home"
    path.mkdir(mode=0o710)
    return str(path)


@pytest.fixture
def overlay():
    """Mount a layer's `diff` and `work` over a lower folder, by default empty: overlay(layer) is where (Path)."""
    mounted = []

    def mount(layer):
        layer = Path(layer)
        for name in ("diff", "work", "merged"):
            (layer / name).mkdir(exist_ok=True)
        lower = layer.parent / (layer.name + "-lower")
        lower.mkdir(exist_ok=True)
        data = f"index=off,lowerdir={lower},upperdir={layer / 'diff'},workdir={layer / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", data, layer / "merged"], check=True)
        mounted.append(layer / "merged")
        return layer / "merged"

    yield mount
    for path in reversed(mounted):
        subprocess.run(["umount", path], check=False)


@pytest.fixture
def loop_xfs(folder):
    """Mount a new XFS image with options of one's own: loop_xfs("uquota") is the mount point (Path)."""
    mounted = []

    def mount(options):
        point = mount_new_xfs(folder / f"{len(mounted)}.img", folder / f"{len(mounted)}", options, 320 << 20)
        mounted.append(point)
        return point

    yield mount
    for point in reversed(mounted):
        unmount_below(point)


def mount_new_xfs(image, point, options, size):
    """Make an XFS in a sparse file and mount it; returns the mount point (Path)."""
    with open(image, "wb") as stream:
        stream.truncate(size)
    subprocess.run(["mkfs.xfs", "-q", image], check=True)
    point.mkdir()
    subprocess.run(["mount", "-t", "xfs", "-o", "loop," + options, image, point], check=True)
    return point


def unmount_below(root):
    """Unmount all at and below a folder, the latest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    for point in reversed(points):
        if point == str(root) or point.startswith(f"{root}/"):
            subprocess.run(["umount", point], check=False)
