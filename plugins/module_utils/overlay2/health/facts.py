# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""A home in the graph drivers' format, read once for all checks. Nothing is judged here, and nothing fails."""

from __future__ import annotations

import os
import stat
from typing import Dict, NamedTuple, Optional, Tuple

from ..errors import LayerDamaged
from ..home.layout import DIFF, LINK, LINK_DIR, LOWER, OWN_NAMES, is_link_id, read_small
from ..home.store import GraphDriverStore, layer_of_target
from ..linux import mountinfo


class LayerFacts(NamedTuple):
    """The contents of a layer's directory."""

    id: str
    path: str
    info: os.stat_result
    #: lstat(2) of each entry.
    entries: Dict[str, os.stat_result]
    #: Content of the files, None if one is missing or can't be read.
    link_file: Optional[bytes]
    lower_file: Optional[bytes]
    #: Names in ``l/`` of the layers below, uppermost first; None if ``lower`` is damaged.
    lowers: Optional[Tuple[str, ...]]

    @property
    def link(self) -> str:
        """Its name in ``l/`` by its own file; "" if that does not hold a name as engines make them."""
        name = os.fsdecode(self.link_file or b"")
        return name if is_link_id(name) else ""

    def is_directory(self, name: str) -> bool:
        """True if it has a directory of that name."""
        return name in self.entries and stat.S_ISDIR(self.entries[name].st_mode)


class HomeFacts:
    """The contents of a home.

    :raises OSError: it cannot be listed.
    """

    def __init__(self, store: GraphDriverStore) -> None:
        self.store = store
        self.path = store.path
        self.info = os.stat(self.path)
        self.layers: dict[str, LayerFacts] = {}
        #: Directories in the home that are not layers.
        self.others: list[LayerFacts] = []
        #: lstat(2) of ``l``; None if it is missing.
        self.link_dir = _lstat(self.link_path())
        #: Entries of ``l``: name to the target of the symbolic link; None for anything else.
        self.shorts = _link_targets(store)
        self._read_layers()
        #: Names in ``l`` whose symbolic links lead to each layer.
        self.names = self._names_of_layers()
        #: The layer that has each name, by the symbolic links or, if they are lost, by the layers' own files.
        self.named = self._who_is_named()
        #: Layers that stand directly on each layer.
        self.children = self._who_stands_on()
        #: Names in ``l`` that some lower chain has.
        self.wanted = {name for layer in self.layers.values() for name in layer.lowers or ()}
        self.mounts = mountinfo.mounts(below=os.path.realpath(self.path))

    def link_path(self, name: str = "") -> str:
        """Returns the path of ``l``, or of a name in it."""
        return os.path.join(self.path, LINK_DIR, name) if name else os.path.join(self.path, LINK_DIR)

    def _read_layers(self) -> None:
        with os.scandir(self.path) as listed:
            folders = sorted(entry.name for entry in listed if entry.is_dir(follow_symlinks=False))
        for name in folders:
            if name in OWN_NAMES:
                continue
            facts = self._layer(name)
            if facts is None:
                continue
            if DIFF in facts.entries or LINK in facts.entries:
                self.layers[name] = facts
            else:
                self.others.append(facts)

    def is_elsewhere(self, name: str) -> bool:
        """True if a link in ``l`` leads to a layer outside of the home that has that name."""
        target = self.shorts.get(name)
        if target is None or layer_of_target(target) is not None:
            return False
        diff = os.path.join(self.link_path(), target)
        try:
            return os.path.isdir(diff) and read_small(os.path.join(os.path.dirname(diff), LINK)) == os.fsencode(name)
        except OSError:
            return False

    def _layer(self, layer_id: str) -> LayerFacts | None:
        path = self.store.at(layer_id)
        entries = {}
        try:
            info = os.lstat(path)
            with os.scandir(path) as listed:
                for entry in listed:
                    entries[entry.name] = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError:
            entries = {}
        files = self.store.files(layer_id)
        contents: dict[str, bytes | None] = {}
        for name in (LINK, LOWER):
            try:
                is_file = name in entries and stat.S_ISREG(entries[name].st_mode)
                contents[name] = files.content(name) if is_file else None
            except LayerDamaged:
                contents[name] = None
        lowers: tuple[str, ...] | None = ()
        if LOWER in entries:
            try:
                lowers = tuple(link[len(LINK_DIR) + 1 :] for link in files.lower_links) if contents[LOWER] else None
            except LayerDamaged:
                lowers = None
        return LayerFacts(layer_id, path, info, entries, contents[LINK], contents[LOWER], lowers)

    def _names_of_layers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.shorts:
            found.setdefault(self.owner_of_short(name) or "", []).append(name)
        return found

    def owner_of_short(self, name: str) -> str | None:
        """Returns the layer that a symbolic link in ``l`` leads to; None if it leads to none."""
        layer = layer_of_target(self.shorts.get(name))
        return layer if layer in self.layers else None

    def _who_is_named(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for layer in self.layers.values():
            if layer.link:
                found.setdefault(layer.link, layer.id)
        for name in self.shorts:
            leads_to = self.owner_of_short(name)
            if leads_to is not None and not (name in found and self._is_wrong(name, leads_to, found[name])):
                found[name] = leads_to
        return found

    def _is_wrong(self, name: str, leads_to: str, claimant: str) -> bool:
        """True if the layer that a link leads to has another name by its own file, and ``claimant`` has this one."""
        own = self.layers[leads_to].link
        return leads_to != claimant and bool(own) and own != name

    def _who_stands_on(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for layer in self.layers.values():
            if layer.lowers:
                parent = self.named.get(layer.lowers[0])
                if parent is not None:
                    found.setdefault(parent, []).append(layer.id)
        return found


def _link_targets(store: GraphDriverStore) -> dict[str, str | None]:
    try:
        return dict(sorted(store.link_targets().items()))
    except OSError:
        return {}


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
