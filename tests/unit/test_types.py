# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What a type checker sees of the package, though the package imports nothing by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import overlay2
import pytest

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("mypy")


def checked(folder, code):
    """mypy's messages about a program that uses the package (list of str)."""
    (folder / "consumer.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary"]
    done = subprocess.run(
        [*command, "--cache-dir", str(folder / "cache"), str(folder / "consumer.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.partition("consumer.py:")[2] for line in done.stdout.splitlines() if "consumer.py:" in line]


def test_the_driver_is_a_class_and_not_any(tmp_path):
    code = 'from overlay2 import Driver\nreveal_type(Driver)\nreveal_type(Driver("/home").changes("a"))\nDriver(1)\n'
    driver, changes, *wrong = checked(tmp_path, code)
    assert driver.endswith('-> overlay2.driver.Driver"')
    assert "list[" in changes
    assert any('incompatible type "int"; expected "str"' in line for line in wrong)


def test_every_public_name_has_a_type(tmp_path):
    names = overlay2.__all__
    revealed = checked(tmp_path, "import overlay2\n" + "".join(f"reveal_type(overlay2.{name})\n" for name in names))
    assert len(revealed) == len(names)
    assert not [line for line in revealed if '"Any"' in line or ": error:" in line]


def test_the_reader_of_graph_drivers_homes_is_a_layer_reader(tmp_path):
    code = "from overlay2.home.reading import LayerReader\nfrom overlay2.home.store import GraphDriverStore\n"
    assert checked(tmp_path, code + 'reader: LayerReader = GraphDriverStore("/home")\n') == []
