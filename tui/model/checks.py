# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Owners of the layers and findings of a check of the whole home: slow, so they are found in a thread of their own.

They take about a second for each thousand layers. A check waits until a change has settled, and is followed by a rest
that keeps checking below a twentieth of a core, or a three hundredth without changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from overlay2 import Overlay2Error
from overlay2.records import finding_record

from .background import BackgroundLoop
from .ownership import OwnerFacts, OwnershipReport
from .snapshot import FindingFacts

if TYPE_CHECKING:
    from overlay2 import Driver
    from overlay2.owners import Ownership, Report

#: Seconds for a change to settle; the fewest seconds between two checks without a change.
_SETTLE, _LEAST_REST = 2.0, 30.0
#: The rest after a check as a multiple of its duration: with a change, and without one.
_BUSY_REST, _REST = 20.0, 300.0


def run_checks(driver: Driver) -> tuple[OwnershipReport, tuple[FindingFacts, ...]]:
    """Owners and findings.

    :raises Overlay2Error, OSError: the home can't be listed.
    """
    from overlay2 import health, owners  # loaded after the first picture is shown

    report = owners.resolve(driver)
    findings = health.check(driver, ownership=report)
    return ownership_report(report), tuple(FindingFacts(**finding_record(finding)) for finding in findings)


def ownership_report(report: Report) -> OwnershipReport:
    """An ``overlay2.owners.Report`` as an :class:`~.ownership.OwnershipReport`."""
    layers = {id: _owner_facts(ownership) for id, ownership in report.layers.items()}
    return OwnershipReport(report.engine, report.root, report.running, layers, tuple(map(str, report.problems)))


def _owner_facts(ownership: Ownership) -> OwnerFacts:
    return OwnerFacts(
        kind=ownership.kind,
        # What can't be read back from JSON is left out, so that a Snapshot stays the same on the way.
        owners=tuple(owner._replace(evidence=()) for owner in ownership.owners),
        certainty=ownership.certainty,
        reason=ownership.reason,
        evidence=tuple(map(str, ownership.evidence)),
    )


class CheckLoop(BackgroundLoop):
    """Runs a check when something changed, and now and then without that.

    :param check: does the work, and may raise what :func:`run_checks` raises.
    """

    def __init__(self, check: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._check = check
        self._due = self._earliest = 0.0

    def ask(self) -> None:
        """Something changed."""
        self._due = min(self._due, max(self._earliest, self._clock() + _SETTLE))
        self._woken.set()

    def _step(self) -> float | None:
        if self._paused:
            return None
        started = self._clock()
        if started < self._due:
            return self._due - started
        self._due = float("inf")
        try:
            self._check()
        except (Overlay2Error, OSError):
            pass  # the thread that follows the home reports it
        now = self._clock()
        took = now - started
        self._earliest = now + _BUSY_REST * took
        self._due = min(max(self._due, self._earliest), now + max(_LEAST_REST, _REST * took))
        return 0
