# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Loops in a thread of their own: paused, woken, stopped."""

from __future__ import annotations

import threading

import pytest
from overlay2_tui.model.background import BackgroundLoop


class Steps(BackgroundLoop):
    """Counts its steps; each one waits to be woken."""

    def __init__(self):
        super().__init__()
        self.done = threading.Semaphore(0)

    def _step(self):
        if not self._paused:
            self.done.release()


@pytest.fixture
def steps():
    """A loop that runs."""
    loop = Steps()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield loop
    loop.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_a_loop_rests_until_it_is_woken(steps):
    assert steps.done.acquire(timeout=10)
    assert not steps.done.acquire(blocking=False)
    steps.pause(True)
    steps.pause(False)
    assert steps.done.acquire(timeout=10)


def test_a_loop_that_is_stopped_before_it_runs_does_nothing():
    loop = Steps()
    loop.stop()
    loop.run()
    assert not loop.done.acquire(blocking=False)
