# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Reads indexes, manifests and configurations (OCI image-spec; Docker's schema 2), and refuses what is not an image."""

from __future__ import annotations

import hashlib
import logging
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..errors import DepthExceeded, ImageError, NotSupported
from ..home.layout import MAX_DEPTH
from . import descriptors, documents
from .descriptors import Descriptor, Digest, parse_descriptor, parse_digest, shown
from .platforms import Platform

log = logging.getLogger("overlay2")


class Manifest(NamedTuple):
    """A manifest of one platform."""

    config: Descriptor
    layers: Tuple[Descriptor, ...]


class Config(NamedTuple):
    """An image's configuration, of which the image ID is the digest."""

    #: As written: parsed and written again, it would have another digest.
    content: bytes
    digest: Digest
    platform: Platform
    #: ``sha256:...`` of each layer's uncompressed tar, the lowest first.
    diff_ids: Tuple[str, ...]
    #: For each layer, the command that made it; "" if that is not known.
    created_by: Tuple[str, ...]
    settings: Dict[str, Any]

    @property
    def chain_ids(self) -> List[str]:
        """The chain ID of each layer, the lowest first (OCI image-spec, config.md)."""
        found: List[str] = []
        for diff_id in self.diff_ids:
            text = "%s %s" % (found[-1], diff_id) if found else None
            found.append(diff_id if text is None else "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest())
        return found


def parse_document(content: bytes, expected: str, what: str) -> documents.Object:
    """Returns an index or a manifest.

    :param expected: the media type that the descriptor gives; "" for none.
    :raises ImageError: it has another type, is of schema 1, or is an index and a manifest at once (CVE-2021-41190).
    """
    document = documents.parse_object(content, what)
    media_type = documents.text(document, "mediaType", what)
    if media_type in descriptors.SCHEMA_1 or "fsLayers" in document or document.get("schemaVersion") == 1:
        raise ImageError(
            "%s is of schema 1, which registries and Docker gave up" % what,
            remedy="Copy the image with 'skopeo copy --format oci'",
        )
    if document.get("schemaVersion") != 2:
        raise ImageError("%s has no schemaVersion 2" % what, remedy=documents.REMEDY)
    if "manifests" in document and ("layers" in document or "config" in document):
        raise ImageError("%s is an index and a manifest at once, which is an attack" % what, remedy="Do not use it")
    if media_type and expected and media_type != expected:
        raise ImageError(
            "%s calls itself %s, and what names it says %s" % (what, shown(media_type), shown(expected)),
            remedy=documents.REMEDY,
        )
    return document


def parse_index(document: documents.Object, what: str) -> List[Descriptor]:
    """Returns the entries of an index that may lead to images, in order: no attestations, no artifacts."""
    found = []
    for value in documents.items(document, "manifests", what):
        entry = parse_descriptor(value, what)
        known = not entry.media_type or entry.media_type in descriptors.INDEXES | descriptors.MANIFESTS
        if (known or entry.media_type in descriptors.SCHEMA_1) and not entry.artifact_type and not entry.is_attestation:
            found.append(entry)
    return found


def parse_manifest(document: documents.Object, what: str) -> Manifest:
    """Returns a manifest.

    :raises ImageError: it is malformed, is not of a container image, or has a layer of a kind that is refused.
    """
    if "config" not in document:
        raise ImageError("%s names no configuration" % what, remedy=documents.REMEDY)
    config = parse_descriptor(document["config"], what)
    if documents.text(document, "artifactType", what) or config.media_type not in descriptors.CONFIGS:
        raise ImageError(
            "%s is not of a container image: its configuration is %s"
            % (what, shown(config.media_type) or "of no type"),
            remedy="Choose another image",
        )
    layers = tuple(parse_descriptor(value, what) for value in documents.items(document, "layers", what))
    for number, layer in enumerate(layers, 1):
        if layer.media_type not in descriptors.LAYERS:
            raise _refused_layer(layer, "%s, layer %d of %d" % (what, number, len(layers)))
    return Manifest(config, layers)


def _refused_layer(layer: Descriptor, what: str) -> ImageError:
    if layer.media_type.endswith(descriptors.ENCRYPTED):
        return ImageError(
            "%s: it is encrypted (%s)" % (what, shown(layer.media_type)),
            remedy="Decrypt the image first: skopeo copy --decryption-key",
        )
    return ImageError("%s: unknown media type %s" % (what, shown(layer.media_type)), remedy=documents.REMEDY)


def parse_config(content: bytes, digest: Digest, what: str, *, warn: bool = True) -> Config:
    """Returns a configuration.

    :param digest: that of the content, verified.
    :param warn: log what is odd about it.
    :raises ImageError: it is malformed.
    :raises NotSupported: it is of an image for Windows.
    :raises DepthExceeded: it has more layers than a mount can have.
    """
    document = documents.parse_object(content, what)
    rootfs = documents.member(document, "rootfs", what)
    if rootfs.get("type") != "layers":
        raise ImageError("%s: rootfs.type is not 'layers'" % what, remedy=documents.REMEDY)
    diff_ids = tuple(str(_diff_id(value, what)) for value in documents.items(rootfs, "diff_ids", what))
    if len(diff_ids) > MAX_DEPTH:
        raise DepthExceeded(
            "%s has %d layers, and %d is the limit" % (what, len(diff_ids), MAX_DEPTH),
            remedy="Have the image built with fewer layers: buildah commit --squash",
        )
    platform = Platform.of(document, what)
    if platform.os != "linux":
        raise NotSupported("%s is for %s" % (what, shown(platform.os)), remedy="Choose an image for Linux")
    return Config(
        content, digest, platform, diff_ids, _created_by(document, len(diff_ids), what, warn), _settings(document, what)
    )


def _diff_id(value: object, what: str) -> Digest:
    digest = parse_digest(value, what)
    if digest.algorithm != "sha256":
        raise NotSupported(
            "%s: diff IDs of %s are not supported" % (what, digest.algorithm),
            remedy="Have the image written with sha256 digests",
        )
    return digest


def _created_by(document: documents.Object, count: int, what: str, warn: bool) -> Tuple[str, ...]:
    """Returns the command for each layer. History is for display alone; many tools write none, or a wrong one."""
    history = documents.items(document, "history", what)
    made = [entry for entry in history if isinstance(entry, dict) and entry.get("empty_layer") is not True]
    if warn and history and len(made) != count:
        log.warning("%s: the history tells of %d layers, and there are %d", what, len(made), count)
    if len(made) != count:
        return ("",) * count
    return tuple(documents.text(entry, "created_by", what) for entry in made)


def _settings(document: documents.Object, what: str) -> Dict[str, Any]:
    """Returns what a container is started with, by names in lower case."""
    config = documents.member(document, "config", what)
    variables = (variable.partition("=") for variable in documents.texts(config, "Env", what))
    return {
        "entrypoint": documents.texts(config, "Entrypoint", what),
        "cmd": documents.texts(config, "Cmd", what),
        "env": {name: value for name, _equals, value in variables},
        "user": documents.text(config, "User", what),
        "working_dir": documents.text(config, "WorkingDir", what),
        "labels": documents.text_map(config, "Labels", what),
        "exposed_ports": sorted(documents.member(config, "ExposedPorts", what)),
        "volumes": sorted(documents.member(config, "Volumes", what)),
        "stop_signal": documents.text(config, "StopSignal", what),
    }


def refuse_counts(layers: int, config: Config, what: str) -> None:
    """Refuses an image whose layers and diff IDs do not go together.

    :raises ImageError: their numbers differ.
    """
    if layers != len(config.diff_ids):
        raise ImageError(
            "%s has %d layers, and its configuration %d diff IDs" % (what, layers, len(config.diff_ids)),
            remedy=documents.REMEDY,
        )


class Blob(NamedTuple):
    """Where one layer's content is in a source."""

    name: str
    #: Bytes.
    size: int
    #: None if only the diff ID proves the content, as in the old form of ``docker save``.
    digest: Optional[Digest]
    media_type: Optional[str]
    #: Where a layer is that may not be in the source.
    urls: Tuple[str, ...] = ()


class Image(NamedTuple):
    """One image of a source, checked as far as its documents tell."""

    config: Config
    #: The layers' contents, as many as diff IDs.
    blobs: Tuple[Blob, ...]
    #: None if the source has no manifest.
    manifest: Optional[bytes] = None
    manifest_digest: Optional[str] = None
    #: Digest of the index that led to the manifest; None without one.
    index_digest: Optional[str] = None

    @property
    def id(self) -> str:
        """The image ID, ``sha256:...``."""
        return str(self.config.digest)

    @property
    def digests(self) -> Tuple[Optional[str], ...]:
        """All digests that the image may be called by."""
        return (self.manifest_digest, self.index_digest, self.id)
