# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""What is in layers: applying archives, archiving, listing and measuring changes, natively and by mounts.

*Native* reads and writes a layer's ``diff`` folder, with whiteouts as overlayfs keeps them. *Naive* works through
mounts, where overlayfs itself makes and hides whiteouts; it serves where the folder can't be trusted (redirects,
metacopy, an old kernel in a user namespace) or where the other layer is not the direct parent. moby's NaiveDiffDriver.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat

from . import mounts
from .changes import ChangeKind, NotComparable, compare, lstat, overlay_changes
from .errors import (
    ChangedWhileRead,
    DigestMismatch,
    LayerDamaged,
    LayerNotFound,
    Overlay2Error,
    ReadOnlyDriver,
    from_os_error,
)
from .idmap import IDENTITY
from .layers import DIFF, MERGED, STAGING, WORK
from .linux import fs
from .tar import TarStream, Whiteouts, pack_changes, pack_tree, unpack
from .tree import remove_tree, tree_size

log = logging.getLogger("overlay2")


class Content:
    """The content of one home's layers.

    :param store: the home's :class:`~.layers.Store`.
    :param features: its :class:`~.features.Features`.
    :param id_map: an :class:`~.idmap.IdMap`.
    :param staging: its :class:`~.staging.Staging`.
    :param references: its :class:`~.references.References`, to mount layers for a moment.
    :param read_only: mount nothing; what needs a mount raises :class:`~.errors.ReadOnlyDriver`.
    """

    def __init__(self, store, features, id_map, staging, references, read_only):
        self._store = store
        self._features = features
        self._id_map = id_map
        self._staging = staging
        self._references = references
        self._read_only = read_only

    def is_native(self, layer, parent):
        """Whether the layer's own folder tells all about it against ``parent`` (bool)."""
        return self._features.native_diff and self._store.is_parent(layer, parent)

    # Applying

    def fill(self, staged, lower_links, native, stream, diff_id=None):
        """Unpack a tar stream into the ``diff`` folder of a staged layer.

        :param lower_links: the layer's lower chain, ``l/...`` each.
        :param native: write whiteouts as overlayfs keeps them; else unpack into a mount of the staged layer.
        :param diff_id: ``sha256:...`` the stream must have, or None.
        :returns: (:class:`~.tar.Unpacked`, size in bytes as moby's ApplyDiff reports it).
        :raises ArchiveError: the stream is corrupt, hostile, or not the one the digest names.
        :raises OSError: as the file system has it. The caller, who staged the layer, knows what its path stands for.
        """
        scratch = staged.child("scratch")
        with contextlib.ExitStack() as stack:
            os.mkdir(scratch, 0o700)
            stack.callback(remove_tree, scratch)
            upper = staged.child(DIFF)
            upper_fd = None
            if native or not lower_links:
                target = upper
            else:
                target = stack.enter_context(self._staged_mount(staged, lower_links))
                upper_fd = fs.open_on(stack, upper)
            result = unpack(
                stream,
                fs.open_on(stack, target),
                whiteouts=Whiteouts.OVERLAY if native else Whiteouts.MERGE,
                xattr_class=self._features.xattr_class,
                id_map=self._id_map,
                in_userns=self._features.in_user_namespace,
                upper_fd=upper_fd,
                scratch_fd=fs.open_on(stack, scratch),
            )
            if diff_id is not None and result.diff_id != diff_id:
                raise DigestMismatch(
                    "the archive's digest is %s, not %s" % (result.diff_id, diff_id),
                    remedy="Fetch the archive again, or correct the digest (it is that of the uncompressed tar)",
                )
        if not native:
            return result, result.size
        return result, tree_size(upper) if result.tree_size is None else result.tree_size

    @contextlib.contextmanager
    def _staged_mount(self, staged, lower_links):
        """The staged layer mounted over its lower chain: yields the mount point. Its work folder is emptied after."""
        name = os.path.join(STAGING, os.path.basename(staged.path))
        planned = mounts.plan(self._store.home, name, lower_links, False, self._features)
        target = staged.child(MERGED)
        os.mkdir(target, 0o700)
        mounts.perform(None, planned, self._features)
        try:
            yield target
        finally:
            mounts.unmount(name, target)
            remove_tree(staged.child(WORK))
            self._staging.make_work(staged)

    # Archiving

    def diff(self, layer, parent, all_xattrs):
        """A tar stream of what the layer changes; moby's Diff.

        :returns: a :class:`~.tar.TarStream`.
        """
        with self._about(layer, parent):
            if self.is_native(layer, parent):
                return self._native_diff(layer, all_xattrs)
            return self._naive_diff(layer, parent, all_xattrs)

    def _native_diff(self, layer, all_xattrs):
        with contextlib.ExitStack() as stack:
            root = self._open_diff(stack, layer)
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
        with self._about(layer, parent):
            if self.is_native(layer, parent):
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
            root = self._open_diff(stack, layer)
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
        if self.is_native(layer, parent):
            return self.own_size(layer)
        with self._about(layer, parent), self._mounted(layer) as path, contextlib.ExitStack() as stack:
            return _size_of(fs.open_on(stack, path), self.changes(layer, parent))

    def own_size(self, layer, progress=None):
        """Bytes of the files in the layer's own folder (int); moby's directory.Size of it.

        :param progress: called for each folder on the way.
        :raises Overlay2Error: the folder is missing or can't be read.
        """
        with self._about(layer):
            return tree_size(self._store.path(layer, DIFF), progress)

    @contextlib.contextmanager
    def _about(self, layer, parent=""):
        """Errors from within say which layer they are about, or that it, or its parent, was removed meanwhile.

        A layer without parent is read where it lies, and nothing keeps another process from removing it.
        """
        try:
            with _named(layer):
                yield
        except Overlay2Error as error:
            for needed in filter(None, (layer, parent)):
                try:
                    self._store.require(needed)
                except LayerNotFound as gone:
                    raise gone from error
            raise

    def _open_diff(self, stack, layer):
        try:
            return fs.open_on(stack, self._store.path(layer, DIFF))
        except FileNotFoundError as error:
            raise LayerDamaged(
                "its diff folder is missing",
                layer=layer,
                path=error.filename,
                remedy="Remove the layer and create it again",
            ) from error

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
    with _named(layer):
        yield from chunks
        if not os.fstat(root).st_nlink:
            raise ChangedWhileRead("it was removed or replaced while it was being archived")


@contextlib.contextmanager
def _named(layer):
    """Errors from within say which layer they are about."""
    try:
        yield
    except Overlay2Error as error:
        error.layer = error.layer or layer
        raise
    except OSError as error:
        raise from_os_error(Overlay2Error, "the file system refused", error, layer=layer) from error
