# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What is said of a layer's owners: plain records, complete in themselves."""

from __future__ import annotations

from types import MappingProxyType
from typing import AbstractSet, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

CONTAINER, IMAGE, BUILD_CACHE, LAYER, MOUNT = "container", "image", "build-cache", "layer", "mount"
UNOWNED, UNKNOWN = "unowned", "unknown"

#: What a layer can be, the strongest owner first. ``layer`` is one that was made for its own sake, by this collection
#: or with a name in containers/storage; ``mount`` is one that no record explains and the kernel has in use.
KINDS = (CONTAINER, IMAGE, BUILD_CACHE, LAYER, MOUNT, UNOWNED, UNKNOWN)

#: How sure an answer is. ``likely``: the engine runs, or keeps no word on what it is making. ``none``: no answer.
CERTAIN, LIKELY, NONE = "certain", "likely", "none"


class Evidence(NamedTuple):
    """Where something is written down."""

    path: str
    #: The field in that file, as ``State.Running``; "" for all of it, or for a folder that is there.
    field: str = ""

    def __str__(self):
        return "%s: %s" % (self.path, self.field) if self.field else self.path


class Problem(NamedTuple):
    """A record of the engine's that can't be read."""

    path: str
    #: What is wrong with it, a clause.
    message: str

    def __str__(self):
        return "%s %s" % (self.path, self.message)


class Owner(NamedTuple):
    """Somebody who needs a layer."""

    #: One of the first five of :data:`KINDS`.
    kind: str
    #: The engine's own name: an image's digest, a container's id, a cache record's id; "" where it has none.
    id: str
    #: What people call it: tags of an image, a container's name, a build step, holders.
    names: Tuple[str, ...] = ()
    #: container: running, paused, restarting, exited, created, dead, removing, mounted, unmounted, incomplete,
    #: unreadable; image: tagged, dangling, intermediate, incomplete; build-cache: its type, as regular or source.local;
    #: layer: read-write, read-only, held, named; mount: mounted.
    state: str = ""
    #: It needs this layer itself; False: a layer that stands on this one.
    direct: bool = True
    evidence: Tuple[Evidence, ...] = ()

    @property
    def title(self):
        """What to call it (str): its names, or else a short form of its id."""
        return ", ".join(self.names) or _short(self.id) or self.state


class Ownership(NamedTuple):
    """Whose a layer is."""

    layer: str
    #: The strongest of its owners' kinds, or unowned, or unknown.
    kind: str
    #: Strongest first; empty for what is unowned or unknown.
    owners: Tuple[Owner, ...] = ()
    certainty: str = CERTAIN
    #: One sentence: what makes it so.
    reason: str = ""
    #: Where that is written; for an unowned layer, where its owner would stand.
    evidence: Tuple[Evidence, ...] = ()

    @property
    def names(self):
        """Names of all its owners (tuple of str), each once; the title of the strongest where none has a name."""
        names = tuple(dict.fromkeys(name for owner in self.owners for name in owner.names))
        return names or tuple(owner.title for owner in self.owners[:1])

    @property
    def state(self):
        """State of its strongest owner (str); "" where it has none."""
        return self.owners[0].state if self.owners else ""


class Report(NamedTuple):
    """Whose the layers of a home are."""

    home: str
    #: ``dockerd``, ``containers-storage``, ``overlay2`` (this project); "" where nobody's records were found.
    engine: str
    #: Folder of the engine's records.
    root: str
    #: The engine is at work on the home at this moment; None where that can't be told.
    running: Optional[bool]
    #: By layer id, sorted; each layer folder of the home is here.
    layers: Dict[str, Ownership]
    problems: Tuple[Problem, ...] = ()
    #: Layers that the engine needs and the home does not have: id to what needs it (str).
    missing: Mapping[str, str] = MappingProxyType({})
    #: Mount namespaces that could not be looked into: what is mounted there may be an owner too.
    unseen: Tuple[Problem, ...] = ()
    #: The parent of each layer, where the engine has that on record: id to id.
    parents: Mapping[str, str] = MappingProxyType({})
    #: What is mounted of each layer in whatever mount namespace: id to a mount table and the mount point.
    in_use: Mapping[str, Tuple[Evidence, ...]] = MappingProxyType({})
    #: Layers that the engine made for a user namespace, whose files it gave to mapped ids.
    id_mapped: AbstractSet[str] = frozenset()
    #: Layers that stand on one of another store: id to that layer's id, which is not on record here.
    parents_elsewhere: Mapping[str, str] = MappingProxyType({})
    #: Layers whose making or removal was cut off, on record as that: the engine removes them by itself.
    unfinished: AbstractSet[str] = frozenset()

    def unowned(self):
        """Those that nobody needs (list of :class:`Ownership`)."""
        return [ownership for ownership in self.layers.values() if ownership.kind == UNOWNED]

    def counts(self):
        """Number of layers by kind (dict), every kind in it."""
        counted = dict.fromkeys(KINDS, 0)
        for ownership in self.layers.values():
            counted[ownership.kind] += 1
        return counted


class Claims:
    """What an engine's records say, before it is held against the layers that are there."""

    def __init__(self):
        #: Owners by the id of the layer that each needs itself.
        self.owners: Dict[str, List[Owner]] = {}
        #: Layer id to the id of its parent, as the engine has it; the home's own ``lower`` files may be damaged.
        self.parents: Dict[str, str] = {}
        #: Layers that the engine has on record and nothing refers to: id to (reason, evidence).
        self.unreferenced: Dict[str, Tuple[str, Tuple[Evidence, ...]]] = {}
        #: Layers of which the records tell too little: id to reason.
        self.unknown: Dict[str, str] = {}
        #: Why a layer without a record may still have an owner; "" where it can't.
        self.unrecorded_doubt = ""
        #: The same for a layer on record that nothing seems to refer to.
        self.unreferenced_doubt = ""
        #: Where a layer's record would be.
        self.looked_at: Tuple[Evidence, ...] = ()
        self.problems: List[Problem] = []
        #: Layers that were made for a user namespace.
        self.id_mapped: Set[str] = set()
        #: Layers on record whose parent is not, though all records could be read.
        self.parents_elsewhere: Dict[str, str] = {}
        #: Layers whose making or removal was cut off.
        self.unfinished: Set[str] = set()
        #: An unreferenced layer is garbage only to this degree: the engine may be about to refer to it.
        self.unreferenced_certainty = CERTAIN

    def own(self, layer, owner):
        """Write down an owner of a layer."""
        self.owners.setdefault(layer, []).append(owner)

    def doubt_unrecorded(self, problem):
        """A record is unreadable that could name any layer."""
        self.problems.append(problem)
        self.unrecorded_doubt = self.unrecorded_doubt or "a record that may be its own can't be read: %s" % (problem,)

    def doubt_all(self, problem):
        """A record is unreadable that could name, or refer to, any layer."""
        self.doubt_unrecorded(problem)
        self.doubt_unreferenced(problem)

    def doubt_records(self, reason: str) -> None:
        """Records may be missing here that could name, or refer to, any layer."""
        self.unrecorded_doubt = self.unrecorded_doubt or "a record of it may be elsewhere: " + reason
        self.unreferenced_doubt = self.unreferenced_doubt or "what refers to it may be on record elsewhere: " + reason

    def doubt_unreferenced(self, problem):
        """A record is unreadable that could refer to any layer on record."""
        self.problems.append(problem)
        self.unreferenced_doubt = self.unreferenced_doubt or "what refers to it can't be read: %s" % (problem,)


def _short(id):
    digest = id[len("sha256:") :] if id.startswith("sha256:") else id
    return digest[:12]
