# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Unpacking: every type with all its metadata, and the treatment of existing files."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import resource
import signal
import stat
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from corpus import forge
from corpus.forge import archive, file, folder, gnu_long, hardlink, header, pax, symlink
from corpus.place import Place, Trickle, facts
from overlay2.errors import ArchiveError, CorruptArchive
from overlay2.idmap import IdMap, IdRange
from overlay2.linux import xattr
from overlay2.tar.leftout import LeftOut
from overlay2.tar.whiteouts import Whiteouts
from overlay2.tree import tree_size

pytestmark = pytest.mark.usefixtures("hands")

NEEDS_ROOT = pytest.mark.root
BOTH = pytest.mark.parametrize("way", list(Whiteouts), ids=lambda way: way.value)


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


# Types and metadata


def test_regular_files_of_all_sizes(place):
    sizes = [0, 1, 511, 512, 513, 1 << 20, (1 << 20) - 512, (1 << 20) + 1, 3 << 20]
    data = archive(*[file(b"f%d" % size, os.urandom(size)) for size in sizes])
    result = place.unpack(data)
    assert [os.stat(place.path("f%d" % size)).st_size for size in sizes] == sizes
    assert result.size == result.tree_size == sum(sizes)
    assert result.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert result.skipped_devices == result.dropped_attributes == LeftOut(0, ())


@BOTH
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_the_umask_does_not_matter(place, way, mask):
    modes = [0o000, 0o400, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o6711]
    before = os.umask(mask)
    try:
        place.unpack(
            archive(
                *[file(b"f%o" % mode, mode=mode) for mode in modes],
                *[folder(b"d%o" % mode, mode=mode) for mode in [0o700, 0o1777, 0o2755, 0o777]],
                header(b"p", b"6", mode=0o666),
                file(b"implied/f"),
            ),
            way,
        )
    finally:
        os.umask(before)
    for mode in modes:
        assert mode_of(place.path("f%o" % mode)) == mode
    for mode in [0o700, 0o1777, 0o2755, 0o777]:
        assert mode_of(place.path("d%o" % mode)) == mode
    assert mode_of(place.path("p")) == 0o666
    assert mode_of(place.path("implied")) == 0o755


@NEEDS_ROOT
@BOTH
def test_owners_are_those_of_the_archive(place, way):
    place.unpack(
        archive(
            folder(b"d", uid=10, gid=11),
            file(b"d/f", uid=1000, gid=0, mode=0o6755),
            symlink(b"d/l", b"f", uid=5, gid=6),
            header(b"d/p", b"6", uid=7, gid=8),
            pax([(b"uid", b"4294967294"), (b"gid", b"3000000000")]),
            file(b"d/big"),
            file(b"implied/f"),
            file(b"root"),
        ),
        way,
    )
    for name, owner in {"d": (10, 11), "d/f": (1000, 0), "d/l": (5, 6), "d/p": (7, 8),
                        "d/big": (4294967294, 3000000000), "implied": (0, 0), "root": (0, 0)}.items():  # fmt: skip
        info = os.lstat(place.path(name))
        assert (info.st_uid, info.st_gid) == owner, name
    assert mode_of(place.path("d/f")) == 0o6755


@NEEDS_ROOT
@BOTH
def test_a_folder_with_setgid_gives_its_group_to_nothing(place, way):
    place.unpack(archive(folder(b"d", 0o2775, gid=50), file(b"d/f"), folder(b"d/e"), file(b"d/e/f"), file(b"f")), way)
    for name, gid in {"d": 50, "d/f": 0, "d/e": 0, "d/e/f": 0, "f": 0}.items():
        assert os.lstat(place.path(name)).st_gid == gid, name
    assert mode_of(place.path("d/e")) == 0o755


@NEEDS_ROOT
def test_a_target_with_setgid_gives_its_group_to_nothing(place):
    os.chown(place.target, 0, 50)
    place.target.chmod(0o2775)
    place.unpack(archive(file(b"f"), folder(b"d"), symlink(b"l", b"f")))
    assert [os.lstat(place.path(name)).st_gid for name in ("f", "d", "l")] == [0, 0, 0]


DEFAULT_ACL = bytes.fromhex(
    "0200000001000700ffffffff02000700e803000004000500ffffffff10000700ffffffff20000000ffffffff"
)  # user::rwx, user:1000:rwx, group::r-x, mask::rwx, other::---


@BOTH
def test_a_default_acl_is_set_but_not_inherited(place, way):
    attribute = pax([(b"SCHILY.xattr.system.posix_acl_default", DEFAULT_ACL)])
    place.unpack(archive(attribute, folder(b"d"), file(b"d/f", mode=0o640), folder(b"d/e", 0o755), file(b"d/e/f")), way)
    assert xattr.get(str(place.target / "d"), xattr.DEFAULT_ACL) == DEFAULT_ACL
    assert mode_of(place.path("d/f")) == 0o640
    for name in ("d/f", "d/e", "d/e/f"):
        assert xattr.names(str(place.target / name)) == [], name


def test_a_target_with_a_default_acl_does_not_change_modes(place):
    os.setxattr(place.target, xattr.DEFAULT_ACL, DEFAULT_ACL)
    place.unpack(archive(file(b"f", mode=0o604), folder(b"d", 0o705)))
    assert mode_of(place.path("f")) == 0o604
    assert mode_of(place.path("d")) == 0o705


@BOTH
def test_times_are_kept_to_the_nanosecond(place, way):
    times = pax([(b"mtime", b"1234567890.123456789"), (b"atime", b"1300000000.000000001")])
    place.unpack(
        archive(times, folder(b"d"), times, file(b"d/f"), times, symlink(b"d/l", b"f"), times, header(b"d/p", b"6"),
                times, hardlink(b"d/h", b"d/f")),
        way,
    )  # fmt: skip
    for name in ("d", "d/f", "d/l", "d/p", "d/h"):
        info = os.lstat(place.path(name))
        assert info.st_mtime_ns == 1234567890123456789, name
        if name != "d":  # reading the folder's list may have touched it
            assert info.st_atime_ns == 1300000000000000001, name


def test_atime_is_never_before_mtime(place):
    place.unpack(archive(pax([(b"atime", b"5")]), file(b"f", mtime=1000), file(b"g", mtime=2000)))
    assert os.stat(place.path("f")).st_atime == 1000
    assert os.stat(place.path("g")).st_atime == 2000


def test_times_of_access_in_gnu_headers(place):
    place.unpack(archive(file(b"f", mtime=1000, prefix=b"00000003720\0", magic=b"ustar  \0")))
    assert (os.stat(place.path("f")).st_atime, os.stat(place.path("f")).st_mtime) == (2000, 1000)


def test_times_out_of_range_become_1970(place):
    place.unpack(archive(file(b"f", mtime=forge.base256(-1, 12)), pax([(b"mtime", b"-1.5")]), file(b"g"),
                         pax([(b"mtime", b"9223372036.9")]), file(b"h")))  # fmt: skip
    assert [os.stat(place.path(name)).st_mtime for name in "fgh"] == [0, 0, 0]


def test_folder_times_are_those_of_the_archive_whatever_came_after(place):
    place.unpack(
        archive(
            folder(b"d", mtime=100), folder(b"d/e", mtime=200), file(b"d/e/f"), file(b"d/g"), folder(b"d", mtime=300)
        )
    )
    assert os.stat(place.path("d")).st_mtime == 300
    assert os.stat(place.path("d/e")).st_mtime == 200


def test_a_folder_listed_after_its_contents_gets_its_metadata(place):
    place.unpack(archive(file(b"a/b/f"), folder(b"a/b", 0o1711, mtime=9), folder(b"a", 0o700, mtime=8)))
    assert (mode_of(place.path("a")), os.stat(place.path("a")).st_mtime) == (0o700, 8)
    assert (mode_of(place.path("a/b")), os.stat(place.path("a/b")).st_mtime) == (0o1711, 9)


def test_the_root_entry_counts_in_a_merged_tree_only(place, caplog):
    place.unpack(archive(folder(b"./", 0o755, uid=os.getuid(), gid=os.getgid())))
    assert not caplog.text
    data = archive(folder(b"./", 0o1700, mtime=77), file(b"./f"))
    place.unpack(data, Whiteouts.OVERLAY)
    assert mode_of(place.target) == 0o755
    assert "the layer's root does not get the owner, mode" in caplog.text
    merged = place.fresh("merged")
    place.unpack(data, Whiteouts.MERGE, merged)
    assert (mode_of(merged), merged.stat().st_mtime) == (0o1700, 77)


@BOTH
def test_hard_links(place, way):
    result = place.unpack(archive(file(b"a/f", b"12345"), hardlink(b"b/h", b"a/f"), hardlink(b"a/i", b"./a//f")), way)
    assert os.stat(place.path("b/h")).st_ino == os.stat(place.path("a/f")).st_ino
    assert os.stat(place.path("a/f")).st_nlink == 3
    assert result.size == result.tree_size == 5


def test_hard_links_between_more_folders_than_are_kept_open(place):
    count = 200
    files = [file(b"from%d/f" % n, b"%d" % n) for n in range(count)]
    order = [n * 67 % count for n in range(count)]
    links = [hardlink(b"to%d/sub/h" % n, b"from%d/f" % m) for n, m in enumerate(order)]
    again = [hardlink(b"to%d/sub/i" % (n // 2), b"from%d/f" % m) for n, m in enumerate(order)]
    place.unpack(archive(*files, *links, *again[::2]))
    for n, m in enumerate(order):
        assert Path(os.fsdecode(place.path("to%d/sub/h" % n))).read_text() == "%d" % m
        if n % 2 == 0:
            assert Path(os.fsdecode(place.path("to%d/sub/i" % (n // 2)))).read_text() == "%d" % m


def test_a_hard_link_to_a_symbolic_link_is_one(place):
    place.unpack(archive(symlink(b"l", b"nowhere"), hardlink(b"h", b"l")))
    assert os.readlink(place.path("h")) == b"nowhere"
    assert os.lstat(place.path("h")).st_nlink == 2


@NEEDS_ROOT
@BOTH
@pytest.mark.parametrize("target", [b"f", b"h"])
def test_a_hard_link_that_is_listed_twice_has_the_metadata_of_the_last(place, way, target):
    place.unpack(archive(file(b"f"), hardlink(b"h", b"f", mode=0o600, uid=1, mtime=1),
                         hardlink(b"h", target, mode=0o4755, uid=5, gid=6, mtime=9)), way)  # fmt: skip
    info = os.stat(place.path("f"))
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime) == (0o4755, 5, 6, 9)
    assert info.st_nlink == 2


@BOTH
def test_a_folder_of_v7_may_have_a_body(place, way):
    """Go's archive/tar, GNU tar and bsdtar skip it, as the type flag is that of a regular file."""
    place.unpack(archive(header(b"d/", b"\0", size=3, magic=b"") + forge.padded(b"xyz"), file(b"d/f")), way)
    assert os.listdir(place.target) == ["d"]
    assert os.listdir(place.target / "d") == ["f"]


CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep


@NEEDS_ROOT
@BOTH
def test_a_capability_survives_owner_mode_and_links_that_do_not_repeat_it(place, way):
    carried = pax([(b"SCHILY.xattr.security.capability", CAPABILITY)])
    place.unpack(archive(carried, file(b"ping", mode=0o4755, uid=3, gid=4),
                         hardlink(b"pong", b"ping", uid=3, gid=4, mode=0o4755)), way)  # fmt: skip
    assert xattr.get(str(place.target / "pong"), "security.capability") == CAPABILITY
    assert mode_of(place.path("ping")) == 0o4755


@NEEDS_ROOT
@BOTH
def test_all_attributes_are_applied(place, way):
    carried = [(b"SCHILY.xattr.user.text", b"value"), (b"SCHILY.xattr.trusted.binary", bytes(range(256))),
               (b"SCHILY.xattr.user.\xc3\xa9", b""), (b"SCHILY.xattr.user.a=b", b"")]  # fmt: skip
    place.unpack(archive(pax(carried[:3]), file(b"f"), pax(carried[:3]), folder(b"d"), pax(carried[1:2]),
                         symlink(b"l", b"f"),
                         pax(carried[1:2]), header(b"p", b"6")), way)  # fmt: skip
    expected = {"user.text": b"value", "trusted.binary": bytes(range(256)), "user.\xe9": b""}
    for name in ("f", "d"):
        path = str(place.target / name)
        assert {key: xattr.get(path, key) for key in xattr.names(path)} == expected
    for name in ("l", "p"):
        assert xattr.get(str(place.target / name), "trusted.binary") == bytes(range(256))


def test_attributes_that_the_kernel_refuses_are_counted(place, caplog):
    # user.* on a symbolic link is EPERM for everybody
    members = [pax([(b"SCHILY.xattr.user.x", b"y")]) + symlink(b"l%d" % n, b"f") for n in range(20)]
    result = place.unpack(archive(*members))
    assert result.dropped_attributes == LeftOut(20, ("user.x on l0",))
    assert "20 attributes left out, as they can't be stored here: user.x on l0, ..." in caplog.text
    assert os.path.islink(place.path("l19"))


FOREIGN = [b"com.apple.quarantine", b"com.apple.ResourceFork", b"system.nfs4_acl", b"btrfs.compression", b"nonsense",
           b"", b"user." + b"n" * 300, b"\xff\xfe.\n"]  # fmt: skip


@BOTH
def test_attributes_that_the_file_system_does_not_have_are_counted(place, way, caplog):
    records = [(b"SCHILY.xattr." + name, b"x") for name in FOREIGN]
    kept = (b"SCHILY.xattr.user.kept", b"y")
    result = place.unpack(archive(pax([*records, kept]), file(b"f"), pax(records), folder(b"d")), way)
    assert result.dropped_attributes.total == 2 * len(FOREIGN)
    assert result.dropped_attributes.examples[:2] == ("com.apple.quarantine on f", "com.apple.ResourceFork on f")
    assert len(result.dropped_attributes.examples) == 8
    assert all(len(example) <= 200 and example.isprintable() for example in result.dropped_attributes.examples)
    assert os.listxattr(place.path("f")) == ["user.kept"]
    assert "com.apple.quarantine" in caplog.text


def test_a_capability_is_never_left_out(place):
    with pytest.raises(ArchiveError, match=r"its attribute security\.capability can't be set"):
        place.unpack(archive(pax([(b"SCHILY.xattr.security.capability", b"x")]), file(b"ping")))


@NEEDS_ROOT
@pytest.mark.parametrize(
    ("keyword", "value", "name"),
    [(b"SCHILY.xattr.user.100%25%3Dall", b"v=\0\n", "user.100%=all"),
     (b"SCHILY.xattr.user.%41", b"v=\0\n", "user.%41"),
     (b"LIBARCHIVE.xattr.user.%c3%A9%3D%25", b"dj0ACg", "user.\xe9=%"),
     (b"LIBARCHIVE.xattr.user.x", b"dj0ACg==", "user.x")],
)  # fmt: skip
def test_names_of_attributes_are_decoded(place, keyword, value, name):
    place.unpack(archive(pax([(keyword, value)]), file(b"f")))
    assert {key: os.getxattr(place.path("f"), key) for key in os.listxattr(place.path("f"))} == {name: b"v=\0\n"}


def test_attributes_that_bsdtar_writes_in_two_forms_count_once(place):
    for records in ([(b"SCHILY.xattr.user.x", b"raw"), (b"LIBARCHIVE.xattr.user.x", b"b3RoZXI")],
                    [(b"LIBARCHIVE.xattr.user.x", b"b3RoZXI"), (b"SCHILY.xattr.user.x", b"raw")]):  # fmt: skip
        place.unpack(archive(pax(records), file(b"f")))
        assert os.getxattr(place.path("f"), "user.x") == b"raw"
    with pytest.raises(CorruptArchive, match="base64"):
        place.unpack(archive(pax([(b"LIBARCHIVE.xattr.user.x", b"!")]), file(b"f")))


@NEEDS_ROOT
@BOTH
def test_devices(place, way):
    place.unpack(
        archive(
            header(b"c", b"3", mode=0o666, device=(1, 3)), header(b"b", b"4", mode=0o660, gid=6, device=(4095, 1048575))
        ),
        way,
    )
    info = os.lstat(place.path("c"))
    assert stat.S_ISCHR(info.st_mode)
    assert (os.major(info.st_rdev), os.minor(info.st_rdev), stat.S_IMODE(info.st_mode)) == (1, 3, 0o666)
    info = os.lstat(place.path("b"))
    assert stat.S_ISBLK(info.st_mode)
    assert (os.major(info.st_rdev), os.minor(info.st_rdev), info.st_gid) == (4095, 1048575, 6)


@BOTH
def test_devices_are_left_out_in_a_user_namespace(place, way, caplog):
    result = place.unpack(
        archive(header(b"c", b"3", device=(1, 3)), header(b"b", b"4"), file(b"f")), way, in_userns=True
    )
    assert os.listdir(place.target) == ["f"]
    assert result.skipped_devices == LeftOut(2, ("c", "b"))
    assert "2 devices or fifos left out, as a user namespace may not make them: c, b" in caplog.text


@NEEDS_ROOT
def test_ids_are_mapped_to_the_host(place):
    id_map = IdMap((IdRange(0, 100000, 1000),), (IdRange(0, 200000, 1000),))
    place.unpack(archive(file(b"f", uid=5, gid=6), file(b"d/g"), file(b".wh.w", b"", uid=7, gid=8)), id_map=id_map)
    for name, owner in {
        "f": (100005, 200006),
        "d": (100000, 200000),
        "d/g": (100000, 200000),
        "w": (100007, 200008),
    }.items():
        info = os.lstat(place.path(name))
        assert (info.st_uid, info.st_gid) == owner, name
    with pytest.raises(ArchiveError, match="uid 1000 is not in the id map"):
        place.unpack(archive(file(b"x", uid=1000)), id_map=id_map)


def test_names_of_any_bytes_and_of_great_length(place):
    long = b"/".join([b"n" * 200] * 15)
    names = [b"\xff\xfe", b"new\nline", b"caf\xc3\xa9", b" ", b"-rf", b"*", b"a\\b", long, b"." + b"x" * 200]
    place.unpack(archive(*[pax([(b"path", name)]) + file(b"short") for name in names[:5]],
                         *[gnu_long(b"L", name) + file(b"short") for name in names[5:]]))  # fmt: skip
    for name in names:
        assert os.path.isfile(place.path(name)), name


def test_a_very_deep_tree(place):
    deep = b"/".join([b"d"] * 2000)
    place.unpack(archive(pax([(b"path", deep + b"/f")]), file(b"x"), pax([(b"path", deep)]), folder(b"x", 0o711)))
    assert os.path.isfile(place.path(deep + b"/f"))
    assert mode_of(place.path(deep)) == 0o711
    # ... which something else replaces
    place.unpack(archive(file(b"d")))
    assert os.path.isfile(place.path("d"))


# Existing files


TYPES = {
    "file": file(b"x", b"new"),
    "folder": folder(b"x", 0o700),
    "link": symlink(b"x", b"new"),
    "fifo": header(b"x", b"6"),
    "hardlink": file(b"y", b"new") + hardlink(b"x", b"y"),
}


@BOTH
@pytest.mark.parametrize("new", TYPES)
@pytest.mark.parametrize("old", [*TYPES, "full folder"])
def test_the_later_of_two_entries_stays(place, way, old, new):
    first = folder(b"x") + file(b"x/y/z") if old == "full folder" else TYPES[old]
    place.unpack(archive(first, TYPES[new]), way)
    other = place.fresh("other")
    place.unpack(archive(TYPES[new]), way, other)
    assert facts(place.target)[b"x"] == facts(other)[b"x"]
    assert os.path.exists(place.path("x/y/z")) == (old == "full folder" and new == "folder")


def test_replaced_entries_make_the_size_unknown(place):
    assert place.unpack(archive(file(b"x"), file(b"x"))).tree_size is None
    assert place.unpack(archive(file(b"y"))).tree_size is None  # the target was not empty


def test_size_counts_like_a_walk_over_the_tree(place):
    result = place.unpack(archive(folder(b"d"), file(b"d/f", b"x" * 1000), symlink(b"l", b"12345678"),
                                  hardlink(b"h", b"d/f"), header(b"p", b"6"), file(b".wh.w", b"")))  # fmt: skip
    assert result.tree_size == 1008
    assert result.size == 1000
    assert tree_size(str(place.target)) == 1008


def test_existing_content_is_merged_with(place):
    (place.target / "d").mkdir(mode=0o777)
    (place.target / "d/old").write_bytes(b"old")
    (place.target / "f").mkdir()
    place.unpack(archive(folder(b"d", 0o700, mtime=5), file(b"d/new"), file(b"f")), Whiteouts.MERGE)
    assert sorted(os.listdir(place.target / "d")) == ["new", "old"]
    assert mode_of(place.target / "d") == 0o700
    assert os.path.isfile(place.path("f"))


# Streams


@pytest.mark.parametrize("step", [1, 511, 512, 513, 4096])
def test_pieces_of_any_size_give_the_same(place, step):
    data = archive(
        folder(b"d"), file(b"d/f", os.urandom(3000)), gnu_long(b"L", b"n" * 200), file(b"x"), file(b"z", b"")
    )
    result = place.unpack(Trickle(data, step))
    other = place.fresh("other")
    assert place.unpack(data, target=other) == result
    found, expected = facts(place.target), facts(other)
    assert found.pop(b".")
    assert expected.pop(b".")
    assert found == expected


def test_a_pipe_is_read_to_its_end(place):
    data = archive(file(b"f")) + bytes(300000)
    read, write = os.pipe()
    writer = subprocess.Popen(["sh", "-c", "cat; exit 0"], stdin=subprocess.PIPE, stdout=write)
    os.close(write)
    with io.FileIO(read) as stream:
        feed = threading.Thread(target=lambda: (writer.stdin.write(data), writer.stdin.close()))
        feed.start()
        result = place.unpack(stream)
        feed.join()
    assert writer.wait() == 0
    assert result.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()


def test_compressed_streams_have_the_digest_of_the_tar(place):
    data = archive(file(b"f", b"x" * 100000))
    assert place.unpack(gzip.compress(data)).diff_id == "sha256:" + hashlib.sha256(data).hexdigest()


def test_damage_after_the_archive_is_damage(place):
    whole = gzip.compress(archive(file(b"f")) + bytes(100000))
    bad = bytearray(whole)
    bad[-6] ^= 1  # the checksum
    with pytest.raises(CorruptArchive):
        place.unpack(bytes(bad))


def test_cut_short_at_many_places(place):
    members = [folder(b"d"), file(b"d/f", os.urandom(2000)), pax([(b"mtime", b"5.5")]) + file(b"d/g"),
               symlink(b"l", b"x")]  # fmt: skip
    whole = archive(*members)
    ends, at = {0}, 0  # between two entries, and in the padding before
    for member, padding in zip(members, [0, 48, 507, 0]):
        at += len(member)
        ends.update(range(at - padding, at + 1))
    for cut in sorted({*range(0, at, 127), *ends, at + 511, at + 512}):
        target = place.fresh("t%d" % cut)
        if cut in ends or cut > at + 511:
            place.unpack(whole[:cut], target=target)
        else:
            with pytest.raises(CorruptArchive):
                place.unpack(whole[:cut], target=target)


@pytest.mark.parametrize("method", ["gzip", "bzip2", "xz", "zstd"])
def test_compressed_and_cut_short_at_many_places(place, method):
    data = archive(folder(b"d"), file(b"d/f", os.urandom(2000)), symlink(b"l", b"x"))
    whole = subprocess.run([method, "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    for count, cut in enumerate([*range(1, len(whole), 127), len(whole) - 1]):
        with pytest.raises(CorruptArchive):
            place.unpack(whole[:cut], target=place.fresh("t%d" % count))


def test_progress_is_reported(place):
    told = []
    data = archive(file(b"f", bytes(5 << 20)))
    place.unpack(data, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == len(data)
    assert len(told) >= 5


def test_a_full_disk_is_reported_with_a_remedy(place):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100000, limit[1]))
    try:
        with pytest.raises(ArchiveError, match="File too large") as caught:
            place.unpack(archive(file(b"d/f", bytes(200000))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, old)
    assert caught.value.path == "d/f"


def test_nothing_is_left_open(place):
    before = len(os.listdir("/proc/self/fd"))
    place.unpack(archive(*[file(b"d%d/f" % n) for n in range(200)]))
    for bad in (archive(file(b"a/f"), file(b"../x")), archive(file(b"a/f"))[:500], b"rubbish" * 100):
        with pytest.raises(ArchiveError):
            place.unpack(bad, target=place.fresh("t%d" % len(bad)))
    assert len(os.listdir("/proc/self/fd")) == before


# The archive as a whole


WARNING = "nothing shows that it is whole"


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1024), bytes(1024) + b"more"], ids=len)
@pytest.mark.parametrize("has_digest", [False, True])
def test_an_archive_may_lack_its_end_mark(place, caplog, end, has_digest):
    data = file(b"f", b"12345") + end
    result = place.unpack(data, has_digest=has_digest)
    assert Path(os.fsdecode(place.path("f"))).read_bytes() == b"12345"
    assert result.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (WARNING in caplog.text) == (not end and not has_digest)


def test_a_compressed_archive_without_an_end_mark_is_whole(place, caplog):
    place.unpack(gzip.compress(file(b"f")))
    place.unpack(gzip.compress(b""), target=place.fresh("empty"))
    assert os.listdir(place.target) == ["f"]
    assert not caplog.text


def test_an_archive_of_no_bytes(place, caplog):
    result = place.unpack(b"")
    assert (result.size, result.tree_size, os.listdir(place.target)) == (0, 0, [])
    assert result.diff_id == "sha256:" + hashlib.sha256(b"").hexdigest()
    assert WARNING in caplog.text


LAYOUT = file(b"oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
MANIFEST = file(b"./manifest.json", b'[{"Config":"c.json","RepoTags":null,"Layers":["l/layer.tar"]}]')


@BOTH
@pytest.mark.parametrize(("members", "kind"), [(LAYOUT, "an OCI image layout"), (MANIFEST, "a 'docker save' archive")])
def test_archives_of_images_are_not_layers(place, way, members, kind):
    data = archive(file(b"blobs/sha256/00"), members, *[file(b"f%d" % number) for number in range(9)])
    with pytest.raises(ArchiveError, match=kind) as caught:
        place.unpack(data, way)
    assert "overlay2_image" in caught.value.remedy
    place.unpack(data, way, place.fresh("meant"), has_digest=True)
    assert (place.base / "meant/f8").exists()


@pytest.mark.parametrize(
    "member",
    [file(b"sub/oci-layout", b'{"imageLayoutVersion": "1.0.0"}'), file(b"oci-layout", b"{}"), file(b"oci-layout", b""),
     file(b"manifest.json", b'{"Config": 1, "Layers": 2}'), file(b"manifest.json", b"[]"), folder(b"manifest.json"),
     file(b"manifest.json", b'[{"Config": 1}]'), file(b"manifest.json", b"[" * 100000), symlink(b"oci-layout", b"x"),
     file(b"manifest.json", b"\xff")],
    ids=range(10),
)  # fmt: skip
def test_layers_may_have_files_of_such_names(place, member):
    place.unpack(archive(member, file(b"f")))
    assert os.path.exists(place.path("f"))


SECRET = b"API_TOKEN=hunter2-very-secret\n"


@pytest.mark.parametrize(
    "data",
    [SECRET, SECRET * 100, SECRET.ljust(600, b"\0"), file(b"f") + SECRET * 100, pax([(b"path", b"x")]) + SECRET * 100,
     forge.old_sparse(b"x", [], 0, b"", extended=1) + SECRET * 100, forge.pax_sparse(b"x", SECRET * 100, b"4096", b""),
     gzip.compress(SECRET * 100)],
    ids=["short", "long", "binary", "after an entry", "after pax", "old sparse map", "sparse map", "compressed"],
)  # fmt: skip
def test_no_error_quotes_what_is_in_a_file(place, data):
    path = place.base / "mistaken.env"
    path.write_bytes(data)
    with open(path, "rb") as stream, pytest.raises(CorruptArchive) as caught:
        place.unpack(stream)
    path.unlink()
    assert "hunter2" not in repr(caught.value) + str(caught.value) + str(caught.value.path)
    assert caught.value.path in (str(path), "x")
    assert caught.value.remedy


MEASURE = """
import io, os, resource, sys
from corpus.forge import END, file, folder
from overlay2.tar.unpack import unpack
from overlay2.tar.whiteouts import Whiteouts

class Many(io.RawIOBase):
    def __init__(self, count, size):
        self.parts = self.generate(count, size)
        self.rest = b""
    def readable(self):
        return True
    def generate(self, count, size):
        body = bytes(size)
        for n in range(count):
            yield folder(b"d%06d" % n) if not size else file(b"f%06d" % n, b"", size=size)
            for _piece in range(size >> 20):
                yield bytes(1 << 20)
        yield END
    def readinto(self, buffer):
        if not self.rest:
            self.rest = next(self.parts, b"")
        part = self.rest[: len(buffer)]
        buffer[: len(part)] = part
        self.rest = self.rest[len(part) :]
        return len(part)

root, scratch = (os.open(path, os.O_RDONLY) for path in sys.argv[3:])
unpack(Many(int(sys.argv[1]), int(sys.argv[2])), root, whiteouts=Whiteouts.OVERLAY, scratch_fd=scratch)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_entries_or_bytes(place):
    def peak(name, count, size):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(count), str(size), place.fresh(name), place.scratch],
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)), stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        return int(done.stdout)

    few, many, large = peak("few", 100, 0), peak("many", 20000, 0), peak("large", 2, 200 << 20)
    assert many < few + 2048
    assert large < few + 4096


# Against tarfile and GNU tar


@pytest.fixture
def tree(place):
    """A tree with every type that an unprivileged user of any tar can archive."""
    folder_ = place.fresh("tree")
    (folder_ / "a/b/c").mkdir(parents=True)
    (folder_ / "a/empty").mkdir(mode=0o700)
    (folder_ / "a/f").write_bytes(b"hello")
    (folder_ / "a/f").chmod(0o751)
    os.link(folder_ / "a/f", folder_ / "z")
    (folder_ / "l").symlink_to("a/f")
    (folder_ / "dangling").symlink_to("/no/where")
    os.mkfifo(folder_ / "p", 0o640)
    (folder_ / "big").write_bytes(os.urandom(300000))
    with open(folder_ / "hole", "wb") as sparse:
        for at in range(0, 40 << 20, 1 << 20):
            sparse.seek(at)
            sparse.write(b"data")
        sparse.truncate(41 << 20)
    with open(folder_ / "only a hole", "wb") as sparse:
        sparse.truncate(5 << 20)
    for path in [*folder_.rglob("*"), folder_]:
        os.utime(path, (1234567890, 1234567890), follow_symlinks=False)
    return folder_


def differences(one, two):
    """Names whose facts differ, but for the root."""
    one, two = facts(one), facts(two)
    one.pop(b".")
    two.pop(b".")
    return [name for name in sorted({*one, *two}) if one.get(name) != two.get(name)]


GNU = [
    ["--format=v7"], ["--format=ustar"], ["--format=oldgnu"], ["--format=gnu"], ["--format=pax"],
    ["--format=oldgnu", "--sparse"], ["--format=gnu", "--sparse"], ["--format=pax", "--sparse", "--sparse-version=0.0"],
    ["--format=pax", "--sparse", "--sparse-version=0.1"], ["--format=pax", "--sparse", "--sparse-version=1.0"],
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("options", GNU, ids=" ".join)
def test_what_gnu_tar_writes(place, tree, options, way):
    exclude = ["--exclude=p"] if options == ["--format=v7"] else []
    data = subprocess.run(
        ["tar", "-C", tree, *options, *exclude, "-cf", "-", "."], stdout=subprocess.PIPE, check=True
    ).stdout
    place.unpack(data, way)
    assert differences(tree, place.target) == ([b"p"] if exclude else [])
    blocks = os.stat(place.target / "hole").st_blocks
    if "--sparse" in options:
        assert blocks * 512 < 1 << 20
        assert os.stat(place.target / "only a hole").st_blocks == 0


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tarfile_writes(place, tree, format_):
    (tree / ("n" * 120)).write_bytes(b"long name")
    os.utime(tree / ("n" * 120), (1, 1))
    if format_ == tarfile.USTAR_FORMAT:
        (tree / ("n" * 120)).unlink()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format_) as tar:
        tar.add(tree, ".")
    place.unpack(stream.getvalue())
    assert differences(tree, place.target) == []


# In a user namespace, where this process can own its own files only


def _in_userns(base):
    here = Place(Path(base))
    result = here.unpack(archive(folder(b"d", 0o750), file(b"d/f", mode=0o4711), file(b".wh.w", b""),
                                 file(b"d/.wh..wh..opq", b""),
                                 header(b"c", b"3", device=(1, 3)), header(b"p", b"6")),
                         xattr_class="user", in_userns=True)  # fmt: skip
    message = "no error"
    try:
        here.unpack(archive(file(b"x", uid=4711)), in_userns=True)
    except ArchiveError as error:
        message = str(error)
    info = os.lstat(here.path("w"))
    return (
        result.skipped_devices, message, stat.S_ISCHR(info.st_mode) and info.st_rdev == 0,
        os.getxattr(here.path("d"), "user.overlay.opaque"), mode_of(here.path("d/f")),
        sorted(os.listdir(here.target)),
    )  # fmt: skip


def test_in_a_user_namespace(real_tmp, userns):
    skipped, message, whiteout, opaque, mode, names = userns(_in_userns, str(real_tmp))
    assert skipped == LeftOut(1, ("c",))
    assert "map more subordinate ids" in message
    assert whiteout
    assert opaque == b"y"
    assert mode == 0o4711
    assert set(names) >= {"d", "p", "w"}
    assert "c" not in names
