# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A Snapshot as text."""

from __future__ import annotations

import json
from types import MappingProxyType

import pytest
from overlay2_tui.model import Remark, report
from overlay2_tui.model.snapshot import Failure, Snapshot
from support import scripted


def section(text, title):
    """The lines of a section."""
    (found,) = [part.splitlines() for part in text.split("\n\n") if part.startswith(title)]
    return found


def test_all_sections_are_there():
    text = report.as_text(scripted.snapshot())
    assert section(text, "Home")[0] == "Home     /var/lib/overlay2 on ship"
    assert len(section(text, "Layers")) == 2 + len(scripted.snapshot().layers)
    assert "shop-run: mounted, held by backup, shop, at /var/lib/overlay2/shop-run/merged" in text
    assert "    busy: process 4711 (python, www): working folder" in section(text, "Mounts")
    assert section(text, "Quota")[1].split() == ["shop-run", "9.0", "GiB", "of", "10.0", "GiB", "90%", "4711", "inodes"]
    assert section(text, "Problems")[0] == "Problems 1"
    assert section(text, "Problems")[1].startswith("  ! torn: its link file is empty, as after a power cut. Write")
    assert section(text, "Owners")[0].startswith("Owners   dockerd, running, records in /var/lib/docker: ")


def test_notes_are_not_problems():
    snapshot = scripted.snapshot(health=(), layers={}, remarks=(Remark("Good to know.", is_problem=False),))
    assert section(report.as_text(snapshot), "Problems") == ["Problems none", "  note: Good to know."]


def test_sizes_on_disk_are_shown_beside_the_lengths():
    disk = MappingProxyType({"web": 8 << 10, "debian-12": 130 << 20})
    lines = section(report.as_text(scripted.snapshot(disk_sizes=disk)), "Layers")
    assert lines[0].endswith("130.0 MiB on disk")
    assert [line.split()[1:5] for line in lines if " web " in line] == [["web", "0", "B", "8.0"]]


def test_columns_of_names_with_escapes_line_up():
    names = ("plain", "esc\x1b[31m", "line\nbreak")
    layers = {name: scripted.layer(name) for name in names}
    lines = section(report.as_text(scripted.snapshot(layers=layers, mounts=(), health=())), "Layers")
    assert len(lines) == 5
    assert len({line.index("?") for line in lines[2:]}) == 1
    assert any("line\\nbreak" in line for line in lines)


def test_a_failure_is_all_there_is():
    text = report.as_text(Snapshot("/x", taken=1.0, failure=Failure("/x can't be read", "Check the path")))
    assert text.splitlines()[-1] == "Failed   /x can't be read. Check the path."
    assert json.loads(report.as_json([Snapshot("/x", failure=Failure("a"))]))["failure"]["message"] == "a"


@pytest.mark.parametrize("host", ["../../etc/x", "a b", "\x1b[31m", ""])
def test_a_file_name_is_one_name(host):
    name = report.file_name(Snapshot("/x", host=host), "layers", "txt", now=0)
    assert "/" not in name
    assert name.isprintable()
    assert name.startswith("overlay2-")
    assert name.endswith("-layers-19700101-000000.txt")
