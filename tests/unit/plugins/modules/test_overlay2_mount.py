# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What overlay2_mount decides, for every pair of wanted and actual."""

from __future__ import annotations

import pytest
from ansible_collections.strata.overlay2.plugins.modules.overlay2_mount import (
    Mount,
    plan_mounted,
    plan_unmounted,
    state_of,
)

NOBODY = Mount(False, {}, False)
ANSIBLE = Mount(False, {"ansible": 1}, True)
BOTH = Mount(False, {"ansible": 1, "web": 1}, True)
LEFT_OVER = Mount(False, {}, True)
VANISHED = Mount(False, {"ansible": 1}, False)
BASE = Mount(True, {}, False)
HELD_BASE = Mount(True, {"ansible": 1}, False)


@pytest.mark.parametrize(
    ("actual", "holder", "planned"),
    [
        (NOBODY, "ansible", ANSIBLE),
        (ANSIBLE, "ansible", ANSIBLE),
        (ANSIBLE, "web", BOTH),
        (LEFT_OVER, "ansible", ANSIBLE),
        (VANISHED, "ansible", ANSIBLE),
        (Mount(False, {"": 3}, True), "web", Mount(False, {"": 3, "web": 1}, True)),
        (BASE, "ansible", HELD_BASE),
        (HELD_BASE, "ansible", HELD_BASE),
    ],
)
def test_mounted(actual, holder, planned):
    assert plan_mounted(actual, holder) == planned
    assert plan_mounted(planned, holder) == planned, "a second run changes nothing"


@pytest.mark.parametrize(
    ("actual", "holder", "all_holders", "planned"),
    [
        (NOBODY, "ansible", False, NOBODY),
        (NOBODY, "ansible", True, NOBODY),
        (ANSIBLE, "ansible", False, NOBODY),
        (ANSIBLE, "web", False, ANSIBLE),
        (BOTH, "web", False, ANSIBLE),
        (BOTH, "web", True, NOBODY),
        (BOTH, "backup", True, NOBODY),
        (LEFT_OVER, "ansible", False, NOBODY),
        (VANISHED, "ansible", False, NOBODY),
        (Mount(False, {"": 2, "web": 1}, True), "web", False, Mount(False, {"": 2}, True)),
        (HELD_BASE, "ansible", False, BASE),
        (HELD_BASE, "ansible", True, BASE),
        (BASE, "ansible", False, BASE),
    ],
)
def test_unmounted(actual, holder, all_holders, planned):
    assert plan_unmounted(actual, holder, all_holders) == planned
    assert plan_unmounted(planned, holder, all_holders) == planned, "a second run changes nothing"


def test_a_plan_leaves_what_it_was_made_of_alone():
    plan_mounted(NOBODY, "web")
    plan_unmounted(BOTH, "web", False)
    assert NOBODY.holders == {}
    assert BOTH.holders == {"ansible": 1, "web": 1}


def test_the_diff_has_a_stable_order():
    assert list(state_of(Mount(False, {"web": 1, "ansible": 1}, True))["holders"]) == ["ansible", "web"]
