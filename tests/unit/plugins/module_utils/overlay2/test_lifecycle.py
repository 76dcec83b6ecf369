# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Layers made, filled and removed: what lies on disk afterwards, and what does not after a failure."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import time

import pytest
from overlay2 import Driver, IdMap, IdRange
from overlay2.errors import (
    ArchiveError,
    CorruptArchive,
    DigestMismatch,
    LayerExists,
    LayerInUse,
    LayerNotEmpty,
    LayerNotFound,
    OptionError,
    Overlay2Error,
    QuotaNotSupported,
    ReadOnlyDriver,
)
from support import homes, host, trees

MAPPED = IdMap((IdRange(0, 100000, 65536),), (IdRange(0, 200000, 65536),))
CONTENT = {"etc/": None, "etc/conf": b"one", "bin": b"two" * 1000, "link": trees.symlink("etc/conf")}
OTHER = {"usr/": None, "usr/lib": b"three"}


@pytest.fixture
def driver(home):
    """A driver that does not wait for the disk, with the layer `base`."""
    made = Driver(home, ["overlay2.sync=none"])
    made.create("base")
    return made


def diff_folder(driver, layer, *names):
    return os.path.join(driver.home, layer, "diff", *names)


def modes_and_owners(root):
    """Octal mode, uid and gid of all below *root*, link names made readable."""
    facts = {}
    for path in trees.paths_below(root):
        info = os.lstat(os.path.join(root, path))
        if not stat.S_ISLNK(info.st_mode):
            facts[path] = ("%o" % stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
    return facts


# --- making -----------------------------------------------------------------------------------------------------------


def test_create_refuses_what_exists_and_touches_nothing_of_it(driver):
    driver.create("image", "base", diff=trees.stream(CONTENT))
    driver.create_read_write("box", "image")
    trees.write_tree(driver.home, {"a file": b"", "a link": "nowhere"})
    before = trees.inode_facts(driver.home)
    for taken in ("base", "image", "box", "a file", "a link"):
        for create in (driver.create, driver.create_read_write):
            for parent in ("", "base", "gone", taken):
                for diff in (None, trees.stream(OTHER)):
                    with pytest.raises(LayerExists) as refused:
                        create(taken, parent, diff=diff)
                    assert refused.value.layer == taken
    assert trees.inode_facts(driver.home) == before


def test_create_on_a_missing_parent_leaves_nothing(driver, run_root):
    before = trees.inode_facts(driver.home), trees.paths_below(run_root)
    for parent in ("gone", "new"):
        with pytest.raises(LayerNotFound) as refused:
            driver.create("new", parent)
        assert refused.value.layer == parent
    assert (trees.inode_facts(driver.home), trees.paths_below(run_root)) == before


def test_a_parent_is_committed_when_its_child_shows(driver):
    driver.create_read_write("parent", "base")
    assert not driver.layer("parent").committed
    driver.create("child", "parent")
    committed = os.path.join(driver.home, "parent", "committed")
    assert os.lstat(committed).st_size == 0
    assert stat.S_IMODE(os.lstat(committed).st_mode) == 0o600
    assert not driver.layer("child").committed
    before = os.lstat(committed)
    driver.create("second", "parent")
    driver.remove("child")
    driver.remove("second")
    assert os.lstat(committed) == before


def test_a_parent_is_not_committed_by_a_child_that_fails(driver):
    driver.create("parent", "base")
    for content in (b"no tar at all" * 100, trees.archive(CONTENT)[:700]):
        with pytest.raises(ArchiveError):
            driver.create("child", "parent", diff=io.BytesIO(content))
    with pytest.raises(OptionError):
        driver.create("child", "parent", {"size": "1g"})
    with pytest.raises(DigestMismatch):
        driver.create("child", "parent", diff=trees.stream(CONTENT), diff_id="sha256:" + "0" * 64)
    assert not driver.layer("parent").committed
    assert homes.flaws(driver.home) == []


def test_create_with_content_shows_it_whole_and_remembers_its_digest(driver):
    content = trees.archive(CONTENT)
    diff_id = "sha256:" + hashlib.sha256(content).hexdigest()
    driver.create("image", "base", diff=io.BytesIO(content), diff_id=diff_id)
    assert driver.layer("image").diff_id == diff_id
    assert trees.paths_below(diff_folder(driver, "image")) == ["bin", "etc", "etc/conf", "link"]
    driver.create_read_write("box", "image", diff=trees.stream(OTHER))
    assert driver.layer("box").read_write
    assert trees.paths_below(diff_folder(driver, "box")) == ["usr", "usr/lib"]
    assert homes.flaws(driver.home) == []


def test_a_whiteout_in_the_content_of_a_new_layer_hides_what_is_below(driver):
    driver.create("image", "base", diff=trees.stream(CONTENT))
    driver.create("next", "image", diff=trees.stream({".wh.bin": b"", "etc/.wh..wh..opq": b"", "etc/new": b"n"}))
    merged = driver.get("next")
    assert trees.paths_below(merged) == ["etc", "etc/new", "link"]
    driver.put("next")


@pytest.mark.parametrize(("options", "read_write"), [
    ({"size": "10G"}, False), ({"SIZE": "10G"}, False), ({"size": "0"}, False), ({"other": "1"}, False),
    ({"other": "1"}, True), ({"size": "much"}, True), ({"size": ""}, True),
])  # fmt: skip
def test_storage_options_that_are_refused_leave_nothing(driver, options, read_write):
    before = trees.inode_facts(driver.home)
    create = driver.create_read_write if read_write else driver.create
    with pytest.raises(OptionError):
        create("new", "base", options)
    assert trees.inode_facts(driver.home) == before


@pytest.mark.parametrize("key", ["size", "Size", "SIZE"])
@pytest.mark.parametrize("value", ["10G", "0"])
def test_a_size_without_project_quota_is_refused(driver, key, value):
    before = trees.inode_facts(driver.home)
    with pytest.raises(QuotaNotSupported, match="pquota"):
        driver.create_read_write("new", "base", {key: value})
    with pytest.raises(QuotaNotSupported):
        driver.set_quota("base", 1 << 30)
    assert trees.inode_facts(driver.home) == before


# --- filling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parent", ["base", ""], ids=["native", "through a mount"])
def test_apply_fills_a_layer_and_tells_its_size(driver, parent):
    driver.create("image", "base")
    content = trees.archive(CONTENT)
    size = driver.apply_diff("image", parent, io.BytesIO(content))
    assert size == 3 + 3000 + (len("etc/conf") if parent else 0)  # only the native way counts link targets
    assert driver.layer("image").diff_id == "sha256:" + hashlib.sha256(content).hexdigest()
    merged = driver.get("image")
    assert trees.paths_below(merged) == ["bin", "etc", "etc/conf", "link"]
    driver.put("image")
    assert homes.flaws(driver.home) == []


@pytest.mark.parametrize("parent", ["base", ""], ids=["native", "through a mount"])
def test_apply_keeps_all_that_a_layer_is(driver, parent):
    driver.create_read_write("image", "base")
    driver.create("child", "image")
    folder = os.path.join(driver.home, "image")
    os.chmod(os.path.join(folder, "diff"), 0o1711)
    trees.write_tree(folder, {"somebody's": b"foreign"})
    names = ("link", "lower", "committed", "somebody's")
    before = {name: homes.content_of(folder, name) for name in names}
    foreign = os.lstat(os.path.join(folder, "somebody's"))
    driver.apply_diff("image", parent, trees.stream(CONTENT))
    assert {name: homes.content_of(folder, name) for name in names} == before
    assert os.lstat(os.path.join(folder, "somebody's")).st_ino == foreign.st_ino
    layer = driver.layer("image")
    assert (layer.read_write, layer.committed, layer.parent, layer.problems) == (True, True, "base", ())
    assert stat.S_IMODE(os.stat(os.path.join(folder, "diff")).st_mode) == 0o1711
    assert sorted(os.listdir(folder)) == sorted([*names, "diff", "work", "strata.json"])
    assert os.listdir(os.path.join(folder, "work")) == []
    assert driver.children("image") == ["child"]
    assert homes.flaws(driver.home) == []
    assert os.listdir(driver.get("child")) != []
    driver.put("child")


@pytest.mark.root
def test_a_replaced_layer_s_folder_keeps_its_owner(driver):
    driver.create("image", "base")
    os.chown(diff_folder(driver, "image"), 1000, 1001)
    driver.apply_diff("image", "base", trees.stream(CONTENT))
    info = os.stat(diff_folder(driver, "image"))
    assert (info.st_uid, info.st_gid) == (1000, 1001)


def test_a_second_apply_is_refused_or_replaces_as_a_whole(driver):
    driver.create("image", "base", diff=trees.stream(CONTENT))
    before = trees.inode_facts(os.path.join(driver.home, "image"))
    with pytest.raises(LayerNotEmpty) as refused:
        driver.apply_diff("image", "base", trees.stream(OTHER))
    assert refused.value.layer == "image"
    assert trees.inode_facts(os.path.join(driver.home, "image")) == before
    driver.apply_diff("image", "base", trees.stream(OTHER), replace=True)
    assert trees.paths_below(diff_folder(driver, "image")) == ["usr", "usr/lib"]
    assert driver.layer("image").diff_id == "sha256:" + hashlib.sha256(trees.archive(OTHER)).hexdigest()
    driver.apply_diff("image", "", trees.stream(CONTENT), replace=True)
    assert trees.paths_below(diff_folder(driver, "image")) == ["bin", "etc", "etc/conf", "link"]
    assert homes.flaws(driver.home) == []


@pytest.mark.parametrize("parent", ["base", ""], ids=["native", "through a mount"])
@pytest.mark.parametrize("content", [
    trees.archive(CONTENT)[:100], b"\0" * 511, b"no tar" * 1000, trees.archive(CONTENT)[:1026],
    trees.archive(CONTENT)[:2600], trees.archive(CONTENT)[:4000] + b"\xff" * 512, trees.archive({"../out": b""}),
    trees.archive({"a/../../out": b""}), trees.archive({"ok": b"", "bad": trees.hard_link("../../base/link")}),
], ids=range(9))  # fmt: skip
def test_an_archive_that_is_refused_leaves_the_layer_as_it_was(driver, parent, content):
    driver.create("image", "base", diff=trees.stream(OTHER))
    driver.create("empty", "base")
    before = trees.inode_facts(driver.home)
    for layer in ("image", "empty"):
        with pytest.raises(ArchiveError) as refused:
            driver.apply_diff(layer, parent, io.BytesIO(content), replace=True)
        assert refused.value.layer == layer
    with pytest.raises(ArchiveError) as refused:
        driver.create("new", "base", diff=io.BytesIO(content))
    assert refused.value.layer == "new"
    after = trees.inode_facts(driver.home)
    for facts in (before, after):
        del facts["."], facts[".staging"], facts["l"]  # times alone
    assert after == before
    assert homes.flaws(driver.home) == []
    assert host.mounts_below(driver.home) == []


@pytest.mark.parametrize("parent", ["base", ""], ids=["native", "through a mount"])
def test_a_wrong_digest_leaves_the_layer_as_it_was(driver, parent):
    driver.create("image", "base", diff=trees.stream(OTHER))
    before = trees.inode_facts(os.path.join(driver.home, "image"))
    with pytest.raises(DigestMismatch) as refused:
        driver.apply_diff("image", parent, trees.stream(CONTENT), diff_id="sha256:" + "1" * 64, replace=True)
    assert refused.value.layer == "image"
    assert trees.inode_facts(os.path.join(driver.home, "image")) == before
    assert homes.flaws(driver.home) == []


class Boom(BaseException):
    """What no code catches by chance."""


def raising(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize("parent", ["base", ""], ids=["native", "through a mount"])
@pytest.mark.parametrize("error", [Boom(), KeyboardInterrupt(), OSError(errno.EIO, "I/O"), ValueError("odd")], ids=repr)
def test_a_stream_that_fails_leaves_the_layer_as_it_was(driver, parent, error):
    driver.create("image", "base", diff=trees.stream(OTHER))
    before = trees.inode_facts(os.path.join(driver.home, "image"))
    for action in (
        lambda stream: driver.apply_diff("image", parent, stream, replace=True),
        lambda stream: driver.create("new", "image", diff=stream),
    ):
        with pytest.raises((type(error), Overlay2Error)):
            action(trees.Meddler(trees.archive(CONTENT), raising(error)))
    assert trees.inode_facts(os.path.join(driver.home, "image")) == before
    assert homes.flaws(driver.home) == []
    assert host.mounts_below(driver.home) == []
    driver.remove("image")  # no lock is left


def test_apply_is_refused_while_the_layer_or_one_above_it_is_mounted(driver):
    driver.create("image", "base")
    driver.create("child", "image")
    driver.create("other", "base")
    for layer in ("image", "child"):
        driver.get(layer, holder="web")
        before = trees.inode_facts(os.path.join(driver.home, "image"))
        with pytest.raises(LayerInUse, match="web") as refused:
            driver.apply_diff("image", "base", trees.stream(CONTENT))
        assert refused.value.layer == "image"
        assert trees.inode_facts(os.path.join(driver.home, "image")) == before
        with pytest.raises(LayerInUse):
            driver.apply_diff("base", "", trees.stream(CONTENT))
        driver.apply_diff("other", "base", trees.stream(CONTENT), replace=True)
        driver.put(layer, holder="web")
    driver.apply_diff("image", "base", trees.stream(CONTENT))


def test_apply_to_a_mounted_layer_is_refused_before_the_archive_is_read(driver):
    driver.create("image", "base")
    driver.get("image")

    def too_late():
        raise AssertionError("the archive was read")

    with pytest.raises(LayerInUse):
        driver.apply_diff("image", "base", trees.Meddler(trees.archive(CONTENT), too_late))
    driver.put("image")


def test_apply_is_refused_if_the_layer_is_mounted_while_it_is_unpacked(driver):
    driver.create("image", "base")
    driver.create("child", "image")
    before = trees.inode_facts(os.path.join(driver.home, "image", "diff"))
    with pytest.raises(LayerInUse):
        driver.apply_diff("image", "base", trees.Meddler(trees.archive(CONTENT), lambda: driver.get("child")))
    assert trees.inode_facts(os.path.join(driver.home, "image", "diff")) == before
    driver.put("child")
    assert homes.flaws(driver.home) == []


def test_a_child_made_while_its_parent_is_filled_finds_it_committed(driver):
    driver.create("image", "base")
    driver.apply_diff("image", "base", trees.Meddler(trees.archive(CONTENT), lambda: driver.create("child", "image")))
    assert driver.layer("image").committed
    assert driver.children("image") == ["child"]
    assert homes.flaws(driver.home) == []


def test_a_parent_that_goes_while_its_child_is_filled_is_missed(driver):
    driver.create("parent", "base")

    def replace():
        driver.remove("parent")
        driver.create("parent", "base")

    for action, error in ((lambda: driver.remove("parent"), LayerNotFound), (replace, LayerInUse)):
        if not driver.exists("parent"):
            driver.create("parent", "base")
        with pytest.raises(error):
            driver.create("child", "parent", diff=trees.Meddler(trees.archive(CONTENT), action))
        assert not driver.exists("child")
        assert homes.flaws(driver.home) == []
    assert not driver.layer("parent").committed


def test_two_that_make_the_same_layer_get_one_layer(driver):
    """The second waits for the first, and then finds the id taken."""
    code = (
        "import sys; from overlay2 import Driver; from overlay2.errors import LayerExists; import io\n"
        "d = Driver(sys.argv[1], ['overlay2.sync=none'])\n"
        "try: d.create('image', 'base'); print('made')\n"
        "except LayerExists: print('taken')\n"
    )
    others = []

    def start():
        others.append(subprocess.Popen([sys.executable, "-c", code, driver.home], stdout=subprocess.PIPE, text=True))
        time.sleep(0.3)
        assert others[0].poll() is None  # it waits

    driver.create("image", "base", diff=trees.Meddler(trees.archive(CONTENT), start))
    assert others[0].communicate(timeout=30)[0] == "taken\n"
    assert trees.paths_below(diff_folder(driver, "image")) == ["bin", "etc", "etc/conf", "link"]


# --- modes and owners -------------------------------------------------------------------------------------------------


@pytest.fixture(params=[0o077, 0o000, 0o027, 0o777], ids="umask {:03o}".format)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _expected(root):
    uid, gid = os.geteuid(), os.getegid()
    layer, inner = {"": ("710", uid, root[1])}, {"diff": ("755", *root), "work": ("700", *root)}
    files = {name: (mode, uid, gid) for name, mode in (("link", "644"), ("lower", "644"), ("strata.json", "644"))}
    return {**layer, **inner, **files}


def _check_modes(home, id_map):
    driver = Driver(home, id_map=id_map)
    root = id_map.root
    driver.create("base")
    driver.create("image", "base", diff=trees.stream(CONTENT))
    driver.create_read_write("box", "image")
    driver.create("again", "base")
    driver.apply_diff("again", "base", trees.stream(OTHER))
    driver.create("naive", "base")
    driver.apply_diff("naive", "", trees.stream(OTHER))
    merged = driver.get("box")
    trees.write_tree(merged, {"etc/more": b""})  # moves a folder up, for which the kernel works in work/work

    facts = modes_and_owners(home)
    me = (os.geteuid(), os.getegid())
    info = os.stat(home)
    assert ("%o" % stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == ("710", me[0], root[1])
    assert facts["l"] == ("700", *me)
    assert facts[".staging"] == ("700", *me)
    expected = _expected(root)
    for layer in ("base", "image", "box", "again", "naive"):
        for name, fact in expected.items():
            path = (layer + "/" + name).rstrip("/")
            if layer == "base" and name in ("lower", "work"):
                assert path not in facts
            else:
                assert facts[path] == fact, path
    for layer in ("base", "image"):
        assert facts[layer + "/committed"] == ("600", *me)
    assert facts["image/diff/etc"] == ("755", *root)
    assert facts["image/diff/etc/conf"] == ("644", *root)
    assert facts["again/diff/usr/lib"] == facts["naive/diff/usr/lib"] == ("644", *root)
    assert facts["box/work/work"][1:] == root
    driver.put("box")
    assert homes.flaws(home) == []
    # the mount point itself, seen without the mount
    os.mkdir(os.path.join(home, "box", "merged"))
    driver.get("box")
    assert "%o" % stat.S_IMODE(os.stat(merged).st_mode) == "755"  # that of the layer's own folder
    subprocess.run(["umount", merged], check=True)
    info = os.stat(merged)
    assert ("%o" % stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == ("700", *root)


def test_modes_and_owners_whatever_the_umask(home, umask):
    _check_modes(home, IdMap())


@pytest.mark.root
def test_modes_and_owners_under_an_id_map(home, umask):
    _check_modes(home, MAPPED)


@pytest.mark.root
def test_an_archive_s_owners_are_mapped(driver, home):
    driver = Driver(home, ["overlay2.sync=none"], MAPPED)
    entries = {
        "mapped": trees.Entry(b"1", uid=5, gid=6), "root": b"2", "implied/file": b"3",
        "sub/": trees.Entry(uid=7, gid=8, mode=0o700),
    }  # fmt: skip
    driver.create("image", "base", diff=trees.stream(entries))
    driver.create("naive", "base")
    driver.apply_diff("naive", "", trees.stream(entries))
    for layer in ("image", "naive"):
        owners = {path: fact[1:] for path, fact in modes_and_owners(diff_folder(driver, layer)).items()}
        assert owners == {
            "mapped": (100005, 200006), "root": (100000, 200000), "implied": (100000, 200000),
            "implied/file": (100000, 200000), "sub": (100007, 200008),
        }  # fmt: skip
    with pytest.raises(Overlay2Error, match="70000") as refused:
        driver.create("new", "base", diff=trees.stream({"f": trees.Entry(uid=70000)}))
    assert refused.value.layer == "new"
    assert homes.flaws(home) == []


def test_the_runtime_folder_is_private_whatever_the_umask(home, run_root, umask):
    driver = Driver(home)
    driver.create("base")
    driver.create("box", "base")
    driver.get("box")
    for path, (mode, uid, _gid) in modes_and_owners(run_root).items():
        assert int(mode, 8) & 0o077 == 0 or not os.path.isdir(os.path.join(run_root, path)), path
        assert uid == os.geteuid()
    driver.put("box")


# --- what the disk has ------------------------------------------------------------------------------------------------


def _calls(home, option, steps, spawn):
    """The calls that reach the disk while *steps* (code) run, in order: (name, what it was about)."""
    code = "import io, os, sys\nfrom overlay2 import Driver\nd = Driver(sys.argv[1], [sys.argv[2]])\n"
    code += "os.symlink('BEGIN', sys.argv[1] + '/mark')\nos.unlink(sys.argv[1] + '/mark')\n" + steps
    log = os.path.join(os.path.dirname(home), "strace.log")
    command = ["strace", "-f", "-y", "-s", "200", "-o", log, "-e",
               "trace=fsync,fdatasync,syncfs,/rename.*,/symlink.*", "--",
               sys.executable, "-c", code, home, "overlay2.sync=" + option]  # fmt: skip
    process = spawn(command, stderr=subprocess.PIPE, text=True)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    with open(log, encoding="utf-8", errors="replace") as lines:
        text = lines.read()
    calls = []
    for name, arguments in re.findall(r"^\d+\s+(\w+)\((.*)\)\s+= 0$", text, re.M):
        subject = re.sub(r"\.staging/[0-9a-f]{16}", "STAGED", arguments.replace(home + "/", "")).replace(home, "HOME")
        calls.append((name, re.sub(r"[A-Z2-7]{26}", "LINK", subject)))
    begin = next(place for place, (_name, subject) in enumerate(calls) if "BEGIN" in subject)
    return [("sync", re.sub(r"^\d+<(.*)>$", r"\1", subject)) if name == "fsync" else (name, subject)
            for name, subject in calls[begin + 1 :] if run_root_free(subject)]  # fmt: skip


def run_root_free(subject):
    """Whether a call is about the home, not about locks and reference counts."""
    return "holder" not in subject


needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is missing")
RENAME = re.compile(r'AT_FDCWD(<.*?>)?, "STAGED", AT_FDCWD(<.*?>)?, "(\w+)", RENAME_(\w+)')


def _order(calls):
    """Names for the steps of :func:`_calls`."""
    order = []
    for name, subject in calls:
        rename = RENAME.match(subject)
        if name == "sync":
            order.append("sync " + subject)
        elif name == "syncfs":
            order.append("syncfs")
        elif rename:
            order.append(f"{rename[4]} {rename[3]}")
        elif name.startswith("symlink"):
            order += ["symlink"] * ("l/LINK" in subject)  # others are content
        else:
            order.append(name + " " + subject)
    return order


@needs_strace
def test_a_new_layer_is_on_disk_before_it_shows(driver, spawn):
    steps = "d.create('one')\nd.create('two', 'base')\n"
    assert _order(_calls(driver.home, "full", steps, spawn)) == [
        "sync STAGED/link", "sync STAGED/strata.json", "sync STAGED", "symlink", "sync l", "NOREPLACE one", "sync HOME",
        "sync STAGED/link", "sync STAGED/lower", "sync STAGED/strata.json",
        "sync STAGED", "sync base", "symlink", "sync l", "NOREPLACE two", "sync HOME",
    ]  # fmt: skip


@needs_strace
def test_names_and_links_are_whole_without_waiting_for_the_disk_too(driver, spawn):
    order = _order(_calls(driver.home, "none", "d.create('two', 'base')\n", spawn))
    assert order == ["sync STAGED/link", "sync STAGED/lower", "sync base", "symlink", "NOREPLACE two"]


@needs_strace
def test_content_is_on_disk_before_it_shows_by_one_call_for_all_files(driver, spawn):
    steps = (
        f"content = {trees.archive(CONTENT)!r}\n"
        "d.create('new', 'base', diff=io.BytesIO(content))\n"
        "d.apply_diff('new', 'base', io.BytesIO(content), replace=True)\n"
        "d.apply_diff('new', '', io.BytesIO(content), replace=True)\n"
    )
    order = _order(_calls(driver.home, "full", steps, spawn))
    assert order == [
        "syncfs", "sync STAGED", "sync base", "symlink", "sync l", "NOREPLACE new", "sync HOME",
        "syncfs", "sync STAGED", "EXCHANGE new", "sync HOME",
        "syncfs", "sync STAGED", "EXCHANGE new", "sync HOME",
    ]  # fmt: skip
    order = _order(_calls(driver.home, "none", steps.replace("'new'", "'next'"), spawn))
    assert "syncfs" not in order
    assert order == [
        "sync STAGED/link", "sync STAGED/lower", "symlink", "NOREPLACE next",
        "sync STAGED/link", "sync STAGED/lower", "EXCHANGE next",
        "sync STAGED/link", "sync STAGED/lower", "EXCHANGE next",
    ]  # fmt: skip


@needs_strace
def test_a_removal_is_on_disk_when_it_is_reported(driver, spawn):
    driver.create("image", "base", diff=trees.stream(CONTENT))
    order = _order(_calls(driver.home, "full", "d.remove('image')\n", spawn))
    assert len(order) == 2
    assert "image" in order[0]
    assert order[1] == "sync HOME"


# --- failures of the file system --------------------------------------------------------------------------------------


@pytest.fixture
def small_home(tmpfs_home):
    """A tmpfs home and a function that sets how many files and how many KiB it may hold."""
    mount_point = os.path.dirname(tmpfs_home)

    def limit(files, kib=8192):
        options = f"remount,nr_inodes={files},size={kib}k"
        subprocess.run(["mount", "-o", options, mount_point], check=True)

    limit(1000)
    return tmpfs_home, limit


def _files_used(path):
    """The kernel's count, which may still hold what was deleted just now."""
    info = os.statvfs(path)
    return info.f_files - info.f_ffree


def test_a_full_disk_at_any_step_leaves_the_old_state(small_home):
    """The number of files that fit is raised one by one, so that each step fails once."""
    home, limit = small_home
    driver = Driver(home)
    driver.create("base", diff=trees.stream(OTHER))
    driver.create("parent", "base")
    driver.create("image", "base", diff=trees.stream(OTHER))
    content = trees.archive(CONTENT)
    shown = sorted(trees.content_facts(diff_folder(driver, "image")))
    actions = {
        "create": lambda: driver.create("new", "parent"),
        "create with content": lambda: driver.create("new", "parent", diff=io.BytesIO(content)),
        "apply": lambda: driver.apply_diff("image", "base", io.BytesIO(content), replace=True),
        "apply through a mount": lambda: driver.apply_diff("image", "", io.BytesIO(content), replace=True),
        "get": lambda: driver.get("image"),
    }
    for name, action in actions.items():
        failures = 0
        used, paths = _files_used(home), trees.paths_below(home)
        for more in range(60):
            limit(files=used + more)
            failure = None
            try:
                action()
            except Overlay2Error as error:
                failure = error
            finally:
                limit(files=1000)
            if failure is None:
                break
            failures += 1
            where = (name, more, str(failure))
            assert "Free some space" in failure.remedy or "more inodes" in failure.remedy, where
            assert ".staging" not in (failure.path or ""), where
            assert failure.layer in ("new", "image", "parent"), where
            assert homes.flaws(home) == [], where
            assert not driver.layer("parent").committed, where
            assert sorted(trees.content_facts(diff_folder(driver, "image"))) == shown, where
            assert not driver.mounted("image"), where
            assert driver.holders("image") == {}, where
            if name != "get":  # the kernel leaves work/work
                assert trees.paths_below(home) == paths, where
        assert failures >= (1 if name == "get" else 3), name
        if name == "get":
            driver.put("image")
        elif "apply" in name:
            driver.apply_diff("image", "base", trees.stream(OTHER), replace=True)
        else:
            driver.remove("new")
            driver.remove("parent")
            driver.create("parent", "base")


def test_content_that_does_not_fit_is_refused_as_a_whole(small_home):
    home, limit = small_home
    limit(files=1000, kib=512)
    driver = Driver(home)
    driver.create("image", diff=trees.stream(OTHER))
    before = trees.inode_facts(os.path.join(home, "image"))
    content = trees.archive({"a": b"a" * 300_000, "b": b"b" * 300_000})
    for action in (
        lambda: driver.create("new", diff=io.BytesIO(content)),
        lambda: driver.apply_diff("image", "", io.BytesIO(content), replace=True),
    ):
        with pytest.raises(Overlay2Error, match="Free some space"):
            action()
    assert trees.inode_facts(os.path.join(home, "image")) == before
    assert homes.flaws(home) == []
    assert os.statvfs(home).f_bfree * os.statvfs(home).f_bsize > 400_000


def test_too_few_descriptors_at_any_step_leave_the_old_state(driver):
    """As above, with the open files that this process may have."""
    import resource

    driver.create("parent", "base")
    driver.create("image", "base", diff=trees.stream(OTHER))
    content = trees.archive(CONTENT)
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    actions = [
        lambda: driver.create("new", "parent", diff=io.BytesIO(content)),
        lambda: driver.apply_diff("image", "base", io.BytesIO(content), replace=True),
        lambda: driver.apply_diff("image", "", trees.stream(OTHER), replace=True),
        lambda: (driver.get("image"), driver.put("image")),
    ]
    for action in actions:
        for more in range(30):
            before = driver.layer("image").diff_id, driver.exists("new")
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
            try:
                action()
            except (Overlay2Error, OSError):
                failed = True
            else:
                failed = False
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            driver.opened.staging.sweep()  # a discard may itself have failed; the next driver does it
            assert homes.flaws(driver.home) == []
            if not failed:
                break
            assert (driver.layer("image").diff_id, driver.exists("new")) == before
            assert not driver.mounted("image")
        assert not failed


# --- removing ---------------------------------------------------------------------------------------------------------


def test_remove_takes_the_layer_its_link_its_lock_and_nothing_else(driver, run_root):
    driver.create("image", "base", diff=trees.stream(CONTENT))
    driver.create("other", "base")
    keep = {name: trees.inode_facts(os.path.join(driver.home, name)) for name in ("base", "other")}
    link = homes.content_of(driver.home, "image", "link")
    driver.remove("image")
    assert not driver.exists("image")
    assert not os.path.lexists(os.path.join(driver.home, "l", link))
    assert {name: trees.inode_facts(os.path.join(driver.home, name)) for name in keep} == keep
    assert not [path for path in trees.paths_below(run_root) if path.endswith("/image")]
    assert homes.flaws(driver.home) == []
    driver.create("image", "base")
    assert homes.content_of(driver.home, "image", "link") != link


def test_removing_what_is_missing_is_no_error_and_leaves_no_trace(driver, run_root):
    before = trees.inode_facts(driver.home), trees.paths_below(run_root)
    driver.remove("gone")
    driver.remove("gone", guard=True)
    assert (trees.inode_facts(driver.home), trees.paths_below(run_root)) == before


def test_a_guard_names_who_stands_on_a_layer(driver):
    for number in range(7):
        driver.create("child%d" % number, "base")
    before = trees.inode_facts(driver.home)
    with pytest.raises(LayerInUse, match="child0, child1, child2, child3, child4 and 2 more") as refused:
        driver.remove("base", guard=True)
    assert refused.value.layer == "base"
    assert trees.inode_facts(driver.home) == before
    for number in range(7):
        driver.remove("child%d" % number, guard=True)
    driver.remove("base", guard=True)
    assert homes.layer_names(driver.home) == []


def test_a_guard_names_who_holds_a_layer(driver):
    driver.create("image", "base")
    driver.get("base", holder="builder")
    driver.get("image", holder="web")
    driver.get("image")
    driver.get("image")
    with pytest.raises(LayerInUse, match="held by web, 2 anonymous"):
        driver.remove("image", guard=True)
    assert driver.mounted("image")
    assert driver.holders("image") == {"web": 1, "": 2}
    driver.put_all("image")
    driver.remove("image", guard=True)
    with pytest.raises(LayerInUse, match="held by builder"):
        driver.remove("base", guard=True)
    driver.put("base", holder="builder")
    driver.remove("base", guard=True)


def test_without_a_guard_a_layer_goes_with_its_mount_and_its_references(driver):
    driver.create("image", "base", diff=trees.stream(CONTENT))
    driver.create("child", "image")
    merged = driver.get("image", holder="web")
    driver.get("image")
    with open(os.path.join(merged, "bin"), "rb"):
        driver.remove("image")
    assert not driver.exists("image")
    assert host.mounts_below(driver.home) == []
    assert driver.holders("image") == {}
    assert homes.layer_names(driver.home) == ["base", "child"]
    assert "leads nowhere" in " ".join(driver.layer("child").problems)
    # A layer made anew under that id has nothing to do with it.
    driver.create("image", "base")
    assert driver.holders("image") == {}
    assert driver.layer("child").parent is None


def test_what_is_mounted_inside_a_layer_is_detached_and_not_emptied(driver, real_tmp):
    driver.create_read_write("image", "base")
    merged = driver.get("image")
    trees.write_tree(str(real_tmp), {"precious": b"kept", "sub/precious": b"kept"})
    for place in (merged + "/bind", diff_folder(driver, "image", "bind"), diff_folder(driver, "image", "tmpfs"),
                  diff_folder(driver, "image", "bind", "sub")):  # fmt: skip
        os.makedirs(place, exist_ok=True)
    mounts = [["--bind", real_tmp, merged + "/bind"], ["--bind", real_tmp, diff_folder(driver, "image", "bind")],
              ["--bind", real_tmp, diff_folder(driver, "image", "bind")],
              ["-t", "tmpfs", "tmpfs", diff_folder(driver, "image", "tmpfs")]]  # fmt: skip
    for arguments in mounts:
        subprocess.run(["mount", *arguments], check=True)
    driver.remove("image")
    assert host.mounts_below(driver.home) == []
    assert trees.paths_below(str(real_tmp)) == ["precious", "sub", "sub/precious"]
    assert homes.flaws(driver.home) == []


def test_a_layer_that_is_itself_a_mount_point_is_removed_with_it(driver):
    driver.create("image", "base")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", os.path.join(driver.home, "image")], check=True)
    driver.remove("image")
    assert host.mounts_below(driver.home) == []
    assert not driver.exists("image")


@pytest.mark.root
def test_what_can_t_be_deleted_is_out_of_sight_and_told(driver):
    driver.create("image", "base", diff=trees.stream(CONTENT))
    stubborn = diff_folder(driver, "image", "etc", "conf")
    if subprocess.run(["chattr", "+i", stubborn], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    link = homes.content_of(driver.home, "image", "link")
    try:
        with pytest.raises(Overlay2Error) as refused:
            driver.remove("image")
        assert refused.value.layer == "image"
        assert refused.value.path.endswith("/diff/etc/conf")
        assert os.path.lexists(refused.value.path)
        assert "chattr" in refused.value.remedy
        # What users see is whole: the layer is gone, its id is free again, and a later driver gets rid of the rest.
        assert not driver.exists("image")
        assert not os.path.lexists(os.path.join(driver.home, "l", link))
        driver.remove("image")
        driver.create("image", "base")
        Driver(driver.home)
        assert os.path.lexists(refused.value.path)
    finally:
        subprocess.run(["chattr", "-R", "-i", driver.home], capture_output=True, check=False)
    Driver(driver.home)
    assert homes.flaws(driver.home) == []


@pytest.mark.root
def test_what_can_t_be_deleted_does_not_undo_a_replacement(driver, caplog):
    driver.create("image", "base", diff=trees.stream(CONTENT))
    stubborn = diff_folder(driver, "image", "etc", "conf")
    if subprocess.run(["chattr", "+i", stubborn], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        driver.apply_diff("image", "base", trees.stream(OTHER), replace=True)
        assert trees.paths_below(diff_folder(driver, "image")) == ["usr", "usr/lib"]
        assert "left-over" in caplog.text
    finally:
        subprocess.run(["chattr", "-R", "-i", driver.home], capture_output=True, check=False)
    Driver(driver.home)
    assert homes.flaws(driver.home) == []


def test_a_layer_with_deep_and_odd_content_is_removed(driver):
    driver.create_read_write("image", "base")
    folder = os.open(diff_folder(driver, "image"), os.O_RDONLY)
    for _round in range(1500):
        os.mkdir("d" * 20, dir_fd=folder)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    trees.write_tree(diff_folder(driver, "image"), {"\udcff\n": b"", "out": "/etc", "up": "../../../base"})
    os.mkfifo(diff_folder(driver, "image", "pipe"))
    driver.remove("image")
    assert homes.flaws(driver.home) == []
    assert os.path.isdir("/etc")
    assert driver.exists("base")


def test_reading_drivers_change_nothing(driver, run_root):
    driver.create("image", "base", diff=trees.stream(CONTENT))
    before = trees.inode_facts(driver.home)
    reader = Driver(driver.home, read_only=True)
    calls = [
        lambda: reader.create("new"), lambda: reader.create_read_write("new"), lambda: reader.remove("image"),
        lambda: reader.get("image"), lambda: reader.put("image"), lambda: reader.put_all("image"), reader.cleanup,
        lambda: reader.apply_diff("image", "base", trees.stream(OTHER), replace=True),
        lambda: reader.set_quota("image", 1),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ReadOnlyDriver):
            call()
    assert [layer.id for layer in reader.layers()] == ["base", "image"]
    assert [change.path for change in reader.changes("image", "base")] == ["/bin", "/etc", "/etc/conf", "/link"]
    with reader.diff("image", "base") as stream:
        assert trees.names_in(stream.read()) == ["bin", "etc/", "etc/conf", "link"]
    assert trees.inode_facts(driver.home) == before


# --- a home by another path -------------------------------------------------------------------------------------------


def test_a_home_behind_a_symbolic_link_works_and_shares_its_state(driver, real_tmp):
    alias = str(real_tmp / "alias")
    os.symlink(driver.home, alias)
    other = Driver(alias)
    other.create("image", "base", diff=trees.stream(CONTENT))
    other.apply_diff("image", "base", trees.stream(OTHER), replace=True)
    path = other.get("image", holder="web")
    assert os.path.isfile(path + "/usr/lib")
    assert driver.holders("image") == {"web": 1}
    assert driver.mounted("image")
    with pytest.raises(LayerInUse):
        other.apply_diff("image", "base", trees.stream(CONTENT), replace=True)
    driver.get("image")
    other.put("image", holder="web")
    assert driver.mounted("image")
    other.put("image")
    assert host.mounts_below(driver.home) == []
    other.remove("image")
    assert homes.flaws(driver.home) == []


@contextlib.contextmanager
def working_in(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_a_relative_home_stays_where_it_was(real_tmp):
    (real_tmp / "elsewhere").mkdir()
    with working_in(real_tmp):
        driver = Driver("new/home")
    with working_in(real_tmp / "elsewhere"):
        driver.create("base")
    assert homes.layer_names(str(real_tmp / "new" / "home")) == ["base"]


def test_corrupt_archives_are_told_from_hostile_ones(driver):
    with pytest.raises(CorruptArchive):
        driver.create("new", diff=io.BytesIO(trees.archive(CONTENT)[:1026]))
    with pytest.raises(ArchiveError) as refused:
        driver.create("new", diff=trees.stream({"x/../../../out": b""}))
    assert not isinstance(refused.value, CorruptArchive)
    assert refused.value.path == "x/../../../out"
