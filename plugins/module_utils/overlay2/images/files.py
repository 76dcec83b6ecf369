# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The files of an image's source by name: of a directory, of a tar by seeking in it, of a compressed tar.

Nothing is unpacked to be looked at. The one exception are the layers of a tar that is compressed as a whole, which
cannot be sought in: those that the home lacks are copied out of it, to a file that vanishes with its descriptor.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from typing import BinaryIO, Dict, Iterable, Iterator, Optional, Protocol, cast

from ..errors import CorruptArchive, ImageError, NotEnoughSpace, from_os_error, printable
from ..linux import beneath, fs
from ..tar.decompression import ByteSource, decompressed
from . import documents, tarindex

_CHUNK = 1 << 20
#: Documents of a compressed tar are kept while it is indexed: all together, in bytes.
_MAX_KEPT = 64 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Files(Protocol):
    """The files of one source. Names are relative and have forward slashes."""

    #: Path of the directory or archive.
    path: str

    def size(self, name: str) -> Optional[int]:
        """Returns a file's size in bytes; None if it is missing.

        :raises ImageError: something other than a file has the name.
        """

    def read(self, name: str) -> bytes:
        """Returns the content of a document.

        :raises ImageError: it is missing, or larger than a document may be.
        """

    def peek(self, name: str, start: int, count: int) -> bytes:
        """Returns a few bytes of a file from an offset, a negative one from its end; b"" if that needs a pass."""

    def open(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Returns a context manager that gives the file's content.

        :raises ImageError: it is missing.
        """

    def to_spool(self, names: Iterable[str]) -> int:
        """Returns how many bytes :meth:`spool` would write for these files."""

    def spool(self, names: Iterable[str], directory: str) -> None:
        """Makes these files available to :meth:`open`, once for a source.

        :param directory: where there is space for them.
        """

    def close(self) -> None:
        """Closes what is open."""


class Region(io.RawIOBase):
    """A part of an open file, read with an offset of its own."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._at = offset
        self._end = offset + size

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io has no type for buffers before 3.12
        """Reads into a buffer; returns the number of bytes, 0 at the end."""
        with memoryview(buffer) as view:
            count = os.preadv(self._descriptor, [view[: self._end - self._at]], self._at)
        self._at += count
        return count


class Directory:
    """An image layout that is a directory. Symbolic links are followed within it only, and none to a file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _open(self, name: str) -> Optional[int]:
        parent, _slash, base = name.rpartition("/")
        try:
            directory = beneath.open_directory(self._root, os.fsencode(parent))
            try:
                descriptor = os.open(base, _READ, dir_fd=directory)
            finally:
                os.close(directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise from_os_error(ImageError, "can't open %s" % name, error, path=self.path) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ImageError("%s is not a file" % name, path=self.path)
        return descriptor

    def size(self, name: str) -> Optional[int]:
        descriptor = self._open(name)
        if descriptor is None:
            return None
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return _document(file, name, self.path)

    def peek(self, name: str, start: int, count: int) -> bytes:
        with self.open(name) as file:
            descriptor = file.fileno()
            return os.pread(descriptor, count, start if start >= 0 else max(os.fstat(descriptor).st_size + start, 0))

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        descriptor = self._open(name)
        if descriptor is None:
            raise missing(name, self.path)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            yield cast(BinaryIO, file)

    def to_spool(self, names: Iterable[str]) -> int:
        return 0

    def spool(self, names: Iterable[str], directory: str) -> None:
        return

    def close(self) -> None:
        os.close(self._root)


class _Seeking:
    """Bytes of a file that can be sought in."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0

    def take(self, count: int) -> bytes:
        data = os.pread(self._descriptor, count, self._at)
        self._at += len(data)
        return data

    def move(self, offset: int) -> None:
        self._at = offset


class Tar:
    """An uncompressed tar. Its headers are read once, its members where they are."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._index: Dict[str, tarindex.Member] = dict(tarindex.members(_Seeking(descriptor)))
        end = os.fstat(descriptor).st_size
        if any(member.offset + member.size > end for member in self._index.values()):
            raise CorruptArchive("it is cut short", path=path, remedy="Fetch it again and compare its size")

    def _member(self, name: str) -> tarindex.Member:
        member = tarindex.resolve(self._index, name)
        if member is None:
            raise missing(name, self.path)
        return member

    def size(self, name: str) -> Optional[int]:
        member = tarindex.resolve(self._index, name)
        return None if member is None else member.size

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return _document(file, name, self.path)

    def peek(self, name: str, start: int, count: int) -> bytes:
        member = self._member(name)
        at = min(start, member.size) if start >= 0 else max(member.size + start, 0)
        return os.pread(self._descriptor, min(count, member.size - at), member.offset + at)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        member = self._member(name)
        with Region(self._descriptor, member.offset, member.size) as region:
            yield cast(BinaryIO, region)

    def to_spool(self, names: Iterable[str]) -> int:
        return 0

    def spool(self, names: Iterable[str], directory: str) -> None:
        return

    def close(self) -> None:
        os.close(self._descriptor)


class _Streamed:
    """Bytes of a stream that can only be read on."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._at = 0
        self._buffer = memoryview(bytearray(_CHUNK))

    def chunks(self, count: int) -> Iterator[memoryview]:
        """Yields the next bytes in pieces, fewer than asked for only at the end; each is void after the next."""
        while count:
            done = self._source.readinto(self._buffer[:count]) or 0
            if not done:
                return
            self._at += done
            count -= done
            yield self._buffer[:done]

    def take(self, count: int) -> bytes:
        return b"".join([bytes(chunk) for chunk in self.chunks(count)])

    def move(self, offset: int) -> None:
        for _chunk in self.chunks(offset - self._at):
            pass


class CompressedTar:
    """A tar that is compressed as a whole. A pass finds members and documents, :meth:`spool` is another.

    :raises CorruptArchive: it is damaged or cut short, which the pass to its end finds.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._index: Dict[str, tarindex.Member] = {}
        self._kept: Dict[str, bytes] = {}
        self._spooled: Dict[int, int] = {}
        self._spool: Optional[int] = None
        with self._stream() as stream:
            left = _MAX_KEPT
            for name, member in tarindex.members(stream):
                self._index[name] = member
                self._kept.pop(name, None)
                if 0 < member.size <= min(documents.MAX_SIZE, left):
                    content = _document_or_none(stream, member.size)
                    if content is not None:
                        self._kept[name] = content
                        left -= len(content)
            for _rest in stream.chunks(1 << 62):  # to the end, where the checksums are
                pass

    @contextlib.contextmanager
    def _stream(self) -> Iterator[_Streamed]:
        with contextlib.ExitStack() as stack:
            region = stack.enter_context(Region(self._descriptor, 0, os.fstat(self._descriptor).st_size))
            yield _Streamed(stack.enter_context(decompressed(cast(BinaryIO, region))))

    def _member(self, name: str) -> tarindex.Member:
        member = tarindex.resolve(self._index, name)
        if member is None:
            raise missing(name, self.path)
        return member

    def size(self, name: str) -> Optional[int]:
        member = tarindex.resolve(self._index, name)
        return None if member is None else member.size

    def read(self, name: str) -> bytes:
        wanted = self._member(name)
        for kept, content in self._kept.items():
            if self._index[kept] == wanted:
                return content
        raise ImageError("%s is not a JSON document, or is too large for one" % printable(name), path=self.path)

    def peek(self, name: str, start: int, count: int) -> bytes:
        return b""

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        member = self._member(name)
        if self._spool is None or member.offset not in self._spooled:
            raise ImageError("%s was not read from the archive" % printable(name), path=self.path)
        with Region(self._spool, self._spooled[member.offset], member.size) as region:
            yield cast(BinaryIO, region)

    def to_spool(self, names: Iterable[str]) -> int:
        return sum(size for _offset, size in self._wanted(names))

    def _wanted(self, names: Iterable[str]) -> list[tuple[int, int]]:
        """Returns offset and size of these files in the archive, each once, in its order."""
        members = [self._member(name) for name in names]
        return sorted({(member.offset, member.size) for member in members})

    def spool(self, names: Iterable[str], directory: str) -> None:
        spool = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        self._spool = spool
        at = 0
        with self._stream() as stream:
            for offset, size in self._wanted(names):
                stream.move(offset)
                self._spooled[offset] = at
                try:
                    for chunk in stream.chunks(size):
                        fs.write_all(spool, chunk)
                        at += len(chunk)
                except OSError as error:
                    raise from_os_error(
                        NotEnoughSpace, "can't copy the layers out of the compressed archive", error, path=directory
                    ) from error

    def close(self) -> None:
        os.close(self._descriptor)
        if self._spool is not None:
            os.close(self._spool)


def _document(file: BinaryIO, name: str, path: str) -> bytes:
    """Returns the content of a document, read to its end or to the limit."""
    parts: list[bytes] = []
    left = documents.MAX_SIZE + 1
    buffer = memoryview(bytearray(min(left, 1 << 16)))
    while left:
        count = file.readinto(buffer[:left])  # type: ignore[attr-defined]  # BinaryIO lacks it, all of ours have it
        if not count:
            return b"".join(parts)
        parts.append(bytes(buffer[:count]))
        left -= count
    raise ImageError("%s is larger than %d bytes" % (printable(name), documents.MAX_SIZE), path=path)


def _document_or_none(stream: _Streamed, size: int) -> bytes | None:
    """Returns the next file of a stream if it begins as JSON documents do."""
    head = stream.take(1)
    return head + stream.take(size - 1) if head in (b"{", b"[") else None


def missing(name: str, path: str) -> ImageError:
    """Returns the error for a file that the source does not have."""
    return ImageError(
        "%s is missing" % printable(name), path=path, remedy="Have the image written again, with all of its layers"
    )


def open_files(path: str) -> Files:
    """Opens a directory, a tar, or a compressed tar.

    :raises ImageError: it is neither.
    :raises CorruptArchive: it is cut short or damaged.
    """
    try:
        if os.path.isdir(path):
            return Directory(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        failure = from_os_error(ImageError, "can't read the image", error, path=path)
        failure.remedy = (
            failure.remedy or "Give the path of a layout or an archive on the target, not on the controller"
        )
        raise failure from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ImageError("it is neither a directory nor a file", path=path)
        with Region(descriptor, 0, os.fstat(descriptor).st_size) as region, decompressed(
            cast(BinaryIO, region)
        ) as plain:
            compressed = getattr(plain, "proves_itself", True)
        return CompressedTar(path, descriptor) if compressed else Tar(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
