# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""This driver as a contender of the benchmark: the same commands as the Go driver's program has (go/src/bench/main.go).

A command is a line of JSON on standard input, and so is the answer: the seconds that the driver's calls took, the
process's peak resident set in bytes since the command came, and a number that must be the same for every contender.
"""

from __future__ import annotations

import json
import sys
import time

from overlay2 import Driver

CHUNK = 1 << 20


class Commands:
    """What can be asked for; each command is a method, its arguments the fields of the line."""

    driver = None

    def open(self, home, options):
        """Open the home; it tries what the host can do."""
        self.driver = Driver(home, options)

    def create(self, layer, parent=""):
        """Make a layer."""
        self.driver.create(layer, parent)

    def remove(self, layer):
        """Remove a layer."""
        self.driver.remove(layer)

    def apply(self, layer, file, parent=""):
        """Apply an archive in a file or named pipe; gives the bytes applied."""
        with open(file, "rb") as stream:
            return self.driver.apply_diff(layer, parent, stream)

    def provision(self, layers, home, file):
        """Make layers, each on the one before and filled from the same archive, each by a driver opened for it."""
        for parent, layer in zip(["", *layers], layers):
            with open(file, "rb") as stream:
                Driver(home).create(layer, parent, diff=stream)

    def diff(self, layer, file, parent=""):
        """Write a diff to a file, a named pipe or /dev/null."""
        with open(file, "wb") as out, self.driver.diff(layer, parent) as stream:
            out.writelines(iter(lambda: stream.read(CHUNK), b""))

    def changes(self, layer, parent=""):
        """Gives how many changes there are."""
        return len(self.driver.changes(layer, parent))

    def diffsize(self, layer, parent=""):
        """Gives the bytes."""
        return self.driver.diff_size(layer, parent)

    def list(self):
        """Describe all layers and ask for the metadata of each; gives how many there are."""
        found = 0
        for layer in self.driver.layers():
            self.driver.get_metadata(layer.id)
            found += 1
        return found

    def get(self, layer, holder=None):
        """Mount a layer; gives the path."""
        return self.driver.get(layer, holder=holder)

    def put(self, layer, holder=None):
        """Unmount it."""
        self.driver.put(layer, holder=holder)

    def create_remove(self, layer, times, parent=""):
        """Make and remove a layer, several times."""
        for number in range(times):
            self.driver.create("%s-%d" % (layer, number), parent)
            self.driver.remove("%s-%d" % (layer, number))

    def get_put(self, layer, times):
        """Mount and unmount a layer, several times."""
        for _number in range(times):
            self.driver.get(layer, holder="bench")
            self.driver.put(layer, holder="bench")


def main():
    """Carry out one command after the other."""
    commands = Commands()
    for line in sys.stdin:
        given = json.loads(line)
        print(json.dumps(carry_out(getattr(commands, given.pop("do")), given)), flush=True)


def carry_out(command, arguments):
    """Time one command; the answer as a dict."""
    with open("/proc/self/clear_refs", "w") as marks:
        marks.write("5")
    started, said = time.perf_counter(), {}
    try:
        result = command(**arguments)
    except Exception as error:  # the benchmark reports any error
        said["error"] = f"{type(error).__name__}: {error}"
        result = None
    said["seconds"] = time.perf_counter() - started
    said["peak"] = peak()
    said["path" if isinstance(result, str) else "result"] = result or 0
    return said


def peak():
    """The largest resident set in bytes since clear_refs was written to."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
