# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Extended attributes: names of overlayfs (Documentation/filesystems/overlayfs.rst), and reading optional ones.

A *class* is the namespace of overlayfs' attributes: ``trusted`` on a host, ``user`` for mounts with ``userxattr`` in a
user namespace.
"""

from __future__ import annotations

import errno
import os

#: Prefixes of the attributes that overlayfs reads from a layer. Archives may not set these.
OVERLAY_PREFIXES = ("trusted.overlay.", "user.overlay.")

#: The one attribute that Docker's archives carry (capabilities(7)).
CAPABILITY = "security.capability"
#: The ACL of a file or directory, and the default ACL that new files in a directory inherit (acl(5)).
ACCESS_ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"

#: Values of the opaque attribute: the directory hides those of its name in lower layers, or contains whiteouts that are
#: attributes of files (Linux 6.8).
OPAQUE = b"y"
OPAQUE_WHITEOUTS = b"x"

#: The attribute is missing, or the file system has none.
_ABSENT = frozenset((errno.ENODATA, errno.ENOTSUP))


def opaque(xattr_class: str) -> str:
    """Returns the name of the attribute that makes a directory opaque."""
    return xattr_class + ".overlay.opaque"


def whiteout(xattr_class: str) -> str:
    """Returns the name of the attribute that makes an empty file a whiteout."""
    return xattr_class + ".overlay.whiteout"


def redirect(xattr_class: str) -> str:
    """Returns the name of the attribute by which a directory has its lower content from another path."""
    return xattr_class + ".overlay.redirect"


def metacopy(xattr_class: str) -> str:
    """Returns the name of the attribute of a file whose data is still in a lower layer."""
    return xattr_class + ".overlay.metacopy"


def is_overlay(name: str) -> bool:
    """True if an attribute is one of overlayfs, of either class."""
    return name.startswith(OVERLAY_PREFIXES)


def get(target: int | str | bytes, name: str) -> bytes | None:
    """Returns the value of an attribute; None if it is missing or the file system has none.

    :param target: a descriptor or a path; a link at its end is not followed.
    :raises OSError: any other refusal.
    """
    try:
        return os.getxattr(target, name, follow_symlinks=not isinstance(target, (str, bytes)))
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def names(target: int | str | bytes) -> list[str]:
    """Returns the names of all attributes; none if the file system has none. ``target`` as in :func:`get`.

    :raises OSError: any other refusal.
    """
    try:
        if isinstance(target, int):
            return os.listxattr(target)
        return os.listxattr(target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _ABSENT:
            return []
        raise


def below(dir_fd: int, name: bytes) -> bytes:
    """Returns a path for ``name`` in an open directory, for calls that take no ``dir_fd``.

    Only the last component can be a link, so the path is as contained as the descriptor. Needs ``/proc``.
    """
    return b"/proc/self/fd/%d/%s" % (dir_fd, name)
