# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Records of pax extended headers: ``<length> <keyword>=<value>\\n`` (pax(1), "pax Extended Header")."""

from __future__ import annotations

import re

from ..errors import CorruptArchive
from .headers import MAX_SIZE

#: Longest extended header that is read, as in Go's ``archive/tar``. Each is held in memory.
MAX_LENGTH = 1 << 20

#: Prefix of the keywords that carry extended attributes (star's, and everybody's since).
XATTR = b"SCHILY.xattr."

_NANO = 10**9
#: Times a file can have: 1970 to 2262, as 64-bit nanoseconds.
MAX_TIME = 2**63 - 1

_TIME = re.compile(rb"(-?)0*([0-9]{1,20})(?:\.([0-9]*))?")
_TEXT_KEYWORDS = frozenset((b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name"))


def parse(data):
    """Keyword and value (bytes) of each record, in order.

    :raises CorruptArchive: a record that is malformed.
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


def integer(value, keyword, maximum=MAX_SIZE):
    """A record's value as a number (int) from 0 to ``maximum``.

    :raises CorruptArchive: it is none.
    """
    digits = value.lstrip(b"0") or value[-1:]
    if not value.isdigit() or len(digits) > 20 or int(digits) > maximum:
        raise CorruptArchive("an extended header has a wrong value for %s" % keyword)
    return int(digits)


def time(value):
    """A time record's value in nanoseconds since 1970 (int), exact; finer digits are cut off.

    :raises CorruptArchive: it is no decimal number.
    """
    match = _TIME.fullmatch(value)
    if match is None:
        raise CorruptArchive("an extended header has a time that is not a number")
    sign, seconds, fraction = match.groups()
    nanoseconds = int(seconds) * _NANO + int((fraction or b"").ljust(9, b"0")[:9])
    return -nanoseconds if sign else nanoseconds


def storable(nanoseconds):
    """The time itself, or 0 where it is before 1970 or after 2262 (moby's boundTime)."""
    return nanoseconds if 0 <= nanoseconds <= MAX_TIME else 0


def record(keyword, value):
    """One record (bytes). Its length counts itself, so it may take a second try."""
    body = b" %b=%b\n" % (keyword, value)
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return b"%d%b" % (length, body)


def build(records):
    """The body of an extended header (bytes): the records of a dict, sorted by keyword."""
    return b"".join([record(keyword, records[keyword]) for keyword in sorted(records)])
