# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Compares mounts, holders, staged directories and quota projects with the layers."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Iterator

from ..home.layout import DIFF, LINK_DIR, STAGING, WORK
from ..home.opening import Home
from ..linux import fs, fsxattr
from ..owners import engine
from .facts import HomeFacts
from .findings import Finding, Step
from .path_state import NOTHING, state_of


def check(facts: HomeFacts, home: Home) -> Iterator[Finding]:
    """Yields findings about state."""
    yield from _staged(home)
    yield from _mounts(facts)
    yield from _holders(facts, home)
    if home.features.backing_fs == "xfs":
        yield from _projects(facts)


def _staged(home: Home) -> Iterator[Finding]:
    """Staged directories that nobody works on: their maker holds a lock as long as it lives."""
    try:
        names = sorted(os.listdir(home.staging.folder))
    except OSError:
        return
    for name in names:
        path = os.path.join(home.staging.folder, name)
        if os.path.isdir(path) and _is_abandoned(path):
            what = "the process that was making or removing a layer there has ended"
            remedy = "Remove it; the next driver that opens the home for writing does so too"
            with contextlib.suppress(OSError):
                yield Finding("staging-leftover", "", path, what, remedy, Step(path, state_of(path), NOTHING))


def _is_abandoned(path: str) -> bool:
    """True if no process holds the lock of a staged directory.

    In a pid namespace, such as a container's, ``/proc/locks`` leaves out the locks of processes outside. Then a shared
    lock is taken for an instant: a maker waits for it, and a sweep that meets it leaves the directory to the next one.
    """
    running = engine.activity([path]).running
    if running is not None:
        return not running
    try:
        descriptor = os.open(path, fs.OPEN_DIRECTORY_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _mounts(home: HomeFacts) -> Iterator[Finding]:
    real = os.path.realpath(home.path)
    for entry in home.mounts:
        layer, _slash, rest = entry.mount_point[len(real) + 1 :].partition("/")
        if not layer or layer == STAGING:
            continue
        remedy = "Unmount it, once nothing uses it: umount %s" % entry.mount_point
        is_merged = os.path.join(home.path, layer, rest) == home.store.merged_dir(layer)
        if layer not in home.layers and (is_merged or layer == LINK_DIR or entry.root.endswith("//deleted")):
            what = "%s is mounted there, and the layer does not exist" % entry.fs_type
            yield Finding("mount-stale", "", entry.mount_point, what, remedy)
        elif is_merged and entry.fs_type != "overlay" and not entry.fs_type.startswith("fuse"):
            what = "%s is mounted on its merged folder" % entry.fs_type
            yield Finding("mount-not-overlay", layer, entry.mount_point, what, remedy)


def _holders(facts: HomeFacts, home: Home) -> Iterator[Finding]:
    for layer, counts in home.references.recorded().items():
        path = os.path.join(home.runtime.holders_dir, layer)
        held_by = ", ".join(sorted(name or "anonymous" for name in counts))
        if layer not in facts.layers:
            what = "the layer is on record as held by %s, and it does not exist" % held_by
            code = "holder-without-layer"
        elif not home.references.counts(layer):
            what = "it is on record as held by %s, and nothing is mounted" % held_by
            code = "holder-stale"
        else:
            continue
        step = Step(path, state_of(path), NOTHING)
        yield Finding(code, layer, path, what, "Delete the record: the next mount starts a new one", step)


def _projects(home: HomeFacts) -> Iterator[Finding]:
    """Quota projects: the directories of a layer are in one, which is the layer's own if it is not the home's."""
    base = _project(home.path)
    owners: dict[int, str] = {}
    for layer in home.layers.values():
        own = _project(layer.path)
        if own is None:
            continue
        for name in (DIFF, WORK):
            path = os.path.join(layer.path, name)
            inner = _project(path) if layer.is_directory(name) else None
            if inner is not None and inner != own:
                what = "it counts for quota project %d, and the layer's folder for %d" % (inner, own)
                remedy = "Copy the layer into one made with a size: existing files can't be counted again"
                yield Finding("quota-project-mismatch", layer.id, path, what, remedy)
        if own not in (0, base):
            if own in owners:
                what = "it counts for quota project %d, like layer %s" % (own, owners[own])
                remedy = "Copy one of the two into a layer made with a size"
                yield Finding("quota-project-shared", layer.id, layer.path, what, remedy)
            owners.setdefault(own, layer.id)


def _project(path: str) -> int | None:
    """Returns the quota project of a directory; None if it can't be read."""
    try:
        descriptor = os.open(path, fs.OPEN_DIRECTORY_NOFOLLOW)
    except OSError:
        return None
    try:
        return fsxattr.get(descriptor).project_id
    except OSError:
        return None
    finally:
        os.close(descriptor)
