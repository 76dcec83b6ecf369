# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Reads a layer's blob and verifies size and digest on the way; and what a blob tells of its size."""

from __future__ import annotations

import io
from typing import BinaryIO

from ..errors import CorruptArchive, DigestMismatch
from ..tar.decompression import compression_of
from .files import Files
from .manifests import Blob

_CHUNK = 1 << 20
_MAGIC = 16


class VerifiedBlob(io.RawIOBase):
    """A blob as a stream whose end is reached only if size and digest are right.

    Whatever reads to the end, as unpacking does, has so verified it before it makes use of it.
    """

    def __init__(self, raw: BinaryIO, blob: Blob) -> None:
        self._raw = raw
        self._blob = blob
        self._hasher = None if blob.digest is None else blob.digest.hasher()
        self._left = blob.size
        #: The end was reached, and everything is right.
        self.is_verified = False

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io has no type for buffers before 3.12
        """Reads into a buffer; returns the number of bytes, 0 at the verified end.

        :raises CorruptArchive: the blob is shorter or longer than it should be.
        :raises DigestMismatch: it does not have its digest.
        """
        with memoryview(buffer) as view:
            count = self._raw.readinto(view)  # type: ignore[attr-defined]  # BinaryIO lacks it, all of ours have it
            if count > self._left:
                raise CorruptArchive("the blob is longer than the %d bytes given for it" % self._blob.size)
            if self._hasher is not None:
                self._hasher.update(view[:count])
        self._left -= count
        if not count:
            self._verify()
        return count

    def _verify(self) -> None:
        if self._left:
            raise CorruptArchive("the blob is cut off: %d of %d bytes are missing" % (self._left, self._blob.size))
        digest = None if self._hasher is None else self._hasher.hexdigest()
        if self._blob.digest is not None and digest != self._blob.digest.encoded:
            raise DigestMismatch("the blob does not have its digest: it was altered, or is another one")
        self.is_verified = True

    def finish(self) -> None:
        """Reads to the end.

        :raises ArchiveError: as :meth:`readinto`.
        """
        buffer = memoryview(bytearray(_CHUNK))
        while not self.is_verified:
            self.readinto(buffer)


def tar_size(files: Files, blob: Blob) -> int | None:
    """Returns the bytes of a layer's uncompressed tar, as far as its blob tells without being read; None if not.

    A plain tar is exact. gzip ends with the size modulo 4 GiB (RFC 1952); one that is less than the blob has, as of
    several members, tells nothing.
    """
    head = files.peek(blob.name, 0, _MAGIC)
    if not head:
        return None
    kind = compression_of(head)
    if kind is None:
        return blob.size
    if kind != "gzip":
        return None
    size = int.from_bytes(files.peek(blob.name, -4, 4), "little")
    return size if size >= blob.size else None


def claims_wrongly(files: Files, blob: Blob) -> bool:
    """True if the media type claims a compression that the blob does not have, or none and it has one."""
    head = files.peek(blob.name, 0, _MAGIC)
    if not head or blob.media_type is None:
        return False
    kind, claim = compression_of(head), blob.media_type.rpartition("tar")[2].lstrip("+.")
    return (kind or "") != claim
