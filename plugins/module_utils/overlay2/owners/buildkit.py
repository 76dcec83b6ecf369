# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The build cache that dockerd's BuildKit keeps beside its images: the layers that its snapshots are.

``buildkit/snapshots.db`` (moby, builder/builder-next/adapters/snapshot) has a bucket for each snapshot. A committed one
names its layer; otherwise the layer has the snapshot's own name. Names that are chain IDs, and the field ``chainid``,
refer to layers of the image store. ``buildkit/metadata_v2.db`` (buildkit, cache/metadata) describes them.
"""

from __future__ import annotations

import json
import os
from typing import Callable, Mapping, NamedTuple, TypeVar

from . import bolt
from .files import Unreadable
from .records import BUILD_CACHE, Evidence, Owner, Problem

_T = TypeVar("_T")

FOLDER = "buildkit"
SNAPSHOTS = os.path.join(FOLDER, "snapshots.db")
#: Its name in dockerd 18.09 to 19.03, and from 20.10 on.
_METADATA = tuple(os.path.join(FOLDER, name) for name in ("metadata_v2.db", "metadata.db"))
_MAIN = b"_main"


class Snapshot(NamedTuple):
    """One snapshot of the build cache."""

    id: str
    #: Id of its layer; "" if it is a layer of the image store.
    layer: str
    #: Chain ID in the image store; "" if it is not part of that.
    chain: str
    #: Snapshot or chain ID that it stands on; "" for none.
    parent: str
    #: Its layer may lack a directory: it was never prepared, only named after a layer of the image store. BuildKit's
    #: records of a local image are like that.
    is_name: bool


def snapshots(data_root: str) -> dict[str, Snapshot]:
    """Returns the snapshots by id; none if BuildKit was never used.

    :raises Unreadable: the database is damaged, or may not be read.
    """
    path = os.path.join(data_root, SNAPSHOTS)
    raw = _read(path, _fields_of)
    committed = {fields.get("committed"): id for id, fields in raw.items() if fields.get("committed")}
    found = {}
    for id, fields in raw.items():
        if id in committed:
            continue  # the working copy of a snapshot that was committed since; both name the same layer
        working = raw.get(fields.get("committed", ""), {})
        chain = id if id.startswith("sha256:") else fields.get("chainid", "")
        layer = "" if id.startswith("sha256:") else fields.get("committed") or id
        is_name = bool(chain) and "committed" not in fields and "parent" not in fields
        found[id] = Snapshot(id, layer, chain, fields.get("parent") or working.get("parent", ""), is_name)
    return found


def describe(data_root: str, problems: list[Problem]) -> dict[str, tuple[str, str]]:
    """Returns the type and the build step of each cache record, by snapshot id, to describe owners with.

    :param problems: gets the databases that can't be read.
    """
    for name in _METADATA:
        path = os.path.join(data_root, name)
        if not os.path.lexists(path):
            continue
        try:
            return _read(path, _descriptions)
        except Unreadable as error:
            problems.append(error.problem)
    return {}


def owner(snapshot: Snapshot, descriptions: Mapping[str, tuple[str, str]], data_root: str) -> Owner:
    """Returns a snapshot as an owner."""
    kind, what = descriptions.get(snapshot.id, ("", ""))
    evidence = Evidence(os.path.join(data_root, SNAPSHOTS), snapshot.id)
    return Owner(BUILD_CACHE, snapshot.id, (what,) if what else (), kind or "regular", evidence=(evidence,))


def _read(path: str, collect: Callable[[bolt.Bucket], dict[str, _T]]) -> dict[str, _T]:
    try:
        return bolt.read(path, collect)
    except FileNotFoundError:
        return {}
    except bolt.BoltError as error:
        raise Unreadable(path, str(error)) from error
    except OSError as error:
        raise Unreadable(path, "can't be read: %s" % error.strerror) from error


def _fields_of(root: bolt.Bucket) -> dict[str, dict[str, str]]:
    """Returns the text fields of each bucket, by id."""
    return {_text(id): _texts(bucket) for id, bucket in root.items() if isinstance(bucket, bolt.Bucket)}


def _texts(bucket: bolt.Bucket) -> dict[str, str]:
    return {_text(key): _text(value) for key, value in bucket.items() if isinstance(value, bytes)}


def _descriptions(root: bolt.Bucket) -> dict[str, tuple[str, str]]:
    main = root.get(_MAIN)
    if not isinstance(main, bolt.Bucket):
        return {}
    found = {}
    for id, bucket in main.items():
        if isinstance(bucket, bolt.Bucket):
            fields = _texts(bucket)
            found[_text(id)] = _value(fields, "cache.recordType"), _value(fields, "cache.description")
    return found


def _value(fields: Mapping[str, str], name: str) -> str:
    """Returns a text that BuildKit keeps as ``{"value": ...}``; "" if it is missing."""
    try:
        value = json.loads(fields.get(name) or "{}").get("value", "")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
