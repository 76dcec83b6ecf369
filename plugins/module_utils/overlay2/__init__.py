# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Docker's overlay2 storage driver in pure Python: layers, lower chains, overlay mounts, diffs.

Standard library only, Linux only, Python 3.8 and later.
"""

from __future__ import annotations

from .changes import Change, ChangeKind
from .driver import Driver
from .errors import Overlay2Error
from .idmap import IdMap, IdRange
from .layers import Layer

__all__ = ["Change", "ChangeKind", "Driver", "IdMap", "IdRange", "Layer", "Overlay2Error"]
