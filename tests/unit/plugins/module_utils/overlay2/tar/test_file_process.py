# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Unpacking with a second process: the resulting tree is the same, whatever the archive contains."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import subprocess
import threading
import time
from random import Random

import pytest
from corpus.forge import archive, file, folder, hardlink, header, symlink
from corpus.place import Place, facts
from overlay2.errors import ArchiveError, Overlay2Error
from overlay2.tar import file_process, headers
from overlay2.tar.unpack import Unpacked
from overlay2.tar.whiteouts import Whiteouts

FOLDERS = 30
SMALL = [file(b"d%d/f%d" % (number, other), b"%d" % other * 300, mode=0o640, mtime=number)
         for number in range(FOLDERS) for other in range(60)]  # fmt: skip
TREE = archive(*[folder(b"d%d" % number, mtime=7) for number in range(FOLDERS)], *SMALL)


def both(place, data, monkeypatch, way=Whiteouts.OVERLAY):
    """Unpack with one process and with two, and compare; returns the error as text, or the result."""
    unpacking = importlib.import_module("overlay2.tar.unpack")
    outcomes = []
    for after in (0, 1):
        monkeypatch.setattr(unpacking, "SECOND_PROCESS_AFTER", after)
        target = place.fresh("target-%d" % after)
        try:
            outcome = place.unpack(data, way, target)
        except Overlay2Error as error:
            outcome = (type(error), str(error))
            outcomes.append((outcome, None))  # what is there by then is thrown away
        else:
            outcomes.append((outcome, told(target)))
    assert outcomes[0] == outcomes[1]
    return outcome


def told(folder):
    """Facts that come from the archive: a directory that it does not list has the time of its creation."""
    return {
        name: tuple(None if index == 4 and value > 10**12 else value for index, value in enumerate(values))
        for name, values in facts(folder).items()
    }


@pytest.fixture(autouse=True)
def two_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})


@pytest.fixture
def done(monkeypatch):
    """Counts of the files that were handed over, and of those that were returned."""
    counted = {"handed": 0, "back": 0}
    offer, drain = file_process.FileProcess.hand_over, file_process.FileProcess._drain

    def counting(self, *arguments):
        handed = offer(self, *arguments)
        counted["handed"] += handed
        return handed

    def coming_back(self):
        counted["back"] += len(self._returned)
        drain(self)

    monkeypatch.setattr(file_process.FileProcess, "hand_over", counting)
    monkeypatch.setattr(file_process.FileProcess, "_drain", coming_back)
    return counted


def test_a_tree_of_small_files(place, monkeypatch, done):
    result = both(place, TREE, monkeypatch)
    assert result.tree_size == sum(len(b"%d" % other) * 300 for other in range(60)) * FOLDERS
    assert done["handed"] > len(SMALL) // 4
    assert done["back"] == 0


@pytest.mark.parametrize("program", ["gzip", "zstd"])
def test_a_compressed_tree(place, monkeypatch, done, program):
    """Neither a thread nor a program that decompresses prevents the fork, or waits for the second process to end."""
    tree = archive(*[file(b"f%d" % number, os.urandom(1000)) for number in range(3000)])
    data = subprocess.run([program, "-c"], input=tree, stdout=subprocess.PIPE, check=True).stdout
    both(place, data, monkeypatch)
    assert done["handed"] > 500


def test_memory_is_reused_while_files_are_pending(place, monkeypatch, done):
    """Random bytes, eight times as many as fit into the shared memory."""
    random = Random(5)
    sizes = [0, 3, 900, 70000]
    members = [folder(b"a"), folder(b"b")]
    members += [file(b"%s/%d" % (random.choice([b"a", b"b"]), number), os.urandom(random.choice(sizes)))
                for number in range(900)]  # fmt: skip
    both(place, archive(*members), monkeypatch)
    assert done["handed"] > 100
    assert done["back"] == 0


@pytest.mark.parametrize("way", list(Whiteouts), ids=lambda way: way.value)
def test_any_order_of_anything(real_tmp, monkeypatch, done, way):
    """Names that replace, hide and link to each other, in archives whose every entry may depend on the last one."""
    monkeypatch.setattr(file_process, "_ENOUGH", 1000)
    unpacked = 0
    for seed in range(100):
        random = Random(seed)
        monkeypatch.setattr(file_process, "_BATCH", random.choice([1, 2, 7]))
        data = archive(*[_anything(random) for _entry in range(random.choice([6, 20]))])
        base = real_tmp / str(seed)
        base.mkdir()
        unpacked += isinstance(both(Place(base), data, monkeypatch, way), Unpacked)
    assert unpacked > 30
    assert done["back"] > 50


def _anything(random):
    """A random entry. Directories mostly have other names than files, or most archives would be refused."""
    folders, files = [b"p", b"q"], [b"a", b"b", b"c"]
    above = b"".join(random.choice(folders) + b"/" for _level in range(random.choice([0, 1, 1, 2])))
    kinds = ["file", "folder", "symlink", "hardlink", "whiteout", "opaque", "fifo"]
    kind = random.choices(kinds, [12, 4, 1, 1, 1, 1, 1])[0]
    names = folders if kind in ("folder", "symlink") else files
    base = random.choice(names if random.random() < 0.95 else folders + files)
    if kind == "file":
        mode = random.choice([0o600, 0o4755])
        return file(above + base, os.urandom(random.randint(0, 2000)), mode=mode, mtime=random.randint(1, 99))
    if kind == "folder":
        return folder(above + base, random.choice([0o700, 0o755, 0o2775]), mtime=random.randint(1, 99))
    if kind == "symlink":
        return symlink(above + base, random.choice(folders))
    if kind == "hardlink":
        return hardlink(above + base, above + random.choice(files))
    if kind == "fifo":
        return header(above + base, headers.FIFO)
    return file(above + (b".wh." + base if kind == "whiteout" else b".wh..wh..opq"))


def test_a_path_through_a_link_waits_for_the_files_behind_it(place, monkeypatch):
    """The second process is slow, and yet each of its files is replaced by the pipe that comes later."""
    do = file_process._done

    def slowly(*arguments):
        time.sleep(0.005)
        return do(*arguments)

    monkeypatch.setattr(file_process, "_done", slowly)
    monkeypatch.setattr(file_process, "_BATCH", 1)
    pairs = [member for number in range(9)
             for member in (file(b"q/%d" % number), header(b"p/%d" % number, headers.FIFO))]  # fmt: skip
    both(place, archive(folder(b"q"), symlink(b"p", b"q"), *pairs), monkeypatch)


def test_existing_files_are_returned(place, monkeypatch, done):
    """The second file of each pair can only be made by this process, after the first one."""
    monkeypatch.setattr(file_process, "_ENOUGH", 10**6)
    again = [file(b"d%d/f%d" % (number, other), b"again") for number in range(FOLDERS) for other in range(0, 60, 9)]
    both(place, TREE[:-1024] + archive(*again), monkeypatch)
    assert done["back"] > 0


def test_the_first_process_takes_over_if_the_second_is_killed(place, monkeypatch, done):
    """It is killed in the middle of a file, which is then made again."""
    first, write = os.getpid(), file_process.write_all

    def half(descriptor, content):
        if os.getpid() != first and bytes(content[:2]) == b"55":
            os.write(descriptor, content[:100])
            os.kill(os.getpid(), signal.SIGKILL)
        write(descriptor, content)

    monkeypatch.setattr(file_process, "write_all", half)
    unpacking = importlib.import_module("overlay2.tar.unpack")
    monkeypatch.setattr(unpacking, "SECOND_PROCESS_AFTER", 1)
    place.unpack(TREE)
    assert done["back"] > 0
    helped = told(place.target)
    monkeypatch.setattr(unpacking, "SECOND_PROCESS_AFTER", 0)
    place.unpack(TREE, target=place.fresh("alone"))
    assert helped == told(place.base / "alone")


def test_errors_of_the_kernel_are_the_same_with_two_processes(place, monkeypatch):
    """The sixth file is too large for this process's limit, which the second one inherits."""
    data = archive(*[file(b"f%d" % number, bytes(5000 if number == 5 else 10)) for number in range(9)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        outcome = both(place, data, monkeypatch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert outcome[0] is ArchiveError
    assert "f5" in outcome[1]


def test_it_leaves_no_process_or_descriptor(place, monkeypatch):
    monkeypatch.setattr(importlib.import_module("overlay2.tar.unpack"), "SECOND_PROCESS_AFTER", 1)
    descriptors = os.listdir("/proc/self/fd")
    place.unpack(TREE)
    with pytest.raises(Overlay2Error):
        place.unpack(TREE[:-5000], target=place.fresh("cut"))
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_process_with_threads_is_not_forked(place, monkeypatch, done):
    monkeypatch.setattr(importlib.import_module("overlay2.tar.unpack"), "SECOND_PROCESS_AFTER", 1)
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        place.unpack(TREE)
    finally:
        end.set()
        thread.join()
    assert done["handed"] == 0


def test_a_process_that_can_not_fork_goes_on_alone(place, monkeypatch, done):
    def refused():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(importlib.import_module("overlay2.tar.unpack"), "SECOND_PROCESS_AFTER", 1)
    monkeypatch.setattr(os, "fork", refused)
    descriptors = os.listdir("/proc/self/fd")
    place.unpack(TREE)
    assert done["handed"] == 0
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)
