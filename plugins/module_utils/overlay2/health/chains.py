# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Lower chains: complete, known, and the same as told by those above and below."""

from __future__ import annotations

import os
import stat

from ..home.layout import LINK_DIR, LOWER, MAX_DEPTH, WORK
from ..owners import containers_storage
from .findings import Finding, Step
from .states import file_state, state_of

#: containers/storage mounts in other ways, and checks when it mounts (drivers/overlay/overlay.go, maxDepth).
_MAX_DEPTH_CONTAINERS = 500


def check(home, ownership):
    """Findings about lower chains (iterator of :class:`~.findings.Finding`).

    :param ownership: whose home it is, and the parents that its engine has on record: a :class:`~..owners.Report`.
    """
    containers = ownership.engine == "containers-storage"
    limit = _MAX_DEPTH_CONTAINERS if containers else MAX_DEPTH
    others = containers_storage.other_homes(home.path) if containers else []
    for layer in home.layers.values():
        path = os.path.join(layer.path, LOWER)
        if layer.lowers is None:
            empty = layer.lower_file == b""
            what = "empty, as after a power cut" if empty else "no list of names in l"
            code = "lower-empty" if empty else "lower-garbled"
            yield _lost(home, layer, ownership.parents, code, "its lower file is " + what)
        elif LOWER not in layer.entries:
            # A base has no work folder. With containers/storage it has, and an empty folder named so.
            if WORK in layer.entries and not containers:
                what = "it has a work folder, and its lower file is missing"
                yield _lost(home, layer, ownership.parents, "lower-missing", what)
        else:
            yield from _chain(home, layer, path, limit, others, ownership)


def _lost(home, layer, parents, code, what):
    """A chain that is gone: those that stand on the layer have it in theirs, and the engine may have the parent."""
    path = os.path.join(layer.path, LOWER)
    told = {home.layers[child].lowers[1:] for child in home.children.get(layer.id, ())}
    parent = home.layers.get(parents.get(layer.id, ""))
    if parent is not None and parent.link and parent.lowers is not None:
        told.add((parent.link, *parent.lowers))
    info = layer.entries.get(LOWER)
    if len(told) == 1 and (info is None or stat.S_ISREG(info.st_mode)):
        chain = next(iter(told))
        if chain and all(name in home.named for name in chain):
            text = ":".join("%s/%s" % (LINK_DIR, name) for name in chain)
            step = Step(path, state_of(path), file_state(text))
            remedy = "Write the chain into it that the layers above, or the engine's records, tell"
            return Finding(code, layer.id, path, what, remedy, step)
    remedy = "Neither a layer above nor the engine's records tell the chain: remove the layer, and get it anew"
    return Finding(code, layer.id, path, what, remedy)


def _chain(home, layer, path, limit, others, ownership):
    missing = [name for name in layer.lowers if name not in home.named and not _is_in(others, name)]
    missing = [name for name in missing if not home.is_elsewhere(name)]
    stranger = _ancestor_elsewhere(layer.id, ownership) if missing else ""
    if stranger:
        what = "its lower chain names %s/%s, by the engine's records the layer %s of another store" % (
            LINK_DIR, missing[0], stranger
        )  # fmt: skip
        remedy = "Name that store in storage.conf (imagestore, additionalimagestores), so that its layers are found"
        yield Finding("lower-layer-elsewhere", layer.id, path, what, remedy)
    elif missing:
        more = " and %d more" % (len(missing) - 1) if len(missing) > 1 else ""
        what = "its lower chain names %s/%s%s, and no layer goes by that name" % (LINK_DIR, missing[0], more)
        remedy = "Get the lower layer back, or remove this layer"
        yield Finding("lower-layer-missing", layer.id, path, what, remedy)
    if len(layer.lowers) > limit:
        what = "its lower chain has %d entries, and %d is the most" % (len(layer.lowers), limit)
        yield Finding("lower-too-long", layer.id, path, what, "Make it anew with some layers merged into one")
    if layer.id in map(home.named.get, layer.lowers):
        yield _loop(layer, path, "its lower chain names the layer itself")
    elif len(set(layer.lowers)) < len(layer.lowers):
        yield _loop(layer, path, "its lower chain names a layer twice")
    else:
        yield from _against_parent(home, layer, path)


def _ancestor_elsewhere(layer, ownership):
    """The nearest layer below one that the engine has on record in another store (str); "" for none."""
    seen = set()
    while layer and layer not in seen:
        if layer in ownership.parents_elsewhere:
            return ownership.parents_elsewhere[layer]
        seen.add(layer)
        layer = ownership.parents.get(layer, "")
    return ""


def _is_in(others, name):
    """Whether a layer of one of some other homes goes by a name (bool)."""
    return any(os.path.lexists(os.path.join(other, LINK_DIR, name)) for other in others)


def _loop(layer, path, what):
    return Finding("lower-loop", layer.id, path, what, "Remove the layer, and get it anew")


def _against_parent(home, layer, path):
    parent = home.layers.get(home.named.get(layer.lowers[0]) or "")
    if parent is None or parent.lowers is None:
        return
    if [home.named.get(name) for name in layer.lowers[1:]] != [home.named.get(name) for name in parent.lowers]:
        what = "its lower chain goes on otherwise below its parent %s than that layer's own" % parent.id
        remedy = "Compare the two lower files with the engine's records; the wrong one can't be told from the home"
        yield Finding("lower-inconsistent", layer.id, path, what, remedy)
