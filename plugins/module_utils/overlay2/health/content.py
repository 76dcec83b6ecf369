# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Compares content with recorded digests: the deep check, which reads every file of every layer with such a record.

dockerd and containers/storage keep the frame of each applied tar, so their digests are recomputed exactly. This project
records the digest alone. If packing the layer now gives another one, that is damage if something in the layer changed
after the record was written; otherwise it proves nothing, as another program may have packed the archive.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Callable, Iterable, Iterator

from ..digests import digest_of
from ..errors import Overlay2Error
from ..home.layout import DIFF, RECORD, LayerRecord
from ..linux import fs
from ..owners import containers_storage, dockerd
from ..owners.files import Unreadable, json_of, names_in, text_of
from ..tree import walk
from . import tarsplit
from .facts import HomeFacts, LayerFacts
from .findings import Finding


def check(
    home: HomeFacts,
    dialect: str,
    pack: Callable[[str, str], BinaryIO] | None,
    progress: Callable[[str], object] | None,
) -> Iterator[Finding]:
    """Yields findings about content.

    :param pack: returns the archive of a layer; None to leave out the layers that this needs.
    :param progress: called with each layer's id before it is read.
    """
    for layer_id, expected, frame in _recorded(home, dialect):
        if progress is not None:
            progress(layer_id)
        yield from _by_frame(home, home.layers[layer_id], expected, frame)
    if pack is None:
        return
    for layer in home.layers.values():
        if RECORD in layer.entries and layer.lowers is not None:
            record = _record(home, layer.id)
            if record.diff_id and not record.read_write:
                if progress is not None:
                    progress(layer.id)
                yield from _by_packing(home, pack, layer, record.diff_id)


def _record(home: HomeFacts, layer_id: str) -> LayerRecord:
    try:
        return home.store.files(layer_id).record
    except Overlay2Error:
        return LayerRecord()


def _recorded(home: HomeFacts, dialect: str) -> list[tuple[str, str, str]]:
    """Returns (layer id, digest, path of the frame) of the layers of which the engine kept both."""
    found: Iterable[tuple[str, str, str]] = ()
    if dialect == "dockerd":
        found = _of_dockerd(dockerd.Places(home.path))
    elif dialect == "containers-storage":
        found = _of_containers_storage(containers_storage.Places(home.path))
    return [each for each in found if each[0] in home.layers and os.path.isfile(each[2])]


def _of_dockerd(places: dockerd.Places) -> Iterator[tuple[str, str, str]]:
    try:
        for name in names_in(places.chains):
            folder = os.path.join(places.chains, name)
            try:
                layer, digest = text_of(os.path.join(folder, "cache-id")), text_of(os.path.join(folder, "diff"))
            except Unreadable:
                continue  # owners.resolve() says so
            if layer and digest:
                yield layer, digest, os.path.join(folder, "tar-split.json.gz")
    except Unreadable:
        return


def _of_containers_storage(places: containers_storage.Places) -> Iterator[tuple[str, str, str]]:
    try:
        for entry in json_of(places.files("layers")[0], list) or []:
            layer, digest = entry.get("id"), entry.get("diff-digest")
            if isinstance(layer, str) and isinstance(digest, str):
                yield layer, digest, os.path.join(places.layers, layer + ".tar-split.gz")
    except (Unreadable, AttributeError):
        return


def _by_frame(home: HomeFacts, layer: LayerFacts, expected: str, frame: str) -> Iterator[Finding]:
    path = os.path.join(layer.path, DIFF)
    what = home.store.why_hidden(layer.id)
    if what:
        remedy = "Have the kernel verify them, by fs-verity: storage.conf, use_composefs"
        yield Finding("digest-unverifiable", layer.id, path, what, remedy)
        return
    try:
        now = tarsplit.digest(frame, path)
    except tarsplit.FrameError as error:
        remedy = "Remove the image and get it again"
        yield Finding(
            "digest-mismatch",
            layer.id,
            path,
            "its content differs from the archive that was applied: %s" % error,
            remedy,
        )
        return
    except OSError as error:
        what = "its content, or the frame of its archive, can't be read: %s" % error.strerror
        yield Finding("digest-unverifiable", layer.id, path, what, "Look again with more rights")
        return
    if now != expected:
        what = "its content has the digest %s, and the archive that was applied had %s" % (now, expected)
        yield Finding("digest-mismatch", layer.id, path, what, "Remove the image and get it again")


def _by_packing(
    home: HomeFacts, pack: Callable[[str, str], BinaryIO], layer: LayerFacts, expected: str
) -> Iterator[Finding]:
    path = os.path.join(layer.path, DIFF)
    parent = home.named.get(layer.lowers[0], "") if layer.lowers else ""
    try:
        with pack(layer.id, parent) as stream:
            now = digest_of(stream)
        changed = None if now == expected else _changed_since(path, layer.entries[RECORD].st_ctime_ns)
    except (Overlay2Error, OSError) as error:
        what = "its content can't be packed: %s" % (error if isinstance(error, Overlay2Error) else error.strerror)
        yield Finding("digest-unverifiable", layer.id, path, what, "Look again with more rights")
        return
    if now == expected:
        return
    if changed:
        what = "%s changed after the archive of digest %s was applied" % (changed, expected)
        yield Finding("digest-mismatch", layer.id, path, what, "Apply the archive again, in place of this content")
    else:
        what = "another program packed its archive, in another way, and nothing changed since it was applied"
        yield Finding("digest-unverifiable", layer.id, path, what, "Nothing: as far as can be checked, it is unchanged")


def _changed_since(root: str, moment: int) -> str | None:
    """Returns the path of an inode below a directory that changed after a moment, in ns since the epoch, or None."""
    found: list[str] = []

    def look(descriptor: int) -> list[str]:
        folders: list[str] = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                info = entry.stat(follow_symlinks=False)
                if info.st_ctime_ns > moment and not found:
                    found.append(os.path.join(os.readlink("/proc/self/fd/%d" % descriptor), entry.name))
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
        return [] if found else folders

    descriptor = os.open(root, fs.OPEN_DIRECTORY)
    try:
        if os.fstat(descriptor).st_ctime_ns > moment:
            return root
        walk(descriptor, look)
    finally:
        os.close(descriptor)
    return found[0] if found else None
