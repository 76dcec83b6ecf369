# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A Snapshot as text and as JSON. The JSON has the keys that the module ``overlay2_info`` returns, and some more."""

from __future__ import annotations

import collections
import json
import os
import time

from overlay2.errors import printable
from overlay2.units import human_size

from .files import time_text
from .mounts import holders_text
from .rows import arrange


def as_data(snapshot):
    """Everything a Snapshot says, as plain data (dict)."""
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
            dict(facts.layer.quota._asdict(), id=id) for id, facts in snapshot.layers.items() if facts.layer.quota
        ],
        "remarks": [remark._asdict() for remark in snapshot.remarks],
        "health": None if snapshot.health is None else [_finding_data(finding) for finding in snapshot.health],
        "owners": snapshot.owners and _owners_data(snapshot.owners),
    }


def as_json(snapshots):
    """JSON text of one Snapshot, or of several as a list."""
    data = [as_data(snapshot) for snapshot in snapshots]
    return json.dumps(data[0] if len(data) == 1 else data, indent=2)


def _layer_data(snapshot, facts):
    layer = facts.layer
    folder = os.path.join(snapshot.home, layer.id)
    return {
        "id": layer.id,
        "name": facts.name,
        "parent": layer.parent,
        "depth": layer.depth,
        "lowers": list(layer.lower),
        "upper_dir": os.path.join(folder, "diff"),
        "work_dir": os.path.join(folder, "work"),
        "merged_dir": os.path.join(folder, "merged"),
        "link": layer.link,
        "committed": layer.committed,
        "read_write": layer.read_write,
        "diff_id": layer.diff_id,
        "made": facts.made,
        "size": snapshot.sizes.get(layer.id),
        "quota": layer.quota and layer.quota._asdict(),
        "problems": list(layer.problems),
    }


def _finding_data(finding):
    names = ("code", "severity", "layer", "path", "evidence", "remedy", "repairable")
    return {name: getattr(finding, name) for name in names}


def _owners_data(owners):
    counted = collections.Counter(owner.kind for owner in owners.layers.values())
    return {
        "engine": owners.engine,
        "root": owners.root,
        "running": owners.running,
        "counts": dict(counted),
        "problems": list(owners.problems),
        "layers": [_owner_data(id, owner) for id, owner in owners.layers.items()],
    }


def _owner_data(layer, facts):
    return {
        "id": layer,
        "kind": facts.kind,
        "names": list(facts.names),
        "state": facts.owners[0].state if facts.owners else "",
        "certainty": facts.certainty,
        "reason": facts.reason,
        "evidence": list(facts.evidence),
        "owners": [
            {name: value for name, value in owner._asdict().items() if name != "evidence"} for owner in facts.owners
        ],
    }


def _mount_data(mount):
    return {
        "id": mount.id,
        "path": mount.path,
        "mounted": mount.mounted,
        "ref_count": None if mount.holders is None else mount.references,
        "holders": None if mount.holders is None else dict(mount.holders),
        "namespaces": [
            {"namespace": namespace, "pid": pid, "process": name} for namespace, pid, name in mount.elsewhere
        ],
        "processes": None if mount.processes is None else [process._asdict() for process in mount.processes],
        "remarks": [remark.text for remark in mount.remarks],
    }


# Text


def as_text(snapshot):
    """Everything a Snapshot says, for people (str): no colours, one fact a line."""
    parts = [[f"Home     {printable(snapshot.home)}" + (f" on {snapshot.host}" if snapshot.host else "")]]
    if snapshot.taken:
        parts[0].append(f"Read     {time_text(snapshot.taken)}")
    if snapshot.failure is not None:
        parts[0].append(f"Failed   {snapshot.failure}")
        return "\n".join(parts[0]) + "\n"
    parts[0] += _space_lines(snapshot)
    parts.append(["Status", *_table([[label, value, meaning] for label, value, meaning in snapshot.features])])
    parts.append(_layer_lines(snapshot))
    parts.append(_mount_lines(snapshot))
    parts.append(_quota_lines(snapshot))
    parts.append(_problem_lines(snapshot))
    parts.append(_owner_lines(snapshot))
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _space_lines(snapshot):
    space = snapshot.space
    if space is None:
        return []
    lines = [
        f"Space    {human_size(space.used)} of {human_size(space.total)} used, {human_size(space.available)} available"
    ]
    if space.inodes:
        lines.append(f"Inodes   {space.inodes_used} of {space.inodes} used")
    return lines


def _layer_lines(snapshot):
    if not snapshot.layers:
        return ["Layers", "  none"]
    mounted = {mount.id for mount in snapshot.mounts if mount.mounted}
    table = [["ID", "SIZE", "DEPTH", "KIND", "MOUNTED", "MADE", "OWNER"]]
    for row in arrange(snapshot):
        facts = snapshot.layers[row.id]
        size = snapshot.sizes.get(row.id)
        table.append(
            [
                row.guide + facts.title + (f" ({printable(facts.name)})" if facts.name else ""),
                "?" if size is None else human_size(size),
                str(facts.layer.depth),
                facts.kind,
                "yes" if row.id in mounted else "",
                time_text(facts.made) if facts.made else "",
                owner.text if (owner := snapshot.owner_of(row.id)) else "",
            ]
        )
    total = sum(snapshot.sizes.values())
    title = f"Layers   {len(snapshot.layers)}, {human_size(total)}"
    if snapshot.sized < len(snapshot.layers):
        title += f" ({snapshot.sized} measured)"
    return [title, *_table(table, right={1, 2})]


def _mount_lines(snapshot):
    lines = [f"Mounts   {len(snapshot.mounts)}"]
    for mount in snapshot.mounts:
        state = "mounted" if mount.mounted else "held" if mount.holders else "not mounted"
        lines.append(f"  {mount.title}: {state}, held by {holders_text(mount.holders)}, at {printable(mount.path)}")
        lines += [
            f"    also in mount namespace {space} (process {pid}, {name})" for space, pid, name in mount.elsewhere
        ]
        lines += [f"    busy: process {p.pid} ({p.name}, {p.user}): {p.how}" for p in mount.processes or ()]
        lines += [f"    {'!' if remark.is_problem else 'note:'} {remark.text}" for remark in mount.remarks]
    return lines


def _owner_lines(snapshot):
    if snapshot.owners is None:
        return ["Owners   unknown"]
    lines = [f"Owners   {engine_text(snapshot.owners)}"]
    for id in snapshot.owners.unowned:
        size = snapshot.sizes.get(id)
        size = "" if size is None else f", {human_size(size)}"
        lines.append(f"  unowned: {printable(id)}{size}: {snapshot.owners.layers[id].reason}")
    return lines


def engine_text(owners):
    """Whose home it is, in a sentence's half (str)."""
    if not owners.engine:
        return "nobody's records were found beside the home"
    state = {True: ", at work now", False: ", not running", None: ""}[owners.running]
    counts = collections.Counter(owner.kind for owner in owners.layers.values())
    said = ", ".join(f"{count} × {kind}" for kind, count in counts.most_common())
    return f"{owners.engine}{state}, records in {printable(owners.root)}: {said or 'no layers'}"


def _quota_lines(snapshot):
    rows = []
    for facts in snapshot.layers.values():
        quota = facts.layer.quota
        if quota:
            limit = human_size(quota.limit) if quota.limit else "no limit"
            share = f"{quota.used / quota.limit:.0%}" if quota.limit else ""
            rows.append([facts.title, f"{human_size(quota.used)} of {limit}", share, f"{quota.inodes} inodes"])
    return [f"Quota    {len(rows)}", *_table(rows)] if rows else []


def _problem_lines(snapshot):
    notes = [f"  note: {remark.text}" for remark in snapshot.remarks if not remark.is_problem]
    problems = []
    for remark in snapshot.problems:
        where = printable(remark.layer) + ": " if remark.layer else ""
        problems.append(f"  ! {where}{remark.text}" + (f". {remark.remedy}." if remark.remedy else ""))
    return [f"Problems {len(problems) or 'none'}", *problems, *notes]


def _table(rows, right=()):
    """Lines of a table without rules, its columns as wide as they need be."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def file_name(snapshot, view, suffix, now=None):
    """A name for an export (str): ``overlay2-<host>-<view>-<time>.<suffix>``."""
    when = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    host = "".join(c if c.isalnum() or c in "-." else "-" for c in snapshot.host or "home")
    return f"overlay2-{host}-{view}-{when}.{suffix}"
