# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Digests of streams, written as ``sha256:<64 lower-case hexadecimal digits>`` (OCI image-spec, descriptor.md)."""

from __future__ import annotations

import hashlib
import re

from .errors import OptionError
from .tar.decompression import decompressed

_CHUNK = 1 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def checked_digest(text):
    """The digest itself (str), once it is known to be well formed.

    :raises OptionError: not ``sha256:`` and 64 lower-case hexadecimal digits.
    """
    if not _DIGEST.fullmatch(text):
        raise OptionError(
            "invalid digest: '%s'" % text,
            remedy="Write it as sha256: and 64 lower-case hexadecimal digits, as 'sha256sum' prints them",
        )
    return text


class HashingWriter:
    """Counts and hashes what is written, and hands it on where there is somebody to take it.

    :param raw: a buffered binary file, or None. ``size`` is the number of bytes so far (int).
    """

    def __init__(self, raw=None):
        self._raw = raw
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data):
        """Take ``data`` (bytes-like) whole and return its length in bytes."""
        self._hash.update(data)
        self.size += len(data)
        if self._raw is not None:
            self._raw.write(data)
        return len(data)

    @property
    def digest(self):
        """The digest of all that was written so far (str)."""
        return "sha256:" + self._hash.hexdigest()


def pump(stream, *writers):
    """Copy the rest of ``stream`` (a binary file with ``readinto()``) to each of the writers, a chunk at a time."""
    with memoryview(bytearray(_CHUNK)) as view:
        count = stream.readinto(view)
        while count:
            for writer in writers:
                writer.write(view[:count])
            count = stream.readinto(view)


def digest_of(stream):
    """Digest (str) of the rest of a binary stream, in bounded memory."""
    writer = HashingWriter()
    pump(stream, writer)
    return writer.digest


def diff_id_of(stream):
    """Diff ID (str) of a tar, compressed or not: the digest of the uncompressed stream (OCI image-spec, config.md).

    :raises CorruptArchive: the compressed stream is truncated or damaged.
    :raises CompressionNotSupported: nothing on this host reads the compression.
    """
    with decompressed(stream) as plain:
        return digest_of(plain)
