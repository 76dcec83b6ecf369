# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""When the checks of a home run."""

from __future__ import annotations

import threading
import time

from overlay2_tui.model.checks import CheckLoop


def wait(seen, condition, seconds=10.0):
    """Wait for a Snapshot; how long it took (seconds)."""
    started = time.monotonic()
    while not (seen and condition(seen[-1])):
        assert time.monotonic() - started < seconds, "it did not come to pass"
        time.sleep(0.02)
    return time.monotonic() - started


def test_an_examiner_asks_when_something_changed_and_ends():
    looks = []
    loop = CheckLoop(lambda: looks.append(1))
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        wait(looks, lambda _last: len(looks) == 1)
        loop.ask()
        wait(looks, lambda _last: len(looks) == 2)
    finally:
        loop.stop()
        thread.join(10)
        assert not thread.is_alive()
