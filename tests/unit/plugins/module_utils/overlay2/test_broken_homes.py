# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Each kind of damage, on each engine's home: found, typed, mended only where that is proven, nothing made worse."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys

import pytest
from corpus.broken import DAMAGES
from overlay2 import Driver, health, owners, repair
from overlay2.errors import MountError, Overlay2Error
from support import engines, host
from support.locking import locked

CASES = [pytest.param(kind, damage, id=f"{damage.name}-{kind}") for damage in DAMAGES for kind in damage.kinds]


def run(*command):
    subprocess.run(command, check=True)


def reading(made):
    return Driver(made.home, read_only=True, probe=False)


def content(made):
    """All files that layers hold themselves: path to content, or to where a link leads."""
    found = {}
    for id in os.listdir(made.home):
        for folder, _folders, files in os.walk(os.path.join(made.home, id, "diff")):
            for name in files:
                path = os.path.join(folder, name)
                with open(path, "rb") as source:
                    found[path] = source.read()
    return found


def mountable(made):
    """Ids of the layers that can be mounted, with what shows in them (dict)."""
    driver = Driver(made.home)
    found = {}
    for id in made.truth:
        try:
            path = driver.get(id)
        except (Overlay2Error, OSError):
            continue
        try:
            found[id] = sorted(os.listdir(path))
        finally:
            driver.put(id)
    return found


@pytest.fixture(params=sorted(engines.MAKERS))
def healthy(request, real_tmp):
    return engines.MAKERS[request.param](str(real_tmp))


def test_a_healthy_home_has_no_findings(healthy):
    assert [str(finding) for finding in health.check(reading(healthy))] == []
    assert repair.plan(reading(healthy)) == []


def test_owners_of_a_healthy_home(healthy):
    report = owners.resolve(reading(healthy))
    assert {layer: ownership.kind for layer, ownership in report.layers.items()} == healthy.truth
    assert report.engine == healthy.kind
    assert not report.problems


def test_there_are_damages_enough():
    assert len({damage.name for damage in DAMAGES}) >= 30
    assert {damage.code for damage in DAMAGES} <= set(health.CODES)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "damage"), CASES)
def test_damage(kind, damage, real_tmp):
    if damage.root and not host.is_real_root():
        pytest.skip("needs real root")
    made = engines.MAKERS[kind](str(real_tmp))
    damage.do(made)
    driver = reading(made)
    found = health.check(driver, deep=damage.deep)
    wanted = [f for f in found if f.code == damage.code and (not damage.layer or f.layer == made.ids[damage.layer])]
    assert wanted, [str(finding) for finding in found]
    assert any(finding.repairable for finding in wanted) == damage.repairable
    for finding in found:
        assert finding.evidence
        assert finding.remedy
        assert finding.path
    assert_no_owner_is_lost(made, driver)

    before = content(made)
    planned = repair.plan(driver)
    assert repair.plan(driver) == planned  # a plan changes nothing
    done = repair.perform(driver, planned)
    assert done == planned
    after = health.check(driver, deep=damage.deep)
    assert repair.plan(driver) == []
    assert repair.perform(driver, repair.plan(driver)) == []
    known = {(f.code, f.layer) for f in found}
    assert {(f.code, f.layer) for f in after} <= known  # nothing got worse
    if damage.repairable:
        assert not [f for f in after if f.code == damage.code and f.layer in {w.layer for w in wanted if w.repairable}]
    assert content(made) == before
    assert_no_owner_is_lost(made, driver)


def assert_no_owner_is_lost(made, driver):
    report = owners.resolve(driver)
    wrong = {
        layer: ownership
        for layer, ownership in report.layers.items()
        if ownership.kind == "unowned" and made.truth.get(layer) != "unowned"
    }
    assert wrong == {}


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "damage"), [case for case in CASES if case.values[1].repairable])
def test_repair_leaves_every_layer_mountable(kind, damage, real_tmp):
    made = engines.MAKERS[kind](str(real_tmp / "healthy"))
    whole = mountable(made)
    assert set(whole) == set(made.truth)
    made = engines.MAKERS[kind](str(real_tmp / "broken"))
    damage.do(made)
    repair.perform(reading(made), repair.plan(reading(made)))
    assert mountable(made) == {id: names for id, names in whole.items() if os.path.isdir(os.path.join(made.home, id))}


def facts(folder):
    """Owner and mode of a folder and all in it: path to (uid, gid, mode)."""
    paths = [folder] + [os.path.join(at, name) for at, dirs, files in os.walk(folder) for name in dirs + files]
    return {path: os.lstat(path)[:1] + os.lstat(path)[4:6] for path in paths}


def in_layers_json(made):
    """As containers/storage writes it of a layer; in a store of a user's, host ids are those of a user namespace."""
    add_field(made.beside("overlay-layers", "layers.json"), made.ids["run"], "uidmap", [MAPPED])


def in_containers_json(made):
    add_field(made.beside("overlay-containers", "containers.json"), engines.digest("container"), "gidmap", [MAPPED])


def add_field(path, id, key, value):
    with open(path) as source:
        records = json.load(source)
    next(each for each in records if each["id"] == id)[key] = value
    with open(path, "w") as target:
        json.dump(records, target)


MAPPED = {"container_id": 0, "host_id": 1, "size": 65536}


@pytest.mark.root
@pytest.mark.parametrize("given", [("",), ("", "diff", "work", "merged")])
@pytest.mark.parametrize("note", [in_layers_json, in_containers_json])
def test_a_layer_of_a_user_namespace_stays_its(real_tmp, given, note):
    """containers/storage gives the folder to the mapped root, and what is in it as the layer below has it."""
    made = engines.containers_storage(str(real_tmp))
    for name in given:
        os.chown(made.path("run", name), 100000, 100000)
    note(made)
    before = facts(made.home)
    assert [str(finding) for finding in health.check(reading(made))] == []
    assert repair.perform(reading(made), repair.plan(reading(made))) == []
    assert facts(made.home) == before


@pytest.mark.root
def test_a_layer_of_a_remapped_dockerd_stays_its(real_tmp):
    """dockerd before 23 gave the folder away too, later ones only what is in it."""
    made = engines.dockerd(str(real_tmp))
    for layer, given in (("run", ("", "diff", "work")), ("solo", ("diff",))):
        for name in given:
            os.chown(made.path(layer, name), 100000, 100000)
    assert [str(finding) for finding in health.check(reading(made))] == []


def test_rights_that_a_shared_store_needs_stay(real_tmp):
    made = engines.containers_storage(str(real_tmp))
    for path, mode in ((made.home, 0o757), (os.path.join(made.home, "l"), 0o775), (made.path("base"), 0o755)):
        os.chmod(path, mode)
    repair.perform(reading(made), repair.plan(reading(made)))
    paths = (made.home, os.path.join(made.home, "l"), made.path("base"))
    assert [os.stat(path).st_mode & 0o7777 for path in paths] == [0o755] * 3


@pytest.mark.parametrize("name", ["staging", "tempdirs"])
@pytest.mark.parametrize("content", ["", "temp-dir-1/0-diff"])
def test_folders_that_containers_storage_keeps_in_its_home_are_no_layers(real_tmp, name, content):
    made = engines.containers_storage(str(real_tmp))
    os.makedirs(os.path.join(made.home, name, content))
    assert [str(finding) for finding in health.check(reading(made))] == []
    assert name not in owners.resolve(reading(made)).layers


@pytest.mark.root
def test_left_overs_are_found_from_inside_a_container(real_tmp):
    """Where the locks of processes outside are not listed, and hold all the same."""
    made = engines.overlay2(str(real_tmp))
    left, worked_on = (os.path.join(made.home, ".staging", name) for name in ("0" * 16, "1" * 16))
    for path in (left, worked_on):
        os.makedirs(path)
    code = "import sys; from overlay2 import Driver, health; print(*[f.path for f in health.check(Driver(sys.argv[1],"
    code += " read_only=True, probe=False)) if f.code == 'staging-leftover'])"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code, made.home]
    with locked(worked_on):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [left]


def a_pipe(path):
    os.mkfifo(path)


def a_link_to_a_device(path):
    os.symlink("/dev/zero", path)


def a_device(path):
    os.mknod(path, 0o20600, os.makedev(1, 5))


SPECIAL = [a_pipe, a_link_to_a_device, pytest.param(a_device, marks=pytest.mark.root)]


@pytest.mark.time_limit(20)
@pytest.mark.parametrize("name", ["link", "lower", "strata.json"])
@pytest.mark.parametrize("make", SPECIAL)
def test_a_special_file_in_place_of_a_layers_own_is_not_read_without_end(real_tmp, make, name):
    if make is a_device and not host.is_real_root():
        pytest.skip("needs real root")
    made = engines.overlay2(str(real_tmp))
    os.unlink(made.path("middle", name))
    make(made.path("middle", name))
    found = health.check(reading(made))
    assert made.ids["middle"] in {finding.layer for finding in found}
    assert not [finding for finding in found if finding.step is not None and finding.path == made.path("middle", name)]
    assert_no_owner_is_lost(made, reading(made))


@pytest.mark.time_limit(20)
@pytest.mark.parametrize("make", SPECIAL)
def test_a_special_file_in_place_of_an_engines_record_is_not_read_without_end(real_tmp, make):
    if make is a_device and not host.is_real_root():
        pytest.skip("needs real root")
    docker, containers = engines.dockerd(str(real_tmp)), engines.containers_storage(str(real_tmp))
    for made, path in (
        (docker, os.path.join(docker.chains["middle"], "cache-id")),
        (docker, os.path.join(docker.images, sorted(os.listdir(docker.images))[0])),
        (docker, docker.beside("buildkit", "snapshots.db")),
        (containers, containers.beside("overlay-layers", "layers.json")),
    ):
        os.unlink(path)
        make(path)
        report = owners.resolve(reading(made))
        assert path in {problem.path for problem in report.problems}
        assert_no_owner_is_lost(made, reading(made))


@pytest.mark.root
def test_a_stale_holder_is_dropped(real_tmp):
    made = engines.overlay2(str(real_tmp))
    driver = Driver(made.home)
    path = driver.get("run", holder="shop")
    assert health.check(driver) == []
    host.unmount_below(path)
    found = health.check(driver)
    assert sorted(finding.code for finding in found) == ["holder-stale", "merged-leftover"]
    repair.perform(driver, repair.plan(driver, found))
    assert health.check(driver) == []
    assert driver.recorded_holders() == {}


@pytest.mark.root
def test_a_merged_folder_that_another_mount_namespace_uses_is_left_alone(real_tmp, spawn):
    """rmdir(2) of a mount point unmounts it in all other namespaces."""
    made = engines.dockerd(str(real_tmp))
    os.mkdir(made.path("run", "merged"), 0o700)
    planned = repair.plan(reading(made))
    assert [step.code for step in planned] == ["merged-leftover"]
    run, options = made.path("run"), f"lowerdir={made.path('init', 'diff')},upperdir=diff,workdir=work"
    script = f"cd {run} && mount -t overlay overlay -o {options} {run}/merged && echo up && read x; ls {run}/merged"
    pipe = subprocess.PIPE
    process = spawn(["unshare", "-m", "--propagation=private", "sh", "-c", script], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout.readline() == "up\n"
    assert health.check(reading(made)) == []
    assert repair.perform(reading(made), planned) == []
    told, _nothing = process.communicate("\n")
    assert "of-run" in told


@pytest.mark.root
def test_mounts_without_a_layer_are_found(real_tmp):
    made = engines.overlay2(str(real_tmp))
    os.mkdir(made.path("run", "merged"))
    run("mount", "-t", "tmpfs", "none", made.path("run", "merged"))
    os.makedirs(os.path.join(made.home, "gone", "merged"))
    run("mount", "-t", "tmpfs", "none", os.path.join(made.home, "gone", "merged"))
    found = {(finding.code, finding.layer): finding for finding in health.check(reading(made))}
    assert ("mount-not-overlay", "run") in found
    assert ("mount-stale", "") in found
    assert repair.plan(reading(made)) == []


@pytest.mark.root
def test_the_kernel_refuses_what_is_called_refused(real_tmp):
    made = engines.overlay2(str(real_tmp))
    os.makedirs(made.path("run", "work", "work", "incompat", "volatile"))
    with pytest.raises(MountError):
        Driver(made.home).get("run")


def test_content_of_our_own_layers(real_tmp):
    """Verified where this driver packed the archive; of another's it is said that it can't be, unless it changed."""
    made = engines.overlay2(str(real_tmp))
    driver = Driver(made.home)
    with driver.diff("base", "") as stream:
        packed = stream.read()
    driver.create("packed", diff=io.BytesIO(packed))
    others = {finding.layer: finding.code for finding in health.check(driver, deep=True)}
    assert others == dict.fromkeys(("base", "middle", "solo"), "digest-unverifiable")
    seen = []
    health.check(driver, deep=True, progress=seen.append)
    assert seen == ["base", "middle", "packed", "solo"]
    with open(os.path.join(made.home, "packed", "diff", "same"), "a") as target:
        target.write("more")
    found = {finding.layer: finding for finding in health.check(driver, deep=True)}
    assert found["packed"].code == "digest-mismatch"
    assert "diff/same changed" in found["packed"].evidence


def test_a_layer_on_one_of_another_store(real_tmp, monkeypatch):
    """A store of containers/storage may stand on read-only ones, which its configuration names."""
    made = engines.containers_storage(str(real_tmp))
    other = engines.containers_storage(str(real_tmp / "other"))
    with open(made.path("run", "lower"), "a") as target:
        target.write(":l/" + other.link("solo"))
    assert [finding.code for finding in health.check(reading(made))] == ["lower-inconsistent", "lower-layer-missing"]
    configuration = real_tmp / "storage.conf"
    configuration.write_text(f'[storage.options]\nadditionalimagestores = [\n  "/none", "{other.root}",\n]\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(configuration))
    assert [finding.code for finding in health.check(reading(made))] == ["lower-inconsistent"]


def test_a_layer_on_one_of_a_store_that_nobody_names(real_tmp):
    """An image store apart: the parent's record is there too. It is not lost, so nothing is an error."""
    made = engines.containers_storage(str(real_tmp))
    path = made.beside("overlay-layers", "layers.json")
    with open(path) as source:
        records = json.load(source)
    with open(path, "w") as target:
        json.dump([each for each in records if each["id"] != made.ids["base"]], target)
    os.unlink(os.path.join(made.home, "l", made.link("base")))
    shutil.rmtree(made.path("base"))
    found = health.check(reading(made))
    assert {finding.code for finding in found} == {"lower-layer-elsewhere"}
    assert {finding.severity for finding in found} == {"note"}
    assert made.ids["base"] in found[0].evidence


def test_a_link_that_leads_into_another_store(real_tmp):
    made = engines.containers_storage(str(real_tmp))
    other = engines.containers_storage(str(real_tmp / "other"))
    name = other.link("solo")
    os.symlink(other.path("solo", "diff"), os.path.join(made.home, "l", name))
    with open(made.path("named", "lower"), "a") as target:
        target.write(":l/" + name)
    assert [finding.code for finding in health.check(reading(made))] == ["lower-inconsistent"]
    with open(other.path("solo", "link"), "w") as target:
        target.write("A" * 26)
    codes = {finding.code for finding in health.check(reading(made))}
    assert codes == {"lower-inconsistent", "lower-layer-missing", "short-link-stray"}


def test_quota_projects_are_compared(xfs_home):
    from overlay2.linux import fsxattr

    driver = Driver(xfs_home)
    for id in ("one", "two"):
        driver.create(id)
    for path, project in (("one", 7), ("two", 7), ("two/diff", 9)):
        descriptor = os.open(os.path.join(xfs_home, path), os.O_RDONLY)
        fsxattr.set_project(descriptor, project)
        os.close(descriptor)
    found = {(finding.code, finding.layer) for finding in health.check(Driver(xfs_home, read_only=True, probe=False))}
    assert found == {
        ("quota-project-mismatch", "one"),
        ("quota-project-mismatch", "two"),
        ("quota-project-shared", "two"),
    }


def test_what_changed_since_the_plan_stays(real_tmp):
    made = engines.overlay2(str(real_tmp))
    link = made.link("middle")
    os.unlink(made.path("middle", "link"))
    planned = repair.plan(reading(made))
    with open(made.path("middle", "link"), "w") as target:
        target.write("somebody was faster")
    assert repair.perform(reading(made), planned) == []
    planned = repair.plan(reading(made))
    assert [str(step.after) for step in planned] == ["file 0644: " + link]
