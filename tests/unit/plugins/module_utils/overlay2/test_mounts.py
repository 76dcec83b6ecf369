# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""How layers are mounted: the option string byte by byte, the page-size rule, and real mounts by every method."""

from __future__ import annotations

import errno
import os
import subprocess
import threading

import pytest
from overlay2 import Driver, IdMap, IdRange, mounts
from overlay2.errors import MountError
from overlay2.home import features
from overlay2.home.mounted import is_mounted, process_with_mount
from overlay2.linux import fs, kernel, mount, mountinfo
from overlay2.mounts import CLASSIC, DATA_MAX, FSCONFIG, RELATIVE
from support import chains, headers, host, overlay_module

METHODS = [CLASSIC, FSCONFIG, RELATIVE]
HAS_MOUNT_API = kernel.release() >= (6, 8)
SOUND_METHODS = METHODS if HAS_MOUNT_API else [CLASSIC, RELATIVE]

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
needs_mount_api = pytest.mark.skipif(not HAS_MOUNT_API, reason="lowerdir+ needs Linux 6.8")

#: What a usual host of today has.
HOST = features.Features(
    backing_fs="extfs", supports_d_type=True, metacopy=False, native_diff=True, native_diff_reason="", index_off=True,
    userxattr=False, in_user_namespace=False, lowerdir_plus=True, kernel=(6, 18),
)  # fmt: skip
LINKS = ("l/BBBB", "l/AAAA")


def host_like(**changes):
    return HOST._replace(**changes)


@pytest.fixture
def here():
    """Features of this host, without a probe."""
    return host_like(userxattr=host.in_user_namespace(), lowerdir_plus=HAS_MOUNT_API)


# The option string, as Docker writes it


@pytest.mark.parametrize(
    ("read_only", "label", "data"),
    [
        (False, "", "lowerdir=/home/l/BBBB:/home/l/AAAA,upperdir=/home/web/diff,workdir=/home/web/work"),
        (True, "", "lowerdir=/home/web/diff:/home/l/BBBB:/home/l/AAAA"),
        (
            False, "s0:c1,c2",
            'lowerdir=/home/l/BBBB:/home/l/AAAA,upperdir=/home/web/diff,workdir=/home/web/work,context="s0:c1,c2"',
        ),
        (True, "a,b", 'lowerdir=/home/web/diff:/home/l/BBBB:/home/l/AAAA,context="a,b"'),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("index_off", "userxattr", "prefix"),
    [
        (False, False, ""),
        (True, False, "index=off,"),
        (False, True, "userxattr,"),
        (True, True, "index=off,userxattr,"),
    ],
)
def test_absolute_mount_data(read_only, label, data, index_off, userxattr, prefix):
    found = host_like(index_off=index_off, userxattr=userxattr)
    planned = mounts.plan("/home", "web", LINKS, read_only, found, label)
    assert planned.data == prefix + data
    assert (planned.method, planned.target) == (CLASSIC, "/home/web/merged")
    assert planned.length == len(prefix + data)


@pytest.mark.parametrize(
    ("read_only", "data"),
    [
        (False, 'index=off,lowerdir=l/BBBB:l/AAAA,upperdir=web/diff,workdir=web/work,context="a,b"'),
        (True, 'index=off,lowerdir=web/diff:l/BBBB:l/AAAA,context="a,b"'),
    ],
)
def test_relative_mount_data(read_only, data):
    planned = mounts._plan(RELATIVE, "/home", "web", LINKS, read_only, HOST, "a,b")
    assert (planned.method, planned.data, planned.target) == (RELATIVE, data, "web/merged")


def test_names_are_escaped_for_the_kernel():
    planned = mounts.plan("/a,b:c\\d", "x,y:z", ("l/A",), False, HOST)
    assert planned.data == (
        "index=off,lowerdir=/a\\,b\\:c\\\\d/l/A,upperdir=/a\\,b:c\\\\d/x\\,y:z/diff,workdir=/a\\,b:c\\\\d/x\\,y:z/work"
    )
    relative = mounts._plan(RELATIVE, "/a,b:c\\d", "x,y:z", ("l/A",), True, HOST, "")
    assert relative.data == "index=off,lowerdir=x\\,y\\:z/diff:l/A"


@pytest.mark.parametrize(
    ("options", "label", "text"),
    [
        ("opts", "", "opts"),
        ("", "", ""),
        ("", "a", 'context="a"'),
        ("opts", "system_u:object_r:svirt_sandbox_file_t:s0:c1,c2",
         'opts,context="system_u:object_r:svirt_sandbox_file_t:s0:c1,c2"'),
        ("opts", 'q"b\\', 'opts,context="q\\"b\\\\"'),
        ("opts", "tab\tline\n", 'opts,context="tab\\tline\\n"'),
        ("opts", "ünï", 'opts,context="ünï"'),
    ],
)  # fmt: skip
def test_format_of_labels(options, label, text):
    assert mounts.format_label(options, label) == text


# The page-size rule


def with_data_of(length, home, links=LINKS):
    """A home below *home* and a layer's id for which absolute, read-only mount data has *length* bytes."""
    missing = length - mounts._plan(CLASSIC, home, "w", links, True, HOST, "").length
    # Each byte of the home counts three times, so the id, which counts once, makes up for the rest.
    extra = (missing - 100) // 3
    home += "".join(["/" + "d" * 99] * (extra // 100)) + "/" + "e" * (extra % 100)
    missing = length - mounts._plan(CLASSIC, home, "w", links, True, HOST, "").length
    return home, "w" * (1 + missing)


@pytest.fixture
def boundary():
    """A home and a layer whose absolute mount data just fits."""
    return with_data_of(DATA_MAX, "/home")


def test_data_of_a_page_less_one_byte_is_mounted_by_absolute_paths(boundary):
    home, layer = boundary
    planned = mounts.plan(home, layer, LINKS, True, HOST)
    assert (planned.length, planned.method) == (mount.PAGE_SIZE - 1, CLASSIC)


@pytest.mark.parametrize("lowerdir_plus", [True, False])
def test_data_of_a_page_is_not(boundary, lowerdir_plus):
    home, layer = boundary
    planned = mounts.plan(home, layer + "w", LINKS, True, host_like(lowerdir_plus=lowerdir_plus))
    assert planned.method == RELATIVE
    absolute = mounts._plan(CLASSIC, home, layer + "w", LINKS, True, HOST, "")
    assert absolute.length == mount.PAGE_SIZE


def test_the_label_counts(boundary):
    home, layer = boundary
    label = "s0:c1"
    shorter = layer[: -len(',context=""' + label)]
    assert mounts.plan(home, shorter, LINKS, True, HOST, label).method == CLASSIC
    assert mounts.plan(home, shorter + "w", LINKS, True, HOST, label).method == RELATIVE


def test_bytes_count_and_not_characters(boundary):
    home, layer = boundary
    assert mounts.plan(home, layer[:-1] + "ö", LINKS, True, HOST).method == RELATIVE
    assert mounts.plan(home, layer[:-2] + "ö", LINKS, True, HOST).method == CLASSIC
    assert mounts.plan(home, layer[:-1] + "\udcff", LINKS, True, HOST).method == CLASSIC


def test_escapes_count(boundary):
    home, layer = boundary
    assert mounts.plan(home, layer[:-1] + ",", LINKS, True, HOST).method == RELATIVE


DEEP = tuple("l/%s" % (letter * 26) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" * 4)


def test_128_lower_layers_fit_relative_to_the_home():
    assert len(DEEP) == 128
    for read_only in (False, True):
        planned = mounts.plan("/var/lib/docker/overlay2", "f" * 64, DEEP, read_only, HOST)
        assert planned.method == RELATIVE
        assert planned.length <= DATA_MAX


def test_what_fits_by_no_means_is_told_with_dockers_words():
    label = "c" * 400
    with pytest.raises(MountError) as refused:
        mounts.plan("/home", "web", DEEP, False, host_like(lowerdir_plus=False), label)
    length = mounts._plan(RELATIVE, "/home", "web", DEEP, False, HOST, label).length
    assert length > DATA_MAX
    assert refused.value.message.startswith("cannot mount layer, mount label too large %d" % length)
    assert refused.value.layer == "web"
    assert refused.value.remedy
    # Four bytes under the limit it does fit.
    shorter = label[: DATA_MAX - length]
    assert mounts.plan("/home", "web", DEEP, False, host_like(lowerdir_plus=False), shorter).length == DATA_MAX


def test_what_fits_no_page_goes_through_the_mount_api_with_a_label_of_one_string_at_most():
    layer = "w" * 250
    assert mounts.plan("/home", layer, DEEP, False, HOST, "c" * 255).method == FSCONFIG
    with pytest.raises(MountError, match="cannot mount layer"):
        mounts.plan("/home", layer, DEEP, False, HOST, "c" * 256)


def test_more_lower_layers_than_the_kernel_takes():
    links = DEEP * 4
    assert mounts.plan("/home", "web", links[:500], False, HOST).method == FSCONFIG
    assert mounts.plan("/home", "web", links[:499], True, HOST).method == FSCONFIG
    for count, read_only in ((501, False), (500, True)):
        with pytest.raises(MountError, match="cannot mount layer"):
            mounts.plan("/home", "web", links[:count], read_only, HOST)


# Real mounts, by every method


def planned_by(method, chain, here, read_only=False, label=""):
    """The plan that *method* would have, whatever the page-size rule says."""
    how = RELATIVE if method == RELATIVE else CLASSIC
    planned = mounts._plan(how, chain.home, chain.layer, chain.links, read_only, here, label)
    return planned._replace(method=method)


def mounted(method, chain, here, read_only=False):
    """Mount a chain by a method; returns the mount point."""
    if method == FSCONFIG and not HAS_MOUNT_API:
        pytest.skip("lowerdir+ needs Linux 6.8")
    os.mkdir(chain.path("merged"), 0o700)
    mounts.perform(chain.layer, planned_by(method, chain, here, read_only), here)
    return chain.path("merged")


def content(path):
    with open(path, encoding="ascii") as source:
        return source.read()


def check_writable(chain, merged):
    """A chain of two layers is mounted at *merged*, to be written to."""
    assert sorted(os.listdir(merged)) == ["of-0", "of-1", "of-top", "same"]
    assert content(merged + "/same") == "top"
    os.rename(merged + "/of-1", merged + "/new")
    assert is_whiteout(chain.path("diff", "of-1"))
    assert os.path.isfile(chain.path("diff", "new"))
    os.unlink(merged + "/new")


def is_whiteout(path):
    info = os.lstat(path)
    return info.st_rdev == 0 and (info.st_mode >> 12) == 2  # a character device 0:0


@needs_mounts
@pytest.mark.parametrize("method", METHODS)
def test_a_writable_mount(method, real_tmp, here):
    chain = chains.make(str(real_tmp / "home"))
    merged = mounted(method, chain, here)
    check_writable(chain, merged)
    (entry,) = mountinfo.mounts(below=chain.home)
    assert (entry.mount_point, entry.fs_type, entry.source) == (merged, "overlay", "overlay")
    assert "rw" in entry.options
    assert ("userxattr" in entry.super_options) is here.userxattr
    mounts.unmount(chain.layer, merged)
    assert not os.path.exists(merged)


@needs_mounts
@pytest.mark.parametrize("method", METHODS)
def test_a_read_only_mount(method, real_tmp, here):
    chain = chains.make(str(real_tmp / "home"))
    merged = mounted(method, chain, here, read_only=True)
    assert sorted(os.listdir(merged)) == ["of-0", "of-1", "of-top", "same"]
    assert content(merged + "/same") == "top"
    with pytest.raises(OSError) as refused:
        os.mkdir(merged + "/new")
    assert refused.value.errno == errno.EROFS
    assert os.listdir(chain.path("work")) == []


@needs_mounts
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("method", [FSCONFIG, RELATIVE])
def test_128_lower_layers(method, read_only, tmpfs_home, here):
    chain = chains.make(tmpfs_home, 128)
    merged = mounted(method, chain, here, read_only)
    assert sorted(os.listdir(merged)) == sorted(["same", "of-top", *("of-%d" % number for number in range(128))])
    assert content(merged + "/same") == "top"


@needs_mounts
@pytest.mark.parametrize("depth", [1, 3, 15])
def test_the_uppermost_layer_wins(depth, tmpfs_home, here):
    chain = chains.make(tmpfs_home, depth)
    for method in SOUND_METHODS:
        merged = mounted(method, chain, here, read_only=True)
        assert content(merged + "/same") == "top"
        mounts.unmount(chain.layer, merged)
    os.unlink(chain.path("diff", "same"))
    for method in SOUND_METHODS:
        merged = mounted(method, chain, here, read_only=True)
        assert content(merged + "/same") == str(depth - 1)
        mounts.unmount(chain.layer, merged)


@needs_mounts
def test_absolute_paths_work_to_the_last_byte_of_a_page(real_tmp, here):
    """Data that is longer is cut by the kernel without a word, so the rule must be exact."""
    here = here._replace(index_off=HOST.index_off, userxattr=HOST.userxattr)
    home, layer = with_data_of(DATA_MAX, str(real_tmp), ("l/" + "A" * 26,) * 2)
    chain = chains.make(home, layer=layer)
    planned = mounts.plan(chain.home, chain.layer, chain.links, True, here)
    assert (planned.method, planned.length) == (CLASSIC, DATA_MAX)
    os.mkdir(chain.path("merged"))
    mounts.perform(chain.layer, planned, here)
    assert sorted(os.listdir(chain.path("merged"))) == ["of-0", "of-1", "of-top", "same"]


ODD_NAMES = ["a,b", "a:b", "a\\b", "a b", "a\tb\nc", "a\udcff\udcfeb", "x,:\\ \\, \\: ,,::", "ends\\", "\\054", "a#b%s",
             "quote\"'", "a=b,upperdir=c", "..."]  # fmt: skip


@needs_mounts
@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_of_a_home(name, real_tmp, here):
    for method in SOUND_METHODS:
        chain = chains.make(os.path.join(real_tmp, method, name))
        check_writable(chain, mounted(method, chain, here))


@needs_mounts
@pytest.mark.parametrize("name", [*ODD_NAMES, "i" * 255])
def test_any_id_of_a_layer(name, real_tmp, here):
    for method in SOUND_METHODS:
        chain = chains.make(str(real_tmp / method), layer=name)
        check_writable(chain, mounted(method, chain, here))
        mounts.unmount(chain.layer, chain.path("merged"))
        merged = mounted(method, chain, here, read_only=True)
        assert sorted(os.listdir(merged)) == ["of-0", "of-top", "same"]


@needs_mounts
@pytest.mark.parametrize("lowerdir_plus", [pytest.param(True, marks=needs_mount_api), False])
@pytest.mark.parametrize("length", [257, 1100, 2500, 3990])
def test_any_length_of_a_homes_path(lowerdir_plus, length, real_tmp, here):
    home = str(real_tmp)
    while len(home) < length:
        home += "/" + "d" * max(1, min(200, length - len(home) - 1))
    here = here._replace(lowerdir_plus=lowerdir_plus)
    chain = chains.make(home)
    planned = mounts.plan(chain.home, chain.layer, chain.links, False, here)
    assert planned.method == (CLASSIC if length < 1000 else RELATIVE)
    os.mkdir(chain.path("merged"))
    mounts.perform(chain.layer, planned, here)
    check_writable(chain, chain.path("merged"))


@needs_mounts
@needs_mount_api
def test_the_longest_id_on_the_longest_chain(tmpfs_home, here):
    """Fits by no classic call, relative or not."""
    chain = chains.make(tmpfs_home, 128, layer="i" * 255)
    planned = mounts.plan(chain.home, chain.layer, chain.links, False, here)
    assert planned.method == FSCONFIG
    os.mkdir(chain.path("merged"))
    mounts.perform(chain.layer, planned, here)
    assert len(os.listdir(chain.path("merged"))) == 130
    with pytest.raises(MountError, match="cannot mount layer"):
        mounts.plan(chain.home, chain.layer, chain.links, False, here._replace(lowerdir_plus=False))


@needs_mounts
@pytest.mark.parametrize("method", METHODS)
def test_a_home_behind_a_symbolic_link(method, real_tmp, here):
    chain = chains.make(str(real_tmp / "there"))
    os.symlink("there", real_tmp / "link")
    linked = chain._replace(home=str(real_tmp / "link"))
    check_writable(chain, mounted(method, linked, here))
    assert is_mounted(linked.path("merged"))
    assert is_mounted(chain.path("merged"))


@pytest.mark.root
@pytest.mark.parametrize("method", METHODS)
def test_index_is_off_even_where_the_module_has_it_on(method, real_tmp, here):
    if overlay_module.value("index") is None:
        pytest.skip("this kernel's overlay module has no parameter index")
    chain = chains.make(str(real_tmp / "home"))
    with overlay_module.parameter("index", "Y"):
        mounted(method, chain, here)
        # Options are shown where they differ from the module's defaults.
        shown = mountinfo.mounts(below=chain.home)[0].super_options
    assert "index=off" in shown
    assert os.listdir(chain.path("work")) == ["work"]  # no index folder


@pytest.mark.root
@pytest.mark.parametrize("method", METHODS)
def test_userxattr_reaches_the_kernel(method, real_tmp, here):
    chain = chains.make(str(real_tmp / "home"))
    mounted(method, chain, here._replace(userxattr=True))
    assert "userxattr" in mountinfo.mounts(below=chain.home)[0].super_options


def _mount_by_all_methods(home):
    told = []
    chain = chains.make(home)
    found = features.probe(home, home)
    for method in METHODS if found.lowerdir_plus else [CLASSIC, RELATIVE]:
        merged = mounted(method, chain, found)
        os.mkdir(merged + "/" + method)
        told.append((sorted(os.listdir(merged)), "userxattr" in mountinfo.mounts(below=merged)[0].super_options))
        mounts.unmount(chain.layer, merged)
    return told


def test_in_a_user_namespace(userns, tmpfs_home):
    os.chmod(tmpfs_home, 0o755)
    told = userns(_mount_by_all_methods, tmpfs_home)
    assert len(told) >= 2
    assert {with_userxattr for _names, with_userxattr in told} == {True}
    assert set(told[-1][0]) >= {"of-0", "of-1", "of-top", "same", CLASSIC, RELATIVE}


@needs_mounts
@pytest.mark.parametrize("method", METHODS)
def test_many_mounts_at_once_leave_the_working_directory_alone(method, tmpfs_home, here):
    before = os.getcwd()
    made = [chains.make(os.path.join(tmpfs_home, str(number))) for number in range(6)]
    problems = []

    def work(chain):
        try:
            mounted(method, chain, here)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(chain,)) for chain in made]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert os.getcwd() == before
    assert problems == []
    assert [is_mounted(chain.path("merged")) for chain in made] == [True] * 6


@needs_mounts
@pytest.mark.skipif(os.path.exists("/sys/fs/selinux/enforce"), reason="SELinux takes the label")
@pytest.mark.parametrize("method", METHODS)
def test_a_label_without_selinux_is_refused_by_the_kernel(method, real_tmp, here):
    chain = chains.make(str(real_tmp / "home"))
    os.mkdir(chain.path("merged"))
    planned = planned_by(method, chain, here, label="system_u:object_r:t:s0:c1,c2")
    with pytest.raises(MountError, match="error creating overlay mount to %s: Invalid argument" % chain.path("merged")):
        mounts.perform(chain.layer, planned, here)
    assert host.mounts_below(chain.home) == []


@needs_mounts
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("missing", ["l/lowermost", "0/diff", "top/diff", "top/work", "top/merged"])
def test_a_missing_part_is_told_with_the_kernels_reason(method, missing, real_tmp, here):
    if method == FSCONFIG and not HAS_MOUNT_API:
        pytest.skip("lowerdir+ needs Linux 6.8")
    chain = chains.make(str(real_tmp / "home"))
    os.mkdir(chain.path("merged"))
    part = os.path.join(chain.home, chain.links[-1] if missing == "l/lowermost" else missing)
    os.rename(part, part + ".away")
    with pytest.raises(MountError) as refused:
        mounts.perform(chain.layer, planned_by(method, chain, here), here)
    assert refused.value.message.startswith("error creating overlay mount to %s: " % chain.path("merged"))
    assert "No such file or directory" in refused.value.message
    assert (refused.value.layer, refused.value.path) == (chain.layer, chain.path("merged"))
    assert host.mounts_below(chain.home) == []


@needs_mounts
def test_a_mount_that_the_kernel_quietly_makes_read_only_is_refused(real_tmp, here):
    """It does so where it can't make its folder in `work`, as on a full disk."""
    mount.mount("t", real_tmp, "tmpfs", 0, "nr_inodes=60")
    chain = chains.make(str(real_tmp / "home"))
    os.mkdir(chain.path("merged"))
    kept = os.statvfs(real_tmp).f_ffree
    for number in range(kept):
        (real_tmp / str(number)).touch()
    for method in SOUND_METHODS:
        with pytest.raises(MountError, match=r"the kernel mounted it read-only.*none of the 60 on .* is free"):
            mounts.perform(chain.layer, planned_by(method, chain, here), here)
        assert host.mounts_below(chain.home) == []
    for _round in range(6):
        kept -= 1
        (real_tmp / str(kept)).unlink()
    mounts.perform(chain.layer, planned_by(CLASSIC, chain, here), here)
    assert is_mounted(chain.path("merged"))


# Whether it is mounted


@pytest.fixture(params=["statx", "mountinfo"])
def source(request, monkeypatch):
    """Where the answer comes from: kernels before 5.8 can't say it in statx(2)."""
    if request.param == "mountinfo":
        monkeypatch.setattr(fs, "STATX_ATTR_MOUNT_ROOT", 1 << 60)
    return request.param


@needs_mounts
@pytest.mark.parametrize("name", ["home", "a\udcff b\n\\"])
def test_is_mounted(source, name, real_tmp, here):
    chain = chains.make(os.path.join(real_tmp, name))
    merged = chain.path("merged")
    assert is_mounted(merged) is False
    mounted(CLASSIC, chain, here)
    assert is_mounted(merged) is True
    assert is_mounted(merged, strict=True) is True
    assert is_mounted(chain.path("diff")) is False
    assert is_mounted(chain.path()) is False  # the mount is below it
    os.symlink(name, os.path.join(real_tmp, "link"))
    assert is_mounted(os.path.join(real_tmp, "link", chain.layer, "merged")) is True
    mount.unmount(merged)
    assert is_mounted(merged) is False


@needs_mounts
def test_a_folder_on_an_overlay_is_not_a_mounted_layer(source, real_tmp, here):
    """Docker asks the file system's magic alone, and takes a left-over `merged` in such a home for a mount."""
    chain = chains.make(str(real_tmp / "home"))
    merged = mounted(CLASSIC, chain, here)
    os.makedirs(merged + "/home/web/merged")
    assert fs.fs_name(merged + "/home/web/merged") == "overlayfs"
    assert is_mounted(merged + "/home/web/merged") is False


@needs_mounts
def test_something_else_mounted_there_is_told(source, real_tmp):
    mount.mount("t", real_tmp, "tmpfs")
    assert is_mounted(str(real_tmp)) is False
    with pytest.raises(MountError, match=r"other than an overlay.*umount") as refused:
        is_mounted(str(real_tmp), strict=True)
    assert refused.value.path == str(real_tmp)


@needs_mounts
def test_mounted_in_another_namespace(real_tmp, here, spawn):
    chain = chains.make(str(real_tmp / "home"))
    os.mkdir(chain.path("merged"))
    data = planned_by(CLASSIC, chain, here).data
    script = 'mount -t overlay -o "$1" overlay "$0" && echo ready && exec sleep 1000'
    process = spawn(["unshare", "--mount", "sh", "-c", script, chain.path("merged"), data], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    namespace = os.stat("/proc/%d/ns/mnt" % process.pid).st_ino
    assert is_mounted(chain.path("merged")) is False
    assert process_with_mount(namespace, chain.path("merged")) == process.pid
    assert process_with_mount(namespace, chain.path("diff")) is None
    assert process_with_mount(kernel.mount_namespace(), chain.path("merged")) is None
    assert process_with_mount(0, chain.path("merged")) is None
    assert process_with_mount(1, chain.path("merged")) is None


# Unmounting


@needs_mounts
@pytest.mark.parametrize("height", [0, 1, 3])
def test_unmount_takes_the_whole_stack_and_the_folder(height, real_tmp, here):
    chain = chains.make(str(real_tmp / "home"))
    merged = chain.path("merged")
    os.mkdir(merged)
    for _round in range(height):
        mounts.perform(chain.layer, planned_by(CLASSIC, chain, here, read_only=True), here)
    mounts.unmount(chain.layer, merged)
    assert host.mounts_below(chain.home) == []
    assert not os.path.exists(merged)
    mounts.unmount(chain.layer, merged)  # there is nothing left, which is fine


@needs_mounts
def test_unmount_of_a_layer_in_use(real_tmp, here):
    chain = chains.make(str(real_tmp / "home"))
    merged = mounted(CLASSIC, chain, here)
    with open(merged + "/same", "rb") as source:
        mounts.unmount(chain.layer, merged)
        assert host.mounts_below(chain.home) == []
        assert not os.path.exists(merged)
        assert source.read() == b"top"


def test_unmount_deletes_no_file(real_tmp, caplog):
    """Somebody wrote into `merged` while nothing was mounted."""
    (real_tmp / "merged").mkdir()
    (real_tmp / "merged" / "precious").write_text("kept")
    mounts.unmount("web", str(real_tmp / "merged"))
    assert (real_tmp / "merged" / "precious").read_text() == "kept"
    assert "can't remove the mount point" in caplog.text


@needs_mounts
def test_removing_the_mount_point_drops_copies_of_the_mount_elsewhere(real_tmp, here, spawn):
    chain = chains.make(str(real_tmp / "home"))
    merged = mounted(CLASSIC, chain, here)
    process = spawn(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready && exec sleep 1000"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"ready\n"
    assert len(mountinfo.mounts(process.pid, below=merged)) == 1
    mounts.unmount(chain.layer, merged)
    assert mountinfo.mounts(process.pid, below=chain.home) == []


# Through the driver


@needs_mounts
def test_the_driver_mounts_a_committed_layer_read_only(tmpfs_home):
    driver = Driver(tmpfs_home, ["overlay2.sync=none"])
    driver.create("base")
    driver.create_read_write("web", "base")
    path = driver.get("web")
    os.mkdir(path + "/new")
    driver.put("web")
    driver.create("child", "web")
    path = driver.get("web")
    with pytest.raises(OSError) as refused:
        os.mkdir(path + "/newer")
    assert refused.value.errno == errno.EROFS
    assert os.listdir(path) == ["new"]
    driver.cleanup()


@needs_mounts
@pytest.mark.parametrize("lowerdir_plus", [pytest.param(True, marks=needs_mount_api), False])
def test_the_driver_mounts_the_deepest_chain(lowerdir_plus, tmpfs_home):
    chain = chains.make(tmpfs_home, 128)
    driver = Driver(tmpfs_home, ["overlay2.sync=none"])
    driver.opened = driver.opened._replace(features=driver.features._replace(lowerdir_plus=lowerdir_plus))
    path = driver.get(chain.layer)
    assert len(os.listdir(path)) == 130
    os.mkdir(path + "/new")
    assert os.path.isdir(chain.path("diff", "new"))
    driver.put(chain.layer)
    assert not os.path.exists(path)


@needs_mounts
@pytest.mark.skipif(os.path.exists("/sys/fs/selinux/enforce"), reason="SELinux takes the label")
def test_a_refused_label_leaves_nothing_mounted_or_counted(tmpfs_home):
    chain = chains.make(tmpfs_home)
    driver = Driver(tmpfs_home, ["overlay2.sync=none"])
    for label in ("system_u:object_r:t:s0", "c" * 5000):
        with pytest.raises(MountError) as refused:
            driver.get(chain.layer, label, holder="web")
        assert refused.value.layer == chain.layer
        assert not os.path.exists(chain.path("merged"))
        assert driver.holders(chain.layer) == {}
        assert host.mounts_below(tmpfs_home) == []
    assert "cannot mount layer, mount label too large" in refused.value.message
    driver.get(chain.layer, holder="web")
    assert driver.holders(chain.layer) == {"web": 1}
    driver.put(chain.layer, holder="web")


@needs_mounts
def test_the_folder_of_overlayfs_in_work_belongs_to_the_mapped_root(tmpfs_home):
    chain = chains.make(tmpfs_home)
    driver = Driver(tmpfs_home, ["overlay2.sync=none"])
    driver.get(chain.layer)
    info = os.stat(chain.path("work", "work"))
    assert (info.st_uid, info.st_gid) == (os.geteuid(), os.getegid())
    driver.put(chain.layer)


@pytest.mark.root
def test_the_mapped_root_owns_what_a_mount_makes(tmpfs_home):
    chain = chains.make(tmpfs_home)
    driver = Driver(tmpfs_home, ["overlay2.sync=none"], IdMap((IdRange(0, 1000, 10),), (IdRange(0, 2000, 10),)))
    before = os.stat(chain.path("diff"))
    path = driver.get(chain.layer)
    info = os.stat(chain.path("work", "work"))
    assert (info.st_uid, info.st_gid) == (1000, 2000)
    assert os.stat(path).st_ino == before.st_ino  # the root of the mount is the layer's own folder
    mount.unmount(path)
    info = os.stat(path)
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (1000, 2000, 0o700)


def test_the_page_is_the_kernels(real_tmp):
    assert headers.ask(real_tmp, ["unistd.h"], ["sysconf(_SC_PAGESIZE)"]) == [DATA_MAX + 1]
