# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Status and features in sentences."""

from __future__ import annotations

import pytest
from overlay2 import Driver
from overlay2_tui.model.meaning import features_of, meaning


def test_every_label_of_the_driver_has_a_meaning(home):
    for label, value, text in features_of(Driver(home).status()):
        assert text, (label, value)


@pytest.mark.parametrize(
    ("label", "value", "text"),
    [
        ("Backing Filesystem", "zfs", "the file system that holds the layers"),
        ("Project Quota", "unknown", "only root can find out"),
        ("Brand New", "x", ""),
    ],
)
def test_values_that_are_not_known(label, value, text):
    assert meaning(label, value) == text


def test_reasons_are_added_unless_the_value_is_unknown():
    reasons = {"Project Quota": "this is ext4"}
    assert features_of([("Project Quota", "false")], reasons)[0][2].endswith("(this is ext4)")
    assert "ext4" not in features_of([("Project Quota", "unknown")], reasons)[0][2]
