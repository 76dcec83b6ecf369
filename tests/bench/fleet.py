# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""How the time of playbooks/fleet.yml grows with hosts and forks, beside what Ansible itself takes.

    python tests/bench/fleet.py [HOSTSxFORKS...]      such as 1x1 10x5 50x25; a fixed set by default

The hosts are inventory hosts with local connections on this machine, each with a home of its own. Every row is three
plays: the first provisions three layers and a mount on each host, the second finds that nothing is to be done, and the
third, Ansible's floor, has as many tasks as the second ran modules, each of them `ping`. Root is needed, for mounts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ROWS = ("1x1", "10x1", "10x5", "10x25", "50x1", "50x5", "50x25", "50x50")
FILES = 200
#: Tasks that run no module on the host.
WITHOUT_MODULE = ("Validating arguments", "Keep the answer")


class Times(NamedTuple):
    """Seconds of the three plays, and how many modules one host ran in the second."""

    first: float
    again: float
    ping: float
    modules: int


class Fleet:
    """Some hosts, their homes below one folder.

    :param folder: an empty folder.
    :param count: how many hosts.
    """

    def __init__(self, folder, count):
        self._folder = folder
        self._names = [f"h{number:02}" for number in range(1, count + 1)]
        hosts = {name: {"fleet_home": str(folder / name / "home")} for name in self._names}
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "host_load_module": False,
            "layers_archive_dir": str(folder / "{{ inventory_hostname }}" / "archives"),
            "fleet_become": False,
            "fleet_cache": str(folder / "cache"),
            "fleet_layers": self._layers(),
            "fleet_mounts": [{"id": "run"}],
        }
        self._inventory = folder / "inventory.json"
        self._inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))

    def _layers(self):
        archive = self._folder / "base.tar.gz"
        tree = self._folder / "tree"
        tree.mkdir()
        for number in range(FILES):
            (tree / f"file{number}").write_bytes(bytes([number]) * 4096)
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tree, ".")
        with tarfile.open(archive.with_suffix(""), "w") as tar:
            tar.add(tree, ".")
        checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
        digest = hashlib.sha256(archive.with_suffix("").read_bytes()).hexdigest()
        fetched = {"url": archive.as_uri(), "checksum": f"sha256:{checksum}", "digest": f"sha256:{digest}"}
        run = {"id": "run", "parent": "app", "read_write": True}
        return [{"id": "base", **fetched}, {"id": "app", "parent": "base"}, run]

    def measure(self, forks):
        """Play the three plays; returns :class:`Times`."""
        first, _output = self._play(ROOT / "playbooks/fleet.yml", forks)
        again, output = self._play(ROOT / "playbooks/fleet.yml", forks)
        changed = re.search(rf"^{self._names[0]} .* changed=(\d+)", output, re.MULTILINE)
        if changed is None or changed[1] != "0":
            raise SystemExit("the second play changed something:\n" + output)
        modules = modules_run(output, self._names[0])
        floor = self._folder / "floor.yml"
        tasks = [{"name": f"Task {number}", "ansible.builtin.ping": None} for number in range(modules)]
        floor.write_text(json.dumps([{"name": "Floor", "hosts": "all", "gather_facts": False, "tasks": tasks}]))
        ping, _output = self._play(floor, forks)
        return Times(first, again, ping, modules)

    def _play(self, playbook, forks):
        command = [sys.executable, "-m", "ansible", "playbook", "--forks", str(forks), "-i", str(self._inventory)]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_NOCOLOR": "1",
            "OVERLAY2_RUN_ROOT": str(self._folder / "run"),
        }
        began = time.monotonic()
        done = subprocess.run([*command, playbook], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{playbook} failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
        return time.monotonic() - began, done.stdout

    def remove(self):
        """Unmount and delete everything."""
        for name in self._names:
            subprocess.run(["umount", self._folder / name / "home/run/merged"], check=False, capture_output=True)
        shutil.rmtree(self._folder)


def modules_run(output, host):
    """How many modules ran on a host (int), by what a play printed."""
    tasks = re.split(r"^TASK \[", output, flags=re.MULTILINE)
    running = [task for task in tasks if not any(name in task.partition("]")[0] for name in WITHOUT_MODULE)]
    return sum(len(re.findall(rf"^ok: \[{host}\]", task, re.MULTILINE)) for task in running)


def measured(hosts, forks):
    """:class:`Times` of one row, in a fresh folder."""
    folder = Path(tempfile.mkdtemp(prefix="overlay2-fleet-", dir=os.environ.get("OVERLAY2_TEST_DIR") or "/var/tmp"))
    fleet = Fleet(folder, hosts)
    try:
        return fleet.measure(forks)
    finally:
        fleet.remove()


def main():
    """Print a row for each HOSTSxFORKS, as it is measured."""
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit("ended by a signal"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=ROWS, metavar="HOSTSxFORKS")
    print("| hosts | forks | first play | again | as many `ping` | again : ping |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in parser.parse_args().rows:
        hosts, forks = (int(word) for word in row.split("x"))
        times = measured(hosts, forks)
        ratio = times.again / times.ping
        seconds = " | ".join(f"{value:.1f} s" for value in times[:3])
        print(f"| {hosts} | {forks} | {seconds} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
