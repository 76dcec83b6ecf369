# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The staging folder: what is built or taken apart out of sight, and what a sweep makes of left-overs."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest
from overlay2 import Driver
from overlay2.errors import LayerExists, LayerInUse, Overlay2Error
from overlay2.home.directories import ensure_directory, make_directory, write_new
from overlay2.home.layout import LayerRecord
from overlay2.home.staging import Staging, link_id
from overlay2.home.store import GraphDriverStore
from support import homes, host, steps, trees

ME = (os.geteuid(), os.getegid())


@pytest.fixture
def driver(home):
    """A driver that does not wait for the disk, with `base` and `image` on it."""
    made = Driver(home, ["overlay2.sync=none"])
    made.create("base")
    made.create("image", "base", diff=trees.stream({"f": b"1"}))
    return made


@pytest.fixture
def staging(driver):
    """A second one of the same home, as another process has it."""
    return Staging(GraphDriverStore(driver.home), None, ME, durable=True)


def mode_of(path):
    return "%o" % stat.S_IMODE(os.lstat(path).st_mode)


def left_over(home, name="0123456789abcdef", **files):
    """What a process that was killed left in the staging folder."""
    path = os.path.join(home, ".staging", name)
    trees.write_tree(path, {"diff/some/file": b"x", **{file: content.encode() for file, content in files.items()}})
    return path


# --- its tools --------------------------------------------------------------------------------------------------------


def test_link_ids_are_26_characters_of_base32_and_random():
    ids = {link_id() for _unused in range(500)}
    assert len(ids) == 500
    assert all(homes.LINK_NAME.fullmatch(name) for name in ids)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
@pytest.mark.parametrize("mode", [0o755, 0o710, 0o700, 0o1777])
def test_a_folder_has_exactly_the_mode_asked_for(real_tmp, umask, mode):
    before = os.umask(umask)
    try:
        make_directory(str(real_tmp / "new"), mode, ME)
        ensure_directory(str(real_tmp / "a" / "b"), mode, ME)
    finally:
        os.umask(before)
    assert mode_of(real_tmp / "new") == mode_of(real_tmp / "a") == mode_of(real_tmp / "a" / "b") == "%o" % mode
    with pytest.raises(FileExistsError):
        make_directory(str(real_tmp / "new"), mode, ME)


def test_an_existing_folder_is_brought_to_its_mode_and_its_parents_left_alone(real_tmp):
    (real_tmp / "a" / "b").mkdir(parents=True, mode=0o755)
    (real_tmp / "a").chmod(0o755)
    os.symlink("a", real_tmp / "link")
    ensure_directory(str(real_tmp / "link" / "b"), 0o700, ME)
    assert (mode_of(real_tmp / "a"), mode_of(real_tmp / "a" / "b")) == ("755", "700")
    before = os.lstat(real_tmp / "a" / "b")
    ensure_directory(str(real_tmp / "a" / "b"), 0o700, ME)
    assert os.lstat(real_tmp / "a" / "b").st_ctime_ns == before.st_ctime_ns
    (real_tmp / "file").write_text("")
    for path in (real_tmp / "file", real_tmp / "file" / "below"):
        with pytest.raises(NotADirectoryError):
            ensure_directory(str(path), 0o700, ME)


@pytest.mark.root
def test_folders_get_their_owner(real_tmp):
    make_directory(str(real_tmp / "new"), 0o2755, (1234, 5678))
    ensure_directory(str(real_tmp / "a" / "b"), 0o755, (1, 2))
    ensure_directory(str(real_tmp / "a" / "b"), 0o755, (3, 4))
    for name, owner in (("new", (1234, 5678)), ("a", (1, 2)), ("a/b", (3, 4))):
        info = os.lstat(real_tmp / name)
        assert (info.st_uid, info.st_gid) == owner, name
    assert mode_of(real_tmp / "new") == "2755"


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_a_file_is_new_and_has_exactly_its_mode(real_tmp, umask):
    folder = os.open(real_tmp, os.O_RDONLY)
    before = os.umask(umask)
    try:
        write_new(folder, "file", b"content", 0o644)
    finally:
        os.umask(before)
    assert mode_of(real_tmp / "file") == "644"
    with pytest.raises(FileExistsError):
        write_new(folder, "file", b"other", 0o600)
    os.close(folder)
    assert (real_tmp / "file").read_bytes() == b"content"


# --- a stage ----------------------------------------------------------------------------------------------------------


def test_what_is_not_shown_is_gone_with_its_stage(driver, staging):
    with staging.stage() as staged:
        assert os.path.dirname(staged.path) == staging.folder
        assert mode_of(staged.path) == "710"
        trees.write_tree(staged.path, {"diff/a/b/c": b"", "link": b"A" * 26})
    assert os.listdir(staging.folder) == []
    with pytest.raises(ZeroDivisionError):
        _fail_with_a_link(driver.home, staging)
    assert homes.flaws(driver.home) == []


def _fail_with_a_link(home, staging):
    with staging.stage() as staged:
        trees.write_tree(staged.path, {"diff/a": b"", "link": b"B" * 26})
        os.symlink("../x/diff", os.path.join(home, "l", "B" * 26))
        raise ZeroDivisionError


def test_a_stage_is_left_alone_by_sweeps_while_its_maker_lives(driver, staging):
    other = Staging(GraphDriverStore(driver.home), None, ME, durable=False)
    with staging.stage() as staged:
        trees.write_tree(staged.path, {"diff/a": b""})
        assert other.sweep() == 0
        Driver(driver.home)
        assert os.path.exists(staged.child("diff"))
    assert other.sweep() == 0


def test_a_sweep_takes_what_nobody_has_locked(driver, staging, spawn):
    link = homes.content_of(driver.home, "image", "link")
    # Killed before its link was made, with its link made, with an empty link file, after it was exchanged or hidden.
    left_over(driver.home, "1" * 16)
    left_over(driver.home, "2" * 16, link="A" * 26)
    os.symlink("../new/diff", os.path.join(driver.home, "l", "A" * 26))
    left_over(driver.home, "3" * 16, link="")
    left_over(driver.home, "4" * 16, link=link)
    left_over(driver.home, "5" * 16, link="B" * 26)
    trees.write_tree(driver.home, {".staging/file": b""})
    assert staging.sweep() == 5
    assert os.listdir(staging.folder) == ["file"]
    os.unlink(os.path.join(staging.folder, "file"))
    assert homes.flaws(driver.home) == []
    assert staging.sweep() == 0


def test_a_sweep_of_a_home_without_staging_folder(real_tmp):
    assert Staging(GraphDriverStore(str(real_tmp)), None, ME, durable=True).sweep() == 0
    assert os.listdir(real_tmp) == []


@pytest.mark.parametrize("link", ["../../image/diff", "..", ".", "a/b", "\0" * 26, "ünï", "no such link"])
def test_a_sweep_removes_no_link_but_its_own(driver, staging, link):
    before = {name: os.readlink(os.path.join(driver.home, "l", name)) for name in os.listdir(driver.home + "/l")}
    left_over(driver.home, link=link)
    assert staging.sweep() == 1
    assert {name: os.readlink(os.path.join(driver.home, "l", name)) for name in before} == before
    assert len(os.listdir(driver.home + "/l")) == len(before)
    assert trees.paths_below(os.path.join(driver.home, "image", "diff")) == ["f"]


def test_a_sweep_detaches_what_is_still_mounted(driver, staging, real_tmp):
    path = left_over(driver.home)
    trees.write_tree(str(real_tmp), {"precious": b""})
    for place, arguments in (("merged", ["-t", "tmpfs", "x"]), ("diff/some/bind", ["--bind", str(real_tmp)])):
        os.makedirs(os.path.join(path, place))
        subprocess.run(["mount", *arguments, os.path.join(path, place)], check=True)
    assert staging.sweep() == 1
    assert host.mounts_below(driver.home) == []
    assert os.listdir(real_tmp) == ["precious"]


def test_a_sweep_that_fails_says_so_and_goes_on(driver, staging, caplog):
    trees.write_tree(driver.home, {".staging/1111111111111111": "../image", ".staging/2222222222222222/x": b""})
    assert staging.sweep() == 1
    assert trees.paths_below(os.path.join(driver.home, "image", "diff")) == ["f"]
    assert caplog.text == "" or "can't sweep" in caplog.text
    os.unlink(driver.home + "/.staging/1111111111111111")


def test_a_new_stage_that_a_sweep_took_is_made_again(driver, staging):
    """Between making and locking it, a staged folder is fair game."""
    for place in ("make_directory", "flock"):
        other = Staging(GraphDriverStore(driver.home), None, ME, durable=True)
        with steps.Once(place, lambda: remove_all(staging.folder)) as moment, other.stage() as staged:
            os.mkdir(staged.child("diff"))
        assert moment.happened
        assert os.listdir(staging.folder) == []


def remove_all(folder):
    for name in os.listdir(folder):
        os.rmdir(os.path.join(folder, name))


# --- showing, exchanging, withdrawing ---------------------------------------------------------------------------------


def show(staging, layer, link, lower=None, parent=""):
    """Make a layer with nothing in it, without the checks and locks of a driver."""
    with staging.stage() as staged:
        staging.make_diff(staged)
        if lower:
            staging.make_work(staged)
        staging.write_files(staged, link, lower, LayerRecord(), sync=False)
        staging.publish(staged, layer, link, parent)


def test_an_id_taken_in_the_last_moment_is_refused_and_its_parent_not_marked(driver, staging):
    """The locks forbid that among drivers; another program may do it."""
    driver.create("parent", "base")
    before = trees.inode_facts(os.path.join(driver.home, "image"))
    for taken in ("image", "file", "symlink"):
        if taken != "image":
            trees.write_tree(driver.home, {taken: b"" if taken == "file" else "image"})
        with pytest.raises(LayerExists):
            show(staging, taken, "C" * 26, parent="parent")
    assert trees.inode_facts(os.path.join(driver.home, "image")) == before
    assert not driver.layer("parent").committed
    assert not os.path.lexists(os.path.join(driver.home, "l", "C" * 26))
    assert os.listdir(staging.folder) == []


def test_a_link_id_that_is_taken_is_refused_and_stays(driver, staging):
    link = homes.content_of(driver.home, "image", "link")
    with pytest.raises(FileExistsError):
        show(staging, "new", link, parent="base")
    assert homes.flaws(driver.home) == []


def test_an_error_after_a_layer_shows_does_not_unmark_its_parent(driver, staging, monkeypatch):
    driver.create("parent", "base")
    lower = "l/" + homes.content_of(driver.home, "parent", "link")

    def sync_names(folder):
        if folder == driver.home:
            raise OSError

    monkeypatch.setattr(staging, "sync_names", sync_names)
    with pytest.raises(OSError):
        show(staging, "new", "D" * 26, lower + ":l/" + homes.content_of(driver.home, "base", "link"), "parent")
    assert driver.layer("new").parent == "parent"
    assert driver.layer("parent").committed
    assert homes.flaws(driver.home) == []


def test_a_child_that_comes_between_is_found_when_its_parent_is_replaced(driver):
    with steps.Once("sync", lambda: driver.create("child", "image")) as moment:
        driver.apply_diff("image", "base", trees.stream({"new": b""}), replace=True)
    assert moment.happened
    assert driver.layer("image").committed
    assert driver.children("image") == ["child"]


def test_a_child_that_comes_between_keeps_its_parent_from_being_removed(driver):
    """Guarded removal asks twice: what it was told first may be out of date once it has the home."""
    driver.create("parent", "base")
    with steps.Once("home_lock", lambda: driver.create("child", "parent")) as moment, pytest.raises(LayerInUse):
        driver.remove("parent", guard=True)
    assert moment.happened
    assert driver.layer("child").problems == ()
    assert homes.flaws(driver.home) == []


def test_files_of_other_programs_move_along_when_a_layer_is_replaced(driver):
    folder = os.path.join(driver.home, "image")
    trees.write_tree(folder, {"theirs": b"kept", "dangling": "nowhere"})
    os.mkfifo(os.path.join(folder, "pipe"))
    before = {name: os.lstat(os.path.join(folder, name)).st_ino for name in ("theirs", "dangling", "pipe")}
    driver.apply_diff("image", "base", trees.stream({"new": b""}), replace=True)
    assert {name: os.lstat(os.path.join(folder, name)).st_ino for name in before} == before
    assert all(os.lstat(os.path.join(folder, name)).st_nlink == 1 for name in before)


def test_a_folder_of_another_program_keeps_a_layer_from_being_replaced(driver):
    folder = os.path.join(driver.home, "image")
    trees.write_tree(folder, {"theirs/file": b"kept"})
    with pytest.raises(Overlay2Error, match="can't be kept") as refused:
        driver.apply_diff("image", "base", trees.stream({"new": b""}), replace=True)
    assert refused.value.layer == "image"
    assert refused.value.path == os.path.join(folder, "theirs")
    assert trees.paths_below(os.path.join(folder, "diff")) == ["f"]
    assert homes.content_of(folder, "theirs/file") == "kept"
    assert homes.flaws(driver.home) == []


def test_a_removal_killed_half_way_is_finished_by_the_next_driver(driver):
    link = homes.content_of(driver.home, "image", "link")
    for moment in ("_drop_link", "remove_tree", "_unlink_files"):
        if not driver.exists("image"):
            driver.create("image", "base", diff=trees.stream({"f": b"1"}))
            link = homes.content_of(driver.home, "image", "link")
        steps.kill_in(moment, lambda: driver.remove("image"))
        assert not driver.exists("image")
        assert len(os.listdir(driver.home + "/.staging")) == 1
        Driver(driver.home)
        assert homes.flaws(driver.home) == []
        assert not os.path.lexists(os.path.join(driver.home, "l", link))


def test_an_id_can_be_used_again_while_its_old_layer_is_still_being_deleted(driver, spawn):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from support import steps; from overlay2 import Driver\n"
        "d = Driver(sys.argv[1])\n"
        "def wait(): print('hidden', flush=True); sys.stdin.readline()\n"
        "with steps.Once('remove_tree', wait): d.remove('image')\n"
    )
    tests = os.path.dirname(os.path.dirname(os.path.abspath(homes.__file__)))
    command = [sys.executable, "-c", code, driver.home, tests]
    process = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "hidden\n"
    driver.create("other", "base")  # the home is not locked
    Driver(driver.home)  # and what is being deleted is not swept
    assert len(os.listdir(driver.home + "/.staging")) == 1
    assert not driver.exists("image")
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(30) == 0
    driver.create("image", "base")
    assert homes.flaws(driver.home) == []
