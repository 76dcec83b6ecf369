# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The overlay module's parameters: read, and changed for a moment."""
from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Iterator

FOLDER = "/sys/module/overlay/parameters"


def value(name: str) -> str | None:
    """The parameter's value, None where this kernel has no such parameter."""
    try:
        with open(os.path.join(FOLDER, name), encoding="ascii") as source:
            return source.read().strip()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def parameter(name: str, wanted: str) -> Iterator[None]:
    """Set a parameter, which the whole host sees, so: for one step only. It is restored whatever happens.

    Runs side by side take turns, by a lock on the parameter's own file.
    """
    path = os.path.join(FOLDER, name)
    with open(path, encoding="ascii") as source:
        fcntl.flock(source, fcntl.LOCK_EX)
        before = source.read().strip()
        _write(path, wanted)
        try:
            yield
        finally:
            _write(path, before)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as target:
        target.write(text)
