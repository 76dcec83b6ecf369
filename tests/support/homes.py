# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A driver's home looked at from outside: is it what the format promises, without asking the driver."""

from __future__ import annotations

import os
import re

from . import host

LINK_NAME = re.compile(r"[A-Z2-7]{26}")
OWN_NAMES = ("l", ".staging", ".images", "backingFsBlockDev")


def layer_names(home: str) -> list[str]:
    """Folders of layers, sorted."""
    return sorted(name for name in os.listdir(home) if name not in OWN_NAMES)


def content_of(*path: str) -> str:
    """Content of a file as text."""
    with open(os.path.join(*path), encoding="utf-8", errors="surrogateescape") as source:
        return source.read()


def flaws(home: str, *, quiet: bool = True) -> list[str]:
    """All that contradicts the on-disk format, in plain sentences; empty for a sound home.

    *quiet*: nobody is at work in it, so nothing is staged and no mount is left in the staging folder.
    """
    found = []
    links = {name: os.readlink(os.path.join(home, "l", name)) for name in os.listdir(os.path.join(home, "l"))}
    layers = layer_names(home)
    for layer in layers:
        found += [f"{layer}: {flaw}" for flaw in _layer_flaws(home, layer, links)]
    for name, target in links.items():
        owner = target.split("/")[1] if target.count("/") == 2 else ""
        if owner not in layers:
            found.append(f"l/{name} dangles: {target}")
    staging = os.path.join(home, ".staging")
    if quiet and os.path.isdir(staging):
        found += [f"staged: {name}" for name in os.listdir(staging)]
        found += [f"mounted while staged: {point}" for point in host.mounts_below(staging)]
    return found


def _layer_flaws(home: str, layer: str, links: dict[str, str]) -> list[str]:
    folder = os.path.join(home, layer)
    names = set(os.listdir(folder))
    found = []
    if not {"diff", "link"} <= names:
        return [f"has only {sorted(names)}"]
    link = content_of(folder, "link")
    if not LINK_NAME.fullmatch(link):
        found.append(f"link is {link!r}")
    elif links.get(link) != f"../{layer}/diff":
        found.append(f"l/{link} is {links.get(link)!r}")
    if ("lower" in names) != ("work" in names):
        found.append(f"lower and work do not go together: {sorted(names)}")
    if "lower" in names:
        found += [
            f"lower names {entry}, which leads nowhere"
            for entry in content_of(folder, "lower").split(":")
            if links.get(entry[2:]) is None or not os.path.isdir(os.path.join(home, entry))
        ]
    return found
