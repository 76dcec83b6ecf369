# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Layers, mounts, owners and findings as plain data: what modules return and the inspector exports.

This is the one definition of that JSON. The RETURN documentation of the modules repeats the keys, and a test compares.
Arguments that belong to ``owners`` and ``health`` are duck-typed: an import, even one for annotations alone, would send
those packages with every module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping

if TYPE_CHECKING:
    from .home.layer import Layer, LayerPaths
    from .home.quota import QuotaUsage


def layer_record(layer: Layer, paths: LayerPaths, size: int | None = None) -> dict[str, Any]:
    """A layer and its directories.

    :param size: bytes of the layer's own content if they were counted, else the recorded size is returned.
    """
    return {
        "id": layer.id,
        "parent": layer.parent,
        "depth": layer.depth,
        "lowers": list(layer.lower),
        "upper_dir": paths.upper,
        "work_dir": paths.work,
        "merged_dir": paths.merged,
        "link": layer.link,
        "committed": layer.committed,
        "read_write": layer.read_write,
        "owner": layer.owner,
        "size": layer.size if size is None else size,
        "diff_id": layer.diff_id,
        "quota": None if layer.quota is None else quota_record(layer.quota),
        "problems": list(layer.problems),
    }


def quota_record(usage: QuotaUsage) -> dict[str, Any]:
    """A project quota, sizes in bytes."""
    return dict(usage._asdict())


def mount_record(layer_id: str, path: str, mounted: bool, holders: Mapping[str, int] | None) -> dict[str, Any]:
    """A layer that is mounted or held.

    :param holders: number of references by holder; None if the records may not be read.
    """
    return {
        "id": layer_id,
        "path": path,
        "mounted": mounted,
        "ref_count": None if holders is None else sum(holders.values()),
        "holders": None if holders is None else dict(holders),
    }


def finding_record(finding: Any) -> dict[str, Any]:
    """A finding of ``health``."""
    names = ("code", "severity", "layer", "path", "evidence", "remedy", "repairable")
    return {name: getattr(finding, name) for name in names}


def owners_record(report: Any) -> dict[str, Any]:
    """A report of ``owners``: the engine, and the owners of each layer."""
    return {
        "engine": report.engine,
        "root": report.root,
        "running": report.running,
        "counts": report.counts(),
        "problems": [str(problem) for problem in report.problems],
        "layers": [ownership_record(layer_id, ownership) for layer_id, ownership in report.layers.items()],
    }


def ownership_record(layer_id: str, ownership: Any) -> dict[str, Any]:
    """The owners of one layer."""
    return {
        "id": layer_id,
        "kind": ownership.kind,
        "names": list(ownership.names),
        "state": ownership.state,
        "certainty": ownership.certainty,
        "reason": ownership.reason,
        "evidence": [str(evidence) for evidence in ownership.evidence],
        "owners": [owner_record(owner) for owner in ownership.owners],
    }


def owner_record(owner: Any) -> dict[str, Any]:
    """One owner of a layer."""
    return {
        "kind": owner.kind,
        "id": owner.id,
        "names": list(owner.names),
        "state": owner.state,
        "direct": owner.direct,
    }
