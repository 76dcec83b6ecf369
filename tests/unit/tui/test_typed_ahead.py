# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The focus, and keys that are typed faster than the screen follows: in one burst, and before anything was read."""

from __future__ import annotations

import threading

import pytest
from overlay2 import Driver
from overlay2_tui.app import Overlay2App
from overlay2_tui.model import Failure
from overlay2_tui.model.hosts import LiveHost
from overlay2_tui.widgets.file_grid import FileGrid
from overlay2_tui.widgets.grid import Grid
from overlay2_tui.widgets.layer_grid import LayerGrid
from support import scripted as made
from support.trees import stream
from textual import events
from textual.keys import _character_to_key
from textual.widgets import Input

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 10)], ids=["80x24", "120x40", "40x10"])


def burst(app, *keys):
    """Type keys without waiting for anything."""
    for key in keys:
        name = _character_to_key(key) if len(key) == 1 else key
        app.typed.put(events.Key(name, key if len(key) == 1 else None))


@SIZES
def test_the_list_has_the_focus_on_every_screen(scripted, drive, size):
    async def script(app, pilot):
        assert isinstance(app.focused, LayerGrid)
        for number in "1234561":
            await pilot.press(number)
            assert isinstance(app.focused, Grid), number

    drive(scripted(), script, size)


@SIZES
def test_the_list_has_the_focus_again_after_a_failure(scripted, drive, size):
    async def script(app, pilot):
        good = app.host.snapshot
        app.host.snapshot = made.Snapshot("/x", taken=made.THEN, failure=Failure("gone"))
        app.bring_up_to_date()
        await pilot.pause()
        app.host.snapshot = good
        app.bring_up_to_date()
        await pilot.press("j")
        assert app.screen.query_one(LayerGrid).cursor == 1

    drive(scripted(), script, size)


def test_the_footer_has_the_keys_of_the_list(scripted, drive):
    async def script(app, pilot):
        shown = {active.binding.description for active in app.screen.active_bindings.values() if active.binding.show}
        assert {"Open", "Fold", "Sort"} <= shown

    drive(scripted(), script)


def test_a_pane_that_was_chosen_keeps_the_focus(scripted, drive):
    async def script(app, pilot):
        await pilot.press("tab")
        chosen = app.focused
        assert not isinstance(chosen, Grid)
        app.bring_up_to_date()
        await pilot.pause()
        assert app.focused is chosen

    drive(scripted(), script)


def test_a_burst_of_keys_through_filter_screens_and_dialogs(scripted, drive):
    async def script(app, pilot):
        layers = app.screen.query_one(LayerGrid)
        burst(app, "slash", *"shop", "enter", "j", "2")
        await app.typed.all_done()
        assert (app.current_mode, layers.filter) == ("chain", "shop")
        assert app.screen.query_one(Grid).keys[0] == layers.current == layers.keys[1]
        burst(app, "1", "escape", "g", "d", "j", "enter", "e", *"a.txt")
        await app.typed.all_done()
        assert layers.current == "torn"
        assert app.screen.query_one(Input).value.endswith("a.txt")

    drive(scripted(), script)


def test_keys_before_the_first_row_are_not_lost(home, drive, until, monkeypatch):
    driver = Driver(home, ["overlay2.sync=none"])
    driver.create("base")
    driver.create("top", "base", diff=stream({"etc/": None, "etc/motd": b"hello\n", "usr": b""}))
    # The home is read when the test says so.
    go, read = threading.Event(), LiveHost.__init__

    def slow(host, *arguments):
        read(host, *arguments)
        source = host.source.read

        def wait():
            go.wait(60)
            return source()

        host.source.read = wait

    monkeypatch.setattr(LiveHost, "__init__", slow)

    async def script(app, pilot):
        burst(app, "j", "enter", "space", "j")
        await pilot.pause()
        go.set()
        await app.typed.all_done()
        assert app.current_mode == "files"
        assert app.screen.query_one(FileGrid).keys == ["/etc", "/etc/motd", "/usr"]
        assert app.screen.query_one(FileGrid).current == "/etc/motd"

    drive(Overlay2App(home), script)


def test_screens_and_quit_do_not_wait_for_the_home(drive, until, monkeypatch, home):
    go = threading.Event()
    monkeypatch.setattr("overlay2_tui.model.poller.Poller.run", lambda _poller: go.wait(60))

    async def script(app, pilot):
        try:
            burst(app, "4", "2")
            await app.typed.all_done()
            assert app.current_mode == "chain"
            burst(app, "q")
            await until(pilot, lambda: not app.is_running or app._exit)
        finally:
            go.set()

    drive(Overlay2App(home), script)


def test_a_screen_is_filled_whenever_it_came_to_the_front(scripted, drive):
    async def script(app, pilot):
        burst(app, *"2624316543")
        await app.typed.all_done()
        for number in "654321":
            burst(app, number)
            await app.typed.all_done()
            assert app.screen.snapshot is app.host.snapshot
            assert app.screen.query_one("#body").display

    drive(scripted(), script, (80, 24))
