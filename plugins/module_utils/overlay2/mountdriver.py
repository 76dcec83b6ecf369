# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""The driver for layers that exist: their facts, mounts and references. moby's Get, Put, Status and GetMetadata.

Separate from :mod:`.basedriver` to keep the Ansible payload small: a module that only mounts does not import the code
that reads archives.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Iterable, Iterator

from . import mounting, mounts
from .errors import OptionError, translated
from .home.holders import ANONYMOUS
from .home.layer import Layer
from .home.layout import MERGED, WORK, check_id
from .home.opening import Home, open_home
from .home.options import DriverOptions
from .tree import unmount_below

if TYPE_CHECKING:
    from .home.features import Features
    from .home.layer import WatchedDirectories
    from .home.references import MountsElsewhere
    from .idmap import IdMap
    from .linux.mountinfo import MountEntry
    from .linux.users import User


class MountDriver:
    """One home, whose layers can be looked at and mounted.

    Safe to use from several threads and processes at once. Methods that take an ``id`` raise
    :class:`~.errors.InvalidLayerId` if it is not a single directory name.

    :param home: the driver's root directory, made if it is missing.
    :param options: driver options such as ``"overlay2.size=10G"``.
    :param id_map: an :class:`~.idmap.IdMap`; None for no mapping.
    :param read_only: change nothing in the home, which must exist. Calls that would change something raise
        :class:`~.errors.ReadOnlyDriver`.
    :param probe: with ``read_only``: find features by trial mounts, away from the home; False: by looking alone.
    :raises OptionError: a bad option.
    :raises NotSupported: the host or the file system cannot hold layers, with the reason.
    :raises HomeNotFound: ``read_only``, and there is no home.
    :raises Overlay2Error: ``read_only``, and the home may not be read.
    """

    def __init__(
        self,
        home: str,
        options: Iterable[str] = (),
        id_map: IdMap | None = None,
        *,
        read_only: bool = False,
        probe: bool = True,
    ) -> None:
        #: The opened home, for the functions that take one: :mod:`.prune`, :mod:`.repair`, :mod:`.owners`, ...
        self.opened: Home = open_home(home, options, id_map, read_only=read_only, probe=probe)

    @property
    def home(self) -> str:
        """Absolute path of the home."""
        return self.opened.path

    @property
    def options(self) -> DriverOptions:
        """The driver options, parsed."""
        return self.opened.options

    @property
    def features(self) -> Features:
        """What the kernel and the home's file system can do."""
        return self.opened.features

    @property
    def id_map(self) -> IdMap:
        """The id map; the identity for none."""
        return self.opened.id_map

    @property
    def read_only(self) -> bool:
        """True if the driver was opened for reading only."""
        return self.opened.read_only

    # What it is

    def __str__(self) -> str:
        return "overlay2"

    def __repr__(self) -> str:
        return "<overlay2.Driver of %s>" % self.home

    def status(self) -> list[tuple[str, str]]:
        """Returns facts about the driver as (label, value) pairs: moby's Status, then this project's own."""
        features = self.features
        return [
            ("Backing Filesystem", features.backing_fs),
            ("Supports d_type", _bool(features.supports_d_type)),
            ("Using metacopy", _bool(features.metacopy)),
            ("Native Overlay Diff", _bool(features.native_diff)),
            ("userxattr", _bool(features.userxattr)),
            ("Project Quota", _bool(features.project_quota)),
            ("Mount API (lowerdir+)", _bool(features.lowerdir_plus)),
            ("User Namespace", _bool(features.in_user_namespace)),
            ("Sync", self.options.sync),
            ("Kernel", "%d.%d" % features.kernel),
        ]

    def get_metadata(self, id: str) -> dict[str, str]:
        """Returns ``WorkDir``, ``MergedDir``, ``UpperDir`` and, with a parent, ``LowerDir`` of a layer.

        The lower directories are joined with ``:``; moby's GetMetadata.

        :raises LayerNotFound: no such layer.
        :raises LayerDamaged: its lower chain is broken.
        """
        path = self._require(id)
        metadata = {
            "WorkDir": os.path.join(path, WORK),
            "MergedDir": os.path.join(path, MERGED),
            "UpperDir": self.opened.store.upper_dir(id),
        }
        lowers = self.opened.store.lower_dirs(id)
        if lowers:
            metadata["LowerDir"] = ":".join(lowers)
        return metadata

    def exists(self, id: str) -> bool:
        """True if there is a layer of that id; moby's Exists."""
        try:
            check_id(id)
        except OptionError:
            return False
        return self.opened.store.exists(id)

    def layer(self, id: str) -> Layer:
        """Returns the layer; its ``problems`` say what is wrong with it.

        :raises LayerNotFound: no such layer.
        """
        check_id(id)
        return self.opened.layer(id)

    def layers(self, ids: Iterable[str] | None = None) -> Iterator[Layer]:
        """Yields the layers, sorted by id. Takes no lock; those that vanish meanwhile are left out.

        :param ids: only these; None for all.
        """
        return self.opened.layers(ids)

    def children(self, id: str) -> list[str]:
        """Returns the ids of the layers that stand directly on this one, sorted."""
        check_id(id)
        return self.opened.store.children(id)

    # Mounting

    def get(self, id: str, mount_label: str = "", holder: str | None = None) -> str:
        """Mounts a layer and takes a reference to it; moby's Get.

        :param mount_label: SELinux context of the mount.
        :param holder: who holds it: a named holder counts once however often it asks. None is the anonymous holder,
            whose count rises with each call.
        :returns: the path: ``merged``, or ``diff`` for a layer without parent.
        :raises LayerNotFound: no such layer.
        :raises LayerDamaged: its lower chain is broken.
        :raises MountError: the kernel refused; nothing stays mounted or counted.
        """
        self.opened.require_writable()
        check_id(id)
        return mounting.get(self.opened, id, mount_label, ANONYMOUS if holder is None else holder)

    def put(self, id: str, holder: str | None = None) -> None:
        """Drops a reference and, with the last one, unmounts the layer; moby's Put.

        A holder without a reference changes nothing for others.

        :raises MountError: the kernel refused to unmount.
        """
        self.opened.require_writable()
        check_id(id)
        mounting.put(self.opened, id, ANONYMOUS if holder is None else holder)

    def put_all(self, id: str) -> None:
        """Drops every holder's references and unmounts the layer.

        :raises MountError: the kernel refused to unmount.
        """
        self.opened.require_writable()
        check_id(id)
        mounting.put_all(self.opened, id)

    def release(
        self, id: str, holder: str | None = None, *, everybody: bool = False, strict: bool = False
    ) -> tuple[User, ...]:
        """As :meth:`put`, or :meth:`put_all` with ``everybody``, and looks for processes that use the layer.

        All mount namespaces are searched. The processes keep what they use; a guarded removal of the layer is
        refused while they do.

        :param strict: refuse to unmount the layer while processes use it.
        :returns: the processes that used the layer when it was unmounted.
        :raises LayerInUse: so refused; names the processes.
        :raises MountError: the kernel refused to unmount.
        """
        self.opened.require_writable()
        check_id(id)
        if everybody:
            return mounting.put_all(self.opened, id, look=True, strict=strict)
        name = ANONYMOUS if holder is None else holder
        return mounting.put(self.opened, id, name, look=True, strict=strict)

    def users(self, id: str) -> tuple[User, ...]:
        """Returns the processes that use the layer through its mount, or one that was detached while they used it.

        They are sorted by pid; those that this process may not look into are missing.
        """
        check_id(id)
        return self.opened.references.users(id)

    def holders(self, id: str) -> dict[str, int]:
        """Returns who holds the layer: holder name to count; ``""`` is the anonymous holder.

        Only references that the kernel's mount table confirms, so it is empty for a layer that was unmounted by other
        means.
        """
        check_id(id)
        return self.opened.references.counts(id)

    def mounted(self, id: str) -> bool:
        """True if the layer's overlay is mounted, as the kernel says."""
        check_id(id)
        return self.opened.references.mounted(id)

    def cleanup(self) -> None:
        """Unmounts everything below the home and voids the references; moby's Cleanup.

        :raises Overlay2Error: something cannot be unmounted.
        """
        self.opened.require_writable()
        for id in self.opened.references.held():
            mounting.put_all(self.opened, id)
        with translated("can't unmount all of the home"):
            unmount_below(os.path.realpath(self.home), itself=False)

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

    # Shared checks

    def _require(self, id: str) -> str:
        check_id(id)
        return self.opened.store.require(id)


def _bool(value: bool) -> str:
    return "true" if value else "false"
