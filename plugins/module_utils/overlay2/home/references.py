# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Who holds which layer, as far as the kernel's mount table agrees. Takes no lock and changes nothing."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple, Tuple

from ..errors import LayerInUse
from ..linux import fs, mountinfo, users
from . import busy, mounted
from .holders import NOBODY, Holders, Record, describe
from .layout import MERGED, LayerRecord
from .store import GraphDriverStore


class MountsElsewhere(NamedTuple):
    """What another mount namespace has mounted below the home."""

    #: Inode of the namespace.
    namespace: int
    #: A process in it.
    pid: int
    mounts: Tuple[mountinfo.MountEntry, ...]


class References:
    """Mounts of one home's layers, and their holders."""

    def __init__(self, store: GraphDriverStore, holders: Holders) -> None:
        self._store = store
        self._holders = holders

    # One layer

    def counts(self, layer_id: str) -> dict[str, int]:
        """Returns holder name to count, as far as the kernel agrees."""
        record = self._holders.read(layer_id)
        if record.counts and self._store.has_parent(layer_id) and not self.mounted(layer_id):
            record = self.elsewhere(layer_id, record)
        return dict(record.counts)

    def mounted(self, layer_id: str) -> bool:
        """True if the layer's overlay is mounted on its ``merged`` directory in this mount namespace."""
        return mounted.is_mounted(self._store.merged_dir(layer_id))

    def mount_point(self, layer_id: str) -> str | None:
        """Returns where the layer is mounted in this mount namespace, by whatever path to the home; None if nowhere."""
        if not self._store.has_parent(layer_id):
            return None
        target = self._store.merged_dir(layer_id)
        if mounted.is_mounted(target):
            return target
        point = self._holders.read(layer_id).mount_point
        if point and mounted.is_mounted(point):
            return point
        return mounted.point_of_upper(self._store.upper_dir(layer_id))

    def elsewhere(self, layer_id: str, record: Record) -> Record:
        """Returns the record of a layer that is not mounted on its own ``merged`` directory, or :data:`NOBODY`.

        The record holds if the layer is mounted by another path to the home, or in another mount namespace.
        """
        if record.mount_point and mounted.is_mounted(record.mount_point):
            return record
        return NOBODY if self.process_with_mount(layer_id, record) is None else record

    def process_with_mount(self, layer_id: str, record: Record) -> int | None:
        """Returns the pid of a process in another mount namespace that has the layer mounted; None if there is none."""
        target = record.mount_point or os.path.realpath(self._store.merged_dir(layer_id))
        return mounted.process_with_mount(record.mount_namespace, target)

    def refuse_elsewhere(self, layer_id: str, record: Record) -> None:
        """Refuses a layer that is mounted in another mount namespace, where this process cannot unmount it.

        :raises LayerInUse: naming a process there.
        """
        process = self.process_with_mount(layer_id, record)
        if process is not None:
            raise LayerInUse(
                "it is mounted in the mount namespace of process %d, held by %s" % (process, describe(record.counts)),
                layer=layer_id,
                path=record.mount_point or os.path.realpath(self._store.merged_dir(layer_id)),
                remedy="Work from that mount namespace: nsenter -m -t %d" % process,
            )

    def is_foreign(self, layer_id: str) -> bool:
        """True if another program created the layer: a mount of it may be in that program's use."""
        return self._store.files(layer_id).record == LayerRecord()

    def users(self, layer_id: str) -> tuple[users.User, ...]:
        """Returns the processes that use the layer's mount, or one that was detached while they used it, by pid."""
        devices = set(self._holders.read(layer_id).detached)
        point = self.mount_point(layer_id)
        if point is not None:
            with contextlib.suppress(OSError):
                devices.add(fs.device(point))
        return busy.users_of(os.path.realpath(self._store.at(layer_id)), devices)

    def refuse_if_used(self, layer_id: str) -> None:
        """Refuses to go on while other processes use a mount of the layer that was detached.

        :raises LayerInUse: there are some.
        """
        if self._holders.read(layer_id).detached:
            processes = [user for user in self.users(layer_id) if user.pid != os.getpid()]
            if processes:
                raise busy.in_use(layer_id, self._store.at(layer_id), processes)

    # The home

    def detached(self) -> list[str]:
        """Returns the ids of the layers that were unmounted while processes used them."""
        return [layer_id for layer_id in self._holders.names() if self._holders.read(layer_id).detached]

    def active(self) -> list[str]:
        """Returns the ids of the layers that are mounted below the home in this mount namespace, sorted."""
        home = os.path.realpath(self._store.path)
        found = set()
        for entry in mountinfo.mounts(below=home):
            layer_id, _slash, rest = entry.mount_point[len(home) + 1 :].partition("/")
            if rest == MERGED:
                found.add(layer_id)
        return sorted(found)

    def in_use(self) -> list[str]:
        """Returns the ids of the layers that are mounted here, or held: elsewhere, or without needing a mount."""
        here = self.active()
        others = [layer_id for layer_id in self._holders.names() if layer_id not in here]
        return here + [layer_id for layer_id in others if self.counts(layer_id)]

    def held(self) -> list[str]:
        """Returns the ids of the layers that somebody holds."""
        return [layer_id for layer_id in self._holders.held() if self.counts(layer_id)]

    def recorded(self) -> dict[str, dict[str, int]]:
        """Returns all references on record of this boot, whether the kernel agrees or not, by layer id."""
        return {layer_id: dict(self._holders.read(layer_id).counts) for layer_id in self._holders.held()}

    def mount_table(self) -> list[mountinfo.MountEntry]:
        """Returns everything that is mounted below the home in this mount namespace."""
        return mountinfo.mounts(below=os.path.realpath(self._store.path))

    def mount_tables_elsewhere(self) -> list[MountsElsewhere]:
        """Returns the same for every other mount namespace that may be looked into and has something mounted there."""
        found = []
        for namespace, process in mountinfo.other_namespaces():
            with contextlib.suppress(OSError):  # the process ended, or may not be looked at
                entries = mountinfo.mounts(process, below=os.path.realpath(self._store.path))
                if entries:
                    found.append(MountsElsewhere(namespace, process, tuple(entries)))
        return found
