# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What is wrong with a home, and what to do about it.

>>> from overlay2 import Driver, health
>>> for finding in health.check(Driver("/var/lib/docker/overlay2", read_only=True)):
...     print(finding.severity, finding)

Takes no lock and changes nothing; what can be mended from the rest of the home, ``overlay2.repair`` mends. The driver
itself does not import this package.
"""

from __future__ import annotations

from .. import owners
from . import chains, content, folders, links, state
from .facts import Home
from .findings import CODES, SEVERITIES, Finding, Step, rank

__all__ = ["CODES", "SEVERITIES", "Finding", "Step", "check"]


def check(driver, deep=False, ownership=None, progress=None):
    """All that is wrong with a home: list of :class:`Finding`, worst first.

    What an engine at work changes meanwhile may be found half done; look twice before acting on a running one's home.

    :param driver: a :class:`~..driver.Driver` of the home; one opened for reading will do.
    :param deep: recompute recorded digests, which reads every file of those layers.
    :param ownership: what :func:`overlay2.owners.resolve` said, where the caller has asked that already.
    :param progress: called with the id of each layer that is read for its digest; what it raises ends the check.
    :raises OSError: the home can't be listed.
    """
    ownership = owners.resolve(driver) if ownership is None else ownership
    home = Home(driver.home)
    found = [*links.check(home), *chains.check(home, ownership), *folders.check(home, ownership)]
    found = [*_without_unfinished(found, ownership)]
    found += [*state.check(home, driver), *_records(ownership)]
    if deep:
        found += content.check(home, driver, ownership.engine, progress)
    return sorted(found, key=rank)


def _without_unfinished(found, ownership):
    """The findings, of which one stands for all those about a layer that its engine is about to remove."""
    told = set()
    for finding in found:
        if finding.layer not in ownership.unfinished:
            yield finding
        elif finding.layer not in told:
            told.add(finding.layer)
            what = "its making or removal was cut off, and %s has it on record as that" % ownership.engine
            path = ownership.home + "/" + finding.layer
            yield Finding("layer-unfinished", finding.layer, path, what, "Leave it: its engine removes the rest")


def _records(ownership):
    for layer, needed_by in ownership.missing.items():
        what = "the engine has it on record, for %s, and its folder is not there" % needed_by
        remedy = "Remove what needs it with the engine's own commands, and get it anew"
        yield Finding("record-without-layer", layer, ownership.home + "/" + layer, what, remedy)
    for problem in ownership.problems:
        remedy = "Restore it from a backup, or have the engine make it anew; until then its layers count as unknown"
        yield Finding("engine-record-unreadable", "", problem.path, "it %s" % problem.message, remedy)
    for problem in ownership.unseen:
        remedy = "Look again as root; until then nothing is called garbage with certainty"
        yield Finding("namespace-unseen", "", problem.path, "it %s" % problem.message, remedy)
