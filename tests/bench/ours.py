# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""`ours.py HOME SYNC COMMAND LAYER [ARCHIVE]`: one call of the driver, as a process of its own, for the benchmark."""
from __future__ import annotations

import shutil
import sys

from overlay2 import Driver


def main(home, sync, command, layer, archive=None):
    """Do what `command` says to `layer`; a diff goes to standard output."""
    driver = Driver(home, [f"overlay2.sync={sync}"])
    if command == "create":
        driver.create(layer)
    elif command == "apply":
        with open(archive, "rb") as stream:
            driver.apply_diff(layer, "", stream)
    elif command == "diff":
        with driver.diff(layer) as stream:
            shutil.copyfileobj(stream, sys.stdout.buffer, 1 << 20)
    elif command == "changes":
        driver.changes(layer)
    elif command == "remove":
        driver.remove(layer)


if __name__ == "__main__":
    main(*sys.argv[1:])
