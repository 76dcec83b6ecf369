# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What docstrings and comments refer to exists: nothing else would notice a name that has moved."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = {"overlay2": ROOT / "plugins/module_utils/overlay2", "overlay2_tui": ROOT / "tui"}
ROLE = re.compile(r":(?:mod|class|func|meth|attr|data|exc|obj):`~?([\w.]+?)(?:\(\))?`")


def resolves(target, package, module, classes):
    """Whether a role's target names something: a module, or what can be reached from where it is written."""
    if target.startswith("."):
        depth = len(target) - len(target.lstrip("."))
        base = package.split(".")
        target = ".".join(base[: len(base) - depth + 1] + [target.lstrip(".")])
        return exists(target)
    holders = [module, *(getattr(module, name, None) for name in classes)]
    return exists(target) or any(reached(holder, target.split(".")) for holder in holders)


def exists(path):
    """Whether a dotted path from the top is a module or something in one."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        return reached(found, parts[end:])
    return False


def reached(value, names):
    """Whether attributes of these names follow one another."""
    for name in names:
        if name in getattr(value, "__annotations__", {}) or name in getattr(value, "__slots__", ()):
            return True
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return value is not None


@pytest.mark.parametrize("package", TREES)
def test_references_resolve(package):
    if package == "overlay2_tui":
        pytest.importorskip("textual")
    wrong = []
    for file in sorted(TREES[package].rglob("*.py")):
        parts = (package, *file.relative_to(TREES[package]).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name.endswith("__main__"):
            continue
        text = file.read_text()
        targets = ROLE.findall(text)
        if not targets:
            continue
        module = importlib.import_module(name)
        within = ".".join(parts[:-1])
        nodes = list(ast.walk(ast.parse(text)))
        classes = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
        on_objects = {
            node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }
        wrong += [
            f"{name}: {target}"
            for target in targets
            if target not in on_objects and not resolves(target, within, module, classes)
        ]
    assert not wrong, "\n".join(wrong)
