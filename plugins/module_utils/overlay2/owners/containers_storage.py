# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What containers/storage (Podman, Buildah, CRI-O, Skopeo) says of the layers in its overlay home.

::

    <graph root>/<driver>-layers/layers.json, volatile-layers.json      each layer, its parent, names, flags
                …/<driver>-images/images.json                           names, the uppermost layer, mapped layers
                …/<driver>-containers/containers.json, volatile-…       names, image, layer

After its layers.go, images.go, containers.go. With ``transient_store`` the volatile files are below the run root. A
layer is written down and its folder made under one lock, ``layers.lock``; but an image is written down after all of its
layers, with no lock in between, so a young layer that nothing refers to may be of a pull that is under way.
"""

from __future__ import annotations

import datetime
import glob
import json
import os
import re
from typing import Dict, NamedTuple, Optional, Tuple

from ..home.layout import read_small
from .files import Unreadable, json_of
from .records import CONTAINER, IMAGE, LAYER, LIKELY, Claims, Evidence, Owner

_CONFIGURATION = ("/usr/share/containers/storage.conf", "/etc/containers/storage.conf")
_RUN_ROOT = re.compile(rb'^\s*runroot\s*=\s*"([^"]+)"', re.MULTILINE)
_OTHER_STORES = re.compile(rb"^\s*additionalimagestores\s*=\s*\[([^\]]*)\]", re.MULTILINE)
_QUOTED = re.compile(rb'"([^"]+)"')


class Record(NamedTuple):
    """A layer of layers.json."""

    id: str
    parent: str
    names: Tuple[str, ...]
    incomplete: bool
    #: When it was made (seconds since the epoch); None where that can't be read.
    created: Optional[float]
    path: str


class Places:
    """Where a containers/storage keeps its files.

    :param home: its overlay folder (str).
    """

    def __init__(self, home):
        real = os.path.realpath(home)
        self.root, driver = os.path.split(real)
        self.layers, self.images, self.containers = (
            os.path.join(self.root, "%s-%s" % (driver, what)) for what in ("layers", "images", "containers")
        )
        self.locks = [
            os.path.join(folder, name)
            for folder, name in (
                (self.layers, "layers.lock"), (self.images, "images.lock"), (self.containers, "containers.lock")
            )
        ]  # fmt: skip
        self._driver = driver

    @property
    def exist(self):
        """Whether a containers/storage has been at work here (bool)."""
        return os.path.isdir(self.layers)

    def files(self, what):
        """Paths (list of str) of the JSON files of ``what``: layers, images or containers."""
        folders = {"layers": self.layers, "images": self.images, "containers": self.containers}
        found = [os.path.join(folders[what], what + ".json")]
        if what != "images":
            volatile = "volatile-%s.json" % what
            found.append(os.path.join(folders[what], volatile))
            found += [os.path.join(root, "%s-%s" % (self._driver, what), volatile) for root in _run_roots()]
        return found

    def indexes(self):
        """Files (list of str) of which one changes when an owner comes or goes."""
        return [path for what in ("layers", "images", "containers") for path in self.files(what)]


def claims(home, now, grace):
    """The :class:`~.records.Claims` of the containers/storage whose home this is.

    :param now: seconds since the epoch (float).
    :param grace: age in seconds from which on a layer that nothing refers to is of no pull that is under way.
    """
    places = Places(home)
    found = Claims()
    found.looked_at = tuple(Evidence(path) for path in places.files("layers")[:2])
    found.unreferenced_certainty = LIKELY
    records = _layers(places, found)
    referred = set()
    for owner, layers in _owners(places, found):
        for layer in layers:
            found.own(layer, owner)
            referred.add(layer)
    for record in records.values():
        if record.parent:
            found.parents[record.id] = record.parent
        if record.names:
            found.own(record.id, Owner(LAYER, record.id, record.names, "named", evidence=(Evidence(record.path),)))
            referred.add(record.id)
    _refer_down(referred, records)
    for record in records.values():
        if record.id not in referred:
            _note_unreferenced(found, record, places, now, grace)
    return found


def _note_unreferenced(found, record, places, now, grace):
    evidence = (Evidence(record.path, record.id), Evidence(places.images), Evidence(places.containers))
    if record.incomplete:
        reason = "its making was broken off: it is on record as incomplete, and the engine removes it by itself"
        found.unreferenced[record.id] = reason, evidence
    elif record.created is None or now - record.created < grace:
        found.unknown[record.id] = "nothing refers to it yet, and it is so young that a pull under way may be making it"
    else:
        reason = "the engine has it on record, and no image or container needs it: containers-storage delete-layer"
        found.unreferenced[record.id] = reason, evidence


def _refer_down(referred, records):
    """Add to a set of layer ids all those that they stand on."""
    pending = list(referred)
    while pending:
        record = records.get(pending.pop())
        if record is not None and record.parent and record.parent not in referred:
            referred.add(record.parent)
            pending.append(record.parent)


def _layers(places, found):
    """The records of all layers: dict of id to :class:`Record`."""
    records: Dict[str, Record] = {}
    for path in places.files("layers"):
        for entry in _entries(path, found.doubt_all):
            try:
                record = _record(entry, path)
            except (TypeError, KeyError, AttributeError, ValueError):
                found.doubt_all(Unreadable(path, "has an entry that can't be understood").problem)
                continue
            records[record.id] = record
    return records


def _record(entry, path):
    flags = entry.get("flags") or {}
    return Record(
        id=_text(entry["id"]),
        parent=_text(entry.get("parent") or ""),
        names=tuple(map(_text, entry.get("names") or ())),
        incomplete=bool(flags.get("incomplete")),
        created=_seconds(entry.get("created")),
        path=path,
    )


def _owners(places, found):
    """(owner, ids of the layers it needs itself) of every image and container."""
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
    for path in places.files("containers"):
        for entry in _entries(path, found.doubt_all):
            try:
                id, layer = _text(entry["id"]), _text(entry.get("layer") or "")
                names = tuple(map(_text, entry.get("names") or ())) or _name_in(entry.get("metadata"))
            except (TypeError, KeyError, AttributeError):
                found.doubt_all(Unreadable(path, "has an entry that can't be understood").problem)
                continue
            evidence = (Evidence(path, "%s.layer" % id),)
            yield Owner(CONTAINER, id, names, "unmounted", evidence=evidence), [layer] if layer else []


def _entries(path, doubt):
    try:
        return json_of(path, list) or []
    except Unreadable as error:
        doubt(error.problem)
        return []


def _name_in(metadata):
    """The name that Podman and CRI-O keep in a container's metadata (tuple of str)."""
    try:
        values = json.loads(metadata)
        name = values.get("name") or values.get("container-name") or values.get("pod-name")
    except (TypeError, ValueError, AttributeError, RecursionError):
        return ()
    return (name,) if isinstance(name, str) else ()


def _text(value):
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _seconds(text):
    """Seconds since the epoch of a time as Go writes it in JSON, such as ``2026-01-02T03:04:05.678901234Z``."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)$", text or "")
    if match is None:
        return None
    zone = "+00:00" if match.group(2) == "Z" else match.group(2)
    try:
        return datetime.datetime.fromisoformat(match.group(1) + zone).timestamp()
    except (ValueError, OverflowError):
        return None


def other_homes(home):
    """Homes of the read-only stores that layers of this one may stand on (list of str): ``additionalimagestores``."""
    driver = os.path.basename(os.path.realpath(home))
    found = [_QUOTED.findall(stores) for content in _configurations() for stores in _OTHER_STORES.findall(content)]
    return [os.path.join(os.fsdecode(store), driver) for stores in found for store in stores]


def _run_roots():
    """Folders where a transient store may keep its volatile files; one that belongs to another store does no harm."""
    found = ["/run/containers/storage", *glob.glob("/run/user/*/containers")]
    found += [os.fsdecode(root) for content in _configurations() for root in _RUN_ROOT.findall(content)]
    return list(dict.fromkeys(found))


def _configurations():
    """Contents (bytes) of the configuration files of containers/storage that can be read."""
    for path in (*_CONFIGURATION, os.environ.get("CONTAINERS_STORAGE_CONF")):
        if path:
            try:
                yield read_small(path) or b""
            except OSError:
                continue
