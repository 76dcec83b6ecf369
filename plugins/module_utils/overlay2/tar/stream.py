# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Chunks that a generator makes, as a file to read from."""

from __future__ import annotations

import io


class TarStream(io.RawIOBase):
    """A readable binary file over an iterator of bytes. What goes wrong in the iterator is raised by the reads.

    :param chunks: the iterator; if it is a generator, closing the file closes it.
    :param on_close: called once, when the file is closed or the iterator has ended or failed.
    """

    def __init__(self, chunks, on_close=None):
        self._chunks = iter(chunks)
        self._on_close = on_close
        self._rest = memoryview(b"")

    def readable(self):
        """True: this is a file to read from."""
        return True

    def read(self, size=-1):
        """Up to ``size`` bytes, as a raw file gives them: at least one unless the stream has ended. All by default."""
        if size is None or size < 0:
            return self.readall()
        part = self._part(size)
        # A chunk that is wanted whole is handed on as it is.
        return part.obj if part.nbytes == len(part.obj) else bytes(part)

    def readinto(self, buffer):
        """Fill ``buffer`` as far as the current chunk goes; returns the number of bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")
        part = self._part(len(view))
        view[: len(part)] = part
        return len(part)

    def _part(self, size):
        self._checkClosed()
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

    def close(self):
        """End the iterator and release what the stream was made from. Closing twice is fine."""
        if not self.closed:
            super().close()
            self._rest = memoryview(b"")
            self._end()

    def _end(self):
        chunks, self._chunks = self._chunks, iter(())
        done, self._on_close = self._on_close, None
        try:
            if hasattr(chunks, "close"):
                chunks.close()
        finally:
            if done is not None:
                done()
