# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The inspector's tests run where Textual does; the core's other Pythons do without."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time

import pytest
from overlay2 import Driver
from support.trees import stream

collect_ignore_glob = [] if importlib.util.find_spec("textual") else ["test_*.py", "*/test_*.py"]


@pytest.fixture(autouse=True)
def fixed_zone(monkeypatch):
    """Times are told in UTC, and nothing of the environment changes what a screen looks like."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for name in ("NO_COLOR", "TEXTUAL", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    yield
    monkeypatch.undo()
    time.tzset()


def patient(pilot):
    """Let a pilot's ``press`` wait until the keys had their effect."""
    press = pilot.press

    async def press_and_wait(*keys):
        await press(*keys)
        await pilot.app.typed.all_done()
        await pilot.pause()

    pilot.press = press_and_wait


@pytest.fixture(name="patient")
def patient_fixture():
    """patient(pilot)."""
    return patient


@pytest.fixture
def drive():
    """A function: drive(app, script, size) runs ``await script(app, pilot)`` on the running app."""

    def run(app, script, size=(120, 40)):
        async def main():
            async with app.run_test(size=size) as pilot:
                patient(pilot)
                await pilot.pause()
                await script(app, pilot)

        asyncio.run(main())

    return run


@pytest.fixture
def scripted():
    """A function: an app that shows a scripted Snapshot."""
    from overlay2_tui.app import Overlay2App
    from support import scripted as made

    def make(first=None):
        app = Overlay2App("/nowhere")
        app._live = None
        app.hosts = [made.ScriptedHost(made.snapshot() if first is None else first)]
        return app

    return make


async def until(pilot, condition, seconds=15.0):
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await pilot.pause(0.05)


@pytest.fixture(name="until")
def until_fixture():
    """await until(pilot, condition)."""
    return until


@pytest.fixture
def driver(home):
    """A driver of a home with a chain of three, the uppermost mounted and held."""
    driver = Driver(home, ["overlay2.sync=none"])
    driver.create("base", diff=stream({"file": b"x" * 1000}))
    driver.create("middle", "base", diff=stream({"more": b"x" * 500}))
    driver.create_read_write("top", "middle")
    driver.get("top", holder="web")
    yield driver
    driver.cleanup()


@pytest.fixture
def open_to_all(driver):
    """The driver's home, readable by everybody; the records of who holds what stay root's, as they are made."""
    driver.create_read_write("cut", "base", diff=stream({"dir/": None, "dir/.wh..wh..opq": b""}))
    for folder in (driver.home, *(os.path.join(driver.home, name) for name in os.listdir(driver.home))):
        os.chmod(folder, 0o755)
    return driver.home
