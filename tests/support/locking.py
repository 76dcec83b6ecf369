# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A lock that another process holds."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import Iterator


@contextlib.contextmanager
def locked(path: str, how: str = "flock") -> Iterator[None]:
    """Have another process hold an exclusive lock on a file: by ``flock``, or by ``lockf`` (fcntl)."""
    flags = "os.O_RDONLY" if os.path.isdir(path) else "os.O_RDWR"
    script = f"import fcntl,os,sys; fcntl.{how}(os.open({path!r}, {flags}), fcntl.LOCK_EX)"
    script += "; print(flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        try:
            yield
        finally:
            process.stdin.close()
