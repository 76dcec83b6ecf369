# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Answers about the owners of layers: plain records, complete in themselves."""

from __future__ import annotations

from types import MappingProxyType
from typing import AbstractSet, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

CONTAINER, IMAGE, BUILD_CACHE, LAYER, MOUNT = "container", "image", "build-cache", "layer", "mount"
UNOWNED, UNKNOWN = "unowned", "unknown"

#: Kinds of layers by their owner, the strongest first. ``layer`` was made for its own sake, by this collection or with
#: a name in containers/storage; ``mount`` has no record that explains it, but the kernel has it in use.
KINDS = (CONTAINER, IMAGE, BUILD_CACHE, LAYER, MOUNT, UNOWNED, UNKNOWN)

#: How sure an answer is. ``likely``: the engine runs, or does not record what it is making. ``none``: no answer.
CERTAIN, LIKELY, NONE = "certain", "likely", "none"


class Evidence(NamedTuple):
    """A place in an engine's records."""

    path: str
    #: The field in that file, as ``State.Running``; "" for all of it, or for a directory that exists.
    field: str = ""

    def __str__(self) -> str:
        return "%s: %s" % (self.path, self.field) if self.field else self.path


class Problem(NamedTuple):
    """A record of an engine that can't be read."""

    path: str
    #: What is wrong with it, a clause.
    message: str

    def __str__(self) -> str:
        return "%s %s" % (self.path, self.message)


class Owner(NamedTuple):
    """Something that needs a layer."""

    #: One of the first five of :data:`KINDS`.
    kind: str
    #: The engine's own name: an image's digest, a container's id, a cache record's id; "" if it has none.
    id: str
    #: Names that people use: tags of an image, a container's name, a build step, holders.
    names: Tuple[str, ...] = ()
    #: container: running, paused, restarting, exited, created, dead, removing, mounted, unmounted, incomplete,
    #: unreadable; image: tagged, dangling, intermediate, incomplete; build-cache: its type, as regular or source.local;
    #: layer: read-write, read-only, held, named; mount: mounted.
    state: str = ""
    #: It needs this layer itself; False: a layer that stands on this one.
    direct: bool = True
    evidence: Tuple[Evidence, ...] = ()

    @property
    def title(self) -> str:
        """Its names, or else a short form of its id."""
        return ", ".join(self.names) or _short(self.id) or self.state


class Ownership(NamedTuple):
    """The owners of a layer."""

    layer: str
    #: The strongest of its owners' kinds, or unowned, or unknown.
    kind: str
    #: Strongest first; empty for an unowned or unknown layer.
    owners: Tuple[Owner, ...] = ()
    certainty: str = CERTAIN
    #: The reason for the answer, one sentence.
    reason: str = ""
    #: Where that is on record; for an unowned layer, where its owner would be.
    evidence: Tuple[Evidence, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all its owners, each once; the title of the strongest if none has a name."""
        names = tuple(dict.fromkeys(name for owner in self.owners for name in owner.names))
        return names or tuple(owner.title for owner in self.owners[:1])

    @property
    def state(self) -> str:
        """State of its strongest owner; "" without owners."""
        return self.owners[0].state if self.owners else ""


class Report(NamedTuple):
    """The owners of all layers of a home."""

    home: str
    #: ``dockerd``, ``containers-storage``, ``overlay2`` (this project); "" if no records were found.
    engine: str
    #: Directory of the engine's records.
    root: str
    #: The engine is at work on the home at this moment; None if that is not known.
    running: Optional[bool]
    #: By layer id, sorted; all layers of the home.
    layers: Dict[str, Ownership]
    problems: Tuple[Problem, ...] = ()
    #: Layers that the engine needs and the home does not have: id to what needs it (str).
    missing: Mapping[str, str] = MappingProxyType({})
    #: Mount namespaces that could not be looked into: mounts there may be owners too.
    unseen: Tuple[Problem, ...] = ()
    #: The parent of each layer, if the engine has that on record: id to id.
    parents: Mapping[str, str] = MappingProxyType({})
    #: The mounts that use each layer, in whatever mount namespace: id to a mount table and the mount point.
    in_use: Mapping[str, Tuple[Evidence, ...]] = MappingProxyType({})
    #: Layers that the engine made for a user namespace, whose files it gave to mapped ids.
    id_mapped: AbstractSet[str] = frozenset()
    #: Layers that stand on one of another store: id to that layer's id, which is not on record here.
    parents_elsewhere: Mapping[str, str] = MappingProxyType({})
    #: Layers whose making or removal was cut off, on record as that: the engine removes them by itself.
    unfinished: AbstractSet[str] = frozenset()

    def unowned(self) -> list[Ownership]:
        """Returns the layers that nobody needs."""
        return [ownership for ownership in self.layers.values() if ownership.kind == UNOWNED]

    def counts(self) -> dict[str, int]:
        """Returns the number of layers of every kind."""
        counted = dict.fromkeys(KINDS, 0)
        for ownership in self.layers.values():
            counted[ownership.kind] += 1
        return counted


class Claims:
    """An engine's records, before they are compared with the layers."""

    def __init__(self) -> None:
        #: Owners by the id of the layer that each needs itself.
        self.owners: Dict[str, List[Owner]] = {}
        #: Layer id to the id of its parent, as the engine has it; the home's own ``lower`` files may be damaged.
        self.parents: Dict[str, str] = {}
        #: Layers that the engine has on record but nothing refers to: id to (reason, evidence).
        self.unreferenced: Dict[str, Tuple[str, Tuple[Evidence, ...]]] = {}
        #: Layers that the records say too little of: id to reason.
        self.unknown: Dict[str, str] = {}
        #: Why a layer without a record may still have an owner; "" if it can't.
        self.unrecorded_doubt = ""
        #: The same for a layer on record to which nothing seems to refer.
        self.unreferenced_doubt = ""
        #: Where a layer's record would be.
        self.looked_at: Tuple[Evidence, ...] = ()
        self.problems: List[Problem] = []
        #: Layers that were made for a user namespace.
        self.id_mapped: Set[str] = set()
        #: Names on record that need no directory: they stand for content that is kept in another layer.
        self.without_directory: Set[str] = set()
        #: Layers on record whose parent is not, though all records could be read.
        self.parents_elsewhere: Dict[str, str] = {}
        #: Layers whose making or removal was cut off.
        self.unfinished: Set[str] = set()
        #: An unreferenced layer is garbage only to this degree: the engine may be about to refer to it.
        self.unreferenced_certainty = CERTAIN

    def own(self, layer: str, owner: Owner) -> None:
        """Adds an owner of a layer."""
        self.owners.setdefault(layer, []).append(owner)

    def doubt_unrecorded(self, problem: Problem) -> None:
        """An unreadable record could name any layer."""
        self.problems.append(problem)
        self.unrecorded_doubt = self.unrecorded_doubt or "a record that may name it can't be read: %s" % (problem,)

    def doubt_all(self, problem: Problem) -> None:
        """An unreadable record could name, or refer to, any layer."""
        self.doubt_unrecorded(problem)
        self.doubt_unreferenced(problem)

    def doubt_records(self, reason: str) -> None:
        """Records may be missing here that could name, or refer to, any layer."""
        self.unrecorded_doubt = self.unrecorded_doubt or "a record that names it may be elsewhere: " + reason
        self.unreferenced_doubt = self.unreferenced_doubt or "a record that refers to it may be elsewhere: " + reason

    def doubt_unreferenced(self, problem: Problem) -> None:
        """An unreadable record could refer to any layer on record."""
        self.problems.append(problem)
        self.unreferenced_doubt = self.unreferenced_doubt or "a record that may refer to it can't be read: %s" % (
            problem,
        )


def _short(id: str) -> str:
    digest = id[len("sha256:") :] if id.startswith("sha256:") else id
    return digest[:12]
