# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What a Snapshot concludes from its parts."""

from __future__ import annotations

from overlay2.health import Finding
from support import scripted


def test_the_check_has_the_word_on_layers_that_it_found_wrong():
    finding = Finding("link-empty", "torn", "/x/torn/link", "its link file is empty", "Write the name into it")
    note = Finding("digest-unverifiable", "web", "/x/web", "no tar-split record", "")
    snapshot = scripted.snapshot(health=(finding, note))
    assert [(one.layer, one.remedy) for one in snapshot.problems] == [("torn", "Write the name into it")]
    layers = {**snapshot.layers, "new": scripted.layer("new", problems=("its link file is missing",))}
    assert [one.layer for one in scripted.snapshot(health=(finding,), layers=layers).problems] == ["torn", "new"]
