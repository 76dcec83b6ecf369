# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The records of containers/storage (Podman, Buildah, CRI-O, Skopeo) about the layers in its overlay home.

::

    <graph root>/<driver>-layers/layers.json, volatile-layers.json      each layer, its parent, names, flags
                …/<driver>-images/images.json                           names, the uppermost layer, mapped layers
                …/<driver>-containers/containers.json, volatile-…       names, image, layer

After its layers.go, images.go, containers.go. With ``transient_store`` the volatile files are below the run root. A
layer is recorded and its directory made under one lock, ``layers.lock``; but an image is recorded after all of its
layers, with no lock in between, so a young layer that nothing refers to may belong to a pull that is under way.
"""

from __future__ import annotations

import datetime
import json
import os
import re
from typing import Any, Callable, Iterator, NamedTuple, Optional, Tuple

from . import storage_conf
from .files import Unreadable, json_of, names_in
from .records import CONTAINER, IMAGE, LAYER, LIKELY, Claims, Evidence, Owner, Problem


class Record(NamedTuple):
    """A layer of layers.json."""

    id: str
    parent: str
    names: Tuple[str, ...]
    incomplete: bool
    #: It was made for a user namespace.
    id_mapped: bool
    #: When it was made, in seconds since the epoch; None if that can't be read.
    created: Optional[float]
    path: str


class Places:
    """Paths of the files of a containers/storage.

    :param home: its overlay directory.
    """

    def __init__(self, home: str) -> None:
        self.home = os.path.realpath(home)
        self.root, self._driver = os.path.split(self.home)
        self.layers, self.images, self.containers = (
            os.path.join(self.root, "%s-%s" % (self._driver, what)) for what in ("layers", "images", "containers")
        )
        self.locks = [
            os.path.join(folder, name)
            for folder, name in (
                (self.layers, "layers.lock"), (self.images, "images.lock"), (self.containers, "containers.lock")
            )
        ]  # fmt: skip

    @property
    def exist(self) -> bool:
        """Whether a containers/storage has been at work here."""
        return os.path.isdir(self.layers)

    def files(self, what: str) -> list[str]:
        """Paths of the JSON files of ``what`` in the graph root: layers, images or containers."""
        folder = {"layers": self.layers, "images": self.images, "containers": self.containers}[what]
        names = [what + ".json"] + (["volatile-%s.json" % what] if what != "images" else [])
        return [os.path.join(folder, name) for name in names]

    def volatile(self, what: str, run_root: str) -> str:
        """Path of the JSON file that a transient store keeps of ``what``, layers or containers, in a run root."""
        return os.path.join(run_root, "%s-%s" % (self._driver, what), "volatile-%s.json" % what)

    def run_roots(self) -> tuple[list[storage_conf.RunRoot], list[Unreadable]]:
        """Run roots that may be this store's, and what hides others."""
        return storage_conf.run_roots(self.root, self._driver)

    def indexes(self) -> list[str]:
        """Files of which one changes when an owner comes or goes."""
        kinds, (roots, _failed) = ("layers", "containers"), self.run_roots()
        found = [path for what in (*kinds, "images") for path in self.files(what)]
        return found + [self.volatile(what, each.path) for each in roots for what in kinds]


def claims(home: str, now: float, grace: float) -> Claims:
    """Returns the claims of the containers/storage whose home this is.

    :param now: seconds since the epoch.
    :param grace: age in seconds from which on a layer that nothing refers to is not part of a pull under way.
    """
    places = Places(home)
    found = Claims()
    found.looked_at = tuple(Evidence(path) for path in places.files("layers")[:2])
    found.unreferenced_certainty = LIKELY
    run_roots, failed = places.run_roots()
    for error in failed:
        found.doubt_all(error.problem)
    records = _layers(places, run_roots, found)
    referred: set[str] = set()
    containers: set[str] = set()
    for owner, layers in _owners(places, run_roots, found):
        if owner.kind == CONTAINER:
            containers.add(owner.id)
        for layer in layers:
            found.own(layer, owner)
            referred.add(layer)
    for record in records.values():
        if record.parent:
            found.parents[record.id] = record.parent
        if record.incomplete:
            found.unfinished.add(record.id)
        if record.id_mapped:
            found.id_mapped.add(record.id)
        if record.names:
            found.own(record.id, Owner(LAYER, record.id, record.names, "named", evidence=(Evidence(record.path),)))
            referred.add(record.id)
    if not found.problems:
        found.parents_elsewhere.update(
            (record.id, record.parent) for record in records.values() if record.parent and record.parent not in records
        )
    _refer_down(referred, records)
    doubt = _kept_elsewhere(places, run_roots, containers)
    if doubt:
        found.doubt_records(doubt)
    for record in records.values():
        if record.id not in referred:
            _note_unreferenced(found, record, places, now, grace)
    return found


def _kept_elsewhere(places: Places, run_roots: list[storage_conf.RunRoot], containers: set[str]) -> str:
    """Returns why records of containers may be in a place that is not known, as a clause; "" if all are known.

    A transient store has them, and the lock for them, below a run root that only its engine may know. Nevertheless
    each engine has a directory for each of its containers in the graph root (store.go, ContainerDirectory).
    """
    folders = [os.path.dirname(places.volatile("containers", each.path)) for each in run_roots if each.is_ours]
    locks = [os.path.join(folder, "containers.lock") for folder in (places.containers, *folders)]
    if not any(map(os.path.exists, locks)):
        return "the store keeps its containers on record elsewhere, as %s is missing" % locks[0]
    try:
        names = names_in(places.containers)
    except Unreadable as error:
        return "its containers can't be listed: %s" % (error.problem,)
    for name in names:
        folder = os.path.join(places.containers, name)
        if name not in containers and os.path.isdir(folder):
            return "no record here names the container of %s; name its run root in storage.conf" % folder
    return ""


def _note_unreferenced(found: Claims, record: Record, places: Places, now: float, grace: float) -> None:
    evidence = (Evidence(record.path, record.id), Evidence(places.images), Evidence(places.containers))
    if record.incomplete:
        reason = "its making or removal was cut off: it is on record as incomplete, and the engine removes it by itself"
        found.unreferenced[record.id] = reason, evidence
    elif record.created is None or now - record.created < grace:
        found.unknown[record.id] = "nothing refers to it yet, and it is so young that a pull under way may be making it"
    else:
        reason = "the engine has it on record, and no image or container needs it: containers-storage delete-layer"
        found.unreferenced[record.id] = reason, evidence


def _refer_down(referred: set[str], records: dict[str, Record]) -> None:
    """Adds the layers below to a set of layer ids."""
    pending = list(referred)
    while pending:
        record = records.get(pending.pop())
        if record is not None and record.parent and record.parent not in referred:
            referred.add(record.parent)
            pending.append(record.parent)


def _layers(places: Places, run_roots: list[storage_conf.RunRoot], found: Claims) -> dict[str, Record]:
    """Returns the records of all layers by id."""
    records: dict[str, Record] = {}
    outside = [places.volatile("layers", each.path) for each in run_roots]
    for path in (*places.files("layers"), *outside):
        for entry in _entries(path, found.doubt_all):
            try:
                record = _record(entry, path)
            except (TypeError, KeyError, AttributeError, ValueError):
                found.doubt_all(Unreadable(path, "has an entry that can't be understood").problem)
                continue
            if path not in outside or _is_here(places, record.id):
                records[record.id] = record
    return records


def _is_here(places: Places, layer: str) -> bool:
    """True if a layer on record in a run root is one of this store: other stores may have that run root too."""
    return bool(layer) and "/" not in layer and os.path.isdir(os.path.join(places.home, layer))


def _record(entry: dict[str, Any], path: str) -> Record:
    flags = entry.get("flags") or {}
    return Record(
        id=_text(entry["id"]),
        parent=_text(entry.get("parent") or ""),
        names=tuple(map(_text, entry.get("names") or ())),
        incomplete=bool(flags.get("incomplete")),
        id_mapped=_is_mapped(entry),
        created=_seconds(entry.get("created")),
        path=path,
    )


def _owners(places: Places, run_roots: list[storage_conf.RunRoot], found: Claims) -> Iterator[tuple[Owner, list[str]]]:
    """Yields every image and container, and the layers that it needs itself."""
    for path in places.files("images"):
        for entry in _entries(path, found.doubt_all):
            try:
                id, names = _text(entry["id"]), tuple(map(_text, entry.get("names") or ()))
                layers = [_text(entry.get("layer") or ""), *map(_text, entry.get("mapped-layers") or ())]
            except (TypeError, KeyError, AttributeError):
                found.doubt_all(Unreadable(path, "has an entry that can't be understood").problem)
                continue
            evidence = (Evidence(path, "%s.layer" % id),)
            yield Owner(IMAGE, id, names, "tagged" if names else "dangling", evidence=evidence), [*filter(None, layers)]
    outside = [places.volatile("containers", each.path) for each in run_roots]
    for path in (*places.files("containers"), *outside):
        for entry in _entries(path, found.doubt_all):
            try:
                id, layer = _text(entry["id"]), _text(entry.get("layer") or "")
                names = tuple(map(_text, entry.get("names") or ())) or _name_in(entry.get("metadata"))
            except (TypeError, KeyError, AttributeError):
                found.doubt_all(Unreadable(path, "has an entry that can't be understood").problem)
                continue
            if path in outside and not _is_here(places, layer):
                continue
            if _is_mapped(entry):
                found.id_mapped.add(layer)
            evidence = (Evidence(path, "%s.layer" % id),)
            yield Owner(CONTAINER, id, names, "unmounted", evidence=evidence), [layer] if layer else []


def _is_mapped(entry: dict[str, Any]) -> bool:
    """True if the record of a layer or container has id mappings: then the engine gave its files away on purpose."""
    return bool(entry.get("uidmap") or entry.get("gidmap"))


def _entries(path: str, doubt: Callable[[Problem], None]) -> list[Any]:
    try:
        return json_of(path, list) or []
    except Unreadable as error:
        doubt(error.problem)
        return []


def _name_in(metadata: Any) -> tuple[str, ...]:
    """Returns the name that Podman and CRI-O keep in a container's metadata: one or none."""
    try:
        values = json.loads(metadata)
        name = values.get("name") or values.get("container-name") or values.get("pod-name")
    except (TypeError, ValueError, AttributeError, RecursionError):
        return ()
    return (name,) if isinstance(name, str) else ()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _seconds(text: str | None) -> float | None:
    """Returns the seconds since the epoch of a time as Go writes it in JSON, ``2026-01-02T03:04:05.678901234Z``."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)$", text or "")
    if match is None:
        return None
    zone = "+00:00" if match.group(2) == "Z" else match.group(2)
    try:
        return datetime.datetime.fromisoformat(match.group(1) + zone).timestamp()
    except (ValueError, OverflowError):
        return None


def other_homes(home: str) -> list[str]:
    """Returns the homes of stores that layers of this one may stand on: ``imagestore``, ``additionalimagestores``."""
    root, driver = os.path.split(os.path.realpath(home))
    return [os.path.join(store, driver) for store in storage_conf.other_stores(root)]
