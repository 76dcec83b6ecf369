# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Digests, descriptors and media types (OCI image-spec, descriptor.md and media-types.md)."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Dict, NamedTuple, Optional, Tuple

from ..errors import ImageError, NotSupported
from . import documents
from .platforms import Platform

INDEXES = frozenset((
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
))  # fmt: skip
MANIFESTS = frozenset((
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
))  # fmt: skip
SCHEMA_1 = frozenset((
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
))  # fmt: skip
CONFIGS = frozenset((
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
))  # fmt: skip
#: Layers by the compression that the media type claims.
PLAIN_LAYERS = frozenset((
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
))  # fmt: skip
FOREIGN_LAYERS = frozenset((
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
))  # fmt: skip
COMPRESSED_LAYERS = frozenset((
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
))  # fmt: skip
LAYERS = PLAIN_LAYERS | COMPRESSED_LAYERS | FOREIGN_LAYERS
ENCRYPTED = "+encrypted"

_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
#: Its part after the colon is the name of a file.
_MAX_DIGEST = 255
#: Registered algorithms and the length of their lower-case hexadecimal digits.
_REGISTERED = {"sha256": 64, "sha512": 128, "blake3": 64}
_SUPPORTED = ("sha256", "sha512")
_HEX = re.compile(r"[0-9a-f]+")


class Digest(str):
    """A digest whose syntax was checked, so that its parts are safe as names of files."""

    @property
    def algorithm(self) -> str:
        """Such as ``sha256``."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The digits."""
        return self.partition(":")[2]

    def hasher(self) -> Any:
        """Returns an object of :mod:`hashlib` for the algorithm.

        :raises NotSupported: content cannot be verified against this digest.
        """
        if self.algorithm not in _SUPPORTED:
            raise NotSupported(
                "digests of the algorithm %s are not supported" % self.algorithm,
                remedy="Have the image written with sha256 digests",
            )
        return hashlib.new(self.algorithm)

    def matches(self, content: bytes) -> bool:
        """True if this is the digest of the content."""
        hasher = self.hasher()
        hasher.update(content)
        return hasher.hexdigest() == self.encoded


def sha256_of(content: bytes) -> Digest:
    """Returns the sha256 digest of a content."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def parse_digest(value: object, what: str) -> Digest:
    """Returns a digest, once its syntax is known to be right.

    :raises ImageError: it is not ``algorithm:encoded``, or not as long as the algorithm's digests are.
    """
    if not isinstance(value, str) or len(value) > _MAX_DIGEST or not _DIGEST.fullmatch(value):
        raise ImageError("%s has an invalid digest: %s" % (what, shown(value)), remedy=documents.REMEDY)
    digest = Digest(value)
    length = _REGISTERED.get(digest.algorithm)
    if length is not None and (len(digest.encoded) != length or not _HEX.fullmatch(digest.encoded)):
        raise ImageError(
            "%s has an invalid digest, as %s has %d lower-case hexadecimal digits: %s"
            % (what, digest.algorithm, length, shown(value)),
            remedy=documents.REMEDY,
        )
    return digest


def shown(value: object) -> str:
    """Returns a value of a document for a message, at most 80 characters of it."""
    text = value if isinstance(value, str) else "(%s)" % type(value).__name__
    return text if len(text) <= 80 else text[:77] + "..."


class Descriptor(NamedTuple):
    """What a document says of another one, or of a layer."""

    media_type: str
    digest: Digest
    #: Bytes.
    size: int
    urls: Tuple[str, ...] = ()
    annotations: Dict[str, str] = {}
    artifact_type: str = ""
    platform: Optional[Platform] = None

    @property
    def blob(self) -> str:
        """The blob's name in an image layout."""
        return "blobs/%s/%s" % (self.digest.algorithm, self.digest.encoded)

    @property
    def is_attestation(self) -> bool:
        """True for what BuildKit puts beside an image, to describe how that was made."""
        unknown = self.platform is not None and self.platform[:2] == ("unknown", "unknown")
        return unknown or "attestation-manifest" in self.annotations.get("vnd.docker.reference.type", "")


def parse_descriptor(value: object, what: str) -> Descriptor:
    """Returns a descriptor.

    :raises ImageError: it is malformed.
    """
    if not isinstance(value, dict):
        raise ImageError("%s has a descriptor that is not an object" % what, remedy=documents.REMEDY)
    platform = documents.member(value, "platform", what)
    return Descriptor(
        documents.text(value, "mediaType", what),
        parse_digest(value.get("digest"), what),
        documents.number(value, "size", what),
        tuple(documents.texts(value, "urls", what)),
        documents.text_map(value, "annotations", what),
        documents.text(value, "artifactType", what),
        Platform.of(platform, what) if platform else None,
    )
