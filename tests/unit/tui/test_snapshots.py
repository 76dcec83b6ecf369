# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What each screen looks like: a scripted home at one moment, at 80x24 and at 160x50, compared with the picture kept.

After a change that is meant: ``pytest tests/unit/tui/test_snapshots.py --snapshot-update``, and look at the pictures.
"""
from __future__ import annotations

import pytest
from overlay2_tui.model import Failure
from support import scripted as made

SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
SCREENS = {"layers": "1", "chain": "2", "mounts": "4", "status": "5", "health": "6"}


@SIZES
@pytest.mark.parametrize("mode", SCREENS)
def test_screen(scripted, snap_compare, mode, size):
    keys = ["down", "down", "down", SCREENS[mode], "wait:300"]
    assert snap_compare(scripted(), press=keys, terminal_size=size)


@SIZES
def test_help(scripted, snap_compare, size):
    assert snap_compare(scripted(), press=["question_mark", "wait:200"], terminal_size=size)


def test_light(scripted, snap_compare):
    assert snap_compare(scripted(), press=["t", "wait:200"], terminal_size=(100, 30))


def test_no_color(scripted, snap_compare, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(scripted(), press=["wait:200"], terminal_size=(80, 24))


def test_failure(scripted, snap_compare):
    failure = Failure("/srv/x may not be read by this user", "Run it as root: sudo overlay2-tui /srv/x")
    app = scripted(made.Snapshot("/srv/x", taken=made.THEN, failure=failure))
    assert snap_compare(app, press=["wait:200"], terminal_size=(80, 24))
