# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Owners, and a prune, on a home that the real containers-storage and buildah made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from overlay2 import Driver, health, owners, prune
from overlay2.errors import EngineRunning
from peers import containers_storage, environment, material, need

pytestmark = [pytest.mark.root, pytest.mark.interop]


@pytest.fixture
def store():
    with containers_storage.store() as made:
        yield made


def reading(store):
    return Driver(store.home, read_only=True, probe=False)


def resolve(store):
    return owners.resolve(reading(store), grace=0)


def buildah(store, *arguments):
    """One buildah command on the store; what it prints."""
    need("buildah")
    command = ["buildah", "--root", store.root, "--runroot", store.runroot, "--storage-driver", "overlay", *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def listed(store, what):
    return json.loads(store.run(what, "--json") or b"null") or []


def truth(store):
    """Ids of the layers that containers-storage itself knows some image or container to need."""
    parents = store.layers()
    pending = [entry.get("layer") for what in ("images", "containers") for entry in listed(store, what)]
    needed = set()
    while pending:
        layer = pending.pop()
        if layer and layer not in needed:
            needed.add(layer)
            pending.append(parents.get(layer, ""))
    return needed


def assert_right(store, report):
    found = resolve(store)
    needed = truth(store)
    assert [layer for layer in needed if found.layers[layer].kind in ("unowned", "unknown")] == []
    assert found.problems == ()
    report(f"owners, containers-storage: {len(found.layers)} layers, {found.counts()}, of {len(needed)} needed 0 wrong")
    return found


def test_images_and_containers(store, real_tmp, report):
    archive = str(real_tmp / "base.tar")
    material.base_archive(archive, str(real_tmp))
    working = buildah(store, "from", "--name", "worker", "scratch")
    buildah(store, "add", working, archive, "/")
    buildah(store, "commit", working, "shop:1")
    (real_tmp / "file").write_text("new")
    buildah(store, "copy", working, str(real_tmp / "file"), "/file")
    buildah(store, "commit", working, "shop:1")  # the tag moves
    shop = buildah(store, "from", "--name", "shop", "localhost/shop:1")
    store.create("d" * 64)
    found = assert_right(store, report)
    containers = {entry["names"][0]: entry["layer"] for entry in listed(store, "containers")}
    assert found.layers[containers[shop]].names == ("shop",)
    assert found.layers[containers[shop]].state == "unmounted"
    images = {tuple(entry.get("names") or ()): entry["layer"] for entry in listed(store, "images")}
    assert set(images) == {(), ("localhost/shop:1",)}
    assert "localhost/shop:1" in found.layers[images["localhost/shop:1",]].names
    assert (found.layers[images[()]].kind, found.layers[images[()]].state) == ("image", "dangling")
    assert (found.layers["d" * 64].kind, found.layers["d" * 64].certainty) == ("unowned", "likely")
    assert owners.resolve(reading(store)).layers["d" * 64].kind == "unknown"  # so young that it may be of a pull
    assert [str(finding) for finding in health.check(reading(store), deep=True)] == []
    with store.mounted(shop):
        assert assert_right(store, report).layers[containers[shop]].state == "mounted"
        assert health.check(reading(store)) == []

    buildah(store, "rm", "shop")
    buildah(store, "rmi", "localhost/shop:1")
    assert_right(store, report)


def test_content_against_its_digest(store, real_tmp):
    archive = str(real_tmp / "base.tar")
    material.base_archive(archive, str(real_tmp))
    for name in ("good", "bad", "short"):
        store.create(_id(name))
        store.apply(_id(name), archive)
        store.run("create-image", _id(name))
    assert health.check(reading(store), deep=True) == []
    for name, length in (("bad", None), ("short", 1)):
        path = os.path.join(store.home, _id(name), "diff", "etc", "replaced")
        if length is None:
            with open(path, "r+b") as target:
                target.write(b"X")
        else:
            os.truncate(path, length)
    found = health.check(reading(store), deep=True)
    assert {(each.code, each.layer) for each in found} == {
        ("digest-mismatch", _id("bad")),
        ("digest-mismatch", _id("short")),
    }
    assert not any(each.repairable for each in found)


def test_garbage_and_its_prune(store, real_tmp, report):
    for name in ("base", "run"):
        store.create(_id(name), _id("base") if name != "base" else "")
    store.run("create-image", "--name", "shop:1", _id("base"))
    store.run("create-container", "--name", "web", "shop:1")
    records = os.path.join(store.root, "overlay-layers", "layers.json")
    shutil.copy(records, real_tmp / "backup.json")
    store.create(_id("late"))
    with store.mounted(_id("late")) as path:
        with open(os.path.join(path, "file"), "w") as target:
            target.write("x" * 1000)
    shutil.copy(real_tmp / "backup.json", records)  # as who restores a backup of what a power cut emptied

    found = assert_right(store, report)
    late = found.layers[_id("late")]
    assert (late.kind, late.certainty, late.reason) == ("unowned", "certain", "the engine has no record of it")
    planned = prune.plan(reading(store), found)
    assert [(each.layer, each.size >= 1000) for each in planned.candidates] == [(_id("late"), True)]
    assert [kept.layer for kept in planned.kept] == [_id("run")]
    with pytest.raises(EngineRunning, match="unless that is asked for"):
        prune.perform(reading(store), planned)
    with store.mounted(_id("run")):  # somebody works in the store, and the layer itself is not in use
        done = prune.perform(reading(store), planned, foreign=True)
    assert [each.layer for each in done] == [_id("late")]
    assert not os.path.exists(os.path.join(store.home, _id("late")))
    assert prune.plan(reading(store)).candidates == ()
    assert set(store.layers()) == {_id("base"), _id("run"), truth_container(store)}
    store.create(_id("late"), _id("base"))
    assert [finding.code for finding in health.check(reading(store))] == []


def test_a_process_that_works_in_the_store_is_not_disturbed(store, real_tmp):
    store.create(_id("base"))
    os.makedirs(os.path.join(store.home, _id("lost"), "diff"))
    planned = prune.plan(reading(store))
    assert [each.layer for each in planned.candidates] == [_id("lost")]
    archive, pipe = str(real_tmp / "base.tar"), str(real_tmp / "pipe")
    material.base_archive(archive, str(real_tmp))
    os.mkfifo(pipe)
    command = store.command("applydiff", "--file", pipe, _id("base"))
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as applying:
        with open(pipe, "wb") as target, open(archive, "rb") as source:
            target.write(source.read(65536))
            target.flush()
            _wait(lambda: resolve(store).running)
            with pytest.raises(EngineRunning, match="at work"):
                prune.perform(reading(store), planned, foreign=True)
            applying.send_signal(signal.SIGKILL)
    assert applying.returncode == -signal.SIGKILL
    found = resolve(store)
    assert found.running is False
    assert found.layers[_id("base")].kind == "unowned"
    assert [each.layer for each in prune.perform(reading(store), planned, foreign=True)] == [_id("lost")]


def truth_container(store):
    return listed(store, "containers")[0]["layer"]


def _id(name):
    return name.encode().hex().ljust(64, "0")


def _wait(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
