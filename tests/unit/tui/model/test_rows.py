# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The order of layers, and what a filter finds."""

from __future__ import annotations

from overlay2_tui.model.rows import arrange, find
from support import scripted


def test_runs_stay_in_their_column_and_branches_indent():
    rows = [(row.guide, row.id) for row in arrange(scripted.snapshot())]
    assert rows == [
        ("", "debian-12"), ("├─ ", "shop-4.2"), ("│  ├─ ", "shop-4.3"), ("│  │  ↳ ", "shop-run"), ("│  └─ ", "shop-test"),
        ("├─ ", "torn"), ("└─ ", "web"),
    ]  # fmt: skip


def test_orders_folds_and_filters():
    snapshot = scripted.snapshot()
    assert [row.id for row in arrange(snapshot, "size")][:2] == ["shop-run", "debian-12"]
    assert arrange(snapshot, "depth")[0].id == "shop-run"
    assert arrange(snapshot, "age")[-1].id == "debian-12"
    assert [row.id for row in arrange(snapshot, folded={"debian-12"})] == ["debian-12"]
    assert find(snapshot, "shop rw") == {"shop-run", "shop-test"}
    assert find(snapshot, "backup") == {"shop-run"}
    assert find(snapshot, "mounted") == {"shop-run", "web"}
    assert find(snapshot, "broken") == {"torn"}
    assert find(snapshot, "nothing") == set()
    assert find(snapshot, "404040") == {"debian-12"}  # its diff ID
    assert find(snapshot, "40") == set()


def test_unowned_first():
    snapshot = scripted.snapshot()
    assert [row.id for row in arrange(snapshot, "owner")][:2] == ["shop-test", "torn"]
    assert find(snapshot, "unowned") == {"shop-test"}
    assert find(snapshot, "registry") == {"debian-12"}


def test_a_loop_of_parents_ends():
    layers = {"a": scripted.layer("a", ["b"]), "b": scripted.layer("b", ["a"])}
    assert [row.id for row in arrange(scripted.snapshot(layers=layers))] == ["a", "b"]
