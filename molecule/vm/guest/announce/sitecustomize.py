# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Tell the host what the driver is about to do, call by call, so that it can cut the power at a chosen one.

Every Python that has this folder on PYTHONPATH loads it at its start. From the moment the driver is imported it writes
to the virtio port `steps`, one line each: ``+`` for a process that uses the driver, ``@phase`` when the driver enters
one, and the name of each call that changes something, before it is made. A write returns once the host has the line.

With OVERLAY2_OMIT=syncfs in the environment the driver's syncfs(2) is left out: a driver that a power cut must catch.
"""

from __future__ import annotations

import os
import sys
import threading

PORTS = "/sys/class/virtio-ports"
CORE = "/module_utils/overlay2/"
#: Functions of the core that begin a phase.
PHASES = {
    "_open_new": "staging",
    "fill": "apply",
    "sync": "sync",
    "publish": "rename",
    "exchange": "rename",
    "_discard": "discard",
    "_mount": "mount",
}
CHANGING = frozenset((
    "chmod", "chown", "fchmod", "fchown", "fsync", "lchown", "link", "mkdir", "mknod", "open", "rename", "replace",
    "rmdir", "setxattr", "symlink", "truncate", "unlink", "utime", "write",
))  # fmt: skip


def open_port(name):
    """Descriptor (int) of the virtio port of that name, None where there is none or another process has it."""
    try:
        for port in os.listdir(PORTS):
            with open(os.path.join(PORTS, port, "name"), encoding="ascii") as source:
                if source.read().strip() == name:
                    return os.open("/dev/" + port, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        pass
    return None


class Announcer:
    """Profiler that writes to the port."""

    def __init__(self, port):
        self._port = port
        # The profiler is told of calls of its own, too.
        self._write = os.write

    def say(self, line):
        """Announce one line."""
        self._write(self._port, line.encode() + b"\n")

    def __call__(self, frame, event, argument):
        if event == "c_call":
            if argument.__name__ in CHANGING and argument.__module__ == "posix":
                self.say(argument.__name__)
        elif event == "call" and CORE in frame.f_code.co_filename:
            name = frame.f_code.co_name
            if name in PHASES:
                self.say("@" + PHASES[name])
                if name == "sync" and os.environ.get("OVERLAY2_OMIT") == "syncfs":
                    frame.f_globals["fs"].syncfs = lambda descriptor: None
            elif name == "call" and frame.f_code.co_filename.endswith("/linux/libc.py"):
                self.say(caller_of_libc(frame))


def caller_of_libc(frame):
    """Name of the wrapper (str), such as `syncfs`, that makes a call of the C library."""
    while frame.f_code.co_filename.endswith("/linux/libc.py"):
        frame = frame.f_back
    return frame.f_code.co_name


class Starter:
    """Audit hook that begins when the driver is about to be imported; what Python does before is of no interest."""

    def __init__(self):
        self._waiting = True

    def __call__(self, event, arguments):
        if self._waiting and event == "import" and arguments[0].endswith(".overlay2.mountdriver"):
            self._waiting = False
            port = open_port("steps")
            if port is not None:
                announcer = Announcer(port)
                announcer.say("+")
                threading.setprofile(announcer)
                sys.setprofile(announcer)


sys.addaudithook(Starter())
