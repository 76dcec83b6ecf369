# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""From an engine's records and the kernel's mounts to one answer for each layer of a home."""

from __future__ import annotations

import os
import time
from typing import Iterable, Mapping, NamedTuple, Tuple

from ..home.opening import Home, Opened, home_of
from ..home.reading import Chains
from . import collection, containers_storage, dockerd, engine, mount_uses
from .files import Unreadable
from .records import (
    CERTAIN,
    CONTAINER,
    KINDS,
    LIKELY,
    MOUNT,
    NONE,
    UNKNOWN,
    UNOWNED,
    Claims,
    Owner,
    Ownership,
    Problem,
    Report,
)

#: Age in seconds from which on a layer that nothing refers to is in no pull or build under way; containers/storage's
#: own check waits as long before it calls one unreferenced.
GRACE = 24 * 3600

#: How often records are read that change meanwhile.
_TRIES = 5
_PAUSE = 0.02

DOCKERD, CONTAINERS_STORAGE, OVERLAY2 = "dockerd", "containers-storage", "overlay2"


def resolve(opened: Home | Opened, grace: float = GRACE) -> Report:
    """Returns whose each layer of a home is.

    :param opened: the home, or a driver of it; one opened for reading will do.
    :param grace: seconds, see :data:`GRACE`.
    :raises OSError: the home cannot be listed.
    """
    return _Resolver(home_of(opened), grace).report()


def engine_of(path: str) -> str:
    """Returns the engine of the home at ``path``, as :attr:`.records.Report.engine` has it."""
    return _find_engine(path).name


class _Engine(NamedTuple):
    """The engine that works on a home, by the records beside it."""

    name: str
    #: The directory of its records.
    root: str = ""
    #: Files and directories of which one changes when an owner comes or goes.
    indexes: Tuple[str, ...] = ()
    #: Files that it keeps locked while it works.
    locks: Tuple[str, ...] = ()


class _Resolver:
    """Finds the owners of one home's layers."""

    def __init__(self, home: Home, grace: float) -> None:
        self._home = home
        self._grace = grace
        self._now = time.time()
        self._engine = _find_engine(home.path)

    def report(self) -> Report:
        # Layers first: one that is made meanwhile, and has no record yet, is then not asked for.
        store = self._home.store
        ids = store.ids()
        self._chains = _KnownChains(store.chains(), ids)
        claims, activity = self._stable_claims()
        uses = mount_uses.uses(store, ids, self._chains.links)
        self._claim_ours(claims, ids)
        _claim_mounts(claims, uses)
        owners, doubts = self._spread(claims, ids)
        answers = {}
        for layer in ids:
            if owners.get(layer):
                answers[layer] = _owned(layer, owners[layer])
                continue
            answer = self._unowned(layer, claims, doubts, activity, bool(uses.hidden))
            if answer.kind != UNOWNED or store.exists(layer):
                answers[layer] = answer
        self._doubt_those_below(answers, claims)
        missing = {
            layer: _owned(layer, claimed).reason
            for layer, claimed in owners.items()
            if layer not in answers and layer not in claims.without_directory
        }
        return Report(
            home=self._home.path,
            engine=self._engine.name,
            root=self._engine.root,
            running=activity.running,
            layers=answers,
            problems=tuple(dict.fromkeys(claims.problems)),
            missing={layer: reason for layer, reason in sorted(missing.items()) if not store.exists(layer)},
            unseen=tuple(Problem(path, why) for path, why in uses.hidden),
            parents=claims.parents,
            in_use=uses.layers,
            id_mapped=frozenset(claims.id_mapped),
            parents_elsewhere=claims.parents_elsewhere,
            unfinished=frozenset(claims.unfinished),
        )

    def _stable_claims(self) -> tuple[Claims, engine.Activity]:
        """Returns the engine's claims, read while none of its indexes changed, and whether it is at work."""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE)
            before = [_signature(path) for path in self._engine.indexes]
            claims = self._read_claims()
            activity = engine.activity(self._engine.locks)
            # A record that can't be read may be half written, if its engine is at work.
            is_stable = not (claims.problems and activity.running) or attempt == _TRIES - 1
            if is_stable and before == [_signature(path) for path in self._engine.indexes]:
                return claims, activity
        claims.unrecorded_doubt = claims.unreferenced_doubt = "the engine's records changed each time they were read"
        return claims, activity

    def _read_claims(self) -> Claims:
        path = self._home.path
        if self._engine.name == CONTAINERS_STORAGE:
            return containers_storage.claims(path, self._now, self._grace)
        if self._engine.name == DOCKERD:
            claims = dockerd.claims(path)
            others = containers_storage.Places(path)
            if others.exist:
                claims.doubt_records("containers/storage has its own, in %s" % others.layers)
            return claims
        claims = Claims()
        claims.unrecorded_doubt = "there are no records of an engine beside the home"
        return claims

    # Owners of a layer itself

    def _claim_ours(self, claims: Claims, ids: Iterable[str]) -> None:
        for layer in ids:
            try:
                owner = collection.owner_of(self._home, layer)
            except Unreadable as error:
                claims.problems.append(error.problem)
                claims.unknown.setdefault(layer, "its own record can't be read: %s" % (error.problem,))
                continue
            if owner is not None:
                claims.own(layer, owner)

    # Owners of the layers below

    def _spread(self, claims: Claims, ids: Iterable[str]) -> tuple[dict[str, list[Owner]], dict[str, str]]:
        """Returns the owners of each layer and of those above it, and why one without any may have one after all."""
        everybody = set(ids)
        found = {layer: list(owners) for layer, owners in claims.owners.items()}
        doubts: dict[str, str] = {}
        for layer in list(found):
            inherited = [owner._replace(direct=False) for owner in found[layer] if owner.direct]
            for below in self._below(layer, claims, everybody, doubts):
                found.setdefault(below, []).extend(inherited)
        return found, doubts

    def _doubt_those_below(self, answers: dict[str, Ownership], claims: Claims) -> None:
        """A layer below one of unknown owners is not garbage: a pull may be building on a left-over layer."""
        everybody = set(answers)
        pending = [layer for layer, answer in answers.items() if answer.kind == UNKNOWN]
        while pending:
            layer = pending.pop()
            doubts: dict[str, str] = {}
            for below in self._below(layer, claims, everybody, doubts):
                doubts[below] = "layer %s stands on it, and the owner of that one is not known" % layer
            for below, reason in doubts.items():
                if below in answers and answers[below].kind == UNOWNED:
                    answers[below] = Ownership(below, UNKNOWN, certainty=NONE, reason=reason)
                    pending.append(below)

    def _below(self, layer: str, claims: Claims, everybody: set[str], doubts: dict[str, str]) -> set[str]:
        """Returns the layers that one stands on, by its own files and by the engine's; adds to ``doubts``."""
        chain, lost = self._chains.below(layer)
        parents: set[str] = set()
        parent = claims.parents.get(layer)
        while parent and parent not in parents:
            parents.add(parent)
            parent = claims.parents.get(parent)
        below = set(chain) | parents
        if lost and not parents:
            suspects = everybody if lost == "all" else self._chains.nameless
            reason = "the lower chain of layer %s can't be read, and it may be part of it" % layer
            for suspect in suspects - below - {layer}:
                doubts.setdefault(suspect, reason)
        return below & everybody

    # Layers without owners

    def _unowned(
        self, layer: str, claims: Claims, doubts: Mapping[str, str], activity: engine.Activity, half_blind: bool
    ) -> Ownership:
        """:param half_blind: not every mount namespace could be looked into."""
        unreferenced = claims.unreferenced.get(layer)
        doubt = doubts.get(layer) or claims.unknown.get(layer)
        if not doubt:
            doubt = claims.unreferenced_doubt if unreferenced else claims.unrecorded_doubt
        if doubt:
            return Ownership(layer, UNKNOWN, certainty=NONE, reason=doubt)
        # A layer that is older than the engine's start, or than any pull can last, is not being made now.
        if activity.running and not self._older_than(layer, max(activity.since or 0, self._now - self._grace)):
            reason = "no record names it, but the engine is running and may be making it"
            return Ownership(layer, UNKNOWN, certainty=NONE, reason=reason, evidence=claims.looked_at)
        reason, evidence = unreferenced or ("the engine has no record of it", claims.looked_at)
        certainty = claims.unreferenced_certainty if unreferenced else CERTAIN
        if activity.running is not False or half_blind:
            certainty = LIKELY
        return Ownership(layer, UNOWNED, certainty=certainty, reason=reason, evidence=evidence)

    def _older_than(self, layer: str, moment: float) -> bool:
        """True if a layer was made before a moment, in seconds since the epoch."""
        created = self._home.store.created(layer)
        return created is not None and created < moment - 1


class _KnownChains:
    """The chains of all layers of a home, with the names that lead nowhere."""

    def __init__(self, chains: Chains, ids: Iterable[str]) -> None:
        self._chains = chains
        self._ids = frozenset(ids)
        claimed: dict[str, list[str]] = {}
        for layer_id in ids:
            claimed.setdefault(chains.link(layer_id), []).append(layer_id)
        #: The layers by the names that they give themselves.
        self.links = {name: ids[0] for name, ids in claimed.items() if name and len(ids) == 1}
        #: Layers that a lost name may have been.
        self.nameless = self._ids - set(self.links.values())

    def below(self, layer_id: str) -> tuple[list[str], str]:
        """Returns the known layers of a chain, and how much of it is lost: "", ``some``, or ``all``."""
        lower = self._chains.lower(layer_id)
        if lower is None:
            return [], "all"
        found = [each if each in self._ids else self.links.get(os.path.basename(each)) for each in lower]
        return [each for each in found if each], "" if all(found) else "some"


def _claim_mounts(claims: Claims, uses: mount_uses.Uses) -> None:
    """Compares the claims with the kernel's mounts, which are true where the files of a killed engine are not."""
    mounted_ids: set[str] = set()
    for layer, evidence in uses.layers.items():
        known = claims.owners.get(layer, [])
        mounted_ids.update(owner.id for owner in known)
        claims.owners[layer] = [owner._replace(evidence=owner.evidence + evidence[:1]) for owner in known]
        if not known:
            claims.own(layer, Owner(MOUNT, layer, (evidence[0].field,), "mounted", evidence=evidence))
    for owners in claims.owners.values():
        for place, owner in enumerate(owners):
            if owner.kind == CONTAINER:
                owners[place] = owner._replace(state=_true_state(owner.state, owner.id in mounted_ids))


def _true_state(state: str, is_mounted: bool) -> str:
    """Returns a container's state. One on record as running that is not mounted was cut off with its engine or host.

    containers/storage records no state; there it is only whether the container is mounted.
    """
    if is_mounted:
        return "mounted" if state == "unmounted" else state
    return "exited" if state in ("running", "paused") else state


def _owned(layer: str, owners: Iterable[Owner]) -> Ownership:
    """Returns the answer for a layer with owners: each once, the strongest first, direct ones before others."""
    unique: dict[tuple[str, str], Owner] = {}
    for owner in owners:
        known = unique.get((owner.kind, owner.id))
        if known is None or (owner.direct and not known.direct):
            unique[owner.kind, owner.id] = owner
    ordered = sorted(unique.values(), key=_strength)
    first = ordered[0]
    text = "%s %s%s" % (first.kind, first.title, " (%s)" % first.state if first.state else "")
    reason = text if first.direct else "it is below a layer of %s" % text
    return Ownership(layer, first.kind, tuple(ordered), CERTAIN, reason, first.evidence)


#: States that count for more or less than others of the same kind.
_STATES = {"running": 0, "paused": 0, "restarting": 0, "mounted": 0, "tagged": 0, "intermediate": 2}


def _strength(owner: Owner) -> tuple[int, int, bool, tuple[str, ...], str]:
    return KINDS.index(owner.kind), _STATES.get(owner.state, 1), not owner.direct, owner.names, owner.id


def _signature(path: str) -> tuple[int, int, int] | None:
    """Returns what changes of a file or directory when somebody writes to it; None if it is missing."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_ino, info.st_mtime_ns, info.st_size


def _find_engine(path: str) -> _Engine:
    docker = dockerd.Places(path)
    if docker.exist:
        locks = engine.dockerd_files(docker.data_root)
        return _Engine(DOCKERD, docker.data_root, tuple(docker.indexes()), tuple(locks))
    containers = containers_storage.Places(path)
    if containers.exist:
        return _Engine(CONTAINERS_STORAGE, containers.root, tuple(containers.indexes()), tuple(containers.locks))
    return _Engine(OVERLAY2, path) if collection.has_been_here(path) else _Engine("")
