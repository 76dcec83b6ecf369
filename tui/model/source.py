# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""One home on this host, read through the core: what changed is read again, the rest is kept."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from types import MappingProxyType
from typing import TYPE_CHECKING

from overlay2 import Driver, Layer, Overlay2Error
from overlay2.errors import HomeNotFound, remedy_for
from overlay2.home.opening import looks_like_home
from overlay2.tree import Usage

from . import mounts, processes
from .files import sees_all
from .meaning import features_of
from .ownership import OwnershipReport
from .plain import visible
from .snapshot import Failure, FindingFacts, InspectedLayer, Remark, Snapshot, Space

if TYPE_CHECKING:
    from overlay2.home.features import Features
    from overlay2.linux.mountinfo import MountEntry

#: Where engines keep their layers below the data root that people name instead.
_INNER_HOMES = ("overlay2", "overlay")
#: The number of readings that the history of a value holds.
HISTORY = 60


class HomeSource:
    """Reads a home into Snapshots. It mounts nothing, takes no lock and writes nothing.

    For one thread at a time, apart from :attr:`driver`.

    :param home: the home's directory; it need not exist.
    """

    def __init__(self, home: str) -> None:
        self.home = os.path.abspath(home)
        #: None while there is no home.
        self.driver: Driver | None = None
        self._snapshot = Snapshot(self.home, host=platform.node())
        self._table: list[MountEntry] = []

    @property
    def snapshot(self) -> Snapshot:
        """The last Snapshot."""
        return self._snapshot

    def read(self) -> Snapshot:
        """Reads everything; ``failure`` says why there is nothing to show."""
        try:
            if self.driver is None:
                self.driver = Driver(self.home, read_only=True, probe=False)
            layers = self._facts(self.driver, self.driver.layers())
            problems = self.driver.opened.store.problems()
        except (Overlay2Error, OSError) as error:
            self.driver = None
            return self._fail(self._explain(error))
        if not layers and problems:
            self.driver = None
            return self._fail(self._not_a_home(problems[0]))
        status = tuple(_status(self.driver))
        self._change(
            failure=None,
            privileged=sees_all(self.driver),
            status=status,
            features=features_of(status, _reasons(self.driver.features)),
            remarks=tuple(_home_remarks(self.driver, problems)),
            **self._layers(layers),
        )
        return self.read_mounts()

    def read_layers(self, changed: Set[str], links: Set[str] = frozenset()) -> Snapshot:
        """Reads layers that changed, and those that stand on them.

        :param links: link names that changed.
        """
        driver = self.driver
        if driver is None:
            return self.read()
        known = dict(self._snapshot.layers)
        ids = _affected(changed, links, known)
        try:
            fresh = self._facts(driver, driver.layers(ids))
            parents = {facts.layer.parent for facts in fresh.values() if facts.layer.parent} - ids
            fresh.update(self._facts(driver, driver.layers(parents)))  # a parent is committed from now on
        except FileNotFoundError:
            fresh = {}
        except (Overlay2Error, OSError) as error:
            return self._fail(self._explain(error))
        if not os.path.isdir(self.home):
            return self.read()
        for id in ids:
            known.pop(id, None)
        # A directory that has just appeared, or is half removed, may not be a layer.
        known.update({id: facts for id, facts in fresh.items() if driver.opened.store.is_layer(id)})
        return self._change(**self._layers(dict(sorted(known.items()))))

    def mounts_moved(self) -> bool:
        """True if the mounts of the home in this namespace differ from the last time: a look at one file."""
        if self.driver is None:
            return True
        try:
            table = self.driver.mount_table()
        except OSError:
            return True
        moved = table != self._table
        self._table = table
        return moved

    def read_mounts(self) -> Snapshot:
        """Reads mounts and holders; returns the same Snapshot as before if nothing changed."""
        if self.driver is None:
            return self.read()
        try:
            found = mounts.gather(self.driver, self._snapshot.layers)
        except (Overlay2Error, OSError) as error:
            return self._change(remarks=(Remark(f"The mount table can't be read: {error}."),))
        before = {mount.path: mount.processes for mount in self._snapshot.mounts}
        found = tuple(dataclasses.replace(mount, processes=before.get(mount.path)) for mount in found)
        if found != self._snapshot.mounts or self._snapshot.space is None:
            self._change(mounts=found, space=self._space())
        return self._snapshot

    def read_use(self) -> Snapshot:
        """Reads the use of the file system and of each quota, and adds them to the history."""
        if self.driver is None:
            return self.read()
        layers = self._snapshot.layers
        limited = [id for id, facts in layers.items() if facts.layer.quota]
        if limited:
            layers = MappingProxyType({**layers, **self._facts(self.driver, self.driver.layers(limited))})
        space = self._space()
        used = {id: quota.used for id in limited if (quota := layers[id].layer.quota)}
        if space is not None:
            used[""] = space.used
        past = self._snapshot.history
        history = {key: (*past.get(key, ()), value)[-HISTORY:] for key, value in used.items()}
        return self._change(layers=layers, space=space, history=MappingProxyType(history))

    def read_processes(self) -> Snapshot:
        """Reads which processes keep mounts busy."""
        busy = processes.busy(self._snapshot.mounts)
        found = tuple(
            dataclasses.replace(mount, processes=busy.get(mount.id, ()) if mount.mounted else None)
            for mount in self._snapshot.mounts
        )
        return self._change(mounts=found) if found != self._snapshot.mounts else self._snapshot

    def with_sizes(self, sizes: Mapping[str, Usage], errors: Mapping[str, str]) -> Snapshot:
        """The Snapshot with the sizes that are known by now; ids that are gone are left out."""
        layers = self._snapshot.layers
        self._snapshot = dataclasses.replace(
            self._snapshot,
            sizes=MappingProxyType({id: usage.size for id, usage in sizes.items() if id in layers}),
            disk_sizes=MappingProxyType({id: usage.disk for id, usage in sizes.items() if id in layers}),
            size_errors=MappingProxyType({id: error for id, error in errors.items() if id in layers}),
        )
        return self._snapshot

    def with_checks(self, owners: OwnershipReport, findings: tuple[FindingFacts, ...]) -> Snapshot:
        """The Snapshot with the result of :func:`~.checks.run_checks`; the same one if that did not change."""
        if (owners, findings) != (self._snapshot.owners, self._snapshot.health):
            self._snapshot = dataclasses.replace(self._snapshot, owners=owners, health=findings)
        return self._snapshot

    # Parts

    def _change(self, **parts: object) -> Snapshot:
        """Replace parts of the Snapshot that were read just now."""
        self._snapshot = dataclasses.replace(self._snapshot, taken=time.time(), **parts)  # type: ignore[arg-type]
        return self._snapshot

    def _facts(self, driver: Driver, layers: Iterable[Layer]) -> dict[str, InspectedLayer]:
        store = driver.opened.store
        return {
            layer.id: InspectedLayer(layer, made=store.created(layer.id), paths=store.paths(layer.id))
            for layer in layers
        }

    def _layers(self, layers: dict[str, InspectedLayer]) -> dict[str, object]:
        """The parts of a Snapshot that follow from its layers."""
        found: dict[str, object] = {"layers": MappingProxyType(layers)}
        for name, sizes in (("sizes", self._snapshot.sizes), ("disk_sizes", self._snapshot.disk_sizes)):
            found[name] = MappingProxyType({id: size for id, size in sizes.items() if id in layers})
        return found

    def _space(self) -> Space | None:
        try:
            info = os.statvfs(self.home)
        except OSError:
            return None
        unit = info.f_frsize
        return Space(info.f_blocks * unit, info.f_bfree * unit, info.f_bavail * unit, info.f_files, info.f_ffree)

    def _not_a_home(self, problem: str) -> Failure:
        """Why a directory without layers is not a home, with a guess at the one that was meant."""
        for name in _INNER_HOMES:
            inner = os.path.join(self.home, name)
            if looks_like_home(inner):
                return Failure(
                    f"{visible(self.home)} is not an overlay2 home, but its folder {name}/ is",
                    f"Open that one: overlay2-tui {visible(inner)}",
                )
        return Failure(
            f"{visible(self.home)} is not an overlay2 home: it holds no layers, and {problem}", "Check the path"
        )

    def _fail(self, failure: Failure) -> Snapshot:
        self._snapshot = Snapshot(self.home, host=self._snapshot.host, taken=time.time(), failure=failure)
        return self._snapshot

    def _explain(self, error: Overlay2Error | OSError) -> Failure:
        """The failure that an error of the core or the kernel means."""
        home = visible(self.home)
        if isinstance(error, HomeNotFound):
            if os.path.lexists(self.home):
                return Failure(f"{home} is not a folder", "Name the folder that holds the layers")
            return Failure(
                f"The folder {home} does not exist", "Check the path; a home is created with its first layer"
            )
        cause = error.__cause__ if isinstance(error, Overlay2Error) else error
        if isinstance(cause, PermissionError):
            return Failure(f"This user may not read {home}", f"Run the program as root: sudo overlay2-tui {home}")
        if isinstance(error, Overlay2Error):
            return Failure(f"{home} can't be read: {error.message}", error.remedy or "")
        return Failure(f"{home} can't be read: {error.strerror or error}", remedy_for(error.errno, home) or "")


def _affected(changed: Set[str], links: Set[str], known: Mapping[str, InspectedLayer]) -> set[str]:
    """The ids whose records a change may alter: the layers that changed, their parents, and all that stand on them."""
    found = set(changed)
    for id, facts in known.items():
        layer = facts.layer
        if id in changed:
            if layer.parent:
                found.add(layer.parent)
        elif not changed.isdisjoint(layer.lower) or (links and not links.isdisjoint(_links(layer))):
            found.add(id)
    return {id for id in found if "/" not in id}


def _links(layer: Layer) -> Iterator[str]:
    yield layer.link
    yield from map(os.path.basename, layer.lower_links)


def _home_remarks(driver: Driver, problems: Iterable[str]) -> Iterator[Remark]:
    for problem in problems:
        yield Remark(problem[:1].upper() + problem[1:] + ".")
    if not sees_all(driver):
        yield Remark(
            "Some facts are missing without root: opaque folders, and processes and mount namespaces of other users.",
            is_problem=False,
        )


def _status(driver: Driver) -> Iterator[tuple[str, str]]:
    """The driver's Status; what only root can find out is "unknown" rather than "false"."""
    hidden = () if sees_all(driver) else ("Native Overlay Diff", "Project Quota", "Mount API (lowerdir+)")
    reasons = _reasons(driver.features)
    for label, value in driver.status():
        is_known = label not in hidden or value == "true" or not reasons.get(label, "not tried").startswith("not tried")
        yield label, value if is_known else "unknown"


def _reasons(features: Features) -> dict[str, str]:
    """The driver's own reasons, by Status label."""
    found = {}
    if features.native_diff_reason:
        found["Native Overlay Diff"] = features.native_diff_reason
    if features.project_quota_reason:
        found["Project Quota"] = features.project_quota_reason
    return found
