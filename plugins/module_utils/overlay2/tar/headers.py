# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""One 512-byte tar header, read.

Formats: POSIX.1-1988 ustar and POSIX.1-2001 pax (pax(1), "ustar Interchange Format"), GNU and old GNU
(tar manual, "Basic Tar Format"), star's variant, and the header of Unix V7. Writing one is in
:mod:`.ustar`.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from typing import NamedTuple, Optional

from ..errors import CorruptArchive

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)

#: Type flags.
REGULAR = b"0"
OLD_REGULAR = b"\0"
HARD_LINK = b"1"
SYMLINK = b"2"
CHARACTER = b"3"
BLOCK_DEVICE = b"4"
DIRECTORY = b"5"
FIFO = b"6"
PAX = b"x"
PAX_GLOBAL = b"g"
GNU_LONG_NAME = b"L"
GNU_LONG_LINK = b"K"
GNU_SPARSE = b"S"

#: Types that have no body, whatever their size field says.
BODILESS = frozenset((HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))

#: Largest size of a file (off_t).
MAX_SIZE = 2**63 - 1
#: Longest path of an entry. Beyond PATH_MAX it is opened piece by piece, as no single call takes it.
MAX_PATH = 2**16 - 1
#: uid_t and gid_t are 32 bits, and chown(2) reads the last value as "leave as it is".
MAX_ID = 2**32 - 2

#: name; mode, uid and gid; size; mtime; checksum; type; link; magic and version; uname and gname; devices; the rest.
_READ = struct.Struct("100s24s12s12s8sc100s8s64x16s167s")
_CHECKSUM = slice(148, 156)
_PREFIX_LENGTH = 155
#: GNU's header has the times of access and of change in place of ustar's prefix, star's has them behind a shorter one.
_STAR_PREFIX_LENGTH = 131
_GNU_TIMES = (slice(0, 12), slice(12, 24))
_STAR_ATIME = slice(131, 143)

_USTAR = b"ustar\0"
_GNU = b"ustar  \0"
_STAR_TRAILER = b"tar\0"

_new = tuple.__new__
_OCTAL = re.compile(rb"[0-7]+")


class ChecksumError(CorruptArchive):
    """A block is not a tar header. Its bytes stay out of the message: the file may be anything, a secret for one."""


class Header(NamedTuple):
    """A header block, before extended headers are taken into account."""

    #: one of the type flags
    kind: bytes
    name: bytes
    link: bytes
    #: as in the field; only 07777 is meant
    mode: int
    uid: int
    gid: int
    #: bytes of the body, before padding
    size: int
    #: seconds since 1970
    mtime: int
    #: (major, minor), still as text
    device: bytes
    #: time of access in seconds since 1970; None if the header does not have it
    atime: Optional[int]


def parse(buffer: memoryview, at: int) -> Header | None:
    """Read the header at an offset.

    :param buffer: has 512 bytes from ``at``.
    :returns: None for a block of zeros.
    :raises ChecksumError: the block is not a tar header.
    :raises CorruptArchive: a field that is not a number, a size that no file can have.
    """
    block = bytes(buffer[at : at + BLOCK])
    name, owner, size, mtime, checksum, kind, link, magic, device, rest = _READ.unpack(block)
    if not (block.isascii() and zlib.adler32(block) & 0xFFFF == _adler_for(checksum)) and not _sum_matches(block):
        if block == ZERO_BLOCK:
            return None
        raise ChecksumError("a tar header does not match its checksum")
    name = text(name)
    atime = None
    if magic[:6] == _USTAR:
        if rest[-4:] == _STAR_TRAILER:
            atime = _time(rest[_STAR_ATIME])
            rest = rest[:_STAR_PREFIX_LENGTH]
        if rest[0]:
            name = text(rest[:_PREFIX_LENGTH]) + b"/" + name
    elif magic == _GNU:
        if rest[0] or rest[12]:
            name, atime = _gnu_name_and_atime(name, rest)
    else:
        device = b""  # the header of V7 has no such fields
    mode, uid, gid = _owner(owner)
    length = number(size)
    if not 0 <= length <= MAX_SIZE:
        raise CorruptArchive("a tar header gives the size %d" % length, path=name)
    # Without the keyword handling of a NamedTuple's own constructor, twice as fast.
    return _new(
        Header, (kind, name, text(link) if link[0] else b"", mode, uid, gid, length, number(mtime), device, atime)
    )


def _time(field: bytes) -> int | None:
    """A time in seconds, or None for an empty field or one that is not a number."""
    try:
        return number(field) if field[0] else None
    except CorruptArchive:
        return None


def _gnu_name_and_atime(name: bytes, rest: bytes) -> tuple[bytes, int | None]:
    """The name and the time of access of a GNU header that uses the bytes of ustar's prefix.

    Before Go 1.8, archive/tar wrote a prefix into GNU headers. Go still reads such a header: if the bytes are not two
    times but ASCII text, they are a prefix.
    """
    times = [rest[part] for part in _GNU_TIMES if rest[part.start]]
    if None not in map(_time, times):
        return name, _time(rest[_GNU_TIMES[0]])
    prefix = text(rest[:_PREFIX_LENGTH])
    return prefix + b"/" + name if prefix and prefix.isascii() else name, None


def text(field: bytes) -> bytes:
    """A text field up to its first NUL."""
    return field.partition(b"\0")[0]


@functools.lru_cache(maxsize=4096)
def number(field: bytes) -> int:
    """Value of a numeric field: octal digits between blanks and NULs, or GNU's base 256.

    :raises CorruptArchive: it is neither.
    """
    if field[:1] >= b"\x80":
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if value >> (bits - 1) else value
    digits = text(field.strip(b" \0"))
    if not digits:
        return 0
    if not _OCTAL.fullmatch(digits.strip(b" ")):
        raise CorruptArchive("a tar header has a field that is not a number")
    return int(digits, 8)


@functools.lru_cache(maxsize=4096)
def _owner(fields: bytes) -> tuple[int, int, int]:
    """Mode, uid and gid, which are the same for many entries."""
    return number(fields[:8]), number(fields[8:16]), number(fields[16:])


def device_numbers(fields: bytes) -> tuple[int, int]:
    """Major and minor of the two device fields; 0, 0 if the header does not have them.

    :raises CorruptArchive: they are not numbers, or too large for Linux (12 and 20 bits).
    """
    if not fields:
        return 0, 0
    major, minor = number(fields[:8]), number(fields[8:])
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
        raise CorruptArchive("no such device number: %d:%d" % (major, minor))
    return major, minor


def _byte_sum(data: bytes) -> int:
    """Sum of up to 256 bytes: the low half of Adler-32 is that sum plus one, and too small here to wrap (RFC 1950)."""
    return (zlib.adler32(data) & 0xFFFF) - 1


@functools.lru_cache(maxsize=4096)
def _adler_for(field: bytes) -> int:
    """Low half of the Adler-32 that a block has if this checksum field is right; -1 if that is not a number.

    Exact for a block of ASCII, whose bytes can't add up to Adler's modulus: 512 * 127 < 65521.
    """
    digits = _checksum_digits(field)
    return 1 + int(digits, 8) - 8 * 32 + sum(field) if digits else -1


def _checksum_digits(field: bytes) -> bytes | None:
    digits = text(field.strip(b" \0")).strip(b" ")
    return digits if _OCTAL.fullmatch(digits) else None


def _sum_matches(block: bytes) -> bool:
    """Whether a block of any bytes has the checksum in its field, which counts as blanks itself."""
    field = block[_CHECKSUM]
    digits = _checksum_digits(field)
    if not digits:
        return False
    total = _byte_sum(block[:256]) + _byte_sum(block[256:]) - sum(field) + 8 * 32
    # Some old programs summed signed characters: each byte above 127 then counts 256 less.
    high = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in field)
    return int(digits, 8) in (total, total - 256 * high)
