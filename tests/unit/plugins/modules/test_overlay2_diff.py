# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""How overlay2_diff measures and writes archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile

import pytest
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import Driver
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import LayerDamaged
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.home.layer import Layer
from ansible_collections.strata.overlay2.plugins.modules.overlay2_diff import (
    beside,
    difference,
    digest_at,
    parent_of,
    write_archive,
)
from support import host, modules, trees

TAR = b"not really a tar" * 100_000


def sha256(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("compression", ["none", "gzip", "xz", "zstd"])
def test_measuring_and_writing_agree(compression):
    raw = io.BytesIO()
    measured = write_archive(io.BytesIO(TAR), None, compression)
    written = write_archive(io.BytesIO(TAR), raw, compression)
    assert measured == written
    assert written == (len(TAR), sha256(TAR), sha256(raw.getvalue()))


def test_what_is_written_is_the_stream():
    raw = io.BytesIO()
    write_archive(io.BytesIO(TAR), raw, "gzip")
    assert gzip.decompress(raw.getvalue()) == TAR


def test_digest_at(tmp_path):
    assert digest_at(str(tmp_path / "a.tar")) is None
    (tmp_path / "a.tar").write_bytes(TAR)
    assert digest_at(str(tmp_path / "a.tar")) == sha256(TAR)


def test_beside_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="full"), beside(str(tmp_path / "a.tar")) as (file, _path):
        file.write(b"half")
        raise OSError("disk full")
    assert list(tmp_path.iterdir()) == []


def test_beside_leaves_what_was_moved(tmp_path):
    with beside(str(tmp_path / "a.tar")) as (file, path):
        file.write(b"whole")
        (tmp_path / path).rename(tmp_path / "a.tar")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar"]


def layer(parent):
    return Layer("web", parent, (), (), "W", False)


def test_the_parent_is_the_layers_own_unless_named():
    assert parent_of(layer("base"), None) == "base"
    assert parent_of(layer(""), None) == ""
    assert parent_of(layer("base"), "") == ""
    assert parent_of(layer("base"), "other") == "other"
    assert parent_of(layer(None), "other") == "other"
    with pytest.raises(LayerDamaged) as caught:
        parent_of(layer(None), None)
    assert caught.value.remedy


def test_difference():
    same = {"dest_digest": "sha256:1"}
    assert difference("sha256:1", "sha256:1", []) == {"before": same, "after": same}
    changes = [{"path": "/etc", "kind": "modified"}]
    assert difference(None, "sha256:1", changes)["after"] == {"dest_digest": "sha256:1", "changes": ["modified /etc"]}


# --- the module as a whole --------------------------------------------------------------------------------------------


@pytest.fixture
def shop(home):
    """A home with a layer `shop`."""
    Driver(home).create("shop", diff=trees.stream({"etc/": None, "etc/key": b"secret"}))
    return home


def device(path, kind, major, minor):
    os.mknod(path, 0o666 | kind, os.makedev(major, minor))


SPECIAL = {
    "a device": lambda path: device(path, stat.S_IFCHR, 1, 3),
    "a full device": lambda path: device(path, stat.S_IFCHR, 1, 7),
    "a pipe": os.mkfifo,
    "a socket": lambda path: os.mknod(path, 0o600 | stat.S_IFSOCK),
    "a folder": os.mkdir,
    "a symbolic link": lambda path: os.symlink("/nowhere", path),
}


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_not_a_regular_file_is_left_alone(shop, real_tmp, kind, check_mode):
    if "device" in kind and not host.is_real_root():
        pytest.skip("device nodes")
    dest = str(real_tmp / "dest")
    SPECIAL[kind](dest)
    before = os.lstat(dest)
    result = modules.run("overlay2_diff", check_mode, home=shop, id="shop", dest=dest)
    assert (result.get("failed"), result["error"], result["error_path"]) == (True, "OptionError", dest)
    assert kind.replace("full ", "") in result["msg"]
    assert os.lstat(dest) == before
    assert os.listdir(real_tmp) == ["dest"]


def test_a_new_archive_is_for_its_owner_alone(shop, real_tmp):
    dest = real_tmp / "shop.tar"
    old = os.umask(0o022)
    try:
        assert modules.run("overlay2_diff", home=shop, id="shop", dest=str(dest))["changed"]
    finally:
        os.umask(old)
    assert stat.S_IMODE(dest.stat().st_mode) == 0o600
    assert not modules.run("overlay2_diff", home=shop, id="shop", dest=str(dest))["changed"]


def test_a_mode_is_kept_and_can_be_given(shop, real_tmp):
    dest = real_tmp / "shop.tar"
    for content, given, mode in (
        (b"", {"mode": "0640"}, 0o640),
        (b"other", {}, 0o640),
        (b"new", {"mode": "0604"}, 0o604),
    ):
        dest.write_bytes(content)
        assert modules.run("overlay2_diff", home=shop, id="shop", dest=str(dest), **given)["changed"]
        assert stat.S_IMODE(dest.stat().st_mode) == mode
        with tarfile.open(dest) as archive:
            assert archive.getnames() == ["etc", "etc/key"]
    assert os.listdir(real_tmp) == ["shop.tar"]


def test_all_extended_attributes_on_request(home, real_tmp):
    driver = Driver(home)
    driver.create("shop", diff=trees.stream({"file": b"one"}))
    try:
        os.setxattr(os.path.join(home, "shop", "diff", "file"), "user.comment", b"hello")
    except OSError:
        pytest.skip("no user attributes here")
    for given, names in (({}, set()), ({"all_xattrs": True}, {"SCHILY.xattr.user.comment"})):
        dest = real_tmp / "shop.tar"
        modules.run("overlay2_diff", home=home, id="shop", dest=str(dest), **given)
        with tarfile.open(dest) as archive:
            assert {name for name in archive.getmember("file").pax_headers if "xattr" in name} == names
