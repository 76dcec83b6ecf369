# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""`--print` and `--json`, as a job would use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys


def run(*arguments, **more):
    """The program, in a pipe."""
    command = [sys.executable, "-m", "overlay2_tui", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **more)


def test_exit_codes(driver, real_tmp):
    assert run("--help").returncode == 0
    assert "overlay2-tui" in run("--version").stdout
    assert run("--nonsense").returncode == 2
    assert run(driver.home, "--snapshot", "x").returncode == 2
    assert run("--check", driver.home).returncode == 2
    done = run("--print", "--check", driver.home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "top: mounted, held by web" in done.stdout
    done = run("--json", str(real_tmp / "none"))
    assert done.returncode == 3
    assert "does not exist" in done.stderr
    assert json.loads(done.stdout)["exists"] is False
    assert run(driver.home).returncode == 4
    os.unlink(os.path.join(driver.home, "middle/link"))
    assert run("--print", driver.home).returncode == 0
    assert run("--print", "--check", driver.home).returncode == 1


def test_a_reader_that_leaves_early_is_no_error(driver):
    command = f"{sys.executable} -m overlay2_tui --print {driver.home} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n0\n")
    assert done.stderr == ""


def test_ascii_terminals(driver):
    done = run("--print", driver.home, env=dict(os.environ, PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0"))
    assert done.returncode == 0
    assert done.stderr == ""
