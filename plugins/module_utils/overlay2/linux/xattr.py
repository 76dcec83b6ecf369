# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Extended attributes: overlayfs' own names (Documentation/filesystems/overlayfs.rst), and reading what may be absent.

A *class* is the namespace that overlayfs keeps its attributes in: ``trusted`` on a host, ``user`` for mounts
with ``userxattr`` in a user namespace.
"""

from __future__ import annotations

import errno
import os

#: Prefixes of all that overlayfs reads from a layer. Nothing from outside may set these.
OVERLAY_PREFIXES = ("trusted.overlay.", "user.overlay.")

#: The one attribute that Docker's archives carry (capabilities(7)).
CAPABILITY = "security.capability"
#: ACL of a file or folder, and a folder's default one, which all that is made in it inherits (acl(5)).
ACCESS_ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"

#: Values of the opaque attribute: the folder hides what is below it, or holds whiteouts made of attributes (Linux 6.8).
OPAQUE = b"y"
OPAQUE_WHITEOUTS = b"x"

#: Attributes absent, or not known to this file system.
_ABSENT = frozenset((errno.ENODATA, errno.ENOTSUP))


def opaque(xattr_class):
    """Name of the attribute that makes a folder opaque (str)."""
    return xattr_class + ".overlay.opaque"


def whiteout(xattr_class):
    """Name of the attribute that makes an empty file a whiteout (str)."""
    return xattr_class + ".overlay.whiteout"


def redirect(xattr_class):
    """Name of the attribute by which a folder takes its lower content from elsewhere (str)."""
    return xattr_class + ".overlay.redirect"


def metacopy(xattr_class):
    """Name of the attribute of a file whose data is still in a lower layer (str)."""
    return xattr_class + ".overlay.metacopy"


def is_overlay(name):
    """Whether an attribute (str) is one of overlayfs' own, of either class."""
    return name.startswith(OVERLAY_PREFIXES)


def get(target, name):
    """Value of an attribute (bytes), or None where it is absent or the file system has none.

    :param target: a descriptor or a path; a link at its end is not followed.
    :raises OSError: any other refusal.
    """
    try:
        return os.getxattr(target, name, follow_symlinks=not isinstance(target, (str, bytes)))
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def names(target):
    """Names of the attributes (list of str); none where the file system has none. ``target`` as in :func:`get`.

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


def below(dir_fd, name):
    """A path (bytes) for ``name`` in an open folder, for calls that take no ``dir_fd``.

    Only the last component can be a link, so the path is as contained as the descriptor. Needs ``/proc``.
    """
    return b"/proc/self/fd/%d/%s" % (dir_fd, name)
