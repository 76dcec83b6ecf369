# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""`python tests/bench`: how long applying and diffing a layer of many small files takes, and how much memory.

Beside containers-storage and GNU tar, on the same tree and disk, in the same run, one after the other in each round.
Every figure is that of a whole process, its start and end included, as a user meets it; the table has the medians.
Processor time says more where other programs run beside. Memory is the largest resident set of the process or one of
its children. Before each measurement the disk is in step
(sync), and nothing is deleted until the end, since a file system works on after that.
"""
from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import select
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers import containers_storage, environment, need, scratch

DISK_SIZE = 16 << 30  # bytes; the file is sparse
OURS = Path(__file__).with_name("ours.py")
PEER = "containers-storage"


class Sample(NamedTuple):
    """One run: wall clock and processor time in seconds, peak resident set in bytes."""

    seconds: float
    processor: float
    memory: int


def main():
    """Measure and print the table."""
    arguments = parser().parse_args()
    with fresh_disk() as disk:
        os.environ["OVERLAY2_RUN_ROOT"] = os.path.join(disk, "run")
        store = containers_storage.Store(os.path.join(disk, "store"))
        print(f"{arguments.files} files of {arguments.size} bytes in {arguments.folders} folders,", end=" ", flush=True)
        archive = make_archive(disk, arguments)
        print(f"a tar of {os.path.getsize(archive) / 2**20:.1f} MiB; medians of {arguments.rounds} rounds")
        samples = {}
        for number in range(arguments.rounds + 1):
            for key, sample in one_round(number, disk, archive, store):
                if number:  # the first round warms caches
                    samples.setdefault(key, []).append(sample)
        print_table(samples)


@contextlib.contextmanager
def fresh_disk():
    """A new ext4 in a file on the real disk, for the length of a ``with`` block; gives its folder.

    No two runs find the same old file system otherwise, and many small files are gone with the one that holds them.
    """
    need("containers-storage", "tar", "mkfs.ext4")
    with scratch("bench") as folder:
        image, disk = os.path.join(folder, "ext4"), os.path.join(folder, "disk")
        os.mkdir(disk)
        with open(image, "wb") as target:
            target.truncate(DISK_SIZE)
        subprocess.run(["mkfs.ext4", "-q", image], check=True, env=environment())
        subprocess.run(["mount", "-o", "loop", image, disk], check=True)
        yield disk


def parser():
    """The command line."""
    result = argparse.ArgumentParser(prog="python tests/bench", description=__doc__.split("\n", maxsplit=1)[0])
    result.add_argument("--files", type=int, default=20_000, help="how many files (default: %(default)s)")
    result.add_argument("--folders", type=int, default=200, help="in how many folders (default: %(default)s)")
    result.add_argument("--size", type=int, default=1024, help="bytes in each (default: %(default)s)")
    result.add_argument("--rounds", type=int, default=5, help="medians of how many rounds (default: %(default)s)")
    return result


def make_archive(disk, arguments):
    """The tree as a tar, written once by GNU tar; the same bytes on every run. Gives its path."""
    tree = os.path.join(disk, "tree")
    for number in range(arguments.folders):
        os.makedirs(os.path.join(tree, f"folder-{number:04}"))
    for number in range(arguments.files):
        content = hashlib.sha256(b"%d" % number).digest() * (arguments.size // 32 + 1)
        name = f"folder-{number % arguments.folders:04}/file-{number:06}"
        with open(os.path.join(tree, name), "wb") as file:
            file.write(content[:arguments.size])
    archive = os.path.join(disk, "layer.tar")
    subprocess.run(
        ["tar", "-C", tree, "--sort=name", "--numeric-owner", "--format=posix",
         "--pax-option=delete=atime,delete=ctime", "--mtime=@1700000000", "-cf", archive, "."],
        check=True,
    )  # fmt: skip
    return archive


def one_round(number, disk, archive, store):
    """All programs once: yields ((operation, program), Sample)."""
    home, layer, output = os.path.join(disk, "home"), f"layer{number}", os.path.join(disk, "diff.tar")
    for sync in ("full", "none"):
        ours, name = [sys.executable, str(OURS), home, sync], f"{layer}-{sync}"
        run([*ours, "create", name])
        yield ("apply", f"overlay2 sync={sync}"), run([*ours, "apply", name, archive])
    yield ("diff", "overlay2"), run([*ours, "diff", name], output)
    yield ("changes", "overlay2"), run([*ours, "changes", name])

    store.create(layer)
    yield ("apply", PEER), run(store.command("applydiff", "--file", archive, layer))
    with store.without_frame(layer):
        yield ("diff", PEER), run(store.command("diff", "--uncompressed", layer), output)
    yield ("changes", PEER), run(store.command("changes", layer))

    plain = os.path.join(disk, f"plain{number}")
    os.mkdir(plain)
    yield ("apply", "GNU tar"), run(["tar", "-C", plain, "-xpf", archive])
    yield ("diff", "GNU tar"), run(["tar", "-C", plain, "-cf", "-", "."], output)


def run(command, output=os.devnull):
    """Run a command, its output in a file; gives its :class:`Sample`.

    The kernel's own account of memory (wait4) would have this process's size in it, which the child has until it is
    another program; so the high-water marks are looked at while it runs.
    """
    os.sync()
    reader, writer = os.pipe()
    with open(output, "wb") as target, open(reader, "rb") as ended:
        started, memory = time.perf_counter(), 0
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=target, pass_fds=[writer])
        os.close(writer)  # with the last process that has it, the pipe ends
        while not select.select([ended], [], [], 0.004)[0]:
            memory = max([memory, *map(high_water_mark, family(process.pid))])
        seconds = time.perf_counter() - started
    _pid, process.returncode, usage = os.wait4(process.pid, 0)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Sample(seconds, usage.ru_utime + usage.ru_stime, memory)


def family(pid):
    """A process and all below it (list of int)."""
    pids = [pid]
    for one in pids:
        with contextlib.suppress(OSError), open(f"/proc/{one}/task/{one}/children") as children:
            pids += map(int, children.read().split())
    return pids


def high_water_mark(pid):
    """The largest resident set of a process so far, in bytes; 0 if it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def print_table(samples):
    """One line per operation and program, with the ratio to containers-storage."""
    print(f"\n{'':8} {'':20} {'seconds':>8} {'of CPU':>7} {'peak MiB':>9}   times {PEER}'s")
    medians = {key: Sample(*map(statistics.median, zip(*found))) for key, found in samples.items()}
    for (operation, program), median in sorted(medians.items(), key=lambda item: item[0][0]):
        line = f"{operation:8} {program:20} {median.seconds:8.3f} {median.processor:7.3f}"
        line += f" {median.memory / 2**20:9.1f}"
        if program != PEER:
            ratios = [mine / its for mine, its in zip(median, medians[operation, PEER])]
            line += "   {:5.2f} in time, {:5.2f} of CPU, {:5.2f} in memory".format(*ratios)
        print(line)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
