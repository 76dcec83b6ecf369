# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The inspector on a home in another format than the graph drivers': it knows homes by the reading interface alone."""

from __future__ import annotations

import os

import pytest
from overlay2 import Driver
from overlay2_tui.model import files, report
from overlay2_tui.model.rows import arrange
from overlay2_tui.model.source import HomeSource
from overlay2_tui.model.watch import Watch
from support.snapshotter import Snapshots


@pytest.fixture
def source(home):
    """The source of such a home with a chain of three."""
    reader = Snapshots(home, {})
    reader.add("1", "", {"etc/": None, "etc/motd": b"welcome", "bin": b"x" * 100})
    reader.add("2", "1", {"etc/": None, "etc/motd": b"hello"})
    reader.add("10", "2", {"new": b""})
    source = HomeSource(home)
    source.driver = Driver(home, read_only=True, probe=False)
    source.driver.opened = source.driver.opened._replace(store=reader)
    return source


def test_layers_and_their_chains(source):
    found = source.read()
    assert found.failure is None
    assert found.problems == []
    assert {id: (facts.layer.parent, facts.layer.depth) for id, facts in found.layers.items()} == {
        "1": ("", 0), "2": ("1", 1), "10": ("2", 2),
    }  # fmt: skip
    assert [row.id for row in arrange(found)] == ["1", "2", "10"]
    assert {layer["id"]: layer["upper_dir"] for layer in report.as_data(found)["layers"]} == {
        id: os.path.join(source.home, id, "fs") for id in ("1", "2", "10")
    }
    assert found.mounts == ()


def test_a_layer_that_comes_later_is_read_with_its_parent(source):
    assert not source.read().layers["10"].layer.committed
    source.driver.opened.store.add("11", "10", {})
    found = source.read_layers({"11"})
    assert found.layers["11"].layer.depth == 3
    assert found.layers["10"].layer.committed


def test_files(source):
    source.read()
    shown = files.list_folder(source.driver, "10", "/etc", True)
    assert [(entry.name, entry.owner) for entry in shown.entries] == [("motd", "2")]
    facts = files.look_at(source.driver, "10", shown.entries[0])
    assert facts.lines == ("hello",)
    assert [(version.owner, version.shows) for version in facts.versions] == [("2", True), ("1", False)]
    assert files.waste_of(source.driver, "10").hidden == len("welcome")


def test_changes_are_noticed(source):
    source.read()
    store = source.driver.opened.store
    watch = Watch(source.driver.watched_directories(), lambda name: store.layer_at(name) is not None)
    try:
        watch.arm(["1"])
        store.add("11", "10", {})
        assert watch.wait(10).layers == {"11"}
    finally:
        watch.close()
