# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Takes claims to images back, and removes layers that no image needs any more.

A layer goes if it was made for an image, no record of an image names it, and nothing stands on it, holds it or uses it.
Those that must stay are swept later: a sweep removes what nobody has needed for a day.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Iterable, List, NamedTuple, Set, Tuple

from .. import lifecycle
from ..errors import ImageError, LayerInUse
from . import records
from .records import ImageRecord

if TYPE_CHECKING:
    from ..home.opening import Home

log = logging.getLogger("overlay2")

#: Owner, in a layer's record, of layers that were made for images.
OWNER = "overlay2_image"
#: Seconds that layers without an image, and images without a holder, are kept.
KEEP = 24 * 60 * 60


class Release(NamedTuple):
    """What giving an image back does."""

    before: ImageRecord
    #: None if the image goes.
    after: ImageRecord | None
    #: Ids of the layers that go, the uppermost first.
    removed: Tuple[str, ...]


def find(home: Home, holder: str, name: str, digest: str, force: bool) -> List[Release]:
    """Returns what giving back a holder's claim does, for each image that it is about. Changes nothing.

    :param name: the image's whole name; "" for any.
    :param digest: of its configuration, a manifest or an index; "" for any.
    :param force: give back the claims of all holders.
    """
    kept = records.read_all(home)
    found: List[Release] = []
    for record in list(kept):
        if digest and digest not in _digests(record):
            continue
        names = {one for key, value in record.claims.items() if force or key == holder for one in value}
        if (name and name not in names) or (record.claims and not names):
            continue
        after = record
        for key in list(record.claims) if force else [holder]:
            after = after.without_claim(key, name or None)
        if after.claims:
            found.append(Release(record, after, ()))
        else:
            kept.remove(record)
            found.append(Release(record, None, tuple(_removable(home, record, _needed(kept)))))
    return found


def _digests(record: ImageRecord) -> Set[str | None]:
    found: Set[str | None] = {record.id}
    for manifest in record.manifests:
        found |= {manifest.digest, manifest.index_digest}
    return found


def _needed(kept: Iterable[ImageRecord]) -> Set[str]:
    """Returns the ids of the layers that images need."""
    return {layer for record in kept for layer in _layers(record)}


def _layers(record: ImageRecord) -> List[str]:
    return [chain_id.partition(":")[2] for chain_id in record.parsed().chain_ids]


def _removable(home: Home, record: ImageRecord, needed: Set[str]) -> Iterable[str]:
    """Yields the image's layers that go with it, the uppermost first."""
    gone: Set[str] = set()
    for layer in reversed(_layers(record)):
        if layer in needed or not _is_ours(home, layer) or set(home.store.children(layer)) - gone:
            return
        if home.references.counts(layer) or home.references.mount_point(layer) is not None:
            return
        gone.add(layer)
        yield layer


def _is_ours(home: Home, layer: str) -> bool:
    return home.store.exists(layer) and home.store.files(layer).record.owner == OWNER


def release(home: Home, holder: str, name: str = "", digest: str = "", force: bool = False) -> List[Release]:
    """Gives back a holder's claim, and removes images that nobody keeps any more; see :func:`find`.

    :returns: what was done. A layer that somebody began to use meanwhile stays, with a warning.
    """
    if not find(home, holder, name, digest, force):
        return []
    home.require_writable()
    with records.lock(home):
        found = find(home, holder, name, digest, force)
        for number, done in enumerate(found):
            if done.after is not None:
                home.staging.write_image(done.after.file_name, done.after.encode())
                continue
            home.staging.remove_image(done.before.file_name)
            found[number] = done._replace(removed=tuple(_remove(home, done.removed)))
        sweep_locked(home)
    return found


def _remove(home: Home, layers: Iterable[str]) -> Iterable[str]:
    """Removes layers, uppermost first, as far as nothing uses them; yields those that are gone."""
    for layer in layers:
        try:
            lifecycle.remove(home, layer, guard=True)
        except LayerInUse as error:
            log.warning("%s", error)
            return
        yield layer


def sweep(home: Home, keep: float = KEEP) -> None:
    """Removes images without a holder, and layers without an image, that nobody has needed for some time.

    :param keep: seconds.
    """
    home.require_writable()
    with records.lock(home):
        sweep_locked(home, keep)


def sweep_locked(home: Home, keep: float = KEEP) -> None:
    """As :func:`sweep`; the caller holds the lock of the images."""
    try:
        kept = records.read_all(home)
        for record in list(kept):
            if not record.claims and records.unclaimed_for(home, record) > keep:
                home.staging.remove_image(record.file_name)
                kept.remove(record)
        needed = _needed(kept)
    except ImageError as error:  # which layers a damaged record needs cannot be told
        log.warning("layers without an image are not swept: %s", error)
        return
    since = time.time() - keep
    unneeded = [
        layer
        for layer in home.store.ids()
        if layer not in needed and _is_ours(home, layer) and (home.store.created(layer) or since) < since
    ]
    for layer in sorted(unneeded, key=lambda layer: -len(home.store.lower_chain(layer))):
        try:
            lifecycle.remove(home, layer, guard=True)
        except LayerInUse:
            pass  # it is swept when it is not used any more
