# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The state of a path, before and after a repair, as data by which the repair is made and checked.

As text, in a diff, a state is one line: ``link -> ../web/diff``, ``file 0644: 6Y5IM2XC7TSNIJZZFLJCS6I4I4``,
``folder 0700 0:0``, ``folder 0700 0:0, empty``; nothing is the empty string.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple, Union

from ..home.layout import read_small

#: Content of files beyond this is none of a repair's business.
_LONGEST = 65536


class NothingState(NamedTuple):
    """Nothing has the name. It counts as false."""

    def __str__(self) -> str:
        return ""


class LinkState(NamedTuple):
    """A symbolic link."""

    target: str

    def __str__(self) -> str:
        return "link -> " + self.target


class FileState(NamedTuple):
    """A small file."""

    content: bytes
    mode: int = 0o644

    def __str__(self) -> str:
        return "file %04o: %s" % (self.mode, os.fsdecode(self.content))


class DirectoryState(NamedTuple):
    """A directory."""

    mode: int
    uid: int
    gid: int
    is_empty: bool = True

    def __str__(self) -> str:
        return "folder %04o %d:%d%s" % (self.mode, self.uid, self.gid, ", empty" if self.is_empty else "")


class OtherState(NamedTuple):
    """A large file, a device, a pipe or a socket: nothing that a repair changes."""

    #: st_mode and st_size of stat(2).
    mode: int
    size: int

    def __str__(self) -> str:
        if stat.S_ISREG(self.mode):
            return "file %04o: %d bytes" % (stat.S_IMODE(self.mode), self.size)
        return "special file %o" % self.mode


State = Union[NothingState, LinkState, FileState, DirectoryState, OtherState]
NOTHING = NothingState()


def state_of(path: str) -> State:
    """Returns the state of ``path``.

    :raises OSError: that can't be found out.
    """
    try:
        info = os.lstat(path)
        if stat.S_ISLNK(info.st_mode):
            return LinkState(os.readlink(path))
        if stat.S_ISDIR(info.st_mode):
            return directory_state(info, not os.listdir(path))
    except FileNotFoundError:  # also for what vanishes meanwhile
        return NOTHING
    if not stat.S_ISREG(info.st_mode) or info.st_size > _LONGEST:
        return OtherState(info.st_mode, info.st_size)
    return FileState(read_small(path) or b"", stat.S_IMODE(info.st_mode))


def directory_state(info: os.stat_result, is_empty: bool = True) -> DirectoryState:
    """Returns the state of a directory of which ``info`` is known."""
    return DirectoryState(stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, is_empty)


def is_same(first: State, second: State) -> bool:
    """True if two states are the same; tuples of different kinds may be equal."""
    return type(first) is type(second) and first == second
