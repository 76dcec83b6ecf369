# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What a layer's tar says, entry by entry, read by Python's ``tarfile``: an oracle that is not ours."""

from __future__ import annotations

import hashlib
import io
import math
import os
import tarfile
from typing import NamedTuple

KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}
XATTR = "SCHILY.xattr."


class Entry(NamedTuple):
    """One entry. `name` has no leading ``./`` and no trailing ``/``; `mtime` is in whole seconds."""

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    linkname: str
    device: tuple
    capability: bytes
    sha256: str


def entries(stream):
    """The entries of an uncompressed tar as a list of :class:`Entry`, in archive order, the root left out.

    :param stream: a binary file that is only read forward, or bytes.
    """
    found = []
    for archive, member in members(stream):
        entry = _entry(archive, member)
        if entry.name:
            found.append(entry)
    return found


def members(stream):
    """Pairs of (the open TarFile, TarInfo), in archive order; `stream` as for :func:`entries`."""
    if isinstance(stream, bytes):
        stream = io.BytesIO(stream)
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            yield archive, member


def xattrs(member):
    """All extended attributes of a member: dict of name (str) to value (bytes)."""
    return {
        key[len(XATTR) :]: value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith(XATTR)
    }


def _entry(archive, member):
    kind = KINDS.get(member.type, f"type {member.type!r}")
    content = archive.extractfile(member) if kind == "file" else None
    return Entry(
        name=clean(member.name),
        kind=kind,
        mode=member.mode & 0o7777,  # dockerd before 23.0 also wrote the file type's bits
        uid=member.uid,
        gid=member.gid,
        size=member.size,
        mtime=math.floor(member.mtime),
        linkname=clean(member.linkname) if kind == "hardlink" else member.linkname,
        device=(member.devmajor, member.devminor) if kind in ("char", "block") else (),
        capability=xattrs(member).get("security.capability", b""),
        sha256=_digest(content) if content else "",
    )


def clean(name):
    """An entry's name without leading ``./`` and ``/`` and without trailing ``/``; the root is ``""``."""
    name = name.rstrip("/")
    while name.startswith(("./", "/")):
        name = name[1:] if name.startswith("/") else name[2:]
    return "" if name == "." else name


def _digest(content):
    digest = hashlib.sha256()
    for block in iter(lambda: content.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def neutral(found):
    """Entries without what means nothing: the time and link name of one that hides (see :func:`normalised`)."""
    return [
        entry._replace(mtime=0, linkname="") if os.path.basename(entry.name).startswith(".wh.") else entry
        for entry in found
    ]


def in_second_version(entry):
    """A capability of version 3 names the root of a user namespace; a diff carries version 2, which names none."""
    value = entry.capability
    return entry._replace(capability=value[:3] + b"\x02" + value[4:20]) if value[3:4] == b"\x03" else entry


def by_name(found):
    """Dict of name to entry; refuses an archive that names one thing twice, as that hides differences."""
    named = {entry.name: entry for entry in found}
    if len(named) != len(found):
        names = [entry.name for entry in found]
        raise ValueError(f"named twice: {sorted({name for name in names if names.count(name) > 1})}")
    return named


def whiteout_of(name):
    """What a ``.wh.`` entry hides, or None: ``a/.wh.b`` gives ``a/b``; an opaque mark gives None."""
    folder, _slash, base = name.rpartition("/")
    if base.startswith(".wh.") and base != ".wh..wh..opq":
        return (folder + "/" if folder else "") + base[len(".wh.") :]
    return None


def normalised(tar):
    """A tar with what differs between writers, and means nothing to readers, made the same; else byte for byte.

    * The mode field holds permission bits only (dockerd before 23.0 adds the file type's).
    * Owners have no names (dockerd before 23.0 looks up those of the host; readers go by the numbers).
    * An entry that hides something (``.wh.``) has no time and no link name: the time is when the whiteout was made on
      that disk, and dockerd leaves a link name where whiteouts share an inode, as overlayfs makes them do.

    :param tar: an uncompressed tar (bytes).
    :return: bytes of the same length.
    """
    result = bytearray(tar)
    at = 0
    while at + 512 <= len(result) and result[at] != 0:
        header = memoryview(result)[at : at + 512]
        size = int(bytes(header[124:136]).rstrip(b"\0 ") or b"0", 8)
        header[100:108] = b"%07o\0" % (int(bytes(header[100:108]).rstrip(b"\0 "), 8) & 0o7777)
        header[265:329] = bytes(64)
        name = bytes(header[:100]).rstrip(b"\0")
        if os.path.basename(name).startswith(b".wh.") and bytes(header[156:157]) == b"0":
            header[136:148] = b"%011o\0" % 0
            header[157:257] = bytes(100)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        at += 512 + (size + 511) // 512 * 512
    return bytes(result)
