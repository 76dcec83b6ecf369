# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Unpacking a tar stream into a folder that it can't leave (moby's archive.Unpack and archive.UnpackLayer).

What is done with each entry is in :mod:`.placing`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, NamedTuple, Optional

from ..errors import ArchiveError, CompressionNotSupported, CorruptArchive, printable
from ..idmap import IDENTITY
from .decompression import decompressed
from .leftout import LeftOut
from .merge_whiteouts import MergeWhiteouts
from .metadata import MetadataSetter
from .overlay_whiteouts import OverlayWhiteouts
from .placing import Placing
from .reader import Reader
from .whiteouts import Whiteouts

if TYPE_CHECKING:
    from typing import BinaryIO, Callable, Iterator, Sequence

    from ..idmap import IdMap
    from .whiteouts import Converter

log = logging.getLogger("overlay2")

#: Regular files after which a second process pays off.
SECOND_PROCESS_AFTER = 500


class Unpacked(NamedTuple):
    """What :func:`unpack` did."""

    #: sum of the sizes in the headers of all entries, in bytes
    size: int
    #: ``sha256:<hex>`` of the whole uncompressed stream
    diff_id: str
    #: bytes of all files in the target as moby's directory.Size counts them; None if only a walk can tell
    tree_size: Optional[int]
    #: devices and fifos that a user namespace may not make; the examples are their paths
    skipped_devices: LeftOut = LeftOut()
    #: extended attributes and ACLs that the file system or the kernel does not take; the examples are ``name on path``
    dropped_attributes: LeftOut = LeftOut()
    #: owners that this user namespace does not know, with ``ignore_chown_errors``; the examples are ``uid:gid on path``
    unset_owners: LeftOut = LeftOut()


def unpack(
    stream: BinaryIO,
    root_fd: int,
    *,
    whiteouts: Whiteouts,
    xattr_class: str = "trusted",
    id_map: IdMap = IDENTITY,
    in_userns: bool = False,
    upper_fd: int | None = None,
    lower_paths: Sequence[str] | None = None,
    scratch_fd: int,
    progress: Callable[[int], None] | None = None,
    has_digest: bool = False,
    second_process: bool = True,
    ignore_chown_errors: bool = False,
) -> Unpacked:
    """Unpack a tar stream, plain or compressed, into a folder.

    After an exception the directory holds part of the archive; the caller deletes it.

    :param stream: has ``read()`` or ``readinto()``; it is read to its end and never sought.
    :param root_fd: descriptor of the target directory.
    :param xattr_class: ``trusted`` or ``user``: the namespace of overlayfs' attributes.
    :param id_map: the archive has the container's ids.
    :param in_userns: devices are skipped and fifos may be refused, since a user namespace may not make them.
    :param upper_fd: descriptor of the upper directory if the target is an overlay mount: entries of this archive show
        there, and its whiteouts must not remove them. Without it they remove everything from a plain tree, unless
        that was empty before.
    :param lower_paths: paths of the ``diff`` directories below, uppermost first, if the target is a layer's upper
        directory: an opaque root and whiteouts that hide nothing depend on them. None if they are not known.
    :param scratch_fd: descriptor of a private directory on the target's file system, for files that have no name.
    :param progress: called with the number of uncompressed bytes read so far, now and then.
    :param has_digest: the caller compares the diff ID with an expected one. Otherwise an uncompressed archive without
        an end mark, which may have been cut between two entries, is unpacked with a warning; and an archive of images
        is refused.
    :param second_process: fork for archives with many files, to create small files in parallel.
    :param ignore_chown_errors: entries keep the owner of this process if the kernel refuses theirs, as it does in a
        user namespace without that id.
    :raises CorruptArchive: the stream is cut short, damaged, or not a tar archive. ``path`` is the stream's name.
    :raises BreakoutError: an entry would have reached outside the target.
    :raises ArchiveError: any other reason why an entry can't be unpacked; ``path`` is its name.
    :raises CompressionNotSupported: nothing on this host reads the stream's compression.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_errors_about(stream))
        source = stack.enter_context(decompressed(stream))
        reader = stack.enter_context(contextlib.closing(Reader(source, progress)))
        empty = _is_empty(root_fd)
        if whiteouts is Whiteouts.OVERLAY:
            converter: Converter = OverlayWhiteouts(root_fd, scratch_fd, xattr_class, lower_paths)
        else:
            converter = MergeWhiteouts(root_fd, root_fd if empty and upper_fd is None else upper_fd)
        stack.callback(converter.close)
        metadata = MetadataSetter(root_fd, empty, id_map, ignore_chown_errors)
        placing = Placing(reader, root_fd, converter, metadata, scratch_fd)
        placing.tree_size = 0 if empty else None
        placing.in_userns = in_userns
        placing.refuses_images = not has_digest
        if second_process:
            placing.until_second_process = SECOND_PROCESS_AFTER
        with contextlib.closing(placing):
            placing.run()
            devices, attributes = placing.skipped_devices.result, metadata.dropped.result
            owners = metadata.unset_owners.result
            result = Unpacked(placing.size, reader.diff_id, placing.tree_size, devices, attributes, owners)
        if not (reader.end_is_marked or has_digest or source.proves_itself):
            log.warning(
                "%s has no end mark: nothing shows that it is whole. Give its digest to be sure",
                printable(_name_of(stream) or "the archive"),
            )
    if devices.total:
        log.warning("%d devices or fifos left out, as a user namespace may not make them: %s", devices.total, devices)
    if attributes.total:
        log.warning("%d attributes left out, as they can't be stored here: %s", attributes.total, attributes)
    if owners.total:
        log.warning(
            "%d entries keep this process's owner, as theirs is not in the user namespace: %s", owners.total, owners
        )
    return result


@contextlib.contextmanager
def _errors_about(stream: BinaryIO) -> Iterator[None]:
    """Errors about the archive as a whole get its path, and those about damage a remedy."""
    try:
        yield
    except (ArchiveError, CompressionNotSupported) as error:
        name = _name_of(stream)
        if error.path is None and name is not None:
            error.path = printable(name)
        if isinstance(error, CorruptArchive) and error.remedy is None:
            error.remedy = "Fetch the archive again and compare its digest, or have it made again"
        raise


def _name_of(stream: BinaryIO) -> str | bytes | None:
    """The path that a stream was opened by, or None."""
    name = getattr(stream, "name", None)
    return name if isinstance(name, (str, bytes)) else None


def _is_empty(folder: int) -> bool:
    with os.scandir(folder) as listing:
        return next(listing, None) is None
