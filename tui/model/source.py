# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""One home on this host, read through the core: what changed is read again, the rest is kept."""

from __future__ import annotations

import dataclasses
import os
import platform
import stat
import time
from types import MappingProxyType

from overlay2 import Driver, Overlay2Error
from overlay2.errors import HINTS, HomeNotFound, printable
from overlay2.home.layout import LINK, LINK_DIR

from . import mounts, processes
from .files import sees_all
from .meaning import features_of
from .snapshot import Failure, LayerFacts, Remark, Snapshot, Space

#: Where other programs keep the layers that their own root folder is often mistaken for.
_INNER_HOMES = ("overlay2", "overlay")
#: How many looks a history line goes back.
HISTORY = 60


class HomeSource:
    """Reads a home into Snapshots. It mounts nothing, takes no lock and writes nothing.

    Not safe for use by several threads at once, but for :attr:`driver`, which is.

    :param home: the home's folder (str); it need not exist.
    """

    def __init__(self, home):
        self.home = os.path.abspath(home)
        self.driver = None
        self._snapshot = Snapshot(self.home, host=platform.node())
        self._table = []

    @property
    def snapshot(self):
        """The last :class:`~.snapshot.Snapshot`."""
        return self._snapshot

    def read(self):
        """Everything, afresh: a Snapshot, which says in ``failure`` why there is nothing to show."""
        try:
            if self.driver is None:
                self.driver = Driver(self.home, read_only=True, probe=False)
            layers = {layer.id: self._facts(layer) for layer in self.driver.layers()}
        except (Overlay2Error, OSError) as error:
            self.driver = None
            return self._fail(self._explain(error))
        if not layers and not os.path.isdir(os.path.join(self.home, LINK_DIR)):
            self.driver = None
            return self._fail(self._no_home())
        kept = {id: size for id, size in self._snapshot.sizes.items() if id in layers}
        status = tuple(_status(self.driver))
        self._snapshot = dataclasses.replace(
            self._snapshot,
            taken=time.time(),
            failure=None,
            privileged=sees_all(self.driver),
            status=status,
            features=features_of(status, _reasons(self.driver.features)),
            layers=MappingProxyType(layers),
            sizes=MappingProxyType(kept),
            remarks=tuple(self._home_remarks()),
        )
        return self.read_mounts()

    def read_layers(self, changed):
        """Only those layers, and whoever stands on them: a Snapshot."""
        if self.driver is None:
            return self.read()
        known = dict(self._snapshot.layers)
        ids = self._affected(changed, known)
        try:
            fresh = {layer.id: self._facts(layer) for layer in self.driver.layers(ids)}
        except FileNotFoundError:
            fresh = {}
        except (Overlay2Error, OSError) as error:
            return self._fail(self._explain(error))
        if not os.path.isdir(self.home):
            return self.read()
        fresh = {id: facts for id, facts in fresh.items() if self._is_layer(facts)}
        for id in ids:
            known.pop(id, None)
        known.update(fresh)
        layers = dict(sorted(known.items()))
        kept = {id: size for id, size in self._snapshot.sizes.items() if id in layers}
        self._snapshot = dataclasses.replace(
            self._snapshot, taken=time.time(), layers=MappingProxyType(layers), sizes=MappingProxyType(kept)
        )
        return self._snapshot

    def mounts_moved(self):
        """Whether this namespace's mounts of the home differ from the last time: a look at one file (bool)."""
        if self.driver is None:
            return True
        try:
            table = self.driver.mount_table()
        except OSError:
            return True
        moved = table != self._table
        self._table = table
        return moved

    def read_mounts(self):
        """Only mounts and holders: a Snapshot, the same one as before where they are as they were."""
        if self.driver is None:
            return self.read()
        try:
            found = mounts.gather(self.driver, self._snapshot.layers)
        except (Overlay2Error, OSError) as error:
            remark = Remark(f"The mount table can't be read: {error}.")
            self._snapshot = dataclasses.replace(self._snapshot, taken=time.time(), remarks=(remark,))
            return self._snapshot
        before = {mount.path: mount.processes for mount in self._snapshot.mounts}
        found = tuple(dataclasses.replace(mount, processes=before.get(mount.path)) for mount in found)
        if found != self._snapshot.mounts or self._snapshot.space is None:
            self._snapshot = dataclasses.replace(self._snapshot, taken=time.time(), mounts=found, space=self._space())
        return self._snapshot

    def read_use(self):
        """Only what is in use, of the file system and of each quota, with one more look in the history: a Snapshot."""
        if self.driver is None:
            return self.read()
        quotas = [id for id, facts in self._snapshot.layers.items() if facts.layer.quota]
        layers = self._snapshot.layers
        if quotas:
            fresh = {layer.id: self._facts(layer) for layer in self.driver.layers(quotas)}
            layers = MappingProxyType({**layers, **fresh})
        space = self._space()
        looks = {id: layers[id].layer.quota.used for id in quotas if layers[id].layer.quota}
        if space is not None:
            looks[""] = space.used
        past = self._snapshot.history
        history = {key: (*past.get(key, ()), used)[-HISTORY:] for key, used in looks.items()}
        self._snapshot = dataclasses.replace(
            self._snapshot,
            taken=time.time(),
            layers=layers,
            space=space,
            history=MappingProxyType(history),
        )
        return self._snapshot

    def read_processes(self):
        """Only who keeps mounts busy: a Snapshot."""
        busy = processes.busy(self._snapshot.mounts)
        found = tuple(
            dataclasses.replace(mount, processes=busy.get(mount.id, ()) if mount.mounted else None)
            for mount in self._snapshot.mounts
        )
        if found != self._snapshot.mounts:
            self._snapshot = dataclasses.replace(self._snapshot, taken=time.time(), mounts=found)
        return self._snapshot

    def with_sizes(self, sizes, size_errors):
        """The Snapshot with what has been measured by now; ids that are gone are left out."""
        layers = self._snapshot.layers
        self._snapshot = dataclasses.replace(
            self._snapshot,
            sizes=MappingProxyType({id: size for id, size in sizes.items() if id in layers}),
            size_errors=MappingProxyType({id: why for id, why in size_errors.items() if id in layers}),
        )
        return self._snapshot

    def with_checks(self, owners, findings):
        """The Snapshot with what :func:`~.checks.run_checks` said; the same one where it said that before."""
        if (owners, findings) != (self._snapshot.owners, self._snapshot.health):
            self._snapshot = dataclasses.replace(self._snapshot, owners=owners, health=findings)
        return self._snapshot

    # Parts

    def _facts(self, layer):
        return LayerFacts(layer, made=_made(os.path.join(self.home, layer.id)))

    def _is_layer(self, facts):
        """Whether a folder is a layer at all: one that only appeared, or is half gone, may hold neither file."""
        folder = os.path.join(self.home, facts.id)
        return any(os.path.lexists(os.path.join(folder, name)) for name in ("diff", LINK))

    def _affected(self, changed, known):
        """The ids that a change of ``changed`` may show in: they, their parents, and all that stands on them."""
        changed = set(changed)
        found = set(changed)
        for id, facts in known.items():
            if id in changed and facts.layer.parent:
                found.add(facts.layer.parent)
            elif not changed.isdisjoint(
                (*facts.layer.lower, *facts.layer.lower_links, f"{LINK_DIR}/{facts.layer.link}")
            ):
                found.add(id)
        return {id for id in found if "/" not in id}

    def _space(self):
        try:
            told = os.statvfs(self.home)
        except OSError:
            return None
        unit = told.f_frsize
        return Space(told.f_blocks * unit, told.f_bfree * unit, told.f_bavail * unit, told.f_files, told.f_ffree)

    def _home_remarks(self):
        """What is to be said of the home itself."""
        if not os.path.isdir(os.path.join(self.home, LINK_DIR)):
            yield Remark(f"The folder {LINK_DIR}/ is missing: no layer with a parent can be mounted.")
        if not sees_all(self.driver):
            yield Remark(
                "Without root, opaque folders and other users' processes and mount namespaces can't be seen: "
                "some answers are missing.",
                is_problem=False,
            )

    def _no_home(self):
        """Why a folder without links and layers is no home, with a guess at the one that was meant."""
        for name in _INNER_HOMES:
            inner = os.path.join(self.home, name)
            if os.path.isdir(os.path.join(inner, LINK_DIR)):
                return Failure(
                    f"{printable(self.home)} is no home, but {name}/ in it is",
                    f"Open that: overlay2-tui {printable(inner)}",
                )
        return Failure(
            f"{printable(self.home)} is no home: it has no folder {LINK_DIR}/ and no layers", "Check the path"
        )

    def _fail(self, failure):
        self._snapshot = Snapshot(self.home, host=self._snapshot.host, taken=time.time(), failure=failure)
        return self._snapshot

    def _explain(self, error):
        """A :class:`~.snapshot.Failure` for what the core or the kernel said."""
        if isinstance(error, HomeNotFound):
            if os.path.lexists(self.home):
                return Failure(
                    f"{printable(self.home)} is no folder, so it is no home", "Name the folder that holds the layers"
                )
            return Failure(
                f"There is no folder {printable(self.home)}", "Check the path; a home is made with its first layer"
            )
        cause = error if not isinstance(error, Overlay2Error) else error.__cause__
        if isinstance(cause, PermissionError):
            return Failure(
                f"{printable(self.home)} may not be read by this user",
                f"Run it as root: sudo overlay2-tui {printable(self.home)}",
            )
        if isinstance(error, Overlay2Error):
            return Failure(f"{printable(self.home)} can't be read: {error.message}", error.remedy or "")
        return Failure(f"{printable(self.home)} can't be read: {error.strerror or error}", HINTS.get(error.errno, ""))


def _made(folder):
    """When a layer was made (float), told by the oldest of its own files; None where nothing tells."""
    for name in (LINK, ""):
        try:
            info = os.lstat(os.path.join(folder, name))
        except OSError:
            continue
        if name == "" or stat.S_ISREG(info.st_mode):
            return info.st_mtime
    return None


def _status(driver):
    """The driver's Status, with what it takes root to find out as unknown rather than as false."""
    untold = () if sees_all(driver) else ("Native Overlay Diff", "Project Quota", "Mount API (lowerdir+)")
    reasons = _reasons(driver.features)
    for label, value in driver.status():
        told = label not in untold or value == "true" or not reasons.get(label, "not tried").startswith("not tried")
        yield label, value if told else "unknown"


def _reasons(features):
    """Status labels and the driver's own reasons for them."""
    found = {}
    if features.native_diff_reason:
        found["Native Overlay Diff"] = features.native_diff_reason
    if features.project_quota_reason:
        found["Project Quota"] = features.project_quota_reason
    return found
