# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A real dockerd's home read here, a home made here read by a real dockerd.

What is compared is exact. Where the two may differ, the difference is named, with its reason, by a function of
peers.tarfacts or peers.diskfacts (neutral, in_second_version, normalised, applied), and nothing else is let through.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tarfile
import time

import pytest
from overlay2 import Change, ChangeKind, Driver
from overlay2.errors import LayerInUse
from overlay2.home.layout import RECORD
from peers import archives, diskfacts, dockerd, material, tarfacts
from support import host

pytestmark = [pytest.mark.root, pytest.mark.interop]

# The layers of the image, lowest first: the Dockerfile that material.context() writes. "nothing" makes none.
STEPS = ("base", "copy", "add", *(step for step in material.CHANGES if step != "nothing"))
KINDS = {"MODIFY": 0, "ADD": 1, "DELETE": 2}


@pytest.fixture(scope="module")
def docker():
    """A running dockerd (peers.dockerd.Dockerd) that has the images ``base:1`` and ``built:1``."""
    with dockerd.running() as daemon:
        base, context = os.path.join(daemon.folder, "base.tar"), os.path.join(daemon.folder, "context.tar")
        material.base_archive(base, daemon.folder)
        daemon.import_image(base, "base:1")
        material.context(context, daemon.folder, "base:1")
        daemon.build(context, "built:1")
        yield daemon


@pytest.fixture(scope="module")
def image(docker):
    """The image ``built:1`` as dockerd tells and saves it (peers.dockerd.Image)."""
    saved = os.path.join(docker.folder, "saved")
    os.mkdir(saved)
    found = docker.image("built:1", saved)
    assert len(found.saved) == len(found.layer_ids) == len(STEPS)
    return found


@pytest.fixture(scope="module")
def container(docker, image):
    """Id of a container on ``base:1`` that has made all changes, and has ended."""
    name = docker.run("base:1", "/bin/busybox", "sh", "-ec", "cd /\n" + "\n".join(material.CHANGES.values()))
    docker.wait(name)
    return name


@pytest.fixture
def driver(docker):
    """This driver on dockerd's home, forbidden to change it."""
    return Driver(docker.home, read_only=True)


# --- dockerd's layers, read here --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_diff_equals_the_saved_layer_entry_by_entry(driver, image, step):
    layer, parent, saved = place(image, step)
    with driver.diff(layer, parent) as stream:
        ours = tarfacts.entries(stream)
    with open(saved.path, "rb") as stream:
        theirs = tarfacts.entries(stream)
    if step == "base":
        # The archive that was imported, given back as it came: its third version of a capability too.
        theirs = [tarfacts.in_second_version(entry) for entry in theirs]
    assert tarfacts.neutral(ours) == tarfacts.neutral(theirs)
    assert ours


@pytest.mark.parametrize("step", STEPS[1:])
def test_diff_equals_the_saved_layer_byte_for_byte(driver, image, step):
    """All but the imported base are streams that dockerd's own driver wrote."""
    layer, parent, saved = place(image, step)
    with driver.diff(layer, parent) as stream:
        ours = stream.read()
    with open(saved.path, "rb") as stream:
        theirs = stream.read()
    assert tarfacts.normalised(ours) == tarfacts.normalised(theirs)


def test_layers_hold_what_they_are_to_hold(image):
    """The comparisons above would also hold for layers that lack what they are about."""
    kinds, opaque, hidden, capable, names = set(), set(), set(), set(), set()
    for saved in image.saved:
        with open(saved.path, "rb") as stream:
            for entry in tarfacts.entries(stream):
                kinds.add(entry.kind)
                names.add(entry.name)
                hidden.add(tarfacts.whiteout_of(entry.name))
                if entry.name.endswith("/.wh..wh..opq"):
                    opaque.add(os.path.dirname(entry.name))
                if entry.capability:
                    capable.add(entry.name)
    assert kinds == {"file", "dir", "symlink", "hardlink", "char", "block", "fifo"}
    assert opaque == {"trees/opaque", "trees/emptied", "etc/to-folder", "etc/link-to-folder"}
    assert {"etc/gone", "trees/gone", "links/second", "trees/deleted-below/below", "names/Ärger-雪"} <= hidden
    assert {"caps/second-version", "caps/third-version", "opt/tool"} == capable
    assert {"names/not\udcffutf8", "names/new\nline", "names/日本語", "names/f" + 250 * "0"} <= names


def test_whole_chain_is_seen(driver, image):
    layers = {layer.id: layer for layer in driver.layers()}
    assert set(image.layer_ids) <= set(layers)
    for number, name in enumerate(image.layer_ids):
        layer = layers[name]
        assert layer.problems == ()
        assert layer.lower == tuple(reversed(image.layer_ids[:number]))
        assert layer.parent == (image.layer_ids[number - 1] if number else "")
        assert layer.depth == number
        assert layer.committed or name == image.layer_ids[-1]


def test_diff_size_is_dockerds_layer_size(driver, image):
    sizes = [driver.diff_size(*place(image, step)[:2]) for step in STEPS]
    assert sizes == list(image.sizes)
    assert sum(sizes) > 10_000_000


def test_status_is_dockerds(docker, driver):
    theirs = dict(docker.json("GET", "/info")["DriverStatus"])
    ours = dict(driver.status())
    assert {"Backing Filesystem", "Supports d_type", "Native Overlay Diff"} <= set(theirs)
    assert {label: ours[label] for label in theirs} == theirs


def test_metadata_is_dockerds_for_images(docker, driver, image):
    base = docker.json("GET", "/images/base:1/json")["GraphDriver"]["Data"]
    assert driver.get_metadata(image.layer_ids[0]) == base
    assert driver.get_metadata(image.layer_ids[-1]) == image.inspect["GraphDriver"]["Data"]


def test_metadata_is_dockerds_for_containers(docker, driver, container):
    data = docker.container(container)["GraphDriver"]["Data"]
    *_above, init, layer = dockerd.layer_ids(data)
    assert driver.get_metadata(layer) == data
    assert init == layer + "-init"


# --- dockerd's containers, read here ----------------------------------------------------------------------------------


def test_changes_of_a_container_are_dockerds(docker, driver, container):
    layer = container_layer(docker, container)
    ours = [(as_json_shows(change.path), KINDS[change.kind.name]) for change in driver.changes(layer, layer + "-init")]
    assert sorted(ours) == docker.changes(container)
    assert {kind for _path, kind in ours} == {0, 1, 2}


def test_size_of_a_container_is_dockerds(docker, driver, container):
    layer = container_layer(docker, container)
    assert driver.diff_size(layer, layer + "-init") == docker.container(container)["SizeRw"]


def test_diff_of_a_container_equals_its_commit(docker, driver, container, tmp_path):
    """The layer as it was written through a mount, with whiteouts as overlayfs makes them: many names of one inode."""
    layer = container_layer(docker, container)
    docker.commit(container, "committed:1")
    saved = docker.save("committed:1", str(tmp_path))[-1]
    with driver.diff(layer, layer + "-init") as stream:
        ours = stream.read()
    with open(saved.path, "rb") as stream:
        theirs = stream.read()
    assert tarfacts.neutral(tarfacts.entries(ours)) == tarfacts.neutral(tarfacts.entries(theirs))
    assert tarfacts.normalised(ours) == tarfacts.normalised(theirs)


def test_reading_a_running_container_disturbs_nothing(docker, image, run_root):
    name = docker.run("built:1", "/bin/busybox", "sh", "-c", "rm etc/copied; echo > etc/ready; exec busybox sleep 1000")
    wait_for(lambda: ("/etc/ready", 1) in docker.changes(name))
    layer = container_layer(docker, name)
    merged = docker.container(name)["GraphDriver"]["Data"]["MergedDir"]
    complaints, changes = docker.complaints(), docker.changes(name)
    mounts, prints = mount_lines(docker.folder), diskfacts.fingerprint(docker.home, leave_out=[merged])

    driver = Driver(docker.home, read_only=True)
    assert driver.mounted(layer)
    assert driver.holders(layer) == {}
    assert [found.id for found in driver.layers() if found.id == layer]
    assert driver.get_metadata(layer)["MergedDir"] == merged
    ours = [(change.path, KINDS[change.kind.name]) for change in driver.changes(layer, layer + "-init")]
    assert ours == changes
    with driver.diff(layer, layer + "-init") as stream:
        assert "etc/ready" in tarfacts.by_name(tarfacts.entries(stream))
    driver.diff_size(layer, layer + "-init")
    driver.status()
    del driver

    assert mount_lines(docker.folder) == mounts
    assert diskfacts.fingerprint(docker.home, leave_out=[merged]) == prints
    docker.kill(name)
    docker.remove(name)
    assert docker.complaints() == complaints


def test_the_mount_of_a_running_container_is_not_ours_to_take_away(docker, image):
    """However often somebody here takes and leaves the layer, compares it by mounts, or would have it removed."""
    name = docker.run("built:1", "/bin/busybox", "sh", "-c", "echo > etc/ready; exec busybox sleep 1000")
    wait_for(lambda: ("/etc/ready", 1) in docker.changes(name))
    layer = container_layer(docker, name)
    try:
        driver = Driver(docker.home)
        path = driver.get(layer, holder="visitor")
        assert path == docker.container(name)["GraphDriver"]["Data"]["MergedDir"]
        assert driver.holders(layer) == {"visitor": 1}
        driver.put(layer, holder="visitor")
        driver.put(layer, holder="visitor")
        assert Change("/etc/ready", ChangeKind.ADD) in driver.changes(layer, image.layer_ids[0])
        with pytest.raises(LayerInUse):
            driver.remove(layer, guard=True)
        assert driver.mounted(layer)
        assert driver.holders(layer) == {}
        assert os.path.exists(os.path.join(path, "etc/ready"))
        assert docker.container(name)["State"]["Running"]
        assert docker.changes(name)
    finally:
        docker.remove(name)


def test_a_layer_of_an_image_can_be_mounted_beside_dockerd(docker, image):
    driver = Driver(docker.home)
    top = image.layer_ids[-2]
    path = driver.get(top, holder="visitor")
    try:
        assert not os.path.lexists(os.path.join(path, "etc/gone"))
        assert os.listdir(os.path.join(path, "trees/opaque")) == ["new"]
        with pytest.raises(OSError, match="Read-only"):
            open(os.path.join(path, "new"), "w").close()
    finally:
        driver.put(top, holder="visitor")
    assert not host.mounts_below(path)
    docker.wait(docker.run("built:1", "/bin/busybox", "test", "-f", "/etc/copied"))


# --- layers made here, read by dockerd --------------------------------------------------------------------------------


def test_on_disk_format_is_dockerds(docker, image, home):
    """The same chain made here from the saved layers: each folder of it is the one that dockerd made."""
    driver = Driver(home)
    chain = [place(image, step) for step in STEPS]
    for layer, parent, saved in chain:
        driver.create(layer, parent)
        with open(saved.path, "rb") as stream:
            driver.apply_diff(layer, parent, stream)

    assert stat.S_IMODE(os.stat(home).st_mode) == stat.S_IMODE(os.stat(docker.home).st_mode)
    assert_same_item(os.path.join(home, "l"), os.path.join(docker.home, "l"))
    for layer, _parent, _saved in chain:
        ours, theirs = os.path.join(home, layer), os.path.join(docker.home, layer)
        names = set(os.listdir(ours)) - {RECORD}
        # The uppermost one has had a child there: the containers.
        assert names | {"committed"} == set(os.listdir(theirs)) | {"committed"}
        for name in names:
            assert_same_item(os.path.join(ours, name), os.path.join(theirs, name))
        assert_link(home, layer)
        assert_link(docker.home, layer)
        assert links_as_ids(home, layer) == links_as_ids(docker.home, layer)
        assert diskfacts.applied(os.path.join(ours, "diff")) == diskfacts.applied(os.path.join(theirs, "diff"))


def test_dockerd_applies_our_diffs(docker, image, tmp_path, home):
    """An image of our diffs, loaded by dockerd: its folders hold what the originals hold, and it runs."""
    driver = Driver(docker.home, read_only=True)
    archive = str(tmp_path / "ours.tar")
    diff_ids = write_image(archive, "ours:1", [driver.diff(*place(image, step)[:2]) for step in STEPS])
    docker.load(archive)
    loaded = docker.json("GET", "/images/ours:1/json")
    assert loaded["RootFS"]["Layers"] == diff_ids
    for original, copy in zip(image.layer_ids[1:], dockerd.layer_ids(loaded["GraphDriver"]["Data"])[1:]):
        folders = (os.path.join(docker.home, layer, "diff") for layer in (original, copy))
        first, second = (diskfacts.applied(folder) for folder in folders)
        assert first == second
    script = "test -u /special/setuid && test ! -e /etc/gone && test -p /special/fifo && test -e /trees/opaque/new"
    docker.wait(docker.run("ours:1", "/bin/busybox", "sh", "-ec", script))


@pytest.mark.parametrize("name", archives.ARCHIVES)
def test_archives_are_applied_as_dockerd_applies_them(docker, image, tmp_path, home, name):
    """What other programs write as layers: the folders that come of it are the same."""
    archive = str(tmp_path / "layer.tar")
    archives.ARCHIVES[name](archive)
    listed = listed_folders(archive)
    base = image.saved[0].path
    write_image(str(tmp_path / "image.tar"), f"odd:{name}", [base, archive])
    docker.load(str(tmp_path / "image.tar"))
    theirs = dockerd.layer_ids(docker.json("GET", f"/images/odd:{name}/json")["GraphDriver"]["Data"])[-1]

    driver = Driver(home)
    for layer, parent, path in (("base", "", base), ("odd", "base", archive)):
        with open(path, "rb") as stream:
            driver.create(layer, parent, diff=stream)
    theirs = diskfacts.applied(os.path.join(docker.home, theirs, "diff"), listed)
    assert diskfacts.applied(os.path.join(home, "odd", "diff"), listed) == theirs


@pytest.mark.parametrize("name", archives.REFUSED_BY_PEERS)
def test_archives_that_dockerd_refuses(docker, image, tmp_path, name):
    """A difference on purpose; test_containers_storage.py holds ours against GNU tar."""
    write, words = archives.REFUSED_BY_PEERS[name]
    write(str(tmp_path / "layer.tar"))
    write_image(str(tmp_path / "image.tar"), "odd:refused", [str(tmp_path / "layer.tar")])
    with pytest.raises(dockerd.DockerError, match=words):
        docker.load(str(tmp_path / "image.tar"))


def test_dockerd_runs_on_a_home_made_here(image):
    """dockerd's home taken away and made anew by this driver: dockerd starts on it, verifies, runs, diffs, builds.

    `docker save` checks each layer against the digest it was loaded with, so it fails on one wrong byte.
    """
    with dockerd.running() as second:
        second.load(image.archive)
        chain = dockerd.layer_ids(second.json("GET", "/images/built:1/json")["GraphDriver"]["Data"])
        second.stop()
        host.unmount_below(second.data_root)
        shutil.rmtree(second.home)

        driver = Driver(second.home)
        for parent, layer, saved in zip(("", *chain), chain, image.saved):
            with open(saved.path, "rb") as stream:
                driver.create(layer, parent, diff=stream, diff_id=saved.diff_id)
        driver.cleanup()

        second.start()
        complaints = second.complaints()
        saved_again = os.path.join(second.folder, "saved")
        os.mkdir(saved_again)
        again = second.image("built:1", saved_again)
        assert again.layer_ids == chain
        for ours, theirs in zip(again.saved, image.saved):
            assert sha256(ours.path) == sha256(theirs.path) == theirs.diff_id
        name = second.run("built:1", "/bin/busybox", "sh", "-ec", "rm /etc/copied; mv /trees /forest; mkdir /trees")
        second.wait(name)
        layer = container_layer(second, name)
        changes = [(change.path, KINDS[change.kind.name]) for change in driver.changes(layer, layer + "-init")]
        assert ("/forest/opaque/new", 1) in changes
        assert sorted(changes) == second.changes(name)
        second.commit(name, "more:1")
        second.wait(second.run("more:1", "/bin/busybox", "test", "-e", "/forest/opaque/new"))
        assert second.complaints() == complaints


# --- helpers ----------------------------------------------------------------------------------------------------------


def place(image, step):
    """(layer id, parent id, saved layer) of the layer that a step of the Dockerfile made."""
    number = STEPS.index(step)
    return image.layer_ids[number], image.layer_ids[number - 1] if number else "", image.saved[number]


def container_layer(docker, name):
    return dockerd.layer_ids(docker.container(name)["GraphDriver"]["Data"])[-1]


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.1)


def mount_lines(folder):
    with open("/proc/self/mountinfo", errors="surrogateescape") as table:
        return [line for line in table if folder in line]


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as content:
        for block in iter(lambda: content.read(1 << 20), b""):
            digest.update(block)
    return "sha256:" + digest.hexdigest()


def write_image(archive, reference, layers):
    """Write a docker-save archive of tars (paths, or open streams), lowest first; gives their diff IDs."""
    folder = archive + ".d"
    os.mkdir(folder)
    names = []
    for number, layer in enumerate(layers):
        names.append(f"{number}.tar")
        path = os.path.join(folder, names[-1])
        if isinstance(layer, str):
            shutil.copyfile(layer, path)
            continue
        with layer, open(path, "wb") as target:
            shutil.copyfileobj(layer, target)
    diff_ids = [sha256(os.path.join(folder, name)) for name in names]
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": names}]
    for name, value in (("config.json", config), ("manifest.json", manifest)):
        with open(os.path.join(folder, name), "w") as target:
            json.dump(value, target)
    with tarfile.open(archive, "w") as image:
        image.add(folder, arcname=".")
    return diff_ids


def listed_folders(archive):
    with open(archive, "rb") as stream:
        return {entry.name for entry in tarfacts.entries(stream) if entry.kind == "dir"}


def assert_same_item(ours, theirs):
    """Same type, mode, owner and length; the content of files is random or compared elsewhere."""
    first, second = os.lstat(ours), os.lstat(theirs)
    assert oct(first.st_mode) == oct(second.st_mode), ours
    assert (first.st_uid, first.st_gid) == (second.st_uid, second.st_gid), ours
    if stat.S_ISREG(first.st_mode):
        assert first.st_size == second.st_size, ours


def assert_link(home, layer):
    """The link file and the symlink of its name, byte for byte of the form that dockerd gives them."""
    with open(os.path.join(home, layer, "link"), "rb") as source:
        link = source.read()
    assert re.fullmatch(rb"[A-Z2-7]{26}", link)
    assert os.readlink(os.path.join(home, "l", link.decode())) == f"../{layer}/diff"


def links_as_ids(home, layer):
    """The lower file with each random link name replaced by the layer id that it stands for."""
    path = os.path.join(home, layer, "lower")
    if not os.path.exists(path):
        return None
    with open(path) as source:
        text = source.read()
    return re.sub(r"l/([A-Z2-7]{26})", lambda match: os.readlink(os.path.join(home, "l", match[1])), text)


def as_json_shows(path):
    """A path as dockerd's JSON answers show it: bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")
