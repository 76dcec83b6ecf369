# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Finds the members of a tar by its headers alone. Names in it are keys of a dict, never paths of files."""

from __future__ import annotations

import os
import posixpath
from typing import Dict, Iterator, NamedTuple, Optional, Protocol

from ..errors import ArchiveError, CorruptArchive, ImageError, printable
from ..tar import headers, pax
from ..tar.reader import clean

#: Most members of an image's archive; a layout has one for each blob, and `docker save` four for each layer.
MAX_MEMBERS = 100_000
#: Most links from a name to a file.
_MAX_HOPS = 16
_LINKS = (headers.SYMLINK, headers.HARD_LINK)


class Member(NamedTuple):
    """One member of a tar."""

    #: Type flag, as in :mod:`..tar.headers`.
    kind: bytes
    #: Where its content begins, in bytes.
    offset: int
    size: int
    #: Name of the member that a link stands for, as written.
    link: str


class Bytes(Protocol):
    """What a tar is read from."""

    def take(self, count: int) -> bytes:
        """Returns the next bytes, fewer only at the end."""

    def move(self, offset: int) -> None:
        """Goes forward to an offset."""


def members(source: Bytes) -> Iterator[tuple[str, Member]]:
    """Yields name and member of each file and link; the source may be read up to the member's end before the next.

    :raises CorruptArchive: it is not a tar archive, or is damaged.
    :raises ImageError: it has more members than an image can have.
    """
    at = 0
    records: Dict[bytes, bytes] = {}
    long_names: Dict[bytes, bytes] = {}
    for _number in range(MAX_MEMBERS):
        source.move(at)
        header = _header(source.take(headers.BLOCK), at)
        if header is None:
            return
        at += headers.BLOCK
        size = 0 if header.kind in headers.BODILESS else header.size
        if header.kind in (headers.PAX, headers.GNU_LONG_NAME, headers.GNU_LONG_LINK):
            body = _extension(source, header)
            if header.kind == headers.PAX:
                records = {key: value for key, value in pax.parse(body) if value}
            else:
                long_names[header.kind] = headers.text(body)
        elif header.kind != headers.PAX_GLOBAL:
            if b"size" in records and size:
                size = pax.integer(records[b"size"], "the size")
            name = long_names.get(headers.GNU_LONG_NAME, records.get(b"path", header.name))
            link = long_names.get(headers.GNU_LONG_LINK, records.get(b"linkpath", header.link))
            key = _key(name)
            kind = headers.REGULAR if header.kind == headers.OLD_REGULAR else header.kind
            if key is not None and kind in (headers.REGULAR, *_LINKS):
                yield key, Member(kind, at, size, os.fsdecode(link))
            records, long_names = {}, {}
        at += size + -size % headers.BLOCK
    raise ImageError("it has more than %d members, so it is not an image" % MAX_MEMBERS)


def _header(block: bytes, at: int) -> Optional[headers.Header]:
    """Returns the header in a block; None at the end of the archive."""
    if len(block) < headers.BLOCK:
        if at and not block:
            return None
        raise CorruptArchive("it is cut short" if at else "it is not a tar archive", remedy=_AGAIN)
    try:
        return headers.parse(memoryview(block), 0)
    except headers.ChecksumError:
        if not at:
            raise ImageError("it is neither a directory nor a tar archive", remedy=_FORMS) from None
        raise CorruptArchive("it is damaged: at byte %d there is no tar header" % at, remedy=_AGAIN) from None


_AGAIN = "Fetch it again and compare its digest"
_FORMS = "Give an OCI image layout, or an archive that 'docker save' or 'skopeo copy' wrote"


def _extension(source: Bytes, header: headers.Header) -> bytes:
    if header.size > pax.MAX_LENGTH:
        raise CorruptArchive("an extended header is longer than %d bytes" % pax.MAX_LENGTH, remedy=_AGAIN)
    body = source.take(header.size)
    if len(body) < header.size:
        raise CorruptArchive("it is cut short", remedy=_AGAIN)
    return body


def _key(name: bytes) -> str | None:
    """Returns the name without ``./`` and the like; None if it leads out of the archive, where nothing looks for it."""
    try:
        return os.fsdecode(clean(name))
    except ArchiveError:
        return None


def resolve(index: Dict[str, Member], name: str) -> Optional[Member]:
    """Returns the file that a name in the archive stands for, whatever links lead to it; None if there is none.

    :raises ImageError: a link leads out of the archive, or in a circle.
    """
    current = name
    for _hop in range(_MAX_HOPS):
        member = index.get(current)
        if member is None or member.kind == headers.REGULAR:
            return member
        target = member.link
        if member.kind == headers.SYMLINK:
            target = posixpath.join(posixpath.dirname(current), target)
        target = posixpath.normpath(target)
        if target.startswith(("/", "../")) or target == "..":
            raise ImageError("the link %s leads out of the archive" % printable(name), remedy=_FORMS)
        current = target
    raise ImageError("the link %s leads in a circle" % printable(name), remedy=_FORMS)
