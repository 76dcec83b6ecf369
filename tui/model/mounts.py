# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Mounts of a home: the holders' word, the kernel's word, and where they disagree."""

from __future__ import annotations

import contextlib
import os
import re

from overlay2.errors import printable
from overlay2.home.layout import MERGED

from .snapshot import MountFacts, Remark

_UNESCAPED_COLON = re.compile(r"(?<!\\):")


def gather(driver, layers):
    """Everything mounted or held in a home: list of :class:`~.snapshot.MountFacts`, sorted by path.

    :param driver: an ``overlay2.Driver``, for reading.
    :param layers: by id, the :class:`~.snapshot.LayerFacts` known.
    """
    home = os.path.realpath(driver.home)
    here, foreign = _by_layer(driver.mount_table(), home)
    elsewhere = _elsewhere(driver, home)
    recorded = _recorded(driver)
    ids = {*here, *elsewhere, *(recorded or ())}
    found = [_layer_mount(driver, layers, id, here, elsewhere, recorded) for id in ids]
    found += [
        MountFacts("", entry.mount_point, True, entries=(entry,), remarks=(_foreign_remark(entry),))
        for entry in foreign
    ]
    return tuple(sorted(found, key=lambda mount: os.fsencode(mount.path)))


def _recorded(driver):
    """The references on record, as of ``driver.recorded_holders``; None where they are not for this user to read."""
    records = driver.watched_directories().holders
    try:
        os.scandir(records).close()
    except PermissionError:
        return None
    except OSError:
        pass  # none was ever recorded
    return driver.recorded_holders()


def _by_layer(entries, home):
    """Mounts on ``merged`` folders by layer id, and the others (those on the home itself left out)."""
    layers, others = {}, []
    for entry in entries:
        layer, slash, rest = entry.mount_point[len(home) + 1 :].partition("/")
        if slash and rest == MERGED:
            layers.setdefault(layer, []).append(entry)
        elif entry.mount_point != home and not (slash and rest.startswith(MERGED + "/")):
            others.append(entry)
    return layers, others


def _elsewhere(driver, home):
    """Other mount namespaces that have a layer's mount: dict of id to (namespace, process, its name) triples."""
    found = {}
    for namespace, process, entries in driver.mount_tables_elsewhere():
        layers, _others = _by_layer(entries, home)
        for layer in layers:
            found.setdefault(layer, []).append((namespace, process, process_name(process)))
    return found


def process_name(pid):
    """What a process calls itself (str); "" once it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", "rb") as source:
        return printable(source.read().rstrip(b"\n"))
    return ""


def _layer_mount(driver, layers, layer, here, elsewhere, recorded):
    entries = tuple(here.get(layer, ()))
    facts = layers.get(layer)
    is_base = facts is not None and not facts.layer.lower_links
    path = os.path.join(driver.home, layer, "diff" if is_base and not entries else MERGED)
    mounted = bool(entries) and entries[-1].fs_type == "overlay"
    on_record = None if recorded is None else recorded.get(layer, {})
    holders = driver.holders(layer) if facts is not None and recorded is not None else on_record
    others = tuple(elsewhere.get(layer, ()))
    return MountFacts(
        id=layer,
        path=path,
        mounted=mounted,
        holders=holders,
        entries=entries,
        elsewhere=others,
        remarks=tuple(
            Remark(text, layer, wrong) for text, wrong in _remarks(facts, entries, holders, on_record, others, is_base)
        ),
    )


def _remarks(facts, entries, holders, recorded, elsewhere, is_base):
    """What the kernel, the holders and the layer's own files disagree about: (sentence, whether it is wrong) pairs."""
    if facts is None:
        yield "Its layer folder is gone, or holds no layer any more, while something still uses it.", True
    lost = {name: count for name, count in (recorded or {}).items() if name not in holders}
    if lost and not entries and not is_base:
        yield (
            f"On record as held by {holders_text(lost)}, but the kernel has nothing mounted: the record is void.",
            True,
        )
    if not entries and elsewhere:
        yield "Mounted in another mount namespace only: its files can't be seen from here.", False
    if not entries:
        return
    top = entries[-1]
    if top.fs_type != "overlay":
        yield (
            f"No overlay is mounted on its merged folder, but {top.fs_type} from {printable(top.source)}.",
            True,
        )
        return
    if len(entries) > 1:
        yield f"{len(entries)} mounts lie on top of each other on its merged folder; one is usual.", True
    if recorded is None:
        yield "Who holds it is on record for root only.", False
    elif not recorded:
        yield "Mounted, and no holder is on record: another program mounted it, such as dockerd or podman.", False
    if facts is not None:
        yield from _option_remarks(facts.layer, top)


def _option_remarks(layer, entry):
    """Where the mount is not what the layer's files would make today."""
    lowers = lowers_of(entry)
    read_only = not any(option.startswith("upperdir=") for option in entry.super_options)
    expected = len(layer.lower_links) + (1 if read_only else 0)
    if lowers is not None and lowers != expected:
        yield f"The kernel stacks {lowers} lower folders, the layer's files name {expected}.", True
    if layer.committed and not read_only:
        yield (
            "Mounted for writing, though other layers stand on it: what is written shows in them, or breaks them.",
            True,
        )
    if not layer.committed and layer.read_write and read_only:
        yield "Mounted read-only, though it was made for writing.", True


def lowers_of(entry):
    """How many lower folders the kernel shows for an overlay mount (int); None where it shows none."""
    single = sum(option.startswith("lowerdir+=") for option in entry.super_options)
    if single:
        return single
    joined = [option for option in entry.super_options if option.startswith("lowerdir=")]
    return len(_UNESCAPED_COLON.split(joined[0])) if joined else None


def _foreign_remark(entry):
    return Remark(
        f"A mount below the home that is no layer's: {entry.fs_type} from {printable(entry.source)}.", is_problem=False
    )


def holders_text(holders):
    """Holders for people (str): ``web, backup, 2 anonymous``; ``unknown`` where the records may not be read."""
    if holders is None:
        return "unknown"
    names = [
        printable(name) if count == 1 else f"{printable(name)} ×{count}"
        for name, count in sorted(holders.items())
        if name
    ]
    if holders.get(""):
        names.append(f"{holders['']} anonymous")
    return ", ".join(names) or "nobody"
