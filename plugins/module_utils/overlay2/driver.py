# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""The driver: the interface of Docker's overlay2, composed of the rooms beside this file.

>>> from overlay2 import Driver
>>> driver = Driver("/var/lib/overlay2")
>>> driver.create("base")
>>> with open("base.tar", "rb") as archive:
...     driver.apply_diff("base", "", archive)
>>> driver.create_read_write("web", parent="base")
>>> path = driver.get("web", holder="nginx")
"""

from __future__ import annotations

import contextlib
import os

from . import mounts
from .basedriver import BaseDriver
from .diffs import Diffs
from .home.layout import LINK_DIR
from .linux import mountinfo


class Driver(BaseDriver):
    """One home and its layers, in full: :class:`~.basedriver.BaseDriver`, and what tells of layers and mounts.

    Its parameters and errors are those of the base.
    """

    def __init__(self, home, options=(), id_map=None, *, read_only=False, probe=True):
        super().__init__(home, options, id_map, read_only=read_only, probe=probe)
        self._diffs = Diffs(self._store, self.features, self.id_map, self._content, self._references, read_only)

    # What a layer changes

    def diff(self, id, parent="", *, all_xattrs=False):
        """A tar of what the layer changes against ``parent``, as a readable binary file; moby's Diff.

        The same layer gives the same bytes. Closing it early is fine. Where a mount is needed it lasts until the close.

        :param all_xattrs: archive every extended attribute but the overlay's own; else only ``security.capability``.
        :raises LayerNotFound: no such layer, or parent.
        """
        self._require(id)
        if parent:
            self._require(parent)
        return self._diffs.diff(id, parent, all_xattrs)

    def diff_size(self, id, parent=""):
        """Bytes the layer adds to ``parent`` (int), folders not counted; moby's DiffSize.

        :raises LayerNotFound: no such layer, or parent.
        """
        self._require(id)
        if parent:
            self._require(parent)
        return self._diffs.diff_size(id, parent)

    def changes(self, id, parent=""):
        """Changes of the layer against ``parent``: list of :class:`~.changes.Change`, sorted by path; moby's Changes.

        Against no parent everything is an ADD.

        :raises LayerNotFound: no such layer, or parent.
        """
        self._require(id)
        if parent:
            self._require(parent)
        return self._diffs.changes(id, parent)

    # All mounts and holders of the home

    def recorded_holders(self):
        """All references on record, borne out by the kernel or not: dict of id to a dict as of :meth:`holders`."""
        return self._references.recorded()

    def mounted_layers(self):
        """Ids of the layers that are mounted or held (list of str, sorted)."""
        return sorted(set(self._references.active()) | set(self._references.held()))

    def mount_plan(self, id, mount_label=""):
        """How :meth:`get` would mount the layer: a :class:`~.mounts.MountPlan`, or None for one without parent.

        :raises LayerNotFound: no such layer.
        :raises LayerDamaged: its ``lower`` file is empty.
        :raises MountError: it can't be mounted by any means.
        """
        self._require(id)
        links = self._store.lower_links(id)
        if not links:
            return None
        return mounts.plan(self.home, id, links, self._store.committed(id), self.features, mount_label)

    def mount_table(self):
        """What the kernel has mounted below the home: list of :class:`~.linux.mountinfo.MountEntry`."""
        return mountinfo.mounts(below=os.path.realpath(self.home))

    def mount_tables_elsewhere(self):
        """The same of every other mount namespace that this process may look into and that has something there.

        :returns: dict of (namespace's inode, a process in it), both int, to a list as of :meth:`mount_table`.
        """
        found = {}
        for namespace, process in mountinfo.other_namespaces().items():
            with contextlib.suppress(OSError):  # the process ended, or is not ours to look at
                entries = mountinfo.mounts(process, below=os.path.realpath(self.home))
                if entries:
                    found[namespace, process] = entries
        return found

    def watched_folders(self):
        """Folders (list of str) to watch, as with inotify(7): their entries come and go as layers and holders do."""
        return [self.home, os.path.join(self.home, LINK_DIR), self._runtime.holders_dir]
