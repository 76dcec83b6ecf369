# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What differs between layers: the fast way, the whole compare and a third, plain one say the same."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import shutil
import stat
import subprocess

import pytest
from overlay2 import Change, ChangeKind, Driver
from overlay2.changes import NotComparable, compare, overlay_changes
from overlay2.errors import ArchiveError
from support import host, oracle, steps, trees


@pytest.fixture
def driver(home):
    return Driver(home, ["overlay2.sync=none"])


def letters(changes):
    return [(change.path, change.kind.letter) for change in changes]


def diff_folder(driver, layer):
    return os.path.join(driver.home, layer, "diff")


@contextlib.contextmanager
def opened(*folders):
    with contextlib.ExitStack() as stack:
        descriptors = []
        for folder in folders:
            descriptors.append(os.open(folder, os.O_RDONLY))
            stack.callback(os.close, descriptors[-1])
        yield descriptors


def fast(driver, layer):
    """The answer out of the layer's own folder."""
    lowers = driver.get_metadata(layer).get("LowerDir", "").split(":")
    with opened(diff_folder(driver, layer), *lowers) as (upper, *below):
        return letters(overlay_changes(upper, below, driver.features.xattr_class))


def compared(new, old):
    if old is None:
        with opened(new) as (root,):
            return letters(compare(root, None))
    with opened(new, old) as (one, other):
        return letters(compare(one, other))


@contextlib.contextmanager
def mounted(driver, *layers):
    paths = [driver.get(layer, holder="test") for layer in layers]
    try:
        yield paths
    finally:
        for layer in layers:
            driver.put(layer, holder="test")


def agreed(driver, layer, parent):
    """The changes, once all ways to find them agree."""
    with mounted(driver, layer, parent) as (new, old):
        expected = oracle.changes(new, old)
        assert compared(new, old) == expected
    assert fast(driver, layer) == expected
    assert letters(driver.changes(layer, parent)) == expected
    return expected


BASE = {
    "dir/": None, "dir/one": b"1", "dir/two": b"2", "dir/sub/": None, "dir/sub/deep": b"3", "file": b"4", "other": b"5",
    "link": trees.symlink("file"), "hard": trees.hard_link("file"), "empty/": None,
}  # fmt: skip


@pytest.fixture
def box(driver):
    """A driver with `base` (files as in BASE), and `box` on it, mounted by the test."""
    driver.create("base", diff=trees.stream(BASE))
    driver.create_read_write("box", "base")
    return driver


def changed(driver, action):
    """What all ways say after *action* was done to the mounted `box`."""
    with mounted(driver, "box") as (path,):
        action(path)
    return agreed(driver, "box", "base")


# --- one by one -------------------------------------------------------------------------------------------------------


def remake(path):
    for name in ("sub/deep", "one", "two"):
        os.unlink(f"{path}/dir/{name}")
    os.rmdir(path + "/dir/sub")
    os.rmdir(path + "/dir")
    os.mkdir(path + "/dir", 0o755)


def remake_and_refill(path):
    remake(path)
    trees.write_tree(path + "/dir", {"one": b"new", "three": b""})


def remade_inside(path):
    os.unlink(path + "/dir/sub/deep")
    os.rmdir(path + "/dir/sub")
    os.mkdir(path + "/dir/sub")


def rename_a_file(path):
    os.rename(path + "/dir/one", path + "/moved")


def write_the_same(path):
    info = os.lstat(path + "/file")
    trees.write_tree(path, {"file": b"4"})
    os.utime(path + "/file", ns=(0, info.st_mtime_ns))


def set_time(nanoseconds):
    return lambda path: os.utime(path + "/file", ns=(0, trees.THEN * 10**9 + nanoseconds))


def unlink_all(path):
    subprocess.run(["rm", "-rf", *(os.path.join(path, name) for name in os.listdir(path))], check=True)


ONE_BY_ONE = {
    "nothing": (lambda path: None, []),
    "a new file": (lambda path: trees.write_tree(path, {"new": b""}), [("/new", "A")]),
    "a new file further down": (
        lambda path: trees.write_tree(path, {"dir/sub/new": b""}),
        [("/dir", "C"), ("/dir/sub", "C"), ("/dir/sub/new", "A")],
    ),
    "new folders": (lambda path: os.makedirs(path + "/x/y"), [("/x", "A"), ("/x/y", "A")]),
    "content of another size": (lambda path: trees.write_tree(path, {"other": b"55"}), [("/other", "C")]),
    "content and time": (lambda path: trees.write_tree(path, {"other": b"6"}), [("/other", "C")]),
    "written as it was": (write_the_same, []),
    "opened for writing": (lambda path: os.close(os.open(path + "/file", os.O_RDWR)), []),
    "a second's part of a time where there was none": (set_time(5), []),
    "another second": (set_time(10**9), [("/file", "C"), ("/hard", "C")]),
    "deleted": (lambda path: os.unlink(path + "/file"), [("/file", "D")]),
    "deleted further down": (
        lambda path: os.unlink(path + "/dir/sub/deep"), [("/dir", "C"), ("/dir/sub", "C"), ("/dir/sub/deep", "D")],
    ),
    "a deleted folder": (lambda path: subprocess.run(["rm", "-r", path + "/dir"], check=True), [("/dir", "D")]),
    "made and deleted again": (lambda path: (os.mkdir(path + "/x"), os.rmdir(path + "/x")), []),
    "deleted and made again": (
        remake, [("/dir", "C"), ("/dir/one", "D"), ("/dir/sub", "D"), ("/dir/two", "D")],
    ),
    "deleted, made again and filled": (
        remake_and_refill,
        [("/dir", "C"), ("/dir/one", "C"), ("/dir/sub", "D"), ("/dir/three", "A"), ("/dir/two", "D")],
    ),
    "deleted and made again inside": (remade_inside, [("/dir", "C"), ("/dir/sub", "C"), ("/dir/sub/deep", "D")]),
    "a folder for a file": (
        lambda path: (os.unlink(path + "/file"), os.makedirs(path + "/file/x")), [("/file", "C"), ("/file/x", "A")],
    ),
    "a file for a folder": (
        lambda path: (remake(path), os.rmdir(path + "/dir"), trees.write_tree(path, {"dir": b""})), [("/dir", "C")],
    ),
    "a link for a file": (
        lambda path: (os.unlink(path + "/other"), os.symlink("x", path + "/other")), [("/other", "C")],
    ),
    "a link to somewhere else": (
        lambda path: (os.unlink(path + "/link"), os.symlink("elsewhere", path + "/link")), [("/link", "C")],
    ),
    "a pipe for a file": (
        lambda path: (os.unlink(path + "/other"), os.mkfifo(path + "/other", 0o644)), [("/other", "C")],
    ),
    "another mode": (lambda path: os.chmod(path + "/other", 0o600), [("/other", "C")]),
    "another mode of a folder": (lambda path: os.chmod(path + "/dir", 0o700), [("/dir", "C")]),
    "another time of a folder": (lambda path: os.utime(path + "/dir", ns=(0, 0)), []),
    "a renamed file": (rename_a_file, [("/dir", "C"), ("/dir/one", "D"), ("/moved", "A")]),
    "a further name": (lambda path: os.link(path + "/other", path + "/again"), [("/again", "A")]),
    "a user's attribute": (lambda path: os.setxattr(path + "/other", "user.note", b"1"), []),
    "everything deleted": (
        unlink_all, [("/dir", "D"), ("/empty", "D"), ("/file", "D"), ("/hard", "D"), ("/link", "D"), ("/other", "D")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_one_change(box, name):
    action, expected = ONE_BY_ONE[name]
    found = changed(box, action)
    if name == "another second":
        # The copy up breaks the hard link, as overlayfs says: only the name that was used changes.
        expected = [("/file", "C")]
    assert found == expected


@pytest.mark.root
@pytest.mark.parametrize(("name", "action"), [
    ("owner", lambda path: os.chown(path + "/other", 5, 0)),
    ("group", lambda path: os.chown(path + "/other", 0, 5)),
    ("capability", lambda path: os.setxattr(path + "/other", "security.capability", oracle.CAPABILITY)),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_one_privileged_change(box, name, action):
    assert changed(box, action) == [("/other", "C")]


@pytest.mark.root
def test_device_numbers_and_the_loss_of_a_capability_are_changes(driver):
    driver.create("base")
    os.mknod(diff_folder(driver, "base") + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    trees.write_tree(diff_folder(driver, "base"), {"capable": b""})
    os.setxattr(diff_folder(driver, "base") + "/capable", "security.capability", oracle.CAPABILITY)
    driver.create_read_write("box", "base")
    with mounted(driver, "box") as (path,):
        os.unlink(path + "/null")
        os.mknod(path + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.utime(path + "/null", ns=(0, os.lstat(diff_folder(driver, "base") + "/null").st_mtime_ns))
        os.removexattr(path + "/capable", "security.capability")
    assert agreed(driver, "box", "base") == [("/capable", "C"), ("/null", "C")]


def test_changes_are_records_sorted_by_the_bytes_of_their_paths(box):
    with mounted(box, "box") as (path,):
        new = dict.fromkeys(("z", "a b", "a/b", "a-b", "ü", "�", "dir/one"), b"new")
        trees.write_tree(path, new)
        os.unlink(path + "/dir/two")
    found = box.changes("box", "base")
    assert all(isinstance(change, Change) and isinstance(change.kind, ChangeKind) for change in found)
    paths = [os.fsencode(change.path) for change in found]
    assert paths == sorted(paths)
    assert Change("/dir/two", ChangeKind.DELETE) in found
    assert (ChangeKind.MODIFY, ChangeKind.ADD, ChangeKind.DELETE) == (0, 1, 2)


def test_against_no_parent_everything_is_added(box):
    with mounted(box, "box") as (path,):
        os.unlink(path + "/dir/one")
        trees.write_tree(path, {"new": b""})
        expected = [("/" + name, "A") for name in sorted(trees.paths_below(path), key=os.fsencode)]
    assert letters(box.changes("box", "")) == letters(box.changes("box")) == expected
    assert ("/dir/one", "A") not in expected
    base = [("/" + name, "A") for name in sorted(trees.paths_below(diff_folder(box, "base")), key=os.fsencode)]
    assert letters(box.changes("base")) == letters(box.changes("base", "")) == base


def test_against_itself_nothing_changed(box):
    with mounted(box, "box") as (path,):
        trees.write_tree(path, {"new": b"", "dir/one": b"changed"})
    assert box.changes("box", "box") == []
    assert box.changes("base", "base") == []


def test_of_a_layer_without_parent_whiteouts_show_as_what_they_are(driver):
    """It is never mounted, so its compare sees devices that dockerd left, as moby's does. Ours has nothing to hide."""
    driver.create("base", diff=trees.stream({"f": b"", ".wh.void": b"", "d/": None, "d/.wh..wh..opq": b"", "d/x": b""}))
    os.mknod(os.path.join(diff_folder(driver, "base"), "gone"), stat.S_IFCHR)
    assert letters(driver.changes("base")) == [("/d", "A"), ("/d/x", "A"), ("/f", "A"), ("/gone", "A")]
    assert oracle.changes(diff_folder(driver, "base"), None) == letters(driver.changes("base"))


def test_between_siblings_and_up_the_chain(box):
    box.create_read_write("sibling", "base")
    with mounted(box, "box", "sibling") as (path, other):
        trees.write_tree(path, {"new": b"", "file": b"longer"})
        trees.write_tree(other, {"theirs": b""})
    box.create("child", "box", diff=trees.stream({"dir/.wh.one": b"", "child": b""}))
    pairs = (("box", "sibling"), ("sibling", "box"), ("child", "base"), ("base", "child"), ("child", "sibling"))
    for layer, parent in pairs:
        with mounted(box, layer, parent) as (new, old):
            expected = oracle.changes(new, old)
        assert letters(box.changes(layer, parent)) == expected != []
    assert host.mounts_below(box.home) == []


def test_changes_while_the_layer_is_mounted_and_in_use(box):
    path = box.get("box")
    trees.write_tree(path, {"new": b""})
    assert letters(box.changes("box", "base")) == [("/new", "A")]
    assert letters(box.changes("box", "")) != []
    assert box.holders("box") == {"": 1}
    assert box.mounted("box")
    box.put("box")


def test_asking_for_native_changes_mounts_nothing(box):
    assert box.features.native_diff
    reader = Driver(box.home, read_only=True, probe=False)
    if not box.features.in_user_namespace:
        assert reader.changes("box", "base") == []
    before = trees.inode_facts(box.home)
    box.changes("box", "base")
    assert trees.inode_facts(box.home) == before


# --- what archives can make -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [
    {".wh..wh..opq": b"", "new": b""},
    {".wh.nothing": b"", "dir/.wh.nothing": b"", "new/.wh.x": b""},
    {"dir/.wh..wh..opq": b"", "dir/.wh.one": b"", "dir/two": b"2"},
    {"empty/.wh..wh..opq": b"", "empty/sub/": None, "empty/sub/.wh..wh..opq": b""},
    {"file/.wh..wh..opq": b"", "file/x": b""},
    {".wh.dir": b"", ".wh.file": b""},
    {"dir/sub/.wh..wh..opq": b"", ".wh.empty": b""},
    {"dir/": trees.Entry(mode=0o755), "dir/.wh.sub": b"", "dir/sub": b"now a file"},
], ids=range(8))  # fmt: skip
def test_whiteouts_and_opaque_folders_as_archives_have_them(driver, entries):
    driver.create("base", diff=trees.stream(BASE))
    driver.create("image", "base", diff=trees.stream(entries))
    agreed(driver, "image", "base")
    again = dict.fromkeys(("dir/one", "dir/sub/deep", "file"), b"again")
    driver.create("upper", "image", diff=trees.stream(again))
    agreed(driver, "upper", "image")


@pytest.mark.parametrize("seed", oracle.seeds(6))
def test_whatever_an_archive_says(driver, seed):
    rng = random.Random(seed)
    driver.create("n0", diff=trees.stream({"a/b/c": b"1", "a/d": b"2", "b/a": b"3", "c": b"4", "d/": None}))
    for number in range(1, 8):
        layer, parent = "n%d" % number, "n%d" % (number - 1)
        while not driver.exists(layer):
            with contextlib.suppress(ArchiveError):  # a file where a folder has to be
                driver.create(layer, parent, diff=io.BytesIO(trees.archive(oracle.entries(rng, 8))))
        agreed(driver, layer, parent)


# --- what programs do -------------------------------------------------------------------------------------------------


def meddled_chain(driver, seed, length=7, count=25):
    """Layers `n0` … that each change something of the one below; returns their names."""
    rng = random.Random(seed)
    privileged = host.is_real_root()
    driver.create("n0")
    oracle.meddle(diff_folder(driver, "n0"), rng, 60, privileged=privileged)
    for number in range(1, length):
        driver.create_read_write("n%d" % number, "n%d" % (number - 1))
        with mounted(driver, "n%d" % number) as (path,):
            oracle.meddle(path, rng, count, privileged=privileged)
    return ["n%d" % number for number in range(length)]


@pytest.mark.parametrize("seed", oracle.seeds(8))
def test_whatever_is_done_to_a_mounted_layer(driver, seed):
    layers = meddled_chain(driver, seed)
    something = 0
    for parent, layer in zip(layers, layers[1:]):
        something += len(agreed(driver, layer, parent))
    assert something > 10
    # up the chain and down again, through mounts
    for layer, parent in ((layers[-1], layers[0]), (layers[2], layers[5])):
        with mounted(driver, layer, parent) as (new, old):
            assert letters(driver.changes(layer, parent)) == oracle.changes(new, old)
    assert letters(driver.changes("n0")) == oracle.changes(diff_folder(driver, "n0"), None)
    assert host.mounts_below(driver.home) == []


def test_a_chain_of_thirty(driver):
    layers = meddled_chain(driver, 99, length=30, count=8)
    for parent, layer in zip(layers, layers[1:]):
        agreed(driver, layer, parent)


def _in_a_namespace(home, seed):
    driver = Driver(home, ["overlay2.sync=none"])
    assert driver.features.userxattr
    assert driver.features.native_diff
    layers = meddled_chain(driver, seed, length=5)
    for parent, layer in zip(layers, layers[1:]):
        agreed(driver, layer, parent)
    driver.create("image", layers[-1], diff=trees.stream({"a/.wh..wh..opq": b"", ".wh.b": b"", "a/x": b""}))
    agreed(driver, "image", layers[-1])
    return len(layers)


@pytest.mark.parametrize("seed", oracle.seeds(2))
def test_whatever_is_done_in_a_user_namespace(userns, home, seed):
    assert userns(_in_a_namespace, home, 1000 + seed) == 5


# --- what only a mount can tell ---------------------------------------------------------------------------------------


def mount_with(driver, layer, options):
    path = os.path.join(driver.home, layer, "merged")
    os.makedirs(path, exist_ok=True)
    metadata = driver.get_metadata(layer)
    options = "{},lowerdir={LowerDir},upperdir={UpperDir},workdir={WorkDir}".format(options, **metadata)
    command = ["mount", "-t", "overlay", "x", "-o", options, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this kernel does not mount with {options}: {done.stderr}")
    return path


@pytest.mark.root
def test_a_renamed_folder_is_left_to_a_mount(box, caplog):
    """redirect_dir=on marks it with an attribute, which only overlayfs follows."""
    path = mount_with(box, "box", "redirect_dir=on")
    os.rename(path + "/dir", path + "/moved")
    trees.write_tree(path, {"moved/new": b""})
    subprocess.run(["umount", path], check=True)
    with pytest.raises(NotComparable):
        fast(box, "box")
    with mounted(box, "box", "base") as (new, old):
        expected = oracle.changes(new, old)
    with caplog.at_level(logging.INFO, "overlay2"):
        assert letters(box.changes("box", "base")) == expected
    assert "comparing it by mounts" in caplog.text
    assert ("/dir", "D") in expected
    assert ("/moved/new", "A") in expected
    # A layer on top of it is as good as any.
    box.create_read_write("top", "box")
    with mounted(box, "top") as (path,):
        trees.write_tree(path, {"moved/one": b"changed", "top": b""})
    with mounted(box, "top", "box") as (new, old):
        assert letters(box.changes("top", "box")) == oracle.changes(new, old) != []


@pytest.mark.root
def test_metadata_copied_up_alone(box):
    path = mount_with(box, "box", "metacopy=on,redirect_dir=on")
    os.chmod(path + "/dir/one", 0o600)
    subprocess.run(["umount", path], check=True)
    assert "trusted.overlay.metacopy" in os.listxattr(diff_folder(box, "box") + "/dir/one")
    # Read from the directory; a mount without metacopy could not even list it.
    assert letters(box.changes("box", "base")) == [("/dir", "C"), ("/dir/one", "C")]


@pytest.mark.root
def test_whiteouts_by_attribute_are_left_to_a_mount(box):
    """As mounts on lower layers that are themselves overlays have them, from Linux 6.8 on."""
    box.create("top", "box", diff=trees.stream({"new": b""}))
    folder = diff_folder(box, "box")
    trees.write_tree(folder, {"dir/one": b""})
    os.setxattr(folder, "trusted.overlay.opaque", b"x")
    os.setxattr(folder + "/dir", "trusted.overlay.opaque", b"x")
    os.setxattr(folder + "/dir/one", "trusted.overlay.whiteout", b"")
    with mounted(box, "top", "box") as (new, old):
        expected = oracle.changes(new, old)
    assert letters(box.changes("top", "box")) == expected
    with mounted(box, "box", "base") as (new, old):
        expected = oracle.changes(new, old)
    assert letters(box.changes("box", "base")) == expected


# --- awkward trees ----------------------------------------------------------------------------------------------------


def test_paths_longer_than_a_path_may_be(driver):
    driver.create("base")
    driver.create_read_write("box", "base")
    path = driver.get("box")
    folder = os.open(path, os.O_RDONLY)
    for _round in range(60):
        os.mkdir("d" * 100, dir_fd=folder)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    driver.put("box")
    for parent in ("base", ""):
        found = driver.changes("box", parent)
        assert len(found) == 60
        assert all(change.kind == ChangeKind.ADD for change in found)
        assert len(found[-1].path) == 60 * 101


def test_a_tree_that_changes_while_it_is_compared(real_tmp):
    trees.write_tree(str(real_tmp), {"new/%d/f" % number: b"" for number in range(30)})
    (real_tmp / "old").mkdir()

    def vanish():
        shutil.rmtree(real_tmp / "new" / "7")

    with opened(real_tmp / "new", real_tmp / "old") as (new, old), steps.Once("open_directory", vanish) as moment:
        found = letters(compare(new, old))
    assert moment.happened
    assert ("/8/f", "A") in found
    assert ("/7/f", "A") not in found
