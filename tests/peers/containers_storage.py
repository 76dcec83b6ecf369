# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The ``containers-storage`` program on a store of its own; all gone again when the block ends."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess

from . import environment, need, scratch


class StorageError(Exception):
    """containers-storage refused; the message has its own words."""


@contextlib.contextmanager
def store():
    """A store for the length of a ``with`` block; gives a :class:`Store`. Unmounts and removes it at the end."""
    need("containers-storage")
    with scratch("containers") as folder:
        yield Store(folder)


class Store:
    """One store in `folder`. `home` is where its overlay driver keeps its layers."""

    def __init__(self, folder):
        self.folder = folder
        self.root = os.path.join(folder, "root")
        self.runroot = os.path.join(folder, "run")
        self.home = os.path.join(self.root, "overlay")
        # A configuration of our own: the host's may add mount options (Debian's: nodev) and image stores.
        self._config = os.path.join(folder, "storage.conf")
        os.makedirs(folder, exist_ok=True)
        with open(self._config, "w") as config:
            config.write(f'[storage]\ndriver = "overlay"\ngraphroot = "{self.root}"\nrunroot = "{self.runroot}"\n')

    def command(self, *arguments):
        """The command line (list of str) of one call on this store."""
        return ["env", "CONTAINERS_STORAGE_CONF=" + self._config, "containers-storage", *arguments]

    def run(self, *arguments):
        """Run one command; its output as bytes. Raises :class:`StorageError` with what it said on failure."""
        done = subprocess.run(
            self.command(*arguments), check=False, stdin=subprocess.DEVNULL, capture_output=True, env=environment()
        )
        if done.returncode != 0:
            said = (done.stderr + done.stdout).decode(errors="replace").strip()
            raise StorageError(f"containers-storage {' '.join(arguments)}: {said}")
        return done.stdout

    def create(self, layer, parent=""):
        """Make the layer `layer` on `parent`."""
        self.run("create-layer", "--id", layer, *([parent] if parent else []))

    def apply(self, layer, archive):
        """Apply the tar in the file `archive` to `layer`."""
        self.run("applydiff", "--file", archive, layer)

    def diff(self, layer, parent="", own=True):
        """The layer as a tar (bytes).

        :param own: what its driver writes; else the archive that was applied, which it keeps the frame of (tar-split)
            and gives back bit for bit.
        """
        with self.without_frame(layer) if own else contextlib.nullcontext():
            return self.run("diff", "--uncompressed", layer, *([parent] if parent else []))

    @contextlib.contextmanager
    def without_frame(self, layer):
        """For the length of a ``with`` block, the store has forgotten the frame of the archive applied to `layer`."""
        frame = os.path.join(self.root, "overlay-layers", layer + ".tar-split.gz")
        aside = frame + ".aside"
        if not os.path.exists(frame):
            yield
            return
        os.rename(frame, aside)
        try:
            yield
        finally:
            os.rename(aside, frame)

    def changes(self, layer, parent=""):
        """A sorted list of (path, kind), kind 0 modified, 1 added, 2 deleted."""
        answer = json.loads(self.run("changes", "--json", layer, *([parent] if parent else [])) or b"[]")
        return sorted((change["Path"], change["Kind"]) for change in answer or [])

    def diff_size(self, layer, parent=""):
        """Bytes."""
        return int(self.run("diffsize", layer, *([parent] if parent else [])))

    def layers(self):
        """Dict of layer id to parent id ("" if it has none)."""
        return {layer["id"]: layer.get("parent", "") for layer in json.loads(self.run("layers", "--json"))}

    @contextlib.contextmanager
    def mounted(self, layer):
        """The layer's mount path for the length of a ``with`` block."""
        path = self.run("mount", layer).decode().strip()
        try:
            yield path
        finally:
            self.run("unmount", layer)
