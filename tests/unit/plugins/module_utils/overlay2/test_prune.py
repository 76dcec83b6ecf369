# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Pruning homes made by hand: only garbage, only under the locks, its records with it."""

from __future__ import annotations

import os
import subprocess

import pytest
from overlay2 import Driver, health, owners, prune
from overlay2.errors import EngineRunning
from support import engines, steps
from support.locking import locked


def reading(made):
    return Driver(made.home, read_only=True, probe=False)


@pytest.fixture
def docker(real_tmp):
    return engines.dockerd(str(real_tmp))


@pytest.fixture
def containers(real_tmp):
    return engines.containers_storage(str(real_tmp))


def names(made, listed):
    back = {id: name for name, id in made.ids.items()}
    return [back[each.layer] for each in listed]


def everything(folder):
    return sorted(os.path.join(at, name) for at, folders, files in os.walk(folder) for name in folders + files)


def test_a_plan_lists_garbage_with_sizes_and_changes_nothing(docker):
    before = everything(docker.root)
    planned = prune.plan(reading(docker))
    assert sorted(names(docker, planned.candidates)) == ["gone-init", "lost", "orphan"]
    assert planned.candidates[0].layer == docker.ids["orphan"]  # the one that stands on another goes first
    assert planned.size == sum(each.size for each in planned.candidates) > 0
    assert planned.kept == ()
    assert all(each.reason and each.evidence for each in planned.candidates)
    assert everything(docker.root) == before
    assert prune.plan(reading(docker), sizes=False).candidates[0].size is None


def test_another_engines_home_is_refused_unless_it_is_asked_for(docker, containers):
    for made in (docker, containers):
        before = everything(made.root)
        with pytest.raises(EngineRunning, match="unless that is asked for"):
            prune.perform(reading(made), prune.plan(reading(made)))
        assert everything(made.root) == before


def test_garbage_goes_with_its_records_and_nothing_else(docker):
    before = everything(docker.root)
    removed = [docker.path(name) for name in ("orphan", "lost", "gone-init")]
    removed += [os.path.join(docker.home, "l", docker.link(name)) for name in ("orphan", "lost", "gone-init")]
    removed.append(docker.chains["orphan"])
    removed.append(docker.beside("image", "overlay2", "layerdb", "mounts", engines.digest("gone")))
    planned = prune.plan(reading(docker))
    assert prune.perform(reading(docker), planned, foreign=True) == list(planned.candidates)
    left = [path for path in before if not any(path == each or path.startswith(each + "/") for each in removed)]
    assert everything(docker.root) == left
    assert health.check(reading(docker)) == []
    assert prune.perform(reading(docker), prune.plan(reading(docker)), foreign=True) == []


def test_an_engine_at_work_is_refused(docker, containers):
    for made, path, how in (
        (docker, docker.beside("buildkit", "snapshots.db"), "flock"),
        (containers, containers.beside("overlay-images", "images.lock"), "lockf"),
    ):
        planned = prune.plan(reading(made))
        before = everything(made.root)
        with locked(path, how), pytest.raises(EngineRunning, match="at work"):
            prune.perform(reading(made), planned, foreign=True)
        assert everything(made.root) == before


def test_an_engine_that_can_not_be_told_to_be_stopped_is_refused(docker):
    planned = prune.plan(reading(docker))
    for path in (("buildkit", "snapshots.db"), ("buildkit", "metadata_v2.db"), ("volumes", "metadata.db")):
        os.unlink(docker.beside(*path))
    assert prune.plan(reading(docker)).candidates == ()
    with pytest.raises(EngineRunning, match="none of its lock files was found"):
        prune.perform(reading(docker), planned, foreign=True)


def test_what_got_an_owner_since_the_plan_stays(docker):
    planned = prune.plan(reading(docker))
    engines.build_cache(docker, **{docker.ids["lost"]: {b"parent": b""}})
    done = prune.perform(reading(docker), planned, foreign=True)
    assert sorted(names(docker, done)) == ["gone-init", "orphan"]
    assert os.path.isdir(docker.path("lost", "diff"))


@pytest.mark.root
def test_what_is_mounted_since_the_plan_stays(docker, real_tmp):
    planned = prune.plan(reading(docker))
    (real_tmp / "target").mkdir()
    options = f"lowerdir={docker.path('lost', 'diff')}:{docker.path('gone-init', 'diff')}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(real_tmp / "target")], check=True)
    assert names(docker, prune.perform(reading(docker), planned, foreign=True)) == ["orphan"]
    assert os.listdir(docker.path("lost", "diff"))


@pytest.mark.root
def test_a_mount_namespace_that_comes_up_meanwhile_and_can_not_be_seen(docker, real_tmp):
    """Nobody can tell what is mounted there: what was certain before the locks were taken no longer is."""
    keeper = real_tmp / "kept"
    keeper.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(keeper)], check=True)
    subprocess.run(["mount", "--make-private", str(keeper)], check=True)
    (keeper / "mnt").touch()

    def unshare():
        subprocess.run(["unshare", f"--mount={keeper / 'mnt'}", "true"], check=True)

    planned = prune.plan(reading(docker))
    with steps.Once("layer_lock", unshare) as once:
        assert prune.perform(reading(docker), planned, foreign=True) == []
    assert once.happened
    subprocess.run(["umount", str(keeper / "mnt")], check=True)
    assert prune.perform(reading(docker), planned, foreign=True) == list(planned.candidates)


def test_the_record_of_a_container_stays_with_a_layer_of_its(docker):
    mounts = docker.beside("image", "overlay2", "layerdb", "mounts", engines.digest("gone"))
    with open(os.path.join(mounts, "init-id"), "w") as target:
        target.write(docker.ids["lost"])
    planned = prune.plan(reading(docker))
    one = planned._replace(candidates=tuple(c for c in planned.candidates if c.layer == docker.ids["gone-init"]))
    prune.perform(reading(docker), one, foreign=True)
    assert os.path.isdir(mounts)
    prune.perform(reading(docker), prune.plan(reading(docker)), foreign=True)
    assert not os.path.exists(mounts)


def test_a_layer_stays_as_long_as_another_stands_on_it(docker):
    with open(docker.path("lost", "lower"), "w") as target:
        target.write(f"l/{docker.link('orphan')}:l/{docker.link('base')}")
    os.mkdir(docker.path("lost", "work"))
    planned = prune.plan(reading(docker))
    assert names(docker, planned.candidates)[:2] == ["lost", "orphan"]
    one = planned._replace(candidates=planned.candidates[1:2])
    assert prune.perform(reading(docker), one, foreign=True) == []
    assert prune.perform(reading(docker), planned, foreign=True) == list(planned.candidates)


def test_a_layer_that_dockerd_was_removing_is_finished(docker):
    folder = docker.chains["orphan"]
    os.rename(folder, folder + "-" + "0" * 64 + "-removing")
    prune.perform(reading(docker), prune.plan(reading(docker)), foreign=True)
    assert not [name for name in os.listdir(os.path.dirname(folder)) if "removing" in name]
    assert not os.path.exists(docker.path("solo") + "x")
    assert resolve_kinds(docker) == {"container", "image", "build-cache"}


def test_of_containers_storage_only_what_has_no_record(containers):
    planned = prune.plan(reading(containers))
    assert names(containers, planned.candidates) == ["lost"]
    assert names(containers, planned.kept) == ["orphan"]
    prune.perform(reading(containers), planned, foreign=True)
    assert os.path.isdir(containers.path("orphan"))
    assert not os.path.exists(containers.path("lost"))


def test_nothing_of_our_own_is_garbage(real_tmp):
    made = engines.overlay2(str(real_tmp))
    planned = prune.plan(reading(made))
    assert planned == prune.Plan((), (), "overlay2")
    assert prune.perform(reading(made), planned) == []


def resolve_kinds(made):
    return {ownership.kind for ownership in owners.resolve(reading(made)).layers.values()}
