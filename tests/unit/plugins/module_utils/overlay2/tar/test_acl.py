# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""ACLs in archives: the kernel accepts them, and other programs agree."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest
from corpus.forge import archive, file, folder, pax
from overlay2.idmap import IdMap, IdRange
from overlay2.linux import xattr
from overlay2.tar import acl
from overlay2.tar.leftout import LeftOut

#: user::rw-, user:1000:r--, group::r--, group:50:rwx, mask::rwx, other::---
VALUE = bytes.fromhex(
    "02000000 01000600ffffffff 02000400e8030000 04000400ffffffff 08000700 32000000 10000700ffffffff 20000000ffffffff"
)


@pytest.mark.parametrize(
    "text",
    [b"user::rw-,user:lisa:r--:1000,group::r--,group:50:rwx,mask::rwx,other::---",
     b"user::rw-\nuser:1000:r--\ngroup::r--\ngroup:50:rwx\nmask::rwx\nother::---\n",
     b"user::rw-,group::r--,other::---,user:lisa:r--:1000,group:staff:rwx:50,mask::rwx",  # as bsdtar writes it
     b"u::rw-,u:1000:r--,g::r--,g:staff:rwx:50,m:rwx,o:---",
     b"# file: x\nother::---\nmask::rwx\ngroup:50:rwx\t#effective:rwx\ngroup::r--\nuser:1000:r--\nuser::rw-\n"],
)  # fmt: skip
def test_text(text):
    assert acl.encode(text) == VALUE


@pytest.mark.parametrize(
    "text",
    [b"", b"user::rwx,user:lisa:rwx", b"user::rwx,wheel::rwx", b"user::rwX", b"user::", b"user", b"user:1000:rwx:x",
     b"user:4294967295:rwx", b"mask:7:rwx", b"a:b:c:d:e", b"\xff::rwx"],
)  # fmt: skip
def test_text_that_can_not_be_read(text):
    assert acl.encode(text) is None


def test_ids_are_mapped():
    id_map = IdMap((IdRange(0, 100000, 2000),), (IdRange(0, 200000, 100),))
    mapped = acl.to_host(VALUE, id_map)
    assert mapped.count((101000).to_bytes(4, "little")) == mapped.count((200050).to_bytes(4, "little")) == 1
    assert acl.to_container(mapped, id_map) == VALUE
    assert acl.to_host(b"rubbish", id_map) == b"rubbish"


def attributes(path):
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


@pytest.mark.root
def test_of_files_and_folders(place):
    access = (b"SCHILY.acl.access", b"user::rw-,user:1000:r--,group::r--,group:50:rwx,mask::rwx,other::---")
    default = (b"SCHILY.acl.default", b"user::rw-,user:1000:r--,group::r--,group:50:rwx,mask::rwx,other::---")
    result = place.unpack(archive(pax([access]), file(b"f", mode=0o670), pax([access, default]), folder(b"d", 0o670),
                                  file(b"d/f", mode=0o604)))  # fmt: skip
    assert result.dropped_attributes == LeftOut()
    assert attributes(place.path("f")) == {xattr.ACCESS_ACL: VALUE}
    assert attributes(place.path("d")) == {xattr.ACCESS_ACL: VALUE, xattr.DEFAULT_ACL: VALUE}
    assert attributes(place.path("d/f")) == {}
    assert stat.S_IMODE(os.stat(place.path("f")).st_mode) == 0o670


def test_those_that_can_not_be_set_are_counted(place):
    data = archive(
        *[pax([(b"SCHILY.acl.access", text)]) + file(b"f%d" % number) for number, text in enumerate(
            [b"user::rwx,user:lisa:rwx", b"rubbish", b"user::rwx"])],
        pax([(b"SCHILY.acl.default", b"user::rwx,group::rwx,other::rwx")]), file(b"g"),
    )  # fmt: skip
    result = place.unpack(data)
    assert result.dropped_attributes.total == 3
    assert result.dropped_attributes.examples == ("system.posix_acl_access on f0",)
    assert sorted(os.listdir(place.target)) == ["f0", "f1", "f2", "g"]


@pytest.mark.root
def test_what_gnu_tar_writes(place):
    """It has names in the text of an ACL, and the ids in the attribute."""
    source = place.fresh("source")
    (source / "d").mkdir()
    (source / "d/f").write_bytes(b"x")
    os.setxattr(source / "d/f", xattr.ACCESS_ACL, VALUE)
    os.setxattr(source / "d", xattr.DEFAULT_ACL, VALUE)
    command = ["tar", "--acls", "--xattrs", "--format=pax", "-C", source, "-cf", "-", "."]
    result = place.unpack(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert result.dropped_attributes == LeftOut()
    for name in ("d", "d/f"):
        assert attributes(place.path(name)) == attributes(source / name) != {}
