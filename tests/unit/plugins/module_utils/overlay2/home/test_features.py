# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What hosts and file systems can do: each case on a real one, made for the test."""

from __future__ import annotations

import errno
import os
import subprocess
import threading

import pytest
from overlay2.errors import DTypeNotSupported, NotSupported, Overlay2Error
from overlay2.home import features
from overlay2.linux import kernel, mount, xattr
from support import host, nobody, overlay_module

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")

ON_THE_HOST = not host.in_user_namespace()


def traces(*folders):
    """What a probe has left behind: mounts and names in the folders."""
    return [host.mounts_below(folder) for folder in folders], [os.listdir(folder) for folder in folders]


def clean(*folders):
    return [[] for _folder in folders], [[] for _folder in folders]


@pytest.fixture
def scratch(home):
    """A folder to try things in, below the home."""
    folder = os.path.join(home, "scratch")
    os.mkdir(folder)
    return folder


@pytest.fixture
def mounted(real_tmp):
    """A function that mounts a file system of a kind in a new folder and returns the folder."""

    def make(kind, options="", image=None, name="m"):
        folder = real_tmp / name
        folder.mkdir()
        if image is None:
            mount.mount(kind, folder, kind, 0, options)
        else:
            subprocess.run(["mount", "-t", kind, "-o", "loop" + options, image, folder], check=True)
        return str(folder)

    return make


@pytest.fixture
def no_d_type(mounted, real_tmp):
    """A folder on ext4 without the `filetype` feature."""
    image = real_tmp / "ext4.img"
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^filetype", image], check=True)
    return mounted("ext4", image=image)


# What a good host has


@pytest.mark.root
@pytest.mark.parametrize(("fixture", "name"), [("home", "extfs"), ("tmpfs_home", "tmpfs"), ("xfs_home", "xfs")])
def test_on_the_host(request, fixture, name):
    home = request.getfixturevalue(fixture)
    if fixture == "home" and host.filesystem_type(home) != "ext4":
        name = host.filesystem_type(home)
    found = features.probe(home, home)
    assert found == features.Features(
        backing_fs=name,
        supports_d_type=True,
        metacopy=False,
        native_diff=True,
        native_diff_reason="",
        index_off=overlay_module.value("index") is not None,
        userxattr=False,
        in_user_namespace=False,
        lowerdir_plus=kernel.release() >= (6, 8),
        kernel=kernel.release(),
        volatile=kernel.release() >= (5, 10),
    )
    assert found.xattr_class == "trusted"
    assert traces(home) == clean(home)


def _probe(home):
    found = features.probe(home, home)
    return found._asdict(), found.xattr_class, found.mount_prefix, traces(home) == clean(home)


@pytest.mark.parametrize("fixture", ["home", "tmpfs_home"])
def test_in_a_user_namespace(request, userns, fixture):
    home = request.getfixturevalue(fixture)
    os.chmod(home, 0o755)
    found, xattr_class, prefix, is_clean = userns(_probe, home)
    assert (found["userxattr"], found["in_user_namespace"], xattr_class) == (True, True, "user")
    assert (found["native_diff"], found["native_diff_reason"]) == (True, "")
    assert found["lowerdir_plus"] is (kernel.release() >= (6, 8))
    assert prefix.endswith("userxattr,")
    assert is_clean


@pytest.mark.parametrize(
    ("index_off", "userxattr", "prefix", "xattr_class"),
    [
        (False, False, "", "trusted"),
        (True, False, "index=off,", "trusted"),
        (False, True, "userxattr,", "user"),
        (True, True, "index=off,userxattr,", "user"),
    ],
)
def test_options_in_front_of_every_mount(scratch, index_off, userxattr, prefix, xattr_class):
    found = features.unprobed(scratch, "")._replace(index_off=index_off, userxattr=userxattr)
    assert (found.mount_prefix, found.xattr_class) == (prefix, xattr_class)


def test_a_kernel_without_index(home, monkeypatch):
    monkeypatch.setattr(features, "INDEX_PARAMETER", features.INDEX_PARAMETER + "-unknown")
    assert features.probe(home, home).index_off is False


def test_index_is_switched_off_whatever_the_default(home):
    if overlay_module.value("index") is None:
        pytest.skip("this kernel's overlay module has no parameter index")
    assert features.probe(home, home).index_off is True


def test_two_homes_are_judged_each_by_itself(home, tmpfs_home):
    first, second = features.probe(home, home), features.probe(tmpfs_home, tmpfs_home)
    assert second.backing_fs == "tmpfs"
    assert first.backing_fs != "tmpfs"
    assert features.probe(home, home) == first


def test_features_are_a_value(home):
    found = features.probe(home, home)
    assert hash(found) == hash(features.probe(home, home))
    with pytest.raises(AttributeError):
        found.native_diff = False


def test_many_probes_at_once(tmpfs_home):
    found = []

    def look():
        found.append(features.probe(tmpfs_home, tmpfs_home))

    threads = [threading.Thread(target=look) for _round in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert traces(tmpfs_home) == clean(tmpfs_home)


@pytest.mark.parametrize("name", ["a,b:c\\d \udcff\n", "/".join(["d" * 200] * 8)], ids=["odd", "long"])
def test_the_path_of_a_home_does_not_matter(home, name):
    folder = os.path.join(home, name)
    os.makedirs(folder)
    assert features.probe(folder, folder) == features.probe(home, home)
    assert traces(folder) == clean(folder)


# What spoils native diffs


@pytest.mark.root
def test_redirect_dir_is_on(scratch):
    with overlay_module.parameter("redirect_dir", "Y"):
        reason = features.why_not_native(scratch, in_userns=False, userxattr=False)
    assert reason == "the kernel has CONFIG_OVERLAY_FS_REDIRECT_DIR enabled"
    assert features.why_not_native(scratch, in_userns=False, userxattr=False) == ""
    assert traces(scratch) == clean(scratch)


@pytest.mark.root
def test_metacopy_is_on(scratch):
    assert features.uses_metacopy(scratch, userxattr=False) is False
    with overlay_module.parameter("metacopy", "Y"):
        assert features.uses_metacopy(scratch, userxattr=False) is True
    assert traces(scratch) == clean(scratch)


@pytest.mark.root
@pytest.mark.parametrize(
    ("name", "metacopy", "reason"), [("metacopy", True, ""), ("redirect_dir", False, "REDIRECT_DIR enabled")]
)
def test_either_of_them_makes_diffs_naive(tmpfs_home, name, metacopy, reason):
    before = overlay_module.value(name)
    with overlay_module.parameter(name, "Y"):
        found = features.probe(tmpfs_home, tmpfs_home)
        told = features.unprobed(tmpfs_home, "not asked")
    assert (found.metacopy, found.native_diff) == (metacopy, False)
    assert reason in found.native_diff_reason
    assert (told.metacopy, told.native_diff) == (metacopy, False)
    assert name in told.native_diff_reason
    assert overlay_module.value(name) == before


def test_metacopy_alone_spoils_native_diffs_even_where_the_probe_for_redirects_passes(tmpfs_home, monkeypatch):
    monkeypatch.setattr(features, "uses_metacopy", lambda scratch, userxattr: True)
    found = features.probe(tmpfs_home, tmpfs_home)
    assert (found.metacopy, found.native_diff) == (True, False)
    assert "metacopy" in found.native_diff_reason


@pytest.mark.root
def test_a_file_system_without_extended_attributes(mounted):
    folder = mounted("ramfs")
    found = features.probe(folder, folder)
    assert (found.backing_fs, found.metacopy, found.native_diff) == ("ramfs", False, False)
    assert "Operation not supported" in found.native_diff_reason
    assert traces(folder) == ([[folder]], [[]])


def test_a_user_namespace_of_an_old_kernel_has_no_native_diff(home):
    reason = features.why_not_native(home, in_userns=True, userxattr=False)
    assert reason == "running in a user namespace, which needs kernel 5.11 or later"


# userxattr


def test_userxattr_is_for_user_namespaces_alone(scratch):
    assert features.needs_userxattr(scratch, in_userns=False) is False
    assert features.needs_userxattr(scratch, in_userns=True) is True


def test_on_an_old_kernel_userxattr_is_tried(scratch, monkeypatch):
    monkeypatch.setattr(kernel, "release", lambda: (5, 10))
    assert features.needs_userxattr(scratch, in_userns=True) is True  # this kernel takes it
    assert features.needs_userxattr(scratch, in_userns=False) is False
    assert traces(scratch) == clean(scratch)
    assert features.needs_userxattr(scratch + "/none", in_userns=True) is False


# What the trials write to disk


@pytest.mark.root
def test_a_probe_writes_nothing_of_others_to_disk(loop_disk):
    """Unmounting an overlay writes its whole upper file system to disk, unless it was mounted volatile."""
    folder = loop_disk.folder("scratch")
    loop_disk.write_without_sync("log", 32 << 20)
    before = loop_disk.bytes_written()
    found = features.probe(folder, folder)
    assert loop_disk.bytes_written() - before < 8 << 20
    assert found.volatile
    loop_disk.sync()
    assert loop_disk.bytes_written() - before >= 32 << 20


def test_a_kernel_without_volatile(scratch, monkeypatch):
    """Every mount that says so is refused, as before Linux 5.10."""
    real, seen = mount.mount, []

    def refuse(source, target, fs_type, flags=0, data=""):
        seen.append(data)
        if "volatile" in data:
            raise OSError(errno.EINVAL, "Invalid argument", target)
        return real(source, target, fs_type, flags, data)

    known = features.probe(scratch, scratch)
    monkeypatch.setattr(mount, "mount", refuse)
    assert features.probe(scratch, scratch) == known._replace(volatile=False)
    assert traces(scratch) == clean(scratch)
    seen.clear()
    monkeypatch.setattr(kernel, "release", lambda: (5, 9))
    features.check_overlay(scratch, scratch)
    assert len(seen) == 1
    assert "volatile" not in seen[0]


# The mount API


def test_lowerdir_plus_by_any_path(home):
    expected = kernel.release() >= (6, 8)
    folder = os.path.join(home, "/".join(["d" * 250] * 5) + ",:\\")
    os.makedirs(folder)
    assert features.has_lowerdir_plus(home) is expected
    assert features.has_lowerdir_plus(folder) is expected
    assert features.has_lowerdir_plus(home + "/none") is False


@pytest.mark.root
def test_without_privilege_there_is_no_mount_api(real_tmp):
    assert nobody.call(lambda: features.has_lowerdir_plus("/")) is False


# Where it can't work


def refused(call, cls=NotSupported):
    with pytest.raises(cls) as raised:
        call()
    return raised.value


@pytest.mark.root
def test_file_types_are_missing(no_d_type, home):
    os.rmdir(os.path.join(no_d_type, "lost+found"))
    error = refused(lambda: features.probe(no_d_type, no_d_type), DTypeNotSupported)
    assert "backing extfs file system is formatted without d_type support" in error.message
    assert "tune2fs -O filetype" in error.remedy
    assert error.path == no_d_type
    assert traces(no_d_type) == ([[no_d_type]], [[]])
    assert features.supports_d_type(no_d_type) is False
    assert features.supports_d_type(home) is True


@pytest.mark.root
def test_file_types_of_the_home_count_not_those_of_the_scratch_folder(no_d_type, tmpfs_home):
    assert refused(lambda: features.probe(no_d_type, tmpfs_home), DTypeNotSupported).path == no_d_type
    assert features.unprobed(no_d_type, "not asked").supports_d_type is False


@pytest.mark.parametrize(
    ("name", "remedy"), [("xfs", "ftype=1"), ("extfs", "tune2fs -O filetype"), ("<unknown>", "Choose a home on")]
)
def test_what_to_do_without_file_types(name, remedy):
    error = features.d_type_error(name, "/home")
    assert isinstance(error, DTypeNotSupported)
    assert name in error.message
    assert remedy in error.remedy


def test_a_home_on_an_overlay(real_tmp, home):
    for name in ("lower", "upper", "work", "merged"):
        (real_tmp / name).mkdir()
    options = "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work" % ((real_tmp,) * 3)
    merged = str(real_tmp / "merged")
    mount.mount("overlay", merged, "overlay", 0, options + ("" if ON_THE_HOST else ",userxattr"))
    error = refused(lambda: features.probe(merged, merged))
    assert error.message == (
        "the overlay file system can't be mounted: Invalid argument: the home is on overlayfs, "
        "which the kernel refuses as the upper file system of an overlay"
    )
    assert "in a container, mount a volume" in error.remedy
    assert error.path == merged
    assert traces(merged) == ([[merged]], [[]])
    # Who only reads tries things elsewhere, and is told the home's own file system.
    assert features.probe(merged, home).backing_fs == "overlayfs"


@pytest.mark.parametrize(
    ("number", "userns", "release", "reason", "remedy"),
    [
        (errno.ENODEV, False, (6, 1), "no overlay file system", "modprobe overlay"),
        (errno.EPERM, True, (5, 10), "from Linux 5.11 on", "as root on the host"),
        (errno.EPERM, True, (5, 11), None, None),
        (errno.EPERM, False, (5, 10), None, None),
        (errno.EINVAL, False, (6, 1), None, None),
    ],
)
def test_why_the_kernel_refuses_on_a_usual_file_system(home, monkeypatch, number, userns, release, reason, remedy):
    monkeypatch.setattr(kernel, "in_user_namespace", lambda: userns)
    monkeypatch.setattr(kernel, "release", lambda: release)
    found = features.upper_obstacle(home, number)
    if reason is None:
        assert found is None
    else:
        assert reason in found.reason
        assert remedy in found.remedy


@pytest.mark.root
@pytest.mark.parametrize(("kind", "name"), [("cgroup2", "cgroup2"), ("proc", "proc"), ("overlay", "overlayfs")])
def test_the_file_system_that_the_kernel_refuses_is_named(real_tmp, kind, name):
    for folder in ("m", "lower"):
        (real_tmp / folder).mkdir()
    mount.mount("none", str(real_tmp / "m"), kind, 0, "" if kind != "overlay" else "lowerdir=%s/lower:/etc" % real_tmp)
    found = features.upper_obstacle(str(real_tmp / "m"), errno.EINVAL)
    assert "the home is on %s," % name in found.reason


def test_a_read_only_file_system(mounted):
    folder = mounted("tmpfs", "ro")
    error = refused(lambda: features.probe(folder, folder))
    assert "Read-only file system" in error.message
    assert "remount" in error.remedy


@pytest.mark.root
def test_without_privilege(real_tmp):
    os.chmod(real_tmp, 0o777)
    error = refused(lambda: nobody.call(lambda: features.probe(str(real_tmp), str(real_tmp))))
    assert "Operation not permitted" in error.message
    assert "Run as root, or inside a user namespace" in error.remedy
    assert traces(real_tmp) == clean(real_tmp)


def outcome(folder):
    """What a probe says of a folder's native diffs, or why it fails."""
    try:
        found = features.probe(folder, folder)
    except NotSupported as error:
        return str(error)
    return found.native_diff_reason or "native"


@pytest.mark.parametrize("inodes", range(2, 15))
def test_a_full_disk_at_any_point_is_told_and_leaves_nothing(mounted, inodes):
    """Each number of inodes lets the probes get a little further. With some the kernel mounts, but read-only."""
    folder = mounted("tmpfs", "nr_inodes=%d" % inodes)
    told = outcome(folder)
    assert "No space left on device" in told or "read-only, as it does if the disk is full" in told
    assert traces(folder) == ([[folder]], [[]])


def test_a_disk_with_just_enough_room(mounted):
    folder = mounted("tmpfs", "nr_inodes=20")
    assert outcome(folder) == "native"


@pytest.mark.parametrize(
    "probe",
    [lambda folder: features.check_overlay(folder, folder), lambda folder: features.uses_metacopy(folder, False)],
)
def test_a_scratch_folder_that_is_not_there(home, probe):
    assert "No such file or directory" in refused(lambda: probe(home + "/none")).message


def test_rootless_with_selinux_is_refused_as_docker_refuses_it(home, monkeypatch):
    monkeypatch.setenv("_DOCKERD_ROOTLESS_SELINUX", "1")
    assert "rootless mode with SELinux" in refused(lambda: features.probe(home, home)).message
    monkeypatch.setenv("_DOCKERD_ROOTLESS_SELINUX", "0")
    assert features.probe(home, home).supports_d_type


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_probe_that_dies_half_way_leaves_nothing(scratch, monkeypatch, number):
    """The number-th look at an attribute fails with something unforeseen."""
    calls = []

    def look(path, name):
        calls.append(path)
        if len(calls) == number:
            raise RuntimeError("unforeseen")
        return real(path, name)

    real = xattr.get
    monkeypatch.setattr(xattr, "get", look)
    try:
        features.uses_metacopy(scratch, not ON_THE_HOST)
        features.why_not_native(scratch, not ON_THE_HOST, not ON_THE_HOST)
    except RuntimeError:
        pass
    assert traces(scratch) == clean(scratch)


def test_a_probe_that_is_still_in_use_is_detached(scratch, caplog):
    with features._trial(scratch, "busy", ("lower",), "upper", userxattr=not ON_THE_HOST) as trial:
        keeper = os.open(os.path.join(trial.root, "merged"), os.O_RDONLY)
    os.close(keeper)
    assert "failed to unmount the probe" in caplog.text
    assert traces(scratch) == clean(scratch)


# Told without trying


@pytest.mark.root
def test_unprobed_as_root(home):
    assert features.unprobed(home, "nothing is tried") == features.probe(home, home)._replace(
        project_quota_reason="not tried: nothing is tried", volatile=False
    )


def _unprobed(home):
    return features.unprobed(home, "nothing is tried")._asdict()


def test_unprobed_in_a_user_namespace(userns, tmpfs_home):
    os.chmod(tmpfs_home, 0o755)
    found = userns(_unprobed, tmpfs_home)
    assert (found["in_user_namespace"], found["native_diff"]) == (True, False)
    assert found["native_diff_reason"] == "not tried: nothing is tried"


@pytest.mark.root
def test_unprobed_without_privilege_trusts_no_folder(home):
    """Without CAP_SYS_ADMIN `trusted.overlay.opaque` can't be seen, so a diff read from the folder would be wrong."""
    os.chmod(home, 0o755)
    found = nobody.call(lambda: features.unprobed(home, "nobody may"))
    assert (found.native_diff, found.lowerdir_plus, found.supports_d_type) == (False, False, True)
    assert found.native_diff_reason == "not tried: nobody may"


@pytest.mark.root
def test_unprobed_of_a_folder_that_may_not_be_read(home):
    os.chmod(home, 0o700)
    with pytest.raises(PermissionError):
        nobody.call(lambda: features.unprobed(home, ""))


def test_errors_are_of_one_family():
    assert issubclass(DTypeNotSupported, NotSupported)
    assert issubclass(NotSupported, Overlay2Error)
