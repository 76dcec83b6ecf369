# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""How layers differ from others: archives, lists and sizes of that, natively and by mounts (see :mod:`.content`)."""

from __future__ import annotations

import contextlib
import logging
import os
import stat

from .changes import ChangeKind, NotComparable, compare, lstat, overlay_changes
from .errors import ChangedWhileRead, ReadOnlyDriver
from .filling import named
from .home.layout import DIFF
from .idmap import IDENTITY
from .linux import fs
from .tar.pack import pack_changes, pack_tree
from .tar.stream import TarStream

log = logging.getLogger("overlay2")


class Diffs:
    """The differences of one home's layers.

    :param store: the home's :class:`~.layers.Store`.
    :param features: its :class:`~.features.Features`.
    :param id_map: an :class:`~.idmap.IdMap`.
    :param content: its :class:`~.content.Content`.
    :param references: its :class:`~.references.References`, to mount layers for a moment.
    :param read_only: mount nothing; what needs a mount raises :class:`~.errors.ReadOnlyDriver`.
    """

    def __init__(self, store, features, id_map, content, references, read_only):
        self._store = store
        self._features = features
        self._id_map = id_map
        self._content = content
        self._references = references
        self._read_only = read_only

    # Archiving

    def diff(self, layer, parent, all_xattrs):
        """A tar stream of what the layer changes; moby's Diff.

        :returns: a :class:`~.tar.stream.TarStream`.
        """
        with self._content.about(layer, parent):
            if self._content.is_native(layer, parent):
                return self._native_diff(layer, all_xattrs)
            return self._naive_diff(layer, parent, all_xattrs)

    def _native_diff(self, layer, all_xattrs):
        with contextlib.ExitStack() as stack:
            root = self._store.open_diff(stack, layer)
            chunks = pack_tree(
                root, overlay=True, xattr_class=self._features.xattr_class, id_map=self._id_map, all_xattrs=all_xattrs
            )
            return _stream(stack, layer, root, chunks)

    def _naive_diff(self, layer, parent, all_xattrs):
        with contextlib.ExitStack() as stack:
            path = stack.enter_context(self._mounted(layer))
            root = fs.open_on(stack, path)
            if parent:
                with self._mounted(parent) as parent_path:
                    changes = self._compare(path, parent_path)
                chunks = pack_changes(root, changes, id_map=self._id_map, all_xattrs=all_xattrs)
            else:
                chunks = pack_tree(root, overlay=False, id_map=IDENTITY, all_xattrs=all_xattrs)
            return _stream(stack, layer, root, chunks)

    # Listing and measuring

    def changes(self, layer, parent):
        """List of :class:`~.changes.Change` against ``parent``, sorted by path; moby's Changes."""
        with self._content.about(layer, parent):
            if self._content.is_native(layer, parent):
                try:
                    return self._native_changes(layer)
                except NotComparable as reason:
                    log.info("layer %s: comparing it by mounts: %s", layer, reason)
            with self._mounted(layer) as path:
                if not parent:
                    return self._compare(path, None)
                with self._mounted(parent) as parent_path:
                    return self._compare(path, parent_path)

    def _native_changes(self, layer):
        with contextlib.ExitStack() as stack:
            root = self._store.open_diff(stack, layer)
            lowers = [fs.open_on(stack, folder) for folder in self._store.lower_dirs(layer)]
            if not lowers:
                return compare(root, None)  # never mounted, so its whiteouts show: as devices
            return overlay_changes(root, lowers, self._features.xattr_class)

    @staticmethod
    def _compare(path, parent_path):
        with contextlib.ExitStack() as stack:
            new = fs.open_on(stack, path)
            return compare(new, None if parent_path is None else fs.open_on(stack, parent_path))

    def diff_size(self, layer, parent):
        """Bytes that the layer adds to ``parent`` (int); moby's DiffSize."""
        if self._content.is_native(layer, parent):
            return self._content.own_size(layer)
        with self._content.about(layer, parent), self._mounted(layer) as path, contextlib.ExitStack() as stack:
            return _size_of(fs.open_on(stack, path), self.changes(layer, parent))

    @contextlib.contextmanager
    def _mounted(self, layer):
        """The layer mounted for a moment: yields the path."""
        if self._read_only:
            if not self._store.has_lower(layer):
                yield self._store.path(layer, DIFF)
                return
            raise ReadOnlyDriver(
                "answering that takes a mount of it, and this driver was opened for reading only",
                layer=layer,
                path=self._store.path(layer),
            )
        path = self._references.get(layer, "", "")
        try:
            yield path
        finally:
            self._references.put(layer, "")


def _size_of(root, changes):
    """Bytes of the files that were added or modified (int); moby's archive.ChangesSize.

    :param root: the layer's folder, open (int).
    """
    total, seen = 0, set()
    for change in changes:
        if change.kind == ChangeKind.DELETE:
            continue
        info = lstat(root, change.path)
        if info is None:
            log.info("vanished while its size was taken: %s", change.path)
            continue
        if stat.S_ISDIR(info.st_mode):
            continue
        if info.st_nlink > 1:
            if info.st_ino in seen:
                continue
            seen.add(info.st_ino)
        total += info.st_size
    return total


def _stream(stack, layer, root, chunks):
    """A stream of ``chunks`` that ends everything on ``stack`` when it is closed."""
    return TarStream(_whole(layer, root, chunks), on_close=stack.pop_all().close)


def _whole(layer, root, chunks):
    """``chunks``, then an error if the layer was removed or replaced while they were read: files would be missing."""
    with named(layer):
        yield from chunks
        if not os.fstat(root).st_nlink:
            raise ChangedWhileRead("it was removed or replaced while it was being archived")
