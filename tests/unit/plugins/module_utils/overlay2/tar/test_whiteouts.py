# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Whiteouts in archives, as overlayfs stores them and as deletions in a merged tree, checked with a real mount."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from random import Random

import pytest
from corpus.forge import archive, file, folder, hardlink, header, symlink
from corpus.place import Place, facts, opened
from overlay2.errors import ArchiveError
from overlay2.tar.whiteouts import Whiteouts
from support.oracle import entries, meddle, seeds

pytestmark = pytest.mark.usefixtures("hands")


class Layers(Place):
    """A place whose target is to be the upper folder of an overlay mount over two lower folders."""

    def __init__(self, base):
        super().__init__(base)
        self.lower = self.fresh("lower")
        self.bottom = self.fresh("bottom")
        self.merged = self.fresh("merged")
        self.work = self.fresh("work")

    @contextlib.contextmanager
    def mounted(self):
        options = "index=off,lowerdir=%s:%s,upperdir=%s,workdir=%s" % (
            self.lower, self.bottom, self.target, self.work,
        )  # fmt: skip
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.merged], check=True)
        try:
            yield self.merged
        finally:
            subprocess.run(["umount", self.merged], check=True)

    def seen(self):
        """Content of the merged tree by path: data of files, target of links, None for directories."""
        with self.mounted() as merged:
            return contents(merged)

    def apply(self, data, way):
        """Unpack on top of the lower directories, in either way."""
        if way is Whiteouts.OVERLAY:
            self.unpack(data, way, lower_paths=[str(self.lower), str(self.bottom)])
        else:
            with self.mounted() as merged, opened(self.target) as upper:
                self.unpack(data, way, merged, upper_fd=upper)


def contents(tree):
    found = {}
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        assert os.path.lexists(path), "%s is listed, but is not there" % name
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
    for name in ("gone/x", "opaque/x"):
        (here.bottom / name).parent.mkdir()
        (here.bottom / name).write_text("hidden")
    os.mknod(here.lower / "gone", stat.S_IFCHR)
    (here.lower / "opaque").mkdir()
    os.setxattr(here.lower / "opaque", "trusted.overlay.opaque", b"y")
    return here


OLD = {"d": None, "d/a": "old", "d/b": "old", "d/e": None, "d/e/deep": "old", "other": None, "other/x": "old",
       "f": "old", "l": "d", "opaque": None}  # fmt: skip


def without(*names):
    return {
        key: value for key, value in OLD.items() if not any(key == name or key.startswith(name + "/") for name in names)
    }


def wh(name):
    return file(name, b"")


OPAQUE = b".wh..wh..opq"

#: name: (members, what the mount shows afterwards)
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
    "whiteout in a folder, then of the folder": ([wh(b"d/.wh.a"), wh(b".wh.d")], without("d")),
    "whiteout of a folder, then in it": ([wh(b".wh.d"), wh(b"d/.wh.a")], without("d")),
    "whiteout of a folder, then deep in it": ([wh(b".wh.d"), wh(b"d/e/.wh.deep"), wh(b"d/" + OPAQUE)], without("d")),
    "whiteout deep in a folder, then of the folder": ([wh(b"d/e/.wh.deep"), wh(b"d/e/" + OPAQUE), wh(b".wh.d")],
                                                      without("d")),
    "whiteout in a folder, then of it, then anew": ([wh(b"d/e/.wh.deep"), wh(b".wh.d"), file(b"d/new", b"new")],
                                                    {**without("d"), "d": None, "d/new": "new"}),
    "whiteout in a listed folder, then of it": ([folder(b"d"), wh(b"d/.wh.a"), wh(b".wh.d")],
                                                {**without("d"), "d": None}),
    "whiteout in a folder, its entry, then of it": ([wh(b"d/.wh.a"), folder(b"d"), wh(b".wh.d")],
                                                    {**without("d"), "d": None}),
    "whiteout in a folder, its content, then of it": ([wh(b"d/e/.wh.deep"), file(b"d/e/new", b"new"), wh(b".wh.d")],
                                                      {**without("d"), "d": None, "d/e": None, "d/e/new": "new"}),
    "whiteout in a file's place": ([wh(b"f/.wh.a")], OLD),
    "whiteout in a folder that became a file": ([wh(b".wh.d"), file(b"d", b"new"), wh(b"d/.wh.a")],
                                                dict(without("d"), d="new")),
    "whiteout in a folder of this layer": ([folder(b"new"), wh(b"new/.wh.gone"), file(b"new/k", b"new")],
                                           {**OLD, "new": None, "new/k": "new"}),
    "whiteout in a folder that is nowhere": ([wh(b"no/where/.wh.gone")], OLD),
    "opaque, a folder that is nowhere": ([wh(b"no/where/" + OPAQUE), wh(b"no/.wh.gone")], OLD),
    "whiteout in an opaque folder": ([folder(b"d"), wh(b"d/" + OPAQUE), wh(b"d/.wh.a"), file(b"d/new", b"new")],
                                     {**without("d"), "d": None, "d/new": "new"}),
    "whiteout in a folder, opaque later": ([wh(b"d/e/.wh.deep"), file(b"d/e/new", b"new"), folder(b"d"),
                                            wh(b"d/" + OPAQUE)],
                                           {**without("d"), "d": None, "d/e": None, "d/e/new": "new"}),
    "whiteout below an opaque folder": ([folder(b"d"), wh(b"d/" + OPAQUE), folder(b"d/e"), wh(b"d/e/.wh.deep")],
                                        {**without("d"), "d": None, "d/e": None}),
    "whiteout in a replaced folder": ([wh(b".wh.d"), folder(b"d"), wh(b"d/.wh.a"), file(b"d/new", b"new")],
                                      {**without("d"), "d": None, "d/new": "new"}),
    "whiteout in a folder deleted below": ([wh(b"gone/.wh.x")], OLD),
    "whiteout in a folder opaque below": ([wh(b"opaque/.wh.x")], OLD),
    "opaque root": ([wh(OPAQUE)], {}),
    "opaque root, then contents": ([wh(OPAQUE), file(b"new", b"new"), file(b"d/a", b"new")],
                                   {"new": "new", "d": None, "d/a": "new"}),
    "contents, then opaque root": ([file(b"d/e/new", b"new"), file(b"f", b"new"), symlink(b"other", b"d"), wh(OPAQUE)],
                                   {"d": None, "d/e": None, "d/e/new": "new", "f": "new", "other": "d"}),
    "whiteouts, then opaque root": ([wh(b"d/.wh.a"), wh(b".wh.f"), wh(b".wh.never"), wh(OPAQUE), file(b"new", b"new")],
                                    {"new": "new"}),
    "names that only look alike": ([file(b".who", b"new"), file(b".w", b"new")], {**OLD, ".who": "new", ".w": "new"}),
}  # fmt: skip


@pytest.mark.root
@pytest.mark.parametrize("way", list(Whiteouts), ids=lambda way: way.value)
@pytest.mark.parametrize("name", CASES)
def test_a_mount_shows(layers, name, way):
    members, expected = CASES[name]
    layers.apply(archive(*members), way)
    lower = facts(layers.lower)
    assert layers.seen() == dict(sorted(expected.items()))
    assert facts(layers.lower) == lower


@pytest.mark.root
@pytest.mark.parametrize("seed", seeds(30))
def test_both_ways_show_the_same(layers, seed):
    rng = Random(seed)
    for root in (layers.lower, layers.bottom):
        meddle(str(root), rng, 30, privileged=False)
        for path in [*root.rglob("*")]:
            if path.is_symlink():  # the upper folder alone does not show what a lower link leads to
                path.unlink()
    data = archive(*[wh(os.fsencode(name)) if content is not None else folder(os.fsencode(name))
                     for name, content in entries(rng, rng.randint(1, 12)) if ".wh." in name or content is None
                     ])  # fmt: skip
    seen = []
    for way in Whiteouts:
        layers.target, layers.work = layers.fresh("target-" + way.value), layers.fresh("work-" + way.value)
        try:
            layers.apply(data, way)
        except ArchiveError as error:
            if way is Whiteouts.MERGE and "Not a directory" in str(error):
                return  # a folder in a place where a lower layer has a file, unknown to the upper folder
            raise
        seen.append(layers.seen())
    assert seen[0] == seen[1]


@pytest.mark.root
@pytest.mark.parametrize("way", list(Whiteouts), ids=lambda way: way.value)
def test_folders_that_the_archive_does_not_list_keep_their_metadata(layers, way):
    """A folder that is only needed for a whiteout looks as it does below."""
    for name in ("d/e", "d"):
        os.chown(layers.lower / name, 7, 8)
        (layers.lower / name).chmod(0o1770)
    layers.apply(archive(wh(b"d/e/.wh.deep")), way)
    with layers.mounted() as merged:
        assert sorted(os.listdir(merged / "d/e")) == []
        for name in ("d/e", "d"):
            info = (merged / name).stat()
            assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (7, 8, 0o1770)


@pytest.mark.root
def test_a_redirected_folder_below_keeps_all_whiteouts(layers):
    """It merges with a directory of another path, so that nobody knows whether a whiteout has something to hide."""
    (layers.lower / "new").mkdir()
    os.setxattr(layers.lower / "new", "trusted.overlay.redirect", b"/elsewhere")
    layers.unpack(archive(wh(b"new/sub/.wh.x")), lower_paths=[str(layers.lower)])
    assert stat.S_ISCHR(os.lstat(layers.target / "new/sub/x").st_mode)


@pytest.mark.root
def test_a_whiteout_through_a_link_of_a_lower_layer_is_reported(layers, caplog):
    """The upper folder alone does not have the link: moby would hide it behind a folder."""
    layers.apply(archive(wh(b"l/.wh.a")), Whiteouts.OVERLAY)
    assert layers.seen() == dict(sorted(OLD.items()))
    assert "a deletion has no effect: l is a symbolic link" in caplog.text


@pytest.mark.root
def test_without_knowledge_of_lower_layers_whiteouts_stay(layers):
    layers.unpack(archive(wh(b"new/.wh.x"), wh(b".wh.y"), wh(OPAQUE)))
    assert stat.S_ISCHR(os.lstat(layers.target / "new/x").st_mode)
    assert stat.S_ISCHR(os.lstat(layers.target / "y").st_mode)
    assert os.getxattr(layers.target, "trusted.overlay.opaque") == b"y"


def test_a_layer_without_a_parent_has_nothing_to_hide(place):
    place.unpack(archive(wh(b"new/.wh.x"), wh(b".wh.y"), wh(OPAQUE), file(b"d/f"), wh(b"d/.wh.x")), lower_paths=[])
    assert contents(place.target) == {"d": None, "d/f": "data\n"}
    assert os.listxattr(place.target) == []


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
    layers.unpack(archive(wh(b"d/" + OPAQUE)), xattr_class=xattr_class, lower_paths=[str(layers.lower)])
    assert os.listxattr(layers.target / "d") == [xattr_class + ".overlay.opaque"]


@pytest.mark.root
def test_an_opaque_root(layers):
    data = archive(wh(OPAQUE), file(b"new", b"new"))
    layers.apply(data, Whiteouts.OVERLAY)
    assert layers.seen() == {"new": "new"}
    # The kernel ignores the attribute on the root of a mount.
    assert "trusted.overlay.opaque" not in os.listxattr(layers.target)
    assert sorted(os.listdir(layers.target)) == ["d", "f", "l", "new", "opaque", "other"]


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
