# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The facts about one layer, a name and a value in each line."""

from __future__ import annotations

from collections.abc import Iterator

from overlay2 import Layer
from overlay2.errors import Overlay2Error
from overlay2.units import human_size

from ..model.files import time_text
from ..model.mounts import holders_text
from ..model.ownership import OwnerFacts
from ..model.rows import children_of
from ..model.snapshot import InspectedLayer, MountFacts, Snapshot
from ..widgets.spans import Line

_MOST_OWNERS, _MOST_EVIDENCE = 8, 4


def layer_lines(snapshot: Snapshot, facts: InspectedLayer) -> list[Line]:
    """The facts about one layer: its own, its mount, its owners, its problems."""
    mount = snapshot.mount_of(facts.id)
    return [
        *_own_lines(snapshot, facts),
        *(_mount_lines(mount) if mount is not None else ()),
        *_owner_lines(snapshot.owner_of(facts.id)),
        *_problem_lines(snapshot, facts, mount),
    ]


def _fact(name: str, text: str, meaning: str = "") -> Line:
    return [(f"{name:<9}", "dim"), (text, meaning)]


def _own_lines(snapshot: Snapshot, facts: InspectedLayer) -> Iterator[Line]:
    layer = facts.layer
    yield _fact("id", layer.id)
    if facts.name:
        yield _fact("name", facts.name)
    yield _fact("parent", _parent_text(layer), "" if layer.parent is not None else "bad")
    yield _fact("children", str(len(children_of(snapshot.layers).get(layer.id, ()))))
    yield _fact("depth", f"{layer.depth} lower layers")
    yield _fact("kind", _kind_text(facts))
    yield _size_line(snapshot, layer.id)
    if layer.quota:
        limit = human_size(layer.quota.limit) if layer.quota.limit else "no limit"
        yield _fact("quota", f"{human_size(layer.quota.used)} of {limit}, {layer.quota.inodes} inodes")
    if facts.made:
        yield _fact("made", time_text(facts.made))
    if layer.link:  # other formats have none; one that is missing is among the problems
        yield _fact("link", f"l/{layer.link}")
    yield _fact("diff id", layer.diff_id or "unknown")


def _size_line(snapshot: Snapshot, layer: str) -> Line:
    if layer in snapshot.size_errors:
        return _fact("size", f"can't be measured: {snapshot.size_errors[layer]}", "bad")
    size, disk = snapshot.sizes.get(layer), snapshot.disk_sizes.get(layer)
    on_disk = "" if disk is None else f", {human_size(disk)} on disk"
    return _fact("size", human_size(size) + on_disk if size is not None else "…")


def _mount_lines(mount: MountFacts) -> Iterator[Line]:
    state = "mounted" if mount.mounted else "in another mount namespace" if mount.elsewhere else "not mounted"
    yield _fact("mount", state, "good" if mount.mounted else "")
    yield _fact("held by", holders_text(mount.holders))
    for remark in mount.remarks:
        yield [("! ", "bad") if remark.is_problem else ("· ", "dim"), (remark.text, "")]


def _owner_lines(owner: OwnerFacts | None) -> Iterator[Line]:
    """The owners of a layer, and the evidence for them."""
    if owner is None:
        yield _fact("owner", "looking for owners…", "dim")
        return
    if owner.kind in ("unowned", "unknown"):
        yield _fact("owner", owner.kind, "warn" if owner.kind == "unowned" else "")
        yield _fact("", owner.reason + (" (likely)" if owner.certainty == "likely" else ""))
    else:
        needed_by = owner.needed_by or (owner.kind,)
        for number, one in enumerate(needed_by[:_MOST_OWNERS]):
            yield _fact("" if number else "owner", one)
        if len(needed_by) > _MOST_OWNERS:
            yield _fact("", f"and {len(needed_by) - _MOST_OWNERS} more", "dim")
    for where in owner.evidence[:_MOST_EVIDENCE]:
        yield _fact("", where, "dim")


def _problem_lines(snapshot: Snapshot, facts: InspectedLayer, mount: MountFacts | None) -> Iterator[Line]:
    told = [remark.text for remark in mount.remarks] if mount is not None else ()
    problems = [remark for remark in snapshot.problems if remark.layer == facts.id and remark.text not in told]
    if problems:
        yield from ("", ("Problems", "bad"))
    for remark in problems:
        yield [("! ", "bad"), (remark.text, "")]
        if remark.remedy:
            yield [("  ", ""), (f"{remark.remedy}.", "dim")]


def _parent_text(layer: Layer) -> str:
    if layer.parent is None:
        return "unknown: the link to it is broken"
    return layer.parent or "none (base layer)"


def _kind_text(facts: InspectedLayer) -> str:
    if facts.layer.committed:
        return "read-only: it has child layers"
    if facts.layer.read_write is None:
        return "unknown: made by another program"
    return "read-write" if facts.layer.read_write else "read-only"


def sentence(error: Exception) -> str:
    """An error of the core or the kernel as a sentence."""
    if isinstance(error, Overlay2Error):
        return f"{error}."
    reason = error.strerror if isinstance(error, OSError) else None
    return f"It can't be read: {reason or error}."
