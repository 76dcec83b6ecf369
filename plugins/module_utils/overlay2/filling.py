# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Applies archives to staged layers, natively and through mounts.

*Native* writes to a layer's ``diff`` directory, with whiteouts as overlayfs stores them. *Naive*, moby's
NaiveDiffDriver, works through a mount, where overlayfs itself creates and hides whiteouts. It serves if the directory
cannot be trusted (redirects, metacopy, an old kernel in a user namespace), or if the archive is a difference to a layer
other than the direct parent. :mod:`.diffs` reads layers.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO, Iterator

from . import mounts
from .errors import DigestMismatch
from .home.layout import DIFF, MERGED, STAGING, WORK
from .linux import fs
from .tree import remove_tree, tree_size

if TYPE_CHECKING:
    from .home.opening import Home
    from .home.staging import Staged
    from .tar.unpack import Unpacked


def fill(
    home: Home,
    staged: Staged,
    lower_links: tuple[str, ...],
    native: bool,
    stream: BinaryIO,
    diff_id: str | None = None,
) -> tuple[Unpacked, int]:
    """Unpacks a tar stream into the ``diff`` directory of a staged layer.

    :param lower_links: the layer's lower chain, ``l/...`` each.
    :param native: write whiteouts as overlayfs stores them; else unpack into a mount of the staged layer.
    :param diff_id: ``sha256:...`` that the uncompressed stream must have, or None.
    :returns: what was unpacked, and its size in bytes as moby's ApplyDiff reports it.
    :raises ArchiveError: the stream is corrupt or hostile, or does not have the digest.
    :raises OSError: from the file system. The caller, who staged the layer, knows where its path will be.
    """
    # Imported here, as most calls of Ansible's modules have nothing to unpack: a target compiles what it imports.
    from .tar.unpack import unpack
    from .tar.whiteouts import Whiteouts

    scratch = staged.child("scratch")
    with contextlib.ExitStack() as stack:
        os.mkdir(scratch, 0o700)
        stack.callback(remove_tree, scratch)
        upper = staged.child(DIFF)
        upper_fd = None
        if native or not lower_links:
            target = upper
        else:
            target = stack.enter_context(_staged_mount(home, staged, lower_links))
            upper_fd = fs.open_on(stack, upper)
        result = unpack(
            stream,
            fs.open_on(stack, target),
            whiteouts=Whiteouts.OVERLAY if native else Whiteouts.MERGE,
            xattr_class=home.features.xattr_class,
            id_map=home.id_map,
            in_userns=home.features.in_user_namespace,
            upper_fd=upper_fd,
            lower_paths=[os.path.join(home.path, link) for link in lower_links],
            scratch_fd=fs.open_on(stack, scratch),
            has_digest=diff_id is not None,
            second_process=home.options.helper,
            ignore_chown_errors=home.options.ignore_chown_errors,
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
def _staged_mount(home: Home, staged: Staged, lower_links: tuple[str, ...]) -> Iterator[str]:
    """Mounts the staged layer over its lower chain and yields the mount point; then empties its work directory."""
    name = os.path.join(STAGING, os.path.basename(staged.path))
    # Nothing has to be on disk when the layer is unmounted: it is synced before it is shown.
    options = ("volatile",) if home.features.volatile else ()
    planned = mounts.plan(home.path, name, lower_links, False, home.features, options=options)
    target = staged.child(MERGED)
    os.mkdir(target, 0o700)
    mounts.perform(None, planned, home.features)
    try:
        yield target
    finally:
        mounts.unmount(name, target)
        remove_tree(staged.child(WORK))
        home.staging.make_work(staged)
