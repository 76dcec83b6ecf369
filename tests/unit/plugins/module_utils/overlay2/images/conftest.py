# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A home that is opened, and a function that provides images in it."""

from __future__ import annotations

import pytest
from overlay2 import images
from overlay2.home.opening import open_home


@pytest.fixture
def opened(home):
    """An opened home."""
    return open_home(home, ["overlay2.sync=none"])


@pytest.fixture
def provide(opened):
    """provide(path, reference="", platform="", digest="", holder="ansible") has an image in the home."""

    def act(path, reference="", platform="", digest="", holder="ansible"):
        with images.open_source(path) as source:
            return images.provide(opened, source, images.wanted(reference, platform, digest), holder)

    return act
