# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A row of the table: a workload, its contenders and its goals."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Callable, ContextManager, Dict, NamedTuple

import material
from contenders import CP, GO, OURS, STORAGE, TAR, Meter, Sample

#: Measures one contender once.
Measure = Callable[[Meter], Sample]


class Goal(NamedTuple):
    """A goal: a contender's median at most so many times another's, or (against None) at most so much."""

    at_most: float
    against: str | None = GO
    of: str = OURS
    #: Field of the samples: ``seconds``, ``peak`` or ``size``.
    what: str = "seconds"

    def __str__(self):
        if self.against is None:
            return f"≤ {amount(self.at_most, self.what)}"
        whose = "" if self.of == OURS else f"{self.of}: "
        return f"{whose}{'memory ' if self.what == 'peak' else ''}≤ {self.at_most:g} × {self.against}"


class Row(NamedTuple):
    """A row of the table."""

    #: What it is called on the command line.
    name: str
    title: str
    #: Called with a Bench; for the length of the ``with`` block all is prepared, and there is a Measure per contender.
    setting: Callable[[Bench], ContextManager[Dict[str, Measure]]]
    goals: tuple[Goal, ...] = ()


class Bench:
    """What all rows share: a scratch folder on the real disk, who is there, and trees made when first asked for.

    :param folder: the scratch folder (str).
    :param contenders: a :class:`~contenders.Contenders`.
    """

    def __init__(self, folder, contenders):
        self.folder = folder
        self.contenders = contenders
        self._made = {}

    def has(self, name):
        """Whether that contender is there (bool)."""
        return name not in self.contenders.missing

    def worker(self, name, home, sync="none"):
        """A driver in process; see :meth:`contenders.Contenders.worker`."""
        return self.contenders.worker(name, home, [f"overlay2.sync={sync}"] if name == OURS else [])

    def tree(self, shape):
        """Path of the tree of that shape."""
        return self._once(f"tree-{shape.files}-{shape.size}", lambda path: material.make_tree(path, shape))

    def archive(self, shape, suffix=""):
        """Path of that tree's archive, compressed as the suffix says."""
        name = f"layer-{shape.files}-{shape.size}.tar"
        path = self._once(name, lambda path: material.make_archive(path, self.tree(shape)))
        return self._once(name + suffix, lambda _path: material.compress(path, suffix)) if suffix else path

    def _once(self, name, make):
        path = os.path.join(self.folder, name)
        if path not in self._made:
            make(path)
            self._made[path] = True
        return path

    @contextlib.contextmanager
    def place(self):
        """A new folder on the real disk for the length of a ``with`` block; its content is deleted at the very end."""
        yield tempfile.mkdtemp(prefix="place-", dir=self.folder)


def amount(value, what="seconds"):
    """A figure for people."""
    if what == "peak":
        return f"{value / 2**20:.0f} MiB"
    if what == "size":
        return f"{value / 2**10:.0f} KiB"
    if value < 0.1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g} s"


__all__ = ["CP", "GO", "OURS", "STORAGE", "TAR", "Bench", "Goal", "Measure", "Row", "Sample", "amount"]
