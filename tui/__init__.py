# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""overlay2-tui: a read-only, live inspector for overlay2 homes.

``overlay2_tui.model`` knows homes and imports no Textual; ``screens`` and ``widgets`` show what it knows.
"""

from __future__ import annotations

__version__ = "0.1.0"
