# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""One play on a test VM, and the power cut in the middle of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
#: Seconds after which a play that has neither ended nor come to its cut is given up.
PLAY_SECONDS = 180
#: Seconds that a play may take to notice that its machine is gone.
NOTICE_SECONDS = 30

#: Which modules of the second play enter a phase: 1 replaces a layer, 2 makes one, 3 mounts it. 0 only asks.
MODULES = {
    "staging": (1, 2),
    "apply": (1, 2),
    "sync": (1, 2),
    "rename": (1, 2),
    "discard": (1,),
    "mount": (3,),
    "report": (1, 2, 3),
}
#: About how many calls a phase makes; where it is fewer, the cut comes with the phase's end.
CALLS = {"staging": 6, "apply": 250, "sync": 1, "rename": 6, "discard": 40, "mount": 10, "report": 1}
PHASES = tuple(MODULES)
#: Longest time (seconds) between the announcement of the call and the cut.
LONGEST_DELAY = 0.03


class PlayFailed(Exception):
    """A play did not complete, or its cut never came; the text has the end of what it printed."""


class Cut(NamedTuple):
    """An instant: so long after the start of that call of a phase, in that module of the second play."""

    phase: str
    module: int
    call: int
    delay: float

    @classmethod
    def draw(cls, rng: random.Random, phase: str) -> Cut:
        """A random one in a phase."""
        return cls(phase, rng.choice(MODULES[phase]), rng.randint(1, CALLS[phase]), rng.uniform(0, LONGEST_DELAY))

    def __str__(self) -> str:
        return f"{self.phase:7} of module {self.module}, call {self.call:3} + {self.delay * 1000:2.0f} ms"


@dataclass
class Trigger:
    """Follows the announcements of the second play until its cut's moment has come."""

    cut: Cut
    module: int = -1
    phase: str = ""
    calls: int = 0
    results: int = 0
    last: str = ""

    def announced(self, line: str) -> bool:
        """Take one line of the guest's; whether the moment has come."""
        self.last = line
        within = self._within()
        if line == "+":
            self.module, self.phase = self.module + 1, ""
        elif line.startswith("@"):
            self.phase = line[1:]
        elif within:
            self.calls += 1
            return self.calls == self.cut.call
        return (within and not self._within()) or self.module > self.cut.module

    def told(self) -> bool:
        """Take one result of the play's; whether the moment has come: the module's result ends its last phase, too."""
        self.results += 1
        return self.results == self.cut.module

    def _within(self) -> bool:
        return self.module == self.cut.module and self.phase == self.cut.phase


class Player:
    """Plays powercut.yml on one machine.

    :param scratch: a folder for the inventory, the variables and the log.
    :param run_root: where the driver keeps references in the guest.
    """

    def __init__(self, machine, scratch: Path, run_root: str) -> None:
        self._machine = machine
        self._scratch = scratch
        self._run_root = run_root
        facts = machine.facts()
        host = {
            "ansible_host": facts["address"],
            "ansible_port": facts["port"],
            "ansible_user": facts["user"],
            "ansible_ssh_private_key_file": facts["identity_file"],
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        (scratch / "inventory.json").write_text(json.dumps({"all": {"hosts": {machine.name: host}}}))

    def play(self, done, going, cut: Cut | None, ledger, home: str, omit: str = "") -> str:
        """Play until the cut, or to the end where there is none; what is told goes into the ledger.

        :param omit: a call that the driver is made to leave out.
        :returns: what the guest was about to do at the cut (str).
        :raises PlayFailed: the play failed, or ended before the cut.
        """
        variables = {
            "done": {"layers": done.layers, "mounts": done.mounts},
            "going": {"layers": going.layers, "mounts": going.mounts},
            "layers_home": home,
            "driver_environment": {"OVERLAY2_RUN_ROOT": self._run_root},
            "announcing": {"PYTHONPATH": "/srv/data/opt/guest/announce", "OVERLAY2_OMIT": omit},
        }
        (self._scratch / "variables.json").write_text(json.dumps(variables))
        read_end, write_end = os.pipe()
        with contextlib.ExitStack() as stack:
            told = stack.enter_context(os.fdopen(read_end, "rb"))
            steps = stack.enter_context(socket.socket(socket.AF_UNIX))
            log = stack.enter_context(open(self._scratch / "play.log", "wb"))
            steps.connect(str(self._machine.steps_path))
            process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[write_end],
                env=self._environment(write_end), start_new_session=True,
            )  # fmt: skip
            os.close(write_end)
            stack.callback(_end, process)
            follower = _Follower(steps, told, (done, going), ledger)
            try:
                came = follower.follow(cut, PLAY_SECONDS)
                if came:
                    time.sleep(cut.delay)
                    self._machine.cut()
                    follower.follow(None, NOTICE_SECONDS)  # what had reached us by then counts as reported
                status = process.wait(NOTICE_SECONDS)
            except (subprocess.TimeoutExpired, TimeoutError) as error:
                raise self._failure(f"the play hangs, {cut or 'uncut'}") from error
        if cut is None and status:
            raise self._failure(f"the play failed with status {status}")
        if cut is not None and not came:
            raise self._failure(f"the play ended with status {status} before {cut}")
        return f"at {follower.at}"

    def _command(self) -> list[str]:
        return [
            sys.executable, "-m", "ansible", "playbook", "--inventory", str(self._scratch / "inventory.json"),
            "--extra-vars", f"@{self._scratch / 'variables.json'}", str(HERE / "powercut.yml"),
        ]  # fmt: skip

    @staticmethod
    def _environment(told: int) -> dict[str, str]:
        collections = os.environ.get("ANSIBLE_COLLECTIONS_PATH") or str(HERE.parents[1] / ".collections")
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(HERE.parents[1] / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": collections,
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "told",
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_TIMEOUT": "60",
            # a machine whose power was cut is not to be tried again
            "ANSIBLE_SSH_RETRIES": "0",
            "ANSIBLE_NOCOLOR": "true",
            "OVERLAY2_TOLD": str(told),
        }

    def _failure(self, problem: str) -> PlayFailed:
        output = (self._scratch / "play.log").read_text(errors="replace")
        return PlayFailed(f"{problem}; it said:\n{output[-4000:]}")


class _Follower:
    """Reads both streams of a play: what the guest announces, and what Ansible is told."""

    def __init__(self, steps: socket.socket, told, rounds: tuple, ledger) -> None:
        self._steps = steps
        self._told = told
        self._rounds = list(rounds)
        self._wanted: dict = {}
        self._ledger = ledger
        self._rests = {"steps": b"", "told": b""}
        self._trigger: Trigger | None = None
        self._cut: Cut | None = None
        self.at = ""

    def follow(self, cut: Cut | None, seconds: float) -> bool:
        """Read until the cut's moment (True) or the play's end (False).

        :raises TimeoutError: neither came.
        """
        self._cut = cut
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._told, selectors.EVENT_READ, "told")
            selector.register(self._steps, selectors.EVENT_READ, "steps")
            while time.monotonic() < deadline:
                for key, _events in selector.select(1):
                    data = _read(key.fd)
                    if not data and key.data == "told":
                        return False
                    if not data:
                        selector.unregister(key.fileobj)
                    for line in self._lines(key.data, data):
                        if getattr(self, "_" + key.data + "_line")(line):
                            return True
        raise TimeoutError

    def _lines(self, name: str, data: bytes) -> list[str]:
        *lines, self._rests[name] = (self._rests[name] + data).split(b"\n")
        return [line.decode() for line in lines]

    def _steps_line(self, line: str) -> bool:
        if self._cut is None or self._trigger is None or not self._trigger.announced(line):
            return False
        self.at = f"{line} of {self._trigger.phase or 'the start'}, module {self._trigger.module}"
        return True

    def _told_line(self, line: str) -> bool:
        facts = json.loads(line)
        if "play" in facts:
            wanted = self._rounds.pop(0)
            self._wanted = wanted.digests
            self._ledger.begin(wanted)
            if not self._rounds and self._cut is not None:
                self._trigger = Trigger(self._cut)
            return False
        if facts["module"] == "layer":
            wanted = self._wanted[facts["id"]]
            if facts["diff_id"] != wanted:
                raise PlayFailed(f"layer {facts['id']} was reported with {facts['diff_id']}, not {wanted}")
            self._ledger.told(facts["id"], wanted)
        if self._cut is None or self._trigger is None or not self._trigger.told():
            return False
        self.at = f"the report on {facts['module']} {facts['id']}"
        return True


def _end(process: subprocess.Popen) -> None:
    """Kill a play that is still there, and what it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(descriptor: int) -> bytes:
    """What there is to read; nothing at the end, and where the other side was killed."""
    try:
        return os.read(descriptor, 1 << 16)
    except ConnectionResetError:
        return b""
