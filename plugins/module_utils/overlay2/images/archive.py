# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Reads archives of ``docker save``: ``manifest.json`` and what it names."""

from __future__ import annotations

import re
from typing import List, NamedTuple, Tuple

from ..errors import DigestMismatch, ImageError, printable
from . import documents, manifests
from .descriptors import Digest, sha256_of
from .files import Files, missing
from .manifests import Blob, Image

MANIFEST = "manifest.json"
#: Written before Docker 1.10, and beside ``manifest.json`` ever since.
_OLD_INDEX = "repositories"
#: The name of a configuration tells its digest.
_NAMED_BY_DIGEST = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")


class Entry(NamedTuple):
    """One image of an archive. The names are those of members; nothing is opened by them but members."""

    config: str
    tags: Tuple[str, ...]
    layers: Tuple[str, ...]


def is_archive(files: Files) -> bool:
    """True if the source has a ``manifest.json``.

    :raises ImageError: it is an archive of Docker before 1.10.
    """
    if files.size(MANIFEST) is not None:
        return True
    if files.size(_OLD_INDEX) is not None:
        raise ImageError(
            "it has no manifest.json, as archives of Docker before 1.10",
            path=files.path,
            remedy="Load it into such a Docker, and save it with a newer one",
        )
    return False


def entries(files: Files) -> List[Entry]:
    """Returns the images of the archive; those with one configuration are one image, with the names of all."""
    found: dict[str, Entry] = {}
    listed = documents.parse(files.read(MANIFEST), MANIFEST)
    if not isinstance(listed, list):
        raise ImageError("%s is not a list" % MANIFEST, path=files.path, remedy=documents.REMEDY)
    for value in listed:
        if not isinstance(value, dict):
            raise ImageError("%s has an entry that is not an object" % MANIFEST, remedy=documents.REMEDY)
        config = _clean(documents.text(value, "Config", MANIFEST))
        if not config:
            raise ImageError("%s names no configuration" % MANIFEST, remedy=documents.REMEDY)
        tags = tuple(documents.texts(value, "RepoTags", MANIFEST))
        layers = tuple(_clean(name) for name in documents.texts(value, "Layers", MANIFEST))
        tags = (*found[config].tags, *tags) if config in found else tags
        found[config] = Entry(config, tags, layers)
    return list(found.values())


def _clean(name: str) -> str:
    return name[2:] if name.startswith("./") else name


def config_digest(files: Files, entry: Entry) -> Digest:
    """Returns the digest of an entry's configuration: its name tells, else its content."""
    match = _NAMED_BY_DIGEST.fullmatch(entry.config)
    return Digest("sha256:" + match.group(1)) if match else sha256_of(files.read(entry.config))


def image_of(files: Files, entry: Entry) -> Image:
    """Returns the image of an entry.

    :raises Overlay2Error: it is malformed, incomplete, or of a kind that is refused.
    """
    content = files.read(entry.config)
    digest = sha256_of(content)
    if digest != config_digest(files, entry):
        raise DigestMismatch(
            "configuration %s does not have the digest that its name tells: it was altered" % printable(entry.config),
            path=files.path,
            remedy="Fetch the archive again",
        )
    config = manifests.parse_config(content, digest, "configuration %s" % digest)
    manifests.refuse_counts(len(entry.layers), config, "image %s in %s" % (digest, MANIFEST))
    return Image(config, tuple(_blob(files, name) for name in entry.layers))


def _blob(files: Files, name: str) -> Blob:
    size = files.size(name)
    if size is None:
        raise missing(name, files.path)
    match = _BLOB.fullmatch(name)
    return Blob(name, size, Digest("sha256:" + match.group(1)) if match else None, None)
