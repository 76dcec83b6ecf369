# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Records of the images in a home: ``.images/<algorithm>-<hex of the image ID>.json``, each written by one rename.

A record is what makes layers an image: it is written after the layers, and removed before them. Its claims say who
keeps the image, under which names. A record without claims is of an image that nobody keeps any more; see
:mod:`.removal`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..errors import ImageError, Overlay2Error
from ..home.layout import IMAGES, read_small
from ..home.locks import unlock
from .descriptors import parse_digest
from .manifests import Config, parse_config

if TYPE_CHECKING:
    from ..home.opening import Home

log = logging.getLogger("overlay2")

_SUFFIX = ".json"


class StoredManifest(NamedTuple):
    """A manifest that an image came with."""

    digest: str
    #: Digest of the index that led to it; None if there was none.
    index_digest: Optional[str]
    content: bytes


class ImageRecord(NamedTuple):
    """What a home knows of an image."""

    #: The configuration as written; its digest is the image ID.
    config: bytes
    id: str
    #: The manifests it was provisioned with. None came with an old archive of ``docker save``.
    manifests: Tuple[StoredManifest, ...] = ()
    #: Bytes of each layer's uncompressed tar, by diff ID, if known.
    tar_sizes: Dict[str, int] = {}
    #: Holder to the names it keeps the image under; "" stands for an image without name.
    claims: Dict[str, Tuple[str, ...]] = {}

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return file_name(self.id)

    @property
    def references(self) -> List[str]:
        """The image's names, sorted."""
        return sorted({name for names in self.claims.values() for name in names if name})

    def parsed(self) -> Config:
        """Returns the configuration.

        :raises ImageError: it is malformed.
        """
        return parse_config(self.config, parse_digest(self.id, "the record"), "image %s" % self.id, warn=False)

    def with_claim(self, holder: str, name: str) -> ImageRecord:
        """Returns the record with one claim more."""
        names = tuple(sorted({*self.claims.get(holder, ()), name}))
        return self._replace(claims={**self.claims, holder: names})

    def without_claim(self, holder: str, name: str | None) -> ImageRecord:
        """Returns the record without a holder's claim under a name; None for all of the holder's."""
        left = tuple(kept for kept in self.claims.get(holder, ()) if name is not None and kept != name)
        claims = {key: value for key, value in self.claims.items() if key != holder}
        return self._replace(claims={**claims, holder: left} if left else claims)

    def encode(self) -> bytes:
        """Returns the content of the record's file."""
        document = {
            "id": self.id,
            "config": _to_text(self.config),
            "manifests": [
                {"digest": manifest.digest, "index": manifest.index_digest, "content": _to_text(manifest.content)}
                for manifest in self.manifests
            ],
            "tar_sizes": self.tar_sizes,
            "claims": self.claims,
        }
        return json.dumps(document, sort_keys=True).encode("ascii") + b"\n"

    @classmethod
    def decode(cls, content: bytes) -> ImageRecord:
        """Returns the record in a file.

        :raises ValueError: it is not a record.
        """
        try:
            document: Any = json.loads(content.decode("ascii"))
            record = cls(
                _to_bytes(document["config"]),
                document["id"],
                tuple(
                    StoredManifest(str(one["digest"]), one["index"] and str(one["index"]), _to_bytes(one["content"]))
                    for one in document["manifests"]
                ),
                {str(key): int(value) for key, value in document["tar_sizes"].items()},
                {str(key): tuple(str(name) for name in value) for key, value in document["claims"].items()},
            )
            genuine = parse_digest(record.id, "the record").matches(record.config)
        except (KeyError, TypeError, AttributeError, RecursionError, binascii.Error, Overlay2Error) as error:
            raise ValueError("not a record") from error
        if not genuine:
            raise ValueError("the configuration does not have the digest that is the image ID")
        return record


def _to_text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _to_bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def file_name(image_id: str) -> str:
    """Returns the name of an image's record."""
    digest = parse_digest(image_id, "the image")
    return "%s-%s%s" % (digest.algorithm, digest.encoded, _SUFFIX)


def read(home: Home, image_id: str) -> ImageRecord | None:
    """Returns the record of an image; None if the home does not have it.

    :raises ImageError: the record is damaged.
    """
    return _read(os.path.join(home.path, IMAGES, file_name(image_id)))


def read_all(home: Home) -> List[ImageRecord]:
    """Returns the records of all images, sorted by image ID.

    :raises ImageError: one is damaged.
    """
    found = [_read(path) for path in _paths(home)]
    return [record for record in found if record is not None]


def readable(home: Home) -> List[ImageRecord]:
    """As :func:`read_all`, but leaves out records that are damaged, with a warning."""
    found = []
    for path in _paths(home):
        try:
            record = _read(path)
        except ImageError as error:
            log.warning("%s", error)
            continue
        if record is not None:
            found.append(record)
    return found


def _paths(home: Home) -> List[str]:
    folder = os.path.join(home.path, IMAGES)
    try:
        return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(_SUFFIX))
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def lock(home: Home) -> Iterator[None]:
    """Holds the lock of the home's images: one process at a time adds or removes some. Layers' locks come after it."""
    descriptor, _path = home.runtime.locked("images.lock", fcntl.LOCK_EX, "the images of the home")
    try:
        yield
    finally:
        unlock(descriptor)


def _read(path: str) -> ImageRecord | None:
    content = read_small(path)
    if content is None:
        return None
    try:
        record = ImageRecord.decode(content)
        if record.file_name != os.path.basename(path):
            raise ValueError("of another image")
    except ValueError as error:
        raise ImageError(
            "the record of an image is damaged",
            path=path,
            remedy="Remove the file, and provision the image again; its layers are kept for a day",
        ) from error
    return record


def unclaimed_for(home: Home, record: ImageRecord) -> float:
    """Returns for how many seconds nobody has kept an image that has no claims."""
    return max(time.time() - os.stat(os.path.join(home.path, IMAGES, record.file_name)).st_mtime, 0)
