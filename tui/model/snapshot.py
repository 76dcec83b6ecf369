# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The records that the model hands to the screens: frozen, and complete in themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Optional, TypeVar

from overlay2 import Layer
from overlay2.home.layer import LayerPaths
from overlay2.linux.mountinfo import MountEntry

from .ownership import OwnerFacts, OwnershipReport
from .plain import visible

NOTHING: Mapping[Any, Any] = MappingProxyType({})
NO_PATHS = LayerPaths("", "", "")

A = TypeVar("A")
R = TypeVar("R")


def last_only(function: Callable[[A], R]) -> Callable[[A], R]:
    """Cache a function's result for its last argument, compared by identity: Snapshots share their parts."""
    last: tuple[Any, Any] = (None, None)

    @functools.wraps(function)
    def remembering(argument: A) -> R:
        nonlocal last
        if last[0] is not argument:
            last = (argument, function(argument))
        result: R = last[1]
        return result

    return remembering


class Failure(NamedTuple):
    """Why a home cannot be shown: a sentence without its full stop, and what to do about it ("" if unknown)."""

    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}." if self.remedy else f"{self.message}."


class Space(NamedTuple):
    """Space on the file system of a home: bytes and inodes. ``available`` excludes what is reserved for root."""

    total: int
    free: int
    available: int
    inodes: int
    inodes_free: int

    @property
    def used(self) -> int:
        return self.total - self.free

    @property
    def inodes_used(self) -> int:
        return self.inodes - self.inodes_free


class Remark(NamedTuple):
    """A problem or a note, as text for people."""

    text: str
    #: The layer concerned; "" for the home.
    layer: str = ""
    #: A problem, rather than a note.
    is_problem: bool = True
    #: What to do about it ("" if unknown), and the code of the finding of ``overlay2.health`` that it comes from.
    remedy: str = ""
    code: str = ""


class FindingFacts(NamedTuple):
    """A finding of ``overlay2.health``, here or on another host, whose version may know other codes."""

    code: str
    #: ``error``, ``warning`` or ``note``.
    severity: str
    #: The layer's id; "" for the home.
    layer: str
    path: str
    evidence: str
    remedy: str
    #: ``overlay2_repair`` can fix it.
    repairable: bool


class ProcessFacts(NamedTuple):
    """A process that keeps a mount busy."""

    pid: int
    name: str
    user: str
    #: How it does so, such as "root folder" or "open file /srv/log".
    how: str


@dataclass(frozen=True)
class InspectedLayer:
    """A layer as the core describes it, with the facts that only the inspector uses."""

    layer: Layer
    #: A name that people use for it; "" if there is none.
    name: str = ""
    #: When it was created (seconds since the epoch); None if unknown.
    made: Optional[float] = None
    #: Its directories.
    paths: LayerPaths = NO_PATHS

    @property
    def id(self) -> str:
        return self.layer.id

    @property
    def title(self) -> str:
        """The id, safe for a terminal; a long digest is shortened."""
        return short(self.layer.id)

    @property
    def kind(self) -> str:
        """``rw``, ``ro`` (committed), or ``?`` if it is not committed and its kind is not recorded."""
        if self.layer.committed:
            return "ro"
        if self.layer.read_write is None:
            return "?"
        return "rw" if self.layer.read_write else "ro"


@dataclass(frozen=True)
class MountFacts:
    """A layer that is mounted or held, or a mount below the home that does not belong to a layer."""

    #: The layer's id; "" for a foreign mount.
    id: str
    path: str
    mounted: bool
    #: Holder name to count; "" is the anonymous holder. None if the records may not be read.
    holders: Optional[Mapping[str, int]] = field(default_factory=lambda: NOTHING)
    #: Its entries in the kernel's mount table, the uppermost mount last; empty if it is not in this namespace.
    entries: tuple[MountEntry, ...] = ()
    #: Other mount namespaces that have it: (namespace's inode, a process in it, that process's name).
    elsewhere: tuple[tuple[int, int, str], ...] = ()
    #: Who keeps it busy; None before the first look.
    processes: Optional[tuple[ProcessFacts, ...]] = None
    remarks: tuple[Remark, ...] = ()

    @property
    def references(self) -> int:
        return sum((self.holders or NOTHING).values())

    @property
    def title(self) -> str:
        return short(self.id) if self.id else visible(self.path)

    @property
    def read_only(self) -> bool:
        return bool(self.entries) and "ro" in self.entries[-1].super_options


@dataclass(frozen=True)
class Snapshot:
    """A home at one moment."""

    home: str
    host: str = ""
    #: When it was read (seconds since the epoch); 0 for never.
    taken: float = 0.0
    #: Gathered elsewhere and read from a file: it does not change, and its files cannot be opened.
    gathered: bool = False
    #: Read with the right to see everything. Without it, opaque folders, other users' processes and their mount
    #: namespaces may be there and are not seen.
    privileged: bool = True
    failure: Optional[Failure] = None
    status: tuple[tuple[str, str], ...] = ()
    #: Label, value and what it means.
    features: tuple[tuple[str, str, str], ...] = ()
    space: Optional[Space] = None
    #: By id, sorted by id.
    layers: Mapping[str, InspectedLayer] = field(default_factory=lambda: NOTHING)
    #: Bytes of each layer's own files (their lengths), as far as they are measured.
    sizes: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    #: Bytes that each layer takes on disk, folders included, as far as they are measured.
    disk_sizes: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    #: Why a layer can't be measured, by id.
    size_errors: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    mounts: tuple[MountFacts, ...] = ()
    #: Of the home as a whole.
    remarks: tuple[Remark, ...] = ()
    #: Bytes in use at each look, oldest first, by layer id; "" is the file system.
    history: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: NOTHING)
    #: What a check of the whole home found, worst first; None before the first one.
    health: Optional[tuple[FindingFacts, ...]] = None
    #: None before the first look at the owners.
    owners: Optional[OwnershipReport] = None

    @property
    def sized(self) -> int:
        """The number of layers that were measured, or failed to be."""
        return len(self.sizes) + len(self.size_errors)

    @property
    def problems(self) -> list[Remark]:
        """All problems, worst first.

        The findings of a check replace other remarks about the same layer; problems that came up later are added.
        """
        found = list(_findings(self.health)) if self.health else []
        covered = {remark.layer for remark in found}
        found.extend(remark for remark in self.remarks if remark.is_problem and "" not in covered)
        found.extend(remark for remark in _layer_problems(self.layers) if remark.layer not in covered)
        for mount in self.mounts:
            found.extend(remark for remark in mount.remarks if remark.is_problem and remark.layer not in covered)
        return found

    @property
    def notes(self) -> list[Remark]:
        """Notes about the home, which are not problems."""
        return [remark for remark in self.remarks if not remark.is_problem]

    def owner_of(self, layer: str) -> OwnerFacts | None:
        """Who needs a layer; None if that is not known."""
        return None if self.owners is None else self.owners.layers.get(layer)

    def mount_of(self, layer: str) -> MountFacts | None:
        """The mount of a layer, if it is mounted or held."""
        return next((mount for mount in self.mounts if mount.id == layer), None)


@last_only
def _findings(health: tuple[FindingFacts, ...]) -> list[Remark]:
    return [
        Remark(finding.evidence, finding.layer, True, finding.remedy, finding.code)
        for finding in health
        if finding.severity != "note"
    ]


@last_only
def _layer_problems(layers: Mapping[str, InspectedLayer]) -> list[Remark]:
    return [Remark(text, facts.id) for facts in layers.values() for text in facts.layer.problems]


def short(layer: str) -> str:
    """A layer's id, safe for a terminal; a digest is cut to 12 characters."""
    text = visible(layer)
    if len(text) >= 32 and all(character in "0123456789abcdef" for character in text[:32]):
        # dockerd marks a container's first layer by a suffix, which must not be lost.
        return text[:12] + ("-init" if text.endswith("-init") else "")
    return text
