# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Compression that a Python may lack. The zstd module: its own from 3.14 on, else ``backports.zstd``, or None."""

from __future__ import annotations

from typing import Any, Tuple, Type

from ..errors import CompressionNotSupported

module: Any
try:
    from compression import zstd as module  # type: ignore[import-not-found, no-redef]  # of 3.14
except ImportError:
    try:
        from backports import zstd as module  # type: ignore[import-not-found, no-redef]  # may not be installed
    except ImportError:
        module = None

#: A decompressor's exceptions for damaged data.
ERRORS: Tuple[Type[Exception], ...] = (module.ZstdError,) if module is not None else ()

#: zstd's own default.
LEVEL = 3


def not_built(name: str, method: str) -> CompressionNotSupported:
    """The error for a Python that was built without a module of the standard library."""
    return CompressionNotSupported(
        "this Python was built without its module %s, which reads and writes %s" % (name, method),
        remedy="Use a Python with that module, or another compression (gzip needs no module)",
    )
