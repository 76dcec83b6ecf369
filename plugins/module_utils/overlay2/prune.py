# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Removing layers that are garbage with certainty. First a plan with sizes, which is all that happens by default.

>>> from overlay2 import Driver, prune
>>> driver = Driver("/var/lib/docker/overlay2", read_only=True)
>>> planned = prune.plan(driver)
>>> planned.size, [candidate.layer for candidate in planned.candidates]
>>> prune.perform(driver, planned, foreign=True)

A candidate is unowned with certainty and mounted in no mount namespace. Both are found again under the locks, and with
another engine's own locks held, before anything goes. What dockerd has on record of a layer goes with it, in the order
in which dockerd itself removes, so that after a kill at any instant its own clean-up finishes the work.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from typing import NamedTuple, Tuple

from . import owners
from .errors import EngineRunning, Overlay2Error, from_os_error
from .foreign import standstill
from .home.layout import LINK_DIR
from .home.staging import sync_folder
from .owners import mounted
from .tree import remove_tree, tree_size


class Candidate(NamedTuple):
    """A layer that may go."""

    layer: str
    path: str
    #: Bytes of its files; None where nobody counted.
    size: int
    #: Why nobody needs it, one sentence.
    reason: str
    #: Where its owner would be on record (tuple of :class:`.owners.Evidence`).
    evidence: Tuple[owners.Evidence, ...]


class Kept(NamedTuple):
    """A layer that seems to be nobody's and stays all the same."""

    layer: str
    reason: str


class Plan(NamedTuple):
    """What a prune would do."""

    #: In the order of removal: a layer before those it stands on.
    candidates: Tuple[Candidate, ...]
    kept: Tuple[Kept, ...]
    #: Whose home it is, as :attr:`.owners.Report.engine` has it.
    engine: str

    @property
    def size(self):
        """Bytes of all candidates (int)."""
        return sum(candidate.size or 0 for candidate in self.candidates)


def plan(driver, report=None, sizes=True):
    """What may go: a :class:`Plan`.

    :param driver: a :class:`.driver.Driver` of the home; one opened for reading will do.
    :param report: what :func:`.owners.resolve` said, where the caller has asked that already.
    :param sizes: count bytes, which walks through each candidate.
    :raises OSError: the home can't be listed.
    """
    report = owners.resolve(driver) if report is None else report
    store = driver.opened.store
    candidates, kept = [], []
    for ownership in report.unowned():
        if ownership.certainty != owners.CERTAIN:
            kept.append(Kept(ownership.layer, _doubt(report, ownership)))
            continue
        path = store.at(ownership.layer)
        size = _size(path) if sizes else None
        candidates.append(Candidate(ownership.layer, path, size, ownership.reason, ownership.evidence))
    candidates.sort(key=lambda candidate: (-_depth(store, candidate.layer), candidate.layer))
    return Plan(tuple(candidates), tuple(kept), report.engine)


def perform(driver, planned, foreign=False):
    """Remove what a plan names, as far as it is garbage still; returns what is gone (list of :class:`Candidate`).

    :param driver: a driver of the home; one opened for reading will do, as this takes its own locks.
    :param foreign: do so in the home of another engine, which must be stopped.
    :raises EngineRunning: it is another engine's home, and that is at work, or ``foreign`` is not set.
    :raises Overlay2Error: the file system refused; what was removed before that is gone.
    """
    refuse_foreign(planned, driver.home, foreign)
    done = []
    with standstill(driver.home, planned.engine):
        remover = _Remover(driver)
        for candidate in planned.candidates:
            if remover.remove(candidate.layer):
                done.append(candidate)
        remover.drop_mount_records()
    return done


def refuse_foreign(planned, home, foreign):
    """Refuse to remove anything from another engine's home where that is not asked for.

    :raises EngineRunning: so.
    """
    if planned.engine in (owners.DOCKERD, owners.CONTAINERS_STORAGE) and not foreign:
        raise EngineRunning(
            "the home is %s's, and nothing is removed from it unless that is asked for" % planned.engine,
            path=home,
            remedy="Stop the engine, and say that its home is meant (foreign)",
        )


class _Remover:
    """Removes layers of one home. The engine stands still."""

    def __init__(self, driver):
        self._home = driver.home
        self._store = driver.opened.store
        self._runtime = driver.opened.runtime
        report = owners.resolve(driver)
        self._garbage = {each.layer: each for each in report.unowned() if each.certainty == owners.CERTAIN}
        self._mount_records = []
        self._above = self._who_stands_on()

    def _who_stands_on(self):
        """Layer id to the ids of those that have it in their chains (dict of sets)."""
        names, found = self._store.links(), {}
        for other in self._store.ids():
            with contextlib.suppress(Overlay2Error):
                for link in self._store.files(other).lower_links:
                    found.setdefault(names.get(link[len(LINK_DIR) + 1 :]), set()).add(other)
        return found

    def remove(self, layer):
        """Remove a layer, if it is garbage and no other stands on it any more; returns whether (bool)."""
        ownership = self._garbage.get(layer)
        if ownership is None or any(map(self._store.exists, self._above.get(layer, ()))):
            return False
        with self._runtime.layer_lock(layer), self._runtime.home_lock():
            uses = mounted.uses(self._home, (layer,), self._store.links())
            if layer in uses.layers or uses.hidden or not self._store.exists(layer):
                return False
            try:
                self._remove(layer, ownership)
            except OSError as error:
                raise from_os_error(Overlay2Error, "it can't all be removed", error, layer=layer) from error
        return True

    def _remove(self, layer, ownership):
        removing = self._withdraw_record(ownership)
        with contextlib.suppress(Overlay2Error, FileNotFoundError):
            link = self._store.files(layer).link
            path = os.path.join(self._home, LINK_DIR, link)
            if os.readlink(path).startswith("../%s/" % layer):
                os.unlink(path)
        remove_tree(self._store.at(layer))
        sync_folder(self._home)
        if removing is not None:
            shutil.rmtree(removing)

    def _withdraw_record(self, ownership):
        """Set aside what dockerd has on record of a layer, as it does itself; returns its new path, None for none."""
        record = ownership.evidence[0].path if ownership.evidence else ""
        folder, name = os.path.split(record)
        if name == "mount-id":
            self._mount_records.append(folder)
            return None
        if name != "cache-id":
            return None
        if folder.endswith("-removing"):
            return folder
        removing = "%s-%s-removing" % (folder, secrets.token_hex(32))
        os.rename(folder, removing)
        sync_folder(os.path.dirname(folder))
        return removing

    def drop_mount_records(self):
        """Remove the records of containers that are gone, where both layers of one are gone too."""
        for folder in dict.fromkeys(self._mount_records):
            layers = [_content(os.path.join(folder, name)) for name in ("mount-id", "init-id")]
            if not any(layer and self._store.exists(layer) for layer in layers):
                shutil.rmtree(folder, ignore_errors=True)


def _content(path):
    try:
        with open(path, encoding="ascii", errors="replace") as source:
            return source.read().strip()
    except FileNotFoundError:
        return ""


def _depth(store, layer):
    try:
        return len(store.files(layer).lower_links)
    except Overlay2Error:
        return 0


def _size(path):
    try:
        return tree_size(path)
    except OSError:
        return None


def _doubt(report, ownership):
    """Why an unowned layer stays (str)."""
    if report.running:
        return "%s is running, and only it knows what it is about to refer to; %s" % (report.engine, ownership.reason)
    if report.engine == owners.CONTAINERS_STORAGE:
        return "%s; leave it to the engine, whose record of it would stay" % ownership.reason
    return "not every mount namespace, or not the engine, could be asked; %s" % ownership.reason
