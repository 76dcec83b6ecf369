# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A small ext4 file system on a loop device, whose counters say what was written to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SIZE = 256 << 20
_SECTOR = 512


class LoopDisk:
    """An ext4 file system below ``folder`` (Path). Nothing writes to it but the test and the kernel."""

    def __init__(self, folder):
        folder.mkdir()
        image, self.root = folder / "ext4.img", folder / "root"
        self.root.mkdir()
        with open(image, "wb") as file:
            file.truncate(SIZE)
        # Without lazy initialization, which would write in the background after the mount.
        options = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mkfs.ext4", "-q", "-E", options, image], check=True)
        subprocess.run(["mount", "-o", "loop,noatime", image, self.root], check=True)
        number = os.stat(self.root).st_dev
        self._counters = Path("/sys/dev/block/%d:%d/stat" % (os.major(number), os.minor(number)))

    def folder(self, name):
        """A new folder (str) on it."""
        path = self.root / name
        path.mkdir()
        return str(path)

    def write_without_sync(self, name, size):
        """Write a file of ``size`` bytes that stays in memory until something syncs the file system."""
        with open(self.root / name, "wb") as file:
            for _block in range(size >> 20):
                file.write(b"x" * (1 << 20))

    def sync(self):
        """Write everything to the device."""
        subprocess.run(["sync", "--file-system", self.root], check=True)

    def bytes_written(self):
        """What was written to the device so far (int): the seventh counter, in sectors (admin-guide/iostats.rst)."""
        return int(self._counters.read_text().split()[6]) * _SECTOR

    def unmount(self):
        """Undo it all but the files."""
        subprocess.run(["umount", self.root], check=True)
