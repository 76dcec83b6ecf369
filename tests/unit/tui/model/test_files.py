# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Listings of layers, and single files."""

from __future__ import annotations

import pytest
from overlay2_tui.model import files
from overlay2_tui.model.source import HomeSource
from support import nobody


@pytest.mark.root
def test_without_root_a_listing_says_that_opaque_folders_are_missed(open_to_all):
    def listing():
        source = HomeSource(open_to_all)
        source.read()
        found = files.list_folder(source.driver, "cut", "", False)
        return found.entries[0].opaque, found.problems

    assert listing() == (True, ())
    opaque, problems = nobody.call(listing)
    assert not opaque
    assert "Without root, opaque folders can't be told from others" in problems[0]
