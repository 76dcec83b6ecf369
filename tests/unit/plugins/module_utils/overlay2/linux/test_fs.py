# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What the kernel says of file systems and paths, on real ones."""

from __future__ import annotations

import errno
import os
import socket
import stat

import pytest
from overlay2.linux import fs, mount, mountinfo
from support import headers, host

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


@pytest.fixture
def folder_fd(real_tmp):
    descriptor = os.open(real_tmp, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_numbers_are_those_of_the_c_headers(real_tmp):
    includes = ["sys/syscall.h", "linux/stat.h", "dirent.h", "sys/vfs.h"]
    expressions = {
        "SYS_statx": fs._SYS_STATX,
        "SYS_renameat2": fs._SYS_RENAMEAT2,
        "SYS_getdents64": fs._SYS_GETDENTS64,
        "STATX_ATTR_MOUNT_ROOT": fs.STATX_ATTR_MOUNT_ROOT,
        "sizeof(struct statx)": fs._STATX_SIZE,
        "offsetof(struct statx, stx_attributes)": 8,
        "offsetof(struct statx, stx_attributes_mask)": fs._STATX_MASK_OFFSET,
        "offsetof(struct statx, stx_dev_major)": fs._STATX_DEVICE_OFFSET,
        "offsetof(struct statx, stx_dev_minor)": fs._STATX_DEVICE_OFFSET + 4,
        "offsetof(struct statfs, f_type)": 0,
        "sizeof(((struct statfs *)0)->f_type)": fs._F_TYPE.size,
        "sizeof(struct statfs) <= 512": 1,
        "offsetof(struct dirent64, d_reclen)": 16,
        "offsetof(struct dirent64, d_name)": fs._DIRENT.size,
        "DT_UNKNOWN": fs.DT_UNKNOWN,
    }
    assert headers.ask(real_tmp, includes, list(expressions)) == list(expressions.values())
    assert headers.ask(real_tmp, ["linux/fcntl.h"], ["AT_STATX_DONT_SYNC"]) == [fs.AT_STATX_DONT_SYNC]
    renames = headers.ask(real_tmp, ["linux/fs.h"], ["RENAME_NOREPLACE", "RENAME_EXCHANGE"])
    assert renames == [fs.RENAME_NOREPLACE, fs.RENAME_EXCHANGE]


def test_magics_are_those_of_the_c_headers(real_tmp):
    names = {
        "EXT4_SUPER_MAGIC": "extfs", "XFS_SUPER_MAGIC": "xfs", "TMPFS_MAGIC": "tmpfs", "BTRFS_SUPER_MAGIC": "btrfs",
        "OVERLAYFS_SUPER_MAGIC": "overlayfs", "RAMFS_MAGIC": "ramfs", "NFS_SUPER_MAGIC": "nfs",
        "SQUASHFS_MAGIC": "squashfs", "CRAMFS_MAGIC": "cramfs", "ECRYPTFS_SUPER_MAGIC": "ecryptfs",
        "F2FS_SUPER_MAGIC": "f2fs", "FUSE_SUPER_MAGIC": "fuse", "JFFS2_SUPER_MAGIC": "jffs2",
        "REISERFS_SUPER_MAGIC": "reiserfs", "SMB_SUPER_MAGIC": "smb",
    }  # fmt: skip
    told = headers.ask(real_tmp, ["linux/magic.h"], ["(unsigned)" + name for name in names])
    assert [fs.MAGIC_NAMES[value] for value in told] == list(names.values())
    # Not in that header; as Docker has them.
    rest = {0x61756673: "aufs", 0x47504653: "gpfs", 0x3153464A: "jfs", 0xA501FCF5: "vxfs", 0x2FC12FC1: "zfs",
            0: "unsupported"}  # fmt: skip
    assert {value: fs.MAGIC_NAMES[value] for value in rest} == rest
    assert len(fs.MAGIC_NAMES) == len(names) + len(rest)


@pytest.mark.parametrize("fixture", ["home", "tmpfs_home", "xfs_home"])
def test_name_of_a_file_system(request, fixture):
    folder = request.getfixturevalue(fixture)
    kind = host.filesystem_type(folder)
    assert fs.fs_name(folder) == {"ext4": "extfs", "ext3": "extfs", "ext2": "extfs"}.get(kind, kind)
    assert fs.MAGIC_NAMES[fs.magic(folder)] == fs.fs_name(folder)


def test_a_file_system_that_docker_has_no_name_for():
    assert fs.fs_name("/proc") == "<unknown>"
    assert fs.magic("/proc") == 0x9FA0


def test_a_path_that_is_not_there():
    with pytest.raises(FileNotFoundError) as refused:
        fs.magic("/nowhere")
    assert refused.value.filename == "/nowhere"


# Mount points


@needs_mounts
def test_is_mount_point(real_tmp):
    point = real_tmp / "a\udcff,b"
    (point / "inside").mkdir(parents=True)
    os.symlink(point, real_tmp / "link")
    assert fs.is_mount_point(point) is False
    mount.mount("t", point, "tmpfs")
    (point / "inside").mkdir()
    assert fs.is_mount_point(point) is True
    assert fs.is_mount_point(str(point) + "/") is True
    assert fs.is_mount_point(point / "inside") is False
    assert fs.is_mount_point(real_tmp / "link") is False
    mount.unmount(point)
    assert fs.is_mount_point(point) is False


@needs_mounts
def test_is_mount_point_sees_a_bind_of_the_same_file_system(real_tmp):
    for name in ("folder", "bound"):
        (real_tmp / name).mkdir()
    for name in ("file", "bound file"):
        (real_tmp / name).touch()
    for source, target in (("folder", "bound"), ("file", "bound file")):
        mount.mount(real_tmp / source, real_tmp / target, "", 4096)  # MS_BIND
        assert fs.is_mount_point(real_tmp / target) is True
        assert fs.is_mount_point(real_tmp / source) is False
    assert not os.path.ismount(real_tmp / "bound file")  # why Python's own test would not do


def test_is_mount_point_agrees_with_the_mount_table():
    points = {entry.mount_point for entry in mountinfo.mounts()}
    for point in points:
        if os.path.lexists(point):
            assert fs.is_mount_point(point), point
    for folder in ("/usr", "/etc", os.path.dirname(__file__)):
        assert fs.is_mount_point(folder) == (folder in points)


def test_is_mount_point_of_what_is_missing(real_tmp):
    assert fs.is_mount_point(real_tmp / "none") is False
    (real_tmp / "file").touch()
    with pytest.raises(NotADirectoryError):
        fs.is_mount_point(real_tmp / "file" / "none")


def test_is_mount_point_where_the_kernel_cannot_say(real_tmp, monkeypatch):
    monkeypatch.setattr(fs, "STATX_ATTR_MOUNT_ROOT", 1 << 60)  # a bit that no kernel sets in its mask
    assert fs.is_mount_point("/") is None
    assert fs.is_mount_point(real_tmp) is None
    assert fs.is_mount_point(real_tmp / "none") is False


# Directory entries


def test_entry_types(real_tmp, folder_fd):
    assert fs.entry_types(folder_fd) == [4, 4]  # "." and ".."
    (real_tmp / "file").touch()
    os.symlink("file", real_tmp / "link")
    os.mkfifo(real_tmp / "pipe")
    (real_tmp / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(real_tmp / "socket"))
    os.lseek(folder_fd, 0, os.SEEK_SET)
    expected = [stat.S_IFDIR] * 3 + [stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK]
    assert sorted(fs.entry_types(folder_fd)) == sorted(kind >> 12 for kind in expected)


def test_entry_types_of_a_folder_too_big_for_one_read(real_tmp, folder_fd):
    for number in range(200):
        (real_tmp / f"{number:0>200}").touch()
    types = fs.entry_types(folder_fd)
    assert 10 < len(types) < 202
    assert set(types) <= {4, 8}


def test_entry_types_of_no_folder(real_tmp):
    (real_tmp / "file").touch()
    descriptor = os.open(real_tmp / "file", os.O_RDONLY)
    try:
        with pytest.raises(NotADirectoryError):
            fs.entry_types(descriptor)
    finally:
        os.close(descriptor)


# Renaming


@pytest.fixture
def pair(real_tmp):
    """Two folders with a file of the same name each."""
    for name in ("one", "two"):
        (real_tmp / name).mkdir()
        (real_tmp / name / "file").write_text(name)
    return real_tmp / "one", real_tmp / "two"


def test_rename_without_flags(real_tmp, pair):
    fs.rename(real_tmp / "one", real_tmp / "three")
    assert not pair[0].exists()
    assert (real_tmp / "three" / "file").read_text() == "one"
    fs.rename(str(real_tmp / "three" / "file"), str(pair[1] / "file"))
    assert (pair[1] / "file").read_text() == "one"


def test_rename_that_must_not_replace(real_tmp, pair):
    (real_tmp / "empty").mkdir()
    for target in (real_tmp / "empty", pair[1], pair[1] / "file"):
        with pytest.raises(FileExistsError) as refused:
            fs.rename(pair[0], target, fs.RENAME_NOREPLACE)
        assert refused.value.filename == target
    fs.rename(pair[0], real_tmp / "three", fs.RENAME_NOREPLACE)
    assert (real_tmp / "three" / "file").read_text() == "one"


def test_rename_that_exchanges(pair, real_tmp):
    fs.rename(pair[0], pair[1], fs.RENAME_EXCHANGE)
    assert [(folder / "file").read_text() for folder in pair] == ["two", "one"]
    with pytest.raises(FileNotFoundError):
        fs.rename(pair[0], real_tmp / "none", fs.RENAME_EXCHANGE)
    assert (pair[0] / "file").read_text() == "two"


def test_rename_by_descriptors(real_tmp, pair):
    descriptors = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for folder in pair]
    try:
        fs.rename("file", "a\udcff", fs.RENAME_NOREPLACE, *descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    assert os.listdir(pair[0]) == []
    assert sorted(os.listdir(os.fsencode(pair[1]))) == [b"a\xff", b"file"]


def test_rename_with_flags_that_nobody_knows(pair):
    with pytest.raises(OSError) as refused:
        fs.rename(pair[0], pair[1], 1 << 20)
    assert refused.value.errno == errno.EINVAL


def test_syncfs(folder_fd):
    fs.syncfs(folder_fd)
    with pytest.raises(OSError) as refused:
        fs.syncfs(-1)
    assert refused.value.errno == errno.EBADF


def test_device_of_a_path(real_tmp):
    link = real_tmp / "link"
    link.symlink_to("/proc/self/exe")
    for path in (real_tmp, "/proc", "/dev/null", link):
        assert fs.device(str(path)) == os.stat(path).st_dev
    with pytest.raises(FileNotFoundError):
        fs.device(str(real_tmp / "none"))
