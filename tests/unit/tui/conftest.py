# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The inspector's tests run where Textual does; the core's other Pythons do without."""

from __future__ import annotations

import asyncio
import importlib.util
import time

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("textual") else ["test_*.py"]


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


@pytest.fixture
def drive():
    """A function: drive(app, script, size) runs ``await script(app, pilot)`` on the running app."""

    def run(app, script, size=(120, 40)):
        async def main():
            async with app.run_test(size=size) as pilot:
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
        app.call_later(app.bring_up_to_date)
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
