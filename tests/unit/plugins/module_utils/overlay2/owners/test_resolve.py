# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Owners on homes made by hand: who, with what evidence, how sure, and what is unknown rather than unowned."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import threading

import pytest
from overlay2 import Driver, owners
from support import boltfile, engines
from support.locking import locked

#: linux/sched.h, linux/mount.h
CLONE_NEWNS, CLONE_FS = 0x20000, 0x200
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def resolve(made, **options):
    return owners.resolve(Driver(made.home, read_only=True, probe=False), **options)


def kinds(made, **options):
    """Layer, as tests call it, to the kind of its ownership."""
    report = resolve(made, **options)
    return {name: report.layers[id].kind for name, id in made.ids.items()}


@pytest.fixture
def docker(real_tmp):
    return engines.dockerd(str(real_tmp))


@pytest.fixture
def containers(real_tmp):
    return engines.containers_storage(str(real_tmp))


# --- dockerd ----------------------------------------------------------------------------------------------------------


def test_names_and_states(docker):
    report = resolve(docker)
    run, base = report.layers[docker.ids["run"]], report.layers[docker.ids["base"]]
    assert (run.names, run.state, run.owners[0].direct) == (("shop",), "exited", True)
    assert (base.names, base.owners[0].direct) == (("shop", "web:1"), False)
    assert report.layers[docker.ids["solo"]].names == ("tool:2",)
    assert report.layers[docker.ids["cache"]].names == ("COPY busybox /bin/busybox",)
    assert report.counts()["unowned"] == 3
    assert report.running is False


def test_evidence_names_file_and_field(docker):
    owner = resolve(docker).layers[docker.ids["run"]].owners[0]
    config = os.path.realpath(docker.beside("containers", docker.container, "config.v2.json"))
    assert [str(each) for each in owner.evidence[:2]] == [config + ": Name", config + ": State"]
    for ownership in resolve(docker).layers.values():
        assert ownership.evidence
        for evidence in ownership.evidence:
            assert os.path.exists(evidence.path) or ownership.kind == "unowned"


def test_all_garbage_is_certain_and_says_why(docker):
    reasons = {docker_id: each.reason for docker_id, each in resolve(docker).layers.items() if each.kind == "unowned"}
    assert "no image, container or build cache" in reasons[docker.ids["orphan"]]
    assert "no record" in reasons[docker.ids["lost"]]
    assert "does not exist" in reasons[docker.ids["gone-init"]]
    assert {each.certainty for each in resolve(docker).unowned()} == {"certain"}


@pytest.mark.parametrize(
    ("record", "unknown"),
    [
        (("image", "overlay2", "layerdb", "sha256", "orphan", "cache-id"), {"orphan", "lost"}),
        (("image", "overlay2", "imagedb", "content", "sha256", "web"), {"orphan"}),
        (("image", "overlay2", "layerdb", "mounts", "gone", "mount-id"), {"gone-init", "lost"}),
        (("buildkit", "snapshots.db"), {"cache", "step", "lost", "orphan", "gone-init"}),
    ],
)
def test_an_unreadable_record_makes_unknown_not_unowned(docker, record, unknown):
    names = {"orphan": os.path.basename(docker.chains["orphan"]), "gone": engines.digest("gone")}
    path = docker.beside(*(names.get(part, part) for part in record[:-1]))
    if record[-1] == "web":
        path = os.path.join(path, os.listdir(docker.images)[0])
    else:
        path = os.path.join(path, record[-1])
    with open(path, "w") as target:
        target.write("")
    found = kinds(docker)
    assert {name for name, kind in found.items() if kind == "unknown"} >= unknown - {"cache", "step"} & set(found)
    truth = {name: docker.truth[id] for name, id in docker.ids.items()}
    assert not {name for name, kind in found.items() if kind == "unowned" and truth[name] != "unowned"}
    assert not unknown & {name for name, kind in found.items() if kind == "unowned"}
    assert resolve(docker).problems


@pytest.mark.parametrize("name", ["mount-id", "init-id", "parent"])
@pytest.mark.parametrize("text", ["", "\0" * 64])
def test_a_container_of_an_image_that_is_gone(docker, name, text):
    """Nothing but the container's own record, which is damaged, tells who needs the layers."""
    shutil.rmtree(docker.images)
    os.mkdir(docker.images)
    with open(docker.beside("image", "overlay2", "layerdb", "mounts", docker.container, name), "w") as target:
        target.write(text)
    found = kinds(docker)
    assert "unowned" not in {found[layer] for layer in ("base", "middle", "init", "run")}


@pytest.mark.parametrize("name", ["cache-id", "parent"])
def test_a_chain_that_is_broken_in_the_records_and_in_the_home(docker, name):
    with open(os.path.join(docker.chains["middle"], name), "w") as target:
        target.write("")
    for layer in ("run", "init", "middle"):
        os.unlink(docker.path(layer, "lower"))
    found = kinds(docker)
    assert "unowned" not in {found[layer] for layer in ("base", "middle", "init", "run")}


def test_a_layer_being_removed_is_garbage_once_the_engine_is_dead(docker):
    folder = docker.chains["solo"]
    os.rename(folder, folder + "-" + "0" * 64 + "-removing")
    shutil.rmtree(docker.images)  # the image went first
    found = resolve(docker).layers[docker.ids["solo"]]
    assert (found.kind, found.certainty) == ("unowned", "certain")
    assert "removing" in found.reason


def test_a_running_engine_may_be_making_what_is_young(docker):
    with locked(docker.beside("volumes", "metadata.db")):
        report = resolve(docker)
        assert report.running is True
        assert report.counts()["unowned"] == 0
        assert report.layers[docker.ids["lost"]].kind == "unknown"
        for name in ("lost", "orphan", "gone-init"):
            os.utime(docker.path(name, "link"), (1e9, 1e9))
        assert {each.certainty for each in resolve(docker).unowned()} == {"likely"}
        assert resolve(docker).counts()["unowned"] == 3


def test_a_running_engine_may_be_building_on_what_was_left_over(docker):
    with locked(docker.beside("volumes", "metadata.db")):
        for name in ("lost", "orphan", "gone-init"):
            os.utime(docker.path(name, "link"), (1e9, 1e9))
        with open(docker.path("lost", "lower"), "w") as target:
            target.write("l/" + docker.link("orphan"))
        assert kinds(docker)["orphan"] == "unowned"
        os.utime(docker.path("lost", "link"))
        found = kinds(docker)
    assert (found["lost"], found["orphan"], found["gone-init"]) == ("unknown", "unknown", "unowned")


def test_an_engine_without_databases_can_not_be_told_to_be_stopped(docker):
    shutil.rmtree(docker.beside("buildkit"))
    os.unlink(docker.beside("volumes", "metadata.db"))
    report = resolve(docker)
    assert report.running is None
    assert {each.certainty for each in report.unowned()} == {"likely"}


def test_a_container_on_record_as_running_that_is_not_mounted_was_cut_off(docker):
    path = docker.beside("containers", docker.container, "config.v2.json")
    with open(path) as source:
        config = json.load(source)
    config["State"]["Running"] = True
    with open(path, "w") as target:
        json.dump(config, target)
    assert resolve(docker).layers[docker.ids["run"]].state == "exited"
    if os.geteuid() == 0:
        driver = Driver(docker.home)
        driver.get(docker.ids["run"])
        assert resolve(docker).layers[docker.ids["run"]].state == "running"
        driver.put(docker.ids["run"])


def test_a_build_step_without_its_folder_is_missing(docker):
    engines.build_cache(docker, **{"x" * 25: {b"parent": b""}})
    assert list(resolve(docker).missing) == ["x" * 25]


def test_records_of_two_engines_make_nothing_garbage(docker):
    """As where Podman was given dockerd's data root."""
    os.mkdir(docker.beside("overlay2-layers"))
    found = kinds(docker)
    assert (found["lost"], found["orphan"]) == ("unknown", "unknown")


def test_unknown_layers_keep_what_they_stand_on(docker):
    with open(docker.path("lost", "strata.json"), "w") as target:
        target.write("no record of ours")
    with open(docker.path("lost", "lower"), "w") as target:
        target.write("l/" + docker.link("orphan"))
    found = kinds(docker)
    assert (found["lost"], found["orphan"]) == ("unknown", "unknown")


# --- containers/storage -----------------------------------------------------------------------------------------------


def test_containers_storage_garbage(containers):
    report = resolve(containers)
    assert report.layers[containers.ids["lost"]].certainty == "certain"
    orphan = report.layers[containers.ids["orphan"]]
    assert (orphan.kind, orphan.certainty) == ("unowned", "likely")
    assert report.layers[containers.ids["named"]].names == ("kept",)


def test_a_young_layer_may_be_of_a_pull(containers):
    assert kinds(containers, grace=10 * 24 * 3600)["orphan"] == "unknown"
    assert kinds(containers, grace=24 * 3600)["orphan"] == "unowned"


@pytest.mark.parametrize("what", ["layers", "images", "containers"])
def test_an_unreadable_file_of_containers_storage(containers, what):
    path = containers.beside("overlay-" + what, what + ".json")
    with open(path, "w") as target:
        target.write("[{")
    found = kinds(containers)
    assert found["orphan"] == "unknown"
    if what == "layers":
        assert found["lost"] == "unknown"
    truth = {name: containers.truth[id] for name, id in containers.ids.items()}
    assert "unowned" not in {kind for name, kind in found.items() if truth[name] != "unowned"}


def test_volatile_files_count(containers):
    entry = {"id": containers.ids["lost"], "created": "2020-01-01T00:00:00Z"}
    with open(containers.beside("overlay-layers", "volatile-layers.json"), "w") as target:
        json.dump([entry], target)
    with open(containers.beside("overlay-containers", "volatile-containers.json"), "w") as target:
        json.dump([{"id": "v", "layer": entry["id"], "metadata": '{"name": "short-lived"}'}], target)
    found = resolve(containers).layers[entry["id"]]
    assert (found.kind, found.names) == ("container", ("short-lived",))


def test_a_lock_that_is_held_makes_new_folders_unknown(containers):
    with locked(containers.beside("overlay-layers", "layers.lock"), "lockf"):
        report = resolve(containers)
    assert report.running is True
    assert report.layers[containers.ids["lost"]].kind == "unknown"


# --- what the kernel has in use ---------------------------------------------------------------------------------------


@pytest.mark.root
def test_an_overlay_of_somebody_elses(docker, real_tmp):
    target = real_tmp / "target"
    target.mkdir()
    link = docker.link("orphan")
    options = f"lowerdir={docker.home}/l/{link}:{docker.path('lost', 'diff')}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(target)], check=True)
    report = resolve(docker)
    assert {name: report.layers[docker.ids[name]].kind for name in ("orphan", "lost")} == {
        "orphan": "mount",
        "lost": "mount",
    }
    assert report.layers[docker.ids["lost"]].names == (str(target),)
    subprocess.run(["umount", str(target)], check=True)
    assert resolve(docker).layers[docker.ids["lost"]].kind == "unowned"


@pytest.mark.root
def test_a_bind_mount_of_a_layers_folder(docker, real_tmp):
    target = real_tmp / "target"
    target.mkdir()
    subprocess.run(["mount", "--bind", docker.path("lost", "diff"), str(target)], check=True)
    assert resolve(docker).layers[docker.ids["lost"]].kind == "mount"


@pytest.mark.root
def test_a_mount_in_another_mount_namespace(docker, real_tmp, spawn):
    target = real_tmp / "target"
    target.mkdir()
    script = f"mount -t overlay overlay -o lowerdir=lost/diff:orphan/diff {target} && echo up && exec sleep 100"
    script = script.replace("lost", docker.ids["lost"]).replace("orphan", docker.ids["orphan"])
    process = spawn(["unshare", "-m", "sh", "-c", f"cd {docker.home} && {script}"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    report = resolve(docker)
    assert {report.layers[docker.ids[name]].kind for name in ("lost", "orphan")} == {"mount"}
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.root
def test_a_mount_namespace_of_a_single_thread(docker, real_tmp):
    """As dockerd's, which unpacks an archive in a thread that has a mount namespace of its own."""
    target = real_tmp / "target"
    target.mkdir()
    mounted, looked = threading.Event(), threading.Event()

    def other():
        assert libc.unshare(CLONE_NEWNS | CLONE_FS) == 0
        for arguments in ((None, b"/", None, MS_REC | MS_PRIVATE), (lost, os.fsencode(target), None, MS_BIND)):
            assert libc.mount(*arguments, None) == 0
        mounted.set()
        looked.wait(20)

    libc, lost = ctypes.CDLL(None, use_errno=True), os.fsencode(docker.path("lost", "diff"))
    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert mounted.wait(20)
        assert resolve(docker).layers[docker.ids["lost"]].kind == "mount"
    finally:
        looked.set()
        thread.join()
    assert resolve(docker).layers[docker.ids["lost"]].kind == "unowned"


@pytest.mark.root
def test_a_mount_namespace_that_no_process_is_in(docker, real_tmp):
    """Nobody can tell what is mounted there, so nothing is certain."""
    (real_tmp / "kept").mkdir()
    place = real_tmp / "kept" / "mnt"
    place.touch()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(real_tmp / "kept")], check=True)
    subprocess.run(["mount", "--make-private", str(real_tmp / "kept")], check=True)
    place.touch()
    subprocess.run(["unshare", f"--mount={place}", "true"], check=True)
    report = resolve(docker)
    assert [problem.path for problem in report.unseen] == [str(place)]
    assert {ownership.certainty for ownership in report.unowned()} == {"likely"}
    subprocess.run(["umount", str(place)], check=True)
    assert {ownership.certainty for ownership in resolve(docker).unowned()} == {"certain"}


# --- this project's own -----------------------------------------------------------------------------------------------


def test_our_own_layers_are_never_unowned(real_tmp):
    made = engines.overlay2(str(real_tmp))
    driver = Driver(made.home)
    driver.get("solo", holder="shop")
    report = resolve(made)
    assert set(kinds(made).values()) == {"layer"}
    assert report.layers["solo"].names == ("shop",)
    assert (report.layers["run"].state, report.layers["base"].owners[0].direct) == ("read-write", True)
    os.unlink(made.path("run", "strata.json"))
    found = resolve(made).layers["run"]
    assert (found.kind, found.certainty) == ("unknown", "none")


def test_a_home_of_nobody_knows_nothing(real_tmp):
    made = engines.dockerd(str(real_tmp))
    shutil.rmtree(made.beside("image"))
    report = resolve(made)
    assert (report.engine, set(kinds(made).values())) == ("", {"unknown"})


def test_a_snapshot_that_nothing_describes_is_build_cache_all_the_same(docker):
    boltfile.write(docker.beside("buildkit", "snapshots.db"), {docker.ids["lost"].encode(): {b"parent": b""}})
    assert kinds(docker)["lost"] == "build-cache"


def test_a_record_of_a_local_image_that_was_never_prepared_needs_no_directory(docker):
    """As BuildKit writes for ``FROM`` of a local image: a name for a layer of the image store."""
    chain = os.listdir(docker.beside("image", "overlay2", "layerdb", "sha256"))[0]
    records = {b"named": {b"chainid": b"sha256:" + chain.encode()}, b"prepared": {b"parent": b""}}
    boltfile.write(docker.beside("buildkit", "snapshots.db"), records)
    assert set(resolve(docker).missing) == {"prepared"}
