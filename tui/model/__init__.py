# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The facts about a home. Nothing in here imports Textual: ``--print`` and ``--json`` need this package alone."""

from __future__ import annotations

from .ownership import OwnerFacts, OwnershipReport
from .snapshot import Failure, FindingFacts, InspectedLayer, MountFacts, ProcessFacts, Remark, Snapshot, Space

__all__ = [
    "Failure",
    "FindingFacts",
    "InspectedLayer",
    "MountFacts",
    "OwnerFacts",
    "OwnershipReport",
    "ProcessFacts",
    "Remark",
    "Snapshot",
    "Space",
]
