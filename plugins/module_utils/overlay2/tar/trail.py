# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Going through a tree in order, however deep it is, with few open descriptors."""

from __future__ import annotations

import os
from typing import Iterator, NamedTuple

from ..errors import ChangedWhileRead
from .folders import FOLDER

#: Folders above the current one that stay open.
KEPT = 64


class Level(NamedTuple):
    """A folder on the way, as far as it is done."""

    #: what the names of its entries start with in an archive
    prefix: bytes
    #: (name, is a folder, is a file) of what is still to come, an iterator
    names: Iterator
    #: it may have whiteouts that are attributes of empty files
    by_attribute: bool


class Trail:
    """The way down to a folder. Far above, only identities are kept, and ``..`` leads back.

    :param root_fd: descriptor of the folder to start from; it stays the caller's.
    """

    def __init__(self, root_fd):
        #: of the current folder
        self.descriptor = os.dup(root_fd)
        self._above = []

    @property
    def depth(self):
        """Number of folders above the current one (int)."""
        return len(self._above)

    def down(self, descriptor, level):
        """Go into a folder, whose descriptor is taken over; ``level`` is what :meth:`up` gives back."""
        self._above.append([self.descriptor, None, level])
        self.descriptor = descriptor
        if len(self._above) > KEPT:
            far = self._above[-KEPT - 1]
            far[1] = _identity(far[0])
            os.close(far[0])
            far[0] = None

    def up(self):
        """Go back to the folder above; returns its ``level``.

        :raises ChangedWhileRead: the current folder was moved elsewhere.
        """
        above, identity, level = self._above.pop()
        if above is None:
            above = os.open(b"..", FOLDER, dir_fd=self.descriptor)
            if _identity(above) != identity:
                os.close(above)
                raise ChangedWhileRead("a folder was moved while it was being archived", path=level.prefix)
        os.close(self.descriptor)
        self.descriptor = above
        return level

    def close(self):
        """Close all descriptors."""
        os.close(self.descriptor)
        for descriptor, _known, _level in self._above:
            if descriptor is not None:
                os.close(descriptor)


def listing(descriptor):
    """Iterator of (name: bytes, is a folder, is a file) of what is in an open folder, sorted by name."""
    with os.scandir(descriptor) as entries:
        listed = [
            (os.fsencode(entry.name), entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False))
            for entry in entries
        ]
    listed.sort()
    return iter(listed)


def _identity(descriptor):
    info = os.fstat(descriptor)
    return info.st_dev, info.st_ino
