# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Snapshots gathered elsewhere: results of ``overlay2_info``, or of this program's own ``--json``, from files."""

from __future__ import annotations

import json
import os
from types import MappingProxyType

from overlay2 import Layer
from overlay2.home.quota import QuotaUsage

from .meaning import features_of
from .snapshot import (
    Failure,
    LayerFacts,
    MountFacts,
    OwnerFacts,
    OwnershipReport,
    ProcessFacts,
    Remark,
    Snapshot,
    Space,
)

#: A result of overlay2_info has at least one of these.
_TOPICS = ("status", "layers", "mounts", "quota")
#: How deep a result may be buried, as in the output of Ansible's JSON callback.
_DEEPEST = 12


def load(path):
    """All Snapshots in a file: list of :class:`~.snapshot.Snapshot`, one with a ``failure`` where it can't be used."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as source:
            data = json.load(source)
    except OSError as error:
        return [_failed(path, f"{path} can't be read: {error.strerror}")]
    except (ValueError, RecursionError) as error:
        return [_failed(path, f"{path} is no JSON: {error}")]
    found = []
    taken = os.stat(path).st_mtime
    for host, result in _results(data, os.path.splitext(os.path.basename(path))[0], _DEEPEST):
        try:
            found.append(_snapshot(result, host, taken))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            found.append(_failed(path, f"{path} is not what overlay2_info returns: {error!r}", host))
    return found or [_failed(path, f"{path} holds no result of overlay2_info")]


def _failed(path, message, host=""):
    host = host or os.path.splitext(os.path.basename(path))[0]
    remedy = "Gather it with strata.overlay2.overlay2_info, or with overlay2-tui --json"
    return Snapshot(path, host=host, gathered=True, failure=Failure(message, remedy))


def _results(data, host, deepest):
    """(host, result) of everything in ``data`` that looks like a result of overlay2_info."""
    if isinstance(data, dict):
        if "exists" in data and any(topic in data for topic in _TOPICS):
            yield data.get("host") or host, data
        elif deepest:
            for key, value in data.items():
                yield from _results(value, host if key in _CONTAINERS else key, deepest - 1)
    elif isinstance(data, list) and deepest:
        for value in data:
            yield from _results(value, host, deepest - 1)


#: Keys that are no host's name.
_CONTAINERS = frozenset(("plays", "tasks", "hosts", "results", "result", "overlay2", "ansible_facts", "hostvars"))


def _snapshot(data, host, taken):
    layers = {facts.id: facts for facts in map(_layer, data.get("layers") or ())}
    for quota in data.get("quota") or ():
        if quota["id"] not in layers:
            layers[quota["id"]] = LayerFacts(Layer(quota["id"], None, (), (), "", False, quota=_quota(quota)))
    space = data.get("space")
    status = tuple((str(label), str(value)) for label, value in (data.get("status") or {}).items())
    # The home is not among what the module returns, but every layer's folder is in it.
    folders = [layer.get("upper_dir") for layer in data.get("layers") or ()]
    home = data.get("home") or (os.path.dirname(os.path.dirname(folders[0])) if folders and folders[0] else "")
    failure = data.get("failure")
    if failure is None and not data["exists"]:
        failure = {"message": "There is no such home on that host"}
    return Snapshot(
        home=home,
        host=str(host),
        taken=float(data.get("taken") or taken),
        gathered=True,
        privileged=bool(data.get("privileged", True)),
        failure=Failure(**failure) if failure else None,
        status=status,
        features=features_of(status),
        space=Space(**space) if space else None,
        layers=MappingProxyType(dict(sorted(layers.items()))),
        sizes=MappingProxyType(
            {layer["id"]: layer["size"] for layer in data.get("layers") or () if layer.get("size") is not None}
        ),
        mounts=tuple(map(_mount, data.get("mounts") or ())),
        remarks=tuple(Remark(**remark) for remark in data.get("remarks") or ()),
        health=_findings(data["health"]) if data.get("health") is not None else None,
        owners=_owners(data["owners"]) if data.get("owners") else None,
    )


def _layer(data):
    lowers = tuple(data.get("lowers") or ())
    return LayerFacts(
        Layer(
            id=data["id"],
            parent=data.get("parent"),
            lower=lowers,
            # The names in l/ are not gathered; what matters here is how many there are.
            lower_links=tuple("l/?" for _lower in lowers),
            link=data.get("link") or "",
            committed=bool(data.get("committed")),
            read_write=data.get("read_write"),
            diff_id=data.get("diff_id"),
            quota=_quota(data["quota"]) if data.get("quota") else None,
            problems=tuple(data.get("problems") or ()),
        ),
        name=data.get("name") or "",
        made=data.get("made"),
    )


def _findings(data):
    from overlay2.health import Finding

    return tuple(Finding(*(one[name] for name in ("code", "layer", "path", "evidence", "remedy"))) for one in data)


def _owners(data):
    layers = {one["id"]: _owner_facts(one) for one in data["layers"]}
    return OwnershipReport(
        data["engine"], data["root"], data["running"], MappingProxyType(layers), tuple(data["problems"])
    )


def _owner_facts(data):
    from overlay2.owners import Owner

    owners = (
        Owner(one["kind"], one["id"], tuple(one["names"]), one["state"], one["direct"])
        for one in data["owners"]
        if one["names"] or one["kind"] != "layer"
    )
    return OwnerFacts(data["kind"], tuple(owners), data["certainty"], data["reason"], tuple(data["evidence"]))


def _quota(data):
    return QuotaUsage(**{name: data[name] for name in QuotaUsage._fields})


def _mount(data):
    processes = data.get("processes")
    return MountFacts(
        id=data["id"],
        path=data["path"],
        mounted=bool(data["mounted"]),
        holders=None if data.get("holders", {}) is None else MappingProxyType(dict(data.get("holders", {}))),
        elsewhere=tuple((one["namespace"], one["pid"], one["process"]) for one in data.get("namespaces") or ()),
        processes=None if processes is None else tuple(ProcessFacts(**process) for process in processes),
        remarks=tuple(Remark(text, data["id"]) for text in data.get("remarks") or ()),
    )
