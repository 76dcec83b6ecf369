# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Project quota as the program xfs_quota sees and sets it."""

from __future__ import annotations

import subprocess
import time
from typing import NamedTuple


class Row(NamedTuple):
    """One project of a report: bytes and a number of inodes."""

    used: int
    limit: int
    inodes: int


class XfsReport:
    """Reports of the file system mounted at a path."""

    def __init__(self, mount_point):
        self._mount_point = str(mount_point)

    def rows(self):
        """Every project that has limits or anything in use: id to :class:`Row` (dict)."""
        blocks, inodes = self._columns("-b"), self._columns("-i")
        return {
            number: Row(int(columns[0]) * 1024, int(columns[2]) * 1024, int(inodes[number][0]))
            for number, columns in blocks.items()
        }

    def row(self, project_id):
        """The :class:`Row` of one project, all zero where xfs_quota lists none."""
        return self.rows().get(project_id, Row(0, 0, 0))

    def run(self, *commands):
        """Run commands of xfs_quota(8) in expert mode; returns what they print (str)."""
        arguments = [word for command in commands for word in ("-c", command)]
        done = subprocess.run(
            ["xfs_quota", "-x", *arguments, self._mount_point], check=True, capture_output=True, text=True
        )
        assert not done.stderr, done.stderr
        return done.stdout

    def lift_all_limits(self):
        """Set every project's limits to none."""
        limited = [number for number, row in self.rows().items() if row.limit]
        if limited:
            self.run(*[f"limit -p bsoft=0 bhard=0 {number}" for number in limited])

    def wait_until_unused(self):
        """Wait until no project has limits or anything in use: XFS frees what was deleted in the background."""
        deadline = time.monotonic() + 10
        while set(self.rows()) - {0}:
            assert time.monotonic() < deadline, self.rows()
            time.sleep(0.05)

    def _columns(self, kind):
        # "#42  5120  5120  5120  00 [--------]": id, used, soft, hard; blocks in KiB
        lines = [line.split() for line in self.run(f"report -p -n -N {kind}").splitlines() if line.strip()]
        return {int(columns[0].lstrip("#")): columns[1:] for columns in lines}
