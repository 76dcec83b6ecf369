# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What the inspector knows of a home. Nothing in here imports Textual: ``--print`` and ``--json`` run on this alone."""

from __future__ import annotations

from .snapshot import (
    Failure,
    LayerFacts,
    MountFacts,
    OwnerFacts,
    OwnershipReport,
    ProcessFacts,
    Remark,
    Snapshot,
    Space,
)

__all__ = [
    "Failure",
    "LayerFacts",
    "MountFacts",
    "OwnerFacts",
    "OwnershipReport",
    "ProcessFacts",
    "Remark",
    "Snapshot",
    "Space",
]
