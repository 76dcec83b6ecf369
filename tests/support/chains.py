# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Layers made by hand, by the on-disk format alone: what a mount is tried on does not depend on what creates layers."""

from __future__ import annotations

import os
from typing import NamedTuple


class Chain(NamedTuple):
    """A layer on top of a chain, in a home."""

    home: str
    layer: str
    #: Its lower layers as its `lower` file names them, uppermost first.
    links: tuple[str, ...]

    def path(self, *names: str) -> str:
        """Path of something in the top layer's folder."""
        return os.path.join(self.home, self.layer, *names)


def make(home: str, depth: int = 2, layer: str = "top") -> Chain:
    """A layer on *depth* others; the home is made where it is missing.

    Each has a file of its own (`of-0` in the lowermost, `of-top`) and a file `same` that says whose it is.
    """
    os.makedirs(os.path.join(home, "l"), exist_ok=True)
    links: tuple[str, ...] = ()
    for number in range(depth):
        links = (_layer(home, f"{number}", f"{number:A>26}".translate(_DIGITS), links), *links)
    _layer(home, layer, "T" * 26, links, name="top")
    return Chain(home, layer, links)


_DIGITS = str.maketrans("0189", "XYZW")  # link names are of A-Z2-7


def _layer(home: str, layer: str, link: str, lower: tuple[str, ...], name: str | None = None) -> str:
    folder = os.path.join(home, layer)
    os.makedirs(os.path.join(folder, "diff"))
    os.symlink(os.path.join("..", layer, "diff"), os.path.join(home, "l", link))
    name = layer if name is None else name
    for file, content in ((f"diff/of-{name}", ""), ("diff/same", name), ("link", link), ("lower", ":".join(lower))):
        if content or file != "lower":
            with open(os.path.join(folder, file), "w", encoding="ascii") as target:
                target.write(content)
    if lower:
        os.mkdir(os.path.join(folder, "work"), 0o700)
    return f"l/{link}"
