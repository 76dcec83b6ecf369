# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Extended attributes: absent ones are no error, overlayfs' own are known by name."""

from __future__ import annotations

import os

import pytest
from overlay2.linux import xattr


def test_names_of_overlay_attributes():
    assert xattr.opaque("trusted") == "trusted.overlay.opaque"
    assert xattr.whiteout("user") == "user.overlay.whiteout"
    for name in (xattr.opaque("user"), xattr.redirect("trusted"), xattr.metacopy("user"), "trusted.overlay.overlay.x"):
        assert xattr.is_overlay(name)
    for name in ("user.overlayx", "trusted.overlay", "security.capability", "user.a.trusted.overlay.opaque"):
        assert not xattr.is_overlay(name)


def test_reading_what_may_be_absent(real_tmp):
    path = str(real_tmp / "f")
    with open(path, "wb") as file:
        assert xattr.get(file.fileno(), "user.x") is None
        assert xattr.names(file.fileno()) == []
        os.setxattr(file.fileno(), "user.x", b"\0y")
        assert xattr.get(file.fileno(), "user.x") == b"\0y"
        assert xattr.get(path, "user.x") == b"\0y"
        assert xattr.names(file.fileno()) == ["user.x"]


def test_a_file_system_without_attributes_has_none():
    assert xattr.get("/proc/self/status", "user.x") is None
    assert xattr.names("/proc/self/status") == []


def test_other_refusals_are_errors(real_tmp):
    with pytest.raises(FileNotFoundError):
        xattr.get(str(real_tmp / "missing"), "user.x")


def test_a_link_is_not_followed(real_tmp):
    (real_tmp / "f").write_bytes(b"")
    os.setxattr(str(real_tmp / "f"), "user.x", b"y")
    (real_tmp / "l").symlink_to("f")
    folder = os.open(real_tmp, os.O_RDONLY)
    try:
        assert xattr.get(xattr.below(folder, b"f"), "user.x") == b"y"
        assert xattr.names(xattr.below(folder, b"l")) == []
    finally:
        os.close(folder)
