# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Entries as bytes of a tar stream, as Go's ``archive/tar`` writes them: ustar, with pax where it must be."""

from __future__ import annotations

from ..errors import Overlay2Error
from . import headers, pax, ustar
from .ustar import MAX_OCTAL_ID, MAX_OCTAL_SIZE

#: Longest name and link that a header has room for.
_ROOM = 100
#: Bytes of a path that is too long that an error shows.
_SHOWN = 200


class Writer:
    """Collects the pieces of a stream until they are worth handing on."""

    def __init__(self):
        self._pieces = []
        #: bytes that are waiting (int)
        self.size = 0

    def entry(self, kind, name, mode, uid, gid, size, mtime, link=b"", device=(0, 0), xattrs=None):
        """Add the header of an entry, after an extended one where something does not fit.

        :param name: path in the archive (bytes); a folder's ends with ``/``.
        :param size: bytes of the body, which :meth:`body` adds.
        :param mtime: seconds since 1970 (int), negative before.
        :param device: (major, minor).
        :param xattrs: a dict of pax records (bytes), or None.
        :raises Overlay2Error: the extended header would be longer than anybody reads.
        """
        if (
            xattrs
            or len(name) > _ROOM
            or len(link) > _ROOM
            or uid > MAX_OCTAL_ID
            or gid > MAX_OCTAL_ID
            or size > MAX_OCTAL_SIZE
            or not 0 <= mtime <= MAX_OCTAL_SIZE
            or not name.isascii()
            or not link.isascii()
        ):
            block = self._extended(kind, name, mode, uid, gid, size, mtime, link, device, xattrs)
        else:
            block = ustar.build(kind, name, mode, uid, gid, size, mtime, link, device)
        self._pieces.append(block)
        self.size += headers.BLOCK

    def body(self, data):
        """Add a whole body, with what fills its last block."""
        self._pieces.append(data)
        self.size += len(data)
        self.pad(len(data))

    def pad(self, size):
        """Fill the last block of a body of ``size`` bytes."""
        rest = size % headers.BLOCK
        if rest:
            self._pieces.append(headers.ZERO_BLOCK[rest:])
            self.size += headers.BLOCK - rest

    def end(self):
        """Add what ends an archive."""
        self._pieces.append(headers.ZERO_BLOCK * 2)
        self.size += 2 * headers.BLOCK

    def flush(self):
        """What was added since the last time (bytes)."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        return data

    def _extended(self, kind, name, mode, uid, gid, size, mtime, link, device, xattrs):
        """The header (bytes) of an entry that may need more than a ustar header; what it needs is added."""
        split = ustar.split_name(name) if len(name) > _ROOM and name.isascii() else None
        records = dict(xattrs or ())
        if not split and (len(name) > _ROOM or not name.isascii()):
            records[b"path"] = name
        if len(link) > _ROOM or not link.isascii():
            records[b"linkpath"] = link
        for keyword, value, limit in ((b"uid", uid, MAX_OCTAL_ID), (b"gid", gid, MAX_OCTAL_ID),
                                      (b"size", size, MAX_OCTAL_SIZE), (b"mtime", mtime, MAX_OCTAL_SIZE)):  # fmt: skip
            if not 0 <= value <= limit:
                records[keyword] = b"%d" % value
        if not records:
            prefix, short = split
            return ustar.build(kind, short, mode, uid, gid, size, mtime, link, device, prefix)
        if split:
            records[b"path"] = name
        self._add_records(name, records)
        short, link = ustar.ascii_only(name), ustar.ascii_only(link)
        return ustar.build(kind, short, mode, uid, gid, size, mtime, link, device)

    def _add_records(self, name, records):
        data = pax.build(records)
        if len(data) > pax.MAX_LENGTH or len(name) > headers.MAX_PATH:
            raise Overlay2Error("its path or its attributes are too long for an archive", path=name[:_SHOWN] + b"...")
        folder, _slash, base = name.rpartition(b"/")
        path = b"/".join([part for part in (folder, b"PaxHeaders.0", base) if part])
        self._pieces.append(ustar.build_extended(path, len(data)))
        self.size += headers.BLOCK
        self.body(data)
