# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Whose the layers are, and what a check of the whole home finds: slow questions, asked in a thread of their own.

They cost a second or so for each thousand layers. So they wait until a change has settled, and each answer is followed
by a rest in which asking takes less than a twentieth of a core, or a three hundredth where nothing changes.
"""

from __future__ import annotations

import threading
import time

from overlay2 import Overlay2Error

from .sizes import lower_priority
from .snapshot import OwnerFacts, OwnershipReport

#: Seconds for a change to settle; the least seconds between two looks where nothing is seen to change.
_SETTLE, _LEAST_REST = 2.0, 30.0
#: The rest after a look, in times of what it took: where something changed, and where nothing did.
_BUSY_REST, _REST = 20.0, 300.0


def run_checks(driver):
    """Owners and findings: (:class:`~.snapshot.OwnershipReport`, tuple of ``overlay2.health.Finding``).

    :raises Overlay2Error, OSError: the home can't be listed.
    """
    from overlay2 import health, owners  # not before the first picture stands

    report = owners.resolve(driver)
    return ownership_report(report), tuple(health.check(driver, ownership=report))


def ownership_report(report):
    """What an ``overlay2.owners.Report`` says, as a :class:`~.snapshot.OwnershipReport`."""
    layers = {id: _owner_facts(ownership) for id, ownership in report.layers.items()}
    return OwnershipReport(report.engine, report.root, report.running, layers, tuple(map(str, report.problems)))


def _owner_facts(ownership):
    others = (owner for owner in ownership.owners if owner.names or owner.kind != "layer")
    return OwnerFacts(
        kind=ownership.kind,
        owners=tuple(owner._replace(evidence=()) for owner in others),
        certainty=ownership.certainty,
        reason=ownership.reason,
        evidence=tuple(map(str, ownership.evidence)),
    )


class CheckLoop:
    """Asks when something changed, and now and then without that. Its methods may be called from any thread.

    :param look: called without arguments; does the work, and may raise what :func:`run_checks` raises.
    """

    def __init__(self, look, clock=time.monotonic):
        self._look = look
        self._clock = clock
        self._news = threading.Event()
        self._stopped = self._paused = False
        self._due = self._earliest = 0.0

    def ask(self):
        """Something changed."""
        self._due = min(self._due, max(self._earliest, self._clock() + _SETTLE))
        self._news.set()

    def pause(self, paused):
        """Rest, or go on."""
        self._paused = paused
        self._news.set()

    def stop(self):
        """End :meth:`run`, once a look that has begun is done."""
        self._stopped = True
        self._news.set()

    def run(self):
        """Work until :meth:`stop`."""
        lower_priority()
        while not self._stopped:
            wait = None if self._paused else self._due - self._clock()
            if wait is None or wait > 0:
                self._news.wait(wait)
                self._news.clear()
                continue
            started = self._clock()
            self._due = float("inf")
            try:
                self._look()
            except (Overlay2Error, OSError):
                pass  # the thread that follows the home says so
            now = self._clock()
            self._earliest = now + _BUSY_REST * (now - started)
            self._due = min(max(self._due, self._earliest), now + max(_LEAST_REST, _REST * (now - started)))
