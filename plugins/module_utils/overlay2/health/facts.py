# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""A home as it lies there, read once: what the checks are made on. Nothing is judged here, and nothing fails."""

from __future__ import annotations

import os
import re
import stat
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..home.layout import DIFF, LINK, LINK_DIR, LOWER, QUOTA_DEVICE, STAGING, is_link_name, read_small
from ..linux import mountinfo

#: What dockerd, containers/storage and this driver name layers in ``l``.
_NAME = re.compile(r"[A-Z2-7]{26}")
_OWN = (LINK_DIR, STAGING, QUOTA_DEVICE)


class LayerFacts(NamedTuple):
    """What is in a layer's folder."""

    id: str
    path: str
    info: os.stat_result
    #: lstat(2) of each entry.
    entries: Dict[str, os.stat_result]
    #: Content of the files, None where one is missing or can't be read.
    link_file: Optional[bytes]
    lower_file: Optional[bytes]
    #: Names in ``l/`` of the layers below, uppermost first; None where ``lower`` is damaged.
    lowers: Optional[Tuple[str, ...]]

    @property
    def link(self):
        """Its name in ``l/`` as its own file has it; "" where that holds none."""
        name = os.fsdecode(self.link_file or b"")
        return name if _NAME.fullmatch(name) else ""

    def is_folder(self, name):
        """Whether it has a folder of that name (bool)."""
        return name in self.entries and stat.S_ISDIR(self.entries[name].st_mode)


class Home:
    """The facts of a home.

    :param path: its folder (str).
    :raises OSError: it can't be listed.
    """

    def __init__(self, path):
        self.path = path
        self.info = os.stat(path)
        self.layers: Dict[str, LayerFacts] = {}
        #: Folders in the home that are no layers.
        self.others: List[LayerFacts] = []
        #: lstat(2) of ``l``; None where it is missing.
        self.link_dir = _lstat(self.link_path())
        #: Entries of ``l``: name to where the symbolic link leads; None for what is no symbolic link.
        self.shorts: Dict[str, Optional[str]] = self._read_shorts()
        self.staged = _names(os.path.join(path, STAGING))
        self._read_layers()
        #: Names in ``l`` whose symbolic links lead to each layer.
        self.names = self._names_of_layers()
        #: The layer that goes by each name, by the symbolic links or, where they are lost, the layers' own files.
        self.named = self._who_is_named()
        #: Layers that stand directly on each layer.
        self.children = self._who_stands_on()
        #: Names in ``l`` that some lower chain has.
        self.wanted = {name for layer in self.layers.values() for name in layer.lowers or ()}
        self.mounts = mountinfo.mounts(below=os.path.realpath(path))

    def link_path(self, name=""):
        """Path (str) of ``l``, or of a name in it."""
        return os.path.join(self.path, LINK_DIR, name) if name else os.path.join(self.path, LINK_DIR)

    def _read_shorts(self):
        found = {}
        for name in _names(self.link_path()):
            try:
                found[name] = os.readlink(self.link_path(name))
            except OSError:
                found[name] = None
        return found

    def _read_layers(self):
        with os.scandir(self.path) as listed:
            folders = sorted(entry.name for entry in listed if entry.is_dir(follow_symlinks=False))
        for name in folders:
            if name in _OWN:
                continue
            facts = _layer(name, os.path.join(self.path, name))
            if facts is None:
                continue
            if DIFF in facts.entries or LINK in facts.entries:
                self.layers[name] = facts
            else:
                self.others.append(facts)

    def is_elsewhere(self, name: str) -> bool:
        """True if a link in ``l`` leads to a layer outside of the home that goes by that name."""
        target = self.shorts.get(name)
        if target is None or layer_of_target(target) is not None:
            return False
        diff = os.path.join(self.link_path(), target)
        try:
            return os.path.isdir(diff) and read_small(os.path.join(os.path.dirname(diff), LINK)) == os.fsencode(name)
        except OSError:
            return False

    def _names_of_layers(self):
        found: Dict[str, List[str]] = {}
        for name in self.shorts:
            found.setdefault(self.owner_of_short(name) or "", []).append(name)
        return found

    def owner_of_short(self, name):
        """Id of the layer that a symbolic link in ``l`` leads to (str); None where it leads to none."""
        layer = layer_of_target(self.shorts.get(name))
        return layer if layer in self.layers else None

    def _who_is_named(self):
        found = {}
        for layer in self.layers.values():
            if layer.link:
                found.setdefault(layer.link, layer.id)
        for name in self.shorts:
            layer = self.owner_of_short(name)
            if layer is not None and not (name in found and self._is_right(found[name], name)):
                found[name] = layer
        return found

    def _is_right(self, layer, name):
        """Whether a layer says itself that it goes by a name, and the one its link leads to says otherwise (bool)."""
        other = self.owner_of_short(name)
        return other != layer and bool(self.layers[other].link) and self.layers[other].link != name

    def _who_stands_on(self):
        found: Dict[str, List[str]] = {}
        for layer in self.layers.values():
            if layer.lowers:
                parent = self.named.get(layer.lowers[0])
                if parent is not None:
                    found.setdefault(parent, []).append(layer.id)
        return found


def layer_of_target(target):
    """Id of the layer that a target ``../<id>/diff`` names (str); None for another target, or None."""
    parts = (target or "").rstrip("/").split("/")
    return parts[1] if len(parts) == 3 and parts[0] == ".." and parts[1] and parts[2] == DIFF else None


def _layer(name, path):
    try:
        info = os.lstat(path)
        entries = {}
        with os.scandir(path) as listed:
            for entry in listed:
                entries[entry.name] = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError:
        entries = {}
    link_file, lower_file = _small_files(path, entries)
    lowers = _chain(lower_file) if LOWER in entries else ()
    return LayerFacts(name, path, info, entries, link_file, lower_file, lowers)


def _chain(content):
    """Names in a ``lower`` file (tuple of str); None for one that is damaged."""
    prefix = LINK_DIR + "/"
    entries = os.fsdecode(content or b"").split(":")
    if not all(entry.startswith(prefix) and is_link_name(entry[len(prefix) :]) for entry in entries):
        return None
    return tuple(entry[len(prefix) :] for entry in entries)


def _small_files(path, entries) -> Tuple[Optional[bytes], Optional[bytes]]:
    found = []
    for name in (LINK, LOWER):
        content = None
        if name in entries and stat.S_ISREG(entries[name].st_mode):
            try:
                content = read_small(os.path.join(path, name))
            except OSError:
                content = None
        found.append(content)
    return found[0], found[1]


def _lstat(path):
    try:
        return os.lstat(path)
    except OSError:
        return None


def _names(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
