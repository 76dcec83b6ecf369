# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Generate the tables of keys in docs/tui.md from the bindings of the inspector, and its picture, docs/tui.svg.

    .venv/bin/python scripts/tui_page.py

tests/unit/tui/test_page.py fails if they differ from what this program would write.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, PICTURE = ROOT / "docs/tui.md", ROOT / "docs/tui.svg"
START, END = "<!-- keys: scripts/tui_page.py writes from here -->", "<!-- to here -->"
SIZE = (128, 21)


def sections():
    """(title, text, bindings) of everything that has keys: all screens, lists, then each screen."""
    from overlay2_tui.app import Overlay2App
    from overlay2_tui.commands import own_bindings
    from overlay2_tui.widgets.file_grid import FileGrid
    from overlay2_tui.widgets.filter_bar import FilterInput
    from overlay2_tui.widgets.grid import Grid
    from overlay2_tui.widgets.layer_grid import LayerGrid

    yield "Everywhere", "`Ctrl+P` opens the palette: every command by its name.", own_bindings(Overlay2App)
    yield "In every list", "The mouse works too: click, double click, wheel, column heads.", own_bindings(Grid)
    lists = {"layers": LayerGrid, "files": FileGrid}
    for number, (mode, screen) in enumerate(Overlay2App.MODES.items(), 1):
        widget = lists.get(mode)
        bindings = own_bindings(screen) + (own_bindings(widget, below=Grid) if widget else [])
        text = f"{screen.HELP} {widget.HELP if widget else ''}".strip()
        yield f"{number} {mode.capitalize()}", text, bindings
    yield "While a filter is typed", "", own_bindings(FilterInput)


def tables():
    """The keys in Markdown (str)."""
    from overlay2_tui.screens.dialogs import by_command, key_name

    lines = []
    for title, text, bindings in sections():
        lines += [f"### {title}", "", *([text, ""] if text else [])]
        if bindings:
            lines += ["| key | what it does |", "| --- | --- |"]
        for (_description, tooltip), keys in by_command(bindings).items():
            names = " ".join(f"`{key_name(key)}`" for key in keys)
            lines.append(f"| {names} | {tooltip} |")
        lines += [""] * bool(bindings)
    return "\n".join(lines).rstrip("\n")


def page(text):
    """The page with new tables (str)."""
    before, rest = text.split(START)
    return f"{before}{START}\n\n{tables()}\n\n{END}{rest.split(END)[1]}"


def picture():
    """The layers of the scripted home of the tests, exported as by the key `e` (str, SVG)."""
    sys.path.insert(0, str(ROOT / "tests"))
    os.environ["TZ"] = "UTC"
    time.tzset()
    from overlay2_tui.app import Overlay2App
    from overlay2_tui.widgets.layer_grid import LayerGrid
    from support import scripted

    async def export():
        app = Overlay2App("/nowhere")
        app._live, app.hosts = None, [scripted.ScriptedHost(scripted.snapshot())]
        async with app.run_test(size=SIZE) as pilot:
            layers = app.screen.query_one(LayerGrid)
            while not layers.keys:
                await pilot.pause(0.05)
            layers.go_to("shop-run")
            await pilot.pause(0.5)
            return app.export_screenshot(title="overlay2-tui")

    return standing_alone(asyncio.run(export()))


def standing_alone(svg):
    """An export without references to fonts: pages that show a README do not load them."""
    svg = re.sub(r"\s*@font-face \{.*?\n    \}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main():
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PICTURE.write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
