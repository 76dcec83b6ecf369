# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Mounts of a home: the holders on record, the kernel's mount table, and where they disagree."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional

from .plain import visible
from .processes import name_of
from .snapshot import InspectedLayer, MountFacts, Remark

if TYPE_CHECKING:
    from overlay2 import Driver, Layer
    from overlay2.linux.mountinfo import MountEntry

Holders = Optional[Mapping[str, int]]

_UNESCAPED_COLON = re.compile(r"(?<!\\):")


def gather(driver: Driver, layers: Mapping[str, InspectedLayer]) -> tuple[MountFacts, ...]:
    """Everything that is mounted or held in a home, sorted by path.

    :param layers: the layers that are known, by id.
    """
    table = _by_layer(driver, driver.mount_table())
    elsewhere = _elsewhere(driver)
    recorded = _recorded(driver)
    loops = _loop_devices()
    found = []
    for id in {*table.layers, *elsewhere, *(recorded or ())}:
        mount = _layer_mount(driver, id, layers.get(id), table.layers.get(id, ()), elsewhere.get(id, ()), recorded)
        inside = _inside(mount, table.inside.get(id, ()), loops)
        found.append(dataclasses.replace(mount, remarks=(*mount.remarks, *inside)))
    found += [
        MountFacts("", entry.mount_point, True, entries=(entry,), remarks=(_foreign_remark(entry),))
        for entry in table.foreign
    ]
    return tuple(sorted(found, key=lambda mount: os.fsencode(mount.path)))


def _recorded(driver: Driver) -> dict[str, dict[str, int]] | None:
    """The references on record, as ``driver.recorded_holders`` returns them; None if this user may not read them."""
    try:
        os.scandir(driver.watched_directories().holders).close()
    except PermissionError:
        return None
    except OSError:
        pass  # none was ever recorded
    return driver.recorded_holders()


class _Table(NamedTuple):
    """A mount table, sorted out."""

    #: Mounts on the mount points of layers, by id.
    layers: dict[str, list[MountEntry]]
    #: Mounts inside a mounted layer, by id.
    inside: dict[str, list[MountEntry]]
    #: Other mounts below the home.
    foreign: list[MountEntry]


def _by_layer(driver: Driver, entries: Iterable[MountEntry]) -> _Table:
    home, store = os.path.realpath(driver.home), driver.opened.store
    table = _Table({}, {}, [])
    for entry in entries:
        path = os.path.relpath(entry.mount_point, home)
        id = store.layer_at(path)
        merged = os.path.relpath(store.merged_dir(id), store.path) if id else ""
        if id and path == merged:
            table.layers.setdefault(id, []).append(entry)
        elif id and path.startswith(merged + "/"):
            table.inside.setdefault(id, []).append(entry)
        elif path != ".":
            table.foreign.append(entry)
    return table


def _loop_devices() -> list[tuple[str, str]]:
    """Loop devices of this host and their files."""
    found = []
    for path in glob.glob("/sys/block/loop*/loop/backing_file"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as source:
            found.append(("/dev/" + path.split("/")[3], source.read().rstrip("\n")))
    return found


def _inside(mount: MountFacts, entries: Iterable[MountEntry], loops: Iterable[tuple[str, str]]) -> Iterator[Remark]:
    """Mounts and loop devices in a mounted layer, which keep it busy as processes do."""
    path = os.path.realpath(mount.path)
    for entry in entries:
        where = visible(entry.mount_point[len(path) :])
        yield Remark(
            f"Busy: {entry.fs_type} from {visible(entry.source)} is mounted in it, at {where}.", mount.id, False
        )
    for device, file in loops:
        if file.startswith(path + "/"):
            yield Remark(f"Busy: the loop device {device} uses its file {visible(file[len(path) :])}.", mount.id, False)


def _elsewhere(driver: Driver) -> dict[str, list[tuple[int, int, str]]]:
    """Mounts of layers in other mount namespaces: id to (namespace, a process in it, its name)."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    for namespace, process, entries in driver.mount_tables_elsewhere():
        for id in _by_layer(driver, entries).layers:
            found.setdefault(id, []).append((namespace, process, name_of(process)))
    return found


def _layer_mount(
    driver: Driver,
    id: str,
    facts: InspectedLayer | None,
    entries: Sequence[MountEntry],
    elsewhere: Sequence[tuple[int, int, str]],
    recorded: dict[str, dict[str, int]] | None,
) -> MountFacts:
    is_base = facts is not None and not facts.layer.depth
    paths = driver.opened.store.paths(id)
    on_record = None if recorded is None else recorded.get(id, {})
    mount = MountFacts(
        id=id,
        path=paths.upper if is_base and not entries else paths.merged,
        mounted=bool(entries) and entries[-1].fs_type == "overlay",
        holders=driver.holders(id) if facts is not None and recorded is not None else on_record,
        entries=tuple(entries),
        elsewhere=tuple(elsewhere),
    )
    return dataclasses.replace(mount, remarks=tuple(_remarks(mount, facts, on_record)))


def _remarks(mount: MountFacts, facts: InspectedLayer | None, on_record: Holders) -> Iterator[Remark]:
    """Whatever the kernel, the holders and the layer's own files disagree about."""

    def problem(text: str) -> Remark:
        return Remark(text, mount.id)

    def note(text: str) -> Remark:
        return Remark(text, mount.id, is_problem=False)

    if facts is None:
        yield problem("The layer's folder is missing, or is no longer a layer, and something still uses it.")
    void = {name: count for name, count in (on_record or {}).items() if name not in (mount.holders or {})}
    if void and not mount.entries and (facts is None or facts.layer.depth):
        yield problem(
            f"On record as held by {holders_text(void)}, but the kernel has nothing mounted: the record is void."
        )
    if not mount.entries:
        if mount.elsewhere:
            yield note("Mounted in another mount namespace only: its files can't be seen from here.")
        return
    top = mount.entries[-1]
    if top.fs_type != "overlay":
        yield problem(f"The mount on its merged folder is not an overlay but {top.fs_type} from {visible(top.source)}.")
        return
    if len(mount.entries) > 1:
        yield problem(f"{len(mount.entries)} mounts are stacked on its merged folder; one is usual.")
    if on_record is None:
        yield note("Only root may read who holds it.")
    elif not on_record:
        yield note("Mounted, and no holder is on record: another program mounted it, such as dockerd or podman.")
    if facts is not None:
        yield from map(problem, _option_problems(facts.layer, top))


def _option_problems(layer: Layer, entry: MountEntry) -> Iterator[str]:
    """Where the mount differs from the one that the layer's files describe."""
    lowers = lowers_of(entry)
    read_only = not any(option.startswith("upperdir=") for option in entry.super_options)
    expected = layer.depth + (1 if read_only else 0)
    if lowers is not None and lowers != expected:
        yield f"The kernel stacks {lowers} lower folders, the layer's files name {expected}."
    if layer.committed and not read_only:
        yield "Mounted for writing, though other layers stand on it: writes show in those layers, or break them."
    if not layer.committed and layer.read_write and read_only:
        yield "Mounted read-only, though it was created for writing."


def lowers_of(entry: MountEntry) -> int | None:
    """The number of lower folders that the kernel shows for an overlay mount; None if it shows none."""
    single = sum(option.startswith("lowerdir+=") for option in entry.super_options)
    if single:
        return single
    joined = [option for option in entry.super_options if option.startswith("lowerdir=")]
    return len(_UNESCAPED_COLON.split(joined[0])) if joined else None


def _foreign_remark(entry: MountEntry) -> Remark:
    text = f"A mount below the home that does not belong to a layer: {entry.fs_type} from {visible(entry.source)}."
    return Remark(text, is_problem=False)


def holders_text(holders: Holders) -> str:
    """Holders for people: ``web, backup, 2 anonymous``; ``unknown`` if the records may not be read."""
    if holders is None:
        return "unknown"
    names = [
        visible(name) if count == 1 else f"{visible(name)} ×{count}" for name, count in sorted(holders.items()) if name
    ]
    if holders.get(""):
        names.append(f"{holders['']} anonymous")
    return ", ".join(names) or "nobody"
