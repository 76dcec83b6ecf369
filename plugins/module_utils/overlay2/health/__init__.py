# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Checks a home, and returns each problem with a remedy.

>>> from overlay2 import Driver, health
>>> for finding in health.check(Driver("/var/lib/docker/overlay2", read_only=True)):
...     print(finding.severity, finding)

Takes no lock and changes nothing. ``overlay2.repair`` repairs problems whose solution the rest of the home proves. The
checks of :mod:`.links`, :mod:`.chains` and :mod:`.folders` are for the graph drivers' format; the others are for any.
"""

from __future__ import annotations

from typing import BinaryIO, Callable, Iterable, Iterator

from .. import owners
from ..home.opening import Home, Opened, home_of
from . import chains, content, folders, links, runtime
from .facts import HomeFacts
from .findings import CODES, SEVERITIES, Finding, Step, rank

__all__ = ["CODES", "SEVERITIES", "Finding", "Step", "check"]


def check(
    opened: Home | Opened,
    deep: bool = False,
    ownership: owners.Report | None = None,
    progress: Callable[[str], object] | None = None,
    pack: Callable[[str, str], BinaryIO] | None = None,
) -> list[Finding]:
    """Returns the problems of a home, worst first.

    A home that an engine is changing meanwhile may be found half done: look twice before acting on it.

    :param opened: the home, or a driver of it; one opened for reading will do.
    :param deep: recompute recorded digests, which reads every file of those layers.
    :param ownership: the result of :func:`overlay2.owners.resolve`, if the caller has it already.
    :param progress: called with the id of each layer whose digest is recomputed; an exception from it ends the check.
    :param pack: returns the archive of a layer (id, parent's id), as ``Driver.diff``; without it, and without a driver
        that has it, the digests that this project recorded are not checked.
    :raises OSError: the home cannot be listed.
    """
    home = home_of(opened)
    ownership = owners.resolve(home) if ownership is None else ownership
    facts = HomeFacts(home.store)
    found = [*links.check(facts), *chains.check(facts, ownership), *folders.check(facts, ownership)]
    found = [*_without_unfinished(found, ownership), *runtime.check(facts, home), *_records(ownership)]
    if deep:
        pack = getattr(opened, "diff", None) if pack is None else pack
        found += content.check(facts, ownership.engine, pack, progress)
    return sorted(found, key=rank)


def _without_unfinished(found: Iterable[Finding], ownership: owners.Report) -> Iterator[Finding]:
    """Yields the findings, of which one stands for all those about a layer that its engine is about to remove."""
    seen = set()
    for finding in found:
        if finding.layer not in ownership.unfinished:
            yield finding
        elif finding.layer not in seen:
            seen.add(finding.layer)
            what = "its making or removal was cut off, and %s has it on record as that" % ownership.engine
            path = ownership.home + "/" + finding.layer
            yield Finding("layer-unfinished", finding.layer, path, what, "Leave it: its engine removes the rest")


def _records(ownership: owners.Report) -> Iterator[Finding]:
    for layer, needed_by in ownership.missing.items():
        what = "the engine has it on record, for %s, and its folder is missing" % needed_by
        remedy = "Remove its owner with the engine's own commands, and get that again"
        yield Finding("record-without-layer", layer, ownership.home + "/" + layer, what, remedy)
    for problem in ownership.problems:
        remedy = "Restore it from a backup, or have the engine make it again; until then its layers count as unknown"
        yield Finding("engine-record-unreadable", "", problem.path, "it %s" % problem.message, remedy)
    for problem in ownership.unseen:
        remedy = "Look again as root; until then no layer is called garbage with certainty"
        yield Finding("namespace-unseen", "", problem.path, "it %s" % problem.message, remedy)
