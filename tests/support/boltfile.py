# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Writing bbolt databases, so that a reader can be tried on each form of page without the program that makes them."""

from __future__ import annotations

import struct

PAGE = struct.Struct("=QHHI")
MAGIC = 0xED0CDAED


def write(path, tree, *, page_size=4096, entries_per_page=None, inline_below=0, transaction=7):
    """Make a database of *tree*: nested dicts of bytes to bytes or dict.

    *entries_per_page*: more make branch pages above several leaves. *inline_below*: buckets of fewer bytes than this
    that hold no buckets lie in their parent's page.
    """
    pages = _Pages(page_size, entries_per_page, inline_below)
    root = pages.bucket(tree)
    content = b"".join(pages.done)
    count = 4 + len(content) // page_size
    heads = [_meta(page_size, number, root, count, transaction - 1 + number) for number in (0, 1)]
    blank = [PAGE.pack(number, flags, 0, 0).ljust(page_size, b"\0") for number, flags in ((2, 0x10), (3, 0x02))]
    with open(path, "wb") as target:
        target.write(b"".join(heads + blank) + content)


def _meta(page_size, number, root, pages, transaction):
    body = struct.pack("=IIIIQQQQQ", MAGIC, 2, page_size, 0, root, 0, 2, pages, transaction)
    return (PAGE.pack(number, 0x04, 0, 0) + body + struct.pack("=Q", fnv1a(body))).ljust(page_size, b"\0")


def fnv1a(content):
    value = 14695981039346656037
    for byte in content:
        value = ((value ^ byte) * 1099511628211) % 2**64
    return value


class _Pages:
    """Pages in the making; those before number 4 are written by others."""

    def __init__(self, size, entries_per_page, inline_below):
        self.done = []
        self._size = size
        self._most = entries_per_page or 10**9
        self._inline_below = inline_below
        self._next = 4

    def bucket(self, tree):
        """Write a bucket's pages; gives the number of its root page."""
        entries = [self._entry(key, value) for key, value in sorted(tree.items())]
        level = [
            (part[0][1] if part else b"", self._page(0x02, *_leaf(part)))
            for part in _parts(entries, self._most) or [[]]
        ]
        while len(level) > 1:
            level = [(part[0][0], self._page(0x01, *_branch(part))) for part in _parts(level, max(self._most, 2))]
        return level[0][1]

    def _entry(self, key, value):
        if not isinstance(value, dict):
            return 0, key, value
        flat = [(0, k, v) for k, v in sorted(value.items())]
        if not any(isinstance(v, dict) for _flags, _key, v in flat):
            count, body = _leaf(flat)
            if len(body) < self._inline_below:
                return 1, key, struct.pack("=QQ", 0, 0) + PAGE.pack(0, 0x02, count, 0) + body
        return 1, key, struct.pack("=QQ", self.bucket(value), 0)

    def _page(self, flags, count, body):
        number = self._next
        length = -(-(PAGE.size + len(body)) // self._size)
        self._next += length
        self.done.append((PAGE.pack(number, flags, count, length - 1) + body).ljust(length * self._size, b"\0"))
        return number


def _parts(items, most):
    return [items[start : start + most] for start in range(0, len(items), most)]


def _leaf(entries):
    heads, data = b"", b""
    for index, (flags, key, value) in enumerate(entries):
        heads += struct.pack("=IIII", flags, 16 * (len(entries) - index) + len(data), len(key), len(value))
        data += key + value
    return len(entries), heads + data


def _branch(children):
    heads, data = b"", b""
    for index, (key, number) in enumerate(children):
        heads += struct.pack("=IIQ", 16 * (len(children) - index) + len(data), len(key), number)
        data += key
    return len(children), heads + data
