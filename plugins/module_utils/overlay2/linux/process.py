# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What a forked process asks of the kernel."""

from __future__ import annotations

import os
import signal

from .libc import call, libc

#: include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent):
    """Have the kernel kill this process when the thread that forked it ends: prctl(2).

    :param parent: the parent's process id (int). If it has ended already, so does this process, now.
    """
    call(libc.prctl, _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
