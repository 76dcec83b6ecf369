# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A driver that only reads: it touches nothing, needs no privilege, and says so where an answer would take more."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from overlay2 import Driver
from overlay2.changes import Change, ChangeKind
from overlay2.errors import HomeNotFound, Overlay2Error, ReadOnlyDriver
from overlay2.linux import mount
from support import chains, host, nobody, overlay_module, trees

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")

FAST = ["overlay2.sync=none"]
BOTH_WAYS = pytest.mark.parametrize("probe", [True, False], ids=["trial mounts", "looks alone"])


@pytest.fixture
def filled(home):
    """A home with a base, a layer on it that changes something, and one that is mounted."""
    driver = Driver(home, FAST)
    driver.create("base", diff=trees.stream({"etc/": None, "etc/old": b"1", "etc/gone": b"2"}))
    changed = {"etc/old": b"changed", "etc/.wh.gone": b"", "new": b"3"}
    driver.create_read_write("web", "base", diff=trees.stream(changed))
    driver.create_read_write("running", "base")
    driver.get("running", holder="me")
    yield home
    driver.cleanup()


CHANGES = [
    Change("/etc", ChangeKind.MODIFY),
    Change("/etc/gone", ChangeKind.DELETE),
    Change("/etc/old", ChangeKind.MODIFY),
    Change("/new", ChangeKind.ADD),
]


def names_of(stream):
    with stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        return [member.name for member in archive]


def read_all(driver):
    """What every question gets for an answer."""
    return {
        "status": driver.status(),
        "layers": [(layer.id, layer.parent, layer.lower, layer.committed, layer.problems) for layer in driver.layers()],
        "layer": driver.layer("web").depth,
        "metadata": driver.get_metadata("web"),
        "exists": [driver.exists(name) for name in ("base", "web", "none")],
        "children": driver.children("base"),
        "mounted": [driver.mounted(name) for name in ("web", "running")],
        "mounted layers": driver.mounted_layers(),
        "holders": driver.holders("running"),
        "changes": driver.changes("web", "base"),
        "changes of the base": driver.changes("base"),
        "diff": names_of(driver.diff("web", "base")),
        "diff of the base": names_of(driver.diff("base")),
        "size": [driver.diff_size("web", "base"), driver.diff_size("base")],
    }


MUTATIONS = {
    "create": lambda driver: driver.create("new"),
    "create_read_write": lambda driver: driver.create_read_write("new", "base"),
    "create with content": lambda driver: driver.create("new", diff=trees.stream({"a": b""})),
    "apply_diff": lambda driver: driver.apply_diff("web", "base", io.BytesIO(), replace=True),
    "remove": lambda driver: driver.remove("web"),
    "remove what is not there": lambda driver: driver.remove("none"),
    "get": lambda driver: driver.get("web"),
    "get of a base": lambda driver: driver.get("base", holder="me"),
    "put": lambda driver: driver.put("running", holder="me"),
    "put_all": lambda driver: driver.put_all("running"),
    "cleanup": lambda driver: driver.cleanup(),
    "set_quota": lambda driver: driver.set_quota("web", 1),
}


@BOTH_WAYS
def test_reading_all_there_is_touches_nothing(filled, run_root, probe):
    writer = Driver(filled, FAST)
    before, run_before = trees.inode_facts(filled), trees.paths_below(run_root)
    mounts = host.mounts_below(filled)
    driver = Driver(filled, read_only=True, probe=probe)
    told = read_all(driver) if driver.features.native_diff else None
    assert trees.inode_facts(filled) == before
    assert host.mounts_below(filled) == mounts
    assert trees.paths_below(run_root) == run_before
    if not probe and host.in_user_namespace():
        assert told is None  # of which class the attributes are takes a mount to find out
        return
    assert told["changes"] == CHANGES
    assert told["mounted"] == [False, True]
    assert told["holders"] == {"me": 1}
    told["status"][8] = ("Sync", "none")
    assert told == read_all(writer)


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_would_change_something_is_refused(filled, name):
    before, mounts = trees.inode_facts(filled), host.mounts_below(filled)
    driver = Driver(filled, read_only=True)
    with pytest.raises(ReadOnlyDriver, match="opened for reading only"):
        MUTATIONS[name](driver)
    assert trees.inode_facts(filled) == before
    assert host.mounts_below(filled) == mounts
    assert driver.holders("running") == {"me": 1}


@BOTH_WAYS
@pytest.mark.root
def test_on_a_read_only_bind_mount(filled, real_tmp, probe):
    before = trees.inode_facts(filled)
    view = real_tmp / "view"
    view.mkdir()
    mount.mount(filled, view, "", 4096)  # MS_BIND
    mount.mount("none", view, "", 4096 | 32 | 1)  # MS_BIND | MS_REMOUNT | MS_RDONLY
    with pytest.raises(OSError, match="Read-only"):
        os.mkdir(view / "proof")
    driver = Driver(str(view), read_only=True, probe=probe)
    assert driver.changes("web", "base") == CHANGES
    assert [layer.problems for layer in driver.layers()] == [(), (), ()]
    assert driver.get_metadata("web")["LowerDir"] == str(view / "base" / "diff")
    assert names_of(driver.diff("web", "base")) == ["etc", "etc/.wh.gone", "etc/old", "new"]
    with pytest.raises(ReadOnlyDriver):
        driver.get("web")
    assert trees.inode_facts(filled) == before


@BOTH_WAYS
def test_on_a_read_only_file_system(real_tmp, probe):
    mount.mount("t", real_tmp, "tmpfs")
    chain = chains.make(str(real_tmp / "home"))
    mount.mount("t", real_tmp, "tmpfs", 32 | 1)  # MS_REMOUNT | MS_RDONLY
    driver = Driver(chain.home, read_only=True, probe=probe)
    assert [(layer.id, layer.depth) for layer in driver.layers()] == [("0", 0), ("1", 1), ("top", 2)]
    assert [layer.problems for layer in driver.layers()] == [()] * 3
    assert driver.features.backing_fs == "tmpfs"
    if driver.features.native_diff:
        assert driver.diff_size("top", "1") == 3


@BOTH_WAYS
def test_on_an_overlay_where_no_writer_could_be(real_tmp, probe):
    for name in ("lower", "upper", "work", "merged"):
        (real_tmp / name).mkdir()
    chain = chains.make(str(real_tmp / "lower" / "home"))
    options = "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work" % ((real_tmp,) * 3)
    options += ",userxattr" if host.in_user_namespace() else ""
    mount.mount("overlay", real_tmp / "merged", "overlay", 0, options)
    driver = Driver(str(real_tmp / "merged" / "home"), read_only=True, probe=probe)
    assert driver.features.backing_fs == "overlayfs"
    assert [layer.problems for layer in driver.layers()] == [()] * 3
    assert not driver.mounted(chain.layer)
    assert os.listdir(real_tmp / "upper") == []


def test_a_home_that_another_program_made(real_tmp):
    """No record of ours, no staging folder, other modes."""
    chain = chains.make(str(real_tmp / "home"), 3)
    before = trees.inode_facts(chain.home)
    driver = Driver(chain.home, read_only=True)
    layer = driver.layer("top")
    assert (layer.parent, layer.lower, layer.read_write, layer.diff_id) == ("2", ("2", "1", "0"), None, None)
    assert layer.problems == ()
    assert trees.inode_facts(chain.home) == before


@BOTH_WAYS
def test_an_empty_home(home, probe):
    driver = Driver(home, read_only=True, probe=probe)
    assert list(driver.layers()) == []
    assert driver.mounted_layers() == []
    assert not driver.exists("web")
    assert os.listdir(home) == []


@pytest.mark.parametrize("name", ["none", "none/deeper", "file", "file/inside"])
@BOTH_WAYS
def test_there_is_no_home(real_tmp, name, probe):
    (real_tmp / "file").touch()
    with pytest.raises(HomeNotFound, match=r"there is no driver home.*Check the path") as refused:
        Driver(str(real_tmp / name), read_only=True, probe=probe)
    assert refused.value.path == str(real_tmp / name)
    assert os.listdir(real_tmp) == ["file"]


# Where an answer would take a mount


@pytest.mark.root
def test_an_answer_that_would_take_a_mount_is_refused_not_guessed(filled):
    with overlay_module.parameter("redirect_dir", "Y"):
        drivers = [Driver(filled, read_only=True, probe=probe) for probe in (True, False)]
    for driver in drivers:
        assert not driver.features.native_diff
        for question in (driver.changes, driver.diff, driver.diff_size):
            with pytest.raises(ReadOnlyDriver, match=r"layer web: .*needs a mount"):
                question("web", "base")
        # A layer without parent is its own folder, by whatever way it is read.
        assert [change.path for change in driver.changes("base")] == ["/etc", "/etc/gone", "/etc/old"]
        assert driver.diff_size("base") == 2
        assert names_of(driver.diff("base")) == ["etc", "etc/gone", "etc/old"]


def test_another_parent_than_the_direct_one_would_take_a_mount(filled):
    driver = Driver(filled, read_only=True)
    with pytest.raises(ReadOnlyDriver, match="needs a mount"):
        driver.changes("web", "running")


# Without privilege


def open_up(home):
    """Let everybody read a home."""
    for folder, _folders, _files in os.walk(home):
        if os.path.basename(folder) not in ("merged", "work"):
            os.chmod(folder, 0o755)


@BOTH_WAYS
@pytest.mark.root
def test_nobody_may_read_a_home_that_is_open(filled, probe, monkeypatch):
    open_up(filled)
    before = trees.inode_facts(filled)
    monkeypatch.setenv("OVERLAY2_RUN_ROOT", "/proc/nothing-can-be-made-here")

    def look():
        driver = Driver(filled, read_only=True, probe=probe)
        layers = [(layer.id, layer.parent, layer.problems) for layer in driver.layers()]
        base = [change.path for change in driver.changes("base")]
        return dict(driver.status()), layers, driver.get_metadata("web"), base, driver.mounted("running")

    status, layers, metadata, base, mounted = nobody.call(look)
    assert layers == [("base", "", ()), ("running", "base", ()), ("web", "base", ())]
    assert metadata["LowerDir"] == filled + "/base/diff"
    assert base == ["/etc", "/etc/gone", "/etc/old"]
    assert mounted is True
    assert (status["Supports d_type"], status["Native Overlay Diff"]) == ("true", "false")
    assert trees.inode_facts(filled) == before


@pytest.mark.root
def test_nobody_is_not_told_changes_that_may_be_wrong(filled):
    """The attribute of an opaque folder is hidden from who is not CAP_SYS_ADMIN."""
    open_up(filled)
    with pytest.raises(ReadOnlyDriver, match="needs a mount"):
        nobody.call(lambda: Driver(filled, read_only=True).changes("web", "base"))


@pytest.mark.root
def test_nobody_may_not_read_a_home_that_is_closed(filled):
    with pytest.raises(Overlay2Error, match=r"can't read the home: Permission denied.*Run as root") as refused:
        nobody.call(lambda: Driver(filled, read_only=True))
    assert refused.value.path == filled


@pytest.mark.root
def test_a_folder_on_the_way_that_is_closed_is_not_a_missing_home(real_tmp):
    (real_tmp / "closed" / "home").mkdir(parents=True)
    os.chmod(real_tmp / "closed", 0o700)
    with pytest.raises(Overlay2Error, match="can't read the home: Permission denied"):
        nobody.call(lambda: Driver(str(real_tmp / "closed" / "home"), read_only=True))


@pytest.mark.root
def test_layers_that_are_closed_are_listed_as_such(filled):
    """The home and `l` are open, the layers have the modes that every driver gives them."""
    os.chmod(filled, 0o755)
    os.chmod(filled + "/l", 0o755)

    def look():
        driver = Driver(filled, read_only=True)
        layers = [(layer.id, layer.parent, layer.problems) for layer in driver.layers()]
        return layers, driver.mounted("running"), driver.mounted("web"), driver.mounted_layers()

    layers, running, web, mounted = nobody.call(look)
    assert [(name, parent) for name, parent, _problems in layers] == [("base", None), ("running", None), ("web", None)]
    for _name, _parent, problems in layers:
        assert problems[:2] == (
            "its link file can't be read: Permission denied",
            "its diff folder can't be looked at: Permission denied",
        )
    assert (running, web, mounted) == (True, False, ["running"])  # the mount table is open to all


@pytest.mark.root
@pytest.mark.parametrize(
    "question",
    [
        lambda driver: driver.changes("web", "base"), lambda driver: driver.diff("web"),
        lambda driver: driver.diff_size("base"), lambda driver: driver.get_metadata("web"),
        lambda driver: driver.changes("base"), lambda driver: driver.diff("base"),
    ],
)  # fmt: skip
def test_questions_about_a_closed_layer_are_refused_as_ours_with_a_remedy_that_deletes_nothing(filled, question):
    os.chmod(filled, 0o755)
    with pytest.raises(Overlay2Error) as refused:
        nobody.call(lambda: question(Driver(filled, read_only=True)))
    assert refused.value.layer in ("web", "base")
    assert "emove" not in (refused.value.remedy or "")


def _read_in_a_namespace(home):
    driver = Driver(home, read_only=True)
    return dict(driver.status()), [(layer.id, layer.problems) for layer in driver.layers()], driver.features.native_diff


def test_in_a_user_namespace(userns, real_tmp):
    chain = chains.make(str(real_tmp / "home"))
    before = trees.inode_facts(chain.home)
    status, layers, native = userns(_read_in_a_namespace, chain.home)
    assert status["userxattr"] == "true"
    assert layers == [("0", ()), ("1", ()), ("top", ())]
    assert native is True
    assert trees.inode_facts(chain.home) == before
