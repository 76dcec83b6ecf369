# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What overlay2_info returns of a home that does not exist."""

from __future__ import annotations

import os

from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import Driver
from support import modules

GATHER = ["status", "layers", "mounts", "quota", "owners", "health"]


def outline(value):
    """The keys of nested dicts."""
    return {key: outline(part) for key, part in value.items()} if isinstance(value, dict) else None


def test_a_missing_home_has_the_keys_of_an_empty_one(home):
    Driver(home)
    missing = os.path.join(home, "missing")
    results = [modules.run("overlay2_info", home=path, gather=GATHER) for path in (home, missing)]
    assert [result["exists"] for result in results] == [True, False]
    there, absent = ({key: result[key] for key in GATHER} for result in results)
    assert outline(absent) == outline(there)
    assert list(absent["status"]) == list(dict(Driver(home).status()))
    assert absent["owners"]["layers"] == []
    assert set(absent["status"].values()) == {""}
    assert not os.path.lexists(missing)
