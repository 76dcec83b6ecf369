# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A process killed at any instant: the next driver finds the old state or the new, whole, and nothing else.

First every call is killed before each of its steps in turn; then many calls are killed at random instants.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import stat
import time

import pytest
from overlay2 import Driver
from overlay2.errors import Overlay2Error
from support import homes, host, steps, trees, workload

A = trees.archive({
    "etc/": None, "etc/conf": b"a" * 100, "gone": b"a", "hard": trees.hard_link("etc/conf"), "to": trees.symlink("etc"),
})  # fmt: skip
B = trees.archive({"etc/.wh..wh..opq": b"", "etc/new": b"b", ".wh.gone": b"", "usr/lib/": None})


#: Opening a home takes many steps that are much alike, and some time: one in so many is tried.
STRIDE = 4


def opened(home, sync="none"):
    """A driver; most of the time one that does not wait for the disk."""
    return Driver(home, ["overlay2.sync=" + sync])


def swept(home, driver, number):
    """What the next driver finds: now and then it is a new one, else *driver* does what a new one begins with."""
    if number % STRIDE == 0:
        return opened(home)
    driver.opened.staging.sweep()
    return driver


def state(home):
    """All that users see of a home: layers, what they are and what they hold."""
    driver = Driver(home, read_only=True, probe=False)
    facts = {}
    for layer in driver.layers():
        content = trees.content_facts(os.path.join(home, layer.id, "diff"))
        facts[layer.id] = (
            layer.parent, layer.committed, layer.read_write, layer.diff_id, layer.problems,
            {path: _lasting(fact) for path, fact in content.items()},
        )  # fmt: skip
    return facts


def _lasting(fact):
    """What does not change when the same archive is applied again: a whiteout is of the moment, as links may swap."""
    mode, uid, gid, body, mtime, _group, xattrs = fact
    return mode, uid, gid, body, None if stat.S_ISCHR(mode) else mtime, xattrs


def _remove_new(driver):
    driver.remove("new")


def _empty(driver):
    driver.remove("new")
    driver.create("new", "image")


def _filled(driver):
    driver.remove("new")
    driver.create_read_write("new", "image", diff=io.BytesIO(A))


#: name: (how the state before it is made, what is killed)
CALLS = {
    "create": (_remove_new, lambda driver: driver.create("new")),
    "create on a parent": (_remove_new, lambda driver: driver.create("new", "image")),
    "create with content": (_remove_new, lambda driver: driver.create_read_write("new", "image", diff=io.BytesIO(B))),
    "apply": (_empty, lambda driver: driver.apply_diff("new", "image", io.BytesIO(B))),
    "replace": (_filled, lambda driver: driver.apply_diff("new", "image", io.BytesIO(B), replace=True)),
    "replace through a mount": (_filled, lambda driver: driver.apply_diff("new", "", io.BytesIO(B), replace=True)),
    "remove": (_filled, lambda driver: driver.remove("new")),
    "remove while mounted": (
        lambda driver: (_filled(driver), driver.get("new", holder="web")), lambda driver: driver.remove("new"),
    ),
}  # fmt: skip


@pytest.fixture
def built(home):
    """A home with `base`, and `image` on it, which has been a parent already."""
    driver = opened(home)
    driver.create("base")
    driver.create("image", "base", diff=io.BytesIO(A))
    driver.create("sibling", "image")
    return home


@pytest.mark.parametrize("name", CALLS)
def test_a_kill_before_any_step_leaves_the_old_state_or_the_new(built, name, request):
    prepare, call = CALLS[name]
    driver = victim = opened(built)
    prepare(driver)
    before = state(built)
    total = steps.count(lambda: call(victim))
    after = state(built)
    assert before != after
    prepare(driver)
    assert state(built) == before

    seen = set()
    for number in range(1, total + 1):
        assert steps.kill_before(number, lambda: call(victim)), number
        driver = swept(built, driver, number)
        found = state(built)
        assert found in (before, after), number
        assert homes.flaws(built) == [], number
        seen.add(found == after)
        if "mounted" not in name:
            assert host.mounts_below(built) == [], number
        if found == before:
            call(driver)  # no lock is in the way, nothing that is left makes it fail
            assert state(built) == after, number
        prepare(driver)
        assert state(built) == before, number
    # A new layer shows by the last step of all, after which none is left to be killed before.
    assert seen == ({False} if "create" in name else {False, True})
    driver.put_all("new")


def test_a_child_never_shows_before_its_parent_is_committed(built):
    """The other order would let a parent be written to. A kill between the two may leave a parent committed alone."""
    driver = opened(built)

    def prepare():
        driver.remove("new")
        driver.remove("parent")
        driver.create("parent", "image")

    prepare()
    victim = opened(built, "full")
    total = steps.count(lambda: victim.create("new", "parent"))
    shown = set()
    for number in range(1, total + 1):
        prepare()
        assert steps.kill_before(number, lambda: victim.create("new", "parent"))
        driver = swept(built, driver, number)
        shown.add(driver.exists("new"))
        assert driver.layer("parent").committed or not driver.exists("new"), number
        assert homes.flaws(built) == [], number
    assert shown == {False, True}


def test_a_kill_while_a_home_is_opened_leaves_nothing(built):
    before = state(built)
    total = steps.count(lambda: opened(built))
    for number in range(1, total + 1, STRIDE):
        assert steps.kill_before(number, lambda: opened(built))
        opened(built)
        assert homes.flaws(built) == [], number
        assert host.mounts_below(built) == [], number
    assert state(built) == before


def test_a_kill_while_a_home_is_made_leaves_a_home_or_none(home):
    os.rmdir(home)
    parent = os.path.dirname(home)
    beside = set(os.listdir(parent))
    total = steps.count(lambda: opened(home))
    for number in range(1, total + 1, STRIDE):
        host.remove_tree(home)
        assert steps.kill_before(number, lambda: opened(home))
        driver = opened(home)
        driver.create("base")
        assert homes.flaws(home) == [], number
        assert host.mounts_below(parent) == [], number
        assert set(os.listdir(parent)) == beside | {"home"}, number


def test_a_kill_while_left_overs_are_swept_leaves_them_to_the_next(built):
    driver = opened(built)
    before = state(built)

    def leave_a_mount():
        steps.kill_in("unpack", lambda: driver.apply_diff("sibling", "", io.BytesIO(B)))
        assert len(host.mounts_below(built)) == 1

    without = steps.count(lambda: opened(built))
    leave_a_mount()
    total = steps.count(lambda: opened(built))
    assert total > without
    for number in range(without + 1, total + 1):
        leave_a_mount()
        assert steps.kill_before(number, lambda: opened(built)), number
        opened(built)
        assert homes.flaws(built) == [], number
        assert host.mounts_below(built) == [], number
    assert state(built) == before


@pytest.mark.parametrize("call", ["get", "put", "put_all"])
def test_a_kill_of_a_mount_leaves_what_the_kernel_and_the_next_call_agree_on(built, call):
    driver = opened(built)

    act = {
        "get": lambda: driver.get("sibling", holder="web"),
        "put": lambda: driver.put("sibling", holder="web"),
        "put_all": lambda: driver.put_all("sibling"),
    }[call]

    def prepare():
        driver.put_all("sibling")
        if call != "get":
            driver.get("sibling", holder="web")

    prepare()
    total = steps.count(act)
    seen = set()
    for number in range(1, total + 1):
        prepare()
        assert steps.kill_before(number, act)
        mine = swept(built, driver, number)
        held, mounted = mine.holders("sibling"), mine.mounted("sibling")
        assert held in ({}, {"web": 1}), number
        assert mounted or not held, number
        seen.add((bool(held), mounted))
        if mounted and not held:
            mine.put("sibling")  # a left-over mount is no reference, and the anonymous put takes it away
            assert not mine.mounted("sibling"), number
        path = mine.get("sibling", holder="two")
        assert mine.holders("sibling") == {**held, "two": 1}, number
        assert os.path.isfile(path + "/etc/conf")
        mine.put_all("sibling")
        assert host.mounts_below(built) == [], number
    assert {(False, False), (True, True)} & seen


# --- at random --------------------------------------------------------------------------------------------------------


def _work(home, seed, progress):
    """Calls without end; a byte is written to *progress* for each."""
    rng = random.Random(seed)
    driver = opened(home, rng.choice(("full", "none", "none")))
    while True:
        os.write(progress, b".")
        call = workload.random_call(rng, driver) if rng.random() < 0.95 else lambda: Driver(home)
        with contextlib.suppress(Overlay2Error):  # it exists, is missing, is not empty
            call()


@pytest.mark.parametrize("seed", range(2))
def test_a_kill_at_any_instant_leaves_layers_whole(built, seed):
    rng = random.Random(seed)
    seen = set()
    for _round in range(30):
        read_end, write_end = os.pipe()
        child_seed = rng.random()
        pid = os.fork()
        if not pid:
            try:
                _work(built, child_seed, write_end)
            finally:
                os._exit(1)
        os.close(write_end)
        for _call in range(rng.randrange(1, 12)):
            os.read(read_end, 1)
        time.sleep(rng.uniform(0, 0.008))
        os.kill(pid, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        os.close(read_end)

        driver = Driver(built)
        assert homes.flaws(built) == []
        for layer in driver.layers():
            assert layer.problems == ()
            if layer.id in workload.LAYERS:
                version = workload.version_of(os.path.join(built, layer.id, "diff"))
                seen.add(version)
                assert (layer.diff_id is None) == (version is None)
                driver.put_all(layer.id)
        assert host.mounts_below(built) == []
    assert len(seen) > 3
