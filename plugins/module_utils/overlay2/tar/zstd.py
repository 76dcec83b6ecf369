# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Compression that a Python may lack. The zstd module: its own from 3.14 on, else ``backports.zstd``, or None."""

from __future__ import annotations

from ..errors import CompressionNotSupported

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


def not_built(module, method):
    """The error for a Python that was built without a module of the standard library."""
    return CompressionNotSupported(
        "this Python was built without its module %s, which reads and writes %s" % (module, method),
        remedy="Use a Python with that module, or another compression (gzip needs no module)",
    )
