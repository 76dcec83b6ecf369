# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Run roots of transient stores: found wherever an engine names them; where none is found, nothing is garbage."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from overlay2 import Driver, owners, prune
from overlay2.owners import storage_conf
from support import boltfile, engines

CONTAINER = engines.digest("transient container")


def reading(made):
    return Driver(made.home, read_only=True, probe=False)


def answer(made, layer="lost"):
    return owners.resolve(reading(made)).layers[made.ids[layer]]


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch, real_tmp):
    for name in ("CONTAINERS_STORAGE_CONF", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run_root(real_tmp):
    return str(real_tmp / "run root")


@pytest.fixture
def made(real_tmp, run_root):
    """A store of which one container is on record in its run root alone."""
    made = engines.containers_storage(str(real_tmp))
    layers = [{"id": made.ids["lost"], "parent": made.ids["base"], "created": "2026-01-02T03:04:05Z"}]
    containers = [{"id": CONTAINER, "names": ["short"], "layer": made.ids["lost"], "metadata": "{}"}]
    for what, records in (("layers", layers), ("containers", containers)):
        folder = os.path.join(run_root, "overlay-" + what)
        os.makedirs(folder)
        with open(os.path.join(folder, "volatile-%s.json" % what), "w") as target:
            json.dump(records, target)
    os.makedirs(made.beside("overlay-containers", CONTAINER, "userdata"))  # as each engine makes it
    os.utime(made.path("lost", "link"), (1e9, 1e9))
    return made


def sqlite(path, graph_root, run_root):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE DBConfig(ID INTEGER PRIMARY KEY NOT NULL, GraphRoot TEXT NOT NULL, RunRoot TEXT)")
    database.execute("INSERT INTO DBConfig VALUES (1, ?, ?)", (graph_root, run_root))
    database.commit()
    database.close()


def bolt(path, graph_root, run_root):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    values = {b"graph-root": os.fsencode(graph_root), b"run-root": os.fsencode(run_root), b"os": b"linux"}
    boltfile.write(path, {b"runtime-config": values, b"ctr": {}}, inline_below=1024)


def by_database(make, *name):
    return lambda made, run_root, _monkeypatch: make(made.beside(*name), made.root, run_root)


def by_configuration(made, run_root, monkeypatch):
    path = made.beside("storage.conf")
    with open(path, "w") as target:
        target.write(f"[storage]\n  graphroot = '{made.root}'\n  runroot = \"{run_root}\"\n")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", path)


def by_a_users_configuration(made, run_root, monkeypatch):
    folder = made.beside("config", "containers")
    os.makedirs(folder)
    with open(os.path.join(folder, "storage.conf"), "w") as target:
        target.write(f'[storage]\nrunroot = "{run_root}"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", made.beside("config"))


def by_a_runtime_folder(made, run_root, monkeypatch):
    os.rename(run_root, os.path.join(os.path.dirname(run_root), "containers"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.path.dirname(run_root))


WAYS = {
    "db.sql": by_database(sqlite, "db.sql"),
    "libpod/db.sql": by_database(sqlite, "libpod", "db.sql"),
    "libpod/bolt_state.db": by_database(bolt, "libpod", "bolt_state.db"),
    "CONTAINERS_STORAGE_CONF": by_configuration,
    "XDG_CONFIG_HOME": by_a_users_configuration,
    "XDG_RUNTIME_DIR": by_a_runtime_folder,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_root_that_is_named(made, run_root, monkeypatch, way):
    WAYS[way](made, run_root, monkeypatch)
    found = answer(made)
    assert (found.kind, found.names) == ("container", ("short",))
    assert not prune.plan(reading(made)).candidates


@pytest.mark.parametrize(
    "arguments",
    [
        ["podman", "--runroot", "RUN", "ps"],
        ["podman", "--runroot=RUN", "ps"],
        ["conmon", "--exit-command-arg", "--runroot", "--exit-command-arg", "RUN"],
        ["conmon", "-p", "RUN/overlay-containers/%s/userdata/pidfile" % CONTAINER],
    ],
)
def test_a_run_root_that_a_running_engine_was_started_with(made, run_root, spawn, real_tmp, arguments):
    arguments = [each.replace("RUN", run_root) for each in arguments]
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    os.symlink(os.path.realpath(sys.executable), real_tmp / arguments[0])
    command = [str(real_tmp / arguments[0]), "-c", code, *arguments[1:]]
    process = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    assert answer(made).kind == "container"
    process.communicate("")
    assert answer(made).kind == "unknown"


def test_a_container_that_no_record_names_makes_nothing_garbage(made):
    """The run root is not known to anybody. Each engine has a folder for the container in the graph root."""
    found = answer(made)
    assert (found.kind, found.certainty) == ("unknown", "none")
    assert CONTAINER in found.reason
    assert answer(made, "orphan").kind == "unknown"  # the container may stand on it
    planned = prune.plan(reading(made))
    assert (planned.candidates, planned.kept) == ((), ())


def test_a_store_without_the_lock_of_its_containers_is_a_transient_one(made):
    shutil.rmtree(made.beside("overlay-containers", CONTAINER))
    assert answer(made).kind == "unowned"
    os.unlink(made.beside("overlay-containers", "containers.lock"))
    assert answer(made).kind == "unknown"


def test_the_database_of_a_transient_store_is_in_its_run_root(made, run_root, monkeypatch):
    """So the run root is known to be this store's, and the lock is there."""
    os.unlink(made.beside("overlay-containers", "containers.lock"))
    by_a_users_configuration(made, run_root, monkeypatch)
    with open(os.path.join(run_root, "overlay-containers", "containers.lock"), "w"):
        pass
    shutil.rmtree(made.path("orphan"))
    containers = os.path.join(run_root, "overlay-containers", "volatile-containers.json")
    with open(containers, "w") as target:
        json.dump([], target)
    with open(os.path.join(run_root, "overlay-layers", "volatile-layers.json"), "w") as target:
        json.dump([], target)
    shutil.rmtree(made.beside("overlay-containers", CONTAINER))
    assert answer(made).kind == "unknown"
    sqlite(os.path.join(run_root, "db.sql"), made.root, run_root)
    assert (answer(made).kind, answer(made).certainty) == ("unowned", "certain")


@pytest.mark.parametrize("name", ["db.sql", "libpod/bolt_state.db"])
@pytest.mark.parametrize("content", [b"", b"\0" * 8192, b"SQLite format 3\0" + b"x" * 8176, None])
def test_a_database_that_can_not_be_read_makes_nothing_garbage(real_tmp, name, content):
    made = engines.containers_storage(str(real_tmp))
    path = made.beside(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if content is None:
        os.mkfifo(path)
    else:
        with open(path, "wb") as target:
            target.write(content)
    if (name, content) == ("db.sql", b""):  # an empty file is an empty database
        assert answer(made).kind == "unowned"
        return
    report = owners.resolve(reading(made))
    assert {report.layers[made.ids[name]].kind for name in ("lost", "orphan")} == {"unknown"}
    assert [problem.path for problem in report.problems] == [path]


def test_a_database_that_would_compute_without_end(real_tmp):
    made = engines.containers_storage(str(real_tmp))
    path = made.beside("db.sql")
    database = sqlite3.connect(path)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    database.execute(f"CREATE VIEW DBConfig AS SELECT max(x) AS GraphRoot, max(x) AS RunRoot FROM ({endless})")
    database.commit()
    database.close()
    assert answer(made).kind == "unowned"  # not a table, so not Podman's


def test_a_run_root_of_another_store_names_nothing_here(made, run_root, monkeypatch):
    WAYS["db.sql"](made, run_root, monkeypatch)
    path = os.path.join(run_root, "overlay-containers", "volatile-containers.json")
    with open(path) as source:
        records = json.load(source)
    records.append({"id": engines.digest("other"), "layer": engines.digest("other layer"), "names": ["other"]})
    records.append({"id": engines.digest("odd"), "layer": "../..", "names": ["odd"]})
    with open(path, "w") as target:
        json.dump(records, target)
    assert owners.resolve(reading(made)).missing == {}


def test_a_run_root_that_can_not_be_read_makes_nothing_garbage(made, run_root, monkeypatch):
    WAYS["db.sql"](made, run_root, monkeypatch)
    shutil.rmtree(made.beside("overlay-containers", CONTAINER))
    path = os.path.join(run_root, "overlay-layers", "volatile-layers.json")
    for spoil in (lambda: open(path, "w").close(), lambda: (os.unlink(path), os.mkfifo(path))):
        spoil()
        assert answer(made).kind in ("container", "unknown")
        assert answer(made, "orphan").kind == "unknown"


def test_stores_that_layers_may_stand_on(real_tmp, monkeypatch):
    path = real_tmp / "storage.conf"
    path.write_text(
        '[storage]\nimagestore = "/images"\n[storage.options]\nadditionalimagestores = [\n "/one", \'/two\',\n]\n'
    )
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(path))
    assert set(storage_conf.other_stores("/none")) >= {"/images", "/one", "/two"}
