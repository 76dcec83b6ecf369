# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""The driver: the interface of Docker's overlay2. It forwards to the modules beside it, and does nothing else.

>>> from overlay2 import Driver
>>> driver = Driver("/var/lib/overlay2")
>>> driver.create("base")
>>> with open("base.tar", "rb") as archive:
...     driver.apply_diff("base", "", archive)
>>> driver.create_read_write("web", parent="base")
>>> path = driver.get("web", holder="nginx")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import diffs, mounts
from .basedriver import BaseDriver

if TYPE_CHECKING:
    from .changes import Change
    from .home.layer import WatchedDirectories
    from .home.references import MountsElsewhere
    from .linux.mountinfo import MountEntry
    from .tar.stream import TarStream


class Driver(BaseDriver):
    """One home and its layers: :class:`~.basedriver.BaseDriver`, with diffs and facts about mounts."""

    # Changes of a layer

    def diff(self, id: str, parent: str = "", *, all_xattrs: bool = False) -> TarStream:
        """Returns a tar of the layer's changes against ``parent``, as a readable binary file; moby's Diff.

        The same layer gives the same bytes. Closing it early is fine. A mount that it needs lasts until the close.

        :param all_xattrs: archive every extended attribute but the overlay's own; else only ``security.capability``.
        :raises LayerNotFound: no such layer, or parent.
        """
        self._require_both(id, parent)
        return diffs.diff(self.opened, id, parent, all_xattrs)

    def diff_size(self, id: str, parent: str = "") -> int:
        """Returns the bytes that the layer adds to ``parent``, directories not counted; moby's DiffSize.

        :raises LayerNotFound: no such layer, or parent.
        """
        self._require_both(id, parent)
        return diffs.diff_size(self.opened, id, parent)

    def changes(self, id: str, parent: str = "") -> list[Change]:
        """Returns the changes of the layer against ``parent``, sorted by path; moby's Changes.

        Against no parent everything is an ADD.

        :raises LayerNotFound: no such layer, or parent.
        """
        self._require_both(id, parent)
        return diffs.changes(self.opened, id, parent)

    def _require_both(self, id: str, parent: str) -> None:
        self._require(id)
        if parent:
            self._require(parent)

    # All mounts and holders of the home

    def recorded_holders(self) -> dict[str, dict[str, int]]:
        """Returns all references on record, whether the kernel agrees or not: id to a dict as of :meth:`holders`."""
        return self.opened.references.recorded()

    def mounted_layers(self) -> list[str]:
        """Returns the ids of the layers that are mounted or held, sorted."""
        return sorted(set(self.opened.references.active()) | set(self.opened.references.held()))

    def mount_plan(self, id: str, mount_label: str = "") -> mounts.MountPlan | None:
        """Returns how :meth:`get` would mount the layer; None for a layer without parent.

        :raises LayerNotFound: no such layer.
        :raises LayerDamaged: its ``lower`` file is empty.
        :raises MountError: it cannot be mounted by any means.
        """
        self._require(id)
        store = self.opened.store
        links = store.files(id).lower_links
        if not links:
            return None
        return mounts.plan(self.home, id, links, store.committed(id), self.features, mount_label)

    def mount_table(self) -> list[MountEntry]:
        """Returns everything that the kernel has mounted below the home."""
        return self.opened.references.mount_table()

    def mount_tables_elsewhere(self) -> list[MountsElsewhere]:
        """Returns the same for every other mount namespace that may be looked into and has something mounted there."""
        return self.opened.references.mount_tables_elsewhere()

    def watched_directories(self) -> WatchedDirectories:
        """Returns the directories to watch for changes of layers, links and holders, as with inotify(7)."""
        return self.opened.watched_directories()
