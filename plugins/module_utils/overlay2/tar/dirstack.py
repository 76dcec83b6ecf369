# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The open directories on the way down a tree, however deep it is, with few descriptors."""

from __future__ import annotations

import os
from typing import Iterator, List, NamedTuple, Optional, Tuple

from ..errors import ChangedWhileRead
from ..linux.fs import OPEN_DIRECTORY_NOFOLLOW
from ..tree import identity

#: Directories above the current one that stay open.
KEPT = 64


class Level(NamedTuple):
    """A directory, and how much of it is done."""

    #: prefix of its entries' names in an archive
    prefix: bytes
    #: (name, is a directory, is a regular file) of each entry that is still to come
    names: Iterator[Tuple[bytes, bool, bool]]
    #: it may have whiteouts that are attributes of empty files
    by_attribute: bool


class _Above:
    """A directory above the current one."""

    def __init__(self, descriptor: int, level: Level) -> None:
        self.descriptor: Optional[int] = descriptor
        self.identity: Optional[Tuple[int, int]] = None  # if it is not open
        self.level = level


class DirStack:
    """Stack of open directories. Beyond :data:`KEPT` levels only the identity is kept; ``..`` opens it again.

    :param root_fd: descriptor of the directory to start from; it stays the caller's.
    """

    def __init__(self, root_fd: int) -> None:
        #: of the current directory
        self.descriptor = os.dup(root_fd)
        self._above: List[_Above] = []

    @property
    def depth(self) -> int:
        """Number of directories above the current one."""
        return len(self._above)

    def down(self, descriptor: int, level: Level) -> None:
        """Enter a directory, whose descriptor is taken over; :meth:`up` gives ``level`` back."""
        self._above.append(_Above(self.descriptor, level))
        self.descriptor = descriptor
        if len(self._above) > KEPT:
            far = self._above[-KEPT - 1]
            if far.descriptor is not None:
                far.identity = identity(far.descriptor)
                os.close(far.descriptor)
                far.descriptor = None

    def up(self) -> Level:
        """Go back to the directory above; returns its level.

        :raises ChangedWhileRead: the current directory was moved elsewhere.
        """
        above = self._above.pop()
        if above.descriptor is None:
            above.descriptor = os.open(b"..", OPEN_DIRECTORY_NOFOLLOW, dir_fd=self.descriptor)
            if identity(above.descriptor) != above.identity:
                os.close(above.descriptor)
                raise ChangedWhileRead("a directory was moved while it was being archived", path=above.level.prefix)
        os.close(self.descriptor)
        self.descriptor = above.descriptor
        return above.level

    def close(self) -> None:
        """Close all descriptors."""
        os.close(self.descriptor)
        for above in self._above:
            if above.descriptor is not None:
                os.close(above.descriptor)


def listing(descriptor: int) -> Iterator[tuple[bytes, bool, bool]]:
    """(name, is a directory, is a regular file) of each entry of an open directory, sorted by name."""
    with os.scandir(descriptor) as entries:
        listed = [
            (os.fsencode(entry.name), entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False))
            for entry in entries
        ]
    listed.sort()
    return iter(listed)
