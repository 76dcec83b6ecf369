# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Takes and drops references to layers, and mounts and unmounts them. The kernel's mount table is the truth."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Iterator

from . import mounts
from .errors import LayerDamaged, MountError, translated
from .home import busy, mounted
from .home.holders import ANONYMOUS, NOBODY, Record, describe
from .home.layout import LINK_DIR, MERGED, STAGING, LayerFiles
from .linux import fs, kernel
from .linux.users import User

if TYPE_CHECKING:
    from .home.opening import Home

log = logging.getLogger("overlay2")


def get(home: Home, layer_id: str, mount_label: str = "", holder: str = ANONYMOUS) -> str:
    """Takes a reference and mounts the layer; moby's Get.

    A layer without lower layers is its ``diff`` directory: nothing is mounted, and only named holders are recorded.

    :returns: the path. A layer that is mounted by another path to the home stays there, and that path is returned.
    :raises LayerNotFound: no such layer.
    :raises LayerInUse: it is mounted in another mount namespace only.
    :raises MountError: the kernel refused.
    """
    with home.runtime.layer_lock(layer_id):
        files = home.store.files(layer_id)
        if not files.lower_links:
            home.store.require(layer_id)
            if holder != ANONYMOUS:
                home.holders.write(layer_id, home.holders.read(layer_id).taken(holder))
            return home.store.upper_dir(layer_id)
        target = home.store.merged_dir(layer_id)
        # Nothing is mounted on a mount point that is made here and now, so most of the time one call is enough.
        with translated("can't prepare the mount", MountError, layer=layer_id):
            made = home.staging.make_mount_point(layer_id)
        undo = made
        try:
            is_mounted = not made and mounted.is_mounted(target, strict=True)
            record, point = _checked(home, layer_id, target if is_mounted else "")
            if point:
                record = _taken_over(home, files, record)
            else:
                undo, point = True, target
                _mount(home, files, mount_label, left_over=not made)
                record = record._replace(mount_namespace=kernel.mount_namespace(), mount_point=target)
            home.holders.write(layer_id, record.taken(holder))
        except BaseException:
            if undo:
                with contextlib.suppress(MountError):
                    mounts.unmount(layer_id, target)
            raise
        return point


def put(
    home: Home, layer_id: str, holder: str = ANONYMOUS, *, look: bool = False, strict: bool = False
) -> tuple[User, ...]:
    """Drops a reference and, with the last one, unmounts the layer; moby's Put.

    A mount made by another program (a running container, for example) is left alone. The exception is an anonymous
    ``put`` of a layer without holders, which unmounts it as in moby.

    :param look: search all mount namespaces for processes that use the layer, not only when the kernel says busy.
    :param strict: refuse to unmount the layer while processes use it.
    :returns: the processes that used the layer when it was unmounted.
    :raises LayerInUse: so refused.
    :raises MountError: the kernel refused to unmount; the reference is then still there.
    """
    with home.runtime.layer_lock(layer_id):
        target = home.store.merged_dir(layer_id)
        is_mounted = mounted.shows_overlay(target)
        if not is_mounted:
            if not home.store.has_parent(layer_id):
                home.holders.write(layer_id, home.holders.read(layer_id).dropped(holder))
                return ()
            is_mounted = mounted.is_mounted(target, strict=True)
        record, point = _checked(home, layer_id, target if is_mounted else "")
        left = record.dropped(holder)
        borrowed = record.borrowed if record.counts else holder != ANONYMOUS and home.references.is_foreign(layer_id)
        processes: tuple[User, ...] = ()
        if not left.counts and not borrowed:
            left, processes = _unmount(home, layer_id, point or target, left, look, strict)
        home.holders.write(layer_id, left)
        return processes


def put_all(home: Home, layer_id: str, *, look: bool = False, strict: bool = False) -> tuple[User, ...]:
    """Drops every holder's reference and unmounts the layer; parameters, result and errors as for :func:`put`."""
    with home.runtime.layer_lock(layer_id):
        record = home.holders.read(layer_id)
        point = _point(home, layer_id, record)
        left, processes = _unmount(home, layer_id, point, record._replace(counts={}), look, strict)
        home.holders.write(layer_id, left)
        return processes


def drop(home: Home, layer_id: str, strict: bool = False) -> None:
    """Unmounts a layer that is about to be removed and forgets its references. The caller holds the layer's lock.

    :raises LayerInUse: ``strict``, and processes use it.
    """
    point = _point(home, layer_id, home.holders.read(layer_id))
    _unmount(home, layer_id, point, NOBODY, look=False, strict=strict)
    home.holders.forget(layer_id)


@contextlib.contextmanager
def view(home: Home, layer_id: str, follow: bool) -> Iterator[str]:
    """Mounts a layer with its lower chain read-only at a private place for the length of a ``with`` block.

    No reference is taken, and the layer may be mounted elsewhere meanwhile. Unmounting writes nothing to disk.

    :param follow: show renamed directories and files without data (redirects, metacopy), whatever the kernel's default.
    :returns: the mount point.
    :raises LayerDamaged: a part of the layer or of its chain is missing.
    :raises MountError: the kernel refused.
    """
    files = home.store.files(layer_id)
    options = mounts.FOLLOWING if follow and not home.features.userxattr else ()
    with home.staging.stage() as staged:
        place = os.path.join(STAGING, os.path.basename(staged.path))
        links = ("%s/%s" % (LINK_DIR, files.link), *files.lower_links)
        planned = mounts.plan_view(home.path, place, links, home.features, options)
        target = staged.child(MERGED)
        os.mkdir(target, 0o700)
        _perform(home, files, planned)
        try:
            yield target
        finally:
            mounts.unmount(layer_id, target)


def _point(home: Home, layer_id: str, record: Record) -> str:
    """Returns where the layer is mounted as far as its record tells, or would be."""
    target, point = home.store.merged_dir(layer_id), record.mount_point
    if point and point != target and not mounted.shows_overlay(target) and mounted.is_mounted(point):
        return point
    return target


def _checked(home: Home, layer_id: str, point: str) -> tuple[Record, str]:
    """Returns the layer's record as far as the kernel's mount table agrees, and where the layer is mounted.

    :param point: its ``merged`` directory if it is mounted there, else "".
    :raises LayerInUse: the layer is mounted in another mount namespace.
    """
    record = home.holders.read(layer_id)
    if point or not record.counts:
        return record, point
    if record.mount_point and mounted.is_mounted(record.mount_point):
        return record, record.mount_point
    home.references.refuse_elsewhere(layer_id, record)
    log.warning(
        "layer %s: the references of %s were void, as the kernel has nothing mounted at %s; counting afresh",
        layer_id,
        describe(record.counts),
        home.store.merged_dir(layer_id),
    )
    void = NOBODY._replace(detached=record.detached)
    home.holders.write(layer_id, void)
    return void, ""


def _taken_over(home: Home, files: LayerFiles, record: Record) -> Record:
    """Returns the record of a layer that is mounted. Without holders, the mount is another program's or a left-over."""
    if record.counts:
        return record
    borrowed = home.references.is_foreign(files.layer_id)
    action = "borrowing" if borrowed else "taking over"
    log.info("layer %s was mounted but held by nobody; %s the mount", files.layer_id, action)
    return record._replace(borrowed=borrowed)


def _unmount(
    home: Home, layer_id: str, point: str, record: Record, look: bool, strict: bool
) -> tuple[Record, tuple[User, ...]]:
    """Unmounts a layer. A mount that processes use is detached, with a warning that names them.

    The device of a detached overlay is recorded, as no mount table shows it any more: removing the layer would take
    their files.

    :returns: the record, with such a device; the processes.
    """
    processes = home.references.users(layer_id) if look or strict else ()
    device = fs.device(point) if processes and mounted.shows_overlay(point) else None
    if strict and processes:
        raise busy.in_use(layer_id, point, processes)
    if not mounts.unmount(layer_id, point, lazy=False):
        device = fs.device(point)
        processes = processes or home.references.users(layer_id)
        if strict:
            raise busy.in_use(layer_id, point, processes)
        mounts.unmount(layer_id, point)
    if not processes or device is None:
        return record, ()
    log.warning("layer %s was unmounted while processes use it: %s", layer_id, busy.names_of(processes))
    return record._replace(detached=tuple(sorted({device, *record.detached}))), processes


def _mount(home: Home, files: LayerFiles, mount_label: str, left_over: bool) -> None:
    """Mounts a layer. If this fails, the caller unmounts what may be there.

    :param left_over: the mount point existed before, and is given its mode and owner.
    """
    # The home must stand still between reading ``committed`` and mounting: a child may be in the making.
    with home.runtime.home_lock(shared=True):
        read_only = home.store.committed(files.layer_id)
        planned = mounts.plan(home.path, files.layer_id, files.lower_links, read_only, home.features, mount_label)
        with translated("can't prepare the mount", MountError, layer=files.layer_id):
            if left_over:
                home.staging.mend_mount_point(files.layer_id)
            _perform(home, files, planned)
            if not read_only:
                home.staging.give_work_to_root(files.layer_id)


def _perform(home: Home, files: LayerFiles, planned: mounts.MountPlan) -> None:
    """Makes the mount. If the kernel answers with an errno alone, finds out what is wrong with the layer.

    :raises LayerDamaged: a link of the chain, the layer behind it, or a part of the layer itself is missing.
    """
    try:
        mounts.perform(files.layer_id, planned, home.features)
    except MountError as refused:
        for directory in home.store.resolve_all(files):
            if not os.path.isdir(directory):
                raise LayerDamaged(
                    "its lower layer is missing",
                    layer=files.layer_id,
                    path=directory,
                    remedy="Create that layer again, or remove this one",
                ) from None
        problems = home.store.describe(files.layer_id, home.store.links()).problems
        if problems:
            raise LayerDamaged(
                "%s, for %s" % (refused.message, ", and ".join(problems)),
                layer=files.layer_id,
                path=refused.path,
                remedy="Remove the layer and create it again",
            ) from refused
        raise
