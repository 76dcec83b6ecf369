# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The model on real homes: what it reads, what it says of what is wrong, that it changes nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
from overlay2 import Driver
from overlay2.errors import LayerDamaged, LayerNotFound
from overlay2.health import Finding
from overlay2.owners import Owner
from overlay2_tui import headless
from overlay2_tui.model import OwnerFacts, files, gathered, report
from overlay2_tui.model.checks import CheckLoop
from overlay2_tui.model.poller import Poller
from overlay2_tui.model.rows import arrange, find
from overlay2_tui.model.sizes import SizeKeeper
from overlay2_tui.model.source import HomeSource
from support import host, nobody, scripted
from support.trees import stream

NAME = os.fsdecode(b"caf\xe9")


@pytest.fixture
def driver(home):
    """A driver of a home with a chain of three, the uppermost mounted and held."""
    driver = Driver(home, ["overlay2.sync=none"])
    driver.create("base", diff=stream({"file": b"x" * 1000}))
    driver.create("middle", "base", diff=stream({"more": b"x" * 500}))
    driver.create_read_write("top", "middle")
    driver.get("top", holder="web")
    yield driver
    driver.cleanup()


def problems(source):
    """What is wrong, as text."""
    return [f"{remark.layer}: {remark.text}" for remark in source.read().problems]


def test_reads_everything(driver):
    found = headless.gather(driver.home)
    assert list(found.layers) == ["base", "middle", "top"]
    assert dict(found.sizes) == {"base": 1000, "middle": 500, "top": 0}
    (mount,) = found.mounts
    assert (mount.id, mount.mounted, dict(mount.holders)) == ("top", True, {"web": 1})
    assert mount.processes == ()
    assert found.problems == []
    assert found.space.total > 0
    assert found.health == ()
    assert found.owners.engine == "overlay2"
    assert found.owner_of("top").text == "web"
    assert found.owner_of("base").text == ""
    assert found.owner_of("base").names == ("web",)


def test_changes_nothing(driver, run_root):
    def facts():
        found = {}
        for root in (driver.home, run_root):
            for folder, _folders, names in os.walk(root):
                for path in [folder, *(os.path.join(folder, name) for name in names)]:
                    info = os.lstat(path)
                    found[path] = (info.st_ino, info.st_mode, info.st_mtime_ns, info.st_ctime_ns)
        return found

    before, mounts = facts(), host.mounts_below(driver.home)
    headless.gather(driver.home)
    assert facts() == before
    assert host.mounts_below(driver.home) == mounts


def test_processes_that_keep_a_mount_busy(driver, spawn):
    merged = os.path.join(driver.home, "top/merged")
    process = spawn(["sleep", "60"], cwd=merged)
    with open(os.path.join(merged, "held"), "w"):
        (mount,) = headless.gather(driver.home, measure=False).mounts
    found = {process.pid: process.how for process in mount.processes}
    assert found[process.pid] == "working folder"
    assert found[os.getpid()].startswith("open file")


def test_damage_is_told_in_sentences(driver):
    open(os.path.join(driver.home, "middle/link"), "w").close()
    link = driver.layer("base").link
    os.unlink(os.path.join(driver.home, "l", link))
    os.makedirs(os.path.join(driver.home, "half/diff"))
    text = "\n".join(problems(HomeSource(driver.home)))
    assert "middle: its link file is empty" in text
    assert f"top: its lower chain names l/{link}, which leads nowhere" in text
    assert "half: its link file is missing" in text


@pytest.mark.parametrize("part", ["diff", "link", "lower", "work", "committed"])
def test_a_half_removed_layer(driver, part):
    driver.put_all("top")
    path = os.path.join(driver.home, "middle", part)
    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    found = headless.gather(driver.home)
    assert found.failure is None
    assert any(remark.layer == "middle" and remark.remedy for remark in found.problems), found.problems
    assert "middle: " in report.as_text(found)
    source = HomeSource(driver.home)
    source.read()
    names = [entry.name for entry in files.list_folder(source.driver, "top", "", True).entries]
    assert ("file" in names) or part in ("diff", "lower", "link")
    if part == "diff":
        with pytest.raises(LayerDamaged, match="its diff folder is missing"):
            files.list_folder(source.driver, "middle", "", False)


#: Another process that makes, mounts and removes layers as fast as it can, until its input is closed.
BUSY = """
import select, sys
from overlay2 import Driver
driver = Driver(sys.argv[1], ["overlay2.sync=none"])
number = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    number += 1
    name = "busy-%d" % (number % 3)
    driver.create_read_write(name, "middle")
    driver.get(name, holder="job")
    print(name, flush=True)
    driver.put(name, holder="job")
    driver.remove(name)
"""


def test_a_home_that_changes_while_it_is_read(driver, spawn):
    busy = spawn([sys.executable, "-c", BUSY, driver.home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    source = HomeSource(driver.home)
    source.read()
    for _round in range(60):
        name = busy.stdout.readline().strip()
        found = headless.gather(driver.home)
        assert found.failure is None
        assert {"base", "middle", "top"} <= set(found.layers)
        report.as_text(found)
        with contextlib.suppress(LayerNotFound, LayerDamaged):  # gone, or half gone
            files.list_folder(source.driver, name, "", True)
        source.read_layers({name})
    busy.stdin.close()
    # It may be waiting for somebody to read what it says.
    while busy.stdout.readline():
        pass
    busy.stdout.close()
    assert busy.wait(60) == 0
    assert source.read().failure is None
    assert set(source.snapshot.layers) == {"base", "middle", "top"}
    assert source.snapshot.problems == []


def test_disagreements_between_kernel_and_holders(driver):
    subprocess.run(["umount", os.path.join(driver.home, "top/merged")], check=True)
    assert any("held by web, but the kernel has nothing mounted" in text for text in problems(HomeSource(driver.home)))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", os.path.join(driver.home, "top/merged")], check=True)
    assert any(
        "mount on its merged folder is not an overlay but tmpfs" in text for text in problems(HomeSource(driver.home))
    )


def test_stacked_mounts_and_foreign_mounts(driver):
    home = driver.home
    options = f"lowerdir={home}/base/diff:{home}/middle/diff"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{home}/top/merged"], check=True)
    os.mkdir(os.path.join(home, "extra"))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{home}/extra"], check=True)
    source = HomeSource(home)
    text = "\n".join(problems(source))
    assert "2 mounts are stacked" in text
    assert "Mounted read-only, though it was created for writing" in text
    assert any(
        "does not belong to a layer" in remark.text for mount in source.snapshot.mounts for remark in mount.remarks
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.rmdir, "does not exist"),
        (lambda home: None, "is not an overlay2 home: it holds no layers, and the folder l/ is missing"),
        (
            lambda home: os.makedirs(os.path.join(home, "overlay2/l")),
            "is not an overlay2 home, but its folder overlay2/ is",
        ),
        (lambda home: (os.rmdir(home), open(home, "w").close()), "is not a folder"),
    ],
)
def test_what_is_no_home(home, make, words):
    make(home)
    found = headless.gather(home)
    assert words in found.failure.message
    assert found.failure.remedy


@pytest.mark.root
def test_no_permission_says_what_to_run(driver):
    os.chmod(driver.home, 0o700)
    failure = nobody.call(lambda: str(headless.gather(driver.home).failure))
    assert failure == f"This user may not read {driver.home}. Run the program as root: sudo overlay2-tui {driver.home}."


@pytest.fixture
def open_to_all(driver):
    """The driver's home, readable by everybody; the records of who holds what stay root's, as they are made."""
    driver.create_read_write("cut", "base", diff=stream({"dir/": None, "dir/.wh..wh..opq": b""}))
    for folder in (driver.home, *(os.path.join(driver.home, name) for name in os.listdir(driver.home))):
        os.chmod(folder, 0o755)
    return driver.home


@pytest.mark.root
def test_without_root_what_cannot_be_seen_is_unknown_not_absent(open_to_all):
    found = nobody.call(lambda: report.as_data(headless.gather(open_to_all)))
    (mount,) = found["mounts"]
    assert not found["privileged"]
    assert (mount["mounted"], mount["holders"], mount["ref_count"]) == (True, None, None)
    assert [(one["text"], one["severity"]) for one in mount["remarks"]] == [
        ("Only root may read who holds it.", "note")
    ]
    assert found["status"]["Native Overlay Diff"] == found["status"]["Mount API (lowerdir+)"] == "unknown"
    assert any("missing without root: opaque folders" in remark["text"] for remark in found["remarks"])
    assert headless.gather(open_to_all).privileged


@pytest.mark.root
def test_without_root_a_listing_says_that_opaque_folders_are_missed(open_to_all):
    def listing():
        source = HomeSource(open_to_all)
        source.read()
        found = files.list_folder(source.driver, "cut", "", False)
        return found.entries[0].opaque, found.problems

    assert listing() == (True, ())
    opaque, problems = nobody.call(listing)
    assert not opaque
    assert "Without root, opaque folders can't be told from others" in problems[0]


@pytest.mark.root
def test_without_root_what_may_not_be_read_says_so(open_to_all):
    os.chmod(os.path.join(open_to_all, "base/diff"), 0o700)
    sizes, size_errors = nobody.call(lambda: (dict((s := headless.gather(open_to_all)).sizes), dict(s.size_errors)))
    assert "base" not in sizes
    assert "ermission denied" in size_errors["base"]
    assert "middle" in sizes


def test_an_empty_home_is_a_home(home):
    Driver(home)
    found = headless.gather(home)
    assert found.failure is None
    assert len(found.layers) == 0
    assert "none" in report.as_text(found)


def test_names_that_are_no_utf_8(driver):
    driver.create(NAME, "base")
    found = headless.gather(driver.home)
    assert NAME in found.layers
    report.as_text(found).encode("utf-8")
    assert NAME in {layer["id"] for layer in json.loads(report.as_json([found]))["layers"]}


def test_a_chain_of_128(home):
    driver = Driver(home, ["overlay2.sync=none"])
    parent = ""
    for number in range(129):
        driver.create(f"n{number:03}", parent)
        parent = f"n{number:03}"
    found = headless.gather(home)
    rows = arrange(found)
    assert [row.id for row in rows] == sorted(found.layers)
    assert max(len(row.guide) for row in rows) <= 24
    assert found.layers[parent].layer.depth == 128


# Files, fleets, pipes


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


def run(*arguments, **more):
    """The program, in a pipe."""
    command = [sys.executable, "-m", "overlay2_tui", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **more)


def test_exit_codes(driver, real_tmp):
    assert run("--help").returncode == 0
    assert "overlay2-tui" in run("--version").stdout
    assert run("--nonsense").returncode == 2
    assert run(driver.home, "--snapshot", "x").returncode == 2
    assert run("--check", driver.home).returncode == 2
    done = run("--print", "--check", driver.home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "top: mounted, held by web" in done.stdout
    done = run("--json", str(real_tmp / "none"))
    assert done.returncode == 3
    assert "does not exist" in done.stderr
    assert json.loads(done.stdout)["exists"] is False
    assert run(driver.home).returncode == 4
    os.unlink(os.path.join(driver.home, "middle/link"))
    assert run("--print", driver.home).returncode == 0
    assert run("--print", "--check", driver.home).returncode == 1


def test_a_reader_that_leaves_early_is_no_error(driver):
    command = f"{sys.executable} -m overlay2_tui --print {driver.home} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n0\n")
    assert done.stderr == ""


def test_ascii_terminals(driver):
    done = run("--print", driver.home, env=dict(os.environ, PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0"))
    assert done.returncode == 0
    assert done.stderr == ""


# Rows


def test_runs_stay_in_their_column_and_branches_indent():
    rows = [(row.guide, row.id) for row in arrange(scripted.snapshot())]
    assert rows == [
        ("", "debian-12"), ("├─ ", "shop-4.2"), ("│  ├─ ", "shop-4.3"), ("│  │  ↳ ", "shop-run"), ("│  └─ ", "shop-test"),
        ("├─ ", "torn"), ("└─ ", "web"),
    ]  # fmt: skip


def test_orders_folds_and_filters():
    snapshot = scripted.snapshot()
    assert [row.id for row in arrange(snapshot, "size")][:2] == ["shop-run", "debian-12"]
    assert arrange(snapshot, "depth")[0].id == "shop-run"
    assert arrange(snapshot, "age")[-1].id == "debian-12"
    assert [row.id for row in arrange(snapshot, folded={"debian-12"})] == ["debian-12"]
    assert find(snapshot, "shop rw") == {"shop-run", "shop-test"}
    assert find(snapshot, "backup") == {"shop-run"}
    assert find(snapshot, "mounted") == {"shop-run", "web"}
    assert find(snapshot, "broken") == {"torn"}
    assert find(snapshot, "nothing") == set()
    assert find(snapshot, "404040") == {"debian-12"}  # its diff ID
    assert find(snapshot, "40") == set()


def owner(kind, *names, state="", direct=True):
    """An Owner with these names."""
    return Owner(kind, "sha256:0123456789abcdef", names, state, direct)


def test_unowned_first():
    snapshot = scripted.snapshot()
    assert [row.id for row in arrange(snapshot, "owner")][:2] == ["shop-test", "torn"]
    assert find(snapshot, "unowned") == {"shop-test"}
    assert find(snapshot, "registry") == {"debian-12"}


@pytest.mark.parametrize(
    ("owner", "text"),
    [
        (
            OwnerFacts("container", (owner("container", "web", state="running"), owner("image", "db"))),
            "web, db (running)",
        ),
        (
            OwnerFacts("image", (owner("image", "shop:4", direct=False), owner("image", "shop:5", direct=False))),
            "under shop:4, shop:5",
        ),
        (OwnerFacts("image", (owner("image", "a:1", "a:2", "a:3"),)), "a:1, a:2 +1"),
        (OwnerFacts("image", (owner("image"),)), "0123456789ab"),
        (OwnerFacts("image", (owner("image"), owner("image", "a:1", direct=False))), "under a:1"),
        (OwnerFacts("image"), "image"),
        (OwnerFacts("container", (owner("container", "web", direct=False), owner("image", "base:1"))), "base:1"),
        (OwnerFacts("layer", (owner("layer", "web", direct=False),)), ""),
        (OwnerFacts("layer", (owner("layer", "web"),)), "web"),
        (OwnerFacts("unowned"), "unowned"),
        (OwnerFacts("unknown"), "owner unknown"),
        (OwnerFacts("container", (owner("container", "\x1b[31m", state="dead"),)), "\\x1b[31m (dead)"),
    ],
)
def test_an_owner_in_a_few_words(owner, text):
    assert owner.text == text


def test_the_check_has_the_word_on_layers_that_it_found_wrong():
    finding = Finding("link-empty", "torn", "/x/torn/link", "its link file is empty", "Write the name into it")
    note = Finding("digest-unverifiable", "web", "/x/web", "no tar-split record", "")
    snapshot = scripted.snapshot(health=(finding, note))
    assert [(one.layer, one.remedy) for one in snapshot.problems] == [("torn", "Write the name into it")]
    layers = {**snapshot.layers, "new": scripted.layer("new", problems=("its link file is missing",))}
    assert [one.layer for one in scripted.snapshot(health=(finding,), layers=layers).problems] == ["torn", "new"]


def test_an_examiner_asks_when_something_changed_and_ends():
    looks = []
    loop = CheckLoop(lambda: looks.append(1))
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        wait(looks, lambda _last: len(looks) == 1)
        loop.ask()
        wait(looks, lambda _last: len(looks) == 2)
    finally:
        loop.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_a_loop_of_parents_ends():
    layers = {"a": scripted.layer("a", ["b"]), "b": scripted.layer("b", ["a"])}
    assert [row.id for row in arrange(scripted.snapshot(layers=layers))] == ["a", "b"]


# Sizes


def test_sizes_are_kept_and_taken_again_when_they_changed():
    taken, told = [], []

    def measure(id, progress):
        taken.append(id)
        return len(taken)

    keeper = SizeKeeper(measure, lambda sizes, size_errors: told.append((sizes, size_errors)))
    keeper.follow({"a": False, "b": False})
    assert keeper.measure_all()[0].keys() == {"a", "b"}
    keeper.follow({"a": False, "b": False, "c": False})
    keeper.measure_all()
    assert sorted(taken) == ["a", "b", "c"]
    keeper.forget(["b"])
    keeper.measure_all()
    assert taken[-1] == "b"
    keeper.follow({"a": False})
    assert keeper.measure_all()[0].keys() == {"a"}


def test_a_layer_that_was_mounted_for_writing_is_measured_once_more_when_it_is_not():
    taken = []
    keeper = SizeKeeper(lambda id, progress: taken.append(id) or 1, lambda *_: None)
    keeper.follow({"a": True})
    keeper.measure_all()
    keeper.follow({"a": False})
    keeper.measure_all()
    assert taken == ["a", "a"]


def test_what_cannot_be_measured_says_why():
    def measure(id, progress):
        raise OSError(5, "Input/output error")

    keeper = SizeKeeper(measure, lambda *_: None)
    keeper.follow({"a": False})
    assert keeper.measure_all() == ({}, {"a": "[Errno 5] Input/output error"})


# Following


@pytest.fixture
def follow(driver):
    """A poller on the driver's home, running; its Snapshots come to a list."""
    seen = []
    poller = Poller(HomeSource(driver.home), seen.append)
    threads = [threading.Thread(target=run) for run in (poller.run, poller.run_sizes, poller.run_checks)]
    for thread in threads:
        thread.start()
    yield poller, seen
    poller.stop()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def wait(seen, condition, seconds=10.0):
    """Wait for a Snapshot; how long it took (seconds)."""
    started = time.monotonic()
    while not (seen and condition(seen[-1])):
        assert time.monotonic() - started < seconds, "it did not come to pass"
        time.sleep(0.02)
    return time.monotonic() - started


def test_follows_layers_mounts_and_holders(driver, follow, report):
    _poller, seen = follow
    wait(seen, lambda s: s.sized == 3)
    taken = {}
    driver.create_read_write("new", "middle")
    taken["a layer"] = wait(seen, lambda s: "new" in s.layers and s.layers["new"].layer.parent == "middle")
    driver.get("new", holder="web")
    taken["a mount"] = wait(
        seen, lambda s: (m := s.mount_of("new")) is not None and m.mounted and dict(m.holders) == {"web": 1}
    )
    driver.get("new", holder="more")
    taken["a holder"] = wait(seen, lambda s: (m := s.mount_of("new")) is not None and len(m.holders) == 2)
    driver.put_all("new")
    taken["an unmount"] = wait(seen, lambda s: s.mount_of("new") is None)
    driver.remove("new")
    taken["a removal"] = wait(seen, lambda s: "new" not in s.layers)
    os.unlink(os.path.join(driver.home, "base/link"))
    taken["damage"] = wait(seen, lambda s: s.layers["base"].layer.problems)
    report("overlay2-tui shows " + ", ".join(f"{what} after {seconds:.2f} s" for what, seconds in taken.items()))


def test_owners_and_findings_follow(driver, follow):
    _poller, seen = follow
    wait(seen, lambda s: s.owners is not None and s.health == (), 30)
    driver.create_read_write("new", "middle")
    driver.get("new", holder="job")
    open(os.path.join(driver.home, "middle/link"), "w").close()
    wait(seen, lambda s: (owner := s.owner_of("new")) is not None and owner.text == "job" and s.health, 60)
    assert [finding.code for finding in seen[-1].health if finding.layer == "middle"] == ["link-empty"]
    driver.put_all("new")


def test_rests_when_paused_and_catches_up(driver, follow):
    poller, seen = follow
    wait(seen, lambda s: s.sized == 3)
    poller.pause(True)
    time.sleep(0.3)
    count = len(seen)
    driver.create("new", "base")
    time.sleep(1.0)
    assert len(seen) == count
    poller.pause(False)
    wait(seen, lambda s: "new" in s.layers)


def test_a_home_that_comes_later_is_found(home):
    seen = []
    os.rmdir(home)
    poller = Poller(HomeSource(home), seen.append)
    thread = threading.Thread(target=poller.run)
    thread.start()
    try:
        wait(seen, lambda s: s.failure is not None)
        Driver(home).create("base")
        wait(seen, lambda s: "base" in s.layers)
    finally:
        poller.stop()
        thread.join(10)


def test_a_home_that_goes_is_told(driver, follow):
    _poller, seen = follow
    wait(seen, lambda s: s.sized == 3)
    driver.cleanup()
    os.rename(driver.home, driver.home + ".gone")
    wait(seen, lambda s: s.failure is not None)
    os.rename(driver.home + ".gone", driver.home)
    wait(seen, lambda s: s.failure is None and "top" in s.layers)
