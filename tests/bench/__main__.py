# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""`make bench`, or `python tests/bench`: compares this driver with others on the same trees and disk, in one run.

Peers are the Go driver that this one follows, in process as this one is; the containers-storage program; GNU tar and
cp. A driver in process is asked over a pipe and takes the time of its calls itself; of a program the whole process
counts, its start too. The contenders take turns, so that whatever drifts hits all alike; the first turn warms caches
and looks at memory, and its times do not count. The table has medians.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import report
import rows_ansible
import rows_content
import rows_mounts
from contenders import CP, GO, OURS, STORAGE, TAR, Contenders, Failed, Meter, bare_interpreter
from disks import tmpfs
from peers import containers_storage, scratch
from row import Bench
from support import host

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "bench"
#: What ends a contender's part in a row, or the row, but not the benchmark.
TROUBLE = (Failed, containers_storage.StorageError, subprocess.SubprocessError, OSError)
ROWS = {row.name: row for row in rows_content.ROWS + rows_mounts.ROWS + rows_ansible.ROWS}


def main():
    """Measure the rows that were asked for and print the table."""
    arguments = parser().parse_args()
    if arguments.show:
        print_table(report.load(arguments.json))
        return
    if not host.is_real_root():
        sys.exit("The benchmark needs root, and not only a user namespace's: it mounts file systems of its own.")
    done = []
    with scratch("bench") as folder, tmpfs(folder) as run_root, ended_once():
        os.environ["OVERLAY2_RUN_ROOT"] = run_root  # hosts have it on a tmpfs, /run
        contenders = Contenders(CACHE)
        for name, reason in contenders.missing.items():
            print(f"Without {name}: {reason}.", flush=True)
        bench = Bench(folder, contenders)
        for name in arguments.rows:
            try:
                report.store(arguments.json, {name: measured(bench, ROWS[name], arguments.rounds)})
                done.append(name)
            except TROUBLE as error:
                print(f"\n{name} can't be measured: {error}", flush=True)
    known = report.load(arguments.json)
    print_table({name: known[name] for name in done})
    print(f"\nAll figures: {arguments.json}")


@contextlib.contextmanager
def ended_once():
    """A signal ends the ``with`` block as an error does; another one does not end the tidying up after it."""
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit("ended by a signal"))
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def parser():
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python tests/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {row.name:18} {row.title}" for row in ROWS.values()),
    )  # fmt: skip
    result.add_argument(
        "rows", nargs="*", metavar="ROW", default=list(ROWS), type=row_name, help="only these (default: all)"
    )
    result.add_argument("--rounds", type=int, default=5, help="medians of how many (default: %(default)s)")
    result.add_argument("--json", type=Path, default=CACHE / "results.json", metavar="FILE",
                        help="keep the figures there, beside those of other rows (default: %(default)s)")  # fmt: skip
    result.add_argument("--show", action="store_true", help="measure nothing: the table of what was measured so far")
    return result


def row_name(text):
    """A row's name, checked."""
    if text not in ROWS:
        raise argparse.ArgumentTypeError(f"there is no row {text!r}; see --help")
    return text


def measured(bench, row, rounds):
    """Measure a row; its outcome as :func:`report.summary` has it."""
    print(f"{row.name}: ", end="", flush=True)
    samples, trouble = {}, {}
    with row.setting(bench) as measures:
        there = [name for name in measures if bench.has(name)]
        for number in range(rounds + 1):
            for name in there[number % len(there) :] + there[: number % len(there)]:
                if name in trouble:
                    continue
                try:
                    samples.setdefault(name, []).append(measures[name](Meter(memory=number == 0)))
                except TROUBLE as error:
                    trouble[name] = str(error)
                    samples.pop(name, None)
                    print(f"\n{error}", flush=True)
            print(".", end="", flush=True)
    print(flush=True)
    tell_differences(row, samples)
    return report.summary(row, samples, trouble)


def tell_differences(row, samples):
    """Report contenders that did not do the same work."""
    results = {name: found[-1].result for name, found in samples.items() if found[-1].result is not None}
    if len(set(results.values())) > 1:
        print(f"{row.name}: NOT THE SAME WORK: {results}", flush=True)


def print_table(outcomes):
    """Print it in the order of the rows."""
    for line in report.table({name: outcomes[name] for name in ROWS if name in outcomes}):
        print(line)
    print(f"\nMedians; the ratio is to the {GO}. Peak memory of {OURS} / {GO} / {STORAGE}; a Python that does nothing "
          f"has {bare_interpreter() / 2**20:.0f}.\n{STORAGE}, {TAR} and {CP} are whole processes.")  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
