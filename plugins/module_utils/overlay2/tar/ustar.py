# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""One 512-byte ustar header (POSIX.1-1988, pax(1)), written.

Byte for byte as Go's ``archive/tar`` writes it, since Docker's digests are made of that.
"""

from __future__ import annotations

import functools
import zlib

from . import headers

#: Largest values that the octal fields hold: 7 digits, and 11.
MAX_OCTAL_ID = 0o7777777
MAX_OCTAL_SIZE = 0o77777777777

_MAGIC = b"ustar\x0000"
_NAME_LENGTH = 100
_PREFIX_LENGTH = 155


def build(
    kind: bytes,
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
) -> bytes:
    """A ustar header block. A value that does not fit its field is cut or 0: an extended header then has it in full.

    :param name: at most 100 bytes of it are used.
    :param mtime: seconds since 1970.
    """
    head = b"%b%b%011o\0%011o\0" % (
        name[:_NAME_LENGTH].ljust(_NAME_LENGTH, b"\0"),
        _build_owner(mode, uid, gid),
        size if size <= MAX_OCTAL_SIZE else 0,
        mtime if 0 <= mtime <= MAX_OCTAL_SIZE else 0,
    )
    tail, tail_sum = _build_tail(kind, link, device, prefix)
    # Here too Adler-32 adds up bytes: 148 of them are too few to reach its modulus.
    return b"%b%06o\0 %b" % (head, (zlib.adler32(head) & 0xFFFF) + tail_sum, tail)


@functools.lru_cache(maxsize=4096)
def _build_owner(mode: int, uid: int, gid: int) -> bytes:
    return b"%07o\0%07o\0%07o\0" % (
        mode,
        uid if uid <= MAX_OCTAL_ID else 0,
        gid if gid <= MAX_OCTAL_ID else 0,
    )


@functools.lru_cache(maxsize=1024)
def _build_tail(kind: bytes, link: bytes, device: tuple[int, int], prefix: bytes) -> tuple[bytes, int]:
    """All after the checksum, and what to add to the Adler-32 before it: its sum and the blanks, less Adler's one."""
    tail = b"%b%b%b%b%b" % (
        kind,
        link[:_NAME_LENGTH].ljust(_NAME_LENGTH, b"\0"),
        _MAGIC.ljust(72, b"\0"),
        b"%07o\0%07o\0" % device,
        prefix.ljust(167, b"\0"),
    )
    return tail, sum(tail) + 8 * 32 - 1


def build_extended(name: bytes, size: int) -> bytes:
    """The header block of a pax extended header with ``size`` bytes of records."""
    head = b"%b%b%011o\0%011o\0" % (
        ascii_only(name)[:_NAME_LENGTH].rstrip(b"/").ljust(_NAME_LENGTH, b"\0"),
        _build_owner(0, 0, 0),
        size,
        0,
    )
    tail = headers.PAX.ljust(101, b"\0") + _MAGIC.ljust(255, b"\0")
    return b"%b%06o\0 %b" % (head, sum(head) + sum(tail) + 8 * 32, tail)


def ascii_only(name: bytes) -> bytes:
    """``name`` without the bytes that are not ASCII, for fields that an extended header replaces."""
    return name if name.isascii() else bytes(byte for byte in name if byte < 128)


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """Prefix and name as ustar stores a long path, or None if it can't.

    :param name: more than 100 bytes.
    """
    limit = len(name) - 1 if name.endswith(b"/") else len(name)
    slash = name.rfind(b"/", 0, min(limit, _PREFIX_LENGTH + 1))
    if slash <= 0 or not 0 < len(name) - slash - 1 <= _NAME_LENGTH:
        return None
    return name[:slash], name[slash + 1 :]
