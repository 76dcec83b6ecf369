# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Creates layers, applies archives to them, sets their quota and removes them. Each step is done whole or not at all.

Locks are taken here, a layer's before the home's. The long part of a step (unpacking, deleting files) runs under the
layer's lock alone, so that other layers are not kept waiting.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO, Callable, Iterator, Optional

from . import mounting
from .errors import (
    LayerDamaged,
    LayerExists,
    LayerInUse,
    LayerNotEmpty,
    Overlay2Error,
    QuotaNotSupported,
    translated,
)
from .filling import fill
from .home.holders import describe
from .home.layout import LayerFiles, LayerRecord, links_of
from .home.staging import Staged, link_id

if TYPE_CHECKING:
    from .home.opening import Home
    from .tar.unpack import Unpacked

    #: Called with what was unpacked, once the layer shows it.
    Report = Optional[Callable[[Unpacked], None]]

# Creating


def create(
    home: Home,
    layer_id: str,
    parent: str,
    size: int | None,
    record: LayerRecord,
    diff: BinaryIO | None = None,
    diff_id: str | None = None,
    report: Report = None,
) -> None:
    """Creates a layer, with the content of ``diff`` if that is given; see :meth:`.driver.Driver.create`.

    :param size: quota in bytes; None for no project of its own, 0 as in moby for none either.
    :param record: the record that the layer starts with.
    """
    if size is not None and home.quota is None:
        raise _no_quota(home, layer_id)
    with home.runtime.layer_lock(layer_id):
        path = home.store.at(layer_id)
        if os.path.lexists(path):
            raise LayerExists(
                "it exists already", layer=layer_id, path=path, remedy="Choose another id, or remove it first"
            )
        lower = home.store.parent_files(parent).lower_for_child() if parent else None
        unpacked = None
        with _staged(home, layer_id) as staged:
            _set_project(home, staged, size or None)
            link = link_id()
            home.staging.make_diff(staged)
            if parent:
                home.staging.make_work(staged)
            if diff is not None:
                native = home.features.native_diff
                unpacked, content_size = fill(home, staged, links_of(lower), native, diff, diff_id)
                record = record._replace(diff_id=unpacked.diff_id, size=content_size if native else None)
            # With content, one syncfs covers the small files too.
            home.staging.write_files(staged, link, lower, record, sync=diff is None or not home.staging.durable)
            if diff is not None:
                home.staging.sync(staged)
            with home.runtime.home_lock():
                # The parent may have been removed, or replaced, while the content was unpacked.
                if parent and home.store.parent_files(parent).lower_for_child() != lower:
                    raise LayerInUse("its parent %s was replaced while it was being made" % parent, layer=layer_id)
                home.staging.publish(staged, layer_id, link, parent)
        if report is not None and unpacked is not None:
            report(unpacked)


@contextlib.contextmanager
def _staged(home: Home, layer_id: str) -> Iterator[Staged]:
    """Yields a new staged directory for a layer. Errors show the path that it will have, not the staged one."""
    prefix = home.staging.folder + "/"

    def published(path: str) -> str:
        if not path.startswith(prefix):
            return path
        _staged_name, _slash, rest = path[len(prefix) :].partition("/")
        return os.path.join(home.store.at(layer_id), rest)

    with translated(layer=layer_id, shown=published), home.staging.stage() as staged:
        yield staged


def _set_project(home: Home, staged: Staged, size: int | None) -> None:
    """Puts the staged layer into a project of its own if it has a size, else into the home's.

    :param size: bytes; 0, as of a lifted quota, is a project without limit; None for none.
    """
    if home.quota is None:
        return
    if size is not None:
        with home.runtime.home_lock():
            home.quota.assign(staged.path, size)
    else:
        home.quota.join_home(staged.path)


# Filling


def apply(
    home: Home,
    layer_id: str,
    parent: str,
    stream: BinaryIO,
    diff_id: str | None = None,
    replace: bool = False,
    report: Report = None,
) -> int:
    """Unpacks a tar into a layer; see :meth:`.driver.Driver.apply_diff`.

    :returns: bytes applied.
    """
    with home.runtime.layer_lock(layer_id):
        home.store.require(layer_id)
        files = home.store.files(layer_id)
        _refuse_if_mounted(home, files)
        if not replace:
            _refuse_if_filled(home, layer_id)
        with _staged(home, layer_id) as staged:
            _copy_attributes(home, files, staged)
            native = home.features.native_diff and home.store.is_parent(files, parent)
            unpacked, size = fill(home, staged, files.lower_links, native, stream, diff_id)
            record = files.record._replace(diff_id=unpacked.diff_id, size=size if native else None)
            home.staging.write_files(staged, files.link, files.lower, record, sync=not home.staging.durable)
            home.staging.sync(staged)
            with home.runtime.home_lock():
                _refuse_if_mounted(home, files)
                home.staging.exchange(staged, layer_id)
        if report is not None:
            report(unpacked)
        return size


def _copy_attributes(home: Home, files: LayerFiles, staged: Staged) -> None:
    """Gives a staged layer the quota, directories, owner and mode of the layer that it will replace.

    The quota is a project of its own with the same limit: in the old layer's project, the new content would have to
    fit in beside the old.
    """
    _set_project(home, staged, _limit_of(home, files.layer_id))
    home.staging.make_diff(staged, like=os.stat(home.store.upper_dir(files.layer_id)))
    if files.lower is not None:
        home.staging.make_work(staged)


def _refuse_if_filled(home: Home, layer_id: str) -> None:
    path = home.store.upper_dir(layer_id)
    try:
        filled = os.listdir(path)
    except OSError as error:
        raise LayerDamaged(
            "its diff folder is missing", layer=layer_id, path=path, remedy="Remove the layer and create it again"
        ) from error
    if filled:
        raise LayerNotEmpty(
            "it is not empty, and an archive is applied to an empty layer",
            layer=layer_id,
            path=path,
            remedy="Create a new layer for the archive, or ask for the content to be replaced",
        )


def _refuse_if_mounted(home: Home, files: LayerFiles) -> None:
    layer_id, references = files.layer_id, home.references
    for other in references.in_use():
        if other == layer_id or home.store.stands_on(other, files.link):
            use = "mounted" if references.mounted(other) else "held"
            raise LayerInUse(
                "it is %s" % use if other == layer_id else "layer %s, which stands on it, is %s" % (other, use),
                layer=layer_id,
                path=home.store.merged_dir(other),
                remedy="Unmount it first; it is held by %s" % describe(references.counts(other)),
            )
    for other in references.detached():
        if other == layer_id or home.store.stands_on(other, files.link):
            references.refuse_if_used(other)


# Owner


def set_owner(home: Home, layer_id: str, owner: str) -> None:
    """Records who keeps a layer; see :meth:`.driver.Driver.set_owner`."""
    with home.runtime.layer_lock(layer_id):
        path = home.store.require(layer_id)
        record = home.store.files(layer_id).record
        if record == LayerRecord():
            raise Overlay2Error(
                "another program created it, so it cannot be given an owner",
                layer=layer_id,
                path=path,
                remedy="Leave the owner out for this layer",
            )
        if record.owner not in (None, owner):
            raise LayerInUse(
                "it belongs to %s" % record.owner,
                layer=layer_id,
                path=path,
                remedy="Use another id, or the owner %s" % record.owner,
            )
        with translated(layer=layer_id):
            home.staging.replace_record(layer_id, record._replace(owner=owner))


# Quota


def set_quota(home: Home, layer_id: str, size: int) -> None:
    """Changes how much a layer may hold; see :meth:`.driver.Driver.set_quota`."""
    if home.quota is None:
        raise _no_quota(home, layer_id)
    with home.runtime.layer_lock(layer_id):
        path = home.store.require(layer_id)
        usage = home.quota.get(path)
        if usage is None:
            raise Overlay2Error(
                "it was created without a size, and a quota can't be added to content that is already there",
                layer=layer_id,
                path=path,
                remedy="Create a layer with a size, and copy the content",
            )
        home.quota.set_limit(usage.project_id, size)


def _limit_of(home: Home, layer_id: str) -> int | None:
    """Returns the layer's quota in bytes, 0 for a lifted one; None if it has no project of its own."""
    usage = None if home.quota is None else home.quota.get(home.store.at(layer_id))
    return None if usage is None else usage.limit


def _no_quota(home: Home, layer_id: str) -> QuotaNotSupported:
    return QuotaNotSupported(
        "--storage-opt is supported only for overlay over xfs with 'pquota' mount option: %s"
        % home.features.project_quota_reason,
        layer=layer_id,
        path=home.path,
        remedy="Leave the size out, or put the home on XFS mounted with pquota",
    )


# Removing


def remove(home: Home, layer_id: str, guard: bool) -> None:
    """Removes a layer with everything in it; see :meth:`.driver.Driver.remove`."""
    with home.runtime.layer_lock(layer_id):
        if not os.path.lexists(home.store.at(layer_id)):
            return
        if guard:
            _refuse_if_held(home, layer_id)
            _refuse_if_parent(home, layer_id)
        with translated(layer=layer_id):
            mounting.drop(home, layer_id, strict=guard)
            with home.runtime.home_lock():
                if guard:
                    _refuse_if_parent(home, layer_id)  # again: a child may have appeared before the lock was taken
                hidden = home.staging.hide(layer_id)
            hidden.delete()


def _refuse_if_held(home: Home, layer_id: str) -> None:
    path = home.store.at(layer_id)
    counts = home.references.counts(layer_id)
    if counts:
        raise LayerInUse(
            "it is held by %s" % describe(counts),
            layer=layer_id,
            path=path,
            remedy="Let the holders unmount it first",
        )
    point = home.references.mount_point(layer_id)
    if point is not None and home.references.is_foreign(layer_id):
        raise LayerInUse(
            "another program made it and has it mounted",
            layer=layer_id,
            path=path,
            remedy="Stop and remove what runs on it there, such as dockerd's container",
        )
    if point is not None:
        raise LayerInUse(
            "it is mounted at %s, and nothing records for whom" % point,
            layer=layer_id,
            path=path,
            remedy="Unmount it first",
        )
    home.references.refuse_if_used(layer_id)


def _refuse_if_parent(home: Home, layer_id: str) -> None:
    children = home.store.children(layer_id)
    if children:
        more = " and %d more" % (len(children) - 5) if len(children) > 5 else ""
        raise LayerInUse(
            "other layers stand on it: %s%s" % (", ".join(children[:5]), more),
            layer=layer_id,
            path=home.store.at(layer_id),
            remedy="Remove those first",
        )
