# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Owners of a layer in a few words."""

from __future__ import annotations

import pytest
from overlay2.owners import Owner
from overlay2_tui.model import OwnerFacts


def owner(kind, *names, state="", direct=True):
    """An Owner with these names."""
    return Owner(kind, "sha256:0123456789abcdef", names, state, direct)


@pytest.mark.parametrize(
    ("owner", "text"),
    [
        (
            OwnerFacts("container", (owner("container", "web", state="running"), owner("image", "db"))),
            "web, db (running)",
        ),
        (
            OwnerFacts("image", (owner("image", "shop:4", direct=False), owner("image", "shop:5", direct=False))),
            "under shop:4, shop:5",
        ),
        (OwnerFacts("image", (owner("image", "a:1", "a:2", "a:3"),)), "a:1, a:2 +1"),
        (OwnerFacts("image", (owner("image"),)), "0123456789ab"),
        (OwnerFacts("image", (owner("image"), owner("image", "a:1", direct=False))), "under a:1"),
        (OwnerFacts("image"), "image"),
        (OwnerFacts("container", (owner("container", "web", direct=False), owner("image", "base:1"))), "base:1"),
        (OwnerFacts("layer", (owner("layer", "web", direct=False),)), ""),
        (OwnerFacts("layer", (owner("layer", "web"),)), "web"),
        (OwnerFacts("unowned"), "unowned"),
        (OwnerFacts("unknown"), "owner unknown"),
        (OwnerFacts("container", (owner("container", "\x1b[31m", state="dead"),)), "\\x1b[31m (dead)"),
    ],
)
def test_an_owner_in_a_few_words(owner, text):
    assert owner.text == text
