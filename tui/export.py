# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The only place where the inspector writes a file, and only where the user asks for it."""

from __future__ import annotations

import os


def write_new(path: str, text: str) -> str:
    """Write text to a new file; returns its absolute path.

    :raises OSError: it can't be written, or there is something of that name already, be it a device or a dangling link.
    """
    path = os.path.abspath(os.path.expanduser(path))
    with open(path, "x", encoding="utf-8", errors="backslashreplace") as target:
        try:
            target.write(text)
            target.flush()
        except OSError:
            os.unlink(path)
            raise
    return path
