# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""The life of a layer: made, filled, given a quota, removed. Each step is done whole or not at all.

Locks are taken here, a layer's before the home's. The long part of a step (unpacking, deleting files) runs under
the layer's lock alone, so that other layers are not kept waiting.
"""

from __future__ import annotations

import contextlib
import os

from .errors import (
    LayerDamaged,
    LayerExists,
    LayerInUse,
    LayerNotEmpty,
    Overlay2Error,
    QuotaNotSupported,
    from_os_error,
)
from .home.layout import DIFF, MERGED, LayerRecord
from .home.staging import link_id
from .mounting import describe


class Lifecycle:
    """Changes the layers of one home.

    :param store: the home's :class:`~.layers.Store`.
    :param runtime: its :class:`~.locks.RuntimeState`.
    :param staging: its :class:`~.staging.Staging`.
    :param references: its :class:`~.references.References`.
    :param content: its :class:`~.content.Content`.
    :param quota: its :class:`~.quota.QuotaControl`; None where there is no project quota.
    :param features: its :class:`~.features.Features`.
    """

    def __init__(self, store, runtime, staging, references, content, quota, features):
        self._store = store
        self._runtime = runtime
        self._staging = staging
        self._references = references
        self._content = content
        self._quota = quota
        self._features = features

    # Making

    def create(self, layer, parent, size, record, diff, diff_id):
        """Make a layer, with the content of ``diff`` where that is given; see :meth:`.driver.Driver.create`.

        :param size: quota in bytes; None for no project of its own, 0 as in moby for none either.
        :param record: the :class:`~.layers.LayerRecord` that the layer starts with.
        """
        if size is not None and self._quota is None:
            raise self._no_quota(layer)
        with self._runtime.layer_lock(layer):
            self._create(layer, parent, size, record, diff, diff_id)

    def _create(self, layer, parent, size, record, diff, diff_id):
        if os.path.lexists(self._store.path(layer)):
            raise LayerExists(
                "it exists already",
                layer=layer,
                path=self._store.path(layer),
                remedy="Choose another id, or remove it first",
            )
        lower = self._store.lower_for_child(parent) if parent else None
        with self._staged(layer) as staged:
            self._set_project(staged, size or None)
            link = link_id()
            self._staging.make_diff(staged)
            if parent:
                self._staging.make_work(staged)
            if diff is not None:
                native = self._features.native_diff
                result, size = self._content.fill(staged, _links(lower), native, diff, diff_id)
                record = record._replace(diff_id=result.diff_id, size=size if native else None)
            # With content, one syncfs settles the small files too.
            self._staging.furnish(staged, link, lower, record, sync=diff is None or not self._staging.durable)
            if diff is not None:
                self._staging.settle(staged)
            with self._runtime.home_lock():
                # The parent may have gone, or been made anew, while the content was unpacked.
                if parent and self._store.lower_for_child(parent) != lower:
                    raise LayerInUse("its parent %s was replaced while it was being made" % parent, layer=layer)
                self._staging.publish(staged, layer, link, parent)

    @contextlib.contextmanager
    def _staged(self, layer):
        """A new staged folder for a layer, whose own path stays out of error messages."""
        with _mending(layer, self._staging.folder), self._staging.stage() as staged:
            yield staged

    def _set_project(self, staged, size):
        """Put the staged layer into a project of its own where it has a size, else into the home's.

        :param size: bytes; 0 in a lifted quota is a project without limit; None for none.
        """
        if self._quota is None:
            return
        if size is not None:
            with self._runtime.home_lock():
                self._quota.assign(staged.path, size)
        else:
            self._quota.join_home(staged.path)

    # Filling

    def apply(self, layer, parent, stream, diff_id, replace):
        """Unpack a tar into a layer; see :meth:`.driver.Driver.apply_diff`.

        :returns: bytes applied (int).
        """
        with self._runtime.layer_lock(layer):
            self._store.require(layer)
            self._refuse_if_mounted(layer)
            if not replace:
                self._refuse_if_filled(layer)
            with self._staged(layer) as staged:
                lower = self._copy_frame(layer, staged)
                native = self._content.is_native(layer, parent)
                result, size = self._content.fill(staged, _links(lower), native, stream, diff_id)
                record = self._store.record(layer)._replace(diff_id=result.diff_id, size=size if native else None)
                self._staging.furnish(staged, self._store.link(layer), lower, record, sync=not self._staging.durable)
                self._staging.settle(staged)
                with self._runtime.home_lock():
                    self._refuse_if_mounted(layer)
                    self._staging.exchange(staged, layer)
            return size

    def set_owner(self, layer, owner):
        """Record who keeps a layer; see :meth:`.driver.Driver.set_owner`."""
        with self._runtime.layer_lock(layer):
            path = self._store.require(layer)
            record = self._store.record(layer)
            if record == LayerRecord():
                raise Overlay2Error(
                    "another program created it, so it cannot be given an owner",
                    layer=layer,
                    path=path,
                    remedy="Leave the owner out for this layer",
                )
            if record.owner not in (None, owner):
                raise LayerInUse(
                    "it belongs to %s" % record.owner,
                    layer=layer,
                    path=path,
                    remedy="Use another id, or the owner %s" % record.owner,
                )
            with _mending(layer):
                self._staging.replace_record(layer, record._replace(owner=owner))

    def _copy_frame(self, layer, staged):
        """Give a staged layer the quota, folders and owners of the one it will replace; returns its ``lower`` text.

        The quota is a project of its own with the same limit: in the old layer's project the new content would have
        to find room beside the old.
        """
        self._set_project(staged, self._limit_of(layer))
        lower = self._store.lower_text(layer)
        self._staging.make_diff(staged)
        info = os.stat(self._store.path(layer, DIFF))
        os.chown(staged.child(DIFF), info.st_uid, info.st_gid)
        os.chmod(staged.child(DIFF), info.st_mode & 0o7777)
        if lower is not None:
            self._staging.make_work(staged)
        return lower

    def _refuse_if_filled(self, layer):
        path = self._store.path(layer, DIFF)
        try:
            filled = os.listdir(path)
        except OSError as error:
            raise LayerDamaged(
                "its diff folder is missing", layer=layer, path=path, remedy="Remove the layer and create it again"
            ) from error
        if filled:
            raise LayerNotEmpty(
                "it is not empty, and an archive is applied to an empty layer",
                layer=layer,
                path=path,
                remedy="Create a new layer for the archive, or ask for the content to be replaced",
            )

    def _refuse_if_mounted(self, layer):
        link = self._store.link(layer)
        for other in self._references.in_use():
            if other == layer or self._store.stands_on(other, link):
                use = "mounted" if self._references.mounted(other) else "held"
                raise LayerInUse(
                    "it is %s" % use if other == layer else "layer %s, which stands on it, is %s" % (other, use),
                    layer=layer,
                    path=self._store.path(other, MERGED),
                    remedy="Unmount it first; it is held by %s" % describe(self._references.counts(other)),
                )
        for other in self._references.detached():
            if other == layer or self._store.stands_on(other, link):
                self._references.refuse_if_used(other, self._store.path(other))

    # Quota

    def set_quota(self, layer, size):
        """Change how much a layer may hold; see :meth:`.driver.Driver.set_quota`."""
        if self._quota is None:
            raise self._no_quota(layer)
        with self._runtime.layer_lock(layer):
            path = self._store.require(layer)
            usage = self._quota.get(path)
            if usage is None:
                raise Overlay2Error(
                    "it was created without a size, and a quota can't be added to content that is already there",
                    layer=layer,
                    path=path,
                    remedy="Create a layer with a size, and copy the content",
                )
            self._quota.set_limit(usage.project_id, size)

    def _limit_of(self, layer):
        """The layer's quota in bytes (int), 0 for a lifted one; None where it has no project of its own."""
        if self._quota is None:
            return None
        usage = self._quota.get(self._store.path(layer))
        return None if usage is None else usage.limit

    def _no_quota(self, layer):
        return QuotaNotSupported(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option: %s"
            % self._features.project_quota_reason,
            layer=layer,
            path=self._store.home,
            remedy="Leave the size out, or put the home on XFS mounted with pquota",
        )

    # Removing

    def remove(self, layer, guard):
        """Remove a layer with all it holds; see :meth:`.driver.Driver.remove`."""
        with self._runtime.layer_lock(layer):
            if os.path.lexists(self._store.path(layer)):
                if guard:
                    self._refuse_if_held(layer)
                    self._refuse_if_parent(layer)
                with _mending(layer):
                    self._withdraw(layer, guard)

    def _withdraw(self, layer, guard):
        self._references.drop(layer, strict=guard)
        with self._runtime.home_lock():
            if guard:
                self._refuse_if_parent(layer)  # again: a child may have come up to the moment the lock was had
            delete_files = self._staging.withdraw(layer)
        delete_files()

    def _refuse_if_held(self, layer):
        counts = self._references.counts(layer)
        if counts:
            raise LayerInUse(
                "it is held by %s" % describe(counts),
                layer=layer,
                path=self._store.path(layer),
                remedy="Let the holders unmount it first",
            )
        if self._references.in_foreign_use(layer):
            raise LayerInUse(
                "another program made it and has it mounted",
                layer=layer,
                path=self._store.path(layer),
                remedy="Stop and remove what runs on it there, such as dockerd's container",
            )
        self._references.refuse_if_used(layer, self._store.path(layer))

    def _refuse_if_parent(self, layer):
        children = self._store.children(layer)
        if children:
            more = " and %d more" % (len(children) - 5) if len(children) > 5 else ""
            raise LayerInUse(
                "other layers stand on it: %s%s" % (", ".join(children[:5]), more),
                layer=layer,
                path=self._store.path(layer),
                remedy="Remove those first",
            )


def _links(lower):
    """Entries of a ``lower`` text (tuple of str); none for a layer without parent."""
    return tuple(lower.split(":")) if lower else ()


@contextlib.contextmanager
def _mending(id, staging=None):
    """Errors of the file system become the driver's, and name the layer, also where its folder is still staged."""
    try:
        yield
    except Overlay2Error as error:
        error.layer = error.layer or id
        error.path = _in_sight(error.path, id, staging)
        raise
    except OSError as error:
        path = None if error.filename is None else _in_sight(os.fsdecode(error.filename), id, staging)
        raise from_os_error(Overlay2Error, "the file system refused", error, layer=id, path=path) from error


def _in_sight(path, id, staging):
    """What a path in a staged folder will be once the layer shows; any other as it is."""
    if not staging or not path or not path.startswith(staging + "/"):
        return path
    _staged, _slash, rest = path[len(staging) + 1 :].partition("/")
    return os.path.join(os.path.dirname(staging), id, rest)
