# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Who is measured, and how: a driver within a process that is up already, or a program from its start to its end.

What a process needs until it can take a command (starting, importing, opening the home) is not counted for a driver
in process: :class:`Worker`. A program is counted as a whole, as its user meets it: :func:`Meter.program`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from peers import environment, search_path
from support import host

OURS, GO, STORAGE, TAR, CP = "overlay2", "Go driver", "containers-storage", "GNU tar", "cp"
#: The unmodified Go driver of moby 20.10, which does not sync the small files of a new layer.
UNSYNCED_GO = "Go driver of 20.10"
PROGRAMS = {STORAGE: "containers-storage", TAR: "tar", CP: "cp"}
GO_PACKAGES = Path("/usr/share/gocode")
GO_DRIVER = GO_PACKAGES / "src/github.com/docker/docker/daemon/graphdriver/overlay2/overlay.go"
SAMPLED = 0.0005  # seconds between two looks at a family of processes: some run for 10 ms only


class Missing(Exception):
    """A contender is missing here; the message says what to install."""


class Failed(Exception):
    """A contender failed."""


class Sample(NamedTuple):
    """One measurement."""

    #: What it took.
    seconds: float = 0.0
    #: Bytes of memory at the peak.
    peak: int = 0
    #: Bytes, if a size is measured.
    size: int = 0
    #: A number that must be the same for all contenders.
    result: int | None = None


class Contenders:
    """Which contenders are there, and how the drivers among them are started.

    :param cache: folder (Path) where the Go driver's program is built, and kept for the next time.
    """

    def __init__(self, cache):
        self._commands = {OURS: [sys.executable, str(Path(__file__).with_name("ours.py"))]}
        #: Dict of name to why it is missing.
        self.missing = {
            name: f"{program} is not installed"
            for name, program in PROGRAMS.items()
            if not shutil.which(program, path=search_path())
        }
        for name, synced in ((GO, True), (UNSYNCED_GO, False)):
            try:
                self._commands[name] = [str(build_go_driver(cache, synced))]
            except Missing as reason:
                self.missing[name] = str(reason)

    @contextlib.contextmanager
    def worker(self, name, home, options=()):
        """A driver in a process of its own, with its home open, for the length of a ``with`` block: a Worker."""
        process = subprocess.Popen(
            self._commands[name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        try:
            worker = Worker(name, process)
            worker.ask("open", home=home, options=list(options))
            yield worker
        finally:
            host.stop(process, grace=2)


def bare_interpreter():
    """The peak resident set of an idle Python, in bytes."""
    code = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True)
    return int(done.stdout) * 1024


def build_go_driver(cache, synced):
    """Build the Go driver's program from Debian's source packages, where that has not been done; gives its path.

    :param synced: as moby's later versions do, have the files ``link``, ``lower`` and ``committed`` on disk before
        they are seen. Debian has version 20.10, whose calls are the same in all else that is measured here.
    :raises Missing: the packages are not installed, or it can't be built.
    """
    source = Path(__file__).with_name("go")
    program = cache / ("go-driver" if synced else "go-driver-20.10")
    newest = max(path.stat().st_mtime for path in [Path(__file__), *source.rglob("*.go")])
    if program.exists() and program.stat().st_mtime > newest:
        return program
    if not shutil.which("go") or not GO_DRIVER.exists():
        raise Missing("golang-go or golang-github-docker-docker-dev is not installed (bindep.txt, profile bench)")
    settings = {
        "GOPATH": f"{source}:{GO_PACKAGES}", "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(cache / "go-build"),
    }  # fmt: skip
    cache.mkdir(parents=True, exist_ok=True)
    command = ["go", "build", *(["-overlay", str(_synced_writes(cache))] if synced else [])]
    command += ["-o", str(program), "bench"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment(**settings))
    if done.returncode:
        raise Missing(f"it can't be built: {done.stderr.strip()}")
    return program


def _synced_writes(cache):
    """A copy of the driver's source with moby's later way to write small files; gives the file for go's -overlay."""
    text = GO_DRIVER.read_text()
    helper = '"github.com/docker/docker/pkg/ioutils"'
    beside = '"github.com/docker/docker/pkg/parsers"'
    changed = cache / "overlay.go"
    changed.write_text(
        text.replace("os.WriteFile(", "ioutils.AtomicWriteFile(").replace(beside, f"{helper}\n\t{beside}", 1)
    )
    replacements = cache / "overlay.json"
    replacements.write_text(json.dumps({"Replace": {str(GO_DRIVER): str(changed)}}))
    return replacements


class Worker:
    """A driver that takes commands: ours.py, or go/src/bench/main.go."""

    def __init__(self, name, process):
        self.name, self._process = name, process

    @property
    def pid(self):
        """Of its process."""
        return self._process.pid

    def ask(self, do, **arguments):
        """Carry out one command; the answer (dict). Raises Failed with what went wrong."""
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError as error:
            raise Failed(f"{self.name}: {do}: its process has ended") from error
        said = json.loads(line or '{"error": "its process has ended"}')
        if said.get("error"):
            raise Failed(f"{self.name}: {do}: {said['error']}")
        return said


class Meter:
    """Takes the measurements of one round.

    :param memory: look at the memory of all processes as well, which slows them down: times do not count then.
    """

    def __init__(self, memory):
        self.memory = memory

    def worker(self, worker, do, **arguments):
        """Have a :class:`Worker` carry out a command, with the disks in step before it; gives a Sample."""
        os.sync()
        with self._watched(worker.pid, itself=False) as family:  # it reports its own peak
            said = worker.ask(do, **arguments)
        return Sample(said["seconds"], max(said["peak"], family.peak), result=said.get("result"))

    def program(self, command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=None):
        """Run a program from start to end; gives a Sample."""
        os.sync()
        started = time.perf_counter()
        with subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=cwd, env=environment()
        ) as process:
            try:
                with self._watched(process.pid, itself=True) as family:
                    said = process.stderr.read()
                    process.wait()
                seconds = time.perf_counter() - started
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise Failed(f"{' '.join(command[:4])} …: {said.decode(errors='replace').strip()}")
        return Sample(seconds, family.peak)

    @contextlib.contextmanager
    def _watched(self, pid, itself):
        family = Family(pid, itself)
        if not self.memory:
            yield family
            return
        watching = threading.Thread(target=family.watch)
        watching.start()
        try:
            yield family
        finally:
            family.ended.set()
            watching.join()


class Family:
    """The memory of a process and all below it, while it runs.

    :param itself: count the process itself also where it is alone.
    :ivar peak: bytes: the largest resident set of any one, or what all had together if that was more, with pages that
        several share (a fork's) counted once: the kernel's proportional set size.
    """

    def __init__(self, pid, itself):
        self._pid, self._first = pid, 0 if itself else 1
        self.peak = 0
        self.ended = threading.Event()

    def watch(self):
        """Look again and again until `ended` is set."""
        while not self.ended.wait(SAMPLED):
            pids = self._members()
            together = sum(_kibibytes(pid, "smaps_rollup", "Pss:") for pid in pids) if len(pids) > 1 else 0
            alone = max((_kibibytes(pid, "status", "VmHWM:") for pid in pids[self._first :]), default=0)
            self.peak = max(self.peak, 1024 * together, 1024 * alone)

    def _members(self):
        pids = [self._pid]
        for pid in pids:
            with contextlib.suppress(OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):  # any of them may have started a process
                    pids += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        return pids


def _kibibytes(pid, file, label):
    """A number out of a file of /proc; 0 if the process has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/{file}") as lines:
        for line in lines:
            if line.startswith(label):
                return int(line.split()[1])
    return 0
