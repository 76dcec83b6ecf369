# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Entries as bytes of a tar stream, as Go's ``archive/tar`` writes them: ustar, with pax where it must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, List

from ..errors import Overlay2Error
from . import headers, pax, ustar
from .ustar import MAX_OCTAL_ID, MAX_OCTAL_SIZE

if TYPE_CHECKING:
    from typing import Mapping

#: The longest name and link that fit into a header.
_ROOM = 100
#: Bytes of a path that is too long that an error shows.
_SHOWN = 200


class Writer:
    """Collects the pieces of a stream until there are enough to hand on."""

    def __init__(self) -> None:
        self._pieces: List[bytes] = []
        #: bytes that are waiting
        self.size = 0

    def entry(
        self,
        kind: bytes,
        name: bytes,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        mtime: int,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Add the header of an entry, after an extended one where something does not fit.

        :param name: path in the archive; that of a directory ends with ``/``.
        :param size: bytes of the body, which :meth:`body` adds.
        :param mtime: seconds since 1970, negative before.
        :param device: major and minor.
        :param xattrs: pax records.
        :raises Overlay2Error: the path or the extended header would be longer than :mod:`.reader` takes.
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

    def body(self, data: bytes) -> None:
        """Add a whole body, and the padding of its last block."""
        self._pieces.append(data)
        self.size += len(data)
        self.pad(len(data))

    def pad(self, size: int) -> None:
        """Fill the last block of a body of ``size`` bytes."""
        rest = size % headers.BLOCK
        if rest:
            self._pieces.append(headers.ZERO_BLOCK[rest:])
            self.size += headers.BLOCK - rest

    def end(self) -> None:
        """Add the end mark of an archive."""
        self._pieces.append(headers.ZERO_BLOCK * 2)
        self.size += 2 * headers.BLOCK

    def flush(self) -> bytes:
        """Everything that was added since the last call."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        return data

    def _extended(
        self,
        kind: bytes,
        name: bytes,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        mtime: int,
        link: bytes,
        device: tuple[int, int],
        xattrs: Mapping[bytes, bytes] | None,
    ) -> bytes:
        """The header of an entry that may need an extended one, which is added."""
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
        if not records and split:
            prefix, short = split
            return ustar.build(kind, short, mode, uid, gid, size, mtime, link, device, prefix)
        if split:
            records[b"path"] = name
        self._add_records(name, records)
        short, link = ustar.ascii_only(name), ustar.ascii_only(link)
        return ustar.build(kind, short, mode, uid, gid, size, mtime, link, device)

    def _add_records(self, name: bytes, records: Mapping[bytes, bytes]) -> None:
        data = pax.build(records)
        if len(data) > pax.MAX_LENGTH or len(name) > headers.MAX_PATH:
            raise Overlay2Error("its path or its attributes are too long for an archive", path=name[:_SHOWN] + b"...")
        folder, _slash, base = name.rpartition(b"/")
        path = b"/".join([part for part in (folder, b"PaxHeaders.0", base) if part])
        self._pieces.append(ustar.build_extended(path, len(data)))
        self.size += headers.BLOCK
        self.body(data)
