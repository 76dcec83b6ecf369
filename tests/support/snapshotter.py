# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A home in a format like containerd's, read through the interface alone: no ``l/``, no ``link``, no ``lower``.

Layers are ``<home>/<number>/fs``; parents stand in one table. It has no writer and no mounts.
"""

from __future__ import annotations

import os
import tarfile

from overlay2.errors import LayerNotFound
from overlay2.home.layer import Layer, LayerPaths, LowerDirectory

from .trees import stream


class Snapshots:
    """A ``LayerReader`` of such a home.

    :param parents: id to the id of the parent, "" for none.
    """

    def __init__(self, path, parents):
        self.path = path
        self._parents = parents

    def add(self, layer_id, parent, files):
        """Make a layer with these files."""
        os.makedirs(self.upper_dir(layer_id))
        with tarfile.open(fileobj=stream(files)) as archive:
            archive.extractall(self.upper_dir(layer_id), filter="fully_trusted")
        self._parents[layer_id] = parent

    def _chain(self, layer_id):
        chain = []
        while layer_id := self._parents[layer_id]:
            chain.append(layer_id)
        return chain

    def problems(self):
        return []

    def watched(self):
        return self.path, ""

    def ids(self):
        return sorted(filter(self.is_layer, os.listdir(self.path)))

    def is_layer(self, layer_id):
        return layer_id in self._parents

    def exists(self, layer_id):
        return os.path.isdir(os.path.join(self.path, layer_id))

    def require(self, layer_id):
        if not self.exists(layer_id):
            raise LayerNotFound("no such layer", layer=layer_id)
        return os.path.join(self.path, layer_id)

    def layers(self, ids=None):
        for layer_id in self.ids() if ids is None else sorted(ids):
            chain = tuple(self._chain(layer_id))
            yield Layer(layer_id, self._parents[layer_id], chain, (), "", bool(self.children(layer_id)))

    def children(self, layer_id):
        return sorted(child for child, parent in self._parents.items() if parent == layer_id)

    def upper_dir(self, layer_id):
        return os.path.join(self.path, layer_id, "fs")

    def merged_dir(self, layer_id):
        return ""

    def why_hidden(self, layer_id):
        return ""

    def paths(self, layer_id):
        return LayerPaths(self.upper_dir(layer_id), os.path.join(self.path, layer_id, "work"), "")

    def lower_dirs(self, layer_id):
        return [self.upper_dir(lower) for lower in self._chain(layer_id)]

    def lower_chain(self, layer_id):
        return [LowerDirectory(lower, self.upper_dir(lower)) for lower in self._chain(layer_id)]

    def has_parent(self, layer_id):
        return bool(self._parents[layer_id])

    def layer_at(self, path):
        first = path.partition("/")[0]
        return first if self.is_layer(first) else None

    def created(self, layer_id):
        return os.stat(os.path.join(self.path, layer_id)).st_mtime
