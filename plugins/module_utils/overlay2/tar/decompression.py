# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Compressed streams, read: told by their first bytes, to their verified end.

gzip, bzip2 and xz are in the standard library. zstd is from Python 3.14 on; before that the module
``backports.zstd`` serves where it is installed, and else the program ``zstd``. Each is imported when it is met: plain
and gzip archives are the rule, and some builds of Python lack the others.
"""

from __future__ import annotations

import contextlib
import io
import re
import zlib

from ..errors import ArchiveError, CorruptArchive, from_os_error
from . import zstd
from .background import BackgroundJob

#: First bytes of each format: RFC 1952, bzip2 (its version and level are text that a file name may start with, so the
#: magic of the first block or of the end belongs to it), the .xz file format, RFC 8878 with its skippable frames.
_MAGICS = (
    ("gzip", re.compile(rb"\x1f\x8b\x08")),
    ("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")),
    ("xz", re.compile(rb"\xfd7zXZ\0")),
    ("zstd", re.compile(rb"(?:\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)")),
)
_LONGEST_MAGIC = 10

#: Compressed bytes that are read at once, and uncompressed ones that are made at once.
_CHUNK = 1 << 17
_PIECE = 1 << 20

#: Most memory for one xz stream: its ``-9`` needs 65 MiB, and a header may ask for 4 GiB.
_XZ_MEMORY = 256 << 20


class _Source:
    """The compressed stream: what was read to tell the format, then the rest.

    :param stream: has ``readinto()`` or ``read()``.
    """

    #: Compressed formats have checksums and an end of their own; this one proves nothing.
    proves_itself = False

    def __init__(self, stream):
        self._stream = stream
        self._head = b""
        self._by_read = not hasattr(stream, "readinto")

    def kind(self):
        """Name of the compression (str), or None."""
        while len(self._head) < _LONGEST_MAGIC:
            more = self._read(_LONGEST_MAGIC - len(self._head))
            if not more:
                break
            self._head += more
        for name, magic in _MAGICS:
            if magic.match(self._head):
                return name
        return None

    def read(self, size):
        """Up to ``size`` bytes; none at the end of the stream."""
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head
        return self._read(size)

    def readinto(self, view):
        """Read into a memoryview; returns the number of bytes, 0 at the end of the stream."""
        if self._by_read or self._head:
            data = self.read(len(view))
            view[: len(data)] = data
            return len(data)
        count = self._stream.readinto(view)
        return _present(count)

    def _read(self, size):
        if self._by_read:
            return _present(self._stream.read(size))
        buffer = bytearray(size)
        return bytes(buffer[: _present(self._stream.readinto(buffer))])


def _present(result):
    if result is None:
        raise ArchiveError(
            "the archive's stream is non-blocking and has nothing to read", remedy="Give a blocking stream"
        )
    return result


class _Inflated(io.RawIOBase):
    """Uncompressed bytes of a stream in one of the formats that the standard library reads.

    While a piece is used, the next one is made beside. Compressed bytes are read in between, by the caller's thread.

    :param start: makes a decompressor for one member, with ``decompress(data, max_length)``, ``eof``, ``unused_data``.
    :param errors: what it raises for damaged data beside what all do (tuple of exception classes).
    """

    proves_itself = True

    def __init__(self, source, start, name, errors=()):
        self._source = source
        self._start = start
        self._name = name
        self._errors = (zlib.error, EOFError, OSError, ValueError) + errors
        self._member = start()
        self._pending = b""  # compressed bytes not taken yet
        self._full = False  # the last piece had all the room there was: more may come without input
        self._piece = memoryview(b"")  # uncompressed bytes not given yet
        self._beside = BackgroundJob()
        self._failure = None  # what went wrong after the piece
        self._begin()

    def readable(self):
        return True

    def readinto(self, buffer):
        """Read into ``buffer``; returns the number of bytes, 0 at the verified end.

        :raises CorruptArchive: the stream is cut short or damaged.
        """
        view = memoryview(buffer)
        if not self._piece:
            self._piece = memoryview(self._next_piece())
        part = self._piece[: len(view)]
        view[: len(part)] = part
        self._piece = self._piece[len(part) :]
        return len(part)

    def end_thread(self):
        """End the thread that decompresses, after its piece. The next piece starts another."""
        self._beside.close()

    def close(self):
        """End the thread that decompresses."""
        self._beside.close()
        super().close()

    def _next_piece(self):
        """The piece that was begun (bytes), when the next one has been begun; none at the verified end."""
        piece = b""
        while not piece:
            if self._failure is not None:
                raise self._failure
            try:
                piece = self._beside.wait()
            except self._errors as error:
                raise CorruptArchive("the %s stream is damaged: %s" % (self._name, error)) from error
            if piece is None:
                return b""
            self._pending = self._rest()
            self._full = len(piece) == _PIECE
            try:
                self._begin()
            except (ArchiveError, OSError) as error:
                self._failure = error  # for the next call: this piece is good
        return piece

    def _begin(self):
        """Begin the next piece, unless the end is reached."""
        if self._member.eof and not self._next_member():
            return
        if not self._pending and not self._full:
            self._pending = self._source.read(_CHUNK)
            if not self._pending:
                raise CorruptArchive(
                    "the %s stream is cut short" % self._name, remedy="Fetch it anew and compare its size"
                )
        self._beside.start(self._member.decompress, self._pending, _PIECE)

    def _rest(self):
        """Input that the member has not used: zlib hands back what it had no room for, the others keep it."""
        if self._member.eof:
            return self._member.unused_data
        return getattr(self._member, "unconsumed_tail", b"")

    def _next_member(self):
        """Whether another member follows; zeros after the last are padding, anything else is damage."""
        self._pending = self._pending.lstrip(b"\0")
        while not self._pending:
            more = self._source.read(_CHUNK)
            if not more:
                return False
            self._pending = more.lstrip(b"\0")
        self._member = self._start()
        self._full = False
        return True


def _gzip(source):
    return _Inflated(source, lambda: zlib.decompressobj(wbits=31), "gzip")


def _bzip2(source):
    try:
        import bz2
    except ImportError:
        raise zstd.not_built("bz2", "bzip2") from None

    return _Inflated(source, bz2.BZ2Decompressor, "bzip2")


def _xz(source):
    try:
        import lzma
    except ImportError:
        raise zstd.not_built("lzma", "xz") from None

    def start():
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    return _Inflated(source, start, "xz", (lzma.LZMAError,))


def _zstd(source):
    if zstd.module is not None:
        return _Inflated(source, zstd.module.ZstdDecompressor, "zstd", zstd.ERRORS)
    from . import zstd_program

    return zstd_program.Reader(source)


_READERS = {"gzip": _gzip, "bzip2": _bzip2, "xz": _xz, "zstd": _zstd}


@contextlib.contextmanager
def decompressed(stream):
    """The uncompressed bytes of a stream, compressed or not.

    Several members, streams or frames one after the other are one stream, as for the programs. The end is reached,
    and the checksums are verified, only when ``readinto()`` has returned 0.

    :param stream: a binary file with ``readinto()`` or ``read()``; it is never sought and not closed.
    :returns: a context manager giving an object with ``readinto()``.
    :raises CorruptArchive: from ``readinto()``: the stream is cut short or damaged.
    :raises CompressionNotSupported: nothing on this host reads its format.
    """
    source = _Source(stream)
    try:
        kind = source.kind()
    except OSError as error:
        raise from_os_error(ArchiveError, "the archive can't be read", error) from error
    if kind is None:
        yield source
        return
    with contextlib.closing(_READERS[kind](source)) as reader:
        yield reader
