# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Results, kept as JSON and printed as a table, for a terminal or for docs/speed.md."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
from pathlib import Path

from contenders import CP, GO, OURS, STORAGE, TAR
from row import Goal, amount

COLUMNS = (OURS, GO, STORAGE, TAR)


def summary(row, samples, trouble):
    """A row's outcome as a dict for JSON.

    :param samples: dict of contender to its Samples; the first is that of the round that looked at memory.
    :param trouble: dict of contender to why it has none.
    """
    contenders = {
        name: {
            "seconds": statistics.median(sample.seconds for sample in found[1:] or found),
            "all": [sample.seconds for sample in found[1:] or found],
            "peak": found[0].peak,
            "size": found[-1].size,
        }
        for name, found in samples.items()
    }
    goals = [*row.goals]
    if STORAGE in contenders:
        goals.append(Goal(1.0, STORAGE, what="peak"))
    return {
        "title": row.title,
        "contenders": contenders,
        "goals": [judged(goal, contenders) for goal in goals],
        "trouble": trouble,
        "when": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
    }


def judged(goal, contenders):
    """A goal and its result: a dict with the ratio, or the value itself, and whether the goal is met."""
    value = met = None
    if goal.of in contenders and (goal.against is None or goal.against in contenders):
        value = contenders[goal.of][goal.what]
        if goal.against is not None:
            value /= contenders[goal.against][goal.what]
        met = value <= goal.at_most
    return {"goal": str(goal), "what": goal.what, "against": goal.against, "value": value, "met": met}


def commit():
    """The measured commit, as git describes it (str)."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=Path(__file__).parent, check=False, capture_output=True, text=True)
    return done.stdout.strip()


def machine():
    """The machine (str)."""
    names = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (f"{os.cpu_count()} cores ({', '.join(sorted(names)) or platform.machine()}), {memory:.0f} GiB, "
            f"Linux {platform.release()}, Python {platform.python_version()}")  # fmt: skip


def store(path, outcomes):
    """Put rows into the JSON file (Path) beside those that are there; gives all of them."""
    known = load(path)
    known.update(outcomes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=1))
    return known


def load(path):
    """The rows of the JSON file; none if it is not there."""
    return json.loads(path.read_text()) if path.exists() else {}


def table(outcomes):
    """Lines of the table in Markdown, which reads well enough in a terminal; the ratio is to the Go driver."""
    lines = [["workload", *COLUMNS, "others", "ratio", "goal", "met", "peak MiB"]]
    for outcome in outcomes.values():
        contenders = outcome["contenders"]
        goals = [goal for goal in outcome["goals"] if goal["what"] != "peak" or goal["against"] != STORAGE]
        what = goals[0]["what"] if goals else "seconds"
        others = [f"{name} {_figure(contenders, name, what)}" for name in contenders if name not in COLUMNS]
        ratio = judged(Goal(1.0), contenders)["value"]
        lines.append([
            outcome["title"],
            *(_figure(contenders, name, what) for name in COLUMNS),
            ", ".join(others),
            "" if ratio is None else f"{ratio:.3g}",
            "; ".join(goal["goal"] for goal in goals),
            "; ".join(_met(goal) for goal in goals),
            _memory(outcome),
        ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines)]
    rows = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in lines]
    rows.insert(1, " | ".join("-" * width for width in widths))
    return [f"| {row} |" for row in rows]


def _figure(contenders, name, what):
    return amount(contenders[name][what], what) if name in contenders else "–"


def _met(goal):
    if goal["met"] is None:
        return "not measured"
    met = "yes" if goal["met"] else "NO"
    if goal["against"] == GO:
        return met
    value = amount(goal["value"], goal["what"]) if goal["against"] is None else f"{goal['value']:.3g}"
    return f"{met} ({value})"


def _memory(outcome):
    contenders = outcome["contenders"]
    peaks = [
        f"{contenders[name]['peak'] / 2**20:.0f}" if name in contenders and contenders[name]["peak"] else "–"
        for name in (OURS, GO, STORAGE)
    ]
    over = any(goal["met"] is False and goal["what"] == "peak" for goal in outcome["goals"])
    return " / ".join(peaks) + (" (too much)" if over else "")


__all__ = ["CP", "load", "store", "summary", "table"]
