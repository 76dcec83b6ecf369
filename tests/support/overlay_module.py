# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Read the parameters of the overlay module, and change them for a moment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
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
    """Set a parameter, which the whole host sees, so: for one step only.

    A process of its own restores it, at the end of the block or when this process is gone, however it went.
    Runs side by side take turns, by a lock on the parameter's own file that the restorer shares.
    """
    path = os.path.join(FOLDER, name)
    with open(path, encoding="ascii") as source:
        fcntl.flock(source, fcntl.LOCK_EX)
        before = source.read().strip()
        with subprocess.Popen(
            ["sh", "-c", 'cat; printf %s "$0" > "$1"', before, path],
            stdin=subprocess.PIPE,
            pass_fds=[source.fileno()],
            start_new_session=True,
        ) as restorer:
            with open(path, "w", encoding="ascii") as target:
                target.write(wanted)
            yield
    assert restorer.returncode == 0
