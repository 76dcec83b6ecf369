# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Differences between layers: as archives, lists and sizes; natively and through mounts (see :mod:`.filling`)."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import stat
from typing import TYPE_CHECKING, Iterable, Iterator

from . import mounting
from .changes import Change, ChangeKind, NotComparable, compare, lstat, overlay_changes, require_no_redirect
from .errors import ChangedWhileRead, LayerNotFound, Overlay2Error, ReadOnlyDriver, translated
from .home.layout import LayerFiles
from .idmap import IDENTITY
from .linux import fs
from .tar.pack import pack_changes, pack_tree
from .tar.stream import TarStream
from .tree import tree_size

if TYPE_CHECKING:
    from .home.opening import Home

log = logging.getLogger("overlay2")

# Archiving


def diff(home: Home, layer_id: str, parent: str, all_xattrs: bool) -> TarStream:
    """Returns a tar stream of the layer's changes; moby's Diff."""
    with _about(home, layer_id, parent):
        lowers = _native_lowers(home, home.store.files(layer_id), parent)
        if lowers is not None:
            return _native_diff(home, layer_id, bool(lowers), all_xattrs)
        return _naive_diff(home, layer_id, parent, all_xattrs)


def _native_lowers(home: Home, files: LayerFiles, parent: str) -> list[str] | None:
    """Returns the directories of the lower layers; None if the layer's own directory is not all there is to compare."""
    if not home.features.native_diff:
        return None
    with contextlib.suppress(Overlay2Error):
        lowers = home.store.resolve_all(files)
        if home.store.is_first(lowers, parent):
            return lowers
    return None


def _native_diff(home: Home, layer_id: str, has_lowers: bool, all_xattrs: bool) -> TarStream:
    with contextlib.ExitStack() as stack:
        root = home.store.open_diff(stack, layer_id)
        later = stack.enter_context(contextlib.ExitStack())

        def merged() -> int:
            log.info("layer %s: mounting it, as only a mount shows all of its content", layer_id)
            return fs.open_on(later, later.enter_context(_shown(home, layer_id, follow=True)))

        chunks = pack_tree(
            root,
            overlay=True,
            xattr_class=home.features.xattr_class,
            id_map=home.id_map,
            all_xattrs=all_xattrs,
            merged=merged if has_lowers else None,
        )
        return _stream(stack, layer_id, root, chunks)


def _naive_diff(home: Home, layer_id: str, parent: str, all_xattrs: bool) -> TarStream:
    with contextlib.ExitStack() as stack:
        own = home.store.open_diff(stack, layer_id)
        path = stack.enter_context(_shown(home, layer_id))
        root = fs.open_on(stack, path)
        if parent:
            with _shown(home, parent) as parent_path:
                found = _compare(path, parent_path)
            chunks = pack_changes(root, found, id_map=home.id_map, all_xattrs=all_xattrs)
        else:
            chunks = pack_tree(root, overlay=False, id_map=IDENTITY, all_xattrs=all_xattrs)
        return _stream(stack, layer_id, own, chunks)


# Listing and measuring


def changes(home: Home, layer_id: str, parent: str) -> list[Change]:
    """Returns the changes against ``parent``, sorted by path; moby's Changes."""
    with _about(home, layer_id, parent):
        lowers = _native_lowers(home, home.store.files(layer_id), parent)
        if lowers is None:
            return _naive_changes(home, layer_id, parent)
        try:
            return _native_changes(home, layer_id, lowers)
        except NotComparable as reason:
            log.info("layer %s: comparing it by mounts: %s", layer_id, reason)
            return _naive_changes(home, layer_id, parent, follow=True)


def _naive_changes(home: Home, layer_id: str, parent: str, follow: bool = False) -> list[Change]:
    with _shown(home, layer_id, follow) as path:
        if not parent:
            return _compare(path, None)
        with _shown(home, parent, follow) as parent_path:
            return _compare(path, parent_path)


def _native_changes(home: Home, layer_id: str, lower_dirs: list[str]) -> list[Change]:
    with contextlib.ExitStack() as stack:
        root = home.store.open_diff(stack, layer_id)
        lowers = [fs.open_on(stack, directory) for directory in lower_dirs]
        if not lowers:
            return compare(root, None)  # never mounted, so its whiteouts show: as devices
        return overlay_changes(root, lowers, home.features.xattr_class)


def _compare(path: str, parent_path: str | None) -> list[Change]:
    with contextlib.ExitStack() as stack:
        new = fs.open_on(stack, path)
        return compare(new, None if parent_path is None else fs.open_on(stack, parent_path))


def diff_size(home: Home, layer_id: str, parent: str) -> int:
    """Returns the bytes that the layer adds to ``parent``; moby's DiffSize."""
    with _about(home, layer_id, parent):
        lowers = _native_lowers(home, home.store.files(layer_id), parent)
        if lowers is None:
            return _naive_size(home, layer_id, parent)
        look = functools.partial(require_no_redirect, home.features.xattr_class) if lowers else None
        try:
            return tree_size(home.store.upper_dir(layer_id), look=look)
        except NotComparable as reason:
            log.info("layer %s: measuring it by mounts: %s", layer_id, reason)
            return _naive_size(home, layer_id, parent, follow=True)


def _naive_size(home: Home, layer_id: str, parent: str, follow: bool = False) -> int:
    found = _naive_changes(home, layer_id, parent, follow)
    with _shown(home, layer_id, follow) as path, contextlib.ExitStack() as stack:
        return _size_of(fs.open_on(stack, path), found)


@contextlib.contextmanager
def _about(home: Home, layer_id: str, parent: str) -> Iterator[None]:
    """Errors from within name the layer, or say that the layer or its parent was removed meanwhile.

    A layer without parent is read where it lies, and nothing keeps another process from removing it.
    """
    try:
        with translated(layer=layer_id):
            yield
    except Overlay2Error as error:
        for needed in filter(None, (layer_id, parent)):
            try:
                home.store.require(needed)
            except LayerNotFound as gone:
                raise gone from error
        raise


@contextlib.contextmanager
def _shown(home: Home, layer_id: str, follow: bool = False) -> Iterator[str]:
    """Yields a directory that shows the layer with everything below it.

    A mounted layer is shown by that mount. For any other a private read-only mount is enough: moby mounts it as for a
    container, but unmounting that would write the whole file system to disk.

    :param follow: the layer has renamed directories or files without data, so the default options may not show it.
    """
    if not home.store.has_parent(layer_id):
        home.store.require(layer_id)
        yield home.store.upper_dir(layer_id)
    elif home.read_only:
        raise ReadOnlyDriver(
            "this needs a mount, and the driver was opened for reading only",
            layer=layer_id,
            path=home.store.at(layer_id),
        )
    elif not follow and home.references.mounted(layer_id):
        path = mounting.get(home, layer_id)
        try:
            yield path
        finally:
            mounting.put(home, layer_id)
    else:
        with mounting.view(home, layer_id, follow) as path:
            yield path


def _size_of(root: int, found: Iterable[Change]) -> int:
    """Returns the bytes of the files that were added or modified; moby's archive.ChangesSize.

    :param root: descriptor of the layer's directory.
    """
    total = 0
    seen: set[int] = set()
    for change in found:
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


def _stream(stack: contextlib.ExitStack, layer_id: str, root: int, chunks: Iterable[bytes]) -> TarStream:
    """Returns a stream of ``chunks`` that closes everything on ``stack`` when it is closed.

    :param root: descriptor of the layer's ``diff`` directory.
    """
    return TarStream(_whole(layer_id, root, chunks), on_close=stack.pop_all().close)


def _whole(layer_id: str, root: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields ``chunks``, then fails if the layer was removed or replaced meanwhile, as files would be missing."""
    with translated(layer=layer_id):
        yield from chunks
        if not os.fstat(root).st_nlink:
            raise ChangedWhileRead("it was removed or replaced while it was being archived")
