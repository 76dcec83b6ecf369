# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The mount table: its lines, and what it says of mounts made for the purpose."""

from __future__ import annotations

import os
import subprocess

import pytest
from overlay2.linux import mount, mountinfo
from support import host


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n",
            (36, 35, "98:0", "/mnt1", "/mnt2", ("rw", "noatime"), "ext3", "/dev/root", ("rw", "errors=continue")),
        ),
        (
            b"1 0 0:1 / / ro - tmpfs tmpfs rw\n",
            (1, 0, "0:1", "/", "/", ("ro",), "tmpfs", "tmpfs", ("rw",)),
        ),
        (
            b"1 0 0:1 / /a ro shared:5 master:3 propagate_from:2 unbindable - fuse.x  rw",
            (1, 0, "0:1", "/", "/a", ("ro",), "fuse.x", "", ("rw",)),
        ),
        (
            rb"1 0 0:1 /r\040\134040 /a\040-\040b\011\012\134\043 rw - overlay o\040l rw,lowerdir=/a\054b:\134\072,x",
            (
                1, 0, "0:1", "/r \\040", "/a - b\t\n\\#", ("rw",), "overlay", "o l",
                ("rw", "lowerdir=/a,b:\\:", "x"),
            ),
        ),
        (
            b"1 0 0:1 / /\xff\xfe\xc3\xa9 rw - tmpfs t\xff rw",
            (1, 0, "0:1", "/", "/\udcff\udcfeé", ("rw",), "tmpfs", "t\udcff", ("rw",)),
        ),
        (
            rb"1 0 0:1 / /\08\1234\777 rw - fuse.a\040b t rw",
            (1, 0, "0:1", "/", "/\\08S4\\777", ("rw",), "fuse.a b", "t", ("rw",)),
        ),
    ],
    ids=["manual page", "no optional fields", "many, and no source", "escapes", "not UTF-8", "odd escapes"],
)  # fmt: skip
def test_a_line(line, entry):
    assert tuple(mountinfo.parse(line)) == entry


ODD_NAMES = [b"plain", b"with space", b"tab\there", b"line\nbreak", b"back\\slash", b"\\040", b"a#b", b" - ",
             b"\xff\xfe", "ünï".encode(), b"a,b:c=d"]  # fmt: skip

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


@needs_mounts
@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_mount_is_found_by_its_name(real_tmp, name):
    folder = os.path.join(os.fsencode(real_tmp), name)
    os.mkdir(folder)
    mount.mount(os.fsdecode(name), folder, "tmpfs", 0, "size=16k")
    for below in (os.fsdecode(folder), str(real_tmp)):
        (entry,) = mountinfo.mounts(below=below)
        assert os.fsencode(entry.mount_point) == folder
        assert os.fsencode(entry.source) == name
        assert (entry.fs_type, entry.root) == ("tmpfs", "/")
        assert "size=16k" in entry.super_options
    assert mountinfo.mounts(below=os.fsdecode(folder) + "/inside") == []


@needs_mounts
def test_below_is_by_path_and_not_by_text(real_tmp):
    for name in ("a", "ab", "a b", "a/c", "b"):
        os.makedirs(real_tmp / name, exist_ok=True)
        mount.mount("t", real_tmp / name, "tmpfs")
        os.makedirs(real_tmp / "a/c", exist_ok=True)
    found = [entry.mount_point for entry in mountinfo.mounts(below=str(real_tmp / "a"))]
    assert found == [str(real_tmp / "a"), str(real_tmp / "a/c")]
    assert [entry.mount_point for entry in mountinfo.mounts(below=str(real_tmp / "a") + "/")] == found
    assert [entry.mount_point for entry in mountinfo.mounts(below=str(real_tmp))] == host.mounts_below(real_tmp)


@needs_mounts
def test_mounts_stacked_on_one_point_are_all_listed_the_uppermost_last(real_tmp):
    for number in range(3):
        mount.mount("layer%d" % number, real_tmp, "tmpfs")
    entries = mountinfo.mounts(below=str(real_tmp))
    assert [entry.source for entry in entries] == ["layer0", "layer1", "layer2"]
    assert entries[1].parent_id == entries[0].mount_id
    assert entries[2].parent_id == entries[1].mount_id


def test_without_a_limit_the_whole_table_comes():
    everything = mountinfo.mounts()
    assert "/" in [entry.mount_point for entry in everything]
    assert mountinfo.mounts(below="/") == everything
    assert mountinfo.mounts(os.getpid()) == everything


@needs_mounts
def test_the_table_of_another_namespace(real_tmp, spawn):
    script = 'mount -t tmpfs elsewhere "$0" && echo ready && exec sleep 1000'
    process = spawn(["unshare", "--mount", "sh", "-c", script, str(real_tmp)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    assert mountinfo.mounts(below=str(real_tmp)) == []
    assert [entry.source for entry in mountinfo.mounts(process.pid, below=str(real_tmp))] == ["elsewhere"]


def test_a_process_that_is_gone(spawn):
    process = spawn(["true"])
    process.wait()
    with pytest.raises(OSError):
        mountinfo.mounts(process.pid)
