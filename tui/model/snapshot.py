# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The records that cross from the model to whoever shows them: frozen, and complete in themselves."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Optional

from overlay2 import Layer
from overlay2.errors import printable
from overlay2.linux.mountinfo import MountEntry

if TYPE_CHECKING:
    from overlay2.health import Finding
    from overlay2.owners import Owner

NOTHING: Mapping = MappingProxyType({})


def last_only(function):
    """Remember what a function said of its last argument, known by identity: Snapshots share their parts."""
    last = (None, None)

    @functools.wraps(function)
    def remembering(argument):
        nonlocal last
        if last[0] is not argument:
            last = (argument, function(argument))
        return last[1]

    return remembering


class Failure(NamedTuple):
    """Why a home, or a part of one, can't be shown: a sentence, and what to do about it ("" where nobody knows)."""

    message: str
    remedy: str = ""

    def __str__(self):
        return f"{self.message}. {self.remedy}." if self.remedy else f"{self.message}."


class Space(NamedTuple):
    """Room on the file system of a home: bytes and inodes; ``available`` is what an unprivileged writer may use."""

    total: int
    free: int
    available: int
    inodes: int
    inodes_free: int

    @property
    def used(self):
        return self.total - self.free

    @property
    def inodes_used(self):
        return self.inodes - self.inodes_free


class Remark(NamedTuple):
    """Something that does not add up, or is good to know, in plain words."""

    text: str
    #: The layer concerned; "" for the home.
    layer: str = ""
    #: A problem, rather than a note.
    is_problem: bool = True
    #: What to do about it, "" where nobody says; and the code of a finding of ``overlay2.health``.
    remedy: str = ""
    code: str = ""


class ProcessFacts(NamedTuple):
    """A process that keeps a mount busy."""

    pid: int
    name: str
    user: str
    #: How it does so, such as "root folder" or "open file /srv/log".
    how: str


class OwnerFacts(NamedTuple):
    """Whose a layer is, as ``overlay2.owners`` tells it."""

    #: One of ``overlay2.owners.KINDS``.
    kind: str
    #: Those who need it, the strongest first. A layer that was made for its own sake is not among its own.
    owners: tuple[Owner, ...] = ()
    certainty: str = "certain"
    #: One sentence.
    reason: str = ""
    #: Where that is written.
    evidence: tuple[str, ...] = ()

    @property
    def names(self):
        """What people call those who need it (tuple of str)."""
        return _names(self._named)

    @property
    def needed_by(self):
        """Each owner in a sentence's half (tuple of str)."""
        return tuple(map(_needed_by, self.owners))

    @property
    def text(self):
        """The owner in a few words, for a row (str); "" for a layer that was made for its own sake."""
        if self.kind in ("unowned", "unknown"):
            return "unowned" if self.kind == "unowned" else "owner unknown"
        direct = [owner for owner in self._named if owner.direct]
        names = _names(direct or (self._named if self.kind != "layer" else ()))
        text = ", ".join(map(printable, names[:2])) + (f" +{len(names) - 2}" if len(names) > 2 else "")
        if not text:
            return "" if self.kind == "layer" else self.kind
        if not direct:
            return f"under {text}"
        return f"{text} ({direct[0].state})" if direct[0].kind == "container" else text

    @property
    def _named(self):
        # An image without a tag is best told by what has one.
        return [owner for owner in self.owners if owner.names] or self.owners


def _names(owners):
    return tuple(dict.fromkeys(name for owner in owners for name in owner.names or (owner.title,)))


def _needed_by(owner):
    state = f", {owner.state}" if owner.state else ""
    return f"{owner.kind} {owner.title}{state}" + ("" if owner.direct else ", through a layer above")


class OwnershipReport(NamedTuple):
    """Whose the layers of a home are."""

    #: ``dockerd``, ``containers-storage``, ``overlay2``; "" where nobody's records were found.
    engine: str
    #: The folder of its records.
    root: str
    #: Whether it is at work; None where that can't be told.
    running: Optional[bool]
    #: By layer id.
    layers: Mapping[str, OwnerFacts]
    #: Records that can't be read, in plain sentences.
    problems: tuple[str, ...] = ()

    @property
    def unowned(self):
        """Ids of the layers that nobody needs (list of str)."""
        return [id for id, owner in self.layers.items() if owner.kind == "unowned"]


@dataclass(frozen=True)
class LayerFacts:
    """A layer as the core tells it, with what only the inspector asks for."""

    layer: Layer
    #: What people call it, where somebody knows; "".
    name: str = ""
    #: When it was made (seconds since the epoch), None where unknown.
    made: Optional[float] = None

    @property
    def id(self):
        return self.layer.id

    @property
    def title(self):
        """A short form of the id that is safe on a terminal: what is no long digest is kept whole."""
        return short(self.layer.id)

    @property
    def kind(self):
        """``rw``, ``ro`` (committed), or ``?`` where it is neither committed nor known to be made for writing."""
        if self.layer.committed:
            return "ro"
        if self.layer.read_write is None:
            return "?"
        return "rw" if self.layer.read_write else "ro"


@dataclass(frozen=True)
class MountFacts:
    """A layer that is mounted or held, or a mount below the home that is no layer's."""

    #: The layer's id; "" for a foreign mount.
    id: str
    path: str
    mounted: bool
    #: Holder name to count; "" is the anonymous holder. None where the records may not be read.
    holders: Optional[Mapping[str, int]] = field(default_factory=lambda: NOTHING)
    #: What the kernel's table says of it here, the uppermost mount last; None where it is not in this namespace.
    entries: tuple[MountEntry, ...] = ()
    #: Other mount namespaces that have it: (namespace's inode, a process in it, that process's name).
    elsewhere: tuple[tuple[int, int, str], ...] = ()
    #: Who keeps it busy; None where nobody looked yet.
    processes: Optional[tuple[ProcessFacts, ...]] = None
    remarks: tuple[Remark, ...] = ()

    @property
    def references(self):
        return sum((self.holders or NOTHING).values())

    @property
    def title(self):
        return short(self.id) if self.id else printable(self.path)

    @property
    def read_only(self):
        return bool(self.entries) and "ro" in self.entries[-1].super_options


@dataclass(frozen=True)
class Snapshot:
    """A home at one moment."""

    home: str
    host: str = ""
    #: When it was read (seconds since the epoch); 0 for never.
    taken: float = 0.0
    #: Gathered elsewhere and read from a file: nothing in it changes, and no file of it can be opened.
    gathered: bool = False
    #: Read with the right to see everything. Without it opaque folders, other users' processes and their mount
    #: namespaces can't be told from none.
    privileged: bool = True
    failure: Optional[Failure] = None
    status: tuple[tuple[str, str], ...] = ()
    #: Label, value and what it means.
    features: tuple[tuple[str, str, str], ...] = ()
    space: Optional[Space] = None
    #: By id, sorted by id.
    layers: Mapping[str, LayerFacts] = field(default_factory=lambda: NOTHING)
    #: Bytes of each layer's own files, as far as they are measured.
    sizes: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    #: Why a layer can't be measured, by id.
    size_errors: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    mounts: tuple[MountFacts, ...] = ()
    #: Of the home as a whole.
    remarks: tuple[Remark, ...] = ()
    #: Bytes in use at each look, oldest first, by layer id; "" is the file system.
    history: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: NOTHING)
    #: What a check of the whole home found, worst first; None before the first one.
    health: Optional[tuple[Finding, ...]] = None
    #: None before anybody asked.
    owners: Optional[OwnershipReport] = None

    @property
    def sized(self):
        """How many layers are done with measuring."""
        return len(self.sizes) + len(self.size_errors)

    @property
    def problems(self):
        """Everything that is wrong: list of :class:`Remark`, worst first.

        Where a check found a layer's fault, the check has the word; what came up since is added.
        """
        found = list(_findings(self.health)) if self.health else []
        told = {remark.layer for remark in found}
        found.extend(remark for remark in self.remarks if remark.is_problem and "" not in told)
        found.extend(remark for remark in _layer_problems(self.layers) if remark.layer not in told)
        for mount in self.mounts:
            found.extend(remark for remark in mount.remarks if remark.is_problem and remark.layer not in told)
        return found

    @property
    def notes(self):
        """Notes about the home, which are not problems: list of :class:`Remark`."""
        return [remark for remark in self.remarks if not remark.is_problem]

    def owner_of(self, layer):
        """The :class:`OwnerFacts` of a layer; None where nobody knows, or nobody asked yet."""
        return None if self.owners is None else self.owners.layers.get(layer)

    def mount_of(self, layer):
        """The :class:`MountFacts` of a layer, or None."""
        return next((mount for mount in self.mounts if mount.id == layer), None)


@last_only
def _findings(health):
    return [
        Remark(finding.evidence, finding.layer, True, finding.remedy, finding.code)
        for finding in health
        if finding.severity != "note"
    ]


@last_only
def _layer_problems(layers):
    return [Remark(text, facts.id) for facts in layers.values() for text in facts.layer.problems]


def short(layer):
    """A layer's id for people: digests cut to 12 characters, what a terminal can't show escaped."""
    text = printable(layer)
    if len(text) >= 32 and all(character in "0123456789abcdef" for character in text[:32]):
        # dockerd keeps a container's first layer apart by a suffix; it tells the two.
        return text[:12] + ("-init" if text.endswith("-init") else "")
    return text
