# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Records of pax extended headers: ``<length> <keyword>=<value>\\n`` (pax(1), "pax Extended Header")."""

from __future__ import annotations

import binascii
import os
import re
from typing import TYPE_CHECKING, Dict, Optional

from ..errors import CorruptArchive
from ..linux import xattr
from . import acl
from .headers import MAX_SIZE

if TYPE_CHECKING:
    from typing import Iterable, Mapping

#: Longest extended header that is read, as in Go's ``archive/tar``. Each is held in memory.
MAX_LENGTH = 1 << 20

#: Prefix of the keywords that carry extended attributes (star's, and everybody's since).
XATTR = b"SCHILY.xattr."
#: The same by libarchive: names are percent-encoded and values in base64, as neither may be text.
LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."
#: ACLs in text form, by the attribute that keeps them (star's, and everybody's since).
ACLS = {b"SCHILY.acl.access": xattr.ACCESS_ACL, b"SCHILY.acl.default": xattr.DEFAULT_ACL}

_NANO = 10**9
#: Times a file can have: 1970 to 2262, as 64-bit nanoseconds.
MAX_TIME = 2**63 - 1

_TIME = re.compile(rb"(-?)0*([0-9]{1,20})(?:\.([0-9]*))?")
#: libarchive leaves out what fills the last group.
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_TEXT_KEYWORDS = frozenset((b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name"))


def parse(data: bytes) -> list[tuple[bytes, bytes]]:
    """Keyword and value of each record, in order.

    :raises CorruptArchive: a record is malformed.
    """
    records, at, end = [], 0, len(data)
    while at < end:
        # Seven digits are enough for the length of a record of 1 MiB; Go takes zeros in front of them.
        blank = data.find(b" ", at, at + 21)
        digits = data[at:blank] if blank > at else b""
        if not digits.isdigit():
            raise CorruptArchive("an extended header has a record without a length")
        stop = at + int(digits)
        if stop > end or stop <= blank + 1 or data[stop - 1 : stop] != b"\n":
            raise CorruptArchive("an extended header has a record of a wrong length")
        keyword, equals, value = data[blank + 1 : stop - 1].partition(b"=")
        if not equals or not keyword or b"\0" in (value if keyword in _TEXT_KEYWORDS else keyword):
            raise CorruptArchive("an extended header has a malformed record")
        records.append((keyword, value))
        at = stop
    return records


def integer(value: bytes, keyword: str, maximum: int = MAX_SIZE) -> int:
    """A record's value as a number from 0 to ``maximum``.

    :raises CorruptArchive: it is not one.
    """
    digits = value.lstrip(b"0") or value[-1:]
    if not value.isdigit() or len(digits) > 20 or int(digits) > maximum:
        raise CorruptArchive("an extended header has a wrong value for %s" % keyword)
    return int(digits)


def time(value: bytes) -> int:
    """A time record's value in nanoseconds since 1970, exact; finer digits are cut off.

    :raises CorruptArchive: it is not a decimal number.
    """
    match = _TIME.fullmatch(value)
    if match is None:
        raise CorruptArchive("an extended header has a time that is not a number")
    sign, seconds, fraction = match.groups()
    nanoseconds = int(seconds) * _NANO + int((fraction or b"").ljust(9, b"0")[:9])
    return -nanoseconds if sign else nanoseconds


def storable(nanoseconds: int) -> int:
    """The time itself, or 0 if it is before 1970 or after 2262 (moby's boundTime)."""
    return nanoseconds if 0 <= nanoseconds <= MAX_TIME else 0


def xattrs(records: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, bytes | None], ...]:
    """Name and value of the extended attributes among records, ACLs included; of repeated ones the last.

    GNU tar encodes ``%`` and ``=`` in names, star and Go nothing, libarchive everything that is not plain text.

    :returns: the value is None for a name that no attribute has, and for an ACL that can't be read, for example since
        a user has no numeric id.
    :raises CorruptArchive: a value is not base64 where it must be.
    """
    found: Dict[bytes, Optional[bytes]] = {}
    others: Dict[bytes, bytes] = {}
    for keyword, value in records:
        if keyword.startswith(XATTR):
            found[keyword[len(XATTR) :].replace(b"%3D", b"=").replace(b"%25", b"%")] = value
        elif keyword.startswith(LIBARCHIVE_XATTR):
            others[_PERCENT.sub(lambda code: bytes([int(code[1], 16)]), keyword[len(LIBARCHIVE_XATTR) :])] = value
        elif keyword in ACLS and value:
            found.setdefault(os.fsencode(ACLS[keyword]), acl.encode(value))
    for name, value in others.items():
        if name not in found:
            if not _BASE64.fullmatch(value):
                raise CorruptArchive("an extended header has an attribute that is not in base64")
            found[name] = binascii.a2b_base64(value + b"=" * (-len(value) % 4))
    return tuple([(os.fsdecode(name), None if b"\0" in name else value) for name, value in found.items()])


def xattr_keyword(name: str) -> bytes:
    """Keyword of the record for an extended attribute, whose name may have ``=`` in it; :func:`xattrs` reads it."""
    return XATTR + os.fsencode(name).replace(b"%", b"%25").replace(b"=", b"%3D")


def record(keyword: bytes, value: bytes) -> bytes:
    """One record. Its length counts itself, so it may take a second try."""
    body = b" %b=%b\n" % (keyword, value)
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return b"%d%b" % (length, body)


def build(records: Mapping[bytes, bytes]) -> bytes:
    """The body of an extended header: the records, sorted by keyword."""
    return b"".join([record(keyword, records[keyword]) for keyword in sorted(records)])
