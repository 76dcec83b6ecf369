# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Rows about Ansible and start-up: plays, the payload of the modules, imports."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from contenders import OURS, Failed, Sample
from material import Shape
from peers import environment
from row import Goal, Row

REPOSITORY = Path(__file__).resolve().parents[2]
COLLECTIONS = REPOSITORY / ".collections"
SMALL = Shape(20, 1 << 10, 2)
LAYERS = [f"layer-{number}" for number in range(20)]
PINGS = "pings and the driver's time"
IMPORTS = 20
ZIP_DATA = re.compile(r"""zip_data=(['"])(.*?)\1|^ZIPDATA = (?:\"{3})(.*?)(?:\"{3})""", re.DOTALL | re.MULTILINE)


# A play


@contextlib.contextmanager
def played(bench):
    """A play of 20 tasks that each make and fill a layer, and the same play of 20 pings."""
    archive = bench.archive(SMALL)
    with bench.place() as place:

        def layers(meter):
            home = tempfile.mkdtemp(dir=place)
            tasks = [
                {"strata.overlay2.overlay2_layer": {"home": home, "id": layer, "parent": parent, "src": archive}}
                for parent, layer in zip(["", *LAYERS], LAYERS)
            ]
            return _play(place, tasks, meter)

        def pings_and_driver(meter):
            home = tempfile.mkdtemp(dir=place)
            with bench.worker(OURS, home) as worker:
                own = meter.worker(worker, "provision", layers=LAYERS, home=home, file=archive)
            pings = _play(place, [{"ansible.builtin.ping": {}} for _layer in LAYERS], meter)
            return pings._replace(seconds=own.seconds + pings.seconds)

        yield {OURS: layers, PINGS: pings_and_driver}


def _play(folder, tasks, meter):
    playbook = os.path.join(folder, "play.json")
    with open(playbook, "w") as file:
        json.dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}], file)
    with _ansible_environment():
        return meter.program([_beside_python("ansible-playbook"), playbook], cwd=REPOSITORY)


@contextlib.contextmanager
def _ansible_environment(**more):
    """What variables tell Python here does not hold on a target: PYTHONUNBUFFERED, for one, makes it read a module that
    comes by a pipe byte by byte."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("PYTHON")]:
        del os.environ[name]
    os.environ.update(ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS), ANSIBLE_PYTHON_INTERPRETER=sys.executable, **more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _beside_python(program):
    path = Path(sys.executable).with_name(program)
    if not path.exists():
        raise Failed(f"{program} is not installed beside {sys.executable}")
    return str(path)


# What is sent


@contextlib.contextmanager
def sent(bench):
    """The zip that Ansible sends for overlay2_layer: the size of this collection's part and of Ansible's own."""
    with bench.place() as place:

        def payload(ours, _meter):
            folder = tempfile.mkdtemp(dir=place)
            with _ansible_environment(ANSIBLE_KEEP_REMOTE_FILES="1", ANSIBLE_REMOTE_TMP=folder):
                subprocess.run(
                    [_beside_python("ansible"), "localhost", "--check", "--module-name",
                     "strata.overlay2.overlay2_layer", "--args", f"id=layer home={folder}/home"],
                    check=True, cwd=REPOSITORY, capture_output=True, env=environment(),
                )  # fmt: skip
            (sent,) = Path(folder).glob("*/AnsiballZ_overlay2_layer.py")
            return Sample(0, size=sum(
                entry.compress_size for entry in _zip(sent.read_text()).infolist()
                if entry.filename.startswith("ansible_collections/") == ours
            ))  # fmt: skip

        yield {OURS: functools.partial(payload, True), "Ansible's own part": functools.partial(payload, False)}


def _zip(text):
    """The archive in the text of an AnsiballZ file, as ansible-core 2.19 and those before it have it."""
    found = ZIP_DATA.search(text)
    return zipfile.ZipFile(io.BytesIO(base64.b64decode(found[2] or found[3])))


# Imports


@contextlib.contextmanager
def imported(bench):
    """A new interpreter that imports the driver, less one that does not; medians of 20 of each in turns."""
    with bench.place() as place:
        os.symlink(REPOSITORY / "plugins/module_utils/overlay2", os.path.join(place, "overlay2"))
        # The virtual environment's own import hooks are not what a target has.
        python = [os.path.realpath(sys.executable), "-I", "-c"]
        bare = f"import sys; sys.path.insert(0, {place!r})"

        def measure(_meter):
            times = [[], []]
            for _turn in range(IMPORTS):
                for found, code in zip(times, (bare, bare + "; from overlay2 import Driver")):
                    started = time.perf_counter()
                    subprocess.run([*python, code], check=True)
                    found.append(time.perf_counter() - started)
            without, with_it = map(statistics.median, times)
            return Sample(with_it - without)

        yield {OURS: measure}


ROWS = [
    Row("play", "a play that provisions 20 layers", played, (Goal(1.1, PINGS),)),
    Row("payload", "what Ansible sends for a layer, zipped", sent, (Goal(100 << 10, None, what="size"),)),
    Row("import", "importing the driver", imported, (Goal(0.030, None),)),
]
