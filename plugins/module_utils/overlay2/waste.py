# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""How much a chain of layers stores that it does not show."""

from __future__ import annotations

import heapq
import os
import stat
from typing import Callable, NamedTuple, Sequence, Tuple

from .changes import listing
from .errors import Overlay2Error
from .linux.overlayfs import is_whiteout
from .stack import Stack


class Waste(NamedTuple):
    """What a chain stores and does not show: files that a layer further up wrote again or deleted."""

    #: Bytes of the files of all layers, a file with several names once.
    stored: int
    #: Bytes of those that are hidden.
    hidden: int
    #: The worst of it, most bytes first: (path, bytes, number of hidden copies).
    worst: Tuple[Tuple[str, int, int], ...]

    @property
    def score(self) -> float:
        """The share of the stored bytes that shows, 0.0 to 1.0."""
        return (self.stored - self.hidden) / self.stored if self.stored else 1.0


def measure(roots: Sequence[int], stack: Stack, worst: int, progress: Callable[[int], None] | None) -> Waste:
    """Reads every directory of every layer.

    :param roots: descriptors of the layers' directories, uppermost first, as ``stack`` has them.
    :param worst: how many paths to name.
    :param progress: called with the number of entries seen so far after each directory; an exception ends the walk.
    :raises Overlay2Error: a directory was renamed (``redirect_dir``).
    """
    counter = _Counter(stack, worst, progress)
    pending: list[tuple[str, Sequence[int]]] = [("", roots)]
    while pending:
        folder, places = pending.pop()
        pending.extend(counter.visit(folder, places))
    return Waste(counter.stored, counter.hidden, tuple(counter.worst()))


class _Counter:
    """Adds up what is stored and what is hidden, one directory of all layers at a time."""

    def __init__(self, stack: Stack, worst: int, progress: Callable[[int], None] | None) -> None:
        self._stack = stack
        self._most = worst
        self._progress = progress
        self._heap: list[tuple[int, str, int]] = []
        self.stored = self.hidden = self._entries = 0
        self._seen: set[tuple[int, int]] = set()

    def worst(self) -> list[tuple[str, int, int]]:
        return [(path, size, copies) for size, path, copies in sorted(self._heap, reverse=True)]

    def visit(self, folder: str, roots: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Count one directory; returns the directories in it that are still to be counted, and their layers."""
        adding: dict[str, list[int]] = {}
        covered: set[str] = set()
        hidden: dict[str, tuple[int, int]] = {}
        for root in roots:
            for name, info in listing(root, folder).items():
                self._entries += 1
                path, is_folder = folder + "/" + name, stat.S_ISDIR(info.st_mode)
                if name in covered or (name in adding and not is_folder):
                    covered.add(name)
                    size, copies = hidden.get(name, (0, 0))
                    size += self._tree(root, path) if is_folder else self._size(info)
                    hidden[name] = size, copies + (not is_whiteout(info))
                elif is_folder:
                    adding.setdefault(name, []).append(root)
                    if self._hides_below(root, path):
                        covered.add(name)
                elif not self._stack.is_metacopy(root, path, info):  # one has no data, and shows that of the file below
                    covered.add(name)
                    self.stored += self._size(info)
        for name, (size, copies) in hidden.items():
            self._note(folder + "/" + name, size, copies)
        if self._progress is not None:
            self._progress(self._entries)
        return [(folder + "/" + name, places) for name, places in adding.items()]

    def _hides_below(self, root: int, path: str) -> bool:
        marks = self._stack.folder_marks(root, path)
        if marks.redirect:
            raise Overlay2Error(
                "the folder %s was renamed, so files show at other paths than they are stored" % path,
                path=path,
                remedy="Such a chain can only be measured layer by layer",
            )
        return marks.opaque

    def _note(self, path: str, size: int, copies: int) -> None:
        self.stored += size
        self.hidden += size
        if size:
            heapq.heappush(self._heap, (size, path, copies))
            if len(self._heap) > self._most:
                heapq.heappop(self._heap)

    def _tree(self, root: int, path: str) -> int:
        """Bytes of all files in a hidden directory."""
        total, pending = 0, [path]
        while pending:
            folder = pending.pop()
            for name, info in listing(root, folder).items():
                self._entries += 1
                if stat.S_ISDIR(info.st_mode):
                    pending.append(folder + "/" + name)
                else:
                    total += self._size(info)
            if self._progress is not None:
                self._progress(self._entries)
        return total

    def _size(self, info: os.stat_result) -> int:
        if info.st_nlink > 1:
            identity = (info.st_dev, info.st_ino)
            if identity in self._seen:
                return 0
            self._seen.add(identity)
        return 0 if is_whiteout(info) else info.st_size
