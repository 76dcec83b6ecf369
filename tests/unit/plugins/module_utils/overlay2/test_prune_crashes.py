# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Prune and repair, killed before each of their steps: nothing is lost, and the next run finishes the work."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys

import pytest
from corpus import broken
from overlay2 import Driver, health, owners, prune, repair
from support import engines, steps

MAKERS = {"dockerd": engines.dockerd, "containers-storage": engines.containers_storage}


def reading(home):
    return Driver(home, read_only=True, probe=False)


def pruned(home):
    driver = reading(home)
    prune.perform(driver, prune.plan(driver, sizes=False), foreign=True)


def repaired(home):
    driver = reading(home)
    repair.perform(driver, repair.plan(driver))


def everything(root):
    """All below a folder: path to mode, owner and content, but for what is new each time."""
    found = {}
    for at, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(at, name)
            info = os.lstat(path)
            content = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif name in files:
                with open(path, "rb") as source:
                    content = source.read()
            found[os.path.relpath(path, root)] = (info.st_mode, info.st_uid, content)
    return found


class Copies:
    """Copies of a data root, each as it was made."""

    def __init__(self, made, folder):
        self._made = made
        self._folder = folder

    def fresh(self):
        """The home in a new copy; the last one is gone."""
        shutil.rmtree(self._folder, ignore_errors=True)
        subprocess.run(["cp", "-a", self._made.root, self._folder], check=True)
        return os.path.join(self._folder, os.path.basename(self._made.home))


def start_of_dockerd(home):
    """What dockerd does when it starts: it finishes the removal of layers whose records it had set aside."""
    chains = os.path.join(os.path.dirname(home), "image", "overlay2", "layerdb", "sha256")
    for name in os.listdir(chains) if os.path.isdir(chains) else ():
        if name.endswith("-removing"):
            path = os.path.join(chains, name, "cache-id")
            layer = broken.text(path) if os.path.exists(path) else ""
            if layer:
                shutil.rmtree(os.path.join(home, layer), ignore_errors=True)
            shutil.rmtree(os.path.join(chains, name))
    mounts = os.path.join(os.path.dirname(home), "image", "overlay2", "layerdb", "mounts")
    for name in os.listdir(mounts) if os.path.isdir(mounts) else ():
        if not os.listdir(os.path.join(mounts, name)):
            os.rmdir(os.path.join(mounts, name))  # it does not, but passes over an empty one


def killed_at_each_step(copies, act, check):
    """Run *act* on a copy to its end, then kill it before each step; *check* what is left, and that *act* finishes."""
    home = copies.fresh()
    total = steps.count(functools.partial(act, home))
    wanted = everything(os.path.dirname(home))
    for number in range(1, total + 1):
        home = copies.fresh()
        assert steps.kill_before(number, functools.partial(act, home)), number
        check(home, number)
        act(home)
        repaired(home)
        start_of_dockerd(home)
        assert everything(os.path.dirname(home)) == wanted, number
    return total


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_a_kill_before_any_step_of_a_prune(kind, real_tmp):
    made = MAKERS[kind](str(real_tmp / "made"))
    copies = Copies(made, str(real_tmp / "copy"))
    owned = [id for id, kind_of in made.truth.items() if kind_of != "unowned"]
    whole = {id: everything(os.path.join(made.home, id)) for id in owned}

    def check(home, number):
        report = owners.resolve(reading(home))
        assert {id: report.layers[id].kind for id in owned} == {id: made.truth[id] for id in owned}, number
        assert report.problems == (), number
        assert {id: everything(os.path.join(home, id)) for id in owned} == whole, number
        errors = [str(each) for each in health.check(reading(home), ownership=report) if each.severity == "error"]
        assert [each for each in errors if any(id in each for id in owned)] == [], number

    assert killed_at_each_step(copies, pruned, check) > 20


@pytest.mark.slow
def test_a_kill_before_any_step_of_a_repair(real_tmp):
    made = engines.dockerd(str(real_tmp / "made"))
    for damage in (
        broken.link_emptied,
        broken.lower_zeroed,
        broken.short_links_all_removed,
        broken.work_removed,
        broken.merged_left,
        broken.layer_open,
        broken.home_open,
        broken.temporary_left,
    ):
        damage(made)
    copies = Copies(made, str(real_tmp / "copy"))
    diffs = {id: everything(os.path.join(made.home, id, "diff")) for id in made.truth}

    def check(home, number):
        assert {id: everything(os.path.join(home, id, "diff")) for id in made.truth} == diffs, number

    assert killed_at_each_step(copies, repaired, check) > 20


def test_a_kill_leaves_no_step_undone(real_tmp):
    """The links were all lost with the folder: made again one by one."""
    made = engines.dockerd(str(real_tmp / "made"))
    broken.link_dir_removed(made)
    copies = Copies(made, str(real_tmp / "copy"))
    assert killed_at_each_step(copies, repaired, lambda _home, _number: None) > 10


# --- what the disk has ------------------------------------------------------------------------------------------------

_CHANGE = re.compile(r"^\d+\s+(unlink|unlinkat|rmdir|renameat|renameat2|rename|symlink|symlinkat|mkdir)\((.*)\)\s+= 0$")
_SYNC = re.compile(r"^\d+\s+fsync\(\d+<(.*)>\)\s+= 0$")
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is missing")


def unsynced(root, code, home, spawn):
    """Run *code* on a home; the folders below *root* in which a name changed after their last fsync."""
    log = os.path.join(root, "strace.log")
    traced = "trace=fsync,unlink,unlinkat,rmdir,rename,renameat,renameat2,symlink,symlinkat,mkdir"
    command = ["strace", "-f", "-y", "-s", "500", "-o", log, "-e", traced, "--", sys.executable, "-c", code, home]
    process = spawn(command, stderr=subprocess.PIPE, text=True)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    dirty = set()
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            change, sync = _CHANGE.match(line), _SYNC.match(line)
            if sync:
                dirty.discard(sync[1])
            elif change:
                dirty |= {os.path.dirname(path) for path in _paths(change[2])}
    os.unlink(log)
    return {folder for folder in dirty if folder.startswith(root + "/") and os.path.isdir(folder)}


def _paths(arguments):
    """Absolute paths that a call names: whole, or below the folder of the descriptor before them."""
    for folder, name in re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"', arguments):
        yield os.path.normpath(os.path.join(folder or "/", name))


@needs_strace
@pytest.mark.parametrize("kind", MAKERS)
def test_a_prune_is_on_disk_when_it_returns(kind, real_tmp, spawn):
    made = MAKERS[kind](str(real_tmp / "made"))
    code = "import sys; from overlay2 import Driver, prune; d = Driver(sys.argv[1], read_only=True, probe=False)\n"
    code += "assert prune.perform(d, prune.plan(d), foreign=True)"
    assert unsynced(str(real_tmp), code, made.home, spawn) == set()


@needs_strace
def test_a_repair_is_on_disk_when_it_returns(real_tmp, spawn):
    made = engines.dockerd(str(real_tmp / "made"))
    for damage in (broken.link_emptied, broken.short_links_all_removed, broken.merged_left, broken.work_removed):
        damage(made)
    code = "import sys; from overlay2 import Driver, repair; d = Driver(sys.argv[1], read_only=True, probe=False)\n"
    code += "assert len(repair.perform(d, repair.plan(d))) > 10"
    assert unsynced(str(real_tmp), code, made.home, spawn) == set()
