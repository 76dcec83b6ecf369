# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What overlay2_prune and overlay2_repair make of a plan."""

from __future__ import annotations

import json

import pytest
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import prune, repair
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.health.path_state import (
    NOTHING,
    DirectoryState,
    FileState,
    LinkState,
)
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.owners import Evidence
from ansible_collections.strata.overlay2.plugins.modules.overlay2_prune import candidate_record, limited
from ansible_collections.strata.overlay2.plugins.modules.overlay2_repair import difference, repair_record

CANDIDATES = tuple(
    prune.Candidate(name, f"/home/{name}", size, "nobody needs it", (Evidence("/records", "field"),))
    for name, size in (("one", 10), ("two", None), ("not\udcffutf-8", 5))
)
PLAN = prune.Plan(CANDIDATES, (), "dockerd")


def test_a_task_may_name_layers():
    assert limited(PLAN, None) is PLAN
    assert [candidate.layer for candidate in limited(PLAN, ["two", "three"]).candidates] == ["two"]
    assert limited(PLAN, []).candidates == ()


def test_sizes_add_up_where_one_could_not_be_counted():
    assert PLAN.size == 15


def test_records_are_json():
    for candidate in CANDIDATES:
        json.dumps(candidate_record(candidate)).encode("utf-8")
    assert candidate_record(CANDIDATES[0])["evidence"] == ["/records: field"]


@pytest.mark.parametrize(
    ("before", "after", "action", "lines"),
    [
        (NOTHING, LinkState("../web/diff"), "make", ("", "link -> ../web/diff\n")),
        (FileState(b""), FileState(b"X"), "change", ("file 0644: \n", "file 0644: X\n")),
        (LinkState("../x/diff"), NOTHING, "remove", ("link -> ../x/diff\n", "")),
        (DirectoryState(0o777, 0, 5), DirectoryState(0o700, 1, 5, is_empty=False), "change",
         ("folder 0777 0:5, empty\n", "folder 0700 1:5\n")),
    ],
)  # fmt: skip
def test_a_step_is_a_difference_of_lines(before, after, action, lines):
    step = repair.Repair("code", "web", "/home/l/\udcff", before, after)
    told = difference(step)
    assert (told["before"], told["after"]) == lines
    assert repair_record(step)["action"] == action
    json.dumps(told).encode("utf-8")
    json.dumps(repair_record(step)).encode("utf-8")
