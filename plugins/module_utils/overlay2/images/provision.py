# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Brings an image into a home: plans, checks, applies layers from the lowest up, and writes the record last.

A layer is named by the hexadecimal digits of its chain ID, so images share layers. It shows only if the digest of the
blob, its size and the diff ID are right, all verified in one pass. After a kill at any instant, the image is there or
not; layers that were applied stay, and the next run takes them.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, BinaryIO, Iterator, NamedTuple, Optional, Tuple, cast

from .. import lifecycle
from ..errors import ArchiveError, DigestMismatch, LayerExists, NotEnoughSpace, Overlay2Error
from ..home.layout import LayerRecord
from ..units import human_size
from . import blobs, layout, records, removal
from .manifests import Blob, Image
from .records import ImageRecord, StoredManifest
from .sources import Source, Wanted

if TYPE_CHECKING:
    from ..home.opening import Home

log = logging.getLogger("overlay2")

KEPT = "kept"
APPLIED = "applied"

#: Inodes that a layer takes at least: its directories, small files and link.
_INODES = 8


class PlannedLayer(NamedTuple):
    """One layer of an image, and what becomes of it."""

    chain_id: str
    #: Chain ID of the layer below; "" for none.
    parent: str
    diff_id: str
    created_by: str
    blob: Blob
    #: :data:`KEPT` or :data:`APPLIED`.
    action: str
    #: Bytes of its uncompressed tar; None if that is not known.
    tar_size: Optional[int]

    @property
    def id(self) -> str:
        """The layer's id in the home."""
        return layer_id(self.chain_id)


class Plan(NamedTuple):
    """What providing an image takes."""

    image: Image
    #: The name that it will be kept under; "" for none.
    name: str
    holder: str
    #: The lowest first.
    layers: Tuple[PlannedLayer, ...]
    #: The image's record before and after.
    before: Optional[ImageRecord]
    after: ImageRecord
    #: Records of other images that lose the name for this holder, as they will be.
    moved: Tuple[ImageRecord, ...]
    #: Bytes to be written at least: layers, and the copy of a compressed archive's.
    space_needed: int
    #: Bytes that the home's file system has.
    space_free: int

    @property
    def changed(self) -> bool:
        """True if something is to be done."""
        return self.before != self.after or bool(self.moved) or any(layer.action == APPLIED for layer in self.layers)

    @property
    def bytes_present(self) -> int:
        """Bytes of the blobs of the layers that the home has already."""
        return sum(layer.blob.size for layer in self.layers if layer.action == KEPT)


def layer_id(chain_id: str) -> str:
    """Returns the id of the layer with a chain ID; "" for ""."""
    return chain_id.partition(":")[2]


def plan(home: Home | None, path: str, source: Source, wanted: Wanted, holder: str) -> Plan:
    """Returns what it takes to have an image in a home. Changes nothing.

    Only the documents of the image are read, and a few bytes of each layer that the home lacks.

    :param home: None for a home that is missing.
    :param path: path of the home.
    :param holder: name of who is to keep the image.
    :raises Overlay2Error: the image, or a layer that the home has under its name, is refused.
    """
    image, names = source.choose(wanted)
    name = wanted.reference.label if wanted.reference else names[0] if names else ""
    before = None if home is None else records.read(home, image.id)
    layers = tuple(_layers(home, source, image, before))
    others = [] if home is None or not name else records.readable(home)
    moved = [other for other in others if other.id != image.id and name in other.claims.get(holder, ())]
    missing = [layer for layer in layers if layer.action == APPLIED]
    needed = sum(max(layer.tar_size or 0, layer.blob.size) for layer in missing)
    info = os.statvfs(_existing(path))
    return Plan(
        image,
        name,
        holder,
        layers,
        before,
        _record(image, before, layers).with_claim(holder, name),
        tuple(other.without_claim(holder, name) for other in moved),
        needed + source.files.to_spool(layer.blob.name for layer in missing),
        info.f_frsize * (info.f_bfree if os.geteuid() == 0 else info.f_bavail),
    )


def _existing(path: str) -> str:
    """Returns the nearest directory that exists, from a path up."""
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def _layers(home: Home | None, source: Source, image: Image, record: ImageRecord | None) -> Iterator[PlannedLayer]:
    parent = ""
    known = {} if record is None else record.tar_sizes
    config = image.config
    for number, (chain_id, blob) in enumerate(zip(config.chain_ids, image.blobs)):
        diff_id = config.diff_ids[number]
        there = home is not None and _is_there(home, layer_id(chain_id), layer_id(parent), diff_id)
        if there:
            size = known.get(diff_id)
        else:
            what = "layer %d of %d, blob %s" % (number + 1, len(image.blobs), blob.digest or blob.name)
            layout.check_size(source.files, blob.name, blob.size, what, blob.urls)
            if blobs.claims_wrongly(source.files, blob):
                log.warning("%s: %s is not compressed as its media type says; its digests decide", source.path, what)
            size = blobs.tar_size(source.files, blob)
        action = KEPT if there else APPLIED
        yield PlannedLayer(chain_id, parent, diff_id, config.created_by[number], blob, action, size)
        parent = chain_id


def _is_there(home: Home, layer: str, parent: str, diff_id: str) -> bool:
    """True if the home has this layer.

    :raises LayerExists: it has another one of that name.
    """
    store = home.store
    if not store.exists(layer):
        return False
    files = store.files(layer)
    record = files.record
    if record.diff_id == diff_id and not record.read_write and store.is_parent(files, parent):
        return True
    raise LayerExists(
        "a layer of that name exists, and is not the image's: its diff ID, parent or kind differ",
        layer=layer,
        path=store.at(layer),
        remedy="Remove that layer, or use another home for images",
    )


def _record(image: Image, before: ImageRecord | None, layers: Tuple[PlannedLayer, ...]) -> ImageRecord:
    """Returns the image's record with what this source adds to it."""
    record = before or ImageRecord(image.config.content, image.id)
    sizes = {layer.diff_id: layer.tar_size for layer in layers if layer.tar_size is not None}
    stored = [manifest.digest for manifest in record.manifests]
    if image.manifest is not None and image.manifest_digest is not None and image.manifest_digest not in stored:
        manifest = StoredManifest(image.manifest_digest, image.index_digest, image.manifest)
        record = record._replace(manifests=(*record.manifests, manifest))
    return record._replace(tar_sizes={**sizes, **record.tar_sizes})


def provide(home: Home, source: Source, wanted: Wanted, holder: str) -> Plan:
    """Has an image in a home, and returns what was done.

    :raises Overlay2Error: the image is refused, or the home has no space. Layers that were applied before stay for a
        day, for the next run.
    """
    planned = plan(home, home.path, source, wanted, holder)
    if not planned.changed:
        return planned
    home.require_writable()
    with records.lock(home):
        planned = plan(home, home.path, source, wanted, holder)  # again: somebody may have been at work
        refuse_space(home.path, planned)
        missing = [layer for layer in planned.layers if layer.action == APPLIED]
        if missing:
            source.files.spool([layer.blob.name for layer in missing], home.staging.folder)
        for number, layer in enumerate(planned.layers, 1):
            if layer.action == APPLIED:
                _apply(home, source, layer, "layer %d of %d" % (number, len(planned.layers)))
        if planned.layers and not home.store.committed(planned.layers[-1].id):
            home.staging.commit(planned.layers[-1].id)  # so that a mount of it is read-only
        home.staging.write_image(planned.after.file_name, planned.after.encode())
        for record in planned.moved:
            home.staging.write_image(record.file_name, record.encode())
        removal.sweep_locked(home)
    return planned


def refuse_space(path: str, planned: Plan) -> None:
    """Refuses a plan that the home's file system cannot hold, before anything is written.

    :raises NotEnoughSpace: space or inodes are too few.
    """
    if planned.space_needed > planned.space_free:
        raise NotEnoughSpace(
            "the image needs %s, and %s are free" % (human_size(planned.space_needed), human_size(planned.space_free)),
            path=path,
            remedy="Free some space, or put the home on a larger file system",
        )
    info = os.statvfs(_existing(path))
    needed = _INODES * sum(layer.action == APPLIED for layer in planned.layers)
    if info.f_files and needed > info.f_ffree:
        raise NotEnoughSpace(
            "the image needs at least %d inodes, and %d are free" % (needed, info.f_ffree),
            path=path,
            remedy="Delete some files, or put the home on a file system with more inodes",
        )


def _apply(home: Home, source: Source, layer: PlannedLayer, what: str) -> None:
    """Applies one layer, which shows if blob and content are those that are promised."""
    what = "%s, blob %s" % (what, layer.blob.digest or layer.blob.name)
    with source.files.open(layer.blob.name) as raw, blobs.VerifiedBlob(raw, layer.blob) as stream:
        try:
            lifecycle.create(
                home,
                layer.id,
                layer_id(layer.parent),
                None,
                LayerRecord(False, None, removal.OWNER),
                cast(BinaryIO, stream),
                layer.diff_id,
            )
        except ArchiveError as error:
            raise _explained(error, stream, layer, what, source.path) from error


def _explained(
    error: ArchiveError, stream: blobs.VerifiedBlob, layer: PlannedLayer, what: str, path: str
) -> Overlay2Error:
    """Returns the error about a layer, with what is at the bottom of it: an altered blob is a damaged archive too."""
    try:
        stream.finish()
    except ArchiveError as deeper:
        error = deeper
    except OSError:
        pass  # the first error says more
    else:
        if isinstance(error, DigestMismatch):
            error = DigestMismatch(
                "the configuration and the layer disagree: the content does not have the diff ID %s" % layer.diff_id
            )
    entry = ": %s" % error.path if error.path and error.path != path else ""
    failure = type(error)("%s: %s%s" % (what, error.message, entry), layer=layer.id, path=path)
    failure.remedy = "Fetch the image again, or have it written again"
    return failure
