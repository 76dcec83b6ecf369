# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Mending what the rest of a home proves, and nothing else. First a plan, which is also what check mode shows.

>>> from overlay2 import Driver, repair
>>> driver = Driver("/var/lib/docker/overlay2", read_only=True)
>>> steps = repair.plan(driver)
>>> repair.perform(driver, steps)

Each step is one change of one path. It is made under the locks, and only if what is at the path is still what the plan
saw; another engine's home is mended only while that engine stands still.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from typing import NamedTuple

from . import health, owners
from .errors import InvalidLayerId, Overlay2Error, from_os_error
from .foreign import standstill
from .health.states import state_of
from .home.layout import check_id
from .home.staging import sync_folder, write_new
from .owners import mounted

_FILE = re.compile(r"file ([0-7]{4}): (.*)", re.DOTALL)
_FOLDER = re.compile(r"folder ([0-7]{4}) (\d+):(\d+)(, empty)?")
_LINK = "link -> "


class Repair(NamedTuple):
    """One change."""

    #: The finding that it mends.
    code: str
    #: The layer's id; "" for the home's.
    layer: str
    path: str
    #: ``make``, ``change`` or ``remove``.
    action: str
    #: What is at the path, and what will be, each on one line; "" for nothing.
    before: str
    after: str


def plan(driver, findings=None):
    """What can be mended: list of :class:`Repair`, each path once.

    :param driver: a :class:`.driver.Driver` of the home; one opened for reading will do.
    :param findings: what :func:`.health.check` found, where the caller has asked that already.
    :raises OSError: the home can't be listed.
    """
    found = {}
    for finding in health.check(driver) if findings is None else findings:
        if finding.step is not None:
            path, before, after = finding.step
            action = "remove" if not after else "change" if before else "make"
            found.setdefault(path, Repair(finding.code, finding.layer, path, action, before, after))
    return sorted(found.values(), key=_order)


def perform(driver, steps):
    """Make the changes of a plan; returns those that were made (list of :class:`Repair`).

    One whose path has changed since is left out: the next plan looks at it afresh.

    :param driver: a driver of the home; one opened for reading will do, as this takes its own locks.
    :raises EngineRunning: another engine's home, and it is at work.
    :raises Overlay2Error: the file system refused; steps before that one are made.
    """
    runtime = driver.opened.runtime
    done = []
    if not steps:
        return done
    with standstill(driver.home, owners.engine_of(driver.home)):
        for step in sorted(steps, key=_order):
            try:
                with _locked(runtime, step.layer):
                    if state_of(step.path) == step.before and not _in_use(driver.opened, step):
                        _make(driver.opened, step)
                        done.append(step)
            except OSError as error:
                if isinstance(error, Overlay2Error):
                    raise
                message = "can't mend it (%s)" % step.code
                raise from_os_error(Overlay2Error, message, error, layer=step.layer or None, path=step.path) from error
    return done


def _order(step):
    """Folders first, so that links have a place to go; the rest by path, for a plan that reads the same each time."""
    return step.code != "link-dir-missing", step.path


@contextlib.contextmanager
def _locked(runtime, layer):
    """The locks of a layer, where it is one that can have a lock, and of the home."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(InvalidLayerId):
            check_id(layer)
            stack.enter_context(runtime.layer_lock(layer))
        stack.enter_context(runtime.home_lock())
        yield


def _in_use(home, step):
    """Whether a folder that is to go is a mount point in some mount namespace (bool): the kernel would unmount it."""
    if step.after or not step.before.startswith("folder") or os.path.dirname(step.path) == home.staging.folder:
        return False
    found = mounted.uses(home.path, (step.layer,), home.store.links())
    return bool(found.layers or found.hidden)


def _make(home, step):
    folder = os.path.dirname(step.path)
    if folder == home.staging.folder:
        home.staging.sweep()
        return
    if not step.after:
        _remove(step.path)
    elif step.after.startswith(_LINK):
        _replace(step.path, lambda temporary: os.symlink(step.after[len(_LINK) :], temporary))
    elif step.after.startswith("folder"):
        _folder(step)
    else:
        mode, text = _FILE.fullmatch(step.after).groups()
        _replace(step.path, lambda temporary: _write(temporary, text, int(mode, 8)))
    sync_folder(folder)


def _remove(path):
    """Remove a file, a link or an empty folder; nothing more."""
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)
    else:
        os.unlink(path)


def _folder(step):
    mode, user, group, _empty = _FOLDER.fullmatch(step.after).groups()
    if not step.before:
        os.mkdir(step.path, int(mode, 8))
    os.chown(step.path, int(user), int(group), follow_symlinks=False)
    os.chmod(step.path, int(mode, 8))


def _write(path, text, mode):
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        write_new(folder, os.path.basename(path), os.fsencode(text), mode)
    finally:
        os.close(folder)


def _replace(path, make):
    """Put something new in the place of a name in one step, so that a power cut leaves the one or the other."""
    temporary = os.path.join(os.path.dirname(path), ".tmp-" + secrets.token_hex(8))
    make(temporary)
    try:
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
