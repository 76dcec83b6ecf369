# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The fixture that the tests of this folder work in."""

from __future__ import annotations

import pytest
from corpus.place import Place


@pytest.fixture
def place(real_tmp):
    return Place(real_tmp)
