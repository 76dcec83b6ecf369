# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""From what the records claim and what the kernel has mounted to one answer for each layer folder of a home."""

from __future__ import annotations

import os
import time

from ..errors import Overlay2Error
from ..home.layout import LINK, LINK_DIR, is_link_name
from . import collection, containers_storage, dockerd, engine, mounted
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


def resolve(driver, grace=GRACE):
    """Whose each layer of a home is: a :class:`~.records.Report`.

    :param driver: a :class:`~..driver.Driver` of the home; one opened for reading will do.
    :param grace: seconds (number), see :data:`GRACE`.
    :raises OSError: the home can't be listed.
    """
    return _Resolver(driver, grace).report()


def engine_of(home):
    """Whose home it is (str), as in :class:`~.records.Report`."""
    return _find_engine(home)[0]


class _Resolver:
    """Finds the owners of one home's layers."""

    def __init__(self, driver, grace):
        self._driver = driver
        self._grace = grace
        self._now = time.time()
        self._store = driver.opened.store
        self._engine, self._root, self._indexes, self._locks = _find_engine(driver.home)

    def report(self):
        # Folders first: what is made meanwhile and has no record yet is then not asked for.
        ids = self._store.ids()
        self._links = _Links(self._store, ids)
        claims, activity = self._settled()
        uses = mounted.uses(self._driver.home, ids, self._links.names)
        self._claim_ours(claims, ids)
        self._claim_mounts(claims, uses)
        owners, doubts = self._spread(claims, ids)
        answers = {}
        for layer in ids:
            if owners.get(layer):
                answers[layer] = _owned(layer, owners[layer])
                continue
            answer = self._unowned(layer, claims, doubts, activity, bool(uses.hidden))
            if answer.kind != UNOWNED or self._store.exists(layer):
                answers[layer] = answer
        self._doubt_those_below(answers, claims)
        problems = tuple(dict.fromkeys(claims.problems))
        missing = {layer: _owned(layer, claimed).reason for layer, claimed in owners.items() if layer not in answers}
        missing = {layer: reason for layer, reason in sorted(missing.items()) if not self._store.exists(layer)}
        unseen = tuple(Problem(path, why) for path, why in uses.hidden)
        return Report(
            self._driver.home,
            self._engine,
            self._root,
            activity.running,
            answers,
            problems,
            missing,
            unseen,
            claims.parents,
            uses.layers,
            frozenset(claims.id_mapped),
            claims.parents_elsewhere,
            frozenset(claims.unfinished),
        )

    def _settled(self):
        """The engine's claims, read while none of its indexes changed, and its :class:`~.engine.Activity`."""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE)
            before = [_signature(path) for path in self._indexes]
            claims = self._read_claims()
            activity = engine.activity(self._locks)
            # A record of an engine at work that can't be read may be half written.
            settled = not (claims.problems and activity.running) or attempt == _TRIES - 1
            if settled and before == [_signature(path) for path in self._indexes]:
                return claims, activity
        claims.unrecorded_doubt = claims.unreferenced_doubt = "the engine's records changed each time they were read"
        return claims, activity

    def _read_claims(self):
        if self._engine == DOCKERD:
            found = dockerd.claims(self._driver.home)
            others = containers_storage.Places(self._driver.home)
            if others.exist:
                found.doubt_records("containers/storage has its own, in %s" % others.layers)
            return found
        if self._engine == CONTAINERS_STORAGE:
            return containers_storage.claims(self._driver.home, self._now, self._grace)
        claims = Claims()
        claims.unrecorded_doubt = "no engine's records are beside the home that could tell whose it is"
        return claims

    # What owns a layer itself

    def _claim_ours(self, claims, ids):
        holders = self._driver.opened.runtime.holders_dir
        for layer in ids:
            try:
                owner = collection.owner_of(self._driver, self._store, layer, holders)
            except Unreadable as error:
                claims.problems.append(error.problem)
                claims.unknown.setdefault(layer, "its own record can't be read: %s" % (error.problem,))
                continue
            if owner is not None:
                claims.own(layer, owner)

    def _claim_mounts(self, claims, uses):
        """Hold the claims against what the kernel has mounted, which knows better than a file of a killed engine."""
        mounted_ids = set()
        for layer, evidence in uses.layers.items():
            known = claims.owners.get(layer, [])
            mounted_ids.update(owner.id for owner in known)
            claims.owners[layer] = [owner._replace(evidence=owner.evidence + evidence[:1]) for owner in known]
            if not known:
                claims.own(layer, Owner(MOUNT, layer, (evidence[0].field,), "mounted", evidence=evidence))
        for owners in claims.owners.values():
            owners[:] = [
                owner._replace(state=_true_state(owner.state, owner.id in mounted_ids))
                if owner.kind == CONTAINER
                else owner
                for owner in owners
            ]

    # What owns those below

    def _spread(self, claims, ids):
        """Owners by layer with those of the layers above, and why what has none may be owned all the same (dict)."""
        everybody = set(ids)
        found = {layer: list(owners) for layer, owners in claims.owners.items()}
        doubts = {}
        for layer in list(found):
            inherited = [owner._replace(direct=False) for owner in found[layer] if owner.direct]
            for below in self._below(layer, claims, everybody, doubts):
                found.setdefault(below, []).extend(inherited)
        return found, doubts

    def _doubt_those_below(self, answers, claims):
        """What a layer of unknown owners stands on is not garbage: a pull may be building on a layer left over."""
        everybody = set(answers)
        pending = [layer for layer, answer in answers.items() if answer.kind == UNKNOWN]
        while pending:
            layer, doubts = pending.pop(), {}
            for below in self._below(layer, claims, everybody, doubts):
                doubts[below] = "layer %s stands on it, and whose that is can't be told" % layer
            for below, reason in doubts.items():
                if below in answers and answers[below].kind == UNOWNED:
                    answers[below] = Ownership(below, UNKNOWN, certainty=NONE, reason=reason)
                    pending.append(below)

    def _below(self, layer, claims, everybody, doubts):
        """Ids of the layers that one stands on, by its own files and by the engine's; what can't be told is a doubt."""
        chain, lost = self._links.chain(layer)
        below = set(chain)
        parent, seen = claims.parents.get(layer), set()
        while parent and parent not in seen:
            seen.add(parent)
            parent = claims.parents.get(parent)
        below |= seen
        if lost and not seen:
            suspects = everybody if lost == "all" else self._links.nameless
            reason = "the lower chain of layer %s can't be read, and it may be part of it" % layer
            for suspect in suspects - below - {layer}:
                doubts.setdefault(suspect, reason)
        return below & everybody

    # What nobody owns

    def _unowned(self, layer, claims, doubts, activity, half_blind):
        unreferenced = claims.unreferenced.get(layer)
        doubt = doubts.get(layer) or claims.unknown.get(layer)
        if not doubt:
            doubt = claims.unreferenced_doubt if unreferenced else claims.unrecorded_doubt
        if doubt:
            return Ownership(layer, UNKNOWN, certainty=NONE, reason=doubt)
        # What is older than the engine's start, or than anything takes to make, is not in the making.
        if activity.running and not self._older_than(layer, max(activity.since or 0, self._now - self._grace)):
            reason = "no record names it, but the engine is running and may be making it"
            return Ownership(layer, UNKNOWN, certainty=NONE, reason=reason, evidence=claims.looked_at)
        reason, evidence = unreferenced or ("the engine has no record of it", claims.looked_at)
        certainty = claims.unreferenced_certainty if unreferenced else CERTAIN
        if activity.running is not False or half_blind:
            certainty = LIKELY
        return Ownership(layer, UNOWNED, certainty=certainty, reason=reason, evidence=evidence)

    def _older_than(self, layer, moment):
        """Whether a layer was made before a moment (seconds since the epoch), by its ``link`` that nobody rewrites."""
        try:
            return os.lstat(self._store.at(layer, LINK)).st_mtime < moment - 1
        except OSError:
            return False


class _Links:
    """Who goes by which name in ``l/``, by the links and by the layers' own ``link`` files: either may be lost."""

    def __init__(self, store, ids):
        self._store = store
        self.names = dict(store.links())
        named = {layer for layer in self.names.values() if layer}
        self.nameless = set()
        for layer in ids:
            try:
                name = os.fsdecode(store.files(layer).content(LINK) or b"")
            except Overlay2Error:
                name = ""
            if is_link_name(name) and not self.names.get(name):
                self.names[name] = layer
                named.add(layer)
            if layer not in named:
                self.nameless.add(layer)

    def chain(self, layer):
        """(ids of the lower layers, what of them is lost): "" nothing, ``some`` names lead nowhere, ``all`` of it."""
        try:
            links = self._store.files(layer).lower_links
        except Overlay2Error:
            return [], "all"
        found = [self.names.get(link[len(LINK_DIR) + 1 :]) for link in links]
        return [layer for layer in found if layer], "" if all(found) else "some"


def _true_state(state, is_mounted):
    """A container's state: one that is on record as running and mounted nowhere was cut off with its engine, or host.

    containers/storage writes no state down; there it is only whether the container is mounted.
    """
    if is_mounted:
        return "mounted" if state == "unmounted" else state
    return "exited" if state in ("running", "paused") else state


def _owned(layer, owners):
    """The answer for a layer with owners: each once, the strongest first, direct ones before others."""
    unique = {}
    for owner in owners:
        known = unique.get((owner.kind, owner.id))
        if known is None or (owner.direct and not known.direct):
            unique[owner.kind, owner.id] = owner
    ordered = sorted(unique.values(), key=_strength)
    first = ordered[0]
    text = "%s %s%s" % (first.kind, first.title, " (%s)" % first.state if first.state else "")
    reason = text if first.direct else "it is below a layer of %s" % text
    return Ownership(layer, first.kind, tuple(ordered), CERTAIN, reason, first.evidence)


#: What counts for more and for less than other states of the same kind.
_STATES = {"running": 0, "paused": 0, "restarting": 0, "mounted": 0, "tagged": 0, "intermediate": 2}


def _strength(owner):
    return KINDS.index(owner.kind), _STATES.get(owner.state, 1), not owner.direct, owner.names, owner.id


def _signature(path):
    """What changes of a file or folder when somebody writes to it; None where it is missing."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_ino, info.st_mtime_ns, info.st_size


def _find_engine(home):
    """(engine, folder of its records, what changes when an owner comes or goes, files it locks at work)."""
    docker = dockerd.Places(home)
    if docker.exist:
        return DOCKERD, docker.data_root, docker.indexes(), engine.dockerd_files(docker.data_root)
    containers = containers_storage.Places(home)
    if containers.exist:
        return CONTAINERS_STORAGE, containers.root, containers.indexes(), containers.locks
    if collection.has_been_here(home):
        return OVERLAY2, home, [], []
    return "", "", [], []
