# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Repairs what the rest of a home proves, and nothing else. First a plan, which is also what check mode shows.

>>> from overlay2 import Driver, repair
>>> driver = Driver("/var/lib/docker/overlay2", read_only=True)
>>> steps = repair.plan(driver)
>>> repair.perform(driver, steps)

Each step is one change of one path. It is made under the locks, and only if the path is still in the state that the
plan found; the home of another engine is repaired only while that engine stands still.
"""

from __future__ import annotations

import contextlib
import os
from typing import Iterable, Iterator, NamedTuple

from . import health, owners
from .errors import InvalidLayerId, translated
from .foreign import standstill
from .health.path_state import DirectoryState, FileState, LinkState, State, is_same, state_of
from .home import mending
from .home.layout import check_id
from .home.opening import Home, Opened, home_of
from .owners import mount_uses


class Repair(NamedTuple):
    """One change."""

    #: The finding that it settles.
    code: str
    #: The layer's id; "" for the home's.
    layer: str
    path: str
    #: What is at the path now, and what will be.
    before: State
    after: State

    @property
    def action(self) -> str:
        """``make``, ``change`` or ``remove``."""
        return "remove" if not self.after else "change" if self.before else "make"


def plan(opened: Home | Opened, findings: Iterable[health.Finding] | None = None) -> list[Repair]:
    """Returns what can be repaired, each path once.

    :param opened: the home, or a driver of it; one opened for reading will do.
    :param findings: the result of :func:`.health.check`, if the caller has it already.
    :raises OSError: the home cannot be listed.
    """
    found: dict[str, Repair] = {}
    for finding in health.check(opened) if findings is None else findings:
        if finding.step is not None:
            path, before, after = finding.step
            found.setdefault(path, Repair(finding.code, finding.layer, path, before, after))
    return sorted(found.values(), key=_order)


def perform(opened: Home | Opened, steps: Iterable[Repair]) -> list[Repair]:
    """Makes the changes of a plan and returns those that were made.

    A step is left out if its path has changed since: the next plan looks at it afresh.

    :param opened: the home, or a driver of it; one opened for reading will do, as this takes its own locks.
    :raises EngineRunning: the home is another engine's, and that is at work.
    :raises Overlay2Error: the file system refused; the steps before that one are made.
    """
    home = home_of(opened)
    done: list[Repair] = []
    ordered = sorted(steps, key=_order)
    if not ordered:
        return done
    with standstill(home.path, owners.engine_of(home.path)):
        for step in ordered:
            with translated("can't repair it (%s)" % step.code, layer=step.layer or None, path=step.path):
                with _locked(home, step.layer):
                    if is_same(state_of(step.path), step.before) and not _in_use(home, step):
                        _make(home, step)
                        done.append(step)
    return done


def _order(step: Repair) -> tuple[bool, str]:
    """Directories first, as links need them; the rest by path, so that a plan reads the same each time."""
    return step.code != "link-dir-missing", step.path


@contextlib.contextmanager
def _locked(home: Home, layer: str) -> Iterator[None]:
    """Holds the lock of a layer, if its name is one that can have a lock, and the home's."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(InvalidLayerId):
            check_id(layer)
            stack.enter_context(home.runtime.layer_lock(layer))
        stack.enter_context(home.runtime.home_lock())
        yield


def _in_use(home: Home, step: Repair) -> bool:
    """True if a directory to be removed is a mount point in some mount namespace: the kernel would unmount it."""
    if step.after or not isinstance(step.before, DirectoryState) or _is_staged(home, step):
        return False
    found = mount_uses.uses(home.store, (step.layer,))
    return bool(found.layers or found.hidden)


def _is_staged(home: Home, step: Repair) -> bool:
    return os.path.dirname(step.path) == home.staging.folder


def _make(home: Home, step: Repair) -> None:
    after = step.after
    if _is_staged(home, step):
        home.staging.sweep()
    elif isinstance(after, LinkState):
        mending.replace_link(step.path, after.target)
    elif isinstance(after, FileState):
        mending.replace_file(step.path, after.content, after.mode)
    elif isinstance(after, DirectoryState):
        if not step.before:
            mending.make_directory(step.path)
        mending.set_rights(step.path, after.mode, (after.uid, after.gid))
    else:
        mending.remove(step.path)
