# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The records of dockerd about the layers in its overlay2 home.

::

    <data-root>/image/<driver>/layerdb/sha256/<chain>/      cache-id (layer folder), parent (chain ID), diff (diff ID)
                              …/<chain>-<random>-removing/  the same, while the layer is being removed
                           …/layerdb/mounts/<container>/    mount-id, init-id (layer folders), parent (chain ID)
                           …/imagedb/content/sha256/<id>    the image's configuration, with its diff IDs
                           …/imagedb/metadata/sha256/<id>/  parent: the image that the classic builder made it from
                           …/repositories.json              tags
    <data-root>/containers/<container>/config.v2.json       name, state
    <data-root>/buildkit/                                   the build cache, see buildkit.py

After moby's layer/filestore.go, image/fs.go, image/store.go and container/container.go. The engine works in memory and
writes these files before it answers, so the files of a killed engine are as true as those of a running one.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, Dict, NamedTuple, Set, Tuple

from . import buildkit
from .files import Unreadable, content_of, json_of, names_in, parsed, text_of
from .records import CONTAINER, IMAGE, Claims, Evidence, Owner, Problem

_HEX = re.compile(r"[0-9a-f]{64}")
_REMOVING = re.compile(r"([0-9a-f]{64})-[0-9a-f]+-removing")
_CHAIN = re.compile(r"sha256:[0-9a-f]{64}")


class Chain(NamedTuple):
    """A layer of the image store."""

    #: Its id in the home.
    layer: str
    #: Chain ID of its parent; "" for none.
    parent: str
    #: The file that names the folder.
    record: str


class Places:
    """Paths of the files of a dockerd.

    :param home: its overlay2 directory.
    """

    def __init__(self, home: str) -> None:
        real = os.path.realpath(home)
        self.data_root = os.path.dirname(real)
        self.image = os.path.join(self.data_root, "image", os.path.basename(real))
        self.chains = os.path.join(self.image, "layerdb", "sha256")
        self.mounts = os.path.join(self.image, "layerdb", "mounts")
        self.configs = os.path.join(self.image, "imagedb", "content", "sha256")
        self.image_metadata = os.path.join(self.image, "imagedb", "metadata", "sha256")
        self.tags = os.path.join(self.image, "repositories.json")
        self.containers = os.path.join(self.data_root, "containers")

    @property
    def exist(self) -> bool:
        """True if a dockerd has been at work here."""
        return os.path.isdir(os.path.join(self.image, "layerdb"))

    def indexes(self) -> list[str]:
        """Files and directories of which one changes when an owner comes or goes."""
        snapshots = os.path.join(self.data_root, buildkit.SNAPSHOTS)
        return [self.chains, self.mounts, self.configs, self.containers, self.tags, snapshots]


def claims(home: str) -> Claims:
    """Returns the claims of the dockerd whose home this is."""
    return _Reader(Places(home)).read()


class _Reader:
    """Reads all of a dockerd's records once, layers before those that refer to them."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._claims = Claims()
        self._chains: Dict[str, Chain] = {}
        self._referred: Set[str] = set()

    def read(self) -> Claims:
        places, found = self._places, self._claims
        found.looked_at = tuple(Evidence(path) for path in (places.chains, places.mounts)) + (
            Evidence(os.path.join(places.data_root, buildkit.SNAPSHOTS)),
        )
        steps = (
            (self._read_chains, found.doubt_all),
            (self._read_mounts, found.doubt_all),
            (self._read_cache, found.doubt_all),
            (self._read_images, found.doubt_unreferenced),
        )
        for step, doubt in steps:
            try:
                step()
            except Unreadable as error:
                doubt(error.problem)
        for id, chain in self._chains.items():
            if id not in self._referred:
                reason = "the engine has it on record as %s, and no image, container or build cache needs that" % id
                looked_at = (places.configs, places.mounts, os.path.join(places.data_root, buildkit.SNAPSHOTS))
                evidence = (Evidence(chain.record), *map(Evidence, looked_at))
                found.unreferenced.setdefault(chain.layer, (reason, evidence))
        return found

    # Layers of the image store

    def _read_chains(self) -> None:
        for name in names_in(self._places.chains):
            folder = os.path.join(self._places.chains, name)
            removing = _REMOVING.fullmatch(name)
            if not removing and not _HEX.fullmatch(name):
                continue
            try:
                self._read_chain(folder, "sha256:" + name, bool(removing))
            except Unreadable as error:
                self._claims.doubt_all(error.problem)  # it names a folder, and those below it
        for chain in self._chains.values():
            parent = self._chains.get(chain.parent)
            if parent is not None:
                self._claims.parents[chain.layer] = parent.layer

    def _read_chain(self, folder: str, id: str, removing: bool) -> None:
        record = os.path.join(folder, "cache-id")
        layer = text_of(record)
        if layer is None:
            if os.path.isdir(folder) and not removing:
                raise Unreadable(record, "is missing")
            return  # removed meanwhile; a layer goes before its record
        if removing:
            reason = "the engine was removing it, and has it on record only as that"
            self._claims.unreferenced[layer] = reason, (Evidence(record),)
            self._claims.unfinished.add(layer)
            return
        self._chains[id] = Chain(layer, text_of(os.path.join(folder, "parent")) or "", record)

    def _refer(self, id: str) -> Chain | None:
        """Notes that a chain ID and all below it are needed; returns the uppermost layer, None if it is missing."""
        top = chain = self._chains.get(id)
        while chain is not None and id not in self._referred:
            self._referred.add(id)
            id, record = chain.parent, chain.record
            chain = self._chains.get(id)
            if id and chain is None:
                parent = os.path.join(os.path.dirname(record), "parent")
                self._claims.doubt_all(Problem(parent, "names a layer that the engine has no record of"))
        return top

    # Containers

    def _read_mounts(self) -> None:
        for name in names_in(self._places.mounts):
            try:
                self._read_mount(name)
            except Unreadable as error:
                self._claims.doubt_all(error.problem)

    def _read_mount(self, name: str) -> None:
        folder = os.path.join(self._places.mounts, name)
        record = os.path.join(folder, "mount-id")
        layer = text_of(record)
        if layer is None:
            if names_in(folder):
                raise Unreadable(record, "is missing")
            return  # removed meanwhile, or a removal was cut off before the empty directory
        init = text_of(os.path.join(folder, "init-id"))
        parent = text_of(os.path.join(folder, "parent"))
        top = self._refer(parent) if parent else None
        if parent and top is None:
            parent_record = os.path.join(folder, "parent")
            self._claims.doubt_all(Problem(parent_record, "names a layer that the engine has no record of"))
        if init:
            self._claims.parents[layer] = init
        if top is not None:
            self._claims.parents[init or layer] = top.layer
        owner = self._container(name, Evidence(record))
        layers = [layer] + ([init] if init else [])
        if owner is not None:
            for each in layers:
                self._claims.own(each, owner)
            return
        reason = "it was made for container %s, which does not exist" % name
        evidence = (Evidence(record), Evidence(os.path.join(self._places.containers, name)))
        for each in layers:
            self._claims.unreferenced[each] = reason, evidence

    def _container(self, id: str, mount: Evidence) -> Owner | None:
        """Returns a container as an owner; None if there is none of that id."""
        folder = os.path.join(self._places.containers, id)
        config = os.path.join(folder, "config.v2.json")
        try:
            values = json_of(config, dict)
            if values is None:
                if not os.path.isdir(folder):
                    return None
                # Being made or removed, or that was cut off. Layers that were made for it are its own all the same.
                return Owner(CONTAINER, id, (), "incomplete", evidence=(mount, Evidence(folder)))
            state = values.get("State") or {}
            name = values.get("Name")
            if not isinstance(state, dict) or not isinstance(name, str):
                raise Unreadable(config, "has no name or no state")
        except Unreadable as error:
            # Its directory exists, so it owns the layers that were made for it, whatever its name.
            self._claims.problems.append(error.problem)
            return Owner(CONTAINER, id, (), "unreadable", evidence=(mount, Evidence(folder)))
        evidence = (Evidence(config, "Name"), Evidence(config, "State"), mount)
        return Owner(CONTAINER, id, (name.lstrip("/"),), _state(state), evidence=evidence)

    # Build cache

    def _read_cache(self) -> None:
        root = self._places.data_root
        found = buildkit.snapshots(root)
        descriptions = buildkit.describe(root, self._claims.problems) if found else {}
        for snapshot in found.values():
            owner = buildkit.owner(snapshot, descriptions, root)
            if snapshot.is_name:
                self._claims.without_directory.add(snapshot.layer)
            chain = self._refer(snapshot.chain)
            for layer in {snapshot.layer, chain.layer if chain else ""} - {""}:
                self._claims.own(layer, owner)
                below, base = found.get(snapshot.parent), self._refer(snapshot.parent)
                parent = (below.layer if below else "") or (base.layer if base else "")
                if parent:
                    self._claims.parents.setdefault(layer, parent)

    # Images

    def _read_images(self) -> None:
        tags = self._read_tags()
        parents = self._image_parents()
        for name in names_in(self._places.configs):
            if not _HEX.fullmatch(name):
                continue
            try:
                self._read_image("sha256:" + name, os.path.join(self._places.configs, name), tags, parents)
            except Unreadable as error:
                self._claims.doubt_unreferenced(error.problem)

    def _read_image(self, id: str, path: str, tags: dict[str, dict[str, Evidence]], parents: set[str | None]) -> None:
        content = content_of(path)
        if content is None:
            return
        if "sha256:" + hashlib.sha256(content).hexdigest() != id:
            raise Unreadable(path, "does not have the digest that is its name")
        root = parsed(path, content, dict).get("rootfs") or {}
        if not isinstance(root, dict):
            raise Unreadable(path, "has no list of diff IDs")
        diff_ids = root.get("diff_ids") or []
        chain = self._refer(chain_id(path, diff_ids))
        names = tuple(sorted(tags.get(id, {})))
        state = "tagged" if names else "intermediate" if id in parents else "dangling"
        if chain is not None:
            evidence = tuple(tags[id][name] for name in names) if names else ()
            evidence += (Evidence(path, "rootfs.diff_ids"), Evidence(chain.record))
            self._claims.own(chain.layer, Owner(IMAGE, id, names, state, evidence=evidence))
        elif diff_ids:
            self._missing_layers(id, path, diff_ids)

    def _missing_layers(self, id: str, path: str, diff_ids: list[str]) -> None:
        """Notes those layers that have a record, of an image whose uppermost layer has none."""
        for length in range(len(diff_ids) - 1, 0, -1):
            chain = self._refer(chain_id(path, diff_ids[:length]))
            if chain is not None:
                self._claims.own(chain.layer, Owner(IMAGE, id, (), "incomplete", evidence=(Evidence(path),)))
                break
        self._claims.doubt_unrecorded(Problem(path, "names layers that the engine has no record of"))

    def _read_tags(self) -> dict[str, dict[str, Evidence]]:
        """Returns the tags of each image, with the evidence for each."""
        found: dict[str, dict[str, Evidence]] = {}
        try:
            repositories = (json_of(self._places.tags, dict) or {}).get("Repositories") or {}
            for repository, references in repositories.items():
                for reference, id in references.items():
                    evidence = Evidence(self._places.tags, "Repositories.%s.%s" % (repository, reference))
                    found.setdefault(id, {})[reference] = evidence
        except Unreadable as error:  # an image without its name is still an image
            self._claims.problems.append(error.problem)
        except (AttributeError, TypeError):
            self._claims.problems.append(Problem(self._places.tags, "has unexpected content"))
        return found

    def _image_parents(self) -> set[str | None]:
        """Returns the ids of the images that another one was made from."""
        found: set[str | None] = set()
        try:
            names = names_in(self._places.image_metadata)
        except Unreadable as error:  # only the distinction of intermediate images is lost
            self._claims.problems.append(error.problem)
            return found
        for name in names:
            try:
                found.add(text_of(os.path.join(self._places.image_metadata, name, "parent")))
            except Unreadable as error:
                self._claims.problems.append(error.problem)
        return found


def chain_id(path: str, diff_ids: Any) -> str:
    """Returns the chain ID of a list of diff IDs (OCI image-spec, config.md); "" for an image without layers.

    :param path: the file that has the list, for the error.
    :raises Unreadable: it is not a list of diff IDs.
    """
    if not isinstance(diff_ids, list) or not all(isinstance(each, str) and _CHAIN.fullmatch(each) for each in diff_ids):
        raise Unreadable(path, "has no list of diff IDs")
    chain = ""
    for diff_id in diff_ids:
        both = "%s %s" % (chain, diff_id)
        chain = "sha256:" + hashlib.sha256(both.encode("ascii")).hexdigest() if chain else diff_id
    return chain


def _state(state: Dict[str, object]) -> str:
    """Returns a container's state as ``docker ps`` shows it (moby, container/state.go)."""
    for field, name in _STATES:
        if state.get(field):
            return name
    started = state.get("StartedAt")
    return "created" if not started or str(started).startswith("0001-") else "exited"


_STATES: Tuple[Tuple[str, str], ...] = (
    ("Paused", "paused"),
    ("Restarting", "restarting"),
    ("Running", "running"),
    ("RemovalInProgress", "removing"),
    ("Dead", "dead"),
)
