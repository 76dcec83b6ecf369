# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The fixtures of tests/conftest.py keep what they promise, also after a failing test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import host
from support.userns import UsernsError

CONFTEST = Path(__file__).parents[2] / "conftest.py"


def mount_overlay(folder):
    """An overlay mount of three fresh folders below *folder*; returns its mount point."""
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(os.path.join(folder, name))
    options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work,userxattr"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder + "/merged"], check=True)
    return folder + "/merged"


def test_home_is_on_a_real_disk(home, real_tmp):
    assert host.filesystem_type(home) not in ("tmpfs", "overlay", "")
    assert os.stat(home).st_dev == os.stat(real_tmp).st_dev
    assert os.listdir(home) == []


def test_tmpfs_home(tmpfs_home):
    assert host.filesystem_type(tmpfs_home) == "tmpfs"
    assert os.listdir(tmpfs_home) == []


def test_xfs_home(xfs_home):
    assert host.filesystem_type(xfs_home) == "xfs"
    assert len(host.loop_devices_below(os.path.dirname(os.path.dirname(xfs_home)))) == 1


def test_run_root_is_private(run_root):
    assert os.environ["OVERLAY2_RUN_ROOT"] == run_root
    assert os.listdir(run_root) == []


def _in_namespace(home, number, keyword):
    assert host.in_user_namespace()
    assert os.geteuid() == 0
    merged = mount_overlay(home)
    return number + keyword, host.filesystem_type(merged), os.environ["OVERLAY2_RUN_ROOT"]


def _failing():
    raise ValueError("told from inside")


def test_userns_returns_values(userns, home, run_root):
    assert userns(_in_namespace, home, 1, keyword=2) == (3, "overlay", run_root)
    assert host.mounts_below(home) == []


def test_userns_tells_of_failures(userns):
    with pytest.raises(UsernsError, match="told from inside"):
        userns(_failing)


def test_spawn_ends_processes(pytester_run):
    done, folder = pytester_run("""
        def test_one(spawn, real_tmp):
            process = spawn(["sleep", "1000"])
            (real_tmp.parents[2] / "pid").write_text(str(process.pid))
            raise RuntimeError
    """)
    assert done.returncode == 1
    pid = int((folder / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_failing_test_leaves_nothing(pytester_run):
    done, folder = pytester_run("""
        import subprocess
        def test_one(home, tmpfs_home):
            subprocess.run(["mount", "-t", "tmpfs", "t", home], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "t", tmpfs_home], check=True)
            raise RuntimeError
    """)
    assert done.returncode == 1
    assert "LEFT BEHIND" not in done.stdout
    assert host.mounts_below(folder) == []
    assert list(folder.glob("overlay2-test-*")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_left_mount_fails_the_run(pytester_run):
    done, folder = pytester_run("""
        import subprocess
        def test_one(pytestconfig, real_tmp):
            place = real_tmp.parents[1] / "elsewhere"
            place.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "t", place], check=True)
    """)
    assert done.returncode == 1
    assert "LEFT BEHIND" in done.stdout
    assert "1 passed" in done.stdout
    assert host.mounts_below(folder) == []


def test_a_hanging_test_fails(pytester_run):
    done, _folder = pytester_run("""
        import os, pytest
        @pytest.mark.time_limit(1)
        def test_one(real_tmp):
            os.mkfifo(real_tmp / "fifo")
            open(real_tmp / "fifo").read()
    """)
    assert done.returncode == 1
    assert "not done after 1 s" in done.stdout


def test_skips_are_loud_and_can_be_forbidden(pytester_run):
    text = """
        import pytest
        def test_one():
            pytest.skip("no such thing here")
    """
    done, _folder = pytester_run(text, OVERLAY2_NO_SKIP="")
    assert done.returncode == 0
    assert "1 NOT RUN ON THIS HOST" in done.stdout
    done, _folder = pytester_run(text, OVERLAY2_NO_SKIP="1")
    assert done.returncode == 1


@pytest.fixture
def pytester_run(real_tmp):
    """Run a test file with our conftest in a pytest of its own; returns what it printed and its OVERLAY2_TEST_DIR."""

    def run(text, **environment):
        (real_tmp / "conftest.py").write_text(CONFTEST.read_text())
        lines = text.split("\n")
        (real_tmp / f"test_{time.monotonic_ns()}.py").write_text("\n".join(line[8:] for line in lines))
        path = os.pathsep.join([str(CONFTEST.parent), os.environ.get("PYTHONPATH", "")])
        options = ["-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", real_tmp]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, real_tmp],
            env=dict(os.environ, OVERLAY2_TEST_DIR=str(real_tmp), PYTHONPATH=path, **environment),
            capture_output=True,
            text=True,
            check=False,
        )
        for file in real_tmp.glob("test_*.py"):
            file.unlink()
        return done, real_tmp

    return run
