# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""What goes into layers: applying archives, natively and by mounts, and measuring what a layer holds.

*Native* reads and writes a layer's ``diff`` folder, with whiteouts as overlayfs keeps them. *Naive* works through
mounts, where overlayfs itself makes and hides whiteouts; it serves where the folder can't be trusted (redirects,
metacopy, an old kernel in a user namespace) or where the other layer is not the direct parent. moby's NaiveDiffDriver.
What reads layers out again is in :mod:`.diffs`.
"""

from __future__ import annotations

import contextlib
import os

from . import mounts
from .errors import DigestMismatch, LayerNotFound, Overlay2Error, from_os_error
from .home.layout import DIFF, MERGED, STAGING, WORK
from .linux import fs
from .tar.unpack import unpack
from .tar.whiteouts import Whiteouts
from .tree import remove_tree, tree_size


class Content:
    """The content of one home's layers.

    :param store: the home's :class:`~.layers.Store`.
    :param features: its :class:`~.features.Features`.
    :param id_map: an :class:`~.idmap.IdMap`.
    :param staging: its :class:`~.staging.Staging`.
    """

    def __init__(self, store, features, id_map, staging):
        self._store = store
        self._features = features
        self._id_map = id_map
        self._staging = staging

    def is_native(self, layer, parent):
        """Whether the layer's own folder tells all about it against ``parent`` (bool)."""
        return self._features.native_diff and self._store.is_parent(layer, parent)

    def fill(self, staged, lower_links, native, stream, diff_id=None):
        """Unpack a tar stream into the ``diff`` folder of a staged layer.

        :param lower_links: the layer's lower chain, ``l/...`` each.
        :param native: write whiteouts as overlayfs keeps them; else unpack into a mount of the staged layer.
        :param diff_id: ``sha256:...`` the stream must have, or None.
        :returns: (:class:`~.tar.unpack.Unpacked`, size in bytes as moby's ApplyDiff reports it).
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
                has_digest=diff_id is not None,
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

    def own_size(self, layer, progress=None):
        """Bytes of the files in the layer's own folder (int); moby's directory.Size of it.

        :param progress: called for each folder on the way.
        :raises Overlay2Error: the folder is missing or can't be read.
        """
        with self.about(layer):
            return tree_size(self._store.path(layer, DIFF), progress)

    @contextlib.contextmanager
    def about(self, layer, parent=""):
        """Errors from within say which layer they are about, or that it, or its parent, was removed meanwhile.

        A layer without parent is read where it lies, and nothing keeps another process from removing it.
        """
        try:
            with named(layer):
                yield
        except Overlay2Error as error:
            for needed in filter(None, (layer, parent)):
                try:
                    self._store.require(needed)
                except LayerNotFound as gone:
                    raise gone from error
            raise


@contextlib.contextmanager
def named(layer):
    """Errors from within say which layer they are about."""
    try:
        yield
    except Overlay2Error as error:
        error.layer = error.layer or layer
        raise
    except OSError as error:
        raise from_os_error(Overlay2Error, "the file system refused", error, layer=layer) from error
