# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Settings of a forked process: prctl(2)."""

from __future__ import annotations

import os
import signal

from .libc import call, libc

#: include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Makes the kernel kill this process when the thread that forked it ends.

    :param parent: process id of the parent. If the parent has ended already, this process exits at once.
    """
    call(libc.prctl, _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
