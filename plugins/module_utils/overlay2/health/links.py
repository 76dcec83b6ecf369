# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Checks names in ``l/`` and the layers' ``link`` files. Each proves the other, so either can be restored."""

from __future__ import annotations

import os
import stat
from typing import Iterator

from ..home.layout import DIFF, LINK, LINK_DIR
from ..home.store import layer_of_target
from .facts import HomeFacts, LayerFacts
from .findings import Finding, Step
from .path_state import NOTHING, DirectoryState, FileState, LinkState, state_of


def check(home: HomeFacts) -> Iterator[Finding]:
    """Yields findings about links."""
    if home.link_dir is None and home.layers:
        step = Step(home.link_path(), NOTHING, DirectoryState(0o700, home.info.st_uid, home.info.st_gid))
        remedy = "Make it again, with the links that the layers' link files name"
        yield Finding("link-dir-missing", "", home.link_path(), "the folder of short names is missing", remedy, step)
    for layer in home.layers.values():
        yield from _link_file(home, layer)
    claimed = _claims(home)
    for layer in home.layers.values():
        if layer.link:
            yield from _short_link(home, layer, claimed)
    for name in home.shorts:
        yield from _entry(home, name, claimed)


def _claims(home: HomeFacts) -> dict[str, list[str]]:
    """Returns the layers whose ``link`` files have each name."""
    found: dict[str, list[str]] = {}
    for layer in home.layers.values():
        if layer.link:
            found.setdefault(layer.link, []).append(layer.id)
    return found


def _link_file(home: HomeFacts, layer: LayerFacts) -> Iterator[Finding]:
    if layer.link:
        return
    path = os.path.join(layer.path, LINK)
    if LINK not in layer.entries:
        code, what = "link-missing", "its link file is missing"
    elif layer.link_file == b"":
        code, what = "link-empty", "its link file is empty, as after a power cut"
    else:
        code, what = "link-garbled", "its link file does not hold a link name"
    names = home.names.get(layer.id, [])
    wanted = [name for name in names if name in home.wanted] or names
    if len(wanted) == 1 and _replaceable(layer.entries.get(LINK)):
        step = Step(path, state_of(path), FileState(os.fsencode(wanted[0])))
        what += ", and %s/%s leads to it" % (LINK_DIR, wanted[0])
        yield Finding(code, layer.id, path, what, "Write that name into it", step)
        return
    remedy = "No single link in %s leads to it: remove the layer, and what stands on it" % LINK_DIR
    yield Finding(code, layer.id, path, what, remedy)


def _replaceable(info: os.stat_result | None) -> bool:
    """True if a file may be written there: nothing, or a regular file, has the name."""
    return info is None or stat.S_ISREG(info.st_mode)


def _short_link(home: HomeFacts, layer: LayerFacts, claimed: dict[str, list[str]]) -> Iterator[Finding]:
    """Yields a finding if the symbolic link that a layer's ``link`` file names is wrong."""
    claimants = claimed[layer.link]
    path = home.link_path(layer.link)
    target = home.shorts.get(layer.link)
    leads_to = home.owner_of_short(layer.link)
    right = os.path.join("..", layer.id, DIFF)
    if leads_to == layer.id:
        return
    if len(claimants) > 1:
        yield from _shared(home, layer, claimed, leads_to)
    elif layer.link not in home.shorts:
        step = Step(path, NOTHING, LinkState(right))
        yield Finding("short-link-missing", layer.id, path, "the link of its name is missing", "Make it again", step)
    elif target is None:
        what = "something other than a link has the layer's name there"
        yield Finding("short-link-wrong", layer.id, path, what, "Move it away, and make the link: ln -s %s" % right)
    else:
        step = Step(path, LinkState(target), LinkState(right))
        what = "the link of its name leads to %s" % target
        yield Finding("short-link-wrong", layer.id, path, what, "Make it lead to %s" % right, step)


def _shared(
    home: HomeFacts, layer: LayerFacts, claimed: dict[str, list[str]], leads_to: str | None
) -> Iterator[Finding]:
    """Yields a finding for one of two layers with one name.

    The link leads to the layer that has the name by right, if the other layer has a link of its own.
    """
    path = os.path.join(layer.path, LINK)
    others = [each for each in claimed[layer.link] if each != layer.id]
    what = "its link file has the name of layer %s" % ", ".join(others)
    names = [name for name in home.names.get(layer.id, ()) if name not in claimed]
    if leads_to in others and len(names) == 1:
        step = Step(path, state_of(path), FileState(os.fsencode(names[0])))
        yield Finding(
            "link-shared",
            layer.id,
            path,
            what,
            "Write %s into it, the name of the link that leads to the layer" % names[0],
            step,
        )
        return
    yield Finding("link-shared", layer.id, path, what, "Remove the layer that the link does not lead to")


def _entry(home: HomeFacts, name: str, claimed: dict[str, list[str]]) -> Iterator[Finding]:
    """Yields a finding for an entry of ``l/`` that no layer's ``link`` file names."""
    path, target = home.link_path(name), home.shorts[name]
    if name in claimed:
        return  # see _short_link
    named = layer_of_target(target)
    if target is None or named is None:
        if home.is_elsewhere(name):
            return  # of a store that this one stands on
        what = "it is not a link" if target is None else "it leads to %s, which is not a layer's folder" % target
        yield Finding("short-link-stray", "", path, what, "Find out what it is for, then remove it")
        return
    step = Step(path, LinkState(target), NOTHING) if name not in home.wanted else None
    if named not in home.layers:
        if step is None:
            return  # the chain that names it is the finding
        what = "it leads to the layer %s, which does not exist, and no lower chain names it" % named
        yield Finding("short-link-dangling", "", path, what, "Remove the link", step)
    elif len(claimed.get(home.layers[named].link, ())) == 1:
        what = "the layer has the name %s/%s, and this one as well" % (LINK_DIR, home.layers[named].link)
        remedy = "Remove the link, which nothing uses" if step else "Leave it: lower chains use this name"
        yield Finding("short-link-duplicate", named, path, what, remedy, step)
