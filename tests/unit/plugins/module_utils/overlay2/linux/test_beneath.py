# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Opening folders beneath a root: by openat2 and by steps, with the same answers."""

from __future__ import annotations

import errno
import os

import pytest
from overlay2.errors import BreakoutError
from overlay2.linux import beneath
from overlay2.linux.beneath import open_directory, openat2, walk


@pytest.fixture
def root(real_tmp):
    for folder in ("in/a/b/c", "in/real/deep", "outside"):
        (real_tmp / folder).mkdir(parents=True)
    (real_tmp / "in/file").write_bytes(b"")
    links = {
        "in/relative": "a/b", "in/a/up": "../real", "in/a/b/far": "../../../outside", "in/absolute": "/real",
        "in/clamped": "/../../real", "in/out": "../outside", "in/loop": "loop", "in/dangling": "nowhere",
        "in/top": "/", "in/chain": "relative/../up", "in/to_file": "file", "in/dots": "./a//./b/",
    }  # fmt: skip
    for name, target in links.items():
        (real_tmp / name).symlink_to(target)
    descriptor = os.open(real_tmp / "in", os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def here(descriptor):
    """Path of an open folder within the root's parent; closes it."""
    path = os.readlink("/proc/self/fd/%d" % descriptor)
    os.close(descriptor)
    return path[path.index("/in") + 1 :]


WAYS = pytest.mark.parametrize("way", [open_directory, walk])

FOUND = {
    b"": "in", b"a": "in/a", b"a/b/c": "in/a/b/c", b"relative": "in/a/b", b"relative/c": "in/a/b/c", b"a/up": "in/real",
    b"a/up/deep": "in/real/deep", b"absolute/deep": "in/real/deep", b"clamped": "in/real", b"top": "in",
    b"top/top/a": "in/a", b"chain": "in/real", b"dots/c": "in/a/b/c",
}  # fmt: skip


@WAYS
@pytest.mark.parametrize("path", FOUND)
def test_finds(root, way, path):
    assert here(way(root, path)) == FOUND[path]


@WAYS
@pytest.mark.parametrize("path", [b"out", b"out/x", b"a/b/far", b"relative/far", b"top/out"])
def test_refuses_a_way_out(root, way, path):
    with pytest.raises(BreakoutError):
        way(root, path)


@WAYS
@pytest.mark.parametrize(
    ("path", "number"),
    [(b"file", errno.ENOTDIR), (b"file/x", errno.ENOTDIR), (b"to_file", errno.ENOTDIR), (b"nowhere", errno.ENOENT),
     (b"dangling", errno.ENOENT), (b"loop", errno.ELOOP), (b"a/" + b"n" * 300, errno.ENAMETOOLONG)],
)  # fmt: skip
def test_says_why_not(root, way, path, number):
    with pytest.raises(OSError) as caught:
        way(root, path)
    assert caught.value.errno == number


@WAYS
def test_makes_what_is_missing_at_the_end_of_links(root, way):
    made = []

    def make(dir_fd, name):
        made.append(name)
        os.mkdir(name, dir_fd=dir_fd)

    assert here(way(root, b"absolute/x/y", make)) == "in/real/x/y"
    assert made == [b"x", b"y"]
    assert here(way(root, b"dangling/z", make)) == "in/nowhere/z"
    assert made == [b"x", b"y", b"nowhere", b"z"]
    with pytest.raises(BreakoutError):
        way(root, b"out/x", make)
    assert made == [b"x", b"y", b"nowhere", b"z"]


def test_an_error_of_make_is_passed_on_and_leaks_nothing(root):
    def make(_dir_fd, _name):
        raise PermissionError(errno.EPERM, "no")

    before = len(os.listdir("/proc/self/fd"))
    for _attempt in range(3):
        with pytest.raises(PermissionError):
            walk(root, b"a/x", make)
    for path in (b"loop", b"out", b"file", b"nowhere"):
        with pytest.raises((OSError, BreakoutError)):
            walk(root, path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_openat2_is_what_this_kernel_has(root):
    descriptor = openat2(root, b"a", os.O_PATH | os.O_DIRECTORY, 0, beneath.RESOLVE_BENEATH)
    assert here(descriptor) == "in/a"
    for path, number in ((b"out", errno.EXDEV), (b"absolute", errno.EXDEV), (b"nowhere", errno.ENOENT)):
        with pytest.raises(OSError) as caught:
            openat2(root, path, os.O_PATH | os.O_DIRECTORY, 0, beneath.RESOLVE_BENEATH)
        assert caught.value.errno == number
    with pytest.raises(OSError) as caught:
        openat2(root, b"relative", os.O_PATH, 0, beneath.RESOLVE_NO_SYMLINKS)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EAGAIN])
def test_walks_where_openat2_is_missing_filtered_or_disturbed(root, monkeypatch, number):
    def missing(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(beneath, "openat2", missing)
    assert here(open_directory(root, b"relative/c")) == "in/a/b/c"
    with pytest.raises(BreakoutError):
        open_directory(root, b"out")
