# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Views of chains: held against what the kernel shows of the same layers, mounted."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from overlay2 import ChangeKind, Driver, Overlay2Error
from overlay2.errors import LayerDamaged, LayerNotFound
from overlay2.view import chain_view
from support.trees import stream, symlink

ADD, MODIFY, DELETE = ChangeKind.ADD, ChangeKind.MODIFY, ChangeKind.DELETE
NAME = os.fsdecode(b"caf\xe9")


@pytest.fixture
def driver(home):
    """A driver of a chain base, middle, top, in which everything happens that can happen to a name."""
    driver = Driver(home, ["overlay2.sync=none"])
    driver.create("base", diff=stream({
        "etc/": None, "etc/hostname": b"base\n", "etc/motd": b"welcome\n" * 50, "etc/" + NAME: b"x",
        "usr/": None, "usr/lib/": None, "usr/lib/big": b"\0" * 30000, "usr/lib/small": b"1",
        "opt/": None, "opt/old/": None, "opt/old/a": b"1", "opt/old/sub/": None, "opt/old/sub/b": b"22",
        "var/": None, "var/cache/": None, "var/cache/bin": b"x" * 2000, "turned": b"a file",
        "link": symlink("etc/hostname"),
    }))  # fmt: skip
    driver.create("middle", "base", diff=stream({
        "usr/": None, "usr/lib/": None, "usr/lib/big": b"\1" * 31000, "var/": None, "var/cache/": None,
        "var/cache/.wh.bin": b"", "opt/": None, "opt/old/": None, "opt/old/.wh..wh..opq": b"", "opt/old/c": b"333",
        "srv/": None, "srv/app": b"print()\n",
    }))  # fmt: skip
    driver.create_read_write("top", "middle")
    merged = driver.get("top")
    with open(os.path.join(merged, "etc/hostname"), "w", encoding="ascii") as target:
        target.write("top\n")
    os.unlink(os.path.join(merged, "srv/app"))
    os.unlink(os.path.join(merged, "etc/motd"))
    os.unlink(os.path.join(merged, "turned"))
    os.mkdir(os.path.join(merged, "turned"))
    os.mkdir(os.path.join(merged, "turned/in"))
    os.chmod(os.path.join(merged, "usr/lib/small"), 0o600)
    driver.put("top")
    return driver


def kinds(entries):
    """Name to kind, of entries."""
    return {entry.name: entry.kind for entry in entries}


def tree(view, list_folder, folder=""):
    """Path to kind of everything below a folder, as the view tells it."""
    found = {}
    for entry in list_folder(folder):
        found[entry.path] = entry.kind
        if entry.is_folder and entry.kind != DELETE:
            found.update(tree(view, list_folder, entry.path))
    return found


@pytest.mark.parametrize("layer", ["base", "middle", "top"])
def test_merged_is_what_the_kernel_shows(driver, layer):
    root = driver.get(layer, holder="test")
    try:
        with chain_view(driver.opened, layer) as view:
            shown = {path for path, kind in tree(view, view.merged).items() if kind != DELETE}
            wanted = set()
            for folder, folders, files in os.walk(root):
                wanted |= {os.path.join(folder, name)[len(root) :] for name in folders + files}
            assert shown == wanted
            for path in wanted:
                info = os.lstat(root + path)
                if stat.S_ISREG(info.st_mode):
                    with open(root + path, "rb") as source:
                        assert view.head(path, 100_000) == source.read()
    finally:
        driver.put(layer, holder="test")


@pytest.mark.parametrize("layer", ["base", "middle", "top"])
def test_own_kinds_are_the_driver_s_changes(driver, layer):
    parent = driver.layer(layer).parent
    changes = {change.path: change.kind for change in driver.changes(layer, parent)}
    with chain_view(driver.opened, layer) as view:
        own = {path: kind for path, kind in tree(view, view.own).items() if kind is not None}
    # Folders that only hold changes are "modified" to Docker; here they have no kind, as nothing happened to them.
    bare = {path for path in changes if path not in own}
    assert {path: kind for path, kind in changes.items() if path not in bare} == own
    assert all(changes[path] == MODIFY for path in bare)


def test_own_of_the_uppermost(driver):
    with chain_view(driver.opened, "top") as view:
        assert kinds(view.own()) == {"etc": None, "srv": None, "turned": MODIFY, "usr": None}
        assert kinds(view.own("/etc")) == {"hostname": MODIFY, "motd": DELETE}
        assert kinds(view.own("/srv")) == {"app": DELETE}
        assert kinds(view.own("/var")) == {}
        deleted = view.own("/srv")[0]
        assert (deleted.owner, deleted.info.st_size) == ("middle", 8)


def test_an_opaque_folder_shows_what_it_hides(driver):
    with chain_view(driver.opened, "middle") as view:
        (old,) = view.own("/opt")
        assert old.opaque
        assert kinds(view.own("/opt/old")) == {"a": DELETE, "c": ADD, "sub": DELETE}
        assert kinds(view.own("/opt/old/sub")) == {"b": DELETE}
        assert view.owner("/opt/old/a") is None
    with chain_view(driver.opened, "top") as view:
        assert kinds(view.merged("/opt/old")) == {"c": None}


def test_owners(driver):
    with chain_view(driver.opened, "top") as view:
        paths = ("/etc/hostname", "/usr/lib/big", "/link", "/srv/app", "/none", "/turned/in")
        found = {path: view.owner(path) for path in paths}
    assert found == {
        "/etc/hostname": "top", "/usr/lib/big": "middle", "/link": "base",
        "/srv/app": None, "/none": None, "/turned/in": "top",
    }  # fmt: skip


def test_versions_say_who_has_what(driver):
    with chain_view(driver.opened, "top") as view:
        versions = view.versions("/usr/lib/big")
        assert [(v.owner, v.shows, v.whiteout) for v in versions] == [("middle", True, False), ("base", False, False)]
        versions = view.versions("/etc/motd")
        assert [(v.owner, v.shows, v.whiteout) for v in versions] == [("top", False, True), ("base", False, False)]
        assert [v.shows for v in view.versions("/usr/lib")] == [True, True, True]


def test_heads_and_links(driver):
    with chain_view(driver.opened, "top") as view:
        assert view.head("/etc/hostname") == b"top\n"
        assert view.head("/usr/lib/big", 3) == b"\1\1\1"
        assert view.head("/link") is None
        assert view.link_target("/link") == "etc/hostname"
        assert view.link_target("/etc/hostname") is None
        assert view.head("/etc") is None
        assert view.head("/etc/" + NAME) == b"x"


def test_no_link_in_a_lower_layer_leads_out(driver, real_tmp):
    (real_tmp / "secret").write_text("no")
    driver.create("evil", diff=stream({"out": symlink(str(real_tmp))}))
    driver.create("over", "evil", diff=stream({"other": b""}))
    with chain_view(driver.opened, "over") as view:
        assert view.owner("/out/secret") is None
        assert view.head("/out/secret") is None
        assert view.merged("/out") == []


def test_a_pipe_does_not_hold_the_reader_up(driver):
    os.mkfifo(os.path.join(driver.home, "top/diff/pipe"))
    with chain_view(driver.opened, "top") as view:
        assert view.head("/pipe") is None


def test_waste(driver):
    with chain_view(driver.opened, "top") as view:
        waste = view.waste()
    worst = {path: (size, copies) for path, size, copies in waste.worst}
    assert worst["/usr/lib/big"] == (30000, 1)
    assert worst["/var/cache/bin"] == (2000, 1)
    assert worst["/srv/app"] == (8, 1)
    assert worst["/opt/old"] == (3, 1)
    assert waste.worst[0][0] == "/usr/lib/big"
    assert waste.hidden == sum(size for _path, size, _copies in waste.worst)
    sizes = sum(driver.own_size(layer) for layer in ("base", "middle", "top"))
    assert waste.stored == sizes
    assert waste.score == pytest.approx((sizes - waste.hidden) / sizes)


def test_waste_names_the_worst_only_and_can_be_ended(driver):
    with chain_view(driver.opened, "top") as view:
        assert [path for path, _size, _copies in view.waste(worst=1).worst] == ["/usr/lib/big"]

        def stop(_entries):
            raise KeyError

        with pytest.raises(KeyError):
            view.waste(progress=stop)


def test_an_empty_chain_wastes_nothing(driver):
    driver.create("empty")
    with chain_view(driver.opened, "empty") as view:
        assert view.waste().score == 1.0
        assert view.own() == []


def test_a_missing_lower_layer_is_told_and_the_rest_shows(driver):
    os.unlink(os.path.join(driver.home, "l", driver.layer("base").link))
    with chain_view(driver.opened, "top") as view:
        assert view.layers == ["top", "middle"]
        assert "can't be followed" in view.problems[0]
        assert view.owner("/usr/lib/big") == "middle"
        assert view.owner("/link") is None


def test_files_in_a_composefs_image_are_not_taken_for_objects(driver):
    """As containers/storage keeps them: diff holds objects by their digest, not the layer's files."""
    driver.create("objects")
    os.makedirs(os.path.join(driver.home, "objects", "diff", "ab"))
    driver.create("above", "objects")
    os.mkdir(os.path.join(driver.home, "objects", "composefs-data"))
    with pytest.raises(Overlay2Error, match="composefs"), chain_view(driver.opened, "objects"):
        pass
    with chain_view(driver, "above") as view:
        assert view.merged() == []
        assert "composefs" in view.problems[0]


def test_what_is_not_there_is_an_error_of_the_driver(driver):
    with pytest.raises(LayerNotFound), chain_view(driver.opened, "none"):
        pass
    os.rename(os.path.join(driver.home, "top/diff"), os.path.join(driver.home, "top/gone"))
    with pytest.raises(LayerDamaged), chain_view(driver.opened, "top"):
        pass
    with pytest.raises(Overlay2Error):
        driver.own_size("top")


@pytest.fixture
def renamed(driver):
    """A layer ``run`` on ``top`` in which directories were renamed and files changed in their attributes alone.

    The mount is another program's, as podman mounts by default on some distributions: with redirect_dir and metacopy.
    """
    driver.create_read_write("run", "top")
    store = driver.opened.store
    paths = store.paths("run")
    lowers = ":".join(store.lower_dirs("run"))
    options = f"redirect_dir=on,metacopy=on,lowerdir={lowers},upperdir={paths.upper},workdir={paths.work}"
    os.makedirs(paths.merged, exist_ok=True)
    mount = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, paths.merged], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("this kernel, or this user, has no metacopy")
    try:
        os.rename(paths.merged + "/usr", paths.merged + "/moved")
        os.rename(paths.merged + "/moved/lib", paths.merged + "/moved/library")
        os.mkdir(paths.merged + "/usr")
        os.rename(paths.merged + "/etc", paths.merged + "/var/etc")
        os.unlink(paths.merged + "/var/etc/hostname")
        os.chmod(paths.merged + "/moved/library/big", 0o600)
        os.rename(paths.merged + "/moved/library/big", paths.merged + "/big")
        with open(paths.merged + "/moved/library/new", "w", encoding="ascii") as target:
            target.write("new")
        yield paths.merged
    finally:
        subprocess.run(["umount", paths.merged], check=True)


def test_renamed_directories_and_files_without_data_are_followed(driver, renamed):
    wanted = {}
    for folder, folders, files in os.walk(renamed):
        for name in folders + files:
            path = os.path.join(folder, name)
            regular = stat.S_ISREG(os.lstat(path).st_mode)
            wanted[path[len(renamed) :]] = Path(path).read_bytes() if regular else None
    with chain_view(driver.opened, "run") as view:
        shown = {path for path, kind in tree(view, view.merged).items() if kind != DELETE}
        assert shown == set(wanted)
        for path, content in wanted.items():
            if content is not None:
                assert view.head(path, 100_000) == content, path
            assert view.owner(path) is not None
        own = {entry.name: entry for entry in view.own()}
        assert {name: entry.kind for name, entry in own.items()} == {
            "big": ADD, "etc": DELETE, "moved": ADD, "usr": None, "var": None,
        }  # fmt: skip
        assert own["moved"].redirect.strip("/") == "usr"
        assert own["big"].metacopy
        (there,) = [entry for entry in view.own("/var") if entry.name == "etc"]
        assert there.redirect == "/etc"
        assert kinds(view.own("/moved")) == {"lib": DELETE, "library": ADD}
        assert kinds(view.own("/moved/library")) == {"big": DELETE, "new": ADD}
        versions = view.versions("/moved/library/small")
        assert [(version.owner, version.path) for version in versions if version.shows] == [("top", "/usr/lib/small")]
        assert [version.metacopy for version in view.versions("/big")] == [True]
        assert view.head("/var/etc/hostname") is None
        with pytest.raises(Overlay2Error, match="was renamed"):
            view.waste()


@pytest.mark.parametrize("target", [b"../../etc", b"/../etc", b"/etc/../..", b"", b"/", b"a/b", b"/link", b"/loop"])
def test_a_redirect_cannot_lead_out_of_a_layer(driver, target):
    attribute = "%s.overlay.redirect" % driver.features.xattr_class
    for layer, path in (("top", "moved"), ("base", "loop")):
        os.mkdir(driver.opened.store.upper_dir(layer) + "/" + path)
        os.setxattr(driver.opened.store.upper_dir(layer) + "/" + path, attribute, target)
    os.symlink("/etc", driver.opened.store.upper_dir("middle") + "/link-out")
    os.setxattr(driver.opened.store.upper_dir("top") + "/moved", attribute, target)
    with chain_view(driver.opened, "top") as view:
        assert view.merged("/moved") == []


def test_whiteouts_made_of_attributes(driver):
    """As overlayfs makes them from Linux 6.8 on for layers that were themselves made on an overlay."""
    prefix = "%s.overlay." % driver.features.xattr_class
    upper = driver.opened.store.upper_dir("top") + "/usr/lib"
    os.setxattr(upper, prefix + "opaque", b"x")
    for name in ("big", "empty"):
        with open(upper + "/" + name, "w", encoding="ascii"):
            pass
    os.setxattr(upper + "/big", prefix + "whiteout", b"")
    with chain_view(driver.opened, "top") as view:
        assert kinds(view.own("/usr/lib")) == {"big": DELETE, "empty": ADD, "small": MODIFY}
        assert view.owner("/usr/lib/big") is None
        assert [version.whiteout for version in view.versions("/usr/lib/big")] == [True, False, False]


def test_views_leave_no_descriptor_open(driver):
    before = len(os.listdir("/proc/self/fd"))
    for _time in range(3):
        with chain_view(driver.opened, "top") as view:
            tree(view, view.merged)
            view.waste()
            view.attributes("/etc/hostname")
            view.versions("/opt/old/c")
    assert len(os.listdir("/proc/self/fd")) == before


# What readers ask of the driver beside views


def test_a_reader_without_probes_mounts_and_writes_nothing(driver, run_root):
    before = (sorted(os.listdir(driver.home)), sorted(os.listdir(run_root)))
    reader = Driver(driver.home, read_only=True, probe=False)
    assert reader.features.native_diff == driver.features.native_diff
    assert reader.features.xattr_class == driver.features.xattr_class
    assert reader.features.metacopy == driver.features.metacopy
    assert dict(reader.status())["Backing Filesystem"] == driver.features.backing_fs
    assert (sorted(os.listdir(driver.home)), sorted(os.listdir(run_root))) == before


def test_layers_by_name(driver):
    assert [layer.id for layer in driver.layers({"top", "base", "none"})] == ["base", "top"]


def test_mount_plans(driver):
    assert driver.mount_plan("base") is None
    plan = driver.mount_plan("top")
    assert len(plan.lowers) == 2
    assert plan.upper.endswith("/top/diff")
    assert driver.mount_plan("middle").upper is None  # it has a child


def test_mount_table_and_recorded_holders(driver):
    assert driver.mount_table() == []
    driver.get("top", holder="web")
    try:
        (entry,) = driver.mount_table()
        assert entry.mount_point == os.path.join(os.path.realpath(driver.home), "top/merged")
        assert driver.recorded_holders() == {"top": {"web": 1}}
    finally:
        driver.put("top", holder="web")
    assert driver.recorded_holders() == {}


def test_measuring_can_be_ended(driver):
    calls = []

    def progress():
        calls.append(1)
        if len(calls) == 2:
            raise KeyError

    with pytest.raises(KeyError):
        driver.own_usage("base", progress)
    assert driver.own_size("base") == driver.diff_size("base")
