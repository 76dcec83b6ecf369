# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Removes layers that are garbage with certainty. First a plan with sizes, which is all that happens by default.

>>> from overlay2 import Driver, prune
>>> driver = Driver("/var/lib/docker/overlay2", read_only=True)
>>> planned = prune.plan(driver)
>>> planned.size, [candidate.layer for candidate in planned.candidates]
>>> prune.perform(driver, planned, foreign=True)

A candidate is unowned with certainty and mounted in no mount namespace. Both are established again under the locks,
and with another engine's own locks held, before anything is removed. dockerd's records of a layer are removed with it,
in dockerd's own order, so that after a kill at any instant its own clean-up finishes the work.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from typing import Iterator, NamedTuple, Optional, Tuple

from . import owners
from .errors import EngineRunning, translated
from .foreign import standstill
from .home.directories import sync_directory
from .home.opening import Home, Opened, home_of
from .owners import mount_uses
from .owners.files import Unreadable, text_of
from .tree import tree_size


class Candidate(NamedTuple):
    """A layer that may be removed."""

    layer: str
    path: str
    #: Bytes of its files; None if they were not counted.
    size: Optional[int]
    #: Why nobody needs it, one sentence.
    reason: str
    #: Where its owner would be on record.
    evidence: Tuple[owners.Evidence, ...]


class Kept(NamedTuple):
    """A layer that seems to have no owner, and stays for want of certainty."""

    layer: str
    reason: str


class Plan(NamedTuple):
    """The removals that a prune would make."""

    #: In the order of removal: a layer before those it stands on.
    candidates: Tuple[Candidate, ...]
    kept: Tuple[Kept, ...]
    #: Whose home it is, as :attr:`.owners.Report.engine` has it.
    engine: str

    @property
    def size(self) -> int:
        """Bytes of all candidates."""
        return sum(candidate.size or 0 for candidate in self.candidates)


def plan(opened: Home | Opened, report: owners.Report | None = None, sizes: bool = True) -> Plan:
    """Returns what may be removed.

    :param opened: the home, or a driver of it; one opened for reading will do.
    :param report: the result of :func:`.owners.resolve`, if the caller has it already.
    :param sizes: count bytes, which walks through each candidate.
    :raises OSError: the home cannot be listed.
    """
    home = home_of(opened)
    report = owners.resolve(home) if report is None else report
    candidates, kept = [], []
    for ownership in report.unowned():
        if ownership.certainty != owners.CERTAIN:
            kept.append(Kept(ownership.layer, _doubt(report, ownership)))
            continue
        path = os.path.join(home.path, ownership.layer)
        size = _size(path) if sizes else None
        candidates.append(Candidate(ownership.layer, path, size, ownership.reason, ownership.evidence))
    chains = home.store.chains()
    candidates.sort(key=lambda candidate: (-len(chains.lower(candidate.layer) or ()), candidate.layer))
    return Plan(tuple(candidates), tuple(kept), report.engine)


def perform(opened: Home | Opened, planned: Plan, foreign: bool = False) -> list[Candidate]:
    """Removes the layers of a plan that are still garbage, and returns those that are gone.

    :param opened: the home, or a driver of it; one opened for reading will do, as this takes its own locks.
    :param foreign: remove from the home of another engine, which must be stopped.
    :raises EngineRunning: the home is another engine's, and that is at work, or ``foreign`` is not set.
    :raises Overlay2Error: the file system refused; what was removed before that is gone.
    """
    home = home_of(opened)
    refuse_foreign(planned, home.path, foreign)
    done = []
    with standstill(home.path, planned.engine):
        remover = _Remover(home)
        for candidate in planned.candidates:
            if remover.remove(candidate.layer):
                done.append(candidate)
    return done


def refuse_foreign(planned: Plan, path: str, foreign: bool) -> None:
    """Refuses to remove anything from another engine's home unless that was asked for.

    :raises EngineRunning: it was not.
    """
    if planned.engine in (owners.DOCKERD, owners.CONTAINERS_STORAGE) and not foreign:
        raise EngineRunning(
            "the home is %s's, and nothing is removed from it unless that is asked for" % planned.engine,
            path=path,
            remedy="Stop the engine, and say that its home is meant (foreign)",
        )


class _Remover:
    """Removes layers of one home. The engine stands still."""

    def __init__(self, home: Home) -> None:
        self._home = home
        report = owners.resolve(home)
        self._garbage = {each.layer: each for each in report.unowned() if each.certainty == owners.CERTAIN}
        self._above = _those_above(home)

    def remove(self, layer: str) -> bool:
        """Removes a layer if it is garbage and no other stands on it any more; True if it is gone."""
        ownership, store = self._garbage.get(layer), self._home.store
        if ownership is None or any(map(store.exists, self._above.get(layer, ()))):
            return False
        runtime = self._home.runtime
        with translated("it can't be removed completely", layer=layer):
            with runtime.layer_lock(layer), runtime.home_lock():
                uses = mount_uses.uses(store, (layer,))
                if layer in uses.layers or uses.hidden or not store.exists(layer):
                    return False
                self._remove(layer, ownership)
        return True

    def _remove(self, layer: str, ownership: owners.Ownership) -> None:
        removing = self._set_record_aside(layer, ownership)
        self._home.staging.remove_in_place(layer)
        if removing is not None:
            shutil.rmtree(removing)
            sync_directory(os.path.dirname(removing))

    def _set_record_aside(self, layer: str, ownership: owners.Ownership) -> str | None:
        """Sets dockerd's record of a layer aside, as dockerd does; returns its new path, None if there is no record.

        The record of a container that does not exist is deleted with the last layer that it names.
        """
        record = ownership.evidence[0].path if ownership.evidence else ""
        folder, name = os.path.split(record)
        if name == "mount-id":
            if not any(each != layer and self._home.store.exists(each) for each in _layers_of(folder)):
                _delete_mount_record(folder)
            return None
        if name != "cache-id":
            return None
        if folder.endswith("-removing"):
            return folder
        removing = "%s-%s-removing" % (folder, secrets.token_hex(32))
        os.rename(folder, removing)
        sync_directory(os.path.dirname(folder))
        return removing


def _those_above(home: Home) -> dict[str, set[str]]:
    """Returns the layers that have each layer in their chains, by id."""
    found: dict[str, set[str]] = {}
    chains = home.store.chains()
    for layer in home.store.ids():
        for below in chains.lower(layer) or ():
            found.setdefault(below, set()).add(layer)
    return found


def _layers_of(mount_record: str) -> Iterator[str]:
    """Yields the layers that the record of a container names."""
    for name in ("mount-id", "init-id"):
        with contextlib.suppress(Unreadable):
            layer = text_of(os.path.join(mount_record, name))
            if layer:
                yield layer


def _delete_mount_record(folder: str) -> None:
    """Deletes the record of a container: the file that makes it one goes last."""
    for name in sorted(os.listdir(folder), key=lambda name: name == "mount-id"):
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)
    sync_directory(os.path.dirname(folder))


def _size(path: str) -> int | None:
    try:
        return tree_size(path)
    except OSError:
        return None


def _doubt(report: owners.Report, ownership: owners.Ownership) -> str:
    """Returns why an unowned layer stays."""
    if report.running:
        return "%s is running, and only it knows what it is about to refer to; %s" % (report.engine, ownership.reason)
    if report.engine == owners.CONTAINERS_STORAGE:
        return "%s; leave it to the engine, whose record of it would stay" % ownership.reason
    return "not every mount namespace, or not the engine, could be examined; %s" % ownership.reason
