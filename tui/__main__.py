# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""``python -m overlay2_tui``."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
