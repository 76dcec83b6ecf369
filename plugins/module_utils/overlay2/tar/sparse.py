# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Where the data of sparse files goes: the old GNU format and pax 0.0, 0.1, 1.0 (tar manual, "Sparse Formats")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List

from ..errors import CorruptArchive
from . import pax
from .headers import BLOCK, MAX_SIZE, number

if TYPE_CHECKING:
    from typing import Callable, Iterable

#: Longest map that is read, in bytes of the archive (as in Go's ``archive/tar``). It is held in memory.
MAX_MAP = 1 << 20

#: Keywords of pax sparse files: what makes an entry a sparse one, its name and its size.
MAJOR = b"GNU.sparse.major"
MINOR = b"GNU.sparse.minor"
NAME = b"GNU.sparse.name"
REAL_SIZE = b"GNU.sparse.realsize"
SIZE = b"GNU.sparse.size"
MAP = b"GNU.sparse.map"
_OFFSET = b"GNU.sparse.offset"
_LENGTH = b"GNU.sparse.numbytes"
_COUNT = b"GNU.sparse.numblocks"

#: The old GNU header: four pairs from here, then a flag that more blocks follow, then the file's size.
_OLD_MAP = 386
_OLD_EXTENDED = 482
_OLD_SIZE = 483
#: A further block: 21 pairs and the flag.
_MORE_PAIRS = 21
_MORE_EXTENDED = 504

_DECIMAL = re.compile(rb"0*[0-9]{1,19}")


def from_old_header(block: bytes, take: Callable[[int], bytes]) -> tuple[list[tuple[int, int]], int]:
    """Map and size of an old GNU sparse header.

    :param take: called with a number of bytes, returns the next ones of the stream.
    :returns: the map as a list of (offset, length), and the file's size in bytes.
    :raises CorruptArchive: the map is malformed or too long.
    """
    pairs = _old_pairs(block, _OLD_MAP, 4)
    extended, read = block[_OLD_EXTENDED], 0
    while extended:
        read += BLOCK
        if read > MAX_MAP:
            raise _too_long()
        more = take(BLOCK)
        pairs += _old_pairs(more, 0, _MORE_PAIRS)
        extended = more[_MORE_EXTENDED]
    return pairs, number(block[_OLD_SIZE : _OLD_SIZE + 12])


def _old_pairs(block: bytes, at: int, count: int) -> list[tuple[int, int]]:
    pairs = []
    for start in range(at, at + 24 * count, 24):
        if not block[start]:  # an unused pair ends the list
            break
        pairs.append((number(block[start : start + 12]), number(block[start + 12 : start + 24])))
    return pairs


def from_records(records: Iterable[tuple[bytes, bytes]]) -> list[tuple[int, int]] | None:
    """The map of a pax 0.0 or 0.1 sparse file as a list of (offset, length), or None if the records do not have one.

    :param records: all keywords and values in order; those of 0.0 repeat.
    :raises CorruptArchive: it is malformed.
    """
    flat: List[bytes] = []
    count = None
    for keyword, value in records:
        if keyword == MAP:
            flat = value.split(b",") if value else []
            return _paired(flat, count)
        if keyword == _COUNT:
            count = pax.integer(value, "a sparse map")
        elif keyword in (_OFFSET, _LENGTH):
            if (keyword == _OFFSET) == bool(len(flat) % 2):
                raise CorruptArchive("a sparse map has its offsets and lengths out of order")
            flat.append(value)
    return _paired(flat, count) if flat or count is not None else None


def _paired(flat: list[bytes], count: int | None) -> list[tuple[int, int]]:
    values = [pax.integer(value, "a sparse map") for value in flat]
    if len(values) % 2 or (count is not None and count * 2 != len(values)):
        raise CorruptArchive("a sparse map does not have the number of pieces it announces")
    return list(zip(values[::2], values[1::2]))


def from_body(take: Callable[[int], bytes]) -> tuple[list[tuple[int, int]], int]:
    """Map, and bytes read, of a pax 1.0 sparse file, whose body starts with its map in decimal lines.

    :raises CorruptArchive: it is malformed or too long.
    """
    text, read = b"", 0
    wanted = None
    lines: List[bytes] = []
    while wanted is None or len(lines) < wanted:
        if read >= MAX_MAP:
            raise _too_long()
        *whole, text = (text + take(BLOCK)).split(b"\n")
        read += BLOCK
        lines += whole
        if wanted is None and lines:
            wanted = 1 + 2 * _decimal(lines[0])
        # What follows the last number is the padding of its block.
        if len(text.lstrip(b"0")) > 19 and (wanted is None or len(lines) < wanted):
            raise CorruptArchive("a sparse map has a number that is too long")
    values = [_decimal(line) for line in lines[1:wanted]]
    return list(zip(values[::2], values[1::2])), read


def _decimal(line: bytes) -> int:
    if not _DECIMAL.fullmatch(line):
        raise CorruptArchive("a sparse map has a line that is not a number")
    return int(line.lstrip(b"0") or b"0")


def check(pairs: Iterable[tuple[int, int]], stored: int, size: int) -> None:
    """Refuse a map whose pieces overlap, go backwards, leave the file, or do not add up to the stored data.

    :param stored: bytes of data in the archive.
    :param size: the file's size in bytes.
    :raises CorruptArchive: saying which.
    """
    end = total = 0
    for offset, length in pairs:
        if offset < end or length < 0:
            raise CorruptArchive("a sparse map has pieces that overlap")
        end = offset + length
        total += length
    if not end <= size <= MAX_SIZE:
        raise CorruptArchive("a sparse map leads beyond the end of the file")
    if total != stored:
        raise CorruptArchive("a sparse map asks for %d bytes where the archive has %d" % (total, stored))


def _too_long() -> CorruptArchive:
    return CorruptArchive("a sparse map is longer than %d bytes" % MAX_MAP)
