# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Trees and archives for tests: made from a few lines, read back as plain values that compare."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from typing import Any, Iterable, Mapping, NamedTuple

#: A time in whole seconds, as archives carry it.
THEN = 1_500_000_000


class Entry(NamedTuple):
    """One tar entry; the name says the rest: a folder's ends in ``/``."""

    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    target: str = ""
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    mtime: float = THEN
    xattrs: Mapping[str, bytes] = {}


def symlink(target: str) -> Entry:
    """A symbolic link."""
    return Entry(type=tarfile.SYMTYPE, target=target, mode=0o777)


def hard_link(target: str) -> Entry:
    """A further name of the entry *target*."""
    return Entry(type=tarfile.LNKTYPE, target=target)


def archive(entries: Mapping[str, Entry | bytes | None] | Iterable[tuple[str, Any]]) -> bytes:
    """A tar of *entries*: name to :class:`Entry`, to a file's content, or to None for a folder or an empty file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in entries.items() if isinstance(entries, Mapping) else entries:
            entry = what if isinstance(what, Entry) else Entry(what or b"")
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else entry.type
            info.mode = entry.mode if entry.mode is not None else 0o755 if info.isdir() else 0o644
            info.uid, info.gid, info.mtime, info.linkname = entry.uid, entry.gid, entry.mtime, entry.target
            info.size = len(entry.data)
            info.pax_headers = {
                "SCHILY.xattr." + key: value.decode("utf-8", "surrogateescape") for key, value in entry.xattrs.items()
            }
            tar.addfile(info, io.BytesIO(entry.data))
    return buffer.getvalue()


def stream(entries: Any) -> io.BytesIO:
    """:func:`archive` as a binary file."""
    return io.BytesIO(archive(entries))


def names_in(content: bytes) -> list[str]:
    """Names of a tar's entries, in its order; a folder's ends in ``/``."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [member.name + "/" * member.isdir() for member in tar]


def write_tree(root: str, entries: Mapping[str, bytes | str | None]) -> None:
    """Make files (bytes), symbolic links (str) and folders (None) below *root*; parents as needed."""
    for name, what in entries.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if what is None:
            os.makedirs(path, exist_ok=True)
        elif isinstance(what, bytes):
            with open(path, "wb") as target:
                target.write(what)
        else:
            os.symlink(what, path)


def paths_below(root: str) -> list[str]:
    """All paths below *root*, relative, folders before what is in them, sorted."""
    found = []
    for folder, folders, files in os.walk(root):
        found += [os.path.relpath(os.path.join(folder, name), root) for name in folders + files]
    return sorted(found)


def inode_facts(root: str) -> dict[str, tuple]:
    """What tells that something was touched: inode, mode, owner, link count, size, mtime and ctime of all in *root*."""
    facts = {}
    for path in [".", *paths_below(root)]:
        info = os.lstat(os.path.join(root, path))
        facts[path] = (
            info.st_ino,
            info.st_mode,
            info.st_uid,
            info.st_gid,
            info.st_nlink,
            info.st_size,
            info.st_mtime_ns,
            info.st_ctime_ns,
        )
    return facts


def content_facts(root: str, *, whole_seconds: bool = False) -> dict[str, tuple]:
    """What a tree says to who reads it: types, modes, owners, times of files, contents, link groups, xattrs."""
    facts, groups = {}, {}
    for path in paths_below(root):
        full = os.path.join(root, path)
        try:
            info = os.lstat(full)
        except FileNotFoundError:
            continue  # a whiteout, listed by a mounted folder that nothing is merged into
        body: Any = None
        if stat.S_ISREG(info.st_mode):
            with open(full, "rb") as source:
                body = source.read()
        elif stat.S_ISLNK(info.st_mode):
            body = os.readlink(full)
        elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
            body = info.st_rdev
        mtime = info.st_mtime_ns // (10**9 if whole_seconds else 1)
        first = groups.setdefault(info.st_ino, path) if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode) else None
        facts[path] = (
            info.st_mode,
            info.st_uid,
            info.st_gid,
            body,
            None if stat.S_ISDIR(info.st_mode) else mtime,
            first,
            xattrs_of(full),
        )
    return facts


def xattrs_of(path: str) -> dict[str, bytes]:
    """The extended attributes of *path*, less the overlay's own and what an LSM adds."""
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in sorted(os.listxattr(path, follow_symlinks=False))
        if not name.startswith(("trusted.overlay.", "user.overlay.")) and name != "security.selinux"
    }


class Meddler(io.RawIOBase):
    """A stream of *content* that calls *action* once, when half of it has been read; reads in small pieces."""

    def __init__(self, content: bytes, action: Any) -> None:
        super().__init__()
        self._content = io.BytesIO(content)
        self._half = len(content) // 2
        self._action = action

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._content.tell() >= self._half and self._action is not None:
            action, self._action = self._action, None
            action()
        part = self._content.read(min(len(buffer), 512))
        buffer[: len(part)] = part
        return len(part)
