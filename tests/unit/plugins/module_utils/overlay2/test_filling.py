# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Archives of layers and back: natively, through mounts, in a user namespace, on several file systems, all the same."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import random
import shutil
import stat
import subprocess
import tarfile

import pytest
from overlay2 import Driver, IdMap, IdRange, mounts
from overlay2.errors import ArchiveError, LayerNotFound, Overlay2Error, ReadOnlyDriver
from overlay2.linux import fs
from support import homes, host, oracle, overlay_module, trees


@pytest.fixture
def driver(home):
    return Driver(home, ["overlay2.sync=none"])


def naive_driver(home):
    """A driver that does everything through mounts, as where the module redirects folders by default."""
    with overlay_module.parameter("redirect_dir", "Y"):
        driver = Driver(home, ["overlay2.sync=none"])
    assert not driver.features.native_diff
    return driver


def read(stream):
    with stream:
        return stream.read()


def diff_of(driver, layer, parent="", **options):
    return read(driver.diff(layer, parent, **options))


def shown(driver, layer, *, attributes=("security.capability",)):
    """What a mounted layer shows, as far as an archive carries it: whole seconds, and some attributes."""
    path = driver.get(layer, holder="shown")
    try:
        return shown_at(path, attributes)
    finally:
        driver.put(layer, holder="shown")


def shown_at(path, attributes=("security.capability",)):
    facts = trees.content_facts(path, whole_seconds=True)
    return {
        name: (*fact[:5], {key: value for key, value in fact[6].items() if key in attributes})
        for name, fact in facts.items()
    }


def leaks(driver):
    """Descriptors, mounts and holders: what a closed stream must not leave."""
    gc.collect()
    return os.listdir("/proc/self/fd"), host.mounts_below(driver.home), driver.mounted_layers()


def mount_with(driver, layer, options):
    """Mount a layer by hand, as an engine with other options does; returns the path."""
    path = os.path.join(driver.home, layer, "merged")
    os.makedirs(path, exist_ok=True)
    options = "{},lowerdir={LowerDir},upperdir={UpperDir},workdir={WorkDir}".format(
        options, **driver.get_metadata(layer)
    )
    subprocess.run(["mount", "-t", "overlay", "x", "-o", options, path], check=True)
    return path


def meddled_chain(driver, seed, length=5, count=20):
    """Layers `n0` … that each change something of the one below; returns their names."""
    rng = random.Random(seed)
    privileged = host.is_real_root()
    driver.create("n0")
    oracle.meddle(os.path.join(driver.home, "n0", "diff"), rng, 60, privileged=privileged, sensible=True)
    for number in range(1, length):
        driver.create_read_write("n%d" % number, "n%d" % (number - 1))
        path = driver.get("n%d" % number)
        oracle.meddle(path, rng, count, privileged=privileged, sensible=True)
        driver.put("n%d" % number)
    return ["n%d" % number for number in range(length)]


# --- round trips ------------------------------------------------------------------------------------------------------


def copy_chain(driver, layers, suffix, archive_of, make):
    """Copies of a chain's layers, each out of the archive of its original."""
    parent = original_parent = ""
    for layer in layers:
        make(driver, layer + suffix, parent, archive_of(layer, original_parent))
        parent, original_parent = layer + suffix, layer


def created(driver, layer, parent, content):
    driver.create(layer, parent, diff=io.BytesIO(content))


def applied(driver, layer, parent, content):
    driver.create(layer, parent)
    driver.apply_diff(layer, parent, io.BytesIO(content))


def applied_through_a_mount(driver, layer, parent, content):
    driver.create(layer, parent)
    driver.apply_diff(layer, "" if parent else "n0", io.BytesIO(content))


@pytest.mark.parametrize("seed", oracle.seeds(3))
@pytest.mark.parametrize("make", [created, applied, applied_through_a_mount], ids=lambda make: make.__name__)
def test_a_layer_applied_from_its_diff_shows_the_same(driver, seed, make):
    layers = meddled_chain(driver, seed)
    copy_chain(driver, layers, "copy", lambda layer, parent: diff_of(driver, layer, parent), make)
    for layer in layers:
        assert shown(driver, layer + "copy") == shown(driver, layer)
    assert homes.flaws(driver.home) == []


@pytest.mark.parametrize("seed", oracle.seeds(3))
def test_the_diff_of_a_layer_applied_from_a_diff_is_the_same_to_the_byte(driver, seed):
    layers = meddled_chain(driver, seed)
    copy_chain(driver, layers, "copy", lambda layer, parent: diff_of(driver, layer, parent), created)
    parent = ""
    for layer in layers:
        content = diff_of(driver, layer, parent)
        assert content == diff_of(driver, layer, parent)
        assert diff_of(driver, layer + "copy", parent and parent + "copy") == content
        assert driver.layer(layer + "copy").diff_id == "sha256:" + hashlib.sha256(content).hexdigest()
        parent = layer


@pytest.mark.root
@pytest.mark.parametrize("seed", oracle.seeds(2))
def test_natively_and_through_mounts_it_is_the_same(driver, seed):
    layers = meddled_chain(driver, seed)
    naive = naive_driver(driver.home)
    copy_chain(driver, layers, "naive", lambda layer, parent: diff_of(naive, layer, parent), created)
    copy_chain(naive, layers, "both", lambda layer, parent: diff_of(naive, layer, parent), created)
    copy_chain(naive, layers, "applied", lambda layer, parent: diff_of(driver, layer, parent), applied)
    parent = ""
    for layer in layers:
        expected = shown(driver, layer)
        for suffix in ("naive", "both", "applied"):
            assert shown(driver, layer + suffix) == expected, suffix
        assert naive.changes(layer, parent) == driver.changes(layer, parent)
        content = diff_of(naive, layer, parent)
        assert diff_of(naive, layer, parent) == content
        parent = layer
    assert host.mounts_below(driver.home) == []


@pytest.mark.parametrize("seed", oracle.seeds(6))
def test_any_archive_applied_natively_or_through_a_mount_shows_the_same(driver, seed):
    rng = random.Random(seed)
    driver.create("n0", diff=trees.stream({"a/b/c": b"1", "a/d": b"2", "b/a": b"3", "c": b"4", "d/": None}))
    below = "n0"
    for number in range(1, 7):
        content = trees.archive(oracle.sensible_entries(rng, 12))
        outcomes = []
        for name, parent in (("native", below), ("mount", "")):
            layer = "%s%d" % (name, number)
            driver.create(layer, below)
            try:
                driver.apply_diff(layer, parent, io.BytesIO(content))
            except ArchiveError as error:
                outcomes.append(str(error))
                driver.remove(layer)
            else:
                outcomes.append(shown(driver, layer))
        assert outcomes[0] == outcomes[1], (number, trees.names_in(content))
        if isinstance(outcomes[0], dict):
            below = "native%d" % number


@pytest.mark.parametrize("seed", oracle.seeds(2))
def test_a_diff_up_the_chain_makes_up_for_all_between(driver, seed):
    layers = meddled_chain(driver, seed)
    for parent in ("n0", "n1", ""):
        for layer in ("n3", "n4"):
            driver.create("x", parent, diff=io.BytesIO(diff_of(driver, layer, parent)))
            assert shown(driver, "x") == shown(driver, layer)
            driver.remove("x")
    # and down, and to a sibling
    driver.create("x", layers[-1], diff=io.BytesIO(diff_of(driver, "n0", "n4")))
    assert shown(driver, "x") == shown(driver, "n0")
    assert host.mounts_below(driver.home) == []


@pytest.mark.parametrize("seed", oracle.seeds(2))
def test_all_attributes_on_request(driver, seed):
    layers = meddled_chain(driver, seed, count=30)
    copy_chain(driver, layers, "all", lambda layer, parent: diff_of(driver, layer, parent, all_xattrs=True), created)
    copy_chain(driver, layers, "some", lambda layer, parent: diff_of(driver, layer, parent), created)
    names = ("security.capability", "user.note")
    assert shown(driver, "n4all", attributes=names) == shown(driver, "n4", attributes=names)
    assert not any("user.note" in fact[-1] for fact in shown(driver, "n4some", attributes=names).values())


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_sizes_natively_and_through_mounts(driver):
    base = {"keep": b"1" * 100, "gone": b"2" * 1000, "changed": b"3" * 10, "d/": None}
    driver.create("base")
    assert driver.apply_diff("base", "", trees.stream(base)) == 1110
    driver.create_read_write("box", "base")
    path = driver.get("box")
    trees.write_tree(path, {"changed": b"4" * 50, "new": b"5" * 7, "to": "changed"})
    os.unlink(path + "/gone")
    os.link(path + "/new", path + "/d/again")
    with open(path + "/keep", "rb+"):
        pass  # copied up, unchanged
    driver.put("box")
    changed = 50 + 7 + len("changed")
    assert driver.diff_size("base") == driver.diff_size("base", "") == 1110
    assert driver.diff_size("box", "base") == driver.own_size("box") == changed + 100
    assert driver.diff_size("box", "") == 100 + changed
    driver.create("top", "box")
    assert driver.diff_size("top", "box") == 0
    assert driver.diff_size("top", "base") == changed
    for layer, parent in (("gone", ""), ("box", "gone")):
        with pytest.raises(LayerNotFound):
            driver.diff_size(layer, parent)
    assert host.mounts_below(driver.home) == []


@pytest.mark.root
def test_sizes_of_a_driver_that_mounts_for_everything(driver):
    driver.create("base", diff=trees.stream({"keep": b"1" * 100}))
    naive = naive_driver(driver.home)
    naive.create("box", "base")
    entries = {"f": b"1" * 30, "hard": trees.hard_link("f"), "to": trees.symlink("12345"), ".wh.keep": b""}
    assert naive.apply_diff("box", "base", trees.stream(entries)) == 30  # sizes of headers
    assert naive.diff_size("box", "base") == 35
    assert naive.diff_size("box", "") == 35
    assert naive.diff_size("base") == 100


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def box(driver):
    driver.create("base", diff=trees.stream({"d/": None, "d/f": b"1" * 100_000, "gone": b""}))
    driver.create("box", "base", diff=trees.stream({"d/g": b"2" * 100_000, ".wh.gone": b"", "new/": None}))
    return driver


PAIRS = [("box", "base"), ("box", ""), ("base", ""), ("base", "box")]


@pytest.mark.parametrize(("layer", "parent"), PAIRS)
@pytest.mark.parametrize("how", ["unread", "in part", "whole", "twice closed", "dropped"])
def test_a_stream_leaves_nothing_however_it_ends(box, layer, parent, how):
    before = leaks(box)
    stream = box.diff(layer, parent)
    if how == "in part":
        assert len(stream.read(1000)) > 0
    elif how == "whole":
        assert len(stream.read()) > 1000
    if how != "dropped":
        stream.close()
    if how == "twice closed":
        stream.close()
        with pytest.raises(ValueError, match="closed"):
            stream.read()
    del stream
    assert leaks(box) == before


def test_a_stream_is_a_binary_file(box):
    with box.diff("box", "base") as stream:
        assert stream.readable()
        assert not stream.writable()
        whole = b"".join(iter(lambda: stream.read(777), b""))
        assert stream.read() == b""
        assert stream.readinto(bytearray(10)) == 0
    assert whole == diff_of(box, "box", "base")
    with io.BufferedReader(box.diff("box", "base")) as buffered, tarfile.open(fileobj=buffered, mode="r|") as tar:
        assert [member.name for member in tar] == ["d", "d/g", ".wh.gone", "new"]


def test_a_diff_through_mounts_leaves_the_layer_to_others(box):
    before = leaks(box)[1]
    with box.diff("box", "") as stream:
        assert not box.holders("box")
        assert not box.mounted("box")
        assert len(host.mounts_below(box.home)) == len(before) + 1
        # Somebody else gets it read-write meanwhile, and not the mount that is only for reading.
        path = box.get("box", holder="web")
        trees.write_tree(path, {"while": b""})
        stream.read(10)
        box.create("other", "base")
        box.put("box", holder="web")
        assert stream.read()
    with box.diff("base", "box") as stream:
        assert host.mounts_below(box.home) == before  # unmounted once they have been compared
        assert stream.read()
    assert leaks(box)[1] == before


def test_a_process_that_dies_during_a_diff_leaves_nothing_once_the_home_is_opened_again(box):
    child = os.fork()
    if not child:
        try:
            stream = box.diff("box", "")
            stream.read(10)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert len(host.mounts_below(box.home)) == 1
    again = Driver(box.home, ["overlay2.sync=none"])
    assert host.mounts_below(box.home) == []
    assert os.listdir(os.path.join(box.home, ".staging")) == []
    assert again.holders("box") == {}


def test_a_diff_through_mounts_shares_the_mount_of_a_layer_that_is_mounted(box):
    path = box.get("box", holder="web")
    before = host.mounts_below(box.home)
    with box.diff("box", "") as stream:
        assert host.mounts_below(box.home) == before
        assert box.holders("box") == {"": 1, "web": 1}
        assert stream.read()
    assert box.holders("box") == {"web": 1}
    assert os.path.ismount(path)
    box.put("box", holder="web")


@pytest.mark.parametrize("parent", ["base", ""])
@pytest.mark.parametrize("action", ["remove", "replace"])
def test_a_layer_that_goes_while_it_is_archived_is_missed(box, parent, action):
    def act():
        if action == "remove":
            box.remove("box")
        else:
            box.put_all("box")
            box.apply_diff("box", "base", trees.stream({"new": b""}), replace=True)

    before = leaks(box)[0]
    with box.diff("box", parent) as stream:
        stream.read(10)
        act()
        with pytest.raises(Overlay2Error) as refused:
            stream.read()
        assert refused.value.layer == "box"
    assert leaks(box)[0] == before
    assert box.holders("box") == {}


def test_missing_layers_are_told_before_anything_is_read(box):
    before = leaks(box)
    for layer, parent in (("gone", ""), ("box", "gone"), ("gone", "box")):
        for call in (box.diff, box.changes, box.diff_size):
            with pytest.raises(LayerNotFound) as refused:
                call(layer, parent)
            assert refused.value.layer == "gone"
    assert leaks(box) == before


# --- owners -----------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_a_diff_has_the_owners_of_the_container(home):
    driver = Driver(home, ["overlay2.sync=none"], IdMap((IdRange(0, 100000, 1000),), (IdRange(0, 200000, 1000),)))
    entries = {"f": trees.Entry(b"1", uid=5, gid=6), "d/": trees.Entry(uid=7, gid=8), "gone": b""}
    driver.create("base", diff=trees.stream(entries))
    driver.create("box", "base", diff=trees.stream({"g": trees.Entry(b"2", uid=9, gid=10), ".wh.gone": b""}))

    def owners(content):
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            return {member.name: (member.uid, member.gid) for member in tar}

    assert owners(diff_of(driver, "base")) == {"f": (5, 6), "d": (7, 8), "gone": (0, 0)}
    assert owners(diff_of(driver, "box", "base")) == {"g": (9, 10), ".wh.gone": (100000, 200000)}
    driver.create("child", "box", diff=trees.stream({"h": trees.Entry(b"3", uid=1, gid=2)}))
    assert owners(diff_of(driver, "child", "base"))["h"] == (1, 2)
    # As moby's: a whole tree through a mount is archived as it is.
    assert owners(diff_of(driver, "box", ""))["g"] == (100009, 200010)


# --- a module that redirects, or copies metadata alone ----------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("parameter", ["redirect_dir", "metacopy"])
def test_where_the_module_does_more_by_default_everything_goes_through_mounts(home, parameter, real_tmp):
    driver = Driver(home, ["overlay2.sync=none"])
    base = {"d/": None, "d/sub/": None, "d/sub/f": b"1" * 5000, "d/g": b"2", "gone": b"", "meta": b"3" * 5000}
    driver.create("base", diff=trees.stream(base))
    with overlay_module.parameter(parameter, "Y"):
        careful = Driver(home, ["overlay2.sync=none"])
        assert not careful.features.native_diff
        assert careful.features.metacopy == (parameter == "metacopy")
        assert dict(careful.status())["Native Overlay Diff"] == "false"
        assert dict(careful.status())["Using metacopy"] == ("true" if parameter == "metacopy" else "false")
        careful.create_read_write("box", "base")
        path = careful.get("box")
        os.rename(path + "/d", path + "/moved")
        os.chmod(path + "/meta", 0o600)
        os.unlink(path + "/gone")
        trees.write_tree(path, {"moved/new": b"4"})
        careful.put("box")
        upper = os.path.join(home, "box", "diff")
        assert "trusted.overlay.redirect" in os.listxattr(upper + "/moved")
        if parameter == "metacopy":
            assert "trusted.overlay.metacopy" in os.listxattr(upper + "/meta")

        changes = [(change.path, change.kind.letter) for change in careful.changes("box", "base")]
        assert changes == [
            ("/d", "D"), ("/gone", "D"), ("/meta", "C"), ("/moved", "A"), ("/moved/g", "A"), ("/moved/new", "A"),
            ("/moved/sub", "A"), ("/moved/sub/f", "A"),
        ]  # fmt: skip
        content = diff_of(careful, "box", "base")
        assert careful.diff_size("box", "base") == 5000 + 5000 + 1 + 1
        expected = shown(careful, "box")
        careful.create("applied", "base")
        careful.apply_diff("applied", "base", io.BytesIO(content))
        assert shown(careful, "applied") == expected
    # The archive holds all there is, so a driver of the usual kind makes the same of it.
    driver.create("copy", "base", diff=io.BytesIO(content))
    assert shown(driver, "copy") == expected
    assert host.mounts_below(home) == []
    assert homes.flaws(home) == []


# --- layers that were mounted with more than the module's default ---------------------------------------------------


def renamed_and_copied_up_without_data(driver, through):
    """Make the layer `box` as a mount with redirects and metacopy leaves it; returns what it shows."""
    base = {
        "d/": None, "d/sub/": None, "d/sub/f": b"1" * 5000, "d/g": b"2", "gone": b"", "meta": b"3" * 5000,
        "old": b"4" * 300_000, "there/": None, "there/hidden": b"5", "kept/": None, "kept/inner/": None,
        "kept/inner/f": b"6",
    }  # fmt: skip
    driver.create("base", diff=trees.stream(base))
    driver.create_read_write("box", "base")
    path = mount_with(driver, "box", ",".join(mounts.FOLLOWING))
    trees.write_tree(path, {"d/sub/added": b"7"})
    os.rename(path + "/d/sub", path + "/d/moved-inside")
    os.rename(path + "/d", path + "/moved")
    os.unlink(path + "/moved/g")
    os.rename(path + "/kept/inner", path + "/up")
    shutil.rmtree(path + "/there")
    os.rename(path + "/kept", path + "/there")
    os.chmod(path + "/meta", 0o600)
    os.rename(path + "/old", path + "/new-name")
    os.link(path + "/meta", path + "/moved/meta-too")
    os.unlink(path + "/gone")
    expected = shown_at(path)
    through(path)
    subprocess.run(["umount", path], check=True)
    upper = os.path.join(driver.home, "box", "diff")
    assert "trusted.overlay.redirect" in os.listxattr(upper + "/moved")
    assert "trusted.overlay.metacopy" in os.listxattr(upper + "/meta")
    assert not driver.mounted("box")
    return expected


@pytest.mark.root
def test_a_layer_with_redirects_and_metacopy_is_compared_by_a_mount(driver):
    found = {}

    def compared(path):
        found["changes"] = sorted(oracle.changes(path, os.path.join(driver.home, "base", "diff")))
        sizes = {}
        for name, letter in found["changes"]:
            info = os.lstat(path + name) if letter != "D" else None
            if info is not None and not stat.S_ISDIR(info.st_mode):
                sizes[info.st_ino] = info.st_size
        found["size"] = sum(sizes.values())

    expected = renamed_and_copied_up_without_data(driver, compared)
    before = leaks(driver)
    content = diff_of(driver, "box", "base")
    assert leaks(driver) == before
    driver.create("copy", "base", diff=io.BytesIO(content))
    assert shown(driver, "copy") == expected
    assert sorted((change.path, change.kind.letter) for change in driver.changes("box", "base")) == found["changes"]
    assert driver.diff_size("box", "base") == found["size"] > 310_000
    assert leaks(driver) == before
    assert homes.flaws(driver.home) == []


@pytest.mark.root
def test_a_layer_with_redirects_is_compared_while_it_is_mounted_and_on_top_of_another(driver):
    renamed_and_copied_up_without_data(driver, lambda path: None)
    driver.create_read_write("top", "box")
    path = mount_with(driver, "top", ",".join(mounts.FOLLOWING))
    trees.write_tree(path, {"moved/top": b"8", "meta": b"9"})
    os.rename(path + "/moved", path + "/again")
    expected = shown_at(path)
    content = diff_of(driver, "top", "box")
    subprocess.run(["umount", path], check=True)
    driver.create("flat", "base", diff=driver.diff("box", "base"))
    driver.create("copy", "flat", diff=io.BytesIO(content))
    assert shown(driver, "copy") == expected


@pytest.mark.root
def test_a_reader_says_that_it_needs_a_mount(driver):
    renamed_and_copied_up_without_data(driver, lambda path: None)
    reader = Driver(driver.home, read_only=True)
    for call in (reader.changes, reader.diff_size, lambda *layers: read(reader.diff(*layers))):
        with pytest.raises(ReadOnlyDriver) as refused:
            call("box", "base")
        assert "needs a mount" in refused.value.message


# --- what is written to disk ------------------------------------------------------------------------------------------


@pytest.mark.root
def test_a_diff_through_mounts_writes_nothing_of_others_to_disk(loop_disk):
    driver = naive_driver(loop_disk.folder("home"))
    driver.create("base", diff=trees.stream({"a": b"1"}))
    driver.create_read_write("box", "base")
    path = driver.get("box")
    trees.write_tree(path, {"b": b"2"})
    driver.put("box")
    loop_disk.write_without_sync("log", 32 << 20)
    before = loop_disk.bytes_written()
    assert driver.changes("box", "base") == [("/b", 1)]
    assert driver.diff_size("box", "base") == 1
    content = diff_of(driver, "box", "base")
    driver.create("applied", "base", diff=io.BytesIO(content))
    driver.apply_diff("applied", "base", io.BytesIO(content), replace=True)
    assert loop_disk.bytes_written() - before < 8 << 20
    assert shown(driver, "applied") == shown(driver, "box")


# --- a user namespace -------------------------------------------------------------------------------------------------


def _round_trips_in_a_namespace(home, seed):
    driver = Driver(home, ["overlay2.sync=none"])
    assert driver.features.userxattr
    assert driver.features.native_diff
    layers = meddled_chain(driver, seed, length=4)
    copy_chain(driver, layers, "copy", lambda layer, parent: diff_of(driver, layer, parent), created)
    copy_chain(driver, layers, "mount", lambda layer, parent: diff_of(driver, layer, parent), applied_through_a_mount)
    for layer in layers:
        assert shown(driver, layer + "copy") == shown(driver, layer) == shown(driver, layer + "mount")
    driver.create("x", "n0", diff=io.BytesIO(diff_of(driver, "n3", "n0")))
    assert shown(driver, "x") == shown(driver, "n3")
    driver.apply_diff("x", "n0", trees.stream({"f": b"1", ".wh.a": b""}), replace=True)
    driver.get("x", holder="web")
    with pytest.raises(Overlay2Error):
        driver.remove("x", guard=True)
    driver.put("x", holder="web")
    for layer in ("x", *[name + suffix for name in reversed(layers) for suffix in ("copy", "mount", "")]):
        driver.remove(layer, guard=True)
    assert homes.layer_names(home) == []
    assert homes.flaws(home) == []
    return True


@pytest.mark.parametrize("seed", oracle.seeds(1))
def test_round_trips_in_a_user_namespace(userns, home, seed):
    assert userns(_round_trips_in_a_namespace, home, 2000 + seed)


# --- file systems -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["home", "tmpfs_home", "xfs_home"])
@pytest.mark.parametrize("sync", ["full", "none"])
def test_a_whole_life_on_each_file_system(request, kind, sync):
    driver = Driver(request.getfixturevalue(kind), ["overlay2.sync=" + sync])
    layers = meddled_chain(driver, 7, length=4)
    copy_chain(driver, layers, "copy", lambda layer, parent: diff_of(driver, layer, parent), created)
    for parent, layer in zip(layers, layers[1:]):
        new, old = driver.get(layer), driver.get(parent)
        changes = [(change.path, change.kind.letter) for change in driver.changes(layer, parent)]
        assert changes == oracle.changes(new, old)
        driver.put(layer)
        driver.put(parent)
        assert shown(driver, layer + "copy") == shown(driver, layer)
    driver.create("new", "n0", diff=trees.stream({"f": b"1"}))
    driver.apply_diff("new", "n0", trees.stream({"g": b"1"}), replace=True)
    driver.apply_diff("new", "", trees.stream({"h": b"1"}), replace=True)
    assert os.listdir(os.path.join(driver.home, "new", "diff")) == ["h"]
    assert homes.flaws(driver.home) == []
    driver.get("new", holder="web")
    driver.cleanup()
    for layer in driver.layers():
        driver.remove(layer.id)
    assert homes.layer_names(driver.home) == []
    assert os.listdir(os.path.join(driver.home, "l")) == []


def test_two_homes_in_one_process_know_nothing_of_each_other(home, tmpfs_home):
    one, two = Driver(home), Driver(tmpfs_home)
    assert one.features.backing_fs != two.features.backing_fs == "tmpfs"
    for driver, content in ((one, b"1"), (two, b"22")):
        driver.create("base", diff=trees.stream({"f": content}))
        driver.create_read_write("box", "base")
    assert one.get("box", holder="web") != two.get("box")
    assert one.holders("box") == {"web": 1}
    assert two.holders("box") == {"": 1}
    assert homes.content_of(one.home, "box/merged/f") == "1"
    assert homes.content_of(two.home, "box/merged/f") == "22"
    one.put("box", holder="web")
    assert not one.mounted("box")
    assert two.mounted("box")
    with pytest.raises(Overlay2Error):
        two.remove("box", guard=True)
    one.remove("box", guard=True)
    assert two.exists("box")
    assert (one.diff_size("base"), two.diff_size("base")) == (1, 2)
    two.cleanup()
    assert two.holders("box") == {}
    assert homes.flaws(home) == homes.flaws(tmpfs_home) == []


def test_a_home_inside_a_layer_of_another_home(home):
    """Its mounts are not the outer one's, though they lie below it."""
    outer = Driver(home)
    outer.create("base")
    inner = Driver(os.path.join(outer.get("base"), "inner"))
    inner.create("base")
    inner.create("box", "base")
    inner.get("box", holder="web")
    assert outer.mounted_layers() == []
    outer.create("box", "base")
    assert not outer.mounted("box")
    outer.get("box")
    outer.put("box")
    assert inner.holders("box") == {"web": 1}
    outer.cleanup()  # everything below, as it says
    assert inner.holders("box") == {}


# --- others at work ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "parent", "gone"),
    [
        ("diff", "", "layer"),
        ("diff", "parent", "layer"),
        ("diff", "parent", "parent"),
        ("changes", "", "layer"),
        ("changes", "parent", "layer"),
        ("changes", "parent", "parent"),
        ("diff_size", "parent", "layer"),
        ("diff_size", "parent", "parent"),
    ],
)
def test_a_layer_that_vanishes_between_check_and_reading_is_said_to_be_gone(driver, monkeypatch, call, parent, gone):
    for name in ("layer", "parent"):
        driver.create(name)
        driver.apply_diff(name, "", io.BytesIO(trees.archive({"a": b"1"})))
    open_on = fs.open_on

    def after_the_removal(stack, path):
        if path == os.path.join(driver.home, gone, "diff"):
            Driver(driver.home).remove(gone)
        return open_on(stack, path)

    monkeypatch.setattr(fs, "open_on", after_the_removal)
    with pytest.raises(LayerNotFound) as caught:
        getattr(driver, call)("layer", parent)
    assert caught.value.layer == gone


# --- options and reports ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "forks"), [("on", 1), ("off", 0)])
def test_the_second_process_can_be_switched_off(home, monkeypatch, option, forks):
    forked = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: forked.append(1) or fork())
    driver = Driver(home, ["overlay2.sync=none", "overlay2.helper=" + option])
    content = {f"f{number}": b"x" for number in range(2000)}
    driver.create("many", diff=trees.stream(content))
    assert len(forked) == forks
    assert len(os.listdir(home + "/many/diff")) == 2000


def test_a_caller_is_told_what_was_unpacked(driver):
    told = []
    driver.create("told", diff=trees.stream({"a": b"12345"}), report=told.append)
    driver.create("empty", report=told.append)
    driver.apply_diff("empty", "", trees.stream({"a": b"1", "b": b"2"}), report=told.append)
    assert [each.size for each in told] == [5, 2]
    assert [each.diff_id for each in told] == [driver.layer("told").diff_id, driver.layer("empty").diff_id]
    with pytest.raises(Overlay2Error):
        driver.create("bad", diff=io.BytesIO(b"no tar" * 1000), report=told.append)
    assert len(told) == 2


def test_devices_that_a_user_namespace_cannot_make_are_counted(userns, home):
    assert userns(_skipped_devices, home) == (2, True)


def _skipped_devices(home):
    told = []
    driver = Driver(home, ["overlay2.sync=none"])
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, kind in (("dev", tarfile.DIRTYPE), ("dev/null", tarfile.CHRTYPE), ("dev/sda", tarfile.BLKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, 0o755
            tar.addfile(entry)
    driver.create("base", diff=io.BytesIO(archive.getvalue()), report=told.append)
    (unpacked,) = told
    return unpacked.skipped_devices.total, os.listdir(home + "/base/diff/dev") == []


@pytest.mark.parametrize("files", [3, 700], ids=["one process", "two processes"])
def test_owners_that_a_user_namespace_does_not_have_can_be_ignored(userns, home, files):
    assert userns(_foreign_owners, home, files) == (True, files, files, {0})


def _foreign_owners(home, files):
    told = []
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(files):
            entry = tarfile.TarInfo(f"f{number}")
            entry.uid = entry.gid = 1000
            tar.addfile(entry)
    with pytest.raises(ArchiveError) as refused:
        Driver(home).create("strict", diff=io.BytesIO(archive.getvalue()))
    names_option = "ignore_chown_errors" in refused.value.remedy
    driver = Driver(home, ["overlay2.sync=none", "overlay2.ignore_chown_errors=true"])
    driver.create("base", diff=io.BytesIO(archive.getvalue()), report=told.append)
    (unpacked,) = told
    diff = home + "/base/diff"
    owners = {os.stat(os.path.join(diff, name)).st_uid for name in os.listdir(diff)}
    return names_option, len(os.listdir(diff)), unpacked.unset_owners.total, owners
