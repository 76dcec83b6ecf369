# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Digests of streams, written as ``sha256:<64 lower-case hexadecimal digits>`` (OCI image-spec, descriptor.md)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, cast

from .errors import OptionError

if TYPE_CHECKING:
    from typing import BinaryIO, Protocol

    class Readable(Protocol):
        """A binary stream that reads into a buffer."""

        def readinto(self, buffer: memoryview, /) -> int | None:
            """Fills the buffer or part of it, and returns the number of bytes."""

    class Writable(Protocol):
        """Something that takes all the bytes written to it."""

        def write(self, data: memoryview, /) -> object:
            """Takes all of ``data``."""


_CHUNK = 1 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def checked_digest(text: str) -> str:
    """Returns ``text`` if it is a digest.

    :raises OptionError: not ``sha256:`` and 64 lower-case hexadecimal digits.
    """
    if not _DIGEST.fullmatch(text):
        raise OptionError(
            "invalid digest: '%s'" % text,
            remedy="Write it as sha256: and 64 lower-case hexadecimal digits, as 'sha256sum' prints them",
        )
    return text


class HashingWriter:
    """Counts and hashes the bytes that are written, and passes them on.

    :param raw: a buffered binary file to write to, or None.
    """

    def __init__(self, raw: BinaryIO | None = None) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        #: bytes so far
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Takes all of ``data`` and returns its length in bytes."""
        self._hash.update(data)
        self.size += len(data)
        if self._raw is not None:
            self._raw.write(data)
        return len(data)

    @property
    def digest(self) -> str:
        """The digest of everything that was written so far."""
        return "sha256:" + self._hash.hexdigest()


def pump(stream: Readable | BinaryIO, *writers: Writable) -> None:
    """Copies the rest of ``stream`` to each of the writers, in chunks."""
    readinto = cast("Readable", stream).readinto  # every binary file of io has it, but typing.BinaryIO does not
    with memoryview(bytearray(_CHUNK)) as view:
        count = readinto(view)
        while count:
            for writer in writers:
                writer.write(view[:count])
            count = readinto(view)


def digest_of(stream: Readable | BinaryIO) -> str:
    """Returns the digest of the rest of a binary stream, in bounded memory."""
    writer = HashingWriter()
    pump(stream, writer)
    return writer.digest


def diff_id_of(stream: BinaryIO) -> str:
    """Returns the diff ID of a tar, compressed or not: the digest of the plain stream (OCI image-spec, config.md).

    :raises CorruptArchive: the compressed stream is truncated or damaged.
    :raises CompressionNotSupported: this host cannot read the compression.
    """
    from .tar.decompression import decompressed  # see filling.fill

    with decompressed(stream) as plain:
        return digest_of(plain)
