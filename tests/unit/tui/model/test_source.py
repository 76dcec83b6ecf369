# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A home on this host, read: everything that is in it, damage, left-overs, missing rights."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest
from overlay2 import Driver
from overlay2.errors import LayerDamaged, LayerNotFound
from overlay2_tui import headless
from overlay2_tui.model import files, report
from overlay2_tui.model.rows import arrange
from overlay2_tui.model.source import HomeSource
from support import host, nobody

NAME = os.fsdecode(b"caf\xe9")


def problems(source):
    """What is wrong, as text."""
    return [f"{remark.layer}: {remark.text}" for remark in source.read().problems]


def test_reads_everything(driver):
    found = headless.gather(driver.home)
    assert list(found.layers) == ["base", "middle", "top"]
    assert dict(found.sizes) == {"base": 1000, "middle": 500, "top": 0}
    for layer, size in found.disk_sizes.items():
        listed = subprocess.run(
            ["du", "-sxB1", found.layers[layer].paths.upper], capture_output=True, text=True, check=True
        )
        assert size == int(listed.stdout.split()[0])
    assert set(found.disk_sizes) == set(found.sizes)
    (mount,) = found.mounts
    assert (mount.id, mount.mounted, dict(mount.holders)) == ("top", True, {"web": 1})
    assert mount.processes == ()
    assert found.problems == []
    assert found.space.total > 0
    assert found.health == ()
    assert found.owners.engine == "overlay2"
    assert found.owner_of("top").text == "web"
    assert found.owner_of("base").text == ""
    assert found.owner_of("base").names == ("web",)


def test_changes_nothing(driver, run_root):
    def facts():
        found = {}
        for root in (driver.home, run_root):
            for folder, _folders, names in os.walk(root):
                for path in [folder, *(os.path.join(folder, name) for name in names)]:
                    info = os.lstat(path)
                    found[path] = (info.st_ino, info.st_mode, info.st_mtime_ns, info.st_ctime_ns)
        return found

    before, mounts = facts(), host.mounts_below(driver.home)
    headless.gather(driver.home)
    assert facts() == before
    assert host.mounts_below(driver.home) == mounts


def test_damage_is_told_in_sentences(driver):
    open(os.path.join(driver.home, "middle/link"), "w").close()
    link = driver.layer("base").link
    os.unlink(os.path.join(driver.home, "l", link))
    os.makedirs(os.path.join(driver.home, "half/diff"))
    text = "\n".join(problems(HomeSource(driver.home)))
    assert "middle: its link file is empty" in text
    assert f"top: its lower chain names l/{link}, which leads nowhere" in text
    assert "half: its link file is missing" in text


@pytest.mark.parametrize("part", ["diff", "link", "lower", "work", "committed"])
def test_a_half_removed_layer(driver, part):
    driver.put_all("top")
    path = os.path.join(driver.home, "middle", part)
    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    found = headless.gather(driver.home)
    assert found.failure is None
    assert any(remark.layer == "middle" and remark.remedy for remark in found.problems), found.problems
    assert "middle: " in report.as_text(found)
    source = HomeSource(driver.home)
    source.read()
    names = [entry.name for entry in files.list_folder(source.driver, "top", "", True).entries]
    assert ("file" in names) or part in ("diff", "lower", "link")
    if part == "diff":
        with pytest.raises(LayerDamaged, match="its diff folder is missing"):
            files.list_folder(source.driver, "middle", "", False)


#: Another process that makes, mounts and removes layers as fast as it can, until its input is closed.
BUSY = """
import select, sys
from overlay2 import Driver
driver = Driver(sys.argv[1], ["overlay2.sync=none"])
number = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    number += 1
    name = "busy-%d" % (number % 3)
    driver.create_read_write(name, "middle")
    driver.get(name, holder="job")
    print(name, flush=True)
    driver.put(name, holder="job")
    driver.remove(name)
"""


def test_a_home_that_changes_while_it_is_read(driver, spawn):
    busy = spawn([sys.executable, "-c", BUSY, driver.home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    source = HomeSource(driver.home)
    source.read()
    for _round in range(60):
        name = busy.stdout.readline().strip()
        found = headless.gather(driver.home)
        assert found.failure is None
        assert {"base", "middle", "top"} <= set(found.layers)
        report.as_text(found)
        with contextlib.suppress(LayerNotFound, LayerDamaged):  # gone, or half gone
            files.list_folder(source.driver, name, "", True)
        source.read_layers({name})
    busy.stdin.close()
    # It may be waiting for somebody to read what it says.
    while busy.stdout.readline():
        pass
    busy.stdout.close()
    assert busy.wait(60) == 0
    assert source.read().failure is None
    assert set(source.snapshot.layers) == {"base", "middle", "top"}
    assert source.snapshot.problems == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.rmdir, "does not exist"),
        (lambda home: None, "is not an overlay2 home: it holds no layers, and the folder l/ is missing"),
        (
            lambda home: os.makedirs(os.path.join(home, "overlay2/l")),
            "is not an overlay2 home, but its folder overlay2/ is",
        ),
        (lambda home: (os.rmdir(home), open(home, "w").close()), "is not a folder"),
    ],
)
def test_what_is_no_home(home, make, words):
    make(home)
    found = headless.gather(home)
    assert words in found.failure.message
    assert found.failure.remedy


@pytest.mark.root
def test_no_permission_says_what_to_run(driver):
    os.chmod(driver.home, 0o700)
    failure = nobody.call(lambda: str(headless.gather(driver.home).failure))
    assert failure == f"This user may not read {driver.home}. Run the program as root: sudo overlay2-tui {driver.home}."


@pytest.mark.root
def test_without_root_what_cannot_be_seen_is_unknown_not_absent(open_to_all):
    found = nobody.call(lambda: report.as_data(headless.gather(open_to_all)))
    (mount,) = found["mounts"]
    assert not found["privileged"]
    assert (mount["mounted"], mount["holders"], mount["ref_count"]) == (True, None, None)
    assert [(one["text"], one["severity"]) for one in mount["remarks"]] == [
        ("Only root may read who holds it.", "note")
    ]
    assert found["status"]["Native Overlay Diff"] == found["status"]["Mount API (lowerdir+)"] == "unknown"
    assert any("missing without root: opaque folders" in remark["text"] for remark in found["remarks"])
    assert headless.gather(open_to_all).privileged


@pytest.mark.root
def test_without_root_what_may_not_be_read_says_so(open_to_all):
    os.chmod(os.path.join(open_to_all, "base/diff"), 0o700)
    sizes, size_errors = nobody.call(lambda: (dict((s := headless.gather(open_to_all)).sizes), dict(s.size_errors)))
    assert "base" not in sizes
    assert "ermission denied" in size_errors["base"]
    assert "middle" in sizes


def test_an_empty_home_is_a_home(home):
    Driver(home)
    found = headless.gather(home)
    assert found.failure is None
    assert len(found.layers) == 0
    assert "none" in report.as_text(found)


def test_names_that_are_no_utf_8(driver):
    driver.create(NAME, "base")
    found = headless.gather(driver.home)
    assert NAME in found.layers
    report.as_text(found).encode("utf-8")
    assert NAME in {layer["id"] for layer in json.loads(report.as_json([found]))["layers"]}


def test_a_chain_of_128(home):
    driver = Driver(home, ["overlay2.sync=none"])
    parent = ""
    for number in range(129):
        driver.create(f"n{number:03}", parent)
        parent = f"n{number:03}"
    found = headless.gather(home)
    rows = arrange(found)
    assert [row.id for row in rows] == sorted(found.layers)
    assert max(len(row.guide) for row in rows) <= 24
    assert found.layers[parent].layer.depth == 128
