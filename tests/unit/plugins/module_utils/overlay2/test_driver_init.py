# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Opening a home: the folders it makes, options, homes it refuses and in which words, and what it leaves then."""

from __future__ import annotations

import os
import stat
import subprocess
import threading

import pytest
from overlay2 import Driver, IdMap, IdRange
from overlay2.errors import DTypeNotSupported, NotSupported, OptionError, Overlay2Error
from overlay2.home.options import DriverOptions
from overlay2.linux import mount
from support import host, nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")

FAST = ["overlay2.sync=none"]


def facts(path):
    info = os.stat(path)
    return stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid


def refused(home, options=(), cls=NotSupported, **arguments):
    with pytest.raises(cls) as raised:
        Driver(home, options, **arguments)
    assert isinstance(raised.value, Overlay2Error)
    return raised.value


@pytest.fixture(params=[0o022, 0o777, 0])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# What it makes


@pytest.mark.parametrize("existing", [False, True])
def test_the_folders_of_a_home(home, existing, umask):
    me = os.geteuid(), os.getegid()
    if not existing:
        os.rmdir(home)
    Driver(home, FAST)
    assert facts(home) == (0o710, *me)
    assert facts(home + "/l") == (0o700, *me)
    assert set(os.listdir(home)) <= {"l", ".staging"}
    assert os.listdir(home + "/l") == []
    assert host.mounts_below(home) == []


def test_missing_parents_are_made_likewise(real_tmp, umask):
    Driver(str(real_tmp / "a" / "b" / "home"), FAST)
    for name in ("a", "a/b", "a/b/home"):
        assert facts(real_tmp / name)[0] == 0o710
    assert os.listdir(real_tmp) == ["a"]
    assert os.listdir(real_tmp / "a") == ["b"]


def test_an_existing_home_gets_its_mode_and_keeps_its_content(home):
    os.chmod(home, 0o755)
    os.mkdir(home + "/l", 0o755)
    os.symlink("../x/diff", home + "/l/" + "A" * 26)
    os.makedirs(home + "/x/diff")
    Driver(home, FAST)
    assert facts(home)[0] == 0o710
    assert facts(home + "/l")[0] == 0o700
    assert os.listdir(home + "/l") == ["A" * 26]
    assert os.path.isdir(home + "/x/diff")


@pytest.mark.root
def test_the_mapped_root_group_may_enter(real_tmp):
    id_map = IdMap((IdRange(0, 1000, 10),), (IdRange(0, 2000, 10),))
    home = str(real_tmp / "parent" / "home")
    Driver(home, FAST, id_map)
    assert facts(home) == (0o710, 0, 2000)
    assert facts(real_tmp / "parent") == (0o710, 0, 2000)
    assert facts(home + "/l") == (0o700, 0, 0)
    Driver(home, FAST)
    assert facts(home) == (0o710, 0, 0)


def test_a_map_without_root_is_refused_before_anything_is_made(real_tmp):
    id_map = IdMap((IdRange(1, 1000, 10),))
    error = refused(str(real_tmp / "home"), FAST, OptionError, id_map=id_map)
    assert "uid 0 is not in the id map" in error.message
    assert os.listdir(real_tmp) == []


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/../home", "{}//.", "relative"])
def test_spellings_of_a_home(home, spelling, monkeypatch):
    monkeypatch.chdir(os.path.dirname(home))
    driver = Driver("home" if spelling == "relative" else spelling.format(home), FAST)
    assert driver.home == home
    assert (str(driver), repr(driver)) == ("overlay2", "<overlay2.Driver of %s>" % home)
    monkeypatch.chdir("/")
    driver.create("base")
    assert os.path.isdir(home + "/base/diff")


def test_a_home_behind_a_symbolic_link(home, real_tmp):
    os.symlink(home, real_tmp / "link")
    driver = Driver(str(real_tmp / "link"), FAST)
    driver.create("base")
    driver.create_read_write("web", "base")
    path = driver.get("web")
    assert path == str(real_tmp / "link" / "web" / "merged")
    other = Driver(home, FAST)
    assert other.holders("web") == {"": 1}  # one home, by whatever name
    other.put("web")
    assert host.mounts_below(home) == []
    assert os.path.islink(real_tmp / "link")


def test_opening_a_home_again_and_at_the_same_time(home):
    problems = []

    def work():
        try:
            Driver(home, FAST)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _round in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert set(os.listdir(home)) <= {"l", ".staging"}
    assert host.mounts_below(home) == []


@pytest.mark.root
def test_two_homes_on_two_file_systems_in_one_process(xfs_home, tmpfs_home):
    """Docker keeps these facts in globals of the process."""
    drivers = [Driver(folder, FAST) for folder in (xfs_home, tmpfs_home, xfs_home)]
    assert [driver.status()[0][1] for driver in drivers] == ["xfs", "tmpfs", "xfs"]
    assert "only XFS" in drivers[1].features.project_quota_reason
    assert "only XFS" not in drivers[0].features.project_quota_reason


def test_a_missing_home_is_judged_by_the_file_system_it_will_be_on(tmpfs_home):
    driver = Driver(os.path.join(tmpfs_home, "deeper", "home"), FAST)
    assert driver.features.backing_fs == "tmpfs"
    assert os.listdir(tmpfs_home) == ["deeper"]


# Options


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("nonsense", "unable to parse storage-opt key/value option: nonsense"),
        ("overlay2.colour=red", "overlay2: unknown option overlay2.colour"),
        ("Overlay2.Colour=red", "overlay2: unknown option overlay2.colour"),
        ("overlay2.size=big", "overlay2.size: invalid size: 'big'"),
        ("overlay2.sync=perhaps", "overlay2.sync is 'perhaps'"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_bad_options_are_refused_before_anything_is_made(real_tmp, option, text, read_only):
    error = refused(str(real_tmp / "home"), [option], OptionError, read_only=read_only)
    assert error.message == text
    assert os.listdir(real_tmp) == []


def test_options_are_kept(home):
    assert Driver(home).options == DriverOptions(size=0, sync="full", helper=True)
    options = ("overlay2.size=0", "overlay2.sync=none", "overlay2.helper=off")
    assert Driver(home, options).options == DriverOptions(0, "none", False)


@pytest.mark.parametrize("fixture", ["home", "tmpfs_home"])
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("option", ["overlay2.size=10G", "OVERLAY2.SIZE = 1b"])
def test_a_size_is_for_xfs_alone_in_dockers_words(request, fixture, read_only, option):
    home = request.getfixturevalue(fixture)
    kind = Driver(home, FAST).features.backing_fs
    error = refused(home, [option], read_only=read_only)
    assert error.message == "Storage Option overlay2.size only supported for backingFS XFS. Found %s" % kind
    assert "pquota" in error.remedy
    assert error.path == home


@pytest.mark.parametrize("read_only", [False, True])
def test_a_size_on_xfs_without_quota_in_dockers_words(xfs_home, read_only):
    driver = Driver(xfs_home, FAST)
    assert (driver.features.backing_fs, driver.features.project_quota) == ("xfs", False)
    reason = driver.features.project_quota_reason
    error = refused(xfs_home, ["overlay2.size=10G"], read_only=read_only)
    assert error.message == (
        "Storage option overlay2.size not supported. Filesystem does not support Project Quota: " + reason
    )
    assert "it is not enabled" in reason
    assert "pquota" in error.remedy


@pytest.mark.parametrize("fixture", ["home", "xfs_home"])
def test_without_quota_layers_have_no_size_in_dockers_words(request, fixture):
    driver = Driver(request.getfixturevalue(fixture), FAST)
    before = sorted(os.listdir(driver.home))
    for size in ("10G", "0"):
        with pytest.raises(NotSupported) as raised:
            driver.create_read_write("web", storage_opt={"size": size})
        assert raised.value.message.startswith(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
        )
        assert raised.value.layer == "web"
    with pytest.raises(OptionError) as raised:
        driver.create("web", storage_opt={"Size": "10G"})
    assert raised.value.message == "--storage-opt size is only supported for ReadWrite Layers"
    for call in (driver.create, driver.create_read_write):
        with pytest.raises(OptionError) as raised:
            call("web", storage_opt={"Colour": "red"})
        assert raised.value.message == "Unknown option colour"
    assert sorted(os.listdir(driver.home)) == before


# Homes that can't be


def test_no_home_at_all():
    error = refused("", cls=OptionError)
    assert error.message == "the path of the home is empty"


@pytest.mark.parametrize("below", ["", "/inside", "/a/b"])
def test_a_file_in_the_place_of_the_home(real_tmp, below):
    (real_tmp / "file").write_text("kept")
    error = refused(str(real_tmp / "file") + below)
    assert "Not a directory" in error.message
    assert error.path.startswith(str(real_tmp / "file"))
    assert (real_tmp / "file").read_text() == "kept"
    assert os.listdir(real_tmp) == ["file"]


def test_a_file_in_the_place_of_the_link_folder(home):
    with open(home + "/l", "w", encoding="ascii") as file:
        file.write("kept")
    assert "Not a directory" in refused(home).message
    assert os.path.isfile(home + "/l")


def test_a_dangling_link_in_the_place_of_the_home(real_tmp):
    os.symlink("nowhere", real_tmp / "home")
    assert refused(str(real_tmp / "home")).path
    assert os.listdir(real_tmp) == ["home"]


def overlay_at(folder):
    """An overlay mounted below *folder*; returns its mount point."""
    for name in ("lower", "upper", "work", "merged"):
        (folder / name).mkdir()
    options = "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work" % ((folder,) * 3)
    options += ",userxattr" if host.in_user_namespace() else ""
    mount.mount("overlay", folder / "merged", "overlay", 0, options)
    return folder / "merged"


@pytest.mark.parametrize("existing", [False, True])
def test_a_home_on_an_overlay(real_tmp, existing):
    merged = overlay_at(real_tmp)
    home = merged / "home"
    if existing:
        home.mkdir()
    error = refused(str(home))
    assert "Invalid argument: the home is on overlayfs" in error.message
    assert "mount a volume" in error.remedy
    assert error.path == str(home)
    assert host.mounts_below(real_tmp) == [str(merged)]
    assert os.listdir(merged) == (["home"] if existing else [])
    assert not existing or os.listdir(home) == []


@pytest.mark.root
@pytest.mark.parametrize("existing", [False, True])
def test_a_home_without_file_types(real_tmp, existing):
    with open(real_tmp / "image", "wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^filetype", real_tmp / "image"], check=True)
    (real_tmp / "m").mkdir()
    subprocess.run(["mount", "-t", "ext4", "-o", "loop", real_tmp / "image", real_tmp / "m"], check=True)
    home = real_tmp / "m" / "home"
    if existing:
        home.mkdir()
    error = refused(str(home), cls=DTypeNotSupported)
    assert "extfs" in error.message
    assert "tune2fs -O filetype" in error.remedy
    assert sorted(os.listdir(real_tmp / "m")) == (["home"] if existing else []) + ["lost+found"]
    # A reader is told, and may read what there is.
    if existing:
        assert dict(Driver(str(home), read_only=True).status())["Supports d_type"] == "false"


@pytest.mark.parametrize("existing", [False, True])
def test_a_read_only_file_system(real_tmp, existing):
    home = real_tmp / "home"
    mount.mount("t", real_tmp, "tmpfs")
    if existing:
        home.mkdir()
    mount.mount("t", real_tmp, "tmpfs", 32 | 1)  # MS_REMOUNT | MS_RDONLY
    error = refused(str(home))
    assert "Read-only file system" in str(error)
    assert "remount" in error.remedy


@pytest.mark.root
@pytest.mark.parametrize(("mode", "reason"), [(0o777, "Operation not permitted"), (0o755, "Permission denied")])
def test_without_privilege(real_tmp, mode, reason):
    os.chmod(real_tmp, mode)
    for home in (real_tmp, real_tmp / "home"):
        with pytest.raises(NotSupported, match=reason) as raised:
            nobody.call(lambda home=home: Driver(str(home)))
        assert "Run as root" in raised.value.remedy
        assert os.listdir(real_tmp) == []


def test_rootless_with_selinux(home, monkeypatch):
    monkeypatch.setenv("_DOCKERD_ROOTLESS_SELINUX", "1")
    assert "rootless mode with SELinux" in refused(home).message
    assert os.listdir(home) == []


def test_a_refused_home_keeps_what_is_staged_in_it(home, monkeypatch):
    os.makedirs(home + "/.staging")
    monkeypatch.setenv("_DOCKERD_ROOTLESS_SELINUX", "1")
    refused(home)
    assert os.path.isdir(home + "/.staging")


# In a user namespace


def _life_of_a_layer(home):
    driver = Driver(home, FAST)
    driver.create("base")
    driver.create_read_write("web", "base")
    path = driver.get("web", holder="me")
    os.mkdir(path + "/new")
    held = driver.holders("web")
    driver.put("web", holder="me")
    return dict(driver.status()), held, os.listdir(home + "/web/diff"), os.path.exists(path)


def test_in_a_user_namespace(userns, home):
    os.chmod(home, 0o755)
    status, held, names, still_there = userns(_life_of_a_layer, home)
    assert (status["userxattr"], status["User Namespace"], status["Native Overlay Diff"]) == ("true", "true", "true")
    assert (held, names, still_there) == ({"me": 1}, ["new"], False)
