# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Compressed streams, written: without names and times, so that equal content gives equal bytes.

gzip and xz are in the standard library; for zstd see :mod:`.decompression`.
"""

from __future__ import annotations

import contextlib
import zlib

from ..errors import ArchiveError, OptionError
from . import zstd

#: Each program's own default.
_GZIP_LEVEL = 6
_XZ_PRESET = 6

#: What :func:`compressed` writes.
METHODS = ("none", "gzip", "zstd", "xz")


class _Deflated:
    """A writer that compresses into another one.

    :param compressor: has ``compress(data)`` and ``flush()``.
    """

    def __init__(self, target, compressor):
        self._target = target
        self._compressor = compressor

    def write(self, data):
        """Compress ``data`` (bytes); returns its length, all of which is always taken."""
        write_all(self._target, self._compressor.compress(data))
        return len(data)

    def finish(self):
        """Write what ends the stream."""
        write_all(self._target, self._compressor.flush())


def write_all(target, data):
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
    """A writer that passes on what it is given, all of it."""

    def __init__(self, target):
        self._target = target

    def write(self, data):
        """Write all of ``data`` (bytes); returns its length."""
        write_all(self._target, data)
        return len(data)


def _xz_compressor():
    try:
        import lzma
    except ImportError:
        raise zstd.not_built("lzma", "xz") from None

    return lzma.LZMACompressor(lzma.FORMAT_XZ, preset=_XZ_PRESET)


def _zstd_compressor():
    if zstd.module is not None:
        return zstd.module.ZstdCompressor(zstd.LEVEL)
    from . import zstd_program

    return zstd_program.Writer()


#: Methods of :func:`compressed`, each with what makes an object with ``compress(data)`` and ``flush()``.
_COMPRESSORS = {
    "gzip": lambda: zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31),
    "xz": _xz_compressor,
    "zstd": _zstd_compressor,
}


@contextlib.contextmanager
def compressed(target, method):
    """A writer into ``target`` by one of :data:`METHODS`; equal input gives equal bytes (no name, no time).

    :param target: a binary file with ``write()``; it is not closed.
    :returns: a context manager giving an object with ``write()``. The stream is whole only if the block ends normally.
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
        if hasattr(compressor, "close"):
            compressor.close()
