# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Make this checkout importable as ansible_collections.strata.overlay2, the name that Ansible gives it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def _collections():
    """The folder to look for ansible_collections in; the link is the one that the Makefile makes."""
    if ROOT.parts[-3:] == ("ansible_collections", "strata", "overlay2"):
        return ROOT.parents[2]
    link = ROOT / ".collections" / "ansible_collections" / "strata" / "overlay2"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../../..")
    return ROOT / ".collections"


sys.path.insert(0, str(_collections()))
