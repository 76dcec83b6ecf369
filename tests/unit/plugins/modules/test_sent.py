# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What Ansible sends along with a module: all that import statements reach, so each module carries what it uses."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
PACKAGE = "ansible_collections.strata.overlay2.plugins"
MANAGING = ["overlay2_layer", "overlay2_mount"]


def reached(path, seen):
    """Files of the collection that a file's code imports, wherever in it, and the packages that they are in."""
    if path in seen or not path.exists():
        return
    seen.add(path)
    reached((path.parent if path.name != "__init__.py" else path.parents[1]) / "__init__.py", seen)
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = path.parents[node.level - 1]
        elif (node.module or "").startswith(PACKAGE):
            base = PLUGINS
        else:
            continue
        names = (node.module or "").replace(PACKAGE, "").split(".")
        folder = base.joinpath(*filter(None, names))
        for target in [folder, *(folder / alias.name for alias in node.names)]:
            reached(target.with_suffix(".py"), seen)
            reached(target / "__init__.py", seen)


def sent(module):
    """Names of what is sent with a module (set of str), such as ``tar/unpack``."""
    seen = set()
    reached(PLUGINS / "modules" / f"{module}.py", seen)
    core = PLUGINS / "module_utils/overlay2"
    names = {str(path.relative_to(core).with_suffix("")) for path in seen if path.is_relative_to(core)}
    assert {"__init__", "mountdriver", "home/opening", "linux/libc"} <= names
    return names


@pytest.mark.parametrize("module", [*MANAGING, "overlay2_diff"])
def test_owners_and_health_stay_behind(module):
    apart = ("owners", "health", "prune", "repair", "foreign")
    assert not [name for name in sent(module) if any(word in name for word in apart)]


@pytest.mark.parametrize("module", MANAGING)
def test_what_reads_layers_out_stays_behind(module):
    apart = {"driver", "diffs", "changes", "view"}
    apart |= {f"tar/{name}" for name in ("pack", "packing", "writer", "ustar", "stream", "dirstack", "compression")}
    assert apart <= sent("overlay2_diff") | {"view"}
    assert sent(module) & apart == set()


def test_a_mount_needs_no_archives():
    names = sent("overlay2_mount")
    assert not [name for name in names if name.startswith("tar/")]
    assert names & {"basedriver", "lifecycle", "filling", "digests"} == set()
    assert {"basedriver", "tar/unpack"} <= sent("overlay2_layer")


@pytest.mark.parametrize("module", [*MANAGING, "overlay2_diff"])
def test_an_interface_is_not_sent(module):
    assert "home/reading" not in sent(module)


def test_code_for_archives_is_not_compiled_until_there_is_one():
    """It is sent with overlay2_layer, but a task without anything to unpack does not import it."""
    code = "import sys; from overlay2 import basedriver, digests; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.startswith("overlay2.tar")]
