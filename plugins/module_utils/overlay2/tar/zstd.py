# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The module for zstd that this Python has: its own from 3.14 on, or ``backports.zstd`` of the same API, or None."""

from __future__ import annotations

try:
    from compression import zstd as module
except ImportError:
    try:
        from backports import zstd as module
    except ImportError:
        module = None

#: What a decompressor raises for damaged data.
ERRORS = (module.ZstdError,) if module is not None else ()

#: zstd's own default.
LEVEL = 3
