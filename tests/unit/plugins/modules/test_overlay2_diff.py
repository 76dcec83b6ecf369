# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""How overlay2_diff measures and writes archives."""

from __future__ import annotations

import gzip
import hashlib
import io

import pytest
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import LayerDamaged
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.home.reading import Layer
from ansible_collections.strata.overlay2.plugins.modules.overlay2_diff import (
    beside,
    difference,
    digest_at,
    parent_of,
    write_archive,
)

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
