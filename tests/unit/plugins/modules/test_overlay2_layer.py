# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What overlay2_layer foresees in check mode, and how it speaks of archives."""
from __future__ import annotations

import pytest
from ansible_collections.strata.overlay2.plugins.module_utils._layer_plan import Actual, Wanted, plan_present
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import ArchiveError, LayerNotFound
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.layers import Layer
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.quota import QuotaUsage
from ansible_collections.strata.overlay2.plugins.modules.overlay2_layer import is_empty, opened, planned_layer, size_of

BASE = Layer("base", "", (), (), "B", True)
MIDDLE = Layer("middle", "base", ("base",), ("l/B",), "M", False)
DIGEST = "sha256:" + "1" * 64


def planned(wanted, actual=None, parent=None):
    return planned_layer(plan_present(wanted, actual), actual, parent)


def test_a_new_layer():
    layer = planned(Wanted("web", parent="middle", read_write=True, size=4096), parent=MIDDLE)
    assert (layer.parent, layer.lower, layer.depth) == ("middle", ("middle", "base"), 2)
    assert (layer.link, layer.committed, layer.read_write) == ("", False, True)
    assert layer.quota == QuotaUsage(None, 4096, 0, 0)


def test_a_new_base():
    layer = planned(Wanted("web"))
    assert (layer.parent, layer.lower, layer.depth, layer.quota) == ("", (), 0, None)


def test_a_new_layer_whose_parent_is_still_to_come():
    layer = planned(Wanted("web", parent="middle"))
    assert (layer.lower, layer.depth) == (("middle",), 1)


def test_an_existing_layer_keeps_what_is_not_touched():
    quota = QuotaUsage(7, 8192, 10, 3)
    there = Actual(Layer("web", "middle", ("middle", "base"), ("l/M", "l/B"), "W", True, True, quota=quota))
    layer = planned(Wanted("web", src="a.tar", diff_id=DIGEST, size=4096), there)
    assert (layer.link, layer.committed, layer.diff_id) == ("W", True, DIGEST)
    assert layer.quota == QuotaUsage(7, 4096, 10, 3)


def test_emptiness_and_size(tmp_path):
    home = str(tmp_path)
    folder = tmp_path / "web" / "diff"
    assert size_of(home, "web") is None
    assert is_empty(str(folder))
    folder.mkdir(parents=True)
    assert size_of(home, "web") == 0
    assert is_empty(str(folder))
    (folder / "file").write_bytes(b"12345")
    assert size_of(home, "web") == 5
    assert not is_empty(str(folder))


def test_no_archive_is_no_stream():
    with opened(None, "web") as stream:
        assert stream is None


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(ArchiveError, match="No such file") as caught, opened(str(tmp_path / "a.tar"), "web"):
        pass
    assert (caught.value.layer, caught.value.path) == ("web", str(tmp_path / "a.tar"))
    assert "target" in caught.value.remedy


def test_errors_about_an_archive_name_it(tmp_path):
    (tmp_path / "a.tar").touch()
    with pytest.raises(ArchiveError) as caught, opened(str(tmp_path / "a.tar"), "web"):
        raise ArchiveError("no good")
    assert (caught.value.layer, caught.value.path) == ("web", str(tmp_path / "a.tar"))
    with pytest.raises(ArchiveError) as caught, opened(str(tmp_path / "a.tar"), "web"):
        raise ArchiveError("no good", path="etc/passwd")
    assert caught.value.path == "etc/passwd"


def test_other_errors_are_left_alone(tmp_path):
    """A missing parent is a FileNotFoundError too, and not about the archive."""
    (tmp_path / "a.tar").touch()
    with pytest.raises(LayerNotFound), opened(str(tmp_path / "a.tar"), "web"):
        raise LayerNotFound("no such layer", layer="base")
