# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Checks the contents of layers' directories, and who may write to them."""

from __future__ import annotations

import os
import stat
from typing import Iterator

from ..errors import Overlay2Error
from ..home.layout import COMMITTED, DIFF, LOWER, MERGED, RECORD, WORK, LayerRecord
from ..owners import Report
from .facts import HomeFacts, LayerFacts
from .findings import Finding, Step
from .path_state import NOTHING, DirectoryState, FileState, directory_state, state_of

#: Prefixes of the folders that dockerd and containers/storage try the file system in (moby, graphdriver/overlayutils
#: and overlay2/check.go), and a process that was killed leaves.
_PROBES = ("check-overlayfs-support", "opaque-bug-check", "metacopy-check", "userxattr-check", "feature-check")
#: Where containers/storage unpacks layers, and takes them apart (drivers/overlay/overlay.go): it sweeps them itself.
_ENGINES_OWN = ("staging", "tempdirs")
_PARTS = frozenset((WORK, LOWER, MERGED, COMMITTED, RECORD))
_OTHERS_WRITE = stat.S_IWOTH | stat.S_IWGRP
#: Engines that give layers to other users than the home's owner, for user namespaces.
_OTHER_ENGINES = ("dockerd", "containers-storage")
_INNER = frozenset((DIFF, WORK))


def check(home: HomeFacts, ownership: Report) -> Iterator[Finding]:
    """Yields findings about directories.

    :param ownership: whose home it is, and which of its layers are mounted.
    """
    dialect = ownership.engine
    yield from _home(home)
    for other in home.others:
        if not (dialect == "containers-storage" and other.id in _ENGINES_OWN):
            yield from _no_layer(other, dialect)
    for layer in home.layers.values():
        yield from _diff(layer)
        yield from _work(layer, dialect)
        if dialect != "containers-storage":  # which keeps merged, and knows no committed
            if layer.id not in ownership.in_use:
                yield from _merged(layer, bool(ownership.unseen))
            yield from _committed(home, layer)
        yield from _temporary(layer)
        yield from _record(home, layer)
        yield from _rights(home, layer, ownership)


def _home(home: HomeFacts) -> Iterator[Finding]:
    if stat.S_IMODE(home.info.st_mode) & stat.S_IWOTH:
        yield _too_open("home-mode", "", home.path, home.info, "everybody may write to it")
    if home.link_dir is not None and home.link_dir.st_mode & _OTHERS_WRITE:
        yield _too_open("link-dir-mode", "", home.link_path(), home.link_dir, "others may write to it")


def _too_open(code: str, layer: str, path: str, info: os.stat_result, what: str) -> Finding:
    """No engine lets others write there. All other rights stay as they are: a store may be shared for reading."""
    mode = stat.S_IMODE(info.st_mode) & ~_OTHERS_WRITE
    before = directory_state(info, not os.listdir(path))
    step = Step(path, before, before._replace(mode=mode))
    return Finding(code, layer, path, what, "Take that right away: chmod %04o" % mode, step)


def _no_layer(folder: LayerFacts, dialect: str) -> Iterator[Finding]:
    if folder.id.startswith(_PROBES):
        what = "a test of the file system left it"
        yield Finding("probe-leftover", "", folder.path, what, "Remove it once no engine is starting")
    elif not folder.entries:
        # Without an engine whose locks can be held, somebody may be about to fill it.
        step = Step(folder.path, directory_state(folder.info), NOTHING) if dialect else None
        what = "it is empty, as a removal that was cut off leaves it"
        yield Finding("layer-incomplete", folder.id, folder.path, what, "Remove it once no engine is at work", step)
    elif _PARTS & set(folder.entries):
        remedy = "Remove it once no engine is at work: its content is missing"
        yield Finding("layer-incomplete", folder.id, folder.path, "it has neither diff nor link", remedy)


def _diff(layer: LayerFacts) -> Iterator[Finding]:
    path = os.path.join(layer.path, DIFF)
    if DIFF not in layer.entries:
        remedy = "Its content is lost: remove the layer, and get it again"
        yield Finding("diff-missing", layer.id, path, "its diff folder is missing", remedy)
    elif not layer.is_directory(DIFF):
        yield Finding(
            "diff-not-folder", layer.id, path, "its diff is not a folder", "Remove the layer, and get it again"
        )


def _work(layer: LayerFacts, dialect: str) -> Iterator[Finding]:
    path = os.path.join(layer.path, WORK)
    if WORK not in layer.entries:
        if LOWER in layer.entries:
            step = Step(path, NOTHING, directory_state(layer.entries.get(DIFF, layer.info))._replace(mode=0o700))
            what = "it has a lower chain, and its work folder is missing"
            yield Finding("work-missing", layer.id, path, what, "Make it: it is empty at first", step)
        return
    if not layer.is_directory(WORK):
        yield Finding(
            "work-not-folder", layer.id, path, "its work is not a folder", "Move it away, and make the folder"
        )
        return
    refused = os.path.join(path, WORK, "incompat")
    try:
        features = sorted(os.listdir(refused))
    except OSError:
        return
    if dialect == "containers-storage" and features == ["volatile"]:
        return  # it mounts containers so, and makes the directory again for the next mount
    if features:
        # ovl_workdir_create() in fs/overlayfs/super.c: the names in there are features that the mount must know.
        what = "its work folder was last used with %s, so the kernel refuses it" % ", ".join(features)
        remedy = "After a 'volatile' mount, writes may be lost: check the layer, then remove %s" % refused
        yield Finding("work-refused", layer.id, refused, what, remedy)


def _merged(layer: LayerFacts, half_blind: bool) -> Iterator[Finding]:
    """Yields a finding for a ``merged`` directory that is not mounted. To remove one unmounts it in other namespaces.

    :param half_blind: some mount namespace could not be looked into.
    """
    if MERGED not in layer.entries:
        return
    path = os.path.join(layer.path, MERGED)
    try:
        before = state_of(path)
    except OSError:
        return
    if not isinstance(before, DirectoryState):
        return
    if before.is_empty:
        what = "nothing is mounted on it, and it is left over from a mount"
        step = None if half_blind else Step(path, before, NOTHING)
        yield Finding("merged-leftover", layer.id, path, what, "Remove it: the next mount makes it again", step)
    else:
        what = "nothing is mounted on it, and it contains files that a mount would hide"
        yield Finding("merged-not-empty", layer.id, path, what, "Move its contents to where they belong")


def _committed(home: HomeFacts, layer: LayerFacts) -> Iterator[Finding]:
    children = home.children.get(layer.id)
    if children and COMMITTED not in layer.entries:
        path = os.path.join(layer.path, COMMITTED)
        what = "the layer %s stands on it, and it is not marked as committed" % children[0]
        remedy = "Mark it: a mount for writing would change files of the layers above"
        yield Finding("committed-missing", layer.id, path, what, remedy, Step(path, NOTHING, FileState(b"", 0o600)))


def _temporary(layer: LayerFacts) -> Iterator[Finding]:
    """Yields findings for left-overs of moby's AtomicWriteFile: ``.tmp-<name><random>``, renamed once complete."""
    for name, info in layer.entries.items():
        if name.startswith(".tmp-") and stat.S_ISREG(info.st_mode):
            path = os.path.join(layer.path, name)
            what = "a write that was cut off left it"
            yield Finding("temporary-leftover", layer.id, path, what, "Remove it", Step(path, state_of(path), NOTHING))


def _record(home: HomeFacts, layer: LayerFacts) -> Iterator[Finding]:
    if RECORD not in layer.entries:
        return
    try:
        content = home.store.files(layer.id).content(RECORD)
    except Overlay2Error:
        content = b""
    if content is not None and LayerRecord.decode(content) == LayerRecord():
        path = os.path.join(layer.path, RECORD)
        what = "its record is %s" % ("not a record of this project" if content else "empty, as after a power cut")
        remedy = "Remove it: the layer works without, but which archive was applied is then unknown"
        yield Finding("record-garbled", layer.id, path, what, remedy)


def _rights(home: HomeFacts, layer: LayerFacts, ownership: Report) -> Iterator[Finding]:
    if layer.info.st_mode & _OTHERS_WRITE:
        yield _too_open("layer-mode", layer.id, layer.path, layer.info, "others may write to the layer's folder")
    if layer.is_directory(WORK) and layer.entries[WORK].st_mode & _OTHERS_WRITE:
        work = os.path.join(layer.path, WORK)
        yield _too_open("layer-mode", layer.id, work, layer.entries[WORK], "others may write to the work folder")
    user, wanted = layer.info.st_uid, home.info.st_uid
    if user == wanted or (ownership.engine in _OTHER_ENGINES and _may_be_meant(layer, ownership)):
        return
    what = "it belongs to uid %d, and the home to %d" % (user, wanted)
    if ownership.engine in _OTHER_ENGINES or any(
        layer.entries[n].st_uid != wanted for n in _INNER & set(layer.entries)
    ):
        remedy = "Compare it with the user namespaces of the engine's containers: where none has that id, chown it"
        yield Finding("layer-owner", layer.id, layer.path, what, remedy)
        return
    before = directory_state(layer.info, not layer.entries)
    step = Step(layer.path, before, before._replace(uid=wanted))
    yield Finding("layer-owner", layer.id, layer.path, what, "Give it to the home's owner", step)


def _may_be_meant(layer: LayerFacts, ownership: Report) -> bool:
    """True if an engine may have given a layer's directory to an owner other than the home's.

    containers/storage gives it to the root of the user namespace that it made the layer for. dockerd does so with the
    directories in it, and early versions with the layer's own too; now that stays root's (moby, overlay2.go, create).
    """
    user = layer.info.st_uid
    return (
        user == 0 or layer.id in ownership.id_mapped or (DIFF in layer.entries and layer.entries[DIFF].st_uid == user)
    )
