# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Reads OCI image layouts (OCI image-spec, image-layout.md)."""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional, Sequence, Set

from ..errors import DigestMismatch, ImageError, printable
from ..tar.decompression import compression_of
from . import descriptors, documents, manifests
from .descriptors import Descriptor, Digest
from .files import Files, missing
from .manifests import Blob, Config, Image, Manifest

MARK = "oci-layout"
INDEX = "index.json"
#: Indexes within indexes.
_MAX_DEPTH = 8
_MAGIC = 16


class Leaf(NamedTuple):
    """A manifest that an entry of ``index.json`` leads to."""

    descriptor: Descriptor
    #: Digest of the index in ``index.json`` that leads to it; None if ``index.json`` itself does.
    index_digest: Optional[Digest]


def is_layout(files: Files) -> bool:
    """True if the source is an image layout.

    :raises ImageError: of a version that is not known.
    """
    if files.size(MARK) is None:
        return False
    version = documents.parse_object(files.read(MARK), MARK).get("imageLayoutVersion")
    if version != "1.0.0":
        raise ImageError("unknown version of an image layout: %s" % descriptors.shown(version), path=files.path)
    return True


def entries(files: Files) -> list[Descriptor]:
    """Returns the entries of ``index.json`` that may lead to images, in order."""
    return manifests.parse_index(manifests.parse_document(files.read(INDEX), "", INDEX), INDEX)


def leaves(files: Files, entry: Descriptor) -> list[Leaf]:
    """Returns the manifests that an entry leads to, in the order of the indexes.

    :raises ImageError: an index is missing or malformed, or indexes are nested too deep.
    """
    return list(_walk(files, Leaf(entry, None), 0, set()))


def _walk(files: Files, leaf: Leaf, depth: int, seen: Set[Digest]) -> Iterator[Leaf]:
    entry = leaf.descriptor
    if entry.digest in seen:
        return
    seen.add(entry.digest)
    if entry.media_type in descriptors.MANIFESTS | descriptors.SCHEMA_1:
        yield leaf
        return
    what = "index %s" % entry.digest
    document = manifests.parse_document(document_of(files, entry, what), entry.media_type, what)
    if "manifests" not in document:
        yield leaf  # of no media type, and so told by its content
        return
    if depth == _MAX_DEPTH:
        raise ImageError("indexes are nested more than %d deep" % _MAX_DEPTH, remedy=documents.REMEDY)
    for inner in manifests.parse_index(document, what):
        yield from _walk(files, Leaf(inner, leaf.index_digest or entry.digest), depth + 1, seen)


def document_of(files: Files, descriptor: Descriptor, what: str) -> bytes:
    """Returns a document that a descriptor names, size and digest verified.

    :raises ImageError: it is missing, or of another size.
    :raises DigestMismatch: it has another digest.
    """
    check_size(files, descriptor.blob, descriptor.size, what)
    content = files.read(descriptor.blob)
    if not descriptor.digest.matches(content):
        raise DigestMismatch(
            "%s does not have its digest: it was altered" % what, path=files.path, remedy="Fetch the image again"
        )
    return content


def check_size(files: Files, name: str, size: int, what: str, urls: Sequence[str] = ()) -> None:
    """Refuses a blob that is missing, or of another size.

    :param size: the bytes that are given for it.
    :param urls: where else the blob may be; nothing is fetched from there.
    """
    found = files.size(name)
    if found is None and urls:
        raise ImageError(
            "%s is not in the image, and is to be fetched from %s" % (what, descriptors.shown(urls[0])),
            path=files.path,
            remedy="Fetch it, compare its digest, and put it at %s of the layout" % printable(name),
        )
    if found is None:
        raise missing("%s (%s)" % (what, printable(name)), files.path)
    if found != size:
        raise ImageError(
            "%s has %d bytes, and %d are given for it" % (what, found, size),
            path=files.path,
            remedy="Fetch the image again" if found < size else documents.REMEDY,
        )


def manifest_of(files: Files, leaf: Leaf) -> tuple[bytes, Manifest]:
    """Returns a manifest, as written and as parsed."""
    what = "manifest %s" % leaf.descriptor.digest
    content = document_of(files, leaf.descriptor, what)
    document = manifests.parse_document(content, leaf.descriptor.media_type, what)
    return content, manifests.parse_manifest(document, what)


def config_of(files: Files, manifest: Manifest) -> Config:
    """Returns the configuration that a manifest names."""
    what = "configuration %s" % manifest.config.digest
    return manifests.parse_config(document_of(files, manifest.config, what), manifest.config.digest, what)


def image_of(files: Files, leaf: Leaf) -> Image:
    """Returns the image of a manifest; whether its layers are there is not looked at yet.

    :raises Overlay2Error: it is malformed, or of a kind that is refused.
    """
    content, manifest = manifest_of(files, leaf)
    config = config_of(files, manifest)
    manifests.refuse_counts(len(manifest.layers), config, "manifest %s" % leaf.descriptor.digest)
    blobs = tuple(Blob(layer.blob, layer.size, layer.digest, layer.media_type, layer.urls) for layer in manifest.layers)
    index = None if leaf.index_digest is None else str(leaf.index_digest)
    return Image(config, blobs, content, str(leaf.descriptor.digest), index)


def fits(files: Files, image: Image) -> bool:
    """False if a layer that is not compressed has another digest than its diff ID: the order is wrong, for one.

    Docker 25.0.0 wrote such manifests beside a right ``manifest.json`` (moby#47150).
    """
    for blob, diff_id in zip(image.blobs, image.config.diff_ids):
        if blob.media_type in descriptors.PLAIN_LAYERS and blob.digest is not None and str(blob.digest) != diff_id:
            head = files.peek(blob.name, 0, _MAGIC) if files.size(blob.name) is not None else b""
            if head and compression_of(head) is None:
                return False
    return True
