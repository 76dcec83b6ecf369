# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Snapshots from files: damaged, hostile, older and newer ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from overlay2_tui import headless
from overlay2_tui.model import gathered, report
from support import scripted

#: Sets the title, writes to the clipboard, reorders text, breaks the line.
HOSTILE = "\x1b]2;title\x07\x1b]52;c;eA==\x07\x9b31m\u202e\x7f\r\nProblems none"


@pytest.fixture
def data():
    """A scripted Snapshot as plain data, to be changed and loaded."""
    return json.loads(report.as_json([scripted.snapshot()]))


@pytest.fixture
def load(real_tmp):
    """A function: load(data) writes it to a file and loads that."""

    def load(data):
        (real_tmp / "ship.json").write_text(json.dumps(data))
        return gathered.load(str(real_tmp / "ship.json"))

    return load


def test_a_snapshot_stays_the_same(data, load):
    (found,) = load(data)
    assert report.as_data(found) == data
    original = scripted.snapshot()
    assert found.problems == original.problems
    assert [mount.remarks for mount in found.mounts] == [mount.remarks for mount in original.mounts]
    assert dict(found.owners.layers) == dict(original.owners.layers)


def test_what_a_newer_version_adds_is_ignored(data, load):
    for part in (data, data["space"], data["layers"][0], data["mounts"][0], data["health"][0], data["owners"]):
        part["brand-new"] = {"since": 1}
    data["health"].append(dict(data["health"][0], code="brand-new-code", severity="brand-new"))
    data["owners"]["layers"][0]["kind"] = "brand-new"
    data["remarks"] = [{"text": "x", "severity": "note", "brand-new": 1}]
    (found,) = load(data)
    assert found.failure is None
    assert "brand-new-code" in {problem.code for problem in found.problems}
    assert [note.text for note in found.notes] == ["x"]
    report.as_text(found)


def test_remarks_without_a_severity_are_notes(data, load):
    data["mounts"][0]["remarks"] = ["Mounted, and no holder is on record."]
    data["health"] = []
    (found,) = load(data)
    assert [remark.is_problem for remark in found.mounts[0].remarks] == [False]


DAMAGE = {
    "layers[0].size is not a whole number": lambda data: data["layers"][0].update(size="12"),
    "layers[1].made is not a number": lambda data: data["layers"][1].update(made="2026-01-01"),
    "layers[1].made is out of range": lambda data: data["layers"][1].update(made=float("inf")),
    "layers[0].size is out of range": lambda data: data["layers"][0].update(size=10**400),
    "layers[2].lowers[0] is not text": lambda data: data["layers"][2].update(lowers=[None]),
    "layers[0].id is missing": lambda data: data["layers"][0].pop("id"),
    "layers is not a list": lambda data: data.update(layers=5),
    "home is not text": lambda data: data.update(home=5),
    "space.total is missing": lambda data: data["space"].update(total=None),
    "status is not text": lambda data: data["status"].update(Kernel=6),
    "mounts[0].mounted is not a boolean": lambda data: data["mounts"][0].update(mounted="yes"),
    "mounts[0].holders is not a whole number": lambda data: data["mounts"][0].update(holders={"web": True}),
    "mounts[0].processes[0] is not an object": lambda data: data["mounts"][0].update(processes=[1]),
    "owners.layers[0].owners[0].kind is not text": lambda data: data["owners"]["layers"][0]["owners"][0].update(kind=1),
    "health[0].evidence is missing": lambda data: data["health"][0].pop("evidence"),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_damage_is_named(data, load, words):
    DAMAGE[words](data)
    (found,) = load(data)
    assert found.failure.message.endswith(f"is damaged, or not a result of overlay2_info: {words}")
    assert found.failure.remedy


def test_names_that_cannot_be_file_names(data, load):
    data["layers"][0]["id"] = "\ud800"
    data["layers"][0]["made"] = 1e18
    (found,) = load(data)
    assert "\\ud800" in report.as_text(found)
    report.as_text(found).encode()


def hostile(data, name=""):
    """The data with an attack in every text, the host's name and labels included."""
    if isinstance(data, dict):
        kept = ("id", "parent", "severity")
        return {
            (key + HOSTILE if name in ("status", "holders") else key): value if key in kept else hostile(value, key)
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [hostile(value, name) for value in data]
    return data + HOSTILE if isinstance(data, str) else data


def test_no_text_of_a_snapshot_reaches_the_terminal_raw(data, load, real_tmp):
    data["remarks"] = [{"text": "a remark", "severity": "note"}]
    data["layers"][0]["id"] += HOSTILE
    data = hostile(data)
    (found,) = load(data)
    assert found.failure is None
    shown = report.as_text(found)
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert not any(line.startswith("Problems none") for line in shown.splitlines())
    assert "\\x1b]2;title" in shown
    for snapshot in load({"host" + HOSTILE: dict(data, home=5)}):
        assert all(character.isprintable() or character == "\n" for character in report.as_text(snapshot))
    for form in ("--print", "--json"):
        command = [sys.executable, "-m", "overlay2_tui", form, "--snapshot", str(real_tmp / "ship.json")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert all(character.isprintable() or character == "\n" for character in done.stdout + done.stderr)


def test_text_that_is_only_displayed_is_clean_in_the_model(data, load):
    """So that no screen can show it raw. Ids and paths stay as they are, as things are looked up by them."""
    (found,) = load(hostile(data))
    texts = [found.host, *(text for line in found.features for text in line), found.owners.engine]
    for mount in found.mounts:
        texts += [*mount.holders, *(remark.text for remark in mount.remarks), *(facts[-1] for facts in mount.elsewhere)]
        texts += [text for process in mount.processes or () for text in (process.name, process.user, process.how)]
    for owner in found.owners.layers.values():
        texts += [owner.kind, owner.text, owner.reason, *owner.evidence, *owner.names, *owner.needed_by]
    for problem in found.problems:
        texts += [problem.text, problem.remedy, problem.code]
    assert [text for text in texts if not text.isprintable()] == []


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self", "/nowhere/\x1b[31m"])
def test_what_is_not_a_file_is_a_sentence(path):
    (found,) = gathered.load(path)
    assert found.failure.remedy
    assert str(found.failure).isprintable()
    assert found.host.isprintable()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000, "\x00", "NaN"])
def test_json_that_is_not_a_snapshot(real_tmp, content):
    (real_tmp / "bad.json").write_text(content)
    (found,) = gathered.load(str(real_tmp / "bad.json"))
    assert found.failure is not None


def test_json_round_trip(driver, real_tmp):
    open(os.path.join(driver.home, "middle/link"), "w").close()
    found = headless.gather(driver.home)
    file = real_tmp / "ship.json"
    file.write_text(report.as_json([found]))
    (again,) = gathered.load(str(file))
    assert again.gathered
    assert list(again.layers) == list(found.layers)
    assert dict(again.sizes) == dict(found.sizes)
    assert again.mounts[0].holders == found.mounts[0].holders
    assert again.status == found.status
    assert again.health == found.health
    assert again.owners == found.owners
    assert [mount.remarks for mount in again.mounts] == [mount.remarks for mount in found.mounts]
    assert (again.problems, again.notes) == (found.problems, found.notes)


@pytest.mark.parametrize(
    "wrap", [lambda r: r, lambda r: {"ship": r}, lambda r: {"plays": [{"tasks": [{"hosts": {"ship": r}}]}]}]
)
def test_results_of_the_module_are_found_wherever_they_are(real_tmp, wrap):
    result = {
        "changed": False, "exists": True, "status": {"Backing Filesystem": "xfs"},
        "layers": [{"id": "a", "parent": "", "depth": 0, "lowers": [], "upper_dir": "/h/a/diff", "link": "X", "committed": False,
                    "read_write": None, "diff_id": None, "quota": None, "problems": []}],
        "mounts": [{"id": "a", "path": "/h/a/diff", "mounted": False, "ref_count": 1, "holders": {"w": 1}}],
        "owners": {
            "engine": "dockerd", "root": "/var/lib/docker", "running": True, "counts": {"image": 1}, "problems": [],
            "layers": [{"id": "a", "kind": "image", "names": ["shop:4.2"], "state": "tagged", "certainty": "certain", "reason": "it is",
                        "evidence": ["/x: y"], "owners": [{"kind": "image", "id": "sha256:7d", "names": ["shop:4.2"], "state": "tagged", "direct": True}]}],
        },
        "health": [{"code": "link-empty", "severity": "error", "layer": "a", "path": "/h/a/link", "evidence": "it is empty",
                    "remedy": "Write it", "repairable": True}],
    }  # fmt: skip
    (real_tmp / "ship.json").write_text(json.dumps(wrap(result)))
    (found,) = gathered.load(str(real_tmp / "ship.json"))
    assert (found.host, found.home, list(found.layers), found.failure) == ("ship", "/h", ["a"], None)
    assert found.mounts[0].references == 1
    assert found.owner_of("a").text == "shop:4.2"
    assert [remark.remedy for remark in found.problems] == ["Write it"]
    again = report.as_data(found)
    assert set(again["owners"]) == set(result["owners"])
    assert json.loads(json.dumps(again["owners"]["layers"])) == result["owners"]["layers"]
    assert set(again["health"][0]) == set(result["health"][0])


@pytest.mark.parametrize(
    "content", ["", "no json", "[]", '{"exists": true, "layers": 5}', '{"exists": true, "layers": [{}]}']
)
def test_files_that_are_no_snapshot(real_tmp, content):
    (real_tmp / "bad.json").write_text(content)
    (found,) = gathered.load(str(real_tmp / "bad.json"))
    assert found.failure is not None
    assert gathered.load(str(real_tmp / "none.json"))[0].failure is not None
