# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures for tests on the real kernel. Each cleans up mounts, loop devices and processes, also after a failure.

home        an empty folder (str) on a real disk, for a driver's home
tmpfs_home  the same on a tmpfs of its own
xfs_home    the same on a loop-mounted XFS of its own (real root only)
real_tmp    an empty folder (pathlib.Path) on the same disk as `home`, for whatever else a test needs
loop_disk   a loop-mounted ext4 of its own that counts what is written to it (support.loopdisk; real root only)
userns      userns(function, *args) calls a module-level function of the test file as root of a new user namespace
report      report(text) adds a line to the end of the run's output
spawn       subprocess.Popen whose process is ended after the test

OVERLAY2_RUN_ROOT points to a private folder in every test. Folders lie below one folder per run, in OVERLAY2_TEST_DIR
or else /var/tmp; a run that leaves a mount or a loop device below it fails. A skip is listed at the end; with
OVERLAY2_NO_SKIP=1 it is a failure. A test that hangs fails after TIME_LIMIT seconds (marker `time_limit(seconds)`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from support import host, loopdisk
from support import userns as userns_support

TIME_LIMIT = 180
XFS_SIZE = 512 << 20  # mkfs.xfs wants at least 300 MiB; the file is sparse
_run_folder = pytest.StashKey["Path"]()
_left_over = pytest.StashKey["list[str]"]()
_skipped = pytest.StashKey["list[tuple[str, str]]"]()
_reports = pytest.StashKey["list[str]"]()


# --- the run as a whole -----------------------------------------------------------------------------------------------


def pytest_configure(config):
    parent = os.environ.get("OVERLAY2_TEST_DIR") or "/var/tmp"
    config.stash[_run_folder] = Path(tempfile.mkdtemp(prefix="overlay2-test-", dir=parent)).resolve()
    config.stash[_run_folder].chmod(0o755)
    config.stash[_left_over] = []
    config.stash[_skipped] = []
    config.stash[_reports] = []


def pytest_report_header(config):
    folder = config.stash[_run_folder]
    who = "root" if host.is_real_root() else "root of a user namespace" if os.geteuid() == 0 else "a plain user"
    return f"overlay2: as {who}, Linux {os.uname().release}, homes on {host.filesystem_type(folder)} in {folder}"


def pytest_collection_modifyitems(items):
    if host.is_real_root():
        return
    for item in items:
        if item.get_closest_marker("root") or "xfs_home" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="needs real root"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """End a test that hangs, such as in the open of a fifo, where it hangs."""
    marker = item.get_closest_marker("time_limit")
    seconds = marker.args[0] if marker else TIME_LIMIT

    def expired():
        pytest.fail(f"not done after {seconds} s")

    with host.alarm(seconds, expired):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    item.config.stash[_skipped].append((item.nodeid, reason))
    if os.environ.get("OVERLAY2_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, which OVERLAY2_NO_SKIP=1 forbids: {reason}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    folder = session.config.stash[_run_folder]
    left_over = [f"mount {point}" for point in host.mounts_below(folder)]
    left_over += [f"loop device {device}" for device in host.loop_devices_below(folder)]
    session.config.stash[_left_over] = left_over
    if left_over and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config):
    folder = config.stash.get(_run_folder, None)
    if folder is not None and folder.exists():
        host.remove_tree(folder)


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash[_reports]:
        terminalreporter.write_line(line)
    if config.stash[_left_over]:
        terminalreporter.section("LEFT BEHIND BY TESTS", sep="!", red=True, bold=True)
        for line in config.stash[_left_over]:
            terminalreporter.write_line(line, red=True)
    if config.stash[_skipped]:
        terminalreporter.section(f"{len(config.stash[_skipped])} NOT RUN ON THIS HOST", sep="!", yellow=True, bold=True)
        for name, reason in config.stash[_skipped]:
            terminalreporter.write_line(f"{name}: {reason}", yellow=True)


@pytest.fixture(scope="session")
def report(pytestconfig):
    """A function that adds a line to the end of the output, for figures that are reported but not asserted."""
    return pytestconfig.stash[_reports].append


# --- folders and filesystems ------------------------------------------------------------------------------------------


@pytest.fixture
def _test_folder(request):
    """One folder for all that a test makes; whatever is mounted in it afterwards is unmounted."""
    name = re.sub(r"[^\w.-]+", "_", request.node.name)[:60]
    folder = Path(tempfile.mkdtemp(prefix=name + "-", dir=request.config.stash[_run_folder]))
    folder.chmod(0o755)
    yield folder
    host.remove_tree(folder)


@pytest.fixture(autouse=True)
def run_root(request, monkeypatch, tmp_path_factory):
    """A private place for locks and reference counts, empty at the start of each test."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=request.config.stash[_run_folder]))
    monkeypatch.setenv("OVERLAY2_RUN_ROOT", str(folder))
    yield str(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def real_tmp(_test_folder):
    """An empty folder (Path) on a real disk."""
    folder = _test_folder / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def home(_test_folder):
    """An empty folder (str) on a real disk, for a driver's home."""
    folder = _test_folder / "home"
    folder.mkdir(mode=0o710)
    return str(folder)


@pytest.fixture
def tmpfs_home(_test_folder):
    """An empty folder (str) on a tmpfs of its own."""
    mount_point = _test_folder / "tmpfs"
    mount_point.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount_point], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    folder = mount_point / "home"
    folder.mkdir(mode=0o710)
    yield str(folder)
    host.unmount_below(mount_point)


@pytest.fixture
def loop_disk(_test_folder):
    """An ext4 file system of its own that counts what is written to its device: support.loopdisk.LoopDisk."""
    disk = loopdisk.LoopDisk(_test_folder / "disk")
    yield disk
    disk.unmount()


@pytest.fixture(scope="session")
def _xfs_image(request):
    if not shutil.which("mkfs.xfs"):
        pytest.skip("mkfs.xfs is missing (package xfsprogs)")
    image = request.config.stash[_run_folder] / "xfs.img"
    with open(image, "wb") as stream:
        stream.truncate(XFS_SIZE)
    subprocess.run(["mkfs.xfs", "-q", "-n", "ftype=1", image], check=True)
    return image


@pytest.fixture
def xfs_home(_test_folder, _xfs_image):
    """An empty folder (str) on a loop-mounted XFS of its own; without quota, which not every kernel has."""
    image, mount_point = _test_folder / "xfs.img", _test_folder / "xfs"
    subprocess.run(["cp", "--sparse=always", _xfs_image, image], check=True)
    mount_point.mkdir()
    command = ["mount", "-t", "xfs", "-o", "loop", image, mount_point]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount an XFS image: {done.stderr.strip()}")
    folder = mount_point / "home"
    folder.mkdir(mode=0o710)
    yield str(folder)
    host.unmount_below(mount_point)


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def userns():
    """A function: userns(function, *args, map_auto=False) calls a module-level function in a new user namespace."""
    problem = userns_support.available()
    if problem:
        pytest.skip(f"no user namespace can be made here: {problem}")
    return userns_support.call


@pytest.fixture
def spawn():
    """A subprocess.Popen whose process is ended after the test."""
    started = []

    def start(*args, **kwargs):
        process = subprocess.Popen(*args, **kwargs)
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        host.stop(process)
