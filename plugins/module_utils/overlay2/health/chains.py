# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Checks lower chains: complete, of known layers, and consistent with those of the layers above and below."""

from __future__ import annotations

import os
import stat
from typing import Iterator, Mapping

from ..home.layout import LINK_DIR, LOWER, MAX_DEPTH, WORK
from ..owners import CONTAINERS_STORAGE, Report, containers_storage
from .facts import HomeFacts, LayerFacts
from .findings import Finding, Step
from .path_state import FileState, state_of

#: containers/storage mounts in other ways, and checks when it mounts (drivers/overlay/overlay.go, maxDepth).
_MAX_DEPTH_CONTAINERS = 500


def check(home: HomeFacts, ownership: Report) -> Iterator[Finding]:
    """Yields findings about lower chains.

    :param ownership: whose home it is, and the parents that its engine has on record.
    """
    containers = ownership.engine == CONTAINERS_STORAGE
    limit = _MAX_DEPTH_CONTAINERS if containers else MAX_DEPTH
    others = containers_storage.other_homes(home.path) if containers else []
    for layer in home.layers.values():
        if layer.lowers is None:
            empty = layer.lower_file == b""
            what = "empty, as after a power cut" if empty else "not a list of names in l"
            code = "lower-empty" if empty else "lower-garbled"
            yield _lost(home, layer, ownership.parents, code, "its lower file is " + what)
        elif LOWER not in layer.entries:
            # A base has no work directory. With containers/storage it has one, and an empty directory named so.
            if WORK in layer.entries and not containers:
                what = "it has a work folder, and its lower file is missing"
                yield _lost(home, layer, ownership.parents, "lower-missing", what)
        else:
            path = os.path.join(layer.path, LOWER)
            yield from _names(home, layer, path, layer.lowers, others, ownership)
            yield from _order(home, layer, path, layer.lowers, limit)


def _lost(home: HomeFacts, layer: LayerFacts, parents: Mapping[str, str], code: str, what: str) -> Finding:
    """A chain that is lost: the layers above have it in theirs, and the engine may have the parent on record."""
    path = os.path.join(layer.path, LOWER)
    candidates = {(home.layers[child].lowers or ())[1:] for child in home.children.get(layer.id, ())}
    parent = home.layers.get(parents.get(layer.id, ""))
    if parent is not None and parent.link and parent.lowers is not None:
        candidates.add((parent.link, *parent.lowers))
    info = layer.entries.get(LOWER)
    if len(candidates) == 1 and (info is None or stat.S_ISREG(info.st_mode)):
        chain = next(iter(candidates))
        if chain and all(name in home.named for name in chain):
            text = ":".join("%s/%s" % (LINK_DIR, name) for name in chain)
            step = Step(path, state_of(path), FileState(os.fsencode(text)))
            remedy = "Write the chain into it that the layers above, or the engine's records, have"
            return Finding(code, layer.id, path, what, remedy, step)
    remedy = "No layer above and no record of the engine has the chain: remove the layer, and get it again"
    return Finding(code, layer.id, path, what, remedy)


def _names(
    home: HomeFacts, layer: LayerFacts, path: str, lowers: tuple[str, ...], others: list[str], ownership: Report
) -> Iterator[Finding]:
    """Yields a finding if names of a chain lead nowhere."""
    missing = [name for name in lowers if name not in home.named and not _is_in(others, name)]
    missing = [name for name in missing if not home.is_elsewhere(name)]
    if not missing:
        return
    stranger = _ancestor_elsewhere(layer.id, ownership)
    if stranger:
        what = "its lower chain names %s/%s, and by the engine's records it stands on layer %s of another store"
        remedy = "Name that store in storage.conf (imagestore, additionalimagestores), so that its layers are found"
        what %= (LINK_DIR, missing[0], stranger)
        yield Finding("lower-layer-elsewhere", layer.id, path, what, remedy)
        return
    more = " and %d more" % (len(missing) - 1) if len(missing) > 1 else ""
    what = "its lower chain names %s/%s%s, and no layer has that name" % (LINK_DIR, missing[0], more)
    yield Finding("lower-layer-missing", layer.id, path, what, "Restore the lower layer, or remove this layer")


def _order(home: HomeFacts, layer: LayerFacts, path: str, lowers: tuple[str, ...], limit: int) -> Iterator[Finding]:
    """Yields findings about the length and the order of a chain."""
    if len(lowers) > limit:
        what = "its lower chain has %d entries, and %d is the most" % (len(lowers), limit)
        yield Finding("lower-too-long", layer.id, path, what, "Make it again with some layers merged into one")
    if layer.id in map(home.named.get, lowers):
        yield _loop(layer, path, "its lower chain names the layer itself")
    elif len(set(lowers)) < len(lowers):
        yield _loop(layer, path, "its lower chain names a layer twice")
    else:
        yield from _against_parent(home, layer, path, lowers)


def _ancestor_elsewhere(layer_id: str, ownership: Report) -> str:
    """Returns the nearest layer below one that is on record in another store; "" for none."""
    seen: set[str] = set()
    while layer_id and layer_id not in seen:
        if layer_id in ownership.parents_elsewhere:
            return ownership.parents_elsewhere[layer_id]
        seen.add(layer_id)
        layer_id = ownership.parents.get(layer_id, "")
    return ""


def _is_in(others: list[str], name: str) -> bool:
    """True if a layer of one of some other homes has a name."""
    return any(os.path.lexists(os.path.join(other, LINK_DIR, name)) for other in others)


def _loop(layer: LayerFacts, path: str, what: str) -> Finding:
    return Finding("lower-loop", layer.id, path, what, "Remove the layer, and get it again")


def _against_parent(home: HomeFacts, layer: LayerFacts, path: str, lowers: tuple[str, ...]) -> Iterator[Finding]:
    parent = home.layers.get(home.named.get(lowers[0]) or "")
    if parent is None or parent.lowers is None:
        return
    if [home.named.get(name) for name in lowers[1:]] != [home.named.get(name) for name in parent.lowers]:
        what = "below its parent %s, its lower chain differs from that layer's own" % parent.id
        remedy = "Compare the two lower files with the engine's records: the home does not show which one is wrong"
        yield Finding("lower-inconsistent", layer.id, path, what, remedy)
