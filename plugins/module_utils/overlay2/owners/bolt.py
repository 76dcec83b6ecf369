# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Reading bbolt databases, as BuildKit keeps its records in, also while their owner writes to them.

The format is that of go.etcd.io/bbolt (page.go, meta.go, bucket.go): a file of pages, a B+ tree for each bucket, small
buckets inline in their parent's leaf, and two meta pages of which the valid one with the higher transaction id counts.
A writer never touches the pages of the last two transactions. So what was read is one state of the database if the
meta pages are the same afterwards; else it is read again. Nothing is locked or written.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

_PAGE = struct.Struct("=QHHI")  # id, flags, count, overflow
_BRANCH = struct.Struct("=IIQ")  # pos, ksize, pgid
_LEAF = struct.Struct("=IIII")  # flags, pos, ksize, vsize
_BUCKET = struct.Struct("=QQ")  # root, sequence
#: magic, version, page size, flags, root bucket (page, sequence), freelist, high water mark, transaction id, checksum
_META = struct.Struct("=IIIIQQQQQQ")
_MAGIC, _VERSION = 0xED0CDAED, 2
_BRANCH_PAGE, _LEAF_PAGE, _META_PAGE = 0x01, 0x02, 0x04
_IS_BUCKET = 0x01

#: A tree as deep as this would hold more than any file can.
_MAX_DEPTH = 64
#: Where the first meta page is damaged, the second is looked for at these page sizes, as bbolt does.
_PAGE_SIZES = tuple(1024 << shift for shift in range(15))
#: How often a database is read that changes meanwhile.
_TRIES = 20


class BoltError(Exception):
    """It is no bbolt database, or it is damaged, or it changed each time it was read; the message is a clause."""


class _Meta(NamedTuple):
    page_size: int
    root: int
    pages: int
    transaction: int


def read(path, collect):
    """What ``collect(root)`` returns of one state of the database; root is a :class:`Bucket`.

    It may be called several times, and must not keep the bucket.

    :param path: the file (str).
    :raises BoltError: it can't be understood.
    :raises OSError: it can't be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for _attempt in range(_TRIES):
            meta, failure, result = _meta(descriptor), None, None
            try:
                result = collect(Bucket(_Pages(descriptor, meta), meta.root))
            except BoltError as error:
                failure = error  # it may be that of a page which was overwritten under our eyes
            if _meta(descriptor) != meta:
                continue
            if failure is not None:
                raise failure
            return result
    finally:
        os.close(descriptor)
    raise BoltError("changed each time it was read")


class Bucket:
    """A bucket: keys (bytes) to values (bytes) or to further buckets."""

    def __init__(self, pages, root, inline=None):
        """Not for callers: :func:`read` has the first one.

        :param root: number of its root page (int); 0 with ``inline``, the page itself.
        """
        self._pages = pages
        self._root = root
        self._inline = inline

    def items(self):
        """(key, value) pairs in the order of keys; a value is bytes, or a :class:`Bucket`.

        :raises BoltError: a page is damaged.
        """
        if self._inline is not None:
            yield from self._leaf(self._inline)
            return
        for page in self._leaves(self._root, 0):
            yield from self._leaf(page)

    def get(self, key):
        """The value of a key (bytes, or :class:`Bucket`); None where it is missing.

        :raises BoltError: a page is damaged.
        """
        for found, value in self.items():
            if found == key:
                return value
        return None

    def _leaves(self, number, depth):
        if depth > _MAX_DEPTH:
            raise BoltError("has a tree that leads back into itself")
        page = self._pages.page(number)
        flags = _PAGE.unpack_from(page)[1]
        if flags & _LEAF_PAGE:
            yield page
            return
        if not flags & _BRANCH_PAGE:
            raise BoltError("is damaged at page %d: no branch and no leaf" % number)
        for _at, _pos, _ksize, child in _elements(page, _BRANCH):
            yield from self._leaves(child, depth + 1)

    def _leaf(self, page):
        if not _PAGE.unpack_from(page)[1] & _LEAF_PAGE:
            raise BoltError("is damaged: a bucket inside a page is no leaf")
        for at, flags, position, key_size, value_size in _elements(page, _LEAF):
            start = at + position
            middle, end = start + key_size, start + key_size + value_size
            if end > len(page):
                raise BoltError("is damaged: an entry reaches beyond its page")
            value = page[middle:end]
            yield page[start:middle], self._child(value) if flags & _IS_BUCKET else value

    def _child(self, value):
        if len(value) < _BUCKET.size:
            raise BoltError("is damaged: a bucket without a head")
        root = _BUCKET.unpack_from(value)[0]
        if root:
            return Bucket(self._pages, root)
        if len(value) < _BUCKET.size + _PAGE.size:
            raise BoltError("is damaged: a bucket inside a page is cut short")
        return Bucket(self._pages, 0, inline=value[_BUCKET.size :])


class _Pages:
    """Pages of the file, read when they are asked for."""

    def __init__(self, descriptor, meta):
        self._descriptor = descriptor
        self._meta = meta

    def page(self, number):
        """A page (bytes) with those that it flows over into."""
        size = self._meta.page_size
        if not 2 <= number < self._meta.pages:
            raise BoltError("is damaged: it refers to page %d of %d" % (number, self._meta.pages))
        head = _exactly(self._descriptor, size, number * size)
        found, _flags, _count, overflow = _PAGE.unpack_from(head)
        if found != number or overflow >= self._meta.pages:
            raise BoltError("is damaged at page %d" % number)
        return head + _exactly(self._descriptor, overflow * size, (number + 1) * size) if overflow else head


def _elements(page, layout):
    """(offset, *fields) of each element of a page."""
    count = _PAGE.unpack_from(page)[2]
    if _PAGE.size + count * layout.size > len(page):
        raise BoltError("is damaged: a page claims more entries than it has room for")
    for index in range(count):
        at = _PAGE.size + index * layout.size
        yield (at,) + layout.unpack_from(page, at)


def _exactly(descriptor, length, offset):
    content = b""
    while len(content) < length:
        part = os.pread(descriptor, length - len(content), offset + len(content))
        if not part:
            raise BoltError("is cut short")
        content += part
    return content


def _meta(descriptor):
    """The :class:`_Meta` that counts: of those whose checksum is right, the one of the later transaction."""
    first = _meta_at(descriptor, 0)
    sizes = _PAGE_SIZES if first is None else (first.page_size,)
    seconds = [_meta_at(descriptor, size) for size in sizes]
    found = [first] + [meta for meta, size in zip(seconds, sizes) if meta is not None and meta.page_size == size]
    found = [meta for meta in found if meta is not None]
    if not found:
        raise BoltError("has no valid meta page")
    return max(found, key=lambda meta: meta.transaction)


def _meta_at(descriptor, offset):
    content = os.pread(descriptor, _PAGE.size + _META.size, offset)
    if len(content) < _PAGE.size + _META.size or not _PAGE.unpack_from(content)[1] & _META_PAGE:
        return None
    magic, version, page_size, _flags, root, _sequence, _freelist, pages, transaction, checksum = _META.unpack_from(
        content, _PAGE.size
    )
    body = content[_PAGE.size : _PAGE.size + _META.size - 8]
    if (magic, version) != (_MAGIC, _VERSION) or checksum != _fnv1a(body) or page_size not in _PAGE_SIZES:
        return None
    return _Meta(page_size, root, pages, transaction)


def _fnv1a(content):
    """The 64-bit FNV-1a hash (int), which meta pages are sealed with."""
    value = 0xCBF29CE484222325
    for byte in content:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
