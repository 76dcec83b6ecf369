# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""``--print`` and ``--json``: the facts of the screens, once. Facts go to stdout, diagnostics to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from .model import gathered, report
from .model.checks import run_checks
from .model.plain import visible
from .model.sizes import SizeKeeper
from .model.snapshot import Snapshot
from .model.source import HomeSource


class OutputFailed(Exception):
    """The output can't be written; says why."""


def load(paths: Iterable[str]) -> list[Snapshot]:
    """The Snapshots in some files."""
    return [snapshot for path in paths for snapshot in gathered.load(path)]


def gather(home: str, measure: bool = True) -> Snapshot:
    """Everything about a home, once, in this thread."""
    source = HomeSource(home)
    snapshot = source.read()
    driver = source.driver
    if snapshot.failure is not None or driver is None:
        return snapshot
    source.read_processes()
    source.with_checks(*run_checks(driver))
    if measure:
        keeper = SizeKeeper(driver.own_usage, lambda sizes, errors: None)
        keeper.follow(dict.fromkeys(snapshot.layers, False))
        source.with_sizes(*keeper.measure_all())
    return source.snapshot


def write(snapshots: Sequence[Snapshot], as_json: bool) -> bool:
    """Write Snapshots to stdout and the reasons of failures to stderr; returns whether there were none.

    :raises OutputFailed: stdout is closed, or its disk is full.
    """
    if as_json:
        text = report.as_json(snapshots) + "\n"
    else:
        text = "\n".join(map(report.as_text, snapshots))
        text = "\n".join(map(visible, text.split("\n")))
    _to_stdout(text)
    failures = [snapshot.failure for snapshot in snapshots if snapshot.failure is not None]
    for failure in failures:
        if sys.stderr is not None:
            sys.stderr.write(f"overlay2-tui: {visible(failure)}\n")
    return not failures


def _to_stdout(text: str) -> None:
    if sys.stdout is None:
        raise OutputFailed("stdout is closed")
    try:
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError:  # a terminal or pipe of the C locale
            sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "ascii", "backslashreplace"))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        _discard_the_rest()
    except OSError as error:
        _discard_the_rest()
        raise OutputFailed(f"the output can't be written: {error.strerror}") from error


def _discard_the_rest() -> None:
    """Python writes what is left in its buffer at exit; that must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
