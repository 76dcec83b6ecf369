# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The program ``zstd`` as a decompressor and a compressor. Imported when it is needed, on few hosts."""

from __future__ import annotations

import io
import os
import selectors
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, List

from ..errors import CompressionNotSupported, CorruptArchive
from .zstd import LEVEL

if TYPE_CHECKING:
    from typing import Callable

_CHUNK = 1 << 17


class _Program(subprocess.Popen):
    """The program ``zstd`` with both ends in one thread: its pipes never block, and are waited for together.

    :raises CompressionNotSupported: there is no such program.
    """

    stdin: IO[bytes]
    stdout: IO[bytes]

    def __init__(self, *arguments: str) -> None:
        self._messages = tempfile.TemporaryFile()
        try:
            super().__init__(
                ("zstd", "-q", "-c", *arguments),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._messages,
            )
        except FileNotFoundError:
            self._messages.close()
            raise CompressionNotSupported(
                "nothing on this host reads or writes zstd",
                remedy="Install the program 'zstd' or the Python module 'backports.zstd', or use Python 3.14 or later",
            ) from None
        for pipe in (self.stdin, self.stdout):
            os.set_blocking(pipe.fileno(), False)

    def send(self, data: memoryview) -> int:
        """Give the program input; returns the number of bytes that it took, 0 if it takes nothing at the moment."""
        try:
            return os.write(self.stdin.fileno(), data)
        except BlockingIOError:
            return 0

    def receive(self, buffer: bytearray | memoryview) -> int | None:
        """Read output into ``buffer``: the number of bytes, 0 at its end, None if there is none at the moment."""
        try:
            return os.readv(self.stdout.fileno(), [buffer])
        except BlockingIOError:
            return None

    def wait_for_pipes(self) -> None:
        """Wait until the program has output, or takes input."""
        with selectors.DefaultSelector() as ready:
            ready.register(self.stdout, selectors.EVENT_READ)
            if not self.stdin.closed:
                ready.register(self.stdin, selectors.EVENT_WRITE)
            ready.select()

    def failure(self) -> str | None:
        """Why the program failed, or None if it ended well. To be called after the end of its output."""
        if self.wait() == 0:
            return None
        self._messages.seek(0)
        return self._messages.read(500).decode("utf-8", "replace").strip() or "zstd gives no reason"

    def close(self) -> None:
        """Kill the program if it has not ended, and close its pipes."""
        if self.poll() is None:
            self.kill()
            self.wait()
        for pipe in (self.stdin, self.stdout, self._messages):
            pipe.close()


class Reader(io.RawIOBase):
    """Uncompressed bytes of a zstd stream, by the program.

    :param read: gives up to a number of bytes of the stream, none at its end.
    :raises CompressionNotSupported: there is no such program.
    """

    proves_itself = True

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read_source = read
        self._pending = memoryview(b"")
        self._fed = False
        self._program = _Program("-d")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # only memoryviews come here
        """Read into ``buffer``; returns the number of bytes, 0 at the verified end.

        :raises CorruptArchive: the stream is cut short or damaged.
        """
        while True:
            count = self._program.receive(buffer)
            if count:
                return count
            if count == 0:
                failure = self._program.failure()
                if failure:
                    raise CorruptArchive("the zstd stream is damaged: %s" % failure)
                return 0
            self._feed()
            self._program.wait_for_pipes()

    def _feed(self) -> None:
        """Give the program as much input as it takes."""
        while not self._fed:
            if not self._pending:
                self._pending = memoryview(self._read_source(_CHUNK))
            try:
                count = self._program.send(self._pending) if self._pending else None
            except BrokenPipeError:  # it has given up, and its exit status will say why
                count = None
            if count is None:
                self._fed = True
                self._program.stdin.close()
                return
            if not count:
                return
            self._pending = self._pending[count:]

    def close(self) -> None:
        """End the program."""
        if not self.closed and hasattr(self, "_program"):
            self._program.close()
        super().close()


class Writer:
    """A compressor by the program, with the methods of the standard library's compressors.

    :raises CompressionNotSupported: there is no such program.
    """

    def __init__(self) -> None:
        self._program = _Program("-T1", "-%d" % LEVEL)
        self._buffer = bytearray(_CHUNK)

    def compress(self, data: bytes | memoryview) -> bytes:
        """Compress ``data``; returns the output so far."""
        output: List[bytes] = []
        rest = memoryview(data)
        while rest:
            rest = rest[self._program.send(rest) :]
            if not self._receive(output) and rest:
                self._program.wait_for_pipes()
        return b"".join(output)

    def flush(self) -> bytes:
        """End the stream; returns the rest of the output.

        :raises OSError: the program failed.
        """
        output: List[bytes] = []
        self._program.stdin.close()
        while self._receive(output) is None:
            self._program.wait_for_pipes()
        failure = self._program.failure()
        if failure:
            raise OSError("zstd failed: %s" % failure)
        return b"".join(output)

    def _receive(self, output: list[bytes]) -> int | None:
        """Append the output of the moment; returns 0 at its end, None if it has to be waited for."""
        while True:
            count = self._program.receive(self._buffer)
            if not count:
                return count
            output.append(bytes(self._buffer[:count]))

    def close(self) -> None:
        """End the program."""
        self._program.close()
