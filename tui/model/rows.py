# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Layers in the order in which screens and ``--print`` show them: as a tree by parent, or sorted."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from .ownership import OwnerFacts
from .snapshot import InspectedLayer, Snapshot, last_only

#: How layers can be sorted; the first is the tree.
ORDERS = ("tree", "size", "age", "depth", "name", "owner")
#: Guides longer than this are cut at their left.
_WIDEST = 24
#: The fewest letters that are looked for in digests.
_DIGEST = 6


class Row(NamedTuple):
    """One line: a layer, and the tree lines before its name."""

    id: str
    guide: str
    #: Something stands on it, so it can be folded.
    has_children: bool
    folded: bool


@last_only
def children_of(layers: Mapping[str, InspectedLayer]) -> dict[str, list[str]]:
    """Ids by parent; "" for those without a parent, or whose parent is missing."""
    found: dict[str, list[str]] = {}
    for id, facts in layers.items():
        parent = facts.layer.parent
        found.setdefault(parent if parent and parent in layers else "", []).append(id)
    return found


def arrange(
    snapshot: Snapshot,
    order: str = "tree",
    folded: Collection[str] = frozenset(),
    wanted: Collection[str] | None = None,
) -> list[Row]:
    """The rows of a Snapshot's layers.

    :param order: one of :data:`ORDERS`.
    :param folded: ids whose descendants do not show, in the tree.
    :param wanted: only these ids, and no tree then; None for all.
    """
    children = children_of(snapshot.layers)
    if order == "tree" and wanted is None:
        return _tree(children, folded)
    ids = [id for id in snapshot.layers if wanted is None or id in wanted]
    return [Row(id, "", id in children, False) for id in sorted(ids, key=_key(snapshot, order))]


def _key(snapshot: Snapshot, order: str) -> Callable[[str], Any]:
    layers, sizes = snapshot.layers, snapshot.sizes
    if order == "size":
        return lambda id: (-sizes.get(id, -1), os.fsencode(id))
    if order == "age":
        return lambda id: (-(layers[id].made or 0.0), os.fsencode(id))
    if order == "depth":
        return lambda id: (-layers[id].layer.depth, os.fsencode(id))
    if order == "owner":
        return lambda id: (*_owner_rank(snapshot.owner_of(id)), os.fsencode(id))
    return os.fsencode


def _owner_rank(owner: OwnerFacts | None) -> tuple[int, str]:
    """Unowned layers first, those of unknown owners next, then by owner."""
    if owner is None:
        return 2, ""
    return {"unowned": 0, "unknown": 1}.get(owner.kind, 2), owner.text


def _tree(children: Mapping[str, Sequence[str]], folded: Collection[str]) -> list[Row]:
    """Depth first, without recursion: chains may be 128 deep, and a broken home may loop."""
    rows = []
    # (id, guide of its own line, guide of what stands on it)
    pending = [(id, "", "") for id in reversed(children.get("", ()))]
    seen: set[str] = set()
    while pending:
        id, guide, below = pending.pop()
        if id in seen:
            continue
        seen.add(id)
        upper = children.get(id, ())
        is_folded = id in folded and bool(upper)
        rows.append(Row(id, _cut(guide), bool(upper), is_folded))
        if is_folded:
            continue
        if len(upper) == 1:
            # A run without branches stays in its column, or a chain of a hundred would leave the screen.
            pending.append((upper[0], below + "↳ ", below))
            continue
        for number, child in enumerate(reversed(upper)):
            last = number == 0
            pending.append((child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")))
    return rows + [Row(id, "", False, False) for id in _adrift(children)]


@last_only
def _adrift(children: Mapping[str, Sequence[str]]) -> list[str]:
    """Layers of a broken home that stand on each other and on no base, sorted."""
    reached: set[str] = set()
    pending = [""]
    while pending:
        upper = children.get(pending.pop(), ())
        pending += [id for id in upper if id not in reached]
        reached.update(upper)
    return sorted({id for ids in children.values() for id in ids} - reached)


def _cut(guide: str) -> str:
    return guide if len(guide) <= _WIDEST else "… " + guide[2 - _WIDEST :]


def find(snapshot: Snapshot, text: str) -> set[str]:
    """Ids of the layers that a filter text matches: each of its words must be found in the layer's line.

    ``mounted``, ``rw``, ``ro``, ``broken`` and ``unowned`` are states. Links and diff IDs are searched for longer words
    only, as any two letters are found in a digest.
    """
    holders = {mount.id: " ".join(mount.holders or ()) for mount in snapshot.mounts}
    mounted = {mount.id for mount in snapshot.mounts if mount.mounted}
    found = set()
    words = text.casefold().split()
    for id, facts in snapshot.layers.items():
        tags = {facts.kind}
        if id in mounted:
            tags.add("mounted")
        if facts.layer.problems:
            tags.add("broken")
        owner = snapshot.owner_of(id)
        names = f"{owner.text} {' '.join(owner.names)}" if owner is not None else ""
        line = f"{id} {facts.name} {holders.get(id, '')} {names}".casefold()
        digests = f"{facts.layer.link} {facts.layer.diff_id or ''}".casefold()
        if all(word in tags or word in line or (len(word) >= _DIGEST and word in digests) for word in words):
            found.add(id)
    return found
