# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Which layers the kernel has in use, in whatever mount namespace: overlays made of them, and mounts on or of them.

A bind mount shows the path within its file system (the root field of mountinfo). An overlay shows its directories
(``lowerdir=``, ``upperdir=``) by the paths that it was mounted with: a layer's directory or a link to it, absolute or
relative to the home.
"""

from __future__ import annotations

import errno
import os
import re
from types import MappingProxyType
from typing import Dict, Iterable, Iterator, Mapping, NamedTuple, Tuple

from ..home.reading import LayerReader
from ..linux import kernel, mountinfo
from .records import Evidence

#: overlayfs puts a backslash before a character that would end a name.
_BETWEEN_LOWERS = re.compile(r"(?<!\\):+")
_ESCAPED = re.compile(r"\\(.)")
_NAMESPACE = re.compile(r"mnt:\[(\d+)\]")
_FOLDER_OPTIONS = ("lowerdir", "upperdir", "workdir", "lowerdir+", "datadir+")


class Uses(NamedTuple):
    """The mounts that use a home's layers."""

    #: Layer id to where that is written: a mount table and the mount point.
    layers: Dict[str, Tuple[Evidence, ...]]
    #: Mount namespaces that could not be looked into: a file of each, and why.
    hidden: Tuple[Tuple[str, str], ...]


def uses(reader: LayerReader, ids: Iterable[str], links: Mapping[str, str] = MappingProxyType({})) -> Uses:
    """Returns the mounts that use layers of a home.

    :param ids: the layers that are asked for.
    :param links: names by which chains refer to layers, to their ids, in case that the links themselves are lost.
    """
    finder = _Finder(reader, frozenset(ids), links)
    hidden: list[tuple[str, str]] = []
    seen: set[int] = set()
    for process in ["self", *_processes(seen)]:
        table = "/proc/%s/mountinfo" % process
        try:
            finder.read(table)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EINVAL):  # it has not just ended
                hidden.append((table, "can't be read: %s" % error.strerror))
    for namespace, path in finder.kept_namespaces.items():
        if namespace not in seen:
            hidden.append((path, "keeps a mount namespace that no process is in, so it can't be looked into"))
    return Uses({layer: tuple(found) for layer, found in finder.found.items()}, tuple(hidden))


def _processes(seen: set[int]) -> Iterator[str]:
    """Yields a thread of each mount namespace but this one, and all threads whose namespace is not known.

    Threads, not processes: dockerd unpacks archives in a thread with a mount namespace of its own.

    :param seen: gets the namespaces' inodes.
    :returns: directories below ``/proc``, as ``123/task/456``.
    """
    seen.add(kernel.mount_namespace())
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            threads = os.listdir("/proc/%s/task" % process)
        except OSError:
            continue  # it ended
        for thread in threads:
            folder = "%s/task/%s" % (process, thread)
            try:
                namespace = os.stat("/proc/%s/ns/mnt" % folder).st_ino
            except PermissionError:
                yield folder  # its mount table may be readable all the same
                break
            except OSError:
                continue
            if namespace not in seen:
                seen.add(namespace)
                yield folder


class _Finder:
    """Goes through mount tables for one home."""

    def __init__(self, reader: LayerReader, ids: frozenset[str], links: Mapping[str, str]) -> None:
        self._reader = reader
        self._home = os.path.realpath(reader.path)
        self._ids = ids
        self._links = links
        self._inside = _where(self._home)
        #: Paths below the home to the layers that they belong to: mounts name the same ones again and again.
        self._known: dict[str, str | None] = {}
        #: Contents of the tables that were read: processes of one namespace have the same.
        self._seen: set[bytes] = set()
        self.found: dict[str, list[Evidence]] = {}
        #: Mount namespaces that a bind mount keeps, as snapd's: inode to mount point.
        self.kept_namespaces: dict[int, str] = {}

    def read(self, table: str) -> None:
        """Notes the layers that one mount table has in use."""
        home = os.fsencode(self._home)
        marks = [b" - overlay ", b" - nsfs "]
        if b"\\" not in home and not set(home) & set(b" \t\n"):
            marks += [home, os.fsencode(self._inside[1])] if self._inside else [home]
        else:
            marks.append(b"")  # an escaped path: parse them all
        with open(table, "rb") as source:
            content = source.read()
        if content in self._seen:
            return
        self._seen.add(content)
        for line in content.split(b"\n"):
            if line and any(mark in line for mark in marks):
                self._note(mountinfo.parse(line), table)

    def _note(self, entry: mountinfo.MountEntry, table: str) -> None:
        kept = _NAMESPACE.fullmatch(entry.root) if entry.fs_type == "nsfs" else None
        if kept is not None:
            self.kept_namespaces[int(kept.group(1))] = entry.mount_point
        evidence = Evidence(table, entry.mount_point)
        for layer in self._layers_of(entry, os.path.join(os.path.dirname(table), "root")):
            known = self.found.setdefault(layer, [])
            if evidence not in known:
                known.append(evidence)

    def _layers_of(self, entry: mountinfo.MountEntry, root: str) -> Iterator[str]:
        """Yields the ids of the layers that a mount uses."""
        yield from self._layer_at(entry.mount_point, self._home)
        if entry.fs_type == "overlay":
            for option in entry.super_options:
                key, _equals, value = option.partition("=")
                if key in _FOLDER_OPTIONS:
                    for folder in _BETWEEN_LOWERS.split(value):
                        yield from self._layer_of_folder(_ESCAPED.sub(r"\1", folder), root)
        elif self._inside and entry.device == self._inside[0]:
            yield from self._layer_at(entry.root, self._inside[1])

    def _layer_of_folder(self, folder: str, root: str) -> Iterator[str]:
        """Yields the id of the layer that a directory of an overlay belongs to: one or none."""
        if not folder.startswith("/"):
            yield from self._named(folder)
            return
        found = list(self._layer_at(folder, self._home))
        yield from found or self._by_another_path(folder, root)

    def _layer_at(self, path: str, home: str) -> Iterator[str]:
        if path.startswith(home.rstrip("/") + "/"):
            yield from self._named(path[len(home.rstrip("/")) + 1 :])

    def _named(self, path: str) -> Iterator[str]:
        """Yields the id of the layer that a path relative to the home belongs to: one or none."""
        if path not in self._known:
            layer = self._reader.layer_at(path)
            if layer not in self._ids:
                layer = self._links.get(path.partition("/")[2].partition("/")[0])
            self._known[path] = layer if layer in self._ids else None
        layer = self._known[path]
        if layer is not None:
            yield layer

    def _by_another_path(self, folder: str, root: str) -> Iterator[str]:
        """The same for a directory whose path is not below the home: a link leads there, or another mount namespace.

        :param root: root directory of a process in the mount's namespace.
        """
        layer = next(self._named("/".join(folder.rsplit("/", 2)[-2:])), None)
        if layer is None:
            return
        try:
            ours = os.stat(self._reader.upper_dir(layer))
        except (OSError, ValueError):
            return
        for place in (root + folder, folder):
            try:
                if not os.path.samestat(ours, os.stat(place)):
                    return
                break
            except (OSError, ValueError):
                continue  # the mount is older than this root; if no root shows the directory, it may well be ours
        yield layer


def _where(home: str) -> tuple[str, str] | None:
    """Returns (device, path) of the home within its own file system, as a bind mount names it; None if not known."""
    best: tuple[str, mountinfo.MountEntry] | None = None
    for entry in mountinfo.mounts():
        point = entry.mount_point.rstrip("/") + "/"
        if (home + "/").startswith(point) and (best is None or len(point) >= len(best[0])):
            best = point, entry
    if best is None:
        return None
    point, entry = best
    below = home[len(point) :] if len(home) >= len(point) else ""
    return entry.device, os.path.join(entry.root, below).rstrip("/")
