# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Compressed streams, written: without names and times, so that equal content gives equal bytes.

gzip and xz are in the standard library; for zstd see :mod:`.decompression`.
"""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, Protocol, cast

from ..errors import ArchiveError, OptionError
from . import zstd

if TYPE_CHECKING:
    from typing import Iterator

#: Each program's own default.
_GZIP_LEVEL = 6
_XZ_PRESET = 6

#: What :func:`compressed` writes.
METHODS = ("none", "gzip", "zstd", "xz")


class ByteSink(Protocol):
    """A binary file to write to, raw or buffered."""

    def write(self, data: bytes | memoryview) -> int | None:
        """Write ``data``, or part of it; returns the number of bytes."""


class Compressor(Protocol):
    """A compressor of the standard library, or one like those."""

    def compress(self, data: bytes | memoryview) -> bytes:
        """Compress ``data``; returns the output so far."""

    def flush(self) -> bytes:
        """End the stream; returns the rest of the output."""


class _Deflated:
    """A writer that compresses into another one."""

    def __init__(self, target: ByteSink, compressor: Compressor) -> None:
        self._target = target
        self._compressor = compressor

    def write(self, data: bytes | memoryview) -> int:
        """Compress all of ``data``; returns its length."""
        write_all(self._target, self._compressor.compress(data))
        return len(data)

    def finish(self) -> None:
        """Write the end of the stream."""
        write_all(self._target, self._compressor.flush())


def write_all(target: ByteSink, data: bytes | memoryview) -> None:
    """Write all of ``data`` to a raw binary file, which may take it in parts."""
    view = memoryview(data)
    while len(view):
        count = target.write(view)
        if count is None:
            raise ArchiveError(
                "the stream to write to is non-blocking and takes nothing", remedy="Give a blocking stream"
            )
        view = view[count:]


class _Plain:
    """A writer that passes everything on."""

    def __init__(self, target: ByteSink) -> None:
        self._target = target

    def write(self, data: bytes | memoryview) -> int:
        """Write all of ``data``; returns its length."""
        write_all(self._target, data)
        return len(data)


def _gzip_compressor() -> Compressor:
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)


def _xz_compressor() -> Compressor:
    try:
        import lzma
    except ImportError:
        raise zstd.not_built("lzma", "xz") from None

    return lzma.LZMACompressor(lzma.FORMAT_XZ, preset=_XZ_PRESET)


def _zstd_compressor() -> Compressor:
    if zstd.module is not None:
        return cast("Compressor", zstd.module.ZstdCompressor(zstd.LEVEL))
    from . import zstd_program

    return zstd_program.Writer()


_COMPRESSORS = {
    "gzip": _gzip_compressor,
    "xz": _xz_compressor,
    "zstd": _zstd_compressor,
}


@contextlib.contextmanager
def compressed(target: ByteSink, method: str) -> Iterator[ByteSink]:
    """Yield a writer into ``target`` by one of :data:`METHODS`; equal input gives equal bytes (no name, no time).

    The stream is whole only if the ``with`` block ends normally.

    :param target: it is not closed.
    :raises OptionError: an unknown method.
    :raises CompressionNotSupported: nothing on this host writes ``method``.
    """
    if method not in METHODS:
        raise OptionError("unknown compression %r" % (method,), remedy="Choose one of: " + ", ".join(METHODS))
    if method == "none":
        yield _Plain(target)
        return
    compressor = _COMPRESSORS[method]()
    try:
        writer = _Deflated(target, compressor)
        yield writer
        writer.finish()
    finally:
        close = getattr(compressor, "close", None)
        if close is not None:
            close()
