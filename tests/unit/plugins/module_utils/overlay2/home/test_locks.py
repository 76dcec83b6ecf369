# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Locks that all processes respect: who waits for whom, what stays of them, and that nobody waits for ever."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest
from overlay2 import Driver
from overlay2.errors import LayerExists, LayerInUse, LayerNotEmpty, LayerNotFound, NotSupported, Overlay2Error
from overlay2.home.locks import RuntimeState, run_root, state_name
from support import homes, host, trees, workload

#: How long the hammer strikes.
SECONDS = float(os.environ.get("OVERLAY2_HAMMER_SECONDS", "15"))


@pytest.fixture
def runtime(home):
    return RuntimeState(home)


@pytest.fixture
def driver(home):
    """A driver that does not wait for the disk, with the layer `base`."""
    made = Driver(home, ["overlay2.sync=none"])
    made.create("base")
    return made


@contextlib.contextmanager
def at_most(seconds):
    """What takes longer is interrupted with a TimeoutError."""

    def interrupt():
        raise TimeoutError(f"still at it after {seconds} s")

    with host.alarm(seconds, interrupt):
        yield


def tried(lock, *arguments, **keywords):
    """Whether a lock can be had at once, by another open file as another process would use it."""
    got = threading.Event()

    def take():
        with lock(*arguments, **keywords):
            got.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    at_once = got.wait(0.3)
    return at_once, thread


# --- one by one -------------------------------------------------------------------------------------------------------


def test_a_layer_lock_keeps_out_others_of_that_layer_alone(runtime, home, caplog):
    os.mkdir(os.path.join(home, "a"))
    with caplog.at_level(logging.INFO, "overlay2"), runtime.layer_lock("a"):
        assert tried(runtime.layer_lock, "b")[0]
        at_once, thread = tried(RuntimeState(home).layer_lock, "a")
        assert not at_once
    thread.join(10)
    assert not thread.is_alive()
    assert "waiting for another process that has locked layer a" in caplog.text


def test_the_home_lock_is_shared_by_readers_alone(runtime, home):
    other = RuntimeState(home)
    with runtime.home_lock(shared=True):
        assert tried(other.home_lock, shared=True)[0]
        at_once, thread = tried(other.home_lock)
        assert not at_once
    thread.join(10)
    with runtime.home_lock():
        at_once, thread = tried(other.home_lock, shared=True)
        assert not at_once
    thread.join(10)
    assert not thread.is_alive()


def test_a_lock_is_let_go_of_by_an_error(runtime, home):
    for lock in (lambda: runtime.layer_lock("a"), runtime.home_lock):
        with pytest.raises(ZeroDivisionError), lock():
            raise ZeroDivisionError
        with at_most(5), lock():
            pass


def test_a_lock_ends_with_its_process(runtime, home, spawn):
    code = "import sys, time; from overlay2.home.locks import RuntimeState; r = RuntimeState(sys.argv[1])\n"
    code += "with r.layer_lock('a'), r.home_lock(): print('locked', flush=True); time.sleep(60)\n"
    process = spawn([sys.executable, "-c", code, home], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    at_once, thread = tried(runtime.layer_lock, "a")
    assert not at_once
    process.kill()
    thread.join(10)
    assert not thread.is_alive()
    with at_most(5), runtime.home_lock():
        pass


def test_a_layer_s_lock_file_goes_with_the_layer(runtime, home, run_root):
    os.mkdir(os.path.join(home, "here"))
    for layer in ("here", "gone"):
        with runtime.layer_lock(layer):
            pass
    locks = os.path.join(run_root, state_name(home), "locks")
    assert os.listdir(locks) == ["here"]
    with runtime.layer_lock("here"):
        os.rmdir(os.path.join(home, "here"))
    assert os.listdir(locks) == []


def test_who_waited_for_a_lock_whose_file_is_gone_locks_the_new_file(runtime, home, caplog):
    """Else two would hold "the lock" at once: one of a file without a name, one of the file made since."""
    entered, leave = threading.Event(), threading.Event()

    def wait():
        with RuntimeState(home).layer_lock("a"):
            entered.set()
            leave.wait(30)

    waiter = threading.Thread(target=wait, daemon=True)
    with caplog.at_level(logging.INFO, "overlay2"), at_most(30), runtime.layer_lock("a"):
        waiter.start()
        while "waiting for another process" not in caplog.text:
            time.sleep(0.01)
    # There is no layer "a", so the file that was waited for has been removed.
    assert entered.wait(30)
    at_once, third = tried(runtime.layer_lock, "a")
    leave.set()
    assert not at_once
    for thread in (waiter, third):
        thread.join(30)
        assert not thread.is_alive()


def test_every_layer_id_can_be_locked(runtime):
    for layer in ("x" * 255, "a b", "ünï", "\udcff", ".hidden", "home.lock", "locks"):
        with runtime.layer_lock(layer), runtime.home_lock():
            pass


# --- where the state lies ---------------------------------------------------------------------------------------------


def test_state_is_of_the_real_home_whatever_it_is_called(real_tmp):
    (real_tmp / "one").mkdir()
    (real_tmp / "two").mkdir()
    os.symlink("one", real_tmp / "alias")
    names = {state_name(str(real_tmp / name)) for name in ("one", "alias", "two/../one", "one/")}
    assert len(names) == 1
    assert state_name(str(real_tmp / "two")) not in names
    assert names.pop().rsplit("-", 2)[0].endswith("one")


@pytest.mark.parametrize("path", ["", "/a b", "/" + "x" * 255 + "/y", "/ü", "/\udcff", "/-", "/.../..."])
def test_state_has_a_plain_folder_name(real_tmp, path):
    home = str(real_tmp) + path
    os.makedirs(home, exist_ok=True)
    name = state_name(home)
    assert state_name("/").startswith("root-")
    assert name.isascii()
    assert "/" not in name
    assert not name.startswith((".", "-"))
    assert len(name) < 120


def test_runtime_folders_are_private(runtime, run_root):
    before = os.umask(0)
    try:
        with runtime.layer_lock("a"):
            pass
    finally:
        os.umask(before)
    for path in trees.paths_below(run_root):
        info = os.lstat(os.path.join(run_root, path))
        assert stat.S_IMODE(info.st_mode) & 0o077 == 0, path


@pytest.mark.root
def test_somebody_else_s_runtime_folder_is_refused(home, run_root):
    folder = os.path.join(run_root, state_name(home))
    os.mkdir(folder)
    os.chown(folder, 12345, 12345)
    with pytest.raises(NotSupported, match="uid 12345") as refused, RuntimeState(home).home_lock():
        pass
    assert refused.value.path == folder
    assert "OVERLAY2_RUN_ROOT" in refused.value.remedy


def test_the_run_root_is_where_the_variable_says(monkeypatch, run_root):
    assert run_root_of(monkeypatch) == run_root
    monkeypatch.delenv("OVERLAY2_RUN_ROOT")
    if host.is_real_root():
        assert run_root_of(monkeypatch) == "/run/overlay2"


def run_root_of(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/77")
    return run_root()


# --- forks ------------------------------------------------------------------------------------------------------------


def test_a_process_forked_in_the_middle_keeps_nobody_out(driver):
    """It inherits the open files of every lock that is held just then, and may live for long."""
    children = []

    def fork():
        pid = os.fork()
        if not pid:
            time.sleep(60)
            os._exit(0)
        children.append(pid)

    content = trees.archive({"f": b"1" * 5000})
    try:
        with at_most(20):
            driver.create("new", "base", diff=trees.Meddler(content, fork))
            driver.apply_diff("new", "base", trees.Meddler(content, fork), replace=True)
            driver.apply_diff("new", "", trees.Meddler(content, fork), replace=True)
            driver.get("new")
            driver.put("new")
            driver.remove("new")
            driver.create("new")
        assert len(children) == 3
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert homes.flaws(driver.home) == []


# --- all at once ------------------------------------------------------------------------------------------------------


def _strike(home, seed, until):
    """Random calls until the time is up; removals are guarded, so that no child ever loses its parent."""
    rng = random.Random(seed)
    driver = Driver(home, ["overlay2.sync=none"])
    names = workload.LAYERS
    while time.monotonic() < until:
        layer, parent = rng.choice(names), rng.choice((*names, "base", ""))
        calls = workload.calls(driver, layer, parent, rng.randrange(6))
        calls[workload.UNGUARDED] = lambda: Driver(home)
        calls.append(lambda driver=driver: list(driver.layers()))
        with contextlib.suppress(LayerExists, LayerInUse, LayerNotEmpty, LayerNotFound):  # and nothing else
            rng.choice(calls)()


@pytest.mark.slow
def test_many_processes_at_once_neither_wait_for_ever_nor_break_anything(driver, run_root):
    until = time.monotonic() + SECONDS
    pids = []
    for seed in range(6):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                _strike(driver.home, seed, until)
                status = 0
            finally:
                if status:
                    sys.excepthook(*sys.exc_info())
                os._exit(status)
        pids.append(pid)
    statuses = []
    try:
        with at_most(int(SECONDS) + 60):
            while pids:
                statuses.append(os.waitpid(pids[0], 0)[1])
                pids.pop(0)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert statuses == [0] * 6
    assert homes.flaws(driver.home) == []
    for layer in driver.layers():
        assert layer.problems == ()
        assert driver.holders(layer.id) == {}
        assert not driver.children(layer.id) or layer.committed
        if layer.id != "base":
            version = workload.version_of(os.path.join(driver.home, layer.id, "diff"))
            assert (layer.diff_id is None) == (version is None)
    assert host.mounts_below(driver.home) == []

    locks = os.path.join(run_root, state_name(driver.home), "locks")
    assert set(os.listdir(locks)) <= set(homes.layer_names(driver.home))
    left = set(homes.layer_names(driver.home)) - {"base"}
    while left:
        for layer in sorted(left):
            if not driver.children(layer):
                driver.remove(layer, guard=True)
                left.remove(layer)
    assert os.listdir(locks) in ([], ["base"])
    assert os.listdir(os.path.join(driver.home, "l")) == [homes.content_of(driver.home, "base", "link")]


def test_sweeps_and_removals_of_the_same_folders_do_not_get_in_each_other_s_way(driver):
    """New drivers sweep while layers are replaced: what was exchanged out may be deleted by both."""
    stop = threading.Event()
    failures = []

    def sweep():
        other = Driver(driver.home)
        while not stop.is_set():
            try:
                other.opened.staging.sweep()
            except BaseException as error:
                failures.append(error)

    content = workload.VERSIONS[0]
    driver.create("new", "base")
    threads = [threading.Thread(target=sweep) for _unused in range(2)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            driver.apply_diff("new", "base", io.BytesIO(content), replace=True)
            driver.create("other", "new", diff=io.BytesIO(content))
            driver.remove("other")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    driver.opened.staging.sweep()
    assert homes.flaws(driver.home) == []


def test_readers_cope_with_what_changes_under_them(driver):
    stop = threading.Event()
    failures = []

    def read():
        reader = Driver(driver.home, read_only=True)
        while not stop.is_set():
            try:
                list(reader.layers())
                reader.mounted_layers()
                reader.children("base")
                for layer in ("one", "two"):
                    with contextlib.suppress(LayerNotFound):
                        reader.layer(layer)
                        reader.get_metadata(layer)
                    reader.holders(layer)
                    reader.mounted(layer)
            except Overlay2Error:
                pass  # a part was read before it went, another after
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=read) for _unused in range(2)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            driver.create("one", "base", diff=io.BytesIO(workload.VERSIONS[5]))
            driver.create("two", "one")
            driver.get("two", holder="web")
            driver.put("two", holder="web")
            driver.remove("two")
            driver.remove("one")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
