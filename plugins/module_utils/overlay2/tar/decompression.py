# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Reading compressed streams, recognised by their first bytes, to their verified end.

gzip, bzip2 and xz are in the standard library; zstd is from Python 3.14 on. Before that, the module ``backports.zstd``
or the program ``zstd`` is used. Each is imported when it is needed: most archives are plain or gzip, and some builds of
Python lack the others.
"""

from __future__ import annotations

import contextlib
import io
import re
import zlib
from typing import TYPE_CHECKING, Optional, Protocol, Tuple, Type, TypeVar

from ..errors import ArchiveError, CorruptArchive, from_os_error
from . import zstd
from .background import BackgroundJob

if TYPE_CHECKING:
    from typing import BinaryIO, Callable, Iterator, Union

    from . import zstd_program

_T = TypeVar("_T")

#: First bytes of each format: RFC 1952, bzip2 (a file name may start with its version and level, so they are taken
#: together with the magic of the first block or of the end), the .xz file format, RFC 8878 with its skippable frames.
_MAGICS = (
    ("gzip", re.compile(rb"\x1f\x8b\x08")),
    ("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")),
    ("xz", re.compile(rb"\xfd7zXZ\0")),
    ("zstd", re.compile(rb"(?:\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)")),
)
_LONGEST_MAGIC = 10

#: Bytes that are read at once, compressed, and decompressed at once.
_CHUNK = 1 << 17
_PIECE = 1 << 20

#: Most memory for one xz stream: its ``-9`` needs 65 MiB, and a header may ask for 4 GiB.
_XZ_MEMORY = 256 << 20


class ByteSource(Protocol):
    """The uncompressed bytes of a stream. It may have a method ``end_thread()``."""

    #: reaching the end proves that the stream is whole
    proves_itself: bool

    def readinto(self, buffer: memoryview) -> int:
        """Read into ``buffer``; returns the number of bytes, 0 at the end."""


class Decompressor(Protocol):
    """A decompressor for one member, as those of the standard library."""

    @property
    def eof(self) -> bool:
        """True once the end of the member is reached."""

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the member."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Decompress ``data``; returns up to ``max_length`` bytes."""


def compression_of(head: bytes) -> str | None:
    """Returns the name of the compression that a stream begins with; None for none that is known."""
    for name, magic in _MAGICS:
        if magic.match(head):
            return name
    return None


class _Source:
    """The stream itself: the bytes that were read to recognise the format, then the rest.

    :param stream: has ``readinto()`` or ``read()``.
    """

    #: Compressed formats have checksums and an end of their own; a plain stream has neither.
    proves_itself = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._head = b""
        self._by_read = not hasattr(stream, "readinto")
        self._readinto: Callable[[Union[bytearray, memoryview]], Optional[int]] = getattr(stream, "readinto", _no_bytes)

    def kind(self) -> str | None:
        """Name of the compression, or None."""
        while len(self._head) < _LONGEST_MAGIC:
            more = self._read(_LONGEST_MAGIC - len(self._head))
            if not more:
                break
            self._head += more
        return compression_of(self._head)

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end of the stream."""
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head
        return self._read(size)

    def readinto(self, buffer: memoryview) -> int:
        """Read into ``buffer``; returns the number of bytes, 0 at the end of the stream."""
        if self._by_read or self._head:
            data = self.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        return _present(self._readinto(buffer))

    def _read(self, size: int) -> bytes:
        if self._by_read:
            return _present(self._stream.read(size))
        buffer = bytearray(size)
        return bytes(buffer[: _present(self._readinto(buffer))])


def _no_bytes(_buffer: bytearray | memoryview) -> int:
    return 0


def _present(result: _T | None) -> _T:
    if result is None:
        raise ArchiveError(
            "the archive's stream is non-blocking and has nothing to read", remedy="Give a blocking stream"
        )
    return result


class _Inflated(io.RawIOBase):
    """Uncompressed bytes of a stream in one of the formats that the standard library reads.

    While a piece is used, a second thread makes the next one. Compressed bytes are read in between, by the caller's
    thread.

    :param start: makes a decompressor for one member.
    :param errors: its exceptions for damaged data, in addition to the common ones.
    """

    proves_itself = True

    def __init__(
        self, source: _Source, start: Callable[[], Decompressor], name: str, errors: tuple[type[Exception], ...] = ()
    ) -> None:
        self._source = source
        self._start = start
        self._name = name
        self._errors: Tuple[Type[Exception], ...] = (zlib.error, EOFError, OSError, ValueError, *errors)
        self._member = start()
        self._pending = b""  # compressed bytes not taken yet
        self._full = False  # the last piece had the maximum length: more may come without input
        self._piece = memoryview(b"")  # uncompressed bytes not given yet
        self._beside = BackgroundJob()
        self._failure: Optional[Exception] = None  # an error after the piece
        self._begin()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # only memoryviews come here
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

    def end_thread(self) -> None:
        """End the thread that decompresses, after its piece. The next piece starts another."""
        self._beside.close()

    def close(self) -> None:
        """End the thread that decompresses."""
        self._beside.close()
        super().close()

    def _next_piece(self) -> bytes:
        """The piece that was begun, after the next one has been begun; empty at the verified end."""
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

    def _begin(self) -> None:
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

    def _rest(self) -> bytes:
        """Input that the member has not used: zlib returns the rest of it, the others keep it."""
        if self._member.eof:
            return self._member.unused_data
        return getattr(self._member, "unconsumed_tail", b"")

    def _next_member(self) -> bool:
        """Begin the next member, if there is one; zeros after the last are padding, anything else is damage."""
        self._pending = self._pending.lstrip(b"\0")
        while not self._pending:
            more = self._source.read(_CHUNK)
            if not more:
                return False
            self._pending = more.lstrip(b"\0")
        self._member = self._start()
        self._full = False
        return True


def _gzip(source: _Source) -> _Inflated:
    return _Inflated(source, lambda: zlib.decompressobj(wbits=31), "gzip")


def _bzip2(source: _Source) -> _Inflated:
    try:
        import bz2
    except ImportError:
        raise zstd.not_built("bz2", "bzip2") from None

    return _Inflated(source, bz2.BZ2Decompressor, "bzip2")


def _xz(source: _Source) -> _Inflated:
    try:
        import lzma
    except ImportError:
        raise zstd.not_built("lzma", "xz") from None

    def start() -> Decompressor:
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    return _Inflated(source, start, "xz", (lzma.LZMAError,))


def _zstd(source: _Source) -> _Inflated | zstd_program.Reader:
    if zstd.module is not None:
        return _Inflated(source, zstd.module.ZstdDecompressor, "zstd", zstd.ERRORS)
    from . import zstd_program

    return zstd_program.Reader(source.read)


_READERS = {"gzip": _gzip, "bzip2": _bzip2, "xz": _xz, "zstd": _zstd}


@contextlib.contextmanager
def decompressed(stream: BinaryIO) -> Iterator[ByteSource]:
    """Yield the uncompressed bytes of a stream, compressed or not.

    Several members, streams or frames one after the other are one stream, as for the programs. The end is reached,
    and the checksums are verified, only when ``readinto()`` has returned 0.

    :param stream: has ``readinto()`` or ``read()``; it is never sought and not closed.
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
