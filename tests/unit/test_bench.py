# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The benchmark's command line and table, without measuring anything: what it measures is `make bench`'s business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1] / "bench"


def bench(*arguments):
    """Run it; its output."""
    command = [sys.executable, str(BENCH), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def outcome(title, seconds, peaks, goals):
    """A row as the JSON has it; `seconds` and `peaks` by contender."""
    contenders = {
        name: {"seconds": median, "all": [median], "peak": peaks.get(name, 0), "size": 0}
        for name, median in seconds.items()
    }
    return {"title": title, "contenders": contenders, "goals": goals, "trouble": {}}


def goal(value, met, what="seconds", against="Go driver"):
    """A goal as the JSON has it."""
    return {"goal": "≤ 0.5 × Go driver", "what": what, "against": against, "value": value, "met": met}


def test_the_help_names_every_row():
    text = bench("--help")
    for row in ("apply", "diff-large", "changes-naive", "remove", "create-remove", "get-put-120", "list", "play"):
        assert f"  {row} " in text


def test_the_table_says_what_was_met_and_what_takes_too_much_memory(tmp_path):
    known = tmp_path / "results.json"
    memory = goal(2.0, met=False, what="peak", against="containers-storage")
    fast, slow = {"overlay2": 0.5, "Go driver": 2.0}, {"overlay2": 0.0012, "Go driver": 0.001}
    rows = {
        "apply": outcome("apply it", fast, {"overlay2": 20 << 20}, [goal(0.25, met=True)]),
        "diff": outcome("diff of it", slow, {}, [goal(1.2, met=False), memory]),
    }
    known.write_text(json.dumps(rows))
    header, _rule, apply, diff, *_legend = bench("--show", "--json", known).splitlines()
    assert header.startswith("| workload")
    cells = [cell.strip() for cell in apply.strip("| ").split("|")]
    assert cells[:3] == ["apply it", "0.5 s", "2 s"]
    assert cells[6:9] == ["0.25", "≤ 0.5 × Go driver", "yes"]
    assert "1.2 ms" in diff
    assert "| NO " in diff
    assert "(too much)" in diff


def test_a_row_that_is_not_there_is_refused_before_anything_is_made():
    refused = subprocess.run([sys.executable, str(BENCH), "nonsense"], check=False, stderr=subprocess.PIPE, timeout=60)
    assert refused.returncode == 2
    assert b"no row 'nonsense'" in refused.stderr
