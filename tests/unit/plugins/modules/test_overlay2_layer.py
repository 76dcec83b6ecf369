# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What overlay2_layer says of archives, and of layers that are damaged."""

from __future__ import annotations

import os

import pytest
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import Driver
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import ArchiveError, LayerNotFound
from ansible_collections.strata.overlay2.plugins.modules.overlay2_layer import is_empty, opened, size_of


def test_emptiness_and_size(home):
    driver = Driver(home)
    driver.create("web")
    folder = os.path.join(home, "web", "diff")
    assert is_empty(folder)
    assert size_of(driver, "web") == 0
    with open(os.path.join(folder, "file"), "wb") as file:
        file.write(b"12345")
    assert not is_empty(folder)
    assert size_of(driver, "web") == 5


def test_a_layer_that_lost_its_folder_has_no_size(home):
    driver = Driver(home)
    driver.create("web")
    os.rmdir(os.path.join(home, "web", "diff"))
    assert is_empty(os.path.join(home, "web", "diff"))
    assert size_of(driver, "web") is None


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
