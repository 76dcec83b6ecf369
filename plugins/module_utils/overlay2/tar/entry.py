# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""A member of an archive, with all its headers taken together."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

from ..errors import ArchiveError, BreakoutError
from . import headers

#: Bytes of a name that an error shows.
_SHOWN = 256


class Entry(NamedTuple):
    """One member of the archive, with all its headers taken together."""

    #: type flag, one of those in :mod:`.headers`; a sparse file is ``REGULAR``
    kind: bytes
    #: clean and relative, ``b""`` for the root
    path: bytes
    #: permission bits, at most 07777
    mode: int
    #: ids as in the archive
    uid: int
    gid: int
    #: bytes of the file; for other types the value in the header
    size: int
    #: nanoseconds since 1970, never negative; ``atime`` is at least ``mtime``
    mtime: int
    atime: int
    #: target of a symbolic link or name of a hard link's other end, verbatim
    link: bytes
    #: the two device fields as text, for :func:`headers.device_numbers`
    device: bytes
    #: name and value of extended attributes; the value is None if the archive's can't be read
    xattrs: Tuple[Tuple[str, Optional[bytes]], ...]
    #: (offset, length) pairs of a sparse file's data, or None if the body is the whole file
    pieces: Optional[List[Tuple[int, int]]]


def clean(name: bytes) -> bytes:
    """An entry's name as a relative path without empty, ``.`` and ``..`` components; ``b""`` is the root.

    As Go's path.Clean, ``..`` is taken as text, and at the start of an absolute name it means the root.

    :raises BreakoutError: it leads out of the root.
    :raises ArchiveError: it is longer than a path can be.
    """
    is_absolute = name[:1] == b"/"
    if name[-1:] == b"/":
        name = name[:-1]
    # Nearly all names are clean.
    if name[:1] in b"/." or b"//" in name or b"/." in name or name[-1:] == b"/":
        parts: List[bytes] = []
        for part in name.split(b"/"):
            if part == b"..":
                if not parts and not is_absolute:
                    raise BreakoutError("the '..' in an entry's name leads out of the layer", path=name[:_SHOWN])
                del parts[-1:]
            elif part not in (b"", b"."):
                parts.append(part)
        name = b"/".join(parts)
    if len(name) > headers.MAX_PATH:
        raise ArchiveError("an entry's name is longer than %d bytes" % headers.MAX_PATH, path=name[:64] + b"...")
    return name
