# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""POSIX ACLs: the text of ``SCHILY.acl.*`` records, and the kernel's form of them in ``system.posix_acl_*``.

Sources: acl(5) for the text, star(1) for the numeric ids that it adds to the entries, and the kernel's
include/uapi/linux/posix_acl_xattr.h for the attribute.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from ..idmap import IdMap

if TYPE_CHECKING:
    from typing import Callable

_VERSION = struct.Struct("<I")
#: tag, permission bits, id
_ENTRY = struct.Struct("<HHI")
_NO_ID = 2**32 - 1

_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
#: By name: the tag without a qualifier, and with one (None where there is none).
_TAGS = {
    b"user": (_USER_OBJ, _USER),
    b"u": (_USER_OBJ, _USER),
    b"group": (_GROUP_OBJ, _GROUP),
    b"g": (_GROUP_OBJ, _GROUP),
    b"mask": (_MASK, None),
    b"m": (_MASK, None),
    b"other": (_OTHER, None),
    b"o": (_OTHER, None),
}
_PERMISSIONS = re.compile(rb"([r-])([w-])([x-])")
_ID = re.compile(rb"[0-9]{1,10}")


def encode(text: bytes) -> bytes | None:
    """The kernel's form of an ACL in text form; None if that is malformed or has a name without a numeric id.

    A name means nothing without the archive's own user database.
    """
    entries = []
    for line in re.split(rb"[,\n]", text):
        line = line.partition(b"#")[0].strip()
        if line:
            entry = _entry(line)
            if entry is None:
                return None
            entries.append(entry)
    if not entries:
        return None
    return _VERSION.pack(2) + b"".join([_ENTRY.pack(tag, bits, id_) for tag, id_, bits in sorted(entries)])


def _entry(line: bytes) -> tuple[int, int, int] | None:
    """(tag, id, permission bits) of one entry such as ``user:lisa:rw-:1000``, or None."""
    fields = [field.strip() for field in line.split(b":")]
    if fields[0] in (b"mask", b"m", b"other", b"o") and len(fields) == 2:
        fields.insert(1, b"")  # the qualifier is always empty, and some leave it out
    if len(fields) not in (3, 4) or fields[0] not in _TAGS:
        return None
    plain, qualified = _TAGS[fields[0]]
    permissions = _PERMISSIONS.fullmatch(fields[2])
    if permissions is None:
        return None
    bits = sum(bit for bit, letter in zip((4, 2, 1), permissions.groups()) if letter != b"-")
    if not fields[1]:
        return plain, _NO_ID, bits
    number = fields[3] if len(fields) == 4 else fields[1]
    if qualified is None or not _ID.fullmatch(number) or int(number) >= _NO_ID:
        return None
    return qualified, int(number), bits


def to_host(value: bytes, id_map: IdMap) -> bytes:
    """The attribute of a container's ACL with the host's ids.

    :raises OptionError: the id map has no place for one of them.
    """
    users, groups = IdMap(uids=id_map.uids), IdMap(gids=id_map.gids)
    return _mapped(value, lambda uid: users.to_host(uid, 0)[0], lambda gid: groups.to_host(0, gid)[1])


def to_container(value: bytes, id_map: IdMap) -> bytes:
    """The reverse of :func:`to_host`."""
    users, groups = IdMap(uids=id_map.uids), IdMap(gids=id_map.gids)
    return _mapped(value, lambda uid: users.to_container(uid, 0)[0], lambda gid: groups.to_container(0, gid)[1])


def _mapped(value: bytes, user: Callable[[int], int], group: Callable[[int], int]) -> bytes:
    if len(value) % _ENTRY.size != _VERSION.size or value[: _VERSION.size] != _VERSION.pack(2):
        return value  # the kernel will say what is wrong with it
    mapped = value[: _VERSION.size]
    for tag, bits, id_ in _ENTRY.iter_unpack(value[_VERSION.size :]):
        if tag == _USER:
            id_ = user(id_)
        elif tag == _GROUP:
            id_ = group(id_)
        mapped += _ENTRY.pack(tag, bits, id_)
    return mapped
