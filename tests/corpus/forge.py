# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Valid and invalid tar archives, byte by byte, by code of its own: both it and the driver can't be wrong alike."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)


def octal(value, width):
    """A numeric field; bytes are taken as they are."""
    if isinstance(value, bytes):
        return value.ljust(width, b"\0")
    return b"%0*o\0" % (width - 1, value)


def base256(value, width):
    """A numeric field in GNU's binary form, negative values included."""
    raw = bytearray((value % (1 << 8 * width)).to_bytes(width, "big"))
    raw[0] |= 0x80
    return bytes(raw)


def header(name, kind=b"0", size=0, mode=0o644, uid=0, gid=0, mtime=1, link=b"", device=(0, 0), prefix=b"",
           magic=b"ustar\x0000", checksum=None, signed=False):  # fmt: skip
    """One header block."""
    block = bytearray(BLOCK)

    def put(at, width, data):
        assert len(data) <= width, (at, data)
        block[at : at + len(data)] = data

    put(0, 100, name)
    put(100, 8, octal(mode, 8))
    put(108, 8, octal(uid, 8))
    put(116, 8, octal(gid, 8))
    put(124, 12, octal(size, 12))
    put(136, 12, octal(mtime, 12))
    put(156, 1, kind)
    put(157, 100, link)
    put(257, 8, magic)
    if magic:
        put(329, 8, octal(device[0], 8))
        put(337, 8, octal(device[1], 8))
    put(345, 155, prefix)
    return seal(block, checksum, signed)


def seal(block, checksum=None, signed=False):
    """The block with its checksum set."""
    block = bytearray(block)
    block[148:156] = b" " * 8
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in block)
    block[148:156] = b"%06o\0 " % (total if checksum is None else checksum)
    return bytes(block)


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def file(name, data=b"data\n", **fields):
    fields.setdefault("size", len(data))
    return header(name, b"0", **fields) + padded(data)


def folder(name, mode=0o755, **fields):
    return header(name.rstrip(b"/") + b"/", b"5", mode=mode, **fields)


def symlink(name, target, **fields):
    return header(name, b"2", link=target, mode=0o777, **fields)


def hardlink(name, target, **fields):
    return header(name, b"1", link=target, **fields)


def record(keyword, value):
    body = b" " + keyword + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return b"%d" % length + body


def pax(records=(), raw=None, kind=b"x", **fields):
    """An extended header of (keyword, value) pairs, or with a raw body."""
    body = b"".join([record(keyword, value) for keyword, value in records]) if raw is None else raw
    fields.setdefault("size", len(body))
    return header(b"PaxHeaders.0/x", kind, **fields) + padded(body)


def gnu_long(kind, text):
    """A GNU header for a long name (``L``) or link target (``K``)."""
    return header(b"././@LongLink", kind, size=len(text) + 1) + padded(text + b"\0")


def old_sparse(name, pairs, real_size, data, extended=0, size=None, more=b""):
    """A file in the old GNU sparse format."""
    block = bytearray(header(name, b"S", size=len(data) if size is None else size, magic=b"ustar  \0"))
    block[329:512] = bytes(183)
    for index, (offset, length) in enumerate(pairs):
        at = 386 + 24 * index
        block[at : at + 12] = octal(offset, 12)
        block[at + 12 : at + 24] = octal(length, 12)
    block[482] = extended
    block[483:495] = octal(real_size, 12)
    return seal(block) + more + padded(data)


def pax_sparse(name, sparse_map, real_size, data, version=(b"1", b"0"), size=None):
    """A file in the pax 1.0 sparse format; ``sparse_map`` is the text of the map."""
    records = [
        (b"GNU.sparse.major", version[0]),
        (b"GNU.sparse.minor", version[1]),
        (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", real_size),
    ]
    body = padded(sparse_map) + data
    return pax(records) + file(b"GNUSparseFile.0/x", body, size=len(body) if size is None else size)


def archive(*members):
    return b"".join(members) + END
