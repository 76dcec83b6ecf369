# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Names in ``l/`` and the layers' ``link`` files: each proves the other, so what one of them lost can be had back."""

from __future__ import annotations

import os
import stat

from ..home.layout import DIFF, LINK, LINK_DIR
from .facts import layer_of_target
from .findings import Finding, Step
from .states import file_state, folder_state, link_state, state_of


def check(home):
    """Findings about links (iterator of :class:`~.findings.Finding`)."""
    if home.link_dir is None and home.layers:
        step = Step(home.link_path(), "", folder_state(0o700, home.info))
        remedy = "Make it again, and the links in it from the layers' link files"
        yield Finding("link-dir-missing", "", home.link_path(), "the folder of short names is missing", remedy, step)
    for layer in home.layers.values():
        yield from _link_file(home, layer)
    claimed = _claims(home)
    for layer in home.layers.values():
        if layer.link:
            yield from _short_link(home, layer, claimed)
    for name in home.shorts:
        yield from _entry(home, name, claimed)


def _claims(home):
    """Name in ``l/`` to the ids of the layers whose ``link`` files have it."""
    found = {}
    for layer in home.layers.values():
        if layer.link:
            found.setdefault(layer.link, []).append(layer.id)
    return found


def _link_file(home, layer):
    if layer.link:
        return
    path = os.path.join(layer.path, LINK)
    if LINK not in layer.entries:
        code, what = "link-missing", "its link file is missing"
    elif layer.link_file == b"":
        code, what = "link-empty", "its link file is empty, as after a power cut"
    else:
        code, what = "link-garbled", "its link file holds no link name"
    names = home.names.get(layer.id, [])
    wanted = [name for name in names if name in home.wanted] or names
    if len(wanted) == 1 and _replaceable(layer.entries.get(LINK)):
        step = Step(path, state_of(path), file_state(wanted[0]))
        what += ", and %s/%s leads to it" % (LINK_DIR, wanted[0])
        yield Finding(code, layer.id, path, what, "Write that name into it", step)
        return
    remedy = "No single link in %s leads to it: remove the layer, and what stands on it" % LINK_DIR
    yield Finding(code, layer.id, path, what, remedy)


def _replaceable(info):
    """Whether a file may be written where there is nothing or a regular file (bool)."""
    return info is None or stat.S_ISREG(info.st_mode)


def _short_link(home, layer, claimed):
    """The symbolic link that a layer's ``link`` file names."""
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
        step = Step(path, "", link_state(right))
        yield Finding("short-link-missing", layer.id, path, "the link of its name is missing", "Make it again", step)
    elif target is None:
        what = "something that is no link has the layer's name there"
        yield Finding("short-link-wrong", layer.id, path, what, "Move it away, and make the link: ln -s %s" % right)
    else:
        step = Step(path, link_state(target), link_state(right))
        what = "the link of its name leads to %s" % target
        yield Finding("short-link-wrong", layer.id, path, what, "Have it lead to %s" % right, step)


def _shared(home, layer, claimed, leads_to):
    """Two layers with one name: right is the one that the link leads to, if the other has a link of its own."""
    path = os.path.join(layer.path, LINK)
    others = [each for each in claimed[layer.link] if each != layer.id]
    what = "its link file has the name of layer %s" % ", ".join(others)
    names = [name for name in home.names.get(layer.id, ()) if name not in claimed]
    if leads_to in others and len(names) == 1:
        step = Step(path, file_state(layer.link), file_state(names[0]))
        yield Finding("link-shared", layer.id, path, what, "Write %s into it, which leads to it" % names[0], step)
        return
    yield Finding("link-shared", layer.id, path, what, "Remove the layer that is not what the link leads to")


def _entry(home, name, claimed):
    """An entry of ``l/`` that no layer's ``link`` file names, or names rightly."""
    path, target = home.link_path(name), home.shorts[name]
    if name in claimed:
        return  # looked at from the layer's side
    named = layer_of_target(target)
    if named is None and home.is_elsewhere(name):
        return  # of a store that this one stands on
    if named is None:
        what = "it is no link to a layer" if target is None else "it leads to %s, which is no layer's folder" % target
        yield Finding("short-link-stray", "", path, what, "Remove it once it is clear what it is for")
        return
    step = Step(path, link_state(target), "") if name not in home.wanted else None
    if named not in home.layers:
        if step is None:
            return  # a chain has it: that is the finding
        what = "it leads to the layer %s, which is not there, and no lower chain names it" % named
        yield Finding("short-link-dangling", "", path, what, "Remove the link", step)
    elif len(claimed.get(home.layers[named].link, ())) == 1:
        what = "the layer goes by %s/%s, and by this as well" % (LINK_DIR, home.layers[named].link)
        remedy = "Remove the link, which nothing uses" if step else "Leave it: lower chains use this name"
        yield Finding("short-link-duplicate", named, path, what, remedy, step)
