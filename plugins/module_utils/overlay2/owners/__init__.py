# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Whose is this layer, and is it garbage? Answered offline, from the files of the engine that made the home.

>>> from overlay2 import Driver, owners
>>> report = owners.resolve(Driver("/var/lib/docker/overlay2", read_only=True))
>>> report.counts()["unowned"]
0

Read-only and without locks, so the answer is right for a home that an engine is using, and for one whose engine was
killed. A record that can't be read makes layers unknown, never unowned. The driver itself does not import this package.
"""

from __future__ import annotations

from .records import CERTAIN, KINDS, LIKELY, Evidence, Owner, Ownership, Problem, Report
from .resolve import CONTAINERS_STORAGE, DOCKERD, GRACE, OVERLAY2, engine_of, resolve

__all__ = [
    "CERTAIN",
    "CONTAINERS_STORAGE",
    "DOCKERD",
    "GRACE",
    "KINDS",
    "LIKELY",
    "OVERLAY2",
    "Evidence",
    "Owner",
    "Ownership",
    "Problem",
    "Report",
    "engine_of",
    "resolve",
]
