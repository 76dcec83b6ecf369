# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Archiving a directory, or changes in it, as a tar stream: the same content gives the same bytes.

How an entry is written is in :mod:`.packing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..idmap import IDENTITY
from .packing import Packer

if TYPE_CHECKING:
    from typing import Callable, Iterable, Iterator

    from ..changes import Change
    from ..idmap import IdMap


def pack_tree(
    root_fd: int,
    *,
    overlay: bool,
    xattr_class: str = "trusted",
    id_map: IdMap = IDENTITY,
    all_xattrs: bool = False,
    merged: Callable[[], int] | None = None,
) -> Iterator[bytes]:
    """Archive everything in a directory, but not the directory itself.

    Sockets, and files that vanish meanwhile, are left out with a line in the log.

    :param root_fd: descriptor of the directory; it must stay open until the iterator has ended.
    :param overlay: it is a layer's upper directory: whiteouts and opaque directories become ``.wh.`` entries.
    :param xattr_class: ``trusted`` or ``user``: the namespace of overlayfs' attributes.
    :param id_map: the archive gets the container's ids; entries without one are left out.
    :param all_xattrs: archive all attributes except overlayfs' own, not just ``security.capability``.
    :param merged: with ``overlay``: returns a descriptor of a directory where the layer is mounted, which stays open as
        ``root_fd`` does. Called once, if the layer has files or directories whose content is in another place.
    :raises ChangedWhileRead: a file shrank, so that the stream can't be whole.
    :raises Overlay2Error: a file can't be read; or only a mount shows its content (redirects, metacopy), and ``merged``
        is None.
    """
    packer = Packer(id_map, all_xattrs, xattr_class if overlay else None, merged)
    return packer.guarded(packer.tree(root_fd))


def pack_changes(
    root_fd: int, changes: Iterable[Change], *, id_map: IdMap = IDENTITY, all_xattrs: bool = False
) -> Iterator[bytes]:
    """Archive changes: additions and modifications from a directory, deletions as ``.wh.`` entries.

    :param root_fd: descriptor of the merged tree; it must stay open until the iterator has ended.
    :param changes: sorted by path. Other parameters and errors are as for :func:`pack_tree`.
    """
    packer = Packer(id_map, all_xattrs, None)
    return packer.guarded(packer.changes(root_fd, changes))
