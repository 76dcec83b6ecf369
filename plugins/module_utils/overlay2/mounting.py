# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Mounts of layers and who holds them: taking and dropping references, with the kernel's mount table as the truth."""

from __future__ import annotations

import contextlib
import logging
import os
import re

from . import mounts
from .errors import LayerDamaged, LayerInUse, MountError, Overlay2Error, from_os_error, printable
from .home.holders import ANONYMOUS, NOBODY, Holders
from .home.layout import DIFF, MERGED, WORK, LayerRecord
from .home.staging import ensure_folder, make_folder
from .linux import fs, kernel, mountinfo, users

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

    def put(self, layer, holder, look=False, strict=False):
        """Drop a reference; with the last one the layer is unmounted; moby's Put.

        A mount that another program made on a layer of its own stays, as its containers may live on it: only the
        anonymous put of a layer that nobody holds takes it away, as moby's does.

        :param look: search all mount namespaces for processes that use the layer, not only when the kernel says busy.
        :param strict: refuse to unmount while processes use it.
        :returns: the processes that use the layer (tuple of :class:`~.linux.users.User`) if it was unmounted.
        :raises LayerInUse: so refused.
        :raises MountError: the kernel refused to unmount; the reference is then still there.
        """
        with self._runtime.layer_lock(layer):
            target = self._store.path(layer, MERGED)
            mounted = mounts.shows_overlay(target)
            if not mounted:
                if not self._store.has_lower(layer):
                    self._records.write(layer, self._records.read(layer).dropped(holder))
                    return ()
                mounted = mounts.is_mounted(target, strict=True)
            record = self._valid(layer, mounted, repair=True)
            left = record.dropped(holder)
            borrowed = record.borrowed if record.counts else holder != ANONYMOUS and self._is_foreign(layer)
            busy = ()
            if not left.counts and not borrowed:
                left, busy = self._unmount(layer, left, look, strict)
            self._records.write(layer, left)
            return busy

    def put_all(self, layer, look=False, strict=False):
        """Drop every holder's reference and unmount the layer; parameters, result and errors as :meth:`put`."""
        with self._runtime.layer_lock(layer):
            left, busy = self._unmount(layer, self._records.read(layer)._replace(counts={}), look, strict)
            self._records.write(layer, left)
            return busy

    def drop(self, layer, strict=False):
        """Unmount a layer that is about to be removed and forget its references. The caller holds the layer's lock."""
        self._unmount(layer, NOBODY, False, strict)
        self._records.forget(layer)

    def _unmount(self, layer, record, look, strict):
        """Unmount a layer. A mount that processes use is detached; they are named in a warning.

        Its device is remembered, as no mount table shows it any more: removing the layer would take their files.

        :returns: the record, with such a device; the processes (tuple).
        """
        target = self._store.path(layer, MERGED)
        busy = self.users(layer) if look or strict else ()
        device = fs.device(target) if busy and mounts.shows_overlay(target) else None
        if strict and busy:
            raise _busy(layer, target, busy)
        if not mounts.unmount(layer, target, lazy=False):
            device = fs.device(target)
            busy = busy or self.users(layer)
            if strict:
                raise _busy(layer, target, busy)
            mounts.unmount(layer, target)
        if not busy or device is None:
            return record, ()
        log.warning("layer %s was unmounted while processes use it: %s", layer, names_of(busy))
        return record._replace(detached=tuple(sorted({device, *record.detached}))), busy

    # Processes

    def users(self, layer):
        """The processes (tuple of :class:`~.linux.users.User`) that use the layer's mount, or one that was detached."""
        folder = os.path.realpath(self._store.path(layer))
        target = os.path.join(folder, MERGED)
        devices = set(self._records.read(layer).detached)
        if self.mounted(layer):
            with contextlib.suppress(OSError):
                devices.add(fs.device(target))
        return tuple(
            [user for user in users.find(devices, folder) if not devices or not _on_others(user, devices, target)]
        )

    def refuse_if_used(self, layer, path):
        """Refuse to go on while processes use a mount of the layer that was detached.

        :raises LayerInUse: there are some.
        """
        if self._records.read(layer).detached:
            busy = self.users(layer)
            if busy:
                raise _busy(layer, path, busy)

    def detached(self):
        """Ids of the layers that were unmounted while processes used them (list of str)."""
        return [layer for layer in self._records.names() if self._records.read(layer).detached]

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
            self._records.write(layer, NOBODY._replace(detached=record.detached))
        return NOBODY._replace(detached=record.detached)

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


def _on_others(user, devices, target):
    """Whether a process is on a file system that got the number of a detached overlay later on (bool)."""
    try:
        entries = mountinfo.mounts(user.pid)
    except OSError:
        return False
    numbers = {"%d:%d" % (os.major(device), os.minor(device)) for device in devices}
    shown = [entry for entry in entries if entry.device in numbers]
    return bool(shown) and all(_is_other(entry, target) for entry in shown)


def _is_other(entry, target):
    """Whether a mount is certainly not the layer's overlay (bool)."""
    if entry.fs_type != "overlay":
        return True
    if entry.mount_point == target:
        return False
    for option in entry.super_options:
        key, _equals, value = option.partition("=")
        if key == "upperdir" and value.startswith("/"):
            upper = re.sub(r"\\(.)", r"\1", value)  # overlayfs escapes what would end a name
            return os.path.realpath(upper) != os.path.join(os.path.dirname(target), DIFF)
    return False


def _busy(layer, path, busy):
    if busy:
        message, remedy = "processes use it: %s" % names_of(busy), "Stop them first"
    else:
        message = "it is in use, though no process is seen that uses it"
        remedy = "Look for mounts below it and in other mount namespaces: grep %s /proc/*/mountinfo" % path
    return LayerInUse(message, layer=layer, path=path, remedy=remedy)


def names_of(busy):
    """Processes for people (str), such as ``812 (nginx), 815 (nginx) and 6 more``."""
    named = ", ".join([printable(str(user)) for user in busy[:5]])
    return "%s and %d more" % (named, len(busy) - 5) if len(busy) > 5 else named


def describe(counts):
    """The holders of a count for people (str), such as ``web, ansible, 2 anonymous``."""
    names = [name for name in sorted(counts) if name != ANONYMOUS]
    if counts.get(ANONYMOUS):
        names.append("%d anonymous" % counts[ANONYMOUS])
    return ", ".join(names) or "nobody"
