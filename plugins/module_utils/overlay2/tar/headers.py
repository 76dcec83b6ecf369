# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""One 512-byte tar header, read and written.

Formats: POSIX.1-1988 ustar and POSIX.1-2001 pax (pax(1), "ustar Interchange Format"), GNU and old GNU
(tar manual, "Basic Tar Format"), star's variant, and the header of Unix V7. What is written is ustar,
byte for byte as Go's ``archive/tar`` writes it, since Docker's digests are made of that.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from typing import NamedTuple

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
#: uid_t and gid_t are 32 bits, and chown(2) reads the last value as "leave as it is".
MAX_ID = 2**32 - 2

#: Largest values that the octal fields hold: 7 digits, and 11.
MAX_OCTAL_ID = 0o7777777
MAX_OCTAL_SIZE = 0o77777777777

_NAME_LENGTH = 100
_PREFIX_LENGTH = 155

#: name; mode, uid and gid; size; mtime; checksum; type; link; magic and version; uname and gname; devices; the rest.
_READ = struct.Struct("100s24s12s12s8sc100s8s64x16s167s")
_CHECKSUM = slice(148, 156)

_USTAR = b"ustar\0"
_GNU = b"ustar  \0"
_STAR_TRAILER = b"tar\0"

_OCTAL = re.compile(rb"[0-7]+")


class Header(NamedTuple):
    """A header block as it stands, before extended headers have their say."""

    #: one of the type flags (bytes of length 1)
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


def parse(buffer, at):
    """Read the header at an offset.

    :param buffer: a memoryview with 512 bytes from ``at``.
    :returns: a :class:`Header`, or None for a block of zeros.
    :raises CorruptArchive: wrong checksum, a field that is no number, a size no file can have.
    """
    name, owner, size, mtime, checksum, kind, link, magic, device, rest = _READ.unpack_from(buffer, at)
    if not _checksum_matches(buffer, at, checksum):
        if buffer[at : at + BLOCK] == ZERO_BLOCK:
            return None
        raise CorruptArchive(
            "a tar header fails its checksum",
            path=text(name) or None,
            remedy="Check that the file is a tar archive, plain or compressed with gzip, bzip2, xz or zstd, and whole",
        )
    if b"\0" in name:
        name = text(name)
    if magic[:6] == _USTAR:
        prefix = text(rest[: _PREFIX_LENGTH if rest[-4:] != _STAR_TRAILER else 131])
        if prefix:
            name = prefix + b"/" + name
    elif magic != _GNU:
        device = b""  # the header of V7 has no such fields
    mode, uid, gid = _owner(owner)
    length = number(size)
    if not 0 <= length <= MAX_SIZE:
        raise CorruptArchive("a tar header gives the size %d" % length, path=name)
    return Header(kind, name, text(link), mode, uid, gid, length, number(mtime), device)


def text(field):
    """A text field (bytes) up to its first NUL."""
    end = field.find(b"\0")
    return field if end < 0 else field[:end]


@functools.lru_cache(maxsize=4096)
def number(field):
    """Value (int) of a numeric field: octal digits between blanks and NULs, or GNU's base 256.

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
        raise CorruptArchive("a tar header has %r where a number belongs" % field)
    return int(digits, 8)


@functools.lru_cache(maxsize=4096)
def _owner(fields):
    """Mode, uid and gid, which most entries have in common with others."""
    return number(fields[:8]), number(fields[8:16]), number(fields[16:])


def device_numbers(fields):
    """(major, minor) of the two device fields; 0, 0 where the header has none.

    :raises CorruptArchive: they are no numbers, or none that Linux has (12 bits and 20).
    """
    if not fields:
        return 0, 0
    major, minor = number(fields[:8]), number(fields[8:])
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
        raise CorruptArchive("no such device number: %d:%d" % (major, minor))
    return major, minor


def _byte_sum(data):
    """Sum of up to 256 bytes: the low half of Adler-32 is that sum plus one, and too small here to wrap (RFC 1950)."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def _checksum(buffer, at, field):
    """Sum of the block's bytes, with the checksum field counted as blanks."""
    return _byte_sum(buffer[at : at + 256]) + _byte_sum(buffer[at + 256 : at + BLOCK]) - _byte_sum(field) + 256


def _checksum_matches(buffer, at, field):
    total = _checksum(buffer, at, field)
    digits = text(field.strip(b" \0")).strip(b" ")
    if not _OCTAL.fullmatch(digits):
        return False
    claimed = int(digits, 8)
    if claimed == total:
        return True
    # Some old programs summed signed characters: each byte above 127 then counts 256 less.
    block = bytes(buffer[at : at + BLOCK])
    high = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in block[_CHECKSUM])
    return claimed == total - 256 * high


def build(kind, name, mode, uid, gid, size, mtime, link=b"", device=(0, 0), prefix=b""):
    """A ustar header block (bytes). What doesn't fit its field is cut or 0: an extended header then has it in full.

    :param name: at most 100 bytes of it are used.
    :param mtime: seconds since 1970.
    """
    block = b"".join(
        (
            name[:_NAME_LENGTH].ljust(_NAME_LENGTH, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0        "
            % (
                mode,
                uid if uid <= MAX_OCTAL_ID else 0,
                gid if gid <= MAX_OCTAL_ID else 0,
                size if size <= MAX_OCTAL_SIZE else 0,
                mtime if 0 <= mtime <= MAX_OCTAL_SIZE else 0,
            ),
            kind,
            link[:_NAME_LENGTH].ljust(_NAME_LENGTH, b"\0"),
            b"ustar\x0000".ljust(72, b"\0"),
            b"%07o\0%07o\0" % device,
            prefix.ljust(167, b"\0"),
        )
    )
    return _seal(block)


def build_extended(name, size):
    """The header block (bytes) of a pax extended header with ``size`` bytes of records."""
    name = ascii_only(name)[:_NAME_LENGTH].rstrip(b"/")
    block = b"".join(
        (
            name.ljust(_NAME_LENGTH, b"\0"),
            b"0000000\x000000000\x000000000\0%011o\x0000000000000\0        " % size,
            PAX.ljust(101, b"\0"),
            b"ustar\x0000".ljust(255, b"\0"),
        )
    )
    return _seal(block)


def _seal(block):
    """The block with its checksum in place of the blanks."""
    total = _byte_sum(block[:256]) + _byte_sum(block[256:])
    return b"%b%06o\0 %b" % (block[:148], total, block[156:])


def ascii_only(name):
    """``name`` less the bytes that are not ASCII, for fields that an extended header replaces."""
    return name if name.isascii() else bytes(byte for byte in name if byte < 128)


def split_name(name):
    """(prefix, name) as ustar stores a long path, or None where it can't.

    :param name: more than 100 bytes.
    """
    limit = len(name) - 1 if name.endswith(b"/") else len(name)
    slash = name.rfind(b"/", 0, min(limit, _PREFIX_LENGTH + 1))
    if slash <= 0 or not 0 < len(name) - slash - 1 <= _NAME_LENGTH:
        return None
    return name[:slash], name[slash + 1 :]


def padding(size):
    """Bytes (int) from the end of a body to the end of its last block."""
    return -size % BLOCK
