# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What is mounted, held, staged and counted, against the layers that are there."""

from __future__ import annotations

import contextlib
import fcntl
import os

from ..home.layout import DIFF, LINK_DIR, MERGED, STAGING, WORK
from ..linux import fsxattr
from ..owners import engine
from .findings import Finding, Step
from .states import state_of


def check(home, driver):
    """Findings about state (iterator of :class:`~.findings.Finding`)."""
    yield from _staged(home)
    yield from _mounts(home)
    yield from _holders(home, driver)
    if driver.features.backing_fs == "xfs":
        yield from _projects(home)


def _staged(home):
    """Staged directories that nobody works on: their maker holds a lock as long as it lives."""
    for name in home.staged:
        path = os.path.join(home.path, STAGING, name)
        if os.path.isdir(path) and _is_abandoned(path):
            what = "the process that was making or removing a layer there has ended"
            remedy = "Remove it; the next driver that opens the home for writing does so too"
            with contextlib.suppress(OSError):
                yield Finding("staging-leftover", "", path, what, remedy, Step(path, state_of(path), ""))


def _is_abandoned(path):
    """True if no process holds the lock of a staged directory.

    In a pid namespace, such as a container's, ``/proc/locks`` leaves out the locks of processes outside. Then a shared
    lock is taken for an instant: a maker waits for it, and a sweep that meets it leaves the directory to the next one.
    """
    running = engine.activity([path]).running
    if running is not None:
        return not running
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _mounts(home):
    real = os.path.realpath(home.path)
    for entry in home.mounts:
        layer, _slash, rest = entry.mount_point[len(real) + 1 :].partition("/")
        if not layer or layer == STAGING:
            continue
        remedy = "Unmount it, once nothing uses it: umount %s" % entry.mount_point
        if layer not in home.layers and (rest == MERGED or layer == LINK_DIR or entry.root.endswith("//deleted")):
            what = "%s is mounted there, and the layer does not exist" % entry.fs_type
            yield Finding("mount-stale", "", entry.mount_point, what, remedy)
        elif rest == MERGED and entry.fs_type != "overlay" and not entry.fs_type.startswith("fuse"):
            what = "%s is mounted on its merged folder" % entry.fs_type
            yield Finding("mount-not-overlay", layer, entry.mount_point, what, remedy)


def _holders(home, driver):
    folder = driver.opened.runtime.holders_dir
    for layer, counts in driver.recorded_holders().items():
        path = os.path.join(folder, layer)
        held_by = ", ".join(sorted(name or "anonymous" for name in counts))
        if layer not in home.layers:
            what = "the layer is on record as held by %s, and it does not exist" % held_by
            code = "holder-without-layer"
        elif not driver.holders(layer):
            what = "it is on record as held by %s, and nothing is mounted" % held_by
            code = "holder-stale"
        else:
            continue
        step = Step(path, state_of(path), "")
        yield Finding(code, layer, path, what, "Delete the record: the next mount counts afresh", step)


def _projects(home):
    """Quota projects: a layer's folders are in one, which is the layer's own where it is not the home's."""
    base, owners = _project(home.path), {}
    for layer in home.layers.values():
        own = _project(layer.path)
        if own is None:
            continue
        for name in (DIFF, WORK):
            path = os.path.join(layer.path, name)
            inner = _project(path) if layer.is_folder(name) else None
            if inner is not None and inner != own:
                what = "it counts for quota project %d, and the layer's folder for %d" % (inner, own)
                remedy = "Copy the layer into one made with a size: what is in it already can't be counted afresh"
                yield Finding("quota-project-mismatch", layer.id, path, what, remedy)
        if own not in (0, base):
            if own in owners:
                what = "it counts for quota project %d, as does layer %s" % (own, owners[own])
                remedy = "Copy one of the two into a layer made with a size"
                yield Finding("quota-project-shared", layer.id, layer.path, what, remedy)
            owners.setdefault(own, layer.id)


def _project(path):
    """Quota project of a folder (int); None where that can't be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return fsxattr.get(descriptor).project_id
    except OSError:
        return None
    finally:
        os.close(descriptor)
