# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The terminal that the inspector runs in."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

#: Seconds that the app has to end by itself once its terminal is gone.
_PATIENCE = 5.0


def wait_for_hangup(then: Callable[[], None]) -> None:
    """Wait until the terminal is gone, then call ``then``; for a thread of its own.

    A program whose session does not end with its terminal gets no SIGHUP (``nohup``, ``su -c``, a container's exec).
    It would read end of file for ever and keep a core busy. poll(2) reports POLLHUP though no event was asked for.
    """
    poll = select.poll()
    try:
        poll.register(sys.stdin.fileno(), 0)
    except (OSError, ValueError):
        return
    while not any(happened & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _fd, happened in poll.poll()):
        pass
    then()


def end_with_terminal() -> None:
    """End the process some seconds after its terminal is gone, whatever it waits for.

    Textual's output thread dies with the terminal. If its queue is full then, whoever writes to it waits for ever: the
    app while it starts, or the end of the app.
    """

    def end() -> None:
        time.sleep(_PATIENCE)
        os._exit(128 + signal.SIGHUP)

    threading.Thread(target=wait_for_hangup, args=(end,), daemon=True).start()
