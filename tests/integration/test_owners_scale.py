# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Owners and health of a home with 5,000 layers: right, and how long that takes (told, not asserted)."""

from __future__ import annotations

import hashlib
import json
import os
import time

import pytest
from overlay2 import Driver, health, owners, prune
from support import boltfile, engines

pytestmark = [pytest.mark.slow]

LAYERS, DEPTH = 5000, 25


def make(root):
    """A dockerd's data root: chains of 25 layers, an image on each but the last, which nothing needs."""
    home, image = os.path.join(root, "overlay2"), os.path.join(root, "image", "overlay2")
    os.makedirs(os.path.join(home, "l"), mode=0o700)
    os.chmod(home, 0o710)
    configs = os.path.join(image, "imagedb", "content", "sha256")
    os.makedirs(configs)
    tags = {}
    for number in range(LAYERS // DEPTH):
        diffs, lower, chain = [], [], ""
        for depth in range(DEPTH):
            name = f"{number}-{depth}"
            diffs.append("sha256:" + engines.digest("diff" + name))
            chain = _chain(chain, diffs[-1])
            lower = _layer(home, engines.digest(name), lower, depth < DEPTH - 1)
            _record(os.path.join(image, "layerdb", "sha256", chain[7:]), engines.digest(name), diffs)
        if number < LAYERS // DEPTH - 1:
            config = json.dumps({"rootfs": {"type": "layers", "diff_ids": diffs}})
            id = hashlib.sha256(config.encode()).hexdigest()
            _put(os.path.join(configs, id), config)
            tags[f"image{number}"] = {f"image{number}:1": "sha256:" + id}
    _put(os.path.join(image, "repositories.json"), json.dumps({"Repositories": tags}))
    os.mkdir(os.path.join(root, "volumes"))
    boltfile.write(os.path.join(root, "volumes", "metadata.db"), {})
    return home


def _layer(home, id, lower, committed):
    folder = os.path.join(home, id)
    os.makedirs(os.path.join(folder, "diff"))
    os.chmod(folder, 0o710)
    link = hashlib.sha256(id.encode()).hexdigest()[:26].upper().translate(str.maketrans("0189", "XYZW"))
    os.symlink(f"../{id}/diff", os.path.join(home, "l", link))
    _put(os.path.join(folder, "link"), link)
    if lower:
        _put(os.path.join(folder, "lower"), ":".join(lower))
        os.mkdir(os.path.join(folder, "work"), 0o700)
    if committed:
        _put(os.path.join(folder, "committed"), "")
    return ["l/" + link, *lower]


def _chain(parent, diff):
    return "sha256:" + hashlib.sha256(f"{parent} {diff}".encode()).hexdigest() if parent else diff


def _record(folder, cache, diffs):
    os.makedirs(folder)
    _put(os.path.join(folder, "cache-id"), cache)
    _put(os.path.join(folder, "diff"), diffs[-1])
    if len(diffs) > 1:
        chain = ""
        for diff in diffs[:-1]:
            chain = _chain(chain, diff)
        _put(os.path.join(folder, "parent"), chain)


def _put(path, text):
    with open(path, "w") as target:
        target.write(text)


def test_five_thousand_layers(real_tmp, report):
    driver = Driver(make(str(real_tmp / "docker")), read_only=True, probe=False)
    start = time.perf_counter()
    found = owners.resolve(driver)
    resolved = time.perf_counter()
    findings = health.check(driver, ownership=found)
    checked = time.perf_counter()
    planned = prune.plan(driver, found)
    done = time.perf_counter()
    assert found.counts() == dict(dict.fromkeys(owners.KINDS, 0), image=LAYERS - DEPTH, unowned=DEPTH)
    assert findings == []
    assert len(planned.candidates) == DEPTH
    report(
        f"{LAYERS} layers: owners {resolved - start:.2f} s, health {checked - resolved:.2f} s, "
        f"prune's plan with sizes of {DEPTH} {done - checked:.2f} s"
    )
