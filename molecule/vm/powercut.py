#!/usr/bin/env python
# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Cut the power of test VMs while plays make layers in them, and check the layers after the next boot.

    powercut.py [--cuts 30] [--seed N] NAME...      the machines are vm.py's, and run already

Round after round a play first completes what the last cut interrupted, then goes on with work of its own: it replaces
the content of one layer, makes another, and mounts that. In the middle of that the machine's process
is killed, at a call that the guest announces before it makes it (guest/announce), or when a result has just been
reported to the play. After the boot each layer that had been reported must be there and whole: its digest, computed
anew from the files, is the archive's. The one that was being made may be there too, if it is whole; nothing else may
show. References to mounts lie on the disk here, not on a tmpfs, so they outlive the cut, and none may be believed.

In the end each machine gets a cut that must do damage (--no-control leaves it out): the same in a home of its own, with
the driver's syncfs(2) left out, right after a layer was reported. If that goes unnoticed, the check sees nothing.

The machines share the cuts. Exit status 1 means that something was wrong; the table says how often, the lines below it
what.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from archives import ARCHIVES, make_archives
from cut_play import PHASES, Cut, Player, PlayFailed
from vm import DEFAULT_RUN, Machine, VmError

HOME = "/srv/data/powercut"
CONTROL_HOME = "/srv/data/powercut-control"
#: A real disk, so that references to mounts outlive a cut as they would not on /run.
RUN_ROOT = "/srv/data/powercut-run"
ARCHIVE_FOLDER = "/srv/data/powercut-archives"
HOLDER = "powercut"


# --- expectations -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Round:
    """The layers of one round, in the order in which the play makes them, and the layer that it mounts."""

    layers: list[dict]
    mounts: list[dict]

    @property
    def digests(self) -> dict[str, str]:
        """Layer id to the digest of its archive."""
        return {layer["id"]: layer["digest"] for layer in self.layers}


class Rounds:
    """Makes the rounds of one machine."""

    def __init__(self, archives: dict[str, str], with_quota: bool) -> None:
        self._archives = archives
        self._size = {"size": "20M"} if with_quota else {}

    def __getitem__(self, number: int) -> Round:
        rolling = {"id": "rolling", "force": True, **self._content(number)}
        if number == 0:
            return Round([{"id": "base", **self._content(0)}, rolling], [])
        run = {"id": f"run-{number}", "parent": "base", "read_write": True, **self._size, **self._content(number + 1)}
        return Round([rolling, run], [{"id": run["id"], "holder": HOLDER}])

    def _content(self, number: int) -> dict:
        name = ARCHIVES[number % len(ARCHIVES)]
        return {"src": f"{ARCHIVE_FOLDER}/{name}", "digest": self._archives[name]}


# --- what was found ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Tally:
    """What the checks after some cuts found, in layers unless said otherwise."""

    cuts: int = 0
    #: Had been reported as present, and were looked at.
    reported: int = 0
    whole: int = 0
    absent: int = 0
    corrupt: int = 0
    #: Was being made at the cut, and is there, whole.
    unreported: int = 0
    foreign: int = 0
    #: Records of mounts that outlived a cut, and those of them that the driver took for real.
    stale: int = 0
    believed: int = 0
    #: Plays that completed after a cut, with nobody's help.
    completed: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*map(sum, zip(dataclasses.astuple(self), dataclasses.astuple(other))))


class Ledger:
    """What one home must hold: what has been reported to the play, and what it was about to do."""

    def __init__(self) -> None:
        self.reported: dict[str, str] = {}
        self.making: dict[str, str] = {}

    def begin(self, wanted: Round) -> None:
        """A play is about to make these."""
        self.making = dict(wanted.digests)

    def told(self, layer: str, digest: str) -> None:
        """The play was told that a layer is there with this content."""
        self.reported[layer] = digest
        self.making.pop(layer, None)

    def compare(self, facts: dict, tally: Tally) -> list[str]:
        """Count into ``tally`` what inspect_home.py found; returns complaints."""
        wrong = []
        # Only the next layer in line can be there without our knowing.
        coming = dict([next(iter(self.making.items()))]) if self.making else {}
        digests = facts["digests"]
        for layer, digest in self.reported.items():
            if layer not in facts["shown"]:
                tally.absent += 1
                wrong.append(f"layer {layer} was reported as present and is absent")
            elif layer not in digests:
                continue  # not read back this time
            elif digests[layer] in (digest, coming.get(layer)):
                tally.whole += 1
                tally.unreported += digests[layer] != digest
            else:
                tally.corrupt += 1
                wrong.append(f"layer {layer} was reported as present and is corrupt: {digests[layer]}, not {digest}")
        tally.reported += sum(layer in digests or layer not in facts["shown"] for layer in self.reported)
        for layer in set(facts["shown"]) - set(self.reported):
            if layer not in coming:
                tally.foreign += 1
                wrong.append(f"{layer} shows, and nobody has made it")
            elif digests.get(layer) == coming[layer]:
                tally.unreported += 1
            else:
                tally.corrupt += 1
                wrong.append(f"layer {layer} shows before it is complete: {digests.get(layer)}")
        wrong += [f"layer {layer} has problems: {problems}" for layer, problems in facts["problems"].items()]
        tally.stale += len(facts["on_record"])
        tally.believed += len(facts["held"])
        wrong += [f"the stale reference to the mount of {layer} is believed" for layer in facts["held"]]
        return wrong


# --- one machine ------------------------------------------------------------------------------------------------------


class Campaign:
    """All cuts of one machine."""

    def __init__(self, machine: Machine, archives: Path, cuts: list[Cut], scratch: Path) -> None:
        self.machine = machine
        self.tally = Tally()
        self.control = Tally()
        self.wrong: list[str] = []
        self._cuts = cuts
        self._disk = machine.facts()["disk"]
        self._ledger = Ledger()
        self._player = Player(machine, scratch, RUN_ROOT)
        digests = {path.name: _digest(path) for path in archives.iterdir()}
        self._rounds = Rounds(digests, with_quota=self._disk == "xfs")
        self._archives = archives

    def run(self, control: bool) -> None:
        """Cut as often as asked for; stops at what keeps the next play from completing."""
        self._bring_archives()
        try:
            for number, cut in enumerate(self._cuts, 1):
                self._one(number, cut)
            self._play(len(self._cuts) + 1, None)
            self.tally.completed += 1
            self._check_all()
            if control:
                self._control()
        except (PlayFailed, VmError) as error:
            self._complain([str(error)])

    def _one(self, number: int, cut: Cut) -> None:
        said = self._play(number, cut)
        self.tally.cuts += 1
        self.tally.completed += number > 1
        self.machine.start(self._disk)
        before = dataclasses.replace(self.tally)
        facts = self._facts(HOME, self._recent(number))
        complaints = self._ledger.compare(facts, self.tally)
        print(
            f"{self.machine.name} cut {number:2} {cut}: {said}; "
            f"{self.tally.whole - before.whole} layers read back, {len(facts['staged'])} left in staging, "
            f"{len(facts['on_record'])} stale references",
            flush=True,
        )
        self._complain(complaints, f"cut {number} ({cut})")

    def _play(self, number: int, cut: Cut | None, home: str = HOME, omit: str = "") -> str:
        """Complete the last round and go on with this one until the cut; without a cut, just complete."""
        going = Round([], []) if cut is None else self._rounds[number]
        return self._player.play(self._rounds[number - 1], going, cut, self._ledger, home, omit)

    def _recent(self, number: int) -> list[str]:
        return list({**self._rounds[number].digests, **self._rounds[number - 1].digests})

    def _check_all(self) -> None:
        """After the last play: every layer ever reported, read back in full, and no traces of the cuts."""
        final = Tally()
        self._ledger.making = {}
        facts = self._facts(HOME, list(self._ledger.reported))
        facts["held"] = [layer for layer in facts["held"] if layer != self._rounds[len(self._cuts)].mounts[0]["id"]]
        complaints = self._ledger.compare(facts, final)
        complaints += [f"{name} is left in staging" for name in facts["staged"]]
        complaints += [f"l/{name} leads nowhere" for name in facts["loose_links"]]
        print(f"{self.machine.name} in the end: {final.whole} of {len(self._ledger.reported)} layers read back whole")
        self._complain(complaints, "in the end")

    def _control(self) -> None:
        """The cut that must do damage. After one more module it would come too late: unmounting an overlay syncs."""
        self._ledger = Ledger()
        self._play(1, Cut("report", 2, 1, 0.0), CONTROL_HOME, omit="syncfs")
        self.machine.start(self._disk)
        complaints = self._ledger.compare(self._facts(CONTROL_HOME, self._recent(1)), self.control)
        self.control.cuts += 1
        self._guest(f"rm -rf {CONTROL_HOME}")
        if complaints:
            print(f"{self.machine.name} control, without syncfs: noticed that {'; '.join(complaints)}", flush=True)
        else:
            self._complain(["without syncfs no damage was found: the check sees nothing, or came too late"])

    def _facts(self, home: str, layers: list[str]) -> dict:
        command = f"OVERLAY2_RUN_ROOT={RUN_ROOT} PYTHONPATH=/srv/data/opt python3 /srv/data/opt/guest/inspect_home.py"
        return json.loads(self._guest(" ".join([command, home, *layers])))

    def _bring_archives(self) -> None:
        with subprocess.Popen(["tar", "--create", "--directory", self._archives, "."], stdout=subprocess.PIPE) as tar:
            self._guest(
                f"rm -rf {HOME} {CONTROL_HOME} {RUN_ROOT} {ARCHIVE_FOLDER} && mkdir {ARCHIVE_FOLDER} && "
                f"tar --extract --directory {ARCHIVE_FOLDER} --no-same-owner && sync",
                stdin=tar.stdout,
            )

    def _guest(self, command: str, stdin=subprocess.DEVNULL) -> str:
        words = [*self.machine.ssh_command(), command]
        done = subprocess.run(words, stdin=stdin, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise VmError(f"{self.machine.name}: '{command}' failed: {done.stderr.strip()}")
        return done.stdout

    def _complain(self, complaints: list[str], when: str = "") -> None:
        for text in complaints:
            line = ": ".join(part for part in (self.machine.name, when, text) if part)
            self.wrong.append(line)
            print("WRONG " + line, flush=True)


def _digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


# --- all of it --------------------------------------------------------------------------------------------------------


def draw(rng: random.Random, count: int) -> list[Cut]:
    """Seeded cuts, as many of each phase as can be."""
    cuts: list[Cut] = []
    while len(cuts) < count:
        cuts += [Cut.draw(rng, phase) for phase in rng.sample(PHASES, len(PHASES))]
    return cuts[:count]


def table(rows: list[tuple[str, Tally]]) -> str:
    """The tallies as text."""
    names = [field.name for field in dataclasses.fields(Tally)]
    lines = ["{:<24}".format("") + "".join(f"{name:>11}" for name in names)]
    for title, tally in rows:
        lines.append(f"{title:<24}" + "".join(f"{value:>11}" for value in dataclasses.astuple(tally)))
    return "\n".join(lines)


def main() -> int:
    """Run the campaigns side by side; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help="vm.py's folder for state")
    parser.add_argument("--cuts", type=int, default=30, help="how many in all (default: 30)")
    parser.add_argument("--seed", type=int, default=None, help="of the instants; drawn and told by default")
    parser.add_argument("--no-control", dest="control", action="store_false", help="no cut that must do damage")
    parser.add_argument("names", nargs="+", metavar="NAME")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    began = time.monotonic()
    cuts = draw(random.Random(seed), arguments.cuts)
    with tempfile.TemporaryDirectory(prefix="overlay2-powercut-") as scratch:
        archives = Path(scratch, "archives")
        make_archives(archives, random.Random(seed))
        campaigns = []
        for index, name in enumerate(arguments.names):
            folder = Path(scratch, name)
            folder.mkdir()
            machine = Machine(name, arguments.run.resolve())
            campaigns.append(Campaign(machine, archives, cuts[index :: len(arguments.names)], folder))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for future in [pool.submit(campaign.run, arguments.control) for campaign in campaigns]:
                future.result()
    rows = [(campaign.machine.name, campaign.tally) for campaign in campaigns]
    rows.append(("in all", sum((tally for _name, tally in rows), Tally())))
    rows.append(("control: no syncfs", sum((campaign.control for campaign in campaigns), Tally())))
    print(table(rows))
    counts = ", ".join(f"{sum(cut.phase == phase for cut in cuts)} {phase}" for phase in PHASES)
    print(f"cuts by phase: {counts}; {time.monotonic() - began:.0f} s")
    wrong = [line for campaign in campaigns for line in campaign.wrong]
    if wrong:
        print("\n".join(["wrong:", *wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
