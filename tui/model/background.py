# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What slow work in a thread of its own has in common: it can be paused and stopped, and it gives way to others."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable


class BackgroundLoop:
    """Repeats :meth:`_step` until it is stopped. The public methods may be called from any thread.

    :param clock: returns seconds, as ``time.monotonic`` does.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._woken = threading.Event()
        self._stopped = self._paused = False

    def pause(self, paused: bool) -> None:
        """Rest, or go on."""
        self._paused = paused
        self._woken.set()

    def stop(self) -> None:
        """End :meth:`run`. A step ends early if it can."""
        self._stopped = True
        self._woken.set()

    def run(self) -> None:
        """Work until :meth:`stop`."""
        lower_priority()
        while not self._stopped:
            rest = self._step()
            if rest is None or rest > 0:
                self._woken.wait(rest)
                self._woken.clear()

    def _step(self) -> float | None:
        """Do what is due, unless paused; returns the seconds until there is more, None for "when woken"."""
        raise NotImplementedError


def lower_priority() -> None:
    """Give this thread low priority for the processor and, as I/O priority follows niceness, for the disk."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)  # on Linux, of the thread alone
