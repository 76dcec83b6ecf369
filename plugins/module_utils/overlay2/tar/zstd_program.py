# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The program ``zstd`` as a decompressor and a compressor. Imported when it is needed: few hosts do."""

from __future__ import annotations

import io
import os
import selectors
import subprocess
import tempfile

from ..errors import CompressionNotSupported, CorruptArchive
from .zstd import LEVEL

_CHUNK = 1 << 17


class _Program:
    """The program ``zstd`` with both ends in one thread: pipes never block, and are waited for together.

    :param arguments: of the program (tuple of str).
    :raises CompressionNotSupported: there is no such program.
    """

    def __init__(self, *arguments):
        self._complaints = tempfile.TemporaryFile()
        try:
            # Not run_command: the core has no AnsibleModule, and data streams through the program in both directions.
            self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                ("zstd", "-q", "-c") + arguments,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
            )
        except FileNotFoundError:
            self._complaints.close()
            raise CompressionNotSupported(
                "nothing on this host reads or writes zstd",
                remedy="Install the program 'zstd' or the Python module 'backports.zstd', or use Python 3.14 or later",
            ) from None
        self._input, self._output = self._process.stdin, self._process.stdout
        for pipe in (self._input, self._output):
            os.set_blocking(pipe.fileno(), False)

    def send(self, data):
        """Give the program input; returns how much of it was taken (int), 0 when it has to be waited for."""
        try:
            return os.write(self._input.fileno(), data)
        except BlockingIOError:
            return 0

    def end_input(self):
        """Tell the program that this was all."""
        self._input.close()

    def receive(self, buffer):
        """Read output into ``buffer``: the number of bytes, 0 at its end, None when it has to be waited for."""
        try:
            return os.readv(self._output.fileno(), [buffer])
        except BlockingIOError:
            return None

    def wait(self):
        """Wait until the program has output, or takes input."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._output, selectors.EVENT_READ)
            if not self._input.closed:
                ready.register(self._input, selectors.EVENT_WRITE)
            ready.select()

    def failure(self):
        """Why the program failed (str), or None if it ended well. To be asked once its output has ended."""
        if self._process.wait() == 0:
            return None
        self._complaints.seek(0)
        return self._complaints.read(500).decode("utf-8", "replace").strip() or "zstd gives no reason"

    def close(self):
        """End the program, if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._input, self._output, self._complaints):
            pipe.close()


class Reader(io.RawIOBase):
    """Uncompressed bytes of a zstd stream, by the program.

    :param source: has ``read(size)``.
    :raises CompressionNotSupported: there is no such program.
    """

    proves_itself = True
    _program = None

    def __init__(self, source):
        self._source = source
        self._pending = b""
        self._fed = False
        self._program = _Program("-d")

    def readable(self):
        return True

    def readinto(self, buffer):
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
            self._program.wait()

    def _feed(self):
        """Give the program what it takes."""
        while not self._fed:
            if not self._pending:
                self._pending = memoryview(self._source.read(_CHUNK))
            try:
                count = self._program.send(self._pending) if self._pending else None
            except BrokenPipeError:  # it has given up, and its exit status will say why
                count = None
            if count is None:
                self._fed = True
                self._program.end_input()
                return
            if not count:
                return
            self._pending = self._pending[count:]

    def close(self):
        """End the program."""
        if not self.closed and self._program is not None:
            self._program.close()
        super().close()


class Writer:
    """A compressor by the program, with the methods of the modules' compressors.

    :raises CompressionNotSupported: there is no such program.
    """

    def __init__(self):
        self._program = _Program("-T1", "-%d" % LEVEL)
        self._buffer = bytearray(_CHUNK)

    def compress(self, data):
        """Compress ``data``; returns what has come out so far (bytes)."""
        output, rest = [], memoryview(data)
        while rest:
            rest = rest[self._program.send(rest) :]
            if not self._receive(output) and rest:
                self._program.wait()
        return b"".join(output)

    def flush(self):
        """End the stream; returns the rest of the output (bytes).

        :raises OSError: the program failed.
        """
        output = []
        self._program.end_input()
        while self._receive(output) is None:
            self._program.wait()
        failure = self._program.failure()
        if failure:
            raise OSError("zstd failed: %s" % failure)
        return b"".join(output)

    def _receive(self, output):
        """Append what output there is; returns 0 at its end, None when it has to be waited for."""
        while True:
            count = self._program.receive(self._buffer)
            if not count:
                return count
            output.append(bytes(self._buffer[:count]))

    def close(self):
        """End the program."""
        self._program.close()
