# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The screens, driven by keys and mouse: scripted homes for what they show, real ones for what they follow."""

from __future__ import annotations

import dataclasses
import json
import os
from types import MappingProxyType

import pytest
from overlay2 import Driver
from overlay2_tui.app import Overlay2App
from overlay2_tui.model import Failure, Remark, report
from overlay2_tui.screens.base import HomeScreen
from overlay2_tui.screens.dialogs import Ask, Help, Pick
from overlay2_tui.widgets.bars import Choices, HomeBar
from overlay2_tui.widgets.file_grid import FileGrid
from overlay2_tui.widgets.filter_bar import FilterBar
from overlay2_tui.widgets.grid import Grid
from overlay2_tui.widgets.layer_grid import LayerGrid
from overlay2_tui.widgets.panel import Panel
from support import scripted as made
from support.trees import stream
from textual.widgets import Input

NAME = os.fsdecode(b"caf\xe9")


def screen_text(app):
    """Everything on the screen, as text."""
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


def panel_text(app, selector):
    """The text of a panel."""
    return str(app.screen.query_one(selector, Panel).query_one("Static").render())


def grid(app):
    """The list on the screen."""
    return app.screen.query_one(Grid)


# Layers


def test_layers_show_the_tree(scripted, drive):
    async def script(app, pilot):
        await pilot.pause()
        text = screen_text(app)
        assert "├─ shop-4.2" in text
        assert "│  │  ↳ shop-run" in text
        assert "● yes ×2" in text
        assert "torn ! its link file is empty" in text
        assert "90%" in text
        assert "1 problem" in text

    drive(scripted(), script, (200, 40))


def test_keys_of_the_list(scripted, drive):
    async def script(app, pilot):
        places = []
        for key in ("down", "j", "up", "k", "end", "home", "G", "g", "pagedown", "pageup"):
            await pilot.press(key)
            places.append(grid(app).cursor)
        assert places == [1, 2, 1, 0, 6, 0, 6, 0, 6, 0]

    drive(scripted(), script)


def test_folding_sorting_and_jumps(scripted, drive):
    async def script(app, pilot):
        layers = app.screen.query_one(LayerGrid)
        await pilot.press("down", "space")
        assert layers.keys == ["debian-12", "shop-4.2", "torn", "web"]
        assert layers.current == "shop-4.2"
        await pilot.press("u")
        assert layers.current == "debian-12"
        await pilot.press("s")
        assert layers.order == "size"
        assert layers.keys[0] == "shop-run"
        assert layers.current == "debian-12"
        await pilot.press("s", "s", "s", "s", "s")
        assert layers.order == "tree"

    drive(scripted(), script)


def test_children_are_offered_and_gone_to(scripted, drive):
    async def script(app, pilot):
        layers = app.screen.query_one(LayerGrid)
        await pilot.press("d")
        await pilot.pause()
        assert isinstance(app.screen, Pick)
        assert "3 children of debian-12" in screen_text(app)
        assert grid(app).keys == ["shop-4.2", "torn", "web"]
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        assert layers.current == "web"
        await pilot.press("d")
        assert layers.current == "web"  # nothing stands on it
        await pilot.press("u", "d", "escape")
        await pilot.pause()
        assert layers.current == "debian-12"
        await pilot.press("d", "enter", "d", "enter", "d")
        await pilot.pause()
        assert layers.current == "shop-run"  # the only one on shop-4.3

    drive(scripted(), script)


def test_a_jump_out_of_the_filter_gives_it_up(scripted, drive):
    async def script(app, pilot):
        layers, typed = app.screen.query_one(LayerGrid), app.screen.query_one(FilterBar)
        await pilot.press("slash", *"shop-4.2", "enter")
        assert layers.keys == ["shop-4.2"]
        await pilot.pause()
        assert "1 of 7" in screen_text(app)
        await pilot.press("u")
        await pilot.pause()
        assert layers.current == "debian-12"
        assert len(layers.keys) == 7
        assert not typed.display

    drive(scripted(), script)


def test_news_do_not_undo_a_filter_that_hides_everything(scripted, drive):
    async def script(app, pilot):
        layers = app.screen.query_one(LayerGrid)
        await pilot.press("slash", *"zzz")
        app.host.snapshot = dataclasses.replace(app.host.snapshot, taken=made.THEN + 1)
        app.bring_up_to_date()
        await pilot.pause()
        assert layers.keys == []
        assert layers.filter == "zzz"

    drive(scripted(), script)


def test_the_choice_goes_along_from_screen_to_screen(scripted, drive):
    async def script(app, pilot):
        assert app.host.selected == "debian-12"  # the first row
        await pilot.press("G", "4")
        await pilot.pause()
        assert grid(app).chosen_mount.id == "web"
        await pilot.press("up", "5")
        await pilot.pause()
        assert grid(app).current == "shop-run"
        grid(app).focus()
        await pilot.press("down", "1")
        await pilot.pause()
        assert grid(app).current == "shop-test"
        app.bring_up_to_date()
        await pilot.press("k", "k")
        app.bring_up_to_date()
        await pilot.pause()
        assert grid(app).current == "shop-4.3"

    drive(scripted(), script)


def test_facts_come_and_go(scripted, drive):
    def shown(app):
        return app.screen.query_one("#detail").display and app.screen.query_one("#detail").size.height > 0

    async def narrow(app, pilot):
        assert not shown(app)
        await pilot.press("i")
        await pilot.pause()
        assert shown(app)
        assert "none (base layer)" in panel_text(app, "#detail")

    async def wide(app, pilot):
        assert shown(app)
        await pilot.press("i")
        await pilot.pause()
        assert not shown(app)

    drive(scripted(), narrow, (80, 24))
    drive(scripted(), wide)


def test_filter_as_you_type(scripted, drive):
    async def script(app, pilot):
        layers = app.screen.query_one(LayerGrid)
        await pilot.press("slash", *"shop")
        assert set(layers.keys) == {"shop-4.2", "shop-4.3", "shop-run", "shop-test"}
        await pilot.press("space", *"rw")
        assert set(layers.keys) == {"shop-run", "shop-test"}
        await pilot.press("enter")
        assert app.focused is layers
        await pilot.press("slash", *"zzz")
        assert layers.keys == []
        await pilot.pause()
        assert "No layer matches the filter" in screen_text(app)
        await pilot.press("escape")
        assert len(layers.keys) == 7

    drive(scripted(), script)


def test_selection_scroll_and_filter_survive_news(scripted, drive):
    async def script(app, pilot):
        await pilot.press("slash", *"shop", "enter", "end")
        layers = app.screen.query_one(LayerGrid)
        chosen = layers.current
        before = app.host.snapshot
        more = {"shop-0": made.layer("shop-0"), **before.layers}
        app.host.snapshot = dataclasses.replace(before, layers=MappingProxyType(more))
        app.bring_up_to_date()
        await pilot.pause()
        assert layers.current == chosen
        assert "shop-0" in layers.keys
        assert "web" not in layers.keys

    drive(scripted(), script)


def test_scroll_stays_with_the_row_when_rows_come_above(scripted, drive):
    async def script(app, pilot):
        layers = app.screen.query_one(LayerGrid)
        await pilot.press(*["down"] * 60)
        offset = layers.cursor - layers.scroll_offset.y
        chosen = layers.current
        before = app.host.snapshot
        more = {f"a{number}": made.layer(f"a{number}") for number in range(20)}
        app.host.snapshot = dataclasses.replace(before, layers=MappingProxyType({**more, **before.layers}))
        app.bring_up_to_date()
        await pilot.pause()
        assert layers.current == chosen
        assert layers.cursor - layers.scroll_offset.y == offset

    many = {f"m{number:03}": made.layer(f"m{number:03}") for number in range(200)}
    drive(scripted(made.snapshot(layers=MappingProxyType(many))), script, (80, 24))


def test_the_mouse_chooses_opens_and_sorts(scripted, drive):
    async def script(app, pilot):
        layers = app.screen.query_one(LayerGrid)
        await pilot.click(LayerGrid, offset=(5, 3))
        assert layers.cursor == 2
        await pilot.click(LayerGrid, offset=(2, 0))
        assert layers.order == "name"
        await pilot.click("#modes", offset=(14, 0))
        await pilot.pause()
        assert app.current_mode == "chain"

    drive(scripted(), script)


def test_owners_stand_in_the_rows(scripted, drive):
    async def script(app, pilot):
        text = screen_text(app)
        assert "shop-run shop (running)" in text
        assert "shop-4.2 under shop:4.3" in text
        assert "shop-test unowned" in text
        await pilot.press("s", "s", "s", "s", "s")
        layers = app.screen.query_one(LayerGrid)
        assert layers.keys[:2] == ["shop-test", "torn"]
        await pilot.press("g")
        await pilot.pause()
        assert "no container and no image needs it (likely)" in " ".join(panel_text(app, "#detail").split())

    drive(scripted(), script, (200, 40))


# The other screens


def test_every_screen_opens_by_its_number(scripted, drive):
    async def script(app, pilot):
        for number, mode in enumerate(("layers", "chain", "files", "mounts", "status", "health"), 1):
            await pilot.press(str(number))
            await pilot.pause()
            assert app.current_mode == mode
            assert app.screen.query_one("#modes", Choices).chosen == mode
            assert isinstance(app.screen.text(), list)

    drive(scripted(), script)


def test_chain_shows_the_chosen_layer_s(scripted, drive):
    async def script(app, pilot):
        await pilot.press("down", "down", "down", "2")
        await pilot.pause(0.2)
        assert grid(app).keys == ["shop-run", "shop-4.3", "shop-4.2", "debian-12"]
        assert "from a file does not say" in panel_text(app, "#options")
        await pilot.press("down", "enter")
        await pilot.pause()
        assert app.current_mode == "layers"
        assert app.screen.query_one(LayerGrid).current == "shop-4.3"

    drive(scripted(), script)


def test_mounts_show_holders_processes_and_namespaces(scripted, drive):
    async def script(app, pilot):
        await pilot.press("4")
        await pilot.pause()
        assert "backup, shop" in screen_text(app)
        text = panel_text(app, "#mount")
        assert "python (www): working folder" in text
        assert "process 30482 (nginx)" in text
        await pilot.press("down")
        await pilot.pause()
        assert "no holder is on record" in panel_text(app, "#mount")

    drive(scripted(), script)


def test_status_tells_what_things_mean(scripted, drive):
    async def script(app, pilot):
        await pilot.press("5")
        await pilot.pause()
        text = screen_text(app)
        assert "the size of single layers can be limited" in text
        assert "60.0 GiB of 100.0 GiB" in text
        assert "10.0 GiB" in text

    drive(scripted(), script)


def test_health_lists_problems_and_goes_to_them(scripted, drive):
    async def script(app, pilot):
        await pilot.press("6")
        await pilot.pause()
        assert "its link file is empty" in screen_text(app)
        assert "dockerd, running" in panel_text(app, "#owners")
        assert "1 layer has no owner: 1.0 MiB" in panel_text(app, "#owners")
        await pilot.press("enter")
        await pilot.pause()
        assert app.current_mode == "layers"
        assert app.screen.query_one(LayerGrid).current == "torn"

    drive(scripted(), script)


# States


@pytest.mark.parametrize("number", "123456")
def test_failures_are_sentences_on_every_screen(scripted, drive, number):
    async def script(app, pilot):
        await pilot.press(number)
        await pilot.pause()
        text = screen_text(app)
        assert "There is no folder /x." in text
        assert "Check the path." in text
        assert "no home" in text

    drive(
        scripted(made.Snapshot("/x", taken=made.THEN, failure=Failure("There is no folder /x", "Check the path"))),
        script,
    )


@pytest.mark.parametrize("number", "123456")
def test_an_empty_home_and_a_layer_that_vanished(scripted, drive, number):
    async def script(app, pilot):
        await pilot.press("down", "down", number)
        await pilot.pause()
        app.host.snapshot = made.snapshot(layers=MappingProxyType({}), mounts=(), sizes=MappingProxyType({}))
        app.bring_up_to_date()
        await pilot.pause()
        assert "0 layers" in screen_text(app)

    drive(scripted(), script)


def test_before_the_first_news_it_says_that_it_reads(scripted, drive):
    async def script(app, pilot):
        app.host.snapshot = None
        app.bring_up_to_date()
        await pilot.pause()
        assert "Reading the home" in screen_text(app) or "reading" in screen_text(app)

    drive(scripted(), script)


def test_names_that_are_no_utf_8_are_shown_escaped(scripted, drive):
    async def script(app, pilot):
        for number in "123456":
            await pilot.press(number)
            await pilot.pause()
        await pilot.press("1")
        await pilot.pause()
        assert "caf\\udce9" in screen_text(app)

    layers = {NAME: made.layer(NAME, problems=("bad \x1b[31m name",))}
    drive(scripted(made.snapshot(layers=MappingProxyType(layers))), script)


def test_tiny_terminals(scripted, drive):
    async def script(app, pilot):
        for number in "123456":
            await pilot.press(number, "down")
            await pilot.pause()

    drive(scripted(), script, (20, 6))


# What all screens have


def test_help_is_made_of_the_bindings(scripted, drive):
    async def script(app, pilot):
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Help)
        text = str(app.screen.query_one("Static").render())
        for words in (
            "Filter by words of ids",
            "Fold or unfold the layers",
            "Write this view to a new file",
            "Ctrl+P",
        ):
            assert words in text
        await pilot.press("escape")
        assert isinstance(app.screen, HomeScreen)

    drive(scripted(), script)


def test_the_palette_knows_every_command(scripted, drive, until):
    async def script(app, pilot):
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert {"Layers", "Chain", "Pause", "Export", "Filter", "Owner of path", "Theme", "Fold", "Quit"} <= titles
        await pilot.press("ctrl+p")
        await pilot.pause(0.3)
        await pilot.press(*"children")
        await until(pilot, lambda: "Go to a child of this layer" in screen_text(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, Pick))

    drive(scripted(), script)


def test_the_footer_is_short(scripted, drive):
    async def script(app, pilot):
        for number in "123456":
            await pilot.press(number)
            await pilot.pause()
            shown = [
                b for b in app.screen.active_bindings.values() if b.binding.show and b.binding.description != "palette"
            ]
            assert len(shown) <= 8, [b.binding.description for b in shown]

    drive(scripted(), script, (80, 24))


def test_export_writes_a_new_file_only(scripted, drive, real_tmp):
    async def export(app, pilot, path):
        await pilot.press("e")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        app.screen.query_one(Input).value = str(path)
        await pilot.press("enter")
        await pilot.pause()

    async def script(app, pilot):
        await export(app, pilot, real_tmp / "view.txt")
        await export(app, pilot, real_tmp / "facts.json")
        await export(app, pilot, real_tmp / "picture.svg")
        (real_tmp / "mine.txt").write_text("mine")
        await export(app, pilot, real_tmp / "mine.txt")
        assert "├─ shop-4.2" in (real_tmp / "view.txt").read_text()
        assert json.loads((real_tmp / "facts.json").read_text())["home"] == made.HOME
        assert (real_tmp / "picture.svg").read_text().startswith("<svg")
        assert (real_tmp / "mine.txt").read_text() == "mine"

    drive(scripted(), script)


def test_copy_gives_the_path(scripted, drive, monkeypatch):
    async def script(app, pilot):
        copied = []
        monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
        await pilot.press("down", "y")
        assert copied == [f"{made.HOME}/shop-4.2"]

    drive(scripted(), script)


def test_themes_and_no_color(scripted, drive, monkeypatch):
    async def light(app, pilot):
        await pilot.press("t")
        assert not app.current_theme.dark
        await pilot.press("t")
        assert app.current_theme.dark

    drive(scripted(), light)
    monkeypatch.setenv("NO_COLOR", "1")

    async def plain(app, pilot):
        await pilot.pause()
        assert app.no_color
        assert "● yes" in screen_text(app)

    drive(scripted(), plain)


def test_one_host_per_tab(drive, real_tmp):
    for host in ("bow", "stern"):
        data = report.as_data(made.snapshot(host=host))
        (real_tmp / f"{host}.json").write_text(json.dumps(data))
    (real_tmp / "torn.json").write_text("{")

    async def script(app, pilot):
        await pilot.pause()
        assert app.host_names == ["bow", "stern", "torn"]
        assert "◆ gathered" in screen_text(app)
        assert "on bow" in screen_text(app)
        await pilot.press("right_square_bracket")
        await pilot.pause()
        assert "on stern" in screen_text(app)
        await pilot.press("right_square_bracket")
        await pilot.pause()
        assert "is not valid JSON" in screen_text(app)
        await pilot.press("left_square_bracket", "3")
        await pilot.pause()
        assert "do not contain the files of layers" in screen_text(app)
        await pilot.press("p", "r", "4")
        await pilot.pause()
        assert app.current_mode == "mounts"

    drive(Overlay2App(snapshots=[str(real_tmp / f"{n}.json") for n in ("bow", "stern", "torn")]), script)


# Live homes


@pytest.fixture
def driver(home):
    """A home with a chain of two whose uppermost layer is mounted."""
    driver = Driver(home, ["overlay2.sync=none"])
    files = {"etc/": None, "etc/hostname": b"base\n", "etc/motd": b"hello\n", "old/": None, "old/a": b"1", NAME: b"x"}
    driver.create("base", diff=stream(files))
    driver.create_read_write("top", "base")
    merged = driver.get("top", holder="web")
    with open(os.path.join(merged, "etc/hostname"), "w", encoding="ascii") as target:
        target.write("line one\nline two\n")
    os.unlink(os.path.join(merged, "etc/motd"))
    yield driver
    driver.cleanup()


def test_a_live_home(driver, drive, until):
    async def script(app, pilot):
        layers = app.screen.query_one(LayerGrid)
        await until(pilot, lambda: layers.keys == ["base", "top"])
        driver.create_read_write("new", "base")
        await until(pilot, lambda: "new" in layers.keys)
        driver.get("new", holder="x")
        await until(pilot, lambda: "new" in {mount.id for mount in app.host.snapshot.mounts})
        await pilot.press("4")
        await until(pilot, lambda: len(grid(app).keys) == 2 and "none found" in panel_text(app, "#mount"))
        driver.put_all("new")
        await until(pilot, lambda: len(grid(app).keys) == 1)
        driver.remove("new")
        await pilot.press("1")
        await until(pilot, lambda: "new" not in layers.keys)

    drive(Overlay2App(driver.home), script)


def test_files_of_a_live_home(driver, drive, until):
    async def script(app, pilot):
        await until(pilot, lambda: app.host.snapshot is not None)
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.current_mode == "files" and app.screen.query_one(FileGrid).keys == ["/etc"])
        files = app.screen.query_one(FileGrid)
        await pilot.press("space")
        await until(pilot, lambda: files.keys == ["/etc", "/etc/hostname", "/etc/motd"])
        assert [files.cells(key)[0][0] for key in files.keys] == [" ", "~", "-"]
        await pilot.press("down")
        await until(pilot, lambda: "line two" in panel_text(app, "#file"))
        await pilot.press("down")
        await until(pilot, lambda: "deletes it" in panel_text(app, "#file"))
        await pilot.press("m")
        await until(pilot, lambda: set(files.keys) == {"/etc", "/old", "/" + NAME})
        await pilot.press("w")
        await until(pilot, lambda: "that the chain stores are hidden" in panel_text(app, "#file"))
        await pilot.press("left", "h")

    drive(Overlay2App(driver.home), script)


def test_files_follow_what_a_container_writes(driver, drive, until):
    async def script(app, pilot):
        await pilot.press("j", "3", "m")
        files = app.screen.query_one(FileGrid)
        await until(pilot, lambda: "/etc" in files.keys)
        merged = os.path.join(driver.home, "top/merged")
        with open(os.path.join(merged, "new"), "w", encoding="ascii"):
            await until(pilot, lambda: "/new" in files.keys)
        os.unlink(os.path.join(merged, "new"))
        await until(pilot, lambda: "/new" not in files.keys)

    drive(Overlay2App(driver.home), script)


def test_copy_gives_the_path_of_the_row(driver, drive, until, monkeypatch):
    open(os.path.join(driver.home, "base/link"), "w").close()
    copied = []

    async def script(app, pilot):
        monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
        await until(pilot, lambda: app.host.snapshot is not None and app.host.snapshot.health)
        app.screen.query_one(LayerGrid).reveal("top")
        await pilot.press("2", "G", "y")
        await pilot.press("3", "m")
        await until(pilot, lambda: "/old" in app.screen.query_one(FileGrid).keys)
        app.screen.query_one(FileGrid).go_to("/old")
        await pilot.press("y", "4", "y", "6", "y")

    drive(Overlay2App(driver.home), script)
    base, top = os.path.join(driver.home, "base"), os.path.join(driver.home, "top")
    assert copied[:3] == [base, f"{base}/diff/old", f"{top}/merged"]
    assert copied[3] in (base, top)


def test_the_owner_of_a_path(driver, drive, until):
    async def script(app, pilot):
        layers = app.screen.query_one(LayerGrid)
        await until(pilot, lambda: layers.keys == ["base", "top"])
        await pilot.press("down", "o")
        await pilot.pause()
        await pilot.press(*"/old/a", "enter")
        await until(pilot, lambda: layers.current == "base")

    drive(Overlay2App(driver.home), script)


def test_the_plan_of_a_mount(driver, drive, until):
    async def script(app, pilot):
        await until(pilot, lambda: app.host.snapshot is not None)
        await pilot.press("down", "2")
        await until(pilot, lambda: app.current_mode == "chain" and "of 4095 bytes" in panel_text(app, "#options"))
        assert "lowerdir=" in panel_text(app, "#options").replace("\n", "").replace(" ", "")

    drive(Overlay2App(driver.home), script)


def test_pause_and_refresh(driver, drive, until):
    async def script(app, pilot):
        layers = app.screen.query_one(LayerGrid)
        await until(pilot, lambda: layers.keys == ["base", "top"])
        await pilot.press("p")
        await pilot.pause(0.3)
        assert "paused since" in str(app.screen.query_one(HomeBar).render())
        driver.create("new", "base")
        await pilot.pause(1.0)
        assert "new" not in layers.keys
        await pilot.press("r")
        await until(pilot, lambda: "new" in layers.keys)
        assert "live" in str(app.screen.query_one(HomeBar).render())

    drive(Overlay2App(driver.home), script)


def test_a_layer_that_vanishes_while_its_files_are_open(driver, drive, until):
    async def script(app, pilot):
        await until(pilot, lambda: app.host.snapshot is not None)
        await pilot.press("down", "3")
        await until(pilot, lambda: app.current_mode == "files" and app.screen.query_one(FileGrid).keys)
        driver.put_all("top")
        driver.remove("top")
        await until(pilot, lambda: "This layer is gone" in panel_text(app, "#file"))

    drive(Overlay2App(driver.home), script)


def test_what_the_model_could_not_see_the_screens_say(scripted, drive):
    blind = made.snapshot(
        privileged=False,
        features=(("Native Overlay Diff", "unknown", "only root can find out"),),
        mounts=(made.mount("web", None, remarks=(Remark("Who holds it is on record for root only.", "web", False),)),),
    )

    async def script(app, pilot):
        await pilot.press("4")
        await pilot.pause()
        assert "unknown" in screen_text(app)
        text = " ".join(panel_text(app, "#mount").split())
        assert "none of yours" in text
        assert "Only root can see processes and mount namespaces of other users" in text
        await pilot.press("5")
        await pilot.pause()
        assert "only root can find out" in screen_text(app)

    drive(scripted(blind), script)


def test_files_say_what_of_the_chain_is_missing(driver, drive, until):
    driver.create_read_write("upper", "top")
    os.unlink(os.path.join(driver.home, "l", driver.layer("base").link))

    async def script(app, pilot):
        await until(pilot, lambda: app.host.snapshot is not None)
        app.screen.query_one(LayerGrid).reveal("upper")
        await pilot.press("3", "m")
        await until(pilot, lambda: app.current_mode == "files" and "can't be followed" in screen_text(app))
        assert "! its lower chain names" in screen_text(app)

    drive(Overlay2App(driver.home), script)


def test_damage_shows_in_place(driver, drive, until):
    async def script(app, pilot):
        await until(pilot, lambda: app.host.snapshot is not None)
        os.unlink(os.path.join(driver.home, "l", driver.layer("base").link))
        await until(pilot, lambda: app.host.snapshot.problems)
        for number in "123456":
            await pilot.press(number)
            await pilot.pause(0.3)
        await until(pilot, lambda: "leads nowhere" in screen_text(app))

    drive(Overlay2App(driver.home), script)
