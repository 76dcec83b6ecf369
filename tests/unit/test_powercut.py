# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The judge of the power cuts (molecule/vm): what it calls whole, absent, corrupt or foreign, and when a cut is due."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "molecule" / "vm"


@pytest.fixture
def powercut(monkeypatch):
    """The program as a module; what it imports lies beside it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import powercut

    yield powercut
    for name in ("powercut", "cut_play", "archives", "vm"):
        sys.modules.pop(name, None)


@pytest.fixture
def ledger(powercut):
    """Layer `o` was reported with the digest `a`, `next` is being made of `b`, and `later` comes after it."""
    result = powercut.Ledger()
    layers = (("o", "a"), ("next", "b"), ("later", "c"))
    result.begin(powercut.Round([{"id": name, "digest": digest} for name, digest in layers], []))
    result.told("o", "a")
    return result


def facts(shown, digests, **others):
    return {"shown": shown, "digests": digests, "problems": {}, "on_record": [], "held": [], **others}


@pytest.mark.parametrize(
    ("shown", "digests", "counted", "words"),
    [
        (["o"], {"o": "a"}, {"whole": 1}, ""),
        (["o", "next"], {"o": "a", "next": "b"}, {"whole": 1, "unreported": 1}, ""),
        ([], {}, {"absent": 1}, "is absent"),
        (["o"], {"o": "x"}, {"corrupt": 1}, "is corrupt"),
        (["o", "next"], {"o": "a", "next": "x"}, {"whole": 1, "corrupt": 1}, "before it is complete"),
        (["o", "later"], {"o": "a", "later": "c"}, {"whole": 1, "foreign": 1}, "nobody has made it"),
    ],
)
def test_what_is_found_is_judged(powercut, ledger, shown, digests, counted, words):
    tally = powercut.Tally()
    complaints = ledger.compare(facts(shown, digests), tally)
    assert tally == powercut.Tally(reported=1, **counted)
    assert [words in complaint for complaint in complaints] == [True] * bool(words)


def test_a_believed_reference_is_a_complaint_and_one_on_record_is_not(powercut, ledger):
    tally = powercut.Tally()
    assert ledger.compare(facts(["o"], {"o": "a"}, on_record=["o"]), tally) == []
    assert ledger.compare(facts(["o"], {"o": "a"}, held=["o"]), tally) != []
    assert (tally.stale, tally.believed) == (1, 1)


def test_cuts_are_spread_over_all_phases_and_repeatable(powercut):
    cuts = powercut.draw(random.Random(1), 30)
    assert cuts == powercut.draw(random.Random(1), 30)
    counts = {phase: sum(cut.phase == phase for cut in cuts) for phase in powercut.PHASES}
    assert set(counts.values()) <= {4, 5}


def lines_until_cut(powercut, cut, lines):
    """How many announcements pass before the cut is due."""
    import cut_play

    trigger = cut_play.Trigger(cut)
    return next(number for number, line in enumerate(lines, 1) if trigger.announced(line))


ANNOUNCED = (
    "+", "+", "@staging", "mkdir", "mkdir", "@apply", "open", "write", "@sync", "syncfs", "+", "@staging", "mkdir",
)  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "module", "call", "number"),
    [("staging", 1, 2, 5), ("apply", 1, 2, 8), ("sync", 1, 1, 10), ("apply", 1, 99, 9), ("mount", 1, 1, 11)],
)
def test_a_cut_is_due_at_its_call_or_where_it_can_no_longer_come(powercut, phase, module, call, number):
    import cut_play

    assert lines_until_cut(powercut, cut_play.Cut(phase, module, call, 0.0), ANNOUNCED) == number


def test_a_result_ends_whatever_phase_its_module_was_in(powercut):
    """The last module has no other after it whose start could tell."""
    import cut_play

    trigger = cut_play.Trigger(cut_play.Cut("mount", 2, 99, 0.0))
    assert [trigger.told(), trigger.told()] == [False, True]
