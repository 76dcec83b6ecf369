# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Whiteouts in archives: as overlayfs keeps them, and carried out on a merged tree, each judged by a real mount."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess

import pytest
from corpus.forge import archive, file, folder, hardlink, header, symlink
from corpus.place import Place, opened
from overlay2.tar.whiteouts import Whiteouts

pytestmark = pytest.mark.usefixtures("hands")


class Layers(Place):
    """A place whose target is to be the upper folder of an overlay mount over a lower folder."""

    def __init__(self, base):
        super().__init__(base)
        self.lower = self.fresh("lower")
        self.merged = self.fresh("merged")
        self.work = self.fresh("work")

    @contextlib.contextmanager
    def mounted(self):
        options = "index=off,lowerdir=%s,upperdir=%s,workdir=%s" % (self.lower, self.target, self.work)
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.merged], check=True)
        try:
            yield self.merged
        finally:
            subprocess.run(["umount", self.merged], check=True)

    def seen(self):
        """What the merged tree shows: path to content of files, target of links, None for folders."""
        with self.mounted() as merged:
            return contents(merged)

    def apply(self, data, way):
        """Unpack, in whichever way, on top of the lower folder."""
        if way is Whiteouts.OVERLAY:
            self.unpack(data, way)
        else:
            with self.mounted() as merged, opened(self.target) as upper:
                self.unpack(data, way, merged, upper_fd=upper)


def contents(tree):
    found = {}
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if not os.path.lexists(path):
            # The kernel lists, but does not find, a whiteout in a folder that has nothing below it.
            continue
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_text() if path.is_file() else None
    return found


@pytest.fixture
def layers(real_tmp):
    here = Layers(real_tmp)
    for name in ("d/a", "d/b", "d/e/deep", "other/x", "f"):
        path = here.lower / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    (here.lower / "l").symlink_to("d")
    return here


OLD = {"d": None, "d/a": "old", "d/b": "old", "d/e": None, "d/e/deep": "old", "other": None, "other/x": "old",
       "f": "old",
       "l": "d"}  # fmt: skip


def without(*names):
    return {
        key: value for key, value in OLD.items() if not any(key == name or key.startswith(name + "/") for name in names)
    }


def wh(name):
    return file(name, b"")


OPAQUE = b".wh..wh..opq"

#: name: (members, what is seen afterwards)
CASES = {
    "file": ([wh(b".wh.f")], without("f")),
    "folder": ([wh(b".wh.d")], without("d")),
    "nested": ([wh(b"d/e/.wh.deep")], without("d/e/deep")),
    "link": ([wh(b".wh.l")], without("l")),
    "absent": ([wh(b".wh.nothing")], OLD),
    "through a link of this archive": ([folder(b"d"), symlink(b"m", b"d"), wh(b"m/.wh.a")],
                                       dict(without("d/a"), m="d")),
    "opaque": ([folder(b"d"), wh(b"d/" + OPAQUE)], dict(without("d"), d=None)),
    "opaque, implied": ([wh(b"d/" + OPAQUE)], dict(without("d"), d=None)),
    "opaque, then contents": ([folder(b"d"), wh(b"d/" + OPAQUE), file(b"d/new", b"new")],
                              {**without("d"), "d": None, "d/new": "new"}),
    "contents, then opaque": ([folder(b"d"), file(b"d/new", b"new"), wh(b"d/" + OPAQUE)],
                              {**without("d"), "d": None, "d/new": "new"}),
    "contents below, then opaque": ([file(b"d/e/new", b"new"), file(b"d/b", b"mine"), wh(b"d/" + OPAQUE)],
                                    {**without("d"), "d": None, "d/b": "mine", "d/e": None, "d/e/new": "new"}),
    "file, then its whiteout": ([file(b"f", b"new"), wh(b".wh.f")], dict(OLD, f="new")),
    "whiteout, then the file": ([wh(b".wh.f"), file(b"f", b"new")], dict(OLD, f="new")),
    "folder, then its whiteout": ([folder(b"d"), file(b"d/new", b"new"), wh(b".wh.d")],
                                  {**without("d"), "d": None, "d/new": "new"}),
    "whiteout, then the folder": ([wh(b".wh.d"), folder(b"d"), file(b"d/new", b"new")],
                                  {**without("d"), "d": None, "d/new": "new"}),
    "whiteout, then the folder implied": ([wh(b".wh.d"), file(b"d/new", b"new")],
                                          {**without("d"), "d": None, "d/new": "new"}),
    "whiteout, then a link in its place": ([wh(b".wh.d"), symlink(b"d", b"other")], dict(without("d"), d="other")),
    "whiteout, then a hard link in its place": ([file(b"new", b"new"), wh(b".wh.f"), hardlink(b"f", b"new")],
                                                dict(OLD, new="new", f="new")),
    "whiteout of a folder made a file": ([wh(b".wh.d"), file(b"d", b"new")], dict(without("d"), d="new")),
    "both whiteouts of both": ([wh(b".wh.d"), folder(b"d"), wh(b"d/" + OPAQUE), wh(b".wh.d"), file(b"d/a", b"new")],
                               {**without("d"), "d": None, "d/a": "new"}),
    "whiteout in a folder, then of the folder": ([wh(b"d/e/.wh.deep"), wh(b".wh.d"), file(b"d/new", b"new")],
                                                 {**without("d"), "d": None, "d/e": None, "d/new": "new"}),
    "names that only look alike": ([file(b".who", b"new"), file(b".w", b"new")], {**OLD, ".who": "new", ".w": "new"}),
}  # fmt: skip


@pytest.mark.root
@pytest.mark.parametrize("way", list(Whiteouts), ids=lambda way: way.value)
@pytest.mark.parametrize("name", CASES)
def test_a_mount_shows(layers, name, way):
    members, expected = CASES[name]
    layers.apply(archive(*members), way)
    assert layers.seen() == dict(sorted(expected.items()))
    assert contents(layers.lower) == OLD


@pytest.mark.root
def test_whiteouts_are_devices_that_belong_to_the_entrys_owner(layers):
    layers.unpack(archive(header(b".wh.f", uid=5, gid=6)))
    info = os.lstat(layers.target / "f")
    assert stat.S_ISCHR(info.st_mode)
    assert (info.st_rdev, info.st_uid, info.st_gid) == (0, 5, 6)
    assert os.listdir(layers.target) == ["f"]


@pytest.mark.root
@pytest.mark.parametrize("xattr_class", ["trusted", "user"])
def test_the_class_of_the_opaque_attribute(layers, xattr_class):
    layers.unpack(archive(wh(b"d/" + OPAQUE)), xattr_class=xattr_class)
    assert os.listxattr(layers.target / "d") == [xattr_class + ".overlay.opaque"]


@pytest.mark.root
def test_an_opaque_root(layers):
    data = archive(wh(OPAQUE), file(b"new", b"new"))
    layers.apply(data, Whiteouts.MERGE)
    assert layers.seen() == {"new": "new"}
    # The attribute is set as Docker sets it; the kernel does not heed it on the root of a mount.
    layers.unpack(data, Whiteouts.OVERLAY, layers.fresh("other"))
    assert os.getxattr(layers.base / "other", "trusted.overlay.opaque") == b"y"


def test_merged_into_a_plain_tree_that_was_empty_nothing_is_from_below(place):
    place.unpack(
        archive(file(b"d/a"), file(b"d/.wh.a", b""), file(b"d/.wh..wh..opq", b""), file(b".wh.d", b"")), Whiteouts.MERGE
    )
    assert os.listdir(place.target / "d") == ["a"]


def test_merged_into_a_plain_tree_that_was_not_empty(place):
    (place.target / "d/e").mkdir(parents=True)
    (place.target / "d/e/f").write_text("old")
    (place.target / "g").write_text("old")
    place.unpack(archive(file(b"d/.wh..wh..opq", b""), file(b"d/new"), file(b".wh.g", b"")), Whiteouts.MERGE)
    assert contents(place.target) == {"d": None, "d/new": "data\n"}


@pytest.mark.root
def test_aufs_links_reach_into_a_mount_from_outside(layers):
    layers.apply(archive(file(b".wh..wh.plnk/1.2", b"shared", mode=0o640),
                         hardlink(b"d/one", b".wh..wh.plnk/1.2", mode=0o640),
                         hardlink(b"two", b".wh..wh.plnk/1.2", mode=0o640)), Whiteouts.MERGE)  # fmt: skip
    assert layers.seen() == dict(sorted({**OLD, "d/one": "shared", "two": "shared"}.items()))
    assert stat.S_IMODE(os.stat(layers.target / "two").st_mode) == 0o640


@pytest.mark.root
def test_a_deep_tree_is_removed_through_a_mount(layers):
    path = layers.lower
    descriptor = os.open(path, os.O_RDONLY)
    for _level in range(1500):
        os.mkdir("n", dir_fd=descriptor)
        below = os.open("n", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    try:
        layers.apply(archive(wh(b".wh.n")), Whiteouts.MERGE)
        with layers.mounted() as merged:
            assert not (merged / "n").exists()
    finally:
        subprocess.run(["rm", "-rf", layers.lower / "n"], check=True)  # shutil.rmtree can't
