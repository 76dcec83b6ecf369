# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What overlay2_mount decides, for every pair of wanted and actual."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import Driver
from ansible_collections.strata.overlay2.plugins.modules.overlay2_mount import (
    Mount,
    plan_mounted,
    plan_unmounted,
    state_of,
)
from support import modules

NOBODY = Mount(False, {}, False)
ANSIBLE = Mount(False, {"ansible": 1}, True)
BOTH = Mount(False, {"ansible": 1, "web": 1}, True)
LEFT_OVER = Mount(False, {}, True)
VANISHED = Mount(False, {"ansible": 1}, False)
BASE = Mount(True, {}, False)
HELD_BASE = Mount(True, {"ansible": 1}, False)


@pytest.mark.parametrize(
    ("actual", "holder", "planned"),
    [
        (NOBODY, "ansible", ANSIBLE),
        (ANSIBLE, "ansible", ANSIBLE),
        (ANSIBLE, "web", BOTH),
        (LEFT_OVER, "ansible", ANSIBLE),
        (VANISHED, "ansible", ANSIBLE),
        (Mount(False, {"": 3}, True), "web", Mount(False, {"": 3, "web": 1}, True)),
        (BASE, "ansible", HELD_BASE),
        (HELD_BASE, "ansible", HELD_BASE),
    ],
)
def test_mounted(actual, holder, planned):
    assert plan_mounted(actual, holder) == planned
    assert plan_mounted(planned, holder) == planned, "a second run changes nothing"


@pytest.mark.parametrize(
    ("actual", "holder", "all_holders", "planned"),
    [
        (NOBODY, "ansible", False, NOBODY),
        (NOBODY, "ansible", True, NOBODY),
        (ANSIBLE, "ansible", False, NOBODY),
        (ANSIBLE, "web", False, ANSIBLE),
        (BOTH, "web", False, ANSIBLE),
        (BOTH, "web", True, NOBODY),
        (BOTH, "backup", True, NOBODY),
        (LEFT_OVER, "ansible", False, NOBODY),
        (VANISHED, "ansible", False, NOBODY),
        (Mount(False, {"": 2, "web": 1}, True), "web", False, Mount(False, {"": 2}, True)),
        (HELD_BASE, "ansible", False, BASE),
        (HELD_BASE, "ansible", True, BASE),
        (BASE, "ansible", False, BASE),
    ],
)
def test_unmounted(actual, holder, all_holders, planned):
    assert plan_unmounted(actual, holder, all_holders) == planned
    assert plan_unmounted(planned, holder, all_holders) == planned, "a second run changes nothing"


def test_a_plan_leaves_what_it_was_made_of_alone():
    plan_mounted(NOBODY, "web")
    plan_unmounted(BOTH, "web", False)
    assert NOBODY.holders == {}
    assert BOTH.holders == {"ansible": 1, "web": 1}


def test_the_diff_has_a_stable_order():
    assert list(state_of(Mount(False, {"web": 1, "ansible": 1}, True))["holders"]) == ["ansible", "web"]


# --- processes that use the mount -------------------------------------------------------------------------------------


@pytest.fixture
def busy(home, spawn):
    """(driver, process): a layer `run` that is mounted for `shop`, and a process that works in it."""
    driver = Driver(home)
    driver.create("base")
    driver.create_read_write("run", "base")
    path = driver.get("run", holder="shop")
    process = spawn(["sh", "-c", "echo there; read line"], cwd=path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"there\n"
    return driver, process


def unmounted(driver, **arguments):
    return modules.run("overlay2_mount", home=driver.home, id="run", holder="shop", state="unmounted", **arguments)


def test_unmounting_returns_the_processes_and_warns(busy):
    driver, process = busy
    for check_mode in (True, False):
        result = unmounted(driver, check_mode=check_mode)
        (user,) = result["busy"]
        assert result["changed"]
        assert (user["pid"], user["command"], user["use"]) == (process.pid, "sh", "cwd")
        assert user["namespace"] == os.stat("/proc/self/ns/mnt").st_ino
    assert f"{process.pid} (sh)" in str(result["warnings"])
    assert not driver.mounted("run")
    assert unmounted(driver)["busy"] == []


def test_strict_refuses_and_leaves_all_as_it_was(busy):
    driver, process = busy
    for check_mode in (True, False):
        result = unmounted(driver, check_mode=check_mode, strict=True)
        assert result["error"] == "LayerInUse"
        assert f"processes use it: {process.pid} (sh)" in result["msg"]
    assert driver.mounted("run")
    assert driver.holders("run") == {"shop": 1}
    process.communicate(b"\n", timeout=30)
    result = unmounted(driver, strict=True)
    assert (result["changed"], result["busy"], result["mounted"]) == (True, [], False)


def test_a_holder_of_several_lets_go_of_a_busy_layer(busy):
    driver, _process = busy
    driver.get("run", holder="web")
    result = unmounted(driver, strict=True)
    assert (result["changed"], result["busy"], result["mounted"]) == (True, [], True)


def test_the_name_of_a_process_is_escaped(home, spawn):
    driver = Driver(home)
    driver.create("base")
    driver.create_read_write("run", "base")
    code = "import sys; open('/proc/self/comm', 'w').write('\\x1b[2J'); print('there', flush=True); sys.stdin.read()"
    process = spawn([sys.executable, "-c", code], cwd=driver.get("run"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"there\n"
    result = modules.run("overlay2_mount", home=home, id="run", state="unmounted", all_holders=True)
    assert [user["command"] for user in result["busy"]] == ["\\x1b[2J"]
    assert "\x1b" not in str(result["warnings"])
