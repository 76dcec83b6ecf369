# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Random calls on a home, with content that tells whether it is whole."""

from __future__ import annotations

import io
import os
import random
from typing import Any, Callable

from . import homes, trees

FILES = 40
LAYERS = ("n0", "n1", "n2", "n3")
#: Where :func:`calls` has the removal that asks nobody.
UNGUARDED = 6


def _body(number: int, at: int) -> bytes:
    return b"%d" % number * (1 + at * 7 % 300)


def _version(number: int) -> bytes:
    files = {"d%d/f%d" % (at % 5, at): _body(number, at) for at in range(FILES - number)}
    return trees.archive({**files, ".wh.hidden": b""})


#: Archives whose every file tells which of them it is from.
VERSIONS = {number: _version(number) for number in range(6)}


def version_of(folder: str) -> int | None:
    """Which of :data:`VERSIONS` a layer's folder holds, None for an empty one; part of one is an error."""
    paths = {path for path in trees.paths_below(folder) if os.path.isfile(os.path.join(folder, path))}
    if not paths:
        return None
    number = int(homes.content_of(folder, "d0/f0")[0])
    expected = {name for name in trees.names_in(VERSIONS[number]) if not name.endswith(("/", "hidden"))}
    assert paths == expected, f"version {number} in part"
    for path in paths:
        assert homes.content_of(folder, path) == _body(number, int(path.split("f")[1])).decode(), path
    return number


def calls(driver: Any, layer: str, parent: str, number: int) -> list[Callable[[], Any]]:
    """What can be done with a layer; each call may be refused by the driver."""
    content, holder = io.BytesIO(VERSIONS[number]), "holder %d" % number

    def mount() -> None:
        driver.get(layer, holder=holder)
        driver.put(layer, holder=holder)

    def compare() -> None:
        driver.get(layer)
        try:
            driver.changes(layer, "base")
        finally:
            driver.put(layer)

    return [
        lambda: driver.create(layer, parent),
        lambda: driver.create(layer, parent, diff=content),
        lambda: driver.create_read_write(layer, parent, diff=content),
        lambda: driver.apply_diff(layer, "base", content),
        lambda: driver.apply_diff(layer, "base", content, replace=True),
        lambda: driver.apply_diff(layer, "", content, replace=True),
        lambda: driver.remove(layer),
        lambda: driver.remove(layer, guard=True),
        lambda: driver.diff(layer, "base").close(),
        mount,
        compare,
    ]


def random_call(rng: random.Random, driver: Any) -> Callable[[], Any]:
    """One of :func:`calls`, of a layer without parent or on `base`."""
    return rng.choice(calls(driver, rng.choice(LAYERS), rng.choice(("", "base", "base")), rng.randrange(6)))
