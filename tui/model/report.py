# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A Snapshot as text and as JSON. The JSON has the keys of the module ``overlay2_info``, and some more."""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from overlay2 import records
from overlay2.units import human_size

from .files import time_text
from .mounts import holders_text
from .ownership import OwnershipReport
from .plain import visible
from .rows import arrange
from .snapshot import InspectedLayer, MountFacts, Remark, Snapshot


def as_data(snapshot: Snapshot) -> dict[str, Any]:
    """A whole Snapshot as plain data. Text is as it was found; it is not safe for a terminal."""
    return {
        "home": snapshot.home,
        "host": snapshot.host,
        "taken": snapshot.taken,
        "privileged": snapshot.privileged,
        "exists": snapshot.failure is None,
        "failure": snapshot.failure and snapshot.failure._asdict(),
        "status": dict(snapshot.status),
        "features": {label: {"value": value, "meaning": meaning} for label, value, meaning in snapshot.features},
        "space": snapshot.space and snapshot.space._asdict(),
        "layers": [_layer_data(snapshot, facts) for facts in snapshot.layers.values()],
        "mounts": [_mount_data(mount) for mount in snapshot.mounts],
        "quota": [
            dict(records.quota_record(facts.layer.quota), id=id)
            for id, facts in snapshot.layers.items()
            if facts.layer.quota
        ],
        "remarks": [_remark_data(remark) for remark in snapshot.remarks],
        "health": None if snapshot.health is None else [records.finding_record(one) for one in snapshot.health],
        "owners": snapshot.owners and records.owners_record(snapshot.owners),
    }


def as_json(snapshots: Sequence[Snapshot]) -> str:
    """JSON text of one Snapshot, or of several as a list; safe for a terminal, as JSON escapes what is not ASCII."""
    data = [as_data(snapshot) for snapshot in snapshots]
    return json.dumps(data[0] if len(data) == 1 else data, indent=2).replace("\x7f", "\\u007f")


def _layer_data(snapshot: Snapshot, facts: InspectedLayer) -> dict[str, Any]:
    return {
        **records.layer_record(facts.layer, facts.paths, snapshot.sizes.get(facts.id)),
        "name": facts.name,
        "made": facts.made,
        "disk_size": snapshot.disk_sizes.get(facts.id),
    }


def _mount_data(mount: MountFacts) -> dict[str, Any]:
    return {
        **records.mount_record(mount.id, mount.path, mount.mounted, mount.holders),
        "namespaces": [
            {"namespace": namespace, "pid": pid, "process": name} for namespace, pid, name in mount.elsewhere
        ],
        "processes": None if mount.processes is None else [process._asdict() for process in mount.processes],
        "remarks": [_remark_data(remark) for remark in mount.remarks],
    }


def _remark_data(remark: Remark) -> dict[str, str]:
    return {
        "text": remark.text,
        "layer": remark.layer,
        "severity": "warning" if remark.is_problem else "note",
        "remedy": remark.remedy,
        "code": remark.code,
    }


# Text


def as_text(snapshot: Snapshot) -> str:
    """A whole Snapshot for people: no colours, one fact a line, safe for a terminal."""
    parts = [[f"Home     {snapshot.home}" + (f" on {snapshot.host}" if snapshot.host else "")]]
    if snapshot.taken:
        parts[0].append(f"Read     {time_text(snapshot.taken)}")
    if snapshot.failure is not None:
        parts[0].append(f"Failed   {snapshot.failure}")
    else:
        parts[0] += _space_lines(snapshot)
        parts.append(["Status", *_table([[label, value, meaning] for label, value, meaning in snapshot.features])])
        parts.append(_layer_lines(snapshot))
        parts.append(_mount_lines(snapshot))
        parts.append(_quota_lines(snapshot))
        parts.append(_problem_lines(snapshot))
        parts.append(_owner_lines(snapshot))
    # Each fact stays on its line: a line break in a name is escaped as well.
    return "\n\n".join("\n".join(map(visible, part)) for part in parts if part) + "\n"


def _space_lines(snapshot: Snapshot) -> list[str]:
    space = snapshot.space
    if space is None:
        return []
    lines = [
        f"Space    {human_size(space.used)} of {human_size(space.total)} used, {human_size(space.available)} available"
    ]
    if space.inodes:
        lines.append(f"Inodes   {space.inodes_used} of {space.inodes} used")
    return lines


def _layer_lines(snapshot: Snapshot) -> list[str]:
    if not snapshot.layers:
        return ["Layers   none"]
    mounted = {mount.id for mount in snapshot.mounts if mount.mounted}
    table = [["ID", "SIZE", "ON DISK", "DEPTH", "KIND", "MOUNTED", "CREATED", "OWNER"]]
    for row in arrange(snapshot):
        facts = snapshot.layers[row.id]
        owner = snapshot.owner_of(row.id)
        table.append(
            [
                row.guide + facts.title + (f" ({facts.name})" if facts.name else ""),
                _size_text(snapshot.sizes.get(row.id)),
                _size_text(snapshot.disk_sizes.get(row.id)),
                str(facts.layer.depth),
                facts.kind,
                "yes" if row.id in mounted else "",
                time_text(facts.made) if facts.made else "",
                owner.text if owner else "",
            ]
        )
    title = f"Layers   {len(snapshot.layers)}, {human_size(sum(snapshot.sizes.values()))}"
    if snapshot.disk_sizes:
        title += f", {human_size(sum(snapshot.disk_sizes.values()))} on disk"
    if snapshot.sized < len(snapshot.layers):
        title += f" ({snapshot.sized} measured)"
    return [title, *_table(table, right={1, 2, 3})]


def _size_text(size: int | None) -> str:
    return "?" if size is None else human_size(size)


def _mount_lines(snapshot: Snapshot) -> list[str]:
    lines = [f"Mounts   {len(snapshot.mounts) or 'none'}"]
    for mount in snapshot.mounts:
        state = "mounted" if mount.mounted else "held" if mount.holders else "not mounted"
        lines.append(f"  {mount.title}: {state}, held by {holders_text(mount.holders)}, at {mount.path}")
        lines += [
            f"    also in mount namespace {space} (process {pid}, {name})" for space, pid, name in mount.elsewhere
        ]
        lines += [f"    busy: process {p.pid} ({p.name}, {p.user}): {p.how}" for p in mount.processes or ()]
        lines += [f"    {'!' if remark.is_problem else 'note:'} {remark.text}" for remark in mount.remarks]
    return lines


def _owner_lines(snapshot: Snapshot) -> list[str]:
    owners = snapshot.owners
    if owners is None:
        return ["Owners   unknown"]
    lines = [f"Owners   {engine_text(owners)}"]
    for id in owners.unowned:
        size = f", {human_size(snapshot.sizes[id])}" if id in snapshot.sizes else ""
        lines.append(f"  unowned: {id}{size}: {owners.layers[id].reason}")
    return lines


def engine_text(owners: OwnershipReport) -> str:
    """The engine of a home, whether it runs, and its layers by kind."""
    if not owners.engine:
        return "no records of an engine were found"
    state = "" if owners.running is None else ", running" if owners.running else ", not running"
    counted = collections.Counter(owner.kind for owner in owners.layers.values())
    counts = ", ".join(f"{count} × {kind}" for kind, count in counted.most_common())
    return f"{owners.engine}{state}, records in {visible(owners.root)}: {counts or 'no layers'}"


def _quota_lines(snapshot: Snapshot) -> list[str]:
    rows = []
    for facts in snapshot.layers.values():
        quota = facts.layer.quota
        if quota:
            limit = human_size(quota.limit) if quota.limit else "no limit"
            share = f"{quota.used / quota.limit:.0%}" if quota.limit else ""
            rows.append([facts.title, f"{human_size(quota.used)} of {limit}", share, f"{quota.inodes} inodes"])
    return [f"Quota    {len(rows)}", *_table(rows)] if rows else []


def _problem_lines(snapshot: Snapshot) -> list[str]:
    problems = []
    for remark in snapshot.problems:
        where = f"{remark.layer}: " if remark.layer else ""
        problems.append(f"  ! {where}{remark.text}" + (f". {remark.remedy}." if remark.remedy else ""))
    notes = [f"  note: {remark.text}" for remark in snapshot.notes]
    return [f"Problems {len(problems) or 'none'}", *problems, *notes]


def _table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> Iterator[str]:
    """Lines of a table without rules, each column as wide as its widest cell."""
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown)]
    for row in shown:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths))
        ]
        yield "  " + "  ".join(cells).rstrip()


def file_name(snapshot: Snapshot, view: str, suffix: str, now: float | None = None) -> str:
    """A name for an export: ``overlay2-<host>-<view>-<time>.<suffix>``."""
    when = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    host = "".join(c if c.isalnum() or c in "-." else "-" for c in snapshot.host or "home")
    return f"overlay2-{host}-{view}-{when}.{suffix}"
