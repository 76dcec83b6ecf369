# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What each screen looks like: a scripted home at one moment, at 80x24 and at 160x50, compared with the picture kept.

After a change that is meant: ``pytest tests/unit/tui/test_snapshots.py --snapshot-update``, and look at the pictures.
"""
from __future__ import annotations

import pytest
from overlay2 import Driver
from overlay2_tui.model import Failure
from support import scripted as made
from support.trees import Entry, stream, symlink

SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
SCREENS = {"layers": "1", "chain": "2", "mounts": "4", "status": "5", "health": "6"}


@SIZES
@pytest.mark.parametrize("mode", SCREENS)
def test_screen(scripted, snap_compare, mode, size):
    keys = ["down", "down", "down", SCREENS[mode], "wait:300"]
    assert snap_compare(scripted(), press=keys, terminal_size=size)


@pytest.fixture
def with_files(scripted, home):
    """An app with two real layers beside the scripted ones: something of everything that a layer can do to a file."""
    driver = Driver(home, ["overlay2.sync=none"])
    below = {
        "bin/": None, "bin/sh": Entry(b"#" * 90_000, mode=0o755), "etc/": None, "etc/hostname": b"debian\n", "etc/motd": b"Welcome\n",
        "etc/issue": b"Debian\n", "srv/": None, "srv/shop.py": b"print('4.2')\n" * 200, "srv/old/": None, "srv/old/a": b"a",
    }  # fmt: skip
    above = {
        "etc/": None, "etc/hostname": b"web\n# written by the shop\n", "etc/.wh.motd": b"", "etc/mtab": symlink("/proc/mounts"),
        "srv/": None, "srv/shop.py": b"print('4.3')\n" * 300, "srv/old/": None, "srv/old/.wh..wh..opq": b"", "srv/old/new": b"b",
        "var/": None, "var/log/": None, "var/log/access.log": b"GET /\n" * 999,
    }  # fmt: skip
    driver.create("debian-12", diff=stream(below))
    driver.create_read_write("web", "debian-12", diff=stream(above))
    app = scripted()
    app.host.driver, app.host.selected = driver, "web"
    return app


# Each folder is read before the next key: what a key reaches must not depend on how long that takes.
OPEN = ["space", "wait:300"]
VIEWS = {
    "own": [*OPEN, *"jjjj", *OPEN, "j", *OPEN, *"gj"],
    "merged": ["m", "wait:300", *OPEN, *"jj", *OPEN, *"gjjjjj"],
}


@pytest.mark.root
@SIZES
@pytest.mark.parametrize("view", VIEWS)
def test_files(with_files, snap_compare, view, size):
    assert snap_compare(with_files, press=["3", "wait:300", *VIEWS[view], "wait:500"], terminal_size=size)


def test_children(scripted, snap_compare):
    assert snap_compare(scripted(), press=["d", "wait:300"], terminal_size=(100, 30))


def test_filter(scripted, snap_compare):
    assert snap_compare(scripted(), press=["slash", *"shop", "wait:300"], terminal_size=(80, 24))


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
