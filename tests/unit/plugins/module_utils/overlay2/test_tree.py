# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Whole trees: walked, measured and removed, however deep they are and whatever lies in them."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import threading

import pytest
from overlay2.linux import beneath
from overlay2.tree import remove_tree, tree_size, tree_usage, unmount_below, walk
from support import host, steps, trees

DEEP = 3000


@contextlib.contextmanager
def few_descriptors():
    """Hardly more open files than there are already."""
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 8, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def make_deep(root, depth=DEEP, name="d", content=b"x"):
    """A chain of folders, each with a file; far longer than a path may be."""
    folder = os.open(root, os.O_RDONLY)
    for _unused in range(depth):
        os.mkdir(name, dir_fd=folder)
        below = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
        file = os.open("f", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=folder)
        os.write(file, content)
        os.close(file)
    os.close(folder)


# --- removing ---------------------------------------------------------------------------------------------------------


def test_a_tree_of_3000_folders_in_one_another_is_measured_and_removed_with_few_descriptors(real_tmp):
    root = str(real_tmp / "root")
    os.mkdir(root)
    make_deep(root)
    with few_descriptors():
        assert tree_size(root) == DEEP
        remove_tree(root)
    assert os.listdir(real_tmp) == []


def test_everything_that_can_lie_in_a_folder_is_removed_and_nothing_it_points_to(real_tmp):
    root = str(real_tmp / "root")
    trees.write_tree(str(real_tmp), {"kept/file": b"1"})
    odd = {"a\nb": b"", "\udcff": b"", "x" * 255: b"", "-rf": b"", "to": "../kept", "loop": "loop", "e/m/p/t/y": None}
    trees.write_tree(root, odd)
    os.mkfifo(root + "/pipe")
    os.link(str(real_tmp / "kept" / "file"), root + "/hard")
    os.mknod(root + "/socket", 0o140600)
    if host.is_real_root():
        os.mknod(root + "/null", 0o20666, os.makedev(1, 3))
    os.mknod(root + "/whiteout", 0o20000, 0)
    os.mkdir(root + "/locked", 0o000)
    trees.write_tree(root, {"closed/file": b""})
    os.chmod(root + "/closed", 0o000)
    remove_tree(root)
    assert os.listdir(real_tmp) == ["kept"]
    assert os.listdir(real_tmp / "kept") == ["file"]


def test_removing_what_is_missing_is_fine(real_tmp):
    remove_tree(str(real_tmp / "gone"))
    remove_tree(str(real_tmp / "no" / "such"))


def test_a_symbolic_link_is_not_followed(real_tmp):
    trees.write_tree(str(real_tmp), {"kept/file": b"", "link": "kept"})
    with pytest.raises(OSError):
        remove_tree(str(real_tmp / "link"))
    assert os.listdir(real_tmp / "kept") == ["file"]


def test_a_file_is_no_tree(real_tmp):
    (real_tmp / "file").write_text("kept")
    with pytest.raises(NotADirectoryError):
        remove_tree(str(real_tmp / "file"))
    assert (real_tmp / "file").read_text() == "kept"


@pytest.fixture(params=["openat2", "mount table"])
def told_by(request, monkeypatch):
    """Both ways of finding mounts on the way: openat2(2) that goes into none, and the table on a kernel without it."""
    if request.param == "openat2" and not beneath.has_openat2():
        pytest.skip("this kernel has no openat2")
    monkeypatch.setattr(beneath, "has_openat2", lambda: request.param == "openat2")
    return request.param


def test_what_is_mounted_inside_is_detached_and_kept(real_tmp, told_by):
    """Also where one mount hides another: detaching by path reaches the second only once the first is gone."""
    trees.write_tree(str(real_tmp), {"kept/file": b"", "kept/sub/file": b""})
    trees.write_tree(str(real_tmp), {"root/a/b": None, "root/c": None, "root/f": b""})
    mounts = (("kept", "root/a/b"), ("kept", "root/a/b/sub"), ("kept", "root/c"), ("kept", "root/c"), ("kept", "root"))
    for source, target in mounts:
        subprocess.run(["mount", "--bind", source, target], check=True, cwd=real_tmp)
    subprocess.run(["mount", "--bind", "kept/file", "kept/sub/file"], check=True, cwd=real_tmp)
    remove_tree(str(real_tmp / "root"))
    assert trees.paths_below(str(real_tmp)) == ["kept", "kept/file", "kept/sub", "kept/sub/file"]
    assert len(host.mounts_below(real_tmp)) == 1


def test_two_that_remove_the_same_tree_help_each_other(real_tmp):
    failures = []

    def remove(path):
        try:
            remove_tree(path)
        except BaseException as error:
            failures.append(error)

    for attempt in range(15):
        root = str(real_tmp / str(attempt))
        trees.write_tree(root, {"d%d/e/f%d" % (number % 9, number): b"" for number in range(150)})
        threads = [threading.Thread(target=remove, args=(root,)) for _unused in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert not os.path.exists(root)


def test_what_is_added_meanwhile_is_removed_too(real_tmp):
    root = str(real_tmp / "root")
    trees.write_tree(root, {"a/b/f": b"", "c/f": b""})
    with steps.Once("_remove_folder", lambda: trees.write_tree(root, {"a/late": b"", "c/d/late": b""})) as moment:
        remove_tree(root)
    assert moment.happened
    assert os.listdir(real_tmp) == []


def test_a_folder_that_is_moved_out_meanwhile_is_not_followed(real_tmp):
    """The way back up is checked: it must not lead to where somebody moved the folder."""
    trees.write_tree(str(real_tmp), {"root/a/b/c/f": b"", "root/a/z": b"", "kept/a": b"", "kept/z": b""})

    def move():
        os.rename(real_tmp / "root" / "a" / "b" / "c", real_tmp / "kept" / "c")

    with steps.Once("_remove_folder", lambda: None):
        entered = []

        def enter(descriptor):
            names = os.listdir(descriptor)
            entered.append(sorted(names))
            if "f" in names:
                move()
            return [name for name in names if os.path.isdir(f"/proc/self/fd/{descriptor}/{name}")]

        root = os.open(real_tmp / "root", os.O_RDONLY)
        with pytest.raises(OSError) as refused:
            walk(root, enter, lambda parent, name: os.rmdir(name, dir_fd=parent))
        os.close(root)
    assert refused.value.errno == errno.ESTALE
    assert os.listdir(real_tmp / "kept" / "c") == ["f"]


@pytest.mark.root
@pytest.mark.parametrize("where", ["file", "folder"])
def test_what_can_t_be_removed_is_named_with_its_whole_path(real_tmp, where):
    root = str(real_tmp / "root")
    trees.write_tree(root, {"a/b/f": b"", "z/f": b""})
    path = root + ("/a/b/f" if where == "file" else "/a/b")
    flag = "+i" if where == "file" else "+a"
    if subprocess.run(["chattr", flag, path], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        with pytest.raises(OSError) as refused:
            remove_tree(root)
        assert refused.value.errno == errno.EPERM
        assert refused.value.filename == root + "/a/b/f"
    finally:
        subprocess.run(["chattr", "-R", "-i", "-a", root], check=False)


def test_unmounting_below_spares_the_folder_itself_on_request(real_tmp):
    trees.write_tree(str(real_tmp), {"top/a": None, "topmost": None})
    for target in ("top", "topmost"):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", real_tmp / target], check=True)
    os.makedirs(real_tmp / "top" / "a b" / "c")
    for target in ("top/a b", "top/a b"):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", real_tmp / target], check=True)
    top = str(real_tmp / "top")
    assert set(unmount_below(top, itself=False)) == {top + "/a b"}
    assert host.mounts_below(top) == [top]
    assert unmount_below(top) == [top]
    assert unmount_below(top) == []
    assert host.mounts_below(real_tmp) == [str(real_tmp / "topmost")]


def test_a_mounted_file_and_a_mounted_root_are_detached_and_kept(real_tmp, told_by):
    trees.write_tree(str(real_tmp), {"kept/file": b"", "root/a/f": b"", "root/g": b""})
    for source, target in (("kept/file", "root/a/f"), ("kept", "root")):
        subprocess.run(["mount", "--bind", source, target], check=True, cwd=real_tmp)
    before = os.getcwd()
    os.chdir(real_tmp)
    try:
        remove_tree("root")
    finally:
        os.chdir(before)
    assert trees.paths_below(str(real_tmp)) == ["kept", "kept/file"]


def test_a_mount_hidden_by_one_further_up_is_out_of_reach(real_tmp, told_by):
    trees.write_tree(str(real_tmp), {"up/folder/a": None, "cover/folder/a/f": b""})
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", real_tmp / "up" / "folder" / "a"], check=True)
    subprocess.run(["mount", "--bind", real_tmp / "cover", real_tmp / "up"], check=True)
    assert unmount_below(str(real_tmp / "up" / "folder")) == []
    remove_tree(str(real_tmp / "up" / "folder"))
    assert os.listdir(real_tmp / "cover") == []
    assert unmount_below(str(real_tmp / "up")) == [str(real_tmp / "up"), str(real_tmp / "up" / "folder" / "a")]


# --- measuring --------------------------------------------------------------------------------------------------------


def test_size_is_that_of_files_once_each_and_of_link_targets(real_tmp):
    trees.write_tree(str(real_tmp), {"a": b"1" * 1000, "d/b": b"2" * 30, "d/e/f/c": b"", "to": "x" * 7, "d/to": "123"})
    os.link(real_tmp / "a", real_tmp / "d" / "hard")
    os.link(real_tmp / "a", real_tmp / "hard2")
    os.symlink("four", real_tmp / "soft")
    os.link(real_tmp / "soft", real_tmp / "soft2", follow_symlinks=False)
    with open(real_tmp / "sparse", "wb") as sparse:
        sparse.truncate(5_000_000_000)
    os.mkfifo(real_tmp / "pipe")
    assert tree_size(str(real_tmp)) == 1000 + 30 + 7 + 3 + 4 + 5_000_000_000


def test_size_of_nothing(real_tmp):
    assert tree_size(str(real_tmp)) == 0
    with pytest.raises(FileNotFoundError):
        tree_size(str(real_tmp / "gone"))


def test_size_passes_over_what_vanishes(real_tmp):
    trees.write_tree(str(real_tmp), {"a/%d/f" % number: b"1" for number in range(50)})
    with steps.Once("_identity", lambda: shutil.rmtree(real_tmp / "a" / "7")):
        assert tree_size(str(real_tmp)) in (49, 50)


def test_a_walk_visits_each_folder_and_leaves_it_after_what_is_in_it(real_tmp):
    trees.write_tree(str(real_tmp), {"a/b/c": None, "a/d": None, "e": None, "to": "a"})
    left = []

    def enter(descriptor):
        return [entry.name for entry in os.scandir(descriptor) if entry.is_dir(follow_symlinks=False)]

    root = os.open(real_tmp, os.O_RDONLY)
    walk(root, enter, lambda _parent, name: left.append(name))
    os.close(root)
    assert sorted(left) == ["a", "b", "c", "d", "e"]
    assert left.index("c") < left.index("b") < left.index("a")


def test_usage_on_disk_is_what_du_says(real_tmp):
    with open(real_tmp / "sparse", "wb") as sparse:
        sparse.truncate(1 << 30)
    (real_tmp / "folder").mkdir()
    (real_tmp / "folder/file").write_bytes(b"x" * 10_000)
    os.link(real_tmp / "folder/file", real_tmp / "name")
    usage = tree_usage(str(real_tmp))
    listed = subprocess.run(["du", "-sxB1", str(real_tmp)], capture_output=True, text=True, check=True)
    assert usage == ((1 << 30) + 10_000, int(listed.stdout.split()[0]))
