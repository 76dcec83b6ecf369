# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""``--print`` and ``--json``: the same facts as on the screens, once. Facts go to stdout, diagnostics to stderr."""

from __future__ import annotations

import os
import sys

from .model import gathered, report
from .model.checks import run_checks
from .model.plain import visible
from .model.sizes import SizeKeeper
from .model.source import HomeSource


def load(paths):
    """The Snapshots in some files (list of :class:`~.model.Snapshot`)."""
    return [snapshot for path in paths for snapshot in gathered.load(path)]


def gather(home, measure=True):
    """Everything about a home, once, in this thread: a Snapshot."""
    source = HomeSource(home)
    snapshot = source.read()
    if snapshot.failure is not None:
        return snapshot
    source.read_processes()
    source.with_checks(*run_checks(source.driver))
    if measure:
        keeper = SizeKeeper(source.driver.own_size, lambda sizes, size_errors: None)
        keeper.follow(dict.fromkeys(snapshot.layers, False))
        source.with_sizes(*keeper.measure_all())
    return source.snapshot


def write(snapshots, as_json):
    """Write Snapshots to stdout, and why some failed to stderr; returns whether none did (bool)."""
    if as_json:
        text = report.as_json(snapshots) + "\n"
    else:
        text = "\n".join(map(report.as_text, snapshots))
        text = "\n".join(map(visible, text.split("\n")))
    _to_stdout(text)
    failures = [snapshot.failure for snapshot in snapshots if snapshot.failure is not None]
    for failure in failures:
        sys.stderr.write(f"overlay2-tui: {visible(failure)}\n")
    return not failures


def _to_stdout(text):
    try:
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError:  # a terminal or pipe of the C locale
            sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "ascii", "backslashreplace"))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
