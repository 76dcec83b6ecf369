# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Mounts of layers and who holds them: taking and dropping references, with the kernel's mount table as the truth."""

from __future__ import annotations

import contextlib
import logging
import os

from . import mounts
from .errors import LayerDamaged, LayerInUse, MountError, Overlay2Error, from_os_error
from .home.holders import ANONYMOUS, NOBODY, Holders
from .home.layout import DIFF, MERGED, WORK, LayerRecord
from .home.staging import ensure_folder, make_folder
from .linux import kernel, mountinfo

log = logging.getLogger("overlay2")


class References:
    """The mounted layers of one home.

    :param store: the home's :class:`~.layers.Store`.
    :param runtime: its :class:`~.locks.RuntimeState`.
    :param features: its :class:`~.features.Features`.
    :param root: host (uid, gid) of container root.
    """

    def __init__(self, store, runtime, features, root):
        self._store = store
        self._runtime = runtime
        self._features = features
        self._root = root
        #: What this process makes belongs to container root as it is.
        self._is_root = root == (os.geteuid(), os.getegid())
        self._records = Holders(runtime.holders_dir)

    def get(self, layer, mount_label, holder):
        """Take a reference and have the layer mounted; moby's Get.

        A layer without lower layers is its ``diff`` folder: nothing is mounted, and only named holders are recorded.

        :returns: the path (str).
        :raises LayerNotFound: no such layer.
        :raises LayerInUse: it is mounted in another mount namespace only.
        :raises MountError: the kernel refused.
        """
        with self._runtime.layer_lock(layer):
            links = self._store.lower_links(layer)
            if not links:
                self._store.require(layer)
                if holder != ANONYMOUS:
                    self._records.write(layer, self._records.read(layer).taken(holder))
                return self._store.path(layer, DIFF)
            target = self._store.path(layer, MERGED)
            # A mount point that is made here and now has nothing mounted on it: so most of the time one call tells.
            ours = self._make_mount_point(layer, target)
            try:
                mounted = not ours and mounts.is_mounted(target, strict=True)
                record = self._valid(layer, mounted, repair=True)
                if mounted:
                    record = self._taken_over(layer, record)
                else:
                    left_over, ours = not ours, True
                    self._mount(layer, links, target, mount_label, left_over)
                    record = record._replace(mount_namespace=kernel.mount_namespace())
                self._records.write(layer, record.taken(holder))
            except BaseException:
                if ours:
                    with contextlib.suppress(MountError):
                        mounts.unmount(layer, target)
                raise
            return target

    def _make_mount_point(self, layer, target):
        """Make the layer's ``merged`` folder; whether it was missing (bool)."""
        try:
            if self._is_root:
                os.mkdir(target, 0o700)  # what the umask takes off shows to nobody, as a mount covers it
            else:
                make_folder(target, 0o700, self._root)
        except FileExistsError:
            return False
        except OSError as error:
            raise _cant_prepare(layer, error) from error
        return True

    def _taken_over(self, layer, record):
        """The record of a layer that is mounted; where it has no holder, the mount is another's or was left over."""
        if record.counts:
            return record
        borrowed = self._is_foreign(layer)
        log.info(
            "layer %s was mounted but held by nobody; %s the mount", layer, "borrowing" if borrowed else "taking over"
        )
        return record._replace(borrowed=borrowed)

    def put(self, layer, holder):
        """Drop a reference; with the last one the layer is unmounted; moby's Put.

        A mount that another program made on a layer of its own stays, as its containers may live on it: only the
        anonymous put of a layer that nobody holds takes it away, as moby's does.

        :raises MountError: the kernel refused to unmount; the reference is then still there.
        """
        with self._runtime.layer_lock(layer):
            target = self._store.path(layer, MERGED)
            mounted = mounts.shows_overlay(target)
            if not mounted:
                if not self._store.has_lower(layer):
                    self._records.write(layer, self._records.read(layer).dropped(holder))
                    return
                mounted = mounts.is_mounted(target, strict=True)
            record = self._valid(layer, mounted, repair=True)
            left = record.dropped(holder)
            borrowed = record.borrowed if record.counts else holder != ANONYMOUS and self._is_foreign(layer)
            if not left.counts and not borrowed:
                mounts.unmount(layer, target)
            self._records.write(layer, left)

    def put_all(self, layer):
        """Drop every holder's reference and unmount the layer.

        :raises MountError: the kernel refused to unmount.
        """
        with self._runtime.layer_lock(layer):
            self.drop(layer)

    def drop(self, layer):
        """:meth:`put_all` for a caller who holds the layer's lock already."""
        mounts.unmount(layer, self._store.path(layer, MERGED))
        self._records.forget(layer)

    def counts(self, layer):
        """Holder name to count (dict), as far as the kernel agrees. Takes no lock and repairs nothing."""
        if not self._store.has_lower(layer):
            return dict(self._records.read(layer).counts)
        return dict(self._valid(layer, self.mounted(layer), repair=False).counts)

    def mounted(self, layer):
        """Whether the layer's overlay is mounted in this mount namespace (bool)."""
        return mounts.is_mounted(self._store.path(layer, MERGED))

    def in_foreign_use(self, layer):
        """Whether another program made the layer and it is mounted, as under a running container of dockerd (bool)."""
        return self.mounted(layer) and self._is_foreign(layer)

    def active(self):
        """Ids of the layers of this home that are mounted here (list of str)."""
        home = os.path.realpath(self._store.home)
        found = set()
        for entry in mountinfo.mounts(below=home):
            layer, _slash, rest = entry.mount_point[len(home) + 1 :].partition("/")
            if rest == MERGED:
                found.add(layer)
        return sorted(found)

    def in_use(self):
        """Ids of the layers (list of str) that are mounted here, or held: elsewhere, or as a folder without a mount."""
        here = self.active()
        others = [layer for layer in self._records.names() if layer not in here]
        return here + [layer for layer in others if self.counts(layer)]

    def held(self):
        """Ids of the layers that somebody holds (list of str)."""
        return [layer for layer in self._records.held() if self.counts(layer)]

    def recorded(self):
        """What is on record of this boot, borne out by the kernel or not: layer id to a dict of holder to count."""
        return {layer: dict(self._records.read(layer).counts) for layer in self._records.held()}

    def _is_foreign(self, layer):
        """Whether another program made the layer (bool): what is mounted there may be in its use."""
        return self._store.record(layer) == LayerRecord()

    def _valid(self, layer, mounted, repair):
        """The layer's record as far as the kernel's mount table bears it out.

        :raises LayerInUse: ``repair`` is asked for and the mount lives in another mount namespace.
        """
        record = self._records.read(layer)
        if mounted or not record.counts:
            return record
        target = os.path.realpath(self._store.path(layer, MERGED))
        process = mounts.mounted_in_namespace(record.mount_namespace, target)
        if process is not None:
            if not repair:
                return record
            raise LayerInUse(
                "it is mounted in the mount namespace of process %d, held by %s" % (process, describe(record.counts)),
                layer=layer,
                path=target,
                remedy="Work from that mount namespace: nsenter -m -t %d" % process,
            )
        if repair:
            log.warning(
                "layer %s: the references of %s were void, as the kernel has nothing mounted at %s; counting afresh",
                layer, describe(record.counts), target,
            )  # fmt: skip
            self._records.forget(layer)
        return NOBODY

    def _mount(self, layer, links, target, mount_label, left_over):
        """Mount a layer. Where this fails the caller unmounts what may be there.

        :param left_over: the mount point was there before, and is brought to its mode and owner.
        """
        # The home must stand still between reading ``committed`` and mounting: a child may be in the making.
        with self._runtime.home_lock(shared=True):
            read_only = self._store.committed(layer)
            planned = mounts.plan(self._store.home, layer, links, read_only, self._features, mount_label)
            try:
                if left_over:
                    ensure_folder(target, 0o700, self._root)
                self._perform(layer, planned)
                if not read_only and not self._is_root:
                    # In a user namespace overlayfs needs this to move a folder up from a lower layer.
                    os.chown(self._store.path(layer, WORK, WORK), *self._root, follow_symlinks=False)
            except OSError as error:
                if isinstance(error, Overlay2Error):
                    raise
                raise _cant_prepare(layer, error) from error

    def _perform(self, layer, planned):
        """Make the mount; where the kernel answers with no more than an errno, say what is wrong with the layer.

        :raises LayerDamaged: a link of the chain, the layer behind it, or a part of the layer itself is missing.
        """
        try:
            mounts.perform(layer, planned, self._features)
        except MountError as refused:
            for folder in self._store.lower_dirs(layer):
                if not os.path.isdir(folder):
                    raise LayerDamaged(
                        "its lower layer is missing",
                        layer=layer,
                        path=folder,
                        remedy="Create that layer again, or remove this one",
                    ) from None
            problems = self._store.describe(layer, self._store.links()).problems
            if problems:
                raise LayerDamaged(
                    "%s, for %s" % (refused.message, ", and ".join(problems)),
                    layer=layer,
                    path=refused.path,
                    remedy="Remove the layer and create it again",
                ) from refused
            raise


def _cant_prepare(layer, error):
    return from_os_error(MountError, "can't prepare the mount", error, layer=layer)


def describe(counts):
    """The holders of a count for people (str), such as ``web, ansible, 2 anonymous``."""
    names = [name for name in sorted(counts) if name != ANONYMOUS]
    if counts.get(ANONYMOUS):
        names.append("%d anonymous" % counts[ANONYMOUS])
    return ", ".join(names) or "nobody"
