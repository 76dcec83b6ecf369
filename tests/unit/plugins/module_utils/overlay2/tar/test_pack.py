# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Packing: order, headers and content, read back by tarfile and GNU tar, and the same bytes every time."""

from __future__ import annotations

import io
import logging
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tarfile

import pytest
from corpus.forge import archive, file, folder, hardlink, symlink
from corpus.place import facts, opened
from overlay2.changes import Change, ChangeKind
from overlay2.errors import ChangedWhileRead, Overlay2Error
from overlay2.idmap import IdMap, IdRange
from overlay2.linux import xattr
from overlay2.tar import acl, dirstack, packing
from overlay2.tar.pack import pack_changes, pack_tree


def read(data):
    """Members by tarfile, in order."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errors="surrogateescape", encoding="utf-8") as tar:
        return tar.getmembers()


def names(data):
    return [member.name + ("/" if member.isdir() else "") for member in read(data)]


def touch(path, data=b"", mode=0o644, mtime=1234567890):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    os.utime(path, (mtime, mtime))
    return path


def test_an_empty_folder_is_an_end(place):
    assert place.pack() == bytes(1024)


def test_depth_first_sorted_as_bytes(place):
    for name in ("b/z", "b.txt", "b/a/q", "a", "\u00e9", "\U0001f600", "\ue000", "B"):
        touch(place.target / name)
    touch(place.target / os.fsdecode(b"\xff"))
    assert [os.fsencode(name) for name in names(place.pack())] == [
        b"B", b"a", b"b/", b"b/a/", b"b/a/q", b"b/z", b"b.txt", "\u00e9".encode(), "\ue000".encode(),
        "\U0001f600".encode(),
        b"\xff",
    ]  # fmt: skip


def test_the_bytes_of_a_simple_archive(place):
    touch(place.target / "d/f", b"data\n", 0o640, 99)
    (place.target / "d/l").symlink_to("f")
    os.link(place.target / "d/f", place.target / "d/h")
    for name, time in (("d/l", 7), ("d", 55)):
        os.utime(place.target / name, (time, time), follow_symlinks=False)
    owner = {"uid": os.getuid(), "gid": os.getgid()}
    assert place.pack() == archive(
        folder(b"d", 0o755, mtime=55, **owner),
        file(b"d/f", mode=0o640, mtime=99, **owner),
        hardlink(b"d/h", b"d/f", mode=0o640, mtime=99, **owner),
        symlink(b"d/l", b"f", mtime=7, **owner),
    )


@pytest.mark.parametrize(
    "size", [0, 1, 511, 512, 513, packing._SMALL - 1, packing._SMALL, packing._SMALL + 1, 5 * (1 << 20) + 3]
)
def test_bodies_of_all_sizes(place, size):
    body = os.urandom(size)
    touch(place.target / "a", body)
    touch(place.target / "b", b"after")
    with tarfile.open(fileobj=io.BytesIO(place.pack())) as tar:
        assert tar.extractfile("a").read() == body
        assert tar.extractfile("b").read() == b"after"


def test_a_tree_comes_back_as_it_was(place):
    touch(place.target / "d/e/f", os.urandom(3000), 0o4711)
    touch(place.target / os.fsdecode(b"\xff\n"), b"odd")
    touch(place.target / ("n" * 250), b"long")
    os.makedirs(place.target / ("x" * 200) / ("y" * 200), 0o1777)
    os.link(place.target / "d/e/f", place.target / "z")
    (place.target / "l").symlink_to("t" * 150)
    (place.target / "m").symlink_to(os.fsdecode(b"\xfe"))
    os.mkfifo(place.target / "p", 0o600)
    if os.getuid() == 0 and os.path.exists("/proc/self/uid_map"):
        os.chown(place.target / "z", 12, 13)
        os.chmod(place.target / "z", 0o6711)
    for path in place.target.rglob("*"):
        os.utime(path, (5, 1234567890), follow_symlinks=False)
    data = place.pack()
    other = place.fresh("other")
    place.unpack(data, target=other)
    found, expected = facts(other), facts(place.target)
    del found[b"."], expected[b"."]
    assert found == expected
    assert place.pack(other) == data


@pytest.mark.parametrize("program", ["tar", "tarfile"])
def test_other_programs_read_it(place, program):
    touch(place.target / "d/f", b"data", 0o750)
    touch(place.target / "d" / ("n" * 120), b"long")
    touch(place.target / "caf\u00e9", b"name")
    (place.target / "l").symlink_to("t" * 150)
    os.link(place.target / "d/f", place.target / "e")
    for path in place.target.rglob("*"):
        os.utime(path, (5, 1234567890), follow_symlinks=False)
    other = place.fresh("other")
    if program == "tar":
        subprocess.run(["tar", "-C", other, "-xpf", "-"], input=place.pack(), check=True)
    else:
        with tarfile.open(fileobj=io.BytesIO(place.pack())) as tar:
            tar.extractall(other, **({"filter": "fully_trusted"} if hasattr(tarfile, "tar_filter") else {}))
    found, expected = facts(other), facts(place.target)
    del found[b"."], expected[b"."]
    if program == "tarfile":  # it sets no times of links
        assert os.readlink(other / "l") == "t" * 150
        del found[b"l"], expected[b"l"]
    assert found == expected


# Headers


def header_of(place, name, **options):
    (member,) = [member for member in read(place.pack(**options)) if member.name == name]
    return member


def test_times_are_whole_seconds_downwards(place):
    for name, nanoseconds in (("a", 1999999999), ("b", -1), ("c", -5 * 10**9)):
        touch(place.target / name)
        os.utime(place.target / name, ns=(0, nanoseconds))
    assert [member.mtime for member in read(place.pack())] == [1, -1, -5]
    assert read(place.pack())[1].pax_headers["mtime"] == "-1"


def test_extended_headers_only_where_needed(place):
    # 100 characters fit, 155 + 100 fit if a slash is in the right place
    fits = ["n" * 100, "a" * 90 + "/" + "b" * 90, "a" * 90 + "/" + "c" * 64 + "/" + "d" * 100]
    for name in fits:
        touch(place.target / name)
    (place.target / "l").symlink_to("t" * 100)
    assert all(not member.pax_headers for member in read(place.pack()))
    too_long = ["n" * 101, "e" * 160 + "/f", "g/" + "h" * 101]
    for name in too_long:
        touch(place.target / name)
    (place.target / "m").symlink_to("t" * 101)
    members = {member.name: member for member in read(place.pack())}
    for name in too_long:
        assert members[name].pax_headers == {"path": name}
    assert members["m"].pax_headers == {"linkpath": "t" * 101}


def test_the_extended_header_is_what_go_writes(place):
    touch(place.target / "d" / ("n" * 101), b"")
    data = place.pack()
    record = b"113 path=d/" + b"n" * 101 + b"\n"
    assert len(record) == 113
    block = data[512:1024]
    assert block[:100] == (b"d/PaxHeaders.0/" + b"n" * 101)[:100]
    assert block[100:148] == b"0000000\0" * 3 + b"%011o\0" % 113 + b"00000000000\0"
    assert block[156:157] == b"x"
    assert block[257:265] == b"ustar\x0000"
    assert block[265:] == bytes(247)
    assert data[1024 : 1024 + 113] == record
    main = data[1536:2048]
    assert main[:100] == (b"d/" + b"n" * 101)[:100]
    assert main[345:] == bytes(167)


def test_a_name_that_is_not_ascii_is_cut_to_what_is(place):
    touch(place.target / "d\u00e9" / "f\u00e9")
    data = place.pack()
    assert data[:100].rstrip(b"\0") == b"d/PaxHeaders.0"
    assert data[1024:1124].rstrip(b"\0") == b"d/"
    assert data[1536:1636].rstrip(b"\0") == b"d/PaxHeaders.0/f"
    assert data[2560:2660].rstrip(b"\0") == b"d/f"
    assert [member.name for member in read(data)] == ["d\u00e9", "d\u00e9/f\u00e9"]


@pytest.mark.root
def test_large_ids(place):
    touch(place.target / "f")
    os.chown(place.target / "f", 2097151, 2097152)
    member = header_of(place, "f")
    assert (member.uid, member.gid, member.pax_headers) == (2097151, 2097152, {"gid": "2097152"})


def test_a_large_size(place):
    with open(place.target / "f", "wb") as sparse:
        sparse.truncate(8 << 30)
    with opened(place.target) as root:
        chunks = pack_tree(root, overlay=False)
        head = next(chunks)
        chunks.close()
    assert head[512:532] == b"19 size=8589934592\n\0"
    assert head[1024 + 124 : 1024 + 136] == b"00000000000\0"


@pytest.mark.root
def test_devices_and_modes(place):
    os.mknod(place.target / "c", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(place.target / "b", stat.S_IFBLK | 0o600, os.makedev(259, 70000))
    touch(place.target / "f", mode=0o7777)
    found = {member.name: member for member in read(place.pack())}
    assert (found["c"].type, found["c"].devmajor, found["c"].devminor) == (tarfile.CHRTYPE, 1, 3)
    assert (found["b"].type, found["b"].devmajor, found["b"].devminor) == (tarfile.BLKTYPE, 259, 70000)
    assert found["f"].mode == 0o7777
    assert (found["f"].uname, found["f"].gname) == ("", "")


# Hard links


def test_hard_links_are_told_by_device_and_inode_and_forgotten_when_complete(place):
    touch(place.target / "a", b"one")
    os.link(place.target / "a", place.target / "b")
    os.link(place.target / "a", place.base / "elsewhere")
    os.link(place.target / "a", place.target / "c")
    touch(place.target / "d", b"two")
    os.link(place.target / "d", place.target / "e")
    with opened(place.target) as root:
        packer = packing.Packer(IdMap(), False, None)
        data = b"".join(packer.guarded(packer.tree(root)))
    found = {member.name: (member.type, member.linkname, member.size) for member in read(data)}
    assert found == {
        "a": (b"0", "", 3),
        "b": (b"1", "a", 0),
        "c": (b"1", "a", 0),
        "d": (b"0", "", 3),
        "e": (b"1", "d", 0),
    }
    assert len(packer._links) == 1  # the one with a name elsewhere


# Attributes

CAPABILITY_2 = bytes.fromhex("0100000200200000000000000000000000000000")
CAPABILITY_3 = bytes.fromhex("0100000300200000000000000000000000000000") + struct.pack("<I", 100000)


@pytest.mark.root
@pytest.mark.parametrize("stored", [CAPABILITY_2, CAPABILITY_3])
def test_a_capability_is_carried_without_its_namespace(place, stored):
    touch(place.target / "ping")
    os.setxattr(place.target / "ping", "security.capability", stored)
    os.link(place.target / "ping", place.target / "pong")
    os.setxattr(place.target / "ping", "user.other", b"left out")
    data = place.pack()
    keys = [b"SCHILY.xattr.security.capability="]
    assert data.count(keys[0]) == 2  # with the file and with its other name, as Docker does
    at = data.index(keys[0]) + len(keys[0])
    assert data[at : at + 21] == CAPABILITY_2 + b"\n"
    assert b"user.other" not in data
    other = place.fresh("other")
    place.unpack(data, target=other)
    assert os.getxattr(other / "pong", "security.capability") == CAPABILITY_2


@pytest.mark.root
def test_all_attributes_on_request(place):
    touch(place.target / "f")
    (place.target / "d").mkdir()
    (place.target / "l").symlink_to("f")
    for name in ("f", "d", "l"):
        os.setxattr(place.target / name, "trusted.binary", b"\0\n=", follow_symlinks=False)
    os.setxattr(place.target / "f", "user.a", b"1")
    os.setxattr(place.target / "f", "trusted.overlay.origin", b"no")
    os.setxattr(place.target / "f", "user.overlay.opaque", b"no")
    data = place.pack(all_xattrs=True)
    assert b"overlay" not in data
    other = place.fresh("other")
    place.unpack(data, target=other)
    assert os.getxattr(other / "f", "user.a") == b"1"
    for name in ("f", "d", "l"):
        assert os.getxattr(other / name, "trusted.binary", follow_symlinks=False) == b"\0\n="
    assert b"SCHILY" not in place.pack()


@pytest.mark.root
def test_names_of_attributes_are_as_they_were(place):
    touch(place.target / "f")
    names = ["user.a=b", "user.%", "user.%3D", "user.%25=", "user.\u00e9", "user.new\nline"]
    for name in names:
        os.setxattr(place.target / "f", name, b"=")
    other = place.fresh("other")
    place.unpack(place.pack(all_xattrs=True), target=other)
    assert {name: os.getxattr(other / "f", name) for name in os.listxattr(other / "f")} == dict.fromkeys(names, b"=")


@pytest.mark.root
def test_acls_have_the_ids_of_the_container(place):
    id_map = IdMap((IdRange(0, 0, 5000),), (IdRange(0, 0, 5), IdRange(7, 50, 1)))
    touch(place.target / "f")
    value = acl.encode(b"user::rw-,user:1000:r--,group::r--,group:50:rwx,mask::rwx,other::---")
    os.setxattr(place.target / "f", xattr.ACCESS_ACL, value)
    data = place.pack(all_xattrs=True, id_map=id_map)
    assert value[:-24].replace(b"\x32\0\0\0", b"\x07\0\0\0") in data
    place.unpack(data, target=place.fresh("other"), id_map=id_map)
    assert os.getxattr(place.base / "other/f", xattr.ACCESS_ACL) == value
    # ... and an ACL for somebody who is not in the container stays out
    os.chown(place.target / "f", 0, 0)
    data = place.pack(all_xattrs=True, id_map=IdMap((IdRange(0, 0, 5),), (IdRange(0, 0, 5),)))
    assert b"posix_acl" not in data


# Paths that no single call takes


def deep(root, levels, name=b"n" * 200):
    """A descriptor of a new folder, that many levels below another one."""
    descriptor = os.open(root, os.O_RDONLY)
    for _level in range(levels):
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    return descriptor


@pytest.mark.root
@pytest.mark.parametrize("levels", [19, 20, 21, 300])
def test_a_diff_of_any_depth_can_be_applied(place, levels):
    bottom = deep(place.target, levels)
    for name in (b"f", b"x" * 255):
        file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=bottom)
        os.write(file, name)
        os.close(file)
    os.symlink(b"t" * 4095, b"l", dir_fd=bottom)
    os.link(b"f", b"hard", src_dir_fd=bottom, dst_dir_fd=bottom)
    os.mknod(b"gone", stat.S_IFCHR, dir_fd=bottom)
    os.mkdir(b"opaque", dir_fd=bottom)
    os.setxattr(b"/proc/self/fd/%d/opaque" % bottom, "trusted.overlay.opaque", b"y")
    os.setxattr(b"/proc/self/fd/%d/f" % bottom, "security.capability", CAPABILITY_2)
    os.close(bottom)
    try:
        data = place.pack()
        other = place.fresh("other")
        place.unpack(data, target=other)
        assert place.pack(other) == data
        assert len([*read(data)]) == levels + 7
    finally:
        for folder in ("target", "other"):
            subprocess.run(["rm", "-rf", place.base / folder], check=True)


def test_a_path_that_could_not_be_applied_is_not_archived(place):
    os.close(deep(place.target, 340))
    try:
        with pytest.raises(Overlay2Error, match="too long for an archive"):
            place.pack()
    finally:
        subprocess.run(["rm", "-rf", place.target], check=True)


# Overlay's own


@pytest.mark.root
def test_whiteouts_and_opaque_folders(place):
    (place.target / "d").mkdir(mode=0o755)
    os.mknod(place.target / "d/gone", stat.S_IFCHR, os.makedev(0, 0))
    os.link(place.target / "d/gone", place.target / "gone")  # overlayfs shares one inode among its whiteouts
    os.chown(place.target / "gone", 7, 8)
    os.utime(place.target / "gone", (1, 1234.5))
    os.chmod(place.target / "d", 0o7751)
    os.chown(place.target / "d", 5, 6)
    os.setxattr(place.target / "d", "trusted.overlay.opaque", b"y")
    os.utime(place.target / "d", (99, 99))
    id_map = IdMap((IdRange(0, 0, 7), IdRange(100, 7, 1)), (IdRange(0, 0, 9),))
    found = [(member.name, member.type, member.mode, member.uid, member.gid, member.mtime, member.size, member.linkname)
             for member in read(place.pack(id_map=id_map))]  # fmt: skip
    assert found == [
        ("d", b"5", 0o7751, 5, 6, 99, 0, ""),
        ("d/.wh..wh..opq", b"0", 0o751, 5, 6, 0, 0, ""),
        ("d/.wh.gone", b"0", 0o600, 7, 8, 1234, 0, ""),
        (".wh.gone", b"0", 0o600, 7, 8, 1234, 0, ""),
    ]
    plain = [(member.name, member.type) for member in read(place.pack(overlay=False))]
    assert plain == [("d", b"5"), ("d/gone", b"3"), ("gone", b"1")]


@pytest.mark.root
def test_opaque_is_exactly_y_and_of_the_right_class(place):
    for name, attribute, value in (
        ("a", "trusted.overlay.opaque", b"n"), ("b", "trusted.overlay.opaque", b"x"),
        ("c", "user.overlay.opaque", b"y"),
    ):  # fmt: skip
        (place.target / name).mkdir()
        os.setxattr(place.target / name, attribute, value)
    assert names(place.pack()) == ["a/", "b/", "c/"]
    assert names(place.pack(xattr_class="user")) == ["a/", "b/", "c/", "c/.wh..wh..opq"]


@pytest.mark.root
@pytest.mark.parametrize("xattr_class", ["trusted", "user"])
def test_whiteouts_that_are_attributes(place, xattr_class):
    for name in ("d", "e"):
        (place.target / name).mkdir()
        touch(place.target / name / "gone")
        os.setxattr(place.target / name / "gone", xattr_class + ".overlay.whiteout", b"")
        touch(place.target / name / "stays", b"x")
        os.setxattr(place.target / name / "stays", xattr_class + ".overlay.whiteout", b"")
    os.setxattr(place.target / "d", xattr_class + ".overlay.opaque", b"x")
    assert names(place.pack(xattr_class=xattr_class)) == ["d/", "d/.wh.gone", "d/stays", "e/", "e/gone", "e/stays"]


@pytest.mark.root
@pytest.mark.parametrize("attribute", ["redirect", "metacopy"])
def test_files_that_only_a_mount_shows_are_refused(place, attribute):
    (place.target / "d").mkdir()
    path = place.target / "d" if attribute == "redirect" else touch(place.target / "d/f")
    os.setxattr(path, "trusted.overlay." + attribute, b"/x")
    with pytest.raises(Overlay2Error, match=attribute) as caught:
        place.pack()
    assert caught.value.path == str(path.relative_to(place.target))
    assert names(place.pack(overlay=False))[0] == "d/"


# Things that an archive can't hold


def test_sockets_are_left_out(place, caplog):
    with socket.socket(socket.AF_UNIX) as server, opened(place.target) as root:
        server.bind("/proc/self/fd/%d/s" % root)
        touch(place.target / "t")
        with caplog.at_level(logging.INFO, "overlay2"):
            assert names(place.pack()) == ["t"]
    assert "socket" in caplog.text


def test_names_that_would_delete_are_left_out(place, caplog):
    touch(place.target / ".wh.x", b"data")
    touch(place.target / ".wh.d/y")
    touch(place.target / ".who")
    assert names(place.pack()) == [".who"]
    assert ".wh.x" in caplog.text
    assert ".wh.d" in caplog.text


@pytest.mark.root
def test_an_owner_without_an_id_in_the_container_is_left_out_with_his_own_only(place, caplog):
    touch(place.target / "d/f")
    touch(place.target / "g")
    os.chown(place.target / "d", 1000, 0)
    os.chown(place.target / "g", 0, 1000)
    id_map = IdMap((IdRange(500, 0, 10),), (IdRange(600, 0, 10),))
    members = read(place.pack(id_map=id_map))
    assert [(member.name, member.uid, member.gid) for member in members] == [("d/f", 500, 600)]
    assert "uid 1000" in caplog.text


def vanish_while_listed(place, monkeypatch, change):
    """Pack with ``change()`` called once the root's names are known."""
    real = packing.listing

    def listing(descriptor):
        found = list(real(descriptor))
        monkeypatch.setattr(packing, "listing", real)
        change()
        return iter(found)

    monkeypatch.setattr(packing, "listing", listing)
    return place.pack()


def test_vanished_files_are_left_out(place, monkeypatch, caplog):
    for name in ("a", "b/c", "d"):
        touch(place.target / name)
    (place.target / "l").symlink_to("x")

    def change():
        (place.target / "a").unlink()
        (place.target / "l").unlink()
        shutil.rmtree(place.target / "b")

    with caplog.at_level(logging.INFO, "overlay2"):
        assert names(vanish_while_listed(place, monkeypatch, change)) == ["d"]
    assert caplog.text.count("vanished") == 3


def test_a_file_whose_type_changes_has_the_new_type(place, monkeypatch):
    touch(place.target / "a", b"data")
    touch(place.target / "b", b"data")
    touch(place.target / "c/x")

    def change():
        for name in ("a", "b"):
            (place.target / name).unlink()
        shutil.rmtree(place.target / "c")
        (place.target / "a").symlink_to("b")
        os.mkfifo(place.target / "b")
        (place.target / "c").symlink_to("b")

    members = read(vanish_while_listed(place, monkeypatch, change))
    assert [(member.name, member.type) for member in members] == [("a", b"2"), ("b", b"6")]


@pytest.mark.parametrize("size", [1000, 3 << 20])
def test_a_file_that_shrinks_is_an_error(place, monkeypatch, size):
    path = touch(place.target / "f", bytes(size))
    real = os.fstat

    def fstat(descriptor):
        info = real(descriptor)
        if info.st_size == size:
            os.truncate(path, size - 1)
        return info

    monkeypatch.setattr(packing.os, "fstat", fstat)
    with pytest.raises(ChangedWhileRead) as caught:
        place.pack()
    assert caught.value.path == "f"


def test_a_file_that_grows_is_cut(place, monkeypatch):
    path = touch(place.target / "f", b"12345")
    real = os.fstat

    def fstat(descriptor):
        info = real(descriptor)
        if info.st_size == 5:
            path.write_bytes(b"1234567890")
        return info

    monkeypatch.setattr(packing.os, "fstat", fstat)
    with tarfile.open(fileobj=io.BytesIO(place.pack())) as tar:
        assert tar.extractfile("f").read() == b"12345"


def test_an_error_of_the_kernel_names_the_file(place, monkeypatch):
    touch(place.target / "d/f")

    def broken(*_arguments, **_options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(packing.xattr, "names", broken)
    with pytest.raises(Overlay2Error, match="Input/output error") as caught:
        place.pack()
    assert caught.value.path == "d"


# Changes


def change(path, kind=ChangeKind.MODIFY):
    return Change(path, kind)


def test_changes(place):
    touch(place.target / "d/f", b"one")
    touch(place.target / "d/g", b"two")
    os.link(place.target / "d/f", place.target / "z")
    changes = [change("/d"), change("/d/f"), change("/d/gone", ChangeKind.DELETE), change("/gone", ChangeKind.DELETE),
               change("/vanished"), change("/vanished/x"), change("/z", ChangeKind.ADD)]  # fmt: skip
    with opened(place.target) as root:
        data = b"".join(pack_changes(root, changes))
    found = [(m.name, m.type, m.mode, m.size, m.linkname) for m in read(data)]
    assert found == [
        ("d", b"5", 0o755, 0, ""), ("d/f", b"0", 0o644, 3, ""), ("d/.wh.gone", b"0", 0, 0, ""),
        (".wh.gone", b"0", 0, 0, ""), ("z", b"1", 0o644, 0, "d/f"),
    ]  # fmt: skip
    deleted = [member for member in read(data) if ".wh." in member.name]
    assert [(member.uid, member.gid, member.mtime) for member in deleted] == [(0, 0, 0)] * 2


def test_changes_never_lead_out(place):
    (place.target / "out").symlink_to("../outside")
    with opened(place.target) as root, pytest.raises(Overlay2Error):
        b"".join(pack_changes(root, [change("/out/secret")]))


def test_large_changes_are_cut_into_chunks(place):
    touch(place.target / "a/large", os.urandom(5 << 20))
    touch(place.target / "b/large", os.urandom(5 << 20))
    changes = [change("/a/large"), change("/b/large")]
    with opened(place.target) as root:
        chunks = list(pack_changes(root, changes))
    assert max(map(len, chunks)) <= 2 * packing.CHUNK
    assert len(read(b"".join(chunks))) == 2


# As a stream


def test_the_same_bytes_every_time_and_in_every_order_of_creation(place):
    listed = ["f%03d" % n for n in range(300)] + ["d/f%03d" % n for n in range(300)]
    other = place.fresh("other")
    for root, order in ((place.target, listed), (other, listed[::-1])):
        for name in order:
            touch(root / name, name.encode())
        os.utime(root / "d", (5, 5))
    assert place.pack() == place.pack() == place.pack(other)


def test_nothing_is_left_open_when_it_ends_early_or_fails(place):
    for name in ("a/b/c/d/f", "a/b/large"):
        touch(place.target / name, bytes(3 << 20))
    before = len(os.listdir("/proc/self/fd"))
    with opened(place.target) as root:
        for count in range(6):
            chunks = pack_tree(root, overlay=True)
            for _chunk in range(count):
                next(chunks)
            chunks.close()
        assert len(os.listdir("/proc/self/fd")) == before + 1


def test_a_tree_deeper_than_descriptors_and_paths_go(place):
    descriptor = os.open(place.target, os.O_RDONLY)
    for level in range(1500):
        os.mkdir("level", dir_fd=descriptor)
        below = os.open("level", os.O_RDONLY, dir_fd=descriptor)
        if level % 500 == 0:
            os.close(os.open("z", os.O_CREAT, 0o600, dir_fd=descriptor))
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    try:
        data = place.pack()
    finally:
        subprocess.run(["rm", "-rf", place.target / "level"], check=True)  # shutil.rmtree can't
    listed = names(data)
    assert len(listed) == 1503
    assert listed[-3:] == ["level/" * 1000 + "z", "level/" * 500 + "z", "z"]


def test_a_folder_moved_meanwhile_ends_it(place):
    path = place.target
    for _level in range(dirstack.KEPT + 10):
        path = path / "d"
    path.mkdir(parents=True)
    touch(path / "large", bytes(3 << 20))
    with opened(place.target) as root:
        chunks = pack_tree(root, overlay=True)
        next(chunks)
        moved = place.target / "d/d"
        moved.rename(place.outside / "moved")
        (place.outside / "moved/d").rename(place.outside / "again")
        with pytest.raises(ChangedWhileRead, match="moved"):
            b"".join(chunks)


MEASURE = """
import os, resource, sys
from overlay2.tar.pack import pack_tree
root = os.open(sys.argv[1], os.O_RDONLY)
print(sum(map(len, pack_tree(root, overlay=True))))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_entries_or_bytes(place):
    def peak(folder_):
        done = subprocess.run([sys.executable, "-c", MEASURE, folder_], stdout=subprocess.PIPE, check=True,
                              env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))  # fmt: skip
        return int(done.stdout.split()[1])

    few, many, large = (place.fresh(name) for name in ("few", "many", "large"))
    touch(few / "f", bytes(2 << 20))
    for number in range(20000):
        folder_ = many / ("d%03d" % (number // 100))
        folder_.mkdir(exist_ok=True)
        (folder_ / str(number)).touch()
    with open(large / "f", "wb") as sparse:
        sparse.truncate(500 << 20)
    base = peak(few)
    assert peak(many) < base + 2048
    assert peak(large) < base + 4096
