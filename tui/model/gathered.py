# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Snapshots gathered elsewhere: results of ``overlay2_info``, or of this program's own ``--json``, from files.

Such a file may be damaged, hostile, or written by a newer version: keys that are not known are ignored, values of the
wrong type make the Snapshot a failure, and text that is only displayed is made safe for a terminal here.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from overlay2 import Layer
from overlay2.home.layer import LayerPaths
from overlay2.home.quota import QuotaUsage

from .json_record import JsonRecord, Unusable
from .meaning import features_of
from .ownership import OwnerFacts, OwnershipReport
from .plain import visible
from .snapshot import Failure, FindingFacts, InspectedLayer, MountFacts, ProcessFacts, Remark, Snapshot, Space

#: A result of overlay2_info has at least one of these.
_TOPICS = ("status", "layers", "mounts", "quota", "owners", "health")
#: The most levels at which a result may be nested, as in the output of Ansible's JSON callback.
_DEEPEST = 12
#: Keys that are not the name of a host.
_CONTAINERS = frozenset(("plays", "tasks", "hosts", "results", "result", "overlay2", "ansible_facts", "hostvars"))


def load(path: str) -> list[Snapshot]:
    """All Snapshots in a file, at least one. One that cannot be used says why in ``failure``."""
    shown = visible(path)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as source:
            info = os.fstat(source.fileno())
            if stat.S_ISCHR(info.st_mode):
                return [_failed(path, f"{shown} is a device, not a file")]
            data = json.load(source)
    except OSError as error:
        return [_failed(path, f"{shown} can't be read: {error.strerror}")]
    except (ValueError, RecursionError, MemoryError) as error:
        return [_failed(path, f"{shown} is not valid JSON: {visible(error)}")]
    found = []
    for host, result in _results(data, _stem(path), _DEEPEST):
        try:
            found.append(_snapshot(JsonRecord(result), host, info.st_mtime))
        except Unusable as error:
            found.append(_failed(path, f"{shown} is damaged, or not a result of overlay2_info: {error}", host))
    return found or [_failed(path, f"{shown} holds no result of overlay2_info")]


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _failed(path: str, message: str, host: str = "") -> Snapshot:
    remedy = "Gather it with strata.overlay2.overlay2_info, or with overlay2-tui --json"
    return Snapshot(path, host=visible(host or _stem(path)), gathered=True, failure=Failure(message, remedy))


def _results(data: Any, host: str, deepest: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(host, result) of everything in ``data`` that looks like a result of overlay2_info."""
    if isinstance(data, dict):
        if "exists" in data and any(topic in data for topic in _TOPICS):
            yield host, data
        elif deepest:
            for key, value in data.items():
                yield from _results(value, host if key in _CONTAINERS else key, deepest - 1)
    elif isinstance(data, list) and deepest:
        for value in data:
            yield from _results(value, host, deepest - 1)


def _snapshot(data: JsonRecord, host: str, taken: float) -> Snapshot:
    records = data.records("layers")
    layers = {facts.id: facts for facts in map(_layer, records)}
    for record in data.records("quota"):
        id = record.text("id")
        if id not in layers:
            layers[id] = InspectedLayer(Layer(id, None, (), (), "", False, quota=_quota(record)))
    status = tuple(data.mapping("status", str).items())
    failure = data.record("failure")
    if failure is None and not data.flag("exists"):
        failure = JsonRecord({"message": "The home does not exist on that host"})
    health = None if data.is_missing("health") else tuple(map(_finding, data.records("health")))
    owners = data.record("owners")
    return Snapshot(
        home=data.text("home", "") or _home_of(records),
        host=data.shown("host", "") or visible(host),
        taken=data.number("taken", 0.0) or taken,
        gathered=True,
        privileged=data.flag("privileged", True),
        failure=Failure(failure.shown("message"), failure.shown("remedy", "")) if failure else None,
        status=status,
        features=features_of(status),
        space=_space(data.record("space")),
        layers=MappingProxyType(dict(sorted(layers.items()))),
        sizes=_sizes(records, "size"),
        disk_sizes=_sizes(records, "disk_size"),
        mounts=tuple(map(_mount, data.records("mounts"))),
        remarks=tuple(map(_remark, data.records("remarks"))),
        health=health,
        # A home that does not exist has no engine.
        owners=_owners(owners) if owners else None,
    )


def _home_of(records: list[JsonRecord]) -> str:
    """The home, which the module does not return, from the path of a layer's folder."""
    upper = records[0].text("upper_dir", "") if records else ""
    return os.path.dirname(os.path.dirname(upper))


def _sizes(records: list[JsonRecord], key: str) -> MappingProxyType[str, int]:
    found = {record.text("id"): record.whole(key, None) for record in records}
    return MappingProxyType({id: size for id, size in found.items() if size is not None})


def _space(data: JsonRecord | None) -> Space | None:
    return None if data is None else Space(*(data.whole(name) for name in Space._fields))


def _layer(data: JsonRecord) -> InspectedLayer:
    lowers = data.texts("lowers")
    quota = data.record("quota")
    return InspectedLayer(
        Layer(
            id=data.text("id"),
            parent=data.text("parent", None),
            lower=lowers,
            lower_links=(),  # not gathered
            link=data.shown("link", ""),
            committed=data.flag("committed", False),
            read_write=data.flag("read_write", None),
            diff_id=data.shown("diff_id", None),
            quota=_quota(quota) if quota else None,
            problems=tuple(map(visible, data.texts("problems"))),
            owner=data.shown("owner", None),
        ),
        name=data.shown("name", ""),
        made=data.number("made", None),
        paths=LayerPaths(data.text("upper_dir", ""), data.text("work_dir", ""), data.text("merged_dir", "")),
    )


def _quota(data: JsonRecord) -> QuotaUsage:
    return QuotaUsage(*(data.whole(name) for name in QuotaUsage._fields))


def _finding(data: JsonRecord) -> FindingFacts:
    return FindingFacts(
        code=data.shown("code"),
        severity=data.shown("severity", "warning"),
        layer=data.text("layer", ""),
        path=data.text("path", ""),
        evidence=data.shown("evidence"),
        remedy=data.shown("remedy", ""),
        repairable=data.flag("repairable", False),
    )


def _owners(data: JsonRecord) -> OwnershipReport:
    return OwnershipReport(
        engine=data.shown("engine"),
        root=data.text("root"),
        running=data.flag("running", None),
        layers=MappingProxyType({one.text("id"): _owner_facts(one) for one in data.records("layers")}),
        problems=tuple(map(visible, data.texts("problems"))),
    )


def _owner_facts(data: JsonRecord) -> OwnerFacts:
    return OwnerFacts(
        kind=data.shown("kind"),
        owners=tuple(map(_owner, data.records("owners"))),
        certainty=data.shown("certainty", "none"),
        reason=data.shown("reason", ""),
        evidence=tuple(map(visible, data.texts("evidence"))),
    )


def _owner(data: JsonRecord) -> Any:
    from overlay2.owners import Owner  # not before it is needed: it loads all that reads engines' records

    names = tuple(map(visible, data.texts("names")))
    return Owner(data.shown("kind"), data.shown("id", ""), names, data.shown("state", ""), data.flag("direct", True))


def _mount(data: JsonRecord) -> MountFacts:
    id = data.text("id")
    known = not data.is_null("holders")
    processes = data.records("processes")
    return MountFacts(
        id=id,
        path=data.text("path"),
        mounted=data.flag("mounted"),
        holders=MappingProxyType(data.mapping("holders", int)) if known else None,
        elsewhere=tuple(
            (one.whole("namespace"), one.whole("pid"), one.shown("process", "")) for one in data.records("namespaces")
        ),
        processes=None if data.is_missing("processes") else tuple(map(_process, processes)),
        remarks=tuple(_remark(one, id) for one in data.records("remarks", "text")),
    )


def _process(data: JsonRecord) -> ProcessFacts:
    return ProcessFacts(data.whole("pid"), data.shown("name", "?"), data.shown("user", "?"), data.shown("how", ""))


def _remark(data: JsonRecord, layer: str = "") -> Remark:
    """A remark. Without a severity it is a note, so that no problem is reported that nobody found."""
    return Remark(
        data.shown("text"),
        data.text("layer", layer),
        data.shown("severity", "note") != "note",
        data.shown("remedy", ""),
        data.shown("code", ""),
    )
