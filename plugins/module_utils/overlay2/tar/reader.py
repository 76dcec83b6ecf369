# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""A tar stream as a sequence of entries, read once from front to back in bounded memory.

Extended headers apply as in Go's ``archive/tar``, which Docker uses: one replaces the one before it, global headers are
ignored, and GNU long names take precedence over both.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

from ..errors import ArchiveError, CorruptArchive, from_os_error
from . import headers, pax, sparse
from .background import BackgroundJob
from .entry import Entry, clean
from .headers import BLOCK

if TYPE_CHECKING:
    from typing import Callable, Iterator

    from .decompression import ByteSource

#: Bytes that are read at once: enough that hashing them in a second thread pays off.
CHUNK = 1 << 20
#: Number of chunks, used in turn, so that others may still work on earlier ones.
CHUNKS = 2

#: A chunk with less space is not filled up. More than any header needs.
_ROOM = 1 << 14
#: Bytes that take longer to hash than to hand to another thread.
_WORTH_A_THREAD = 1 << 18

_NANO = 10**9
_new = tuple.__new__  # without the keyword handling of a NamedTuple's own constructor, twice as fast
_NO_RECORDS: Tuple[Tuple[bytes, bytes], ...] = ()

#: First bytes of names that may not be clean; the empty name is not either.
_NEEDS_CLEANING = frozenset((b"", b"."))
#: Names up to this length are short enough in any directory of a checked one.
_SHORT = 256


class Reader:
    """Entries of an uncompressed tar stream, and the rest of the current one's body.

    :param progress: called with the number of bytes read so far, about once for each MiB.
    """

    def __init__(self, source: ByteSource, progress: Callable[[int], None] | None = None) -> None:
        self._readinto = source.readinto
        self._end_thread = getattr(source, "end_thread", None)
        self._progress = progress
        #: The chunks one after the other (memoryview), which processes forked from now on share.
        self.memory = memoryview(mmap.mmap(-1, CHUNKS * CHUNK))
        #: Called before a chunk is read into again, with its first offset in the memory and its end.
        self.before_reuse: Optional[Callable[[int, int], None]] = None
        self._start = 0  # of the chunk in use
        self._view = self.memory[:CHUNK]
        self._at = self._end = 0  # the part of the chunk that is not used up
        self._left = 0  # bytes to the end of the current body, padding included
        self._padding = 0  # bytes that fill the last block of the current body
        #: False once the archive has ended without a block of zeros: it may have been cut between two entries.
        self.end_is_marked = True
        self._digest = hashlib.sha256()
        self._hashing = BackgroundJob()
        self._total = 0
        self._folder: Optional[bytes] = None  # of the last entry, as in the archive
        self._prefix = b""  # the same, clean and with its slash

    @property
    def diff_id(self) -> str:
        """sha256 of everything that was read so far, as ``sha256:<hex>``."""
        self._hashing.wait()
        return "sha256:" + self._digest.hexdigest()

    def end_threads(self) -> None:
        """End the threads that decompress and hash. The next large pieces start others."""
        self._hashing.close()
        if self._end_thread is not None:
            self._end_thread()

    def close(self) -> None:
        """End the thread that hashes."""
        self._hashing.close()

    def entries(self) -> Iterator[Entry]:
        """Generate each member. The rest of its body that was not read is skipped.

        The stream is read to its end, so that the digest is of all of it. An archive may end after any entry, with
        or without blocks of zeros and the padding of the last entry, as for Go's ``archive/tar``: see
        :attr:`end_is_marked`.

        :raises CorruptArchive: the stream is not a tar archive, is cut short within an entry, or malformed.
        :raises BreakoutError: the ``..`` in an entry's name leads out of the archive's root.
        :raises ArchiveError: a type that can't be unpacked, an id or a name that no file can have.
        """
        extended: Sequence[Tuple[bytes, bytes]] = _NO_RECORDS
        long_name = long_link = None
        while True:
            header = self._next_header()
            if header is None:
                break
            kind = header.kind
            if kind == headers.PAX:
                extended = pax.parse(self._extension(header))
            elif kind == headers.PAX_GLOBAL:
                self._extension(header)
            elif kind == headers.GNU_LONG_NAME:
                long_name = headers.text(self._extension(header))
            elif kind == headers.GNU_LONG_LINK:
                long_link = headers.text(self._extension(header))
            elif extended or long_name is not None or long_link is not None or kind == headers.GNU_SPARSE:
                yield self._extended_entry(header, extended, long_name, long_link)
                extended, long_name, long_link = _NO_RECORDS, None, None
            else:
                yield self._plain_entry(header)
        if extended or long_name is not None or long_link is not None:
            raise CorruptArchive("the archive ends with an extended header whose entry is missing")
        self._finish()

    def copy(self, descriptor: int, count: int) -> None:
        """Write the next ``count`` bytes of the current body to a descriptor, from its offset on.

        :raises CorruptArchive: the stream ends before.
        :raises OSError: the descriptor can't be written.
        """
        self._left -= count
        while count:
            if self._at == self._end:
                self._fill(1)
            at, end = self._at, self._end
            done = os.write(descriptor, self._view[at : at + count if at + count < end else end])
            self._at = at + done
            count -= done

    def claim(self, count: int) -> int | None:
        """Count the next ``count`` bytes of the current body as read if all are in memory.

        :returns: their offset in :attr:`memory`, where they stay until :attr:`before_reuse` is called for it; or None,
            and nothing is read.
        """
        at = self._at
        if self._end - at < count:
            return None
        self._left -= count
        self._at = at + count
        return self._start + at if count else self._start

    def _take(self, count: int) -> bytes:
        """The next ``count`` bytes, for headers and maps only."""
        parts = []
        while count:
            if self._at == self._end:
                self._fill(1)
            part = bytes(self._view[self._at : min(self._end, self._at + count)])
            parts.append(part)
            self._at += len(part)
            count -= len(part)
        return b"".join(parts)

    def _take_of_body(self, count: int) -> bytes:
        if count > self._left:
            raise CorruptArchive("a sparse map is cut short")
        self._left -= count
        return self._take(count)

    def _skip_rest(self) -> None:
        """Skip the rest of the current body."""
        count = self._left
        while count:
            if self._at == self._end and not self._read():
                if count > self._padding:
                    raise self._cut_short()
                break
            part = min(self._end - self._at, count)
            self._at += part
            count -= part
        self._left = 0

    def _fill(self, need: int) -> None:
        """Read on until ``need`` bytes (up to a block) are in memory.

        :raises CorruptArchive: the stream ends before.
        """
        while self._end - self._at < need:
            if not self._read():
                raise self._cut_short()

    def _cut_short(self) -> CorruptArchive:
        return CorruptArchive(
            "the archive is cut short after %d bytes" % self._total, remedy="Fetch it again and compare its size"
        )

    def _read(self) -> int:
        """Read once, after the unused bytes; returns the number of bytes, 0 at the end of the stream."""
        if CHUNK - self._end < _ROOM:
            self._turn()
        try:
            count = self._readinto(self._view[self._end :])
        except OSError as error:
            raise from_os_error(ArchiveError, "the archive can't be read", error) from error
        if count:
            end = self._end + count
            self._hash(self._view[self._end : end])
            self._end = end
            self._total += count
            if self._progress is not None:
                self._progress(self._total)
        return count

    def _turn(self) -> None:
        """Go on in the next chunk, with the unused bytes of this one."""
        rest = self._view[self._at : self._end]
        self._start = (self._start + CHUNK) % len(self.memory)
        if self.before_reuse is not None:
            self.before_reuse(self._start, self._start + CHUNK)
        self._view = self.memory[self._start : self._start + CHUNK]
        self._at, self._end = 0, len(rest)
        self._view[: self._end] = rest

    def _hash(self, part: memoryview) -> None:
        """Add a part of the current chunk to the digest. Afterwards all others are hashed."""
        self._hashing.wait()
        if len(part) < _WORTH_A_THREAD:
            self._digest.update(part)
        else:
            self._hashing.start(self._digest.update, part)

    def _next_header(self) -> headers.Header | None:
        """The header after the current body, or None at the end of the archive."""
        if self._left:
            self._skip_rest()
        if self._end - self._at < BLOCK:
            if self._at == self._end and not self._read():
                self.end_is_marked = False
                return None
            self._fill(BLOCK)
        at = self._at
        try:
            header = headers.parse(self._view, at)
        except headers.ChecksumError:
            raise self._not_a_header() from None
        self._at = at + BLOCK
        if header is None:
            self._left = 0
            self._expect_end()
            return None
        self._expect_body(header.kind, header.size)
        return header

    def _expect_body(self, kind: bytes, size: int) -> None:
        if kind in headers.BODILESS or not size:
            self._left = 0
        else:
            self._padding = -size % BLOCK
            self._left = size + self._padding

    def _not_a_header(self) -> CorruptArchive:
        at = self._total - (self._end - self._at)
        if not at:
            return CorruptArchive(
                "it is not a tar archive",
                remedy="Give a tar archive, plain or compressed with gzip, bzip2, xz or zstd",
            )
        return CorruptArchive(
            "the archive is damaged: at byte %d a header does not match its checksum" % at,
            remedy="Fetch it again and compare its size",
        )

    def _expect_end(self) -> None:
        """Check that after one block of zeros there is another one, or nothing."""
        while self._end - self._at < BLOCK:
            if not self._read():
                return
        if self._view[self._at : self._at + BLOCK] != headers.ZERO_BLOCK:
            raise CorruptArchive("there is a block of zeros in the middle of the archive")

    def _finish(self) -> None:
        """Read the bytes that follow the archive."""
        while self._read():
            self._at = self._end

    def _extension(self, header: headers.Header) -> bytes:
        """The body of an extended header."""
        if header.size > pax.MAX_LENGTH:
            raise CorruptArchive(
                "an extended header of %d bytes is longer than the %d that are read" % (header.size, pax.MAX_LENGTH),
                path=header.name,
            )
        body = self._take(header.size)
        self._left -= header.size
        return body

    def _clean(self, name: bytes) -> bytes:
        """:func:`clean`, faster for a name in the same directory as the previous one."""
        folder, _slash, base = name.rpartition(b"/")
        is_plain = base[:1] not in _NEEDS_CLEANING and len(base) < _SHORT
        if is_plain and folder == self._folder:
            return self._prefix + base
        cleaned = clean(name)
        if is_plain:
            self._folder, self._prefix = folder, cleaned[: -len(base)]
        else:
            self._folder = None
        return cleaned

    def _plain_entry(self, header: headers.Header) -> Entry:
        kind, name, link, mode, uid, gid, size, seconds, device, atime = header
        if kind == headers.OLD_REGULAR:
            kind = headers.DIRECTORY if name[-1:] == b"/" else headers.REGULAR  # V7 has no type for directories
        elif kind not in _KNOWN:
            raise _unhandled(kind, name)
        if not (0 <= uid <= headers.MAX_ID and 0 <= gid <= headers.MAX_ID):
            raise _bad_owner(uid, gid, name)
        mtime = pax.storable(seconds * _NANO)
        atime = mtime if atime is None else max(pax.storable(atime * _NANO), mtime)
        path = self._clean(name)
        return _new(Entry, (kind, path, mode & 0o7777, uid, gid, size, mtime, atime, link, device, (), None))

    def _extended_entry(
        self,
        header: headers.Header,
        records: Sequence[tuple[bytes, bytes]],
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> Entry:
        """The entry of a header and the extended ones before it."""
        known = {keyword: value for keyword, value in dict(records).items() if value}  # an empty value takes one back
        name = known.get(b"path", header.name)
        if b"size" in known:
            header = header._replace(size=pax.integer(known[b"size"], "the size"))
            self._expect_body(header.kind, header.size)
        pieces: Optional[List[Tuple[int, int]]] = None
        size = header.size
        if header.kind == headers.GNU_SPARSE:
            pieces, size = self._old_sparse(size)
        elif header.kind in (headers.REGULAR, headers.OLD_REGULAR):
            pieces, size = self._pax_sparse(records, known, size)
            name = known.get(sparse.NAME, name) if pieces is not None else name
        plain = self._plain_entry(
            header._replace(
                kind=headers.REGULAR if header.kind == headers.GNU_SPARSE else header.kind,
                name=long_name if long_name is not None else name,
                link=long_link if long_link is not None else known.get(b"linkpath", header.link),
                uid=pax.integer(known[b"uid"], "the uid") if b"uid" in known else header.uid,
                gid=pax.integer(known[b"gid"], "the gid") if b"gid" in known else header.gid,
            )
        )
        mtime = pax.storable(pax.time(known[b"mtime"])) if b"mtime" in known else plain.mtime
        atime = pax.storable(pax.time(known[b"atime"]) if b"atime" in known else (header.atime or 0) * _NANO)
        return plain._replace(
            size=size, mtime=mtime, atime=max(atime, mtime), xattrs=pax.xattrs(records), pieces=pieces
        )

    def _old_sparse(self, stored: int) -> tuple[list[tuple[int, int]], int]:
        """Map and size of an old GNU sparse file, whose map is between the header and the data."""
        block = bytes(self._view[self._at - BLOCK : self._at])
        pieces, size = sparse.from_old_header(block, self._take)
        sparse.check(pieces, stored, size)
        return pieces, size

    def _pax_sparse(
        self, records: Sequence[tuple[bytes, bytes]], known: dict[bytes, bytes], stored: int
    ) -> tuple[list[tuple[int, int]] | None, int]:
        """Map and size of a pax sparse file; None and ``stored`` if the entry is not one."""
        if sparse.MAJOR in known:
            version = known[sparse.MAJOR], known.get(sparse.MINOR, b"0")
            if version != (b"1", b"0"):
                raise ArchiveError("a sparse file of an unknown version")
            pieces, read = sparse.from_body(self._take_of_body)
            stored -= read
        else:
            found = sparse.from_records(records)
            if found is None:
                return None, stored
            pieces = found
        size = pax.integer(known.get(sparse.REAL_SIZE, known.get(sparse.SIZE, b"")), "the size of a sparse file")
        sparse.check(pieces, stored, size)
        return pieces, size


_KNOWN = frozenset(
    (
        headers.REGULAR,
        headers.HARD_LINK,
        headers.SYMLINK,
        headers.CHARACTER,
        headers.BLOCK_DEVICE,
        headers.DIRECTORY,
        headers.FIFO,
    )
)


def _unhandled(kind: bytes, name: bytes) -> ArchiveError:
    return ArchiveError(
        "unhandled tar header type %r" % kind.decode("latin-1"),
        path=name,
        remedy="Make the archive anew in the pax format, without volume labels, dumps or parts",
    )


def _bad_owner(uid: int, gid: int, name: bytes) -> ArchiveError:
    return ArchiveError("no file can belong to uid %d, gid %d" % (uid, gid), path=name)
