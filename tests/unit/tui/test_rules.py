# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The house's rules for the inspector, checked on its source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import overlay2_tui

ROOT = Path(overlay2_tui.__file__).parent


def imports(file):
    """Names of the modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def test_the_model_knows_no_textual():
    code = "import sys, overlay2_tui.headless, overlay2_tui.model.hosts; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"textual", "rich"}
    for file in (ROOT / "model").glob("*.py"):
        assert not any(name.startswith(("textual", "rich", "..")) for name in imports(file)), file.name


def test_widgets_and_screens_open_no_files():
    for folder in ("widgets", "screens"):
        for file in (ROOT / folder).glob("*.py"):
            calls = {
                node.func.id
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert "open" not in calls, file.name
            assert not any("source" in name or "processes" in name for name in imports(file)), file.name


def test_titles_and_texts_are_drawn_in_one_way():
    """Textual reads markup in titles and labels that are plain strings: only Panel sets a title, only as Content."""
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                assert node.attr not in ("border_title", "border_subtitle", "tooltip") or file.name == "panel.py", file
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Static", "Label"):
                (text,) = node.args
                is_content = isinstance(text, ast.Call) and text.func.id == "content"
                assert isinstance(text, ast.Constant) or is_content, (file.name, node.lineno)


def test_styles_name_no_colour():
    text = "".join(file.read_text() for file in [ROOT / "overlay2.tcss", *ROOT.rglob("*.py")])
    import re

    assert re.findall(r"(?:color|background|border)[^;{]*#[0-9a-fA-F]{3,6}\b", text) == []


def test_every_binding_explains_itself():
    from overlay2_tui.app import Overlay2App
    from textual.binding import Binding

    pending, classes = [Overlay2App, *Overlay2App.MODES.values()], set()
    from overlay2_tui.widgets.file_grid import FileGrid
    from overlay2_tui.widgets.layer_grid import LayerGrid
    from overlay2_tui.widgets.panel import Panel

    for cls in [*pending, FileGrid, LayerGrid, Panel]:
        classes |= {base for base in cls.__mro__ if base.__module__.startswith("overlay2_tui")}
    for cls in classes:
        for binding in cls.__dict__.get("BINDINGS", ()):
            assert isinstance(binding, Binding), cls
            assert binding.tooltip, (cls, binding)
            assert binding.description, (cls, binding)
