# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The chunks of a generator as a file to read from."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator


class TarStream(io.RawIOBase):
    """A readable binary file over an iterator. Errors of the iterator are raised by the reads.

    :param chunks: if this is a generator, closing the file closes it.
    :param on_close: called once, when the file is closed or the iterator has ended or failed.
    """

    def __init__(self, chunks: Iterable[bytes], on_close: Callable[[], None] | None = None) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._on_close = on_close
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True: this is a file to read from."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes, as from a raw file: at least one unless the stream has ended. All by default."""
        if size is None or size < 0:
            return self.readall()
        part = self._part(size)
        whole = part.obj  # a chunk that is wanted whole is not copied
        return whole if isinstance(whole, bytes) and part.nbytes == len(whole) else bytes(part)

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as the current chunk goes; returns the number of bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")
        part = self._part(len(view))
        view[: len(part)] = part
        return len(part)

    def _part(self, size: int) -> memoryview:
        if self.closed is True:  # pylint takes the property alone for a constant
            raise ValueError("I/O operation on closed file")
        while not self._rest and size:
            try:
                chunk = next(self._chunks, None)
            except BaseException:
                self._end()
                raise
            if chunk is None:
                self._end()
                break
            self._rest = memoryview(chunk)
        part, self._rest = self._rest[:size], self._rest[size:]
        return part

    def close(self) -> None:
        """End the iterator and release the stream's source. It may be called twice."""
        if not self.closed:
            super().close()
            self._rest = memoryview(b"")
            self._end()

    def _end(self) -> None:
        chunks, self._chunks = self._chunks, iter(())
        done, self._on_close = self._on_close, None
        try:
            if hasattr(chunks, "close"):
                chunks.close()
        finally:
            if done is not None:
                done()
