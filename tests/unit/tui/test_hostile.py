# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Names that strangers chose, through everything that shows them: nothing raw is drawn, nothing is read as markup."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from types import MappingProxyType

import pytest
from overlay2 import Driver
from overlay2.home.quota import QuotaUsage
from overlay2.linux.mountinfo import MountEntry
from overlay2.owners import Owner
from overlay2_tui.app import Overlay2App
from overlay2_tui.commands import own_bindings
from overlay2_tui.model import (
    Failure,
    FindingFacts,
    MountFacts,
    OwnerFacts,
    OwnershipReport,
    ProcessFacts,
    Remark,
    report,
)
from overlay2_tui.model.plain import visible
from overlay2_tui.screens.dialogs import Ask, Help, Pick, help_lines
from overlay2_tui.widgets.file_grid import FileGrid
from overlay2_tui.widgets.grid import Grid
from overlay2_tui.widgets.layer_grid import LayerGrid
from support import scripted as made
from support.hostile import NAMES, is_safe
from textual import events
from textual.command import CommandPalette
from textual.widgets import Input


def drawn(app):
    """Everything on the screen, as text."""
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


def check(app):
    """Fail on anything raw in what is drawn now, and on anything that a click would run."""
    for strip in app.screen._compositor.render_strips():
        for segment in strip:
            assert is_safe(segment.text), repr(segment.text)
            action = str(segment.style.meta.get("@click", "")) if segment.style else ""
            assert "pwn" not in action


def hostile(name):
    """A Snapshot in which everything that can be a stranger's text is ``name``."""
    layers = [
        made.layer("base", committed=True, diff_id=name, link=name, name=name),
        made.layer(name, ["base"], lower_links=(name,), diff_id=name, link=name, name=name, problems=(name,),
                   quota=QuotaUsage(7, 10 << 30, 9 << 30, 4711)),
        made.layer("third", ["base", name], read_write=True, parent=name, lower_links=(name, name)),
    ]  # fmt: skip
    entry = MountEntry(113, 27, name, name, f"{made.HOME}/{name}/merged", (name,), name, name, (name, "lowerdir=/a"))
    facts = OwnerFacts(
        "container",
        (Owner("container", name, (name, name), name), Owner(name, name, (), name, False)),
        name,
        name,
        (name,),
    )
    mount = MountFacts(
        name, f"{made.HOME}/{name}/merged", True, MappingProxyType({name: 2, "": 1}), (entry,), ((1, 2, name),),
        (ProcessFacts(1, name, name, name),), (Remark(name, name, False, name), Remark(name, name, True, name, name)),
    )  # fmt: skip
    return made.snapshot(
        home=f"/srv/{name}",
        host=name,
        status=((name, name),),
        features=((name, name, name), ("Project Quota", name, name)),
        layers=MappingProxyType({facts.id: facts for facts in layers}),
        sizes=MappingProxyType({"base": 1}),
        size_errors=MappingProxyType({name: name}),
        mounts=(mount, MountFacts("", f"/srv/{name}", True, entries=(entry,), remarks=(Remark(name, "", False),))),
        remarks=(Remark(name), Remark(name, is_problem=False)),
        health=(
            FindingFacts("link-empty", "error", name, name, name, name, True),
            FindingFacts(name, name, "", name, name, name, False),
        ),
        owners=OwnershipReport(name, name, True, MappingProxyType({name: facts, "base": facts}), (name,)),
        history=MappingProxyType({"": (1, 2), name: (1, 2)}),
    )


@pytest.fixture
def ran(monkeypatch):
    """What markup ran (list)."""
    found = []
    monkeypatch.setattr(Overlay2App, "action_pwn", found.append, raising=False)
    return found


async def each_row(app, pilot):
    """Look at the screen with the cursor on each row, each copied once."""
    grid = app.screen.query_one(Grid)
    for row in range(min(2, max(1, len(grid.keys)))):
        grid.cursor = row
        app.action_copy()
        await pilot.pause()
        check(app)
    app.clear_notifications()


async def click_toasts(app, pilot):
    """Click on every cell of the toasts that show."""
    for toast in list(app.screen.query("Toast")):
        region = toast.region
        for y in range(region.y, min(region.bottom, region.y + 4)):
            for x in range(region.x + 1, region.right - 1, 4):
                with contextlib.suppress(Exception):
                    await pilot.click(offset=(x, y))


@pytest.mark.parametrize("number", "123456")
def test_every_screen_panel_and_toast(scripted, drive, ran, number):
    async def script(app, pilot):
        await pilot.press(number)
        for name in NAMES:
            app.host.snapshot, app.host.selected = hostile(name), name
            app.bring_up_to_date()
            await pilot.pause()
            await each_row(app, pilot)
            app.host.snapshot = made.Snapshot(f"/srv/{name}", host=name, taken=made.THEN, failure=Failure(name, name))
            app.bring_up_to_date()
            await pilot.pause()
            check(app)

    drive(scripted(), script, (160, 50))
    assert ran == []


def test_dialogs_and_toasts(scripted, drive, ran, until):
    async def script(app, pilot):
        for name in NAMES:
            facts = [made.layer(f"{name}{number}", [name]) for number in (1, 2)]
            layers = {one.id: one for one in (made.layer(name), *facts)}
            app.host.snapshot, app.host.selected = (
                dataclasses.replace(hostile(name), layers=MappingProxyType(layers)),
                name,
            )
            app.bring_up_to_date()
            await pilot.pause()
            app.screen.query_one(LayerGrid).action_child()
            await pilot.pause()
            await pilot.pause()
            assert isinstance(app.screen, Pick)
            check(app)
            app.pop_screen()
            for dialog in (Ask(name, name), Help(help_lines([(name, name, own_bindings(Overlay2App))]))):
                app.push_screen(dialog)
                await pilot.pause()
                check(app)
                app.pop_screen()
            app.action_export()
            app.notify(name, title=name)
            await pilot.pause()
            check(app)
            if "[" in name:
                await click_toasts(app, pilot)
            app.pop_screen()
            app.clear_notifications()
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette) and "Children" in drawn(app))
        check(app)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, CommandPalette))
        await pilot.press("slash")
        for name in NAMES:
            # What is pasted is a stranger's text too.
            app.post_message(events.Paste(name))
            await pilot.pause()
            check(app)

    drive(scripted(), script, (160, 50))
    assert ran == []


def test_hosts_that_were_gathered(drive, ran, real_tmp):
    good, bad = real_tmp / "good.json", real_tmp / "bad.json"
    good.write_text(report.as_json([hostile(name) for name in NAMES]))
    bad.write_text(
        json.dumps([{"exists": name, "host": name, "status": {name: name}, "layers": name} for name in NAMES])
    )

    async def script(app, pilot):
        assert len(app.hosts) == 2 * len(NAMES)
        for number in "146":
            await pilot.press(number)
            for host in range(len(app.hosts)):
                app.show_host(host)
                await pilot.pause()
                check(app)

    drive(Overlay2App(snapshots=[str(good), str(bad)]), script, (160, 50))
    assert ran == []


def test_print_and_json(real_tmp):
    path = real_tmp / "all.json"
    path.write_text(report.as_json([hostile(name) for name in NAMES]))
    for option in ("--print", "--json"):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "overlay2_tui",
                option,
                "--snapshot",
                str(path),
                str(real_tmp / "no\x1b]2;x\x07.json"),
            ],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 3
        for stream in (done.stdout, done.stderr):
            for line in stream.decode("utf-8").split("\n"):
                assert is_safe(line), repr(line)
        if option == "--json":
            assert [one["host"] for one in json.loads(done.stdout)][: len(NAMES)] == list(map(visible, NAMES))


def test_exports_hold_nothing_raw(scripted, drive, real_tmp):
    async def script(app, pilot):
        for suffix in ("txt", "json", "svg"):
            await pilot.press("e")
            await pilot.pause()
            app.screen.query_one(Input).value = str(real_tmp / f"view.{suffix}")
            await pilot.press("enter")
            await pilot.pause()
            for line in (real_tmp / f"view.{suffix}").read_text(encoding="utf-8").split("\n"):
                assert is_safe(line), repr(line)

    for name in (NAMES[7], NAMES[12]):
        drive(scripted(hostile(name)), script)
        for file in real_tmp.iterdir():
            file.unlink()


@pytest.mark.root
def test_files_of_an_image(home, drive, ran, until):
    """Files whose names, targets, attributes and contents are hostile."""
    driver = Driver(home, ["overlay2.sync=none"])
    driver.create("base")
    diff = os.path.join(home, "base/diff")
    for name in NAMES:
        if len(os.fsencode(name)) > 255:
            continue
        path = os.path.join(diff, name.lstrip("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as target:
            target.write(os.fsencode(name) * 3)
        os.symlink(os.fsencode(name), os.path.join(diff, f"{NAMES.index(name)}-link"))
        with contextlib.suppress(OSError, ValueError):
            os.setxattr(path, "user." + name, b"")

    async def script(app, pilot):
        await until(pilot, lambda: app.host.snapshot is not None)
        await pilot.press("3")
        files = app.screen.query_one(FileGrid)
        await until(pilot, lambda: len(files.keys) > len(NAMES))
        for key in list(files.keys):
            files.go_to(key)
            await pilot.press("space", "y")
            await pilot.pause(0.05)
            check(app)
        await pilot.press("m", "w")
        await pilot.pause(0.2)
        check(app)
        await pilot.press("1", "o")
        await pilot.pause()
        app.screen.query_one(Input).value = f"/{NAMES[0]}"
        await pilot.press("enter")
        await pilot.pause(0.2)
        check(app)
        await click_toasts(app, pilot)
        assert app.screen.query_one(Grid)

    drive(Overlay2App(home), script)
    assert ran == []
