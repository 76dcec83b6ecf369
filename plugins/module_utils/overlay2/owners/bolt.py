# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Reads bbolt databases, in which BuildKit and Podman keep their records, also while their owner writes to them.

The format is that of go.etcd.io/bbolt (page.go, meta.go, bucket.go): a file of pages, a B+ tree for each bucket, small
buckets inline in their parent's leaf, and two meta pages of which the valid one with the higher transaction id counts.
A writer never touches the pages of the last two transactions. So if the meta pages are the same before and after, one
state of the database was read; otherwise it is read again. Nothing is locked or written.
"""

from __future__ import annotations

import os
import struct
from typing import Callable, Iterator, NamedTuple, TypeVar, Union

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
#: If the first meta page is damaged, the second is looked for at these page sizes, as bbolt does.
_PAGE_SIZES = tuple(1024 << shift for shift in range(15))
#: How often a database is read if it changes meanwhile.
_TRIES = 20


_T = TypeVar("_T")


class BoltError(Exception):
    """Not a bbolt database, or a damaged one, or one that changed each time it was read; the message is a clause."""


class _Meta(NamedTuple):
    page_size: int
    root: int
    pages: int
    transaction: int


def read(path: str, collect: Callable[[Bucket], _T]) -> _T:
    """Returns the result of ``collect`` for one state of the database.

    :param collect: called with the root bucket, possibly several times; it must not keep the bucket.
    :raises BoltError: the database can't be understood.
    :raises OSError: the file can't be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not block the reader
    try:
        for _attempt in range(_TRIES):
            meta = _meta(descriptor)
            try:
                result = collect(Bucket(_Pages(descriptor, meta), meta.root))
            except BoltError:
                if _meta(descriptor) != meta:
                    continue  # a page was overwritten while it was read
                raise
            if _meta(descriptor) == meta:
                return result
    finally:
        os.close(descriptor)
    raise BoltError("changed each time it was read")


class Bucket:
    """A bucket: keys to values, or to further buckets."""

    def __init__(self, pages: _Pages, root: int, inline: bytes | None = None) -> None:
        """Not for callers: :func:`read` gives them the first one.

        :param root: number of its root page; 0 with ``inline``, the page itself.
        """
        self._pages = pages
        self._root = root
        self._inline = inline

    def items(self) -> Iterator[tuple[bytes, Value]]:
        """Yields keys and values, in the order of keys.

        :raises BoltError: a page is damaged.
        """
        if self._inline is not None:
            yield from self._leaf(self._inline)
            return
        for page in self._leaves(self._root, 0):
            yield from self._leaf(page)

    def get(self, key: bytes) -> Value | None:
        """Returns the value of a key; None if it is missing.

        :raises BoltError: a page is damaged.
        """
        for found, value in self.items():
            if found == key:
                return value
        return None

    def _leaves(self, number: int, depth: int) -> Iterator[bytes]:
        if depth > _MAX_DEPTH:
            raise BoltError("has a tree that leads back into itself")
        page = self._pages.page(number)
        flags = _PAGE.unpack_from(page)[1]
        if flags & _LEAF_PAGE:
            yield page
            return
        if not flags & _BRANCH_PAGE:
            raise BoltError("is damaged at page %d: no branch and no leaf" % number)
        for _at, _pos, _ksize, child, _none in _elements(page, _BRANCH):
            yield from self._leaves(child, depth + 1)

    def _leaf(self, page: bytes) -> Iterator[tuple[bytes, Value]]:
        if not _PAGE.unpack_from(page)[1] & _LEAF_PAGE:
            raise BoltError("is damaged: a bucket inside a page is not a leaf")
        for at, flags, position, key_size, value_size in _elements(page, _LEAF):
            start = at + position
            middle, end = start + key_size, start + key_size + value_size
            if end > len(page):
                raise BoltError("is damaged: an entry reaches beyond its page")
            value = page[middle:end]
            yield page[start:middle], self._child(value) if flags & _IS_BUCKET else value

    def _child(self, value: bytes) -> Bucket:
        if len(value) < _BUCKET.size:
            raise BoltError("is damaged: a bucket without a head")
        root = _BUCKET.unpack_from(value)[0]
        if root:
            return Bucket(self._pages, root)
        if len(value) < _BUCKET.size + _PAGE.size:
            raise BoltError("is damaged: a bucket inside a page is cut short")
        return Bucket(self._pages, 0, inline=value[_BUCKET.size :])


#: The value of a key: bytes, or a further bucket.
Value = Union[bytes, Bucket]


class _Pages:
    """Pages of the file, read on demand."""

    def __init__(self, descriptor: int, meta: _Meta) -> None:
        self._descriptor = descriptor
        self._meta = meta

    def page(self, number: int) -> bytes:
        """Returns a page with those that it overflows into."""
        size = self._meta.page_size
        if not 2 <= number < self._meta.pages:
            raise BoltError("is damaged: it refers to page %d of %d" % (number, self._meta.pages))
        head = _exactly(self._descriptor, size, number * size)
        found, _flags, _count, overflow = _PAGE.unpack_from(head)
        if found != number or overflow >= self._meta.pages:
            raise BoltError("is damaged at page %d" % number)
        return head + _exactly(self._descriptor, overflow * size, (number + 1) * size) if overflow else head


def _elements(page: bytes, layout: struct.Struct) -> Iterator[tuple[int, int, int, int, int]]:
    """Yields the offset and the fields of each element of a page; a fourth field is 0 if the layout has three."""
    count = _PAGE.unpack_from(page)[2]
    if _PAGE.size + count * layout.size > len(page):
        raise BoltError("is damaged: a page claims more entries than it can hold")
    for index in range(count):
        at = _PAGE.size + index * layout.size
        first, second, third, fourth = (*layout.unpack_from(page, at), 0)[:4]
        yield at, first, second, third, fourth


def _exactly(descriptor: int, length: int, offset: int) -> bytes:
    content = b""
    while len(content) < length:
        part = os.pread(descriptor, length - len(content), offset + len(content))
        if not part:
            raise BoltError("is cut short")
        content += part
    return content


def _meta(descriptor: int) -> _Meta:
    """Returns the meta page that counts: of those with a correct checksum, the one of the later transaction."""
    first = _meta_at(descriptor, 0)
    sizes = _PAGE_SIZES if first is None else (first.page_size,)
    seconds = [_meta_at(descriptor, size) for size in sizes]
    found = [meta for meta, size in zip(seconds, sizes) if meta is not None and meta.page_size == size]
    found += [] if first is None else [first]
    if not found:
        raise BoltError("has no valid meta page")
    return max(found, key=lambda meta: meta.transaction)


def _meta_at(descriptor: int, offset: int) -> _Meta | None:
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


def _fnv1a(content: bytes) -> int:
    """Returns the 64-bit FNV-1a hash, the checksum of meta pages."""
    value = 0xCBF29CE484222325
    for byte in content:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
