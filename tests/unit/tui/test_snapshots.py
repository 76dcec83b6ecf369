# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What each screen looks like: a scripted home at one moment, at 80x24 and at 160x50, compared with the picture kept.

After a change that is meant: ``pytest tests/unit/tui/test_snapshots.py --snapshot-update``, and look at the pictures.
"""

from __future__ import annotations

import functools

import pytest
from overlay2 import Driver
from overlay2_tui.model import Failure
from overlay2_tui.screens.dialogs import Pick
from overlay2_tui.widgets.filter_bar import FilterInput
from overlay2_tui.widgets.grid import Grid
from support import scripted as made
from support.trees import Entry, stream, symlink


@pytest.fixture
def after(until, patient):
    """A function: what to do before the picture. Keys are pressed; a condition on the app is waited for."""

    def make(*steps):
        async def run(pilot):
            patient(pilot)
            for step in steps:
                if callable(step):
                    await until(pilot, functools.partial(step, pilot.app), 60)
                else:
                    await pilot.press(step)
            await pilot.pause(0.2)

        return run

    return make


def rows(*keys):
    """The condition that the list on the screen has these rows."""
    return lambda app: set(keys) <= set(app.screen.query_one(Grid).keys)


def panel(name, text):
    """The condition that a panel says something."""
    return lambda app: app.screen.query(f"#{name}") and text in str(app.screen.query_one(f"#{name} Static").render())


SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
SCREENS = {"layers": "1", "chain": "2", "mounts": "4", "status": "5", "health": "6"}


@SIZES
@pytest.mark.parametrize("mode", SCREENS)
def test_screen(scripted, snap_compare, after, mode, size):
    there = panel("options", "does not say how") if mode == "chain" else lambda app: app.current_mode == mode
    script = after(rows("web"), "down", "down", "down", SCREENS[mode], there)
    assert snap_compare(scripted(), run_before=script, terminal_size=size)


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


VIEWS = {
    "own": [
        rows("/etc", "/srv"), "space", rows("/etc/motd"), *"jjjj", "space", rows("/srv/old"), "j", "space", rows("/srv/old/new"),
        *"gj", panel("file", "written by the shop"),
    ],
    "merged": [
        rows("/etc", "/srv"), "m", rows("/bin"), "space", rows("/bin/sh"), *"jj", "space", rows("/etc/motd"),
        *"gjjjjj", panel("file", "deletes it"),
    ],
}  # fmt: skip


@pytest.mark.root
@SIZES
@pytest.mark.parametrize("view", VIEWS)
def test_files(with_files, snap_compare, after, view, size):
    assert snap_compare(with_files, run_before=after(rows("web"), "3", *VIEWS[view]), terminal_size=size)


def test_children(scripted, snap_compare, after):
    script = after(rows("web"), "d", lambda app: isinstance(app.screen, Pick) and app.screen.query_one(Grid).keys)
    assert snap_compare(scripted(), run_before=script, terminal_size=(100, 30))


def test_filter(scripted, snap_compare, after):
    def steady(app):
        app.screen.query_one(FilterInput).cursor_blink = False
        return True

    script = after(rows("web"), steady, "slash", *"shop", lambda app: "web" not in app.screen.query_one(Grid).keys)
    assert snap_compare(scripted(), run_before=script, terminal_size=(80, 24))


@SIZES
def test_help(scripted, snap_compare, after, size):
    assert snap_compare(scripted(), run_before=after(rows("web"), "question_mark"), terminal_size=size)


def test_light(scripted, snap_compare, after):
    assert snap_compare(scripted(), run_before=after(rows("web"), "t"), terminal_size=(100, 30))


def test_no_color(scripted, snap_compare, after, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(scripted(), run_before=after(rows("web")), terminal_size=(80, 24))


def test_failure(scripted, snap_compare, after):
    failure = Failure("/srv/x may not be read by this user", "Run it as root: sudo overlay2-tui /srv/x")
    app = scripted(made.Snapshot("/srv/x", taken=made.THEN, failure=failure))
    assert snap_compare(app, run_before=after(panel("failure", "may not be read")), terminal_size=(80, 24))
