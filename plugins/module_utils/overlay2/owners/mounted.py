# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Which layers of a home the kernel has in use: by whatever mount, in whatever mount namespace.

A layer is in use as an upper or lower folder of an overlay, wherever that is mounted; by what is mounted in its folder;
and by a bind mount of something in it. What overlayfs tells of its folders (``lowerdir=``, ``upperdir=``) is the path
they were mounted by: a layer's folder or its name in ``l/``, absolute or relative to the home.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Dict, NamedTuple, Tuple

from ..home.layout import DIFF, LINK_DIR
from ..linux import kernel, mountinfo
from .records import Evidence

#: overlayfs puts a backslash before what would end a name.
_BETWEEN_LOWERS = re.compile(r"(?<!\\):+")
_ESCAPED = re.compile(r"\\(.)")
_NAMESPACE = re.compile(r"mnt:\[(\d+)\]")
_FOLDER_OPTIONS = ("lowerdir", "upperdir", "workdir", "lowerdir+", "datadir+")


class Uses(NamedTuple):
    """What is mounted of a home."""

    #: Layer id to where that is written: a mount table and the mount point.
    layers: Dict[str, Tuple[Evidence, ...]]
    #: Mount namespaces that could not be looked into: a file of each, and why.
    hidden: Tuple[Tuple[str, str], ...]


def uses(home, ids, links):
    """The :class:`Uses` of a home's layers.

    :param ids: ids of the layers that are asked for (iterable of str).
    :param links: names in ``l/`` to layer ids (dict); None for one that leads to no layer.
    """
    finder = _Finder(os.path.realpath(home), frozenset(ids), links)
    hidden, seen = [], set()
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


def _processes(seen):
    """A thread of each mount namespace but this one, and those of which the namespace can't be told.

    Threads, not processes: dockerd unpacks archives in a thread with a mount namespace of its own.

    :param seen: a set that the namespaces' inodes are added to.
    :returns: iterator of their folders below ``/proc`` (str), as ``123/task/456``.
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

    def __init__(self, home, ids, links):
        self._home = home
        self._ids = ids
        self._links = links
        self._inside = _where(home)
        #: Tables that were looked at: processes of one namespace have the same.
        self._seen = set()
        self.found: Dict[str, list] = {}
        #: Mount namespaces that a bind mount keeps, as snapd's: inode to mount point.
        self.kept_namespaces: Dict[int, str] = {}

    def read(self, table):
        """Take note of what one mount table has in use."""
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

    def _note(self, entry, table):
        kept = _NAMESPACE.fullmatch(entry.root) if entry.fs_type == "nsfs" else None
        if kept is not None:
            self.kept_namespaces[int(kept.group(1))] = entry.mount_point
        evidence = Evidence(table, entry.mount_point)
        for layer in self._layers_of(entry, os.path.join(os.path.dirname(table), "root")):
            known = self.found.setdefault(layer, [])
            if evidence not in known:
                known.append(evidence)

    def _layers_of(self, entry, root):
        """Ids of the layers that a mount uses."""
        yield from self._layer_at(entry.mount_point, self._home)
        if entry.fs_type == "overlay":
            for option in entry.super_options:
                key, _equals, value = option.partition("=")
                if key in _FOLDER_OPTIONS:
                    for folder in _BETWEEN_LOWERS.split(value):
                        yield from self._layer_of_folder(_ESCAPED.sub(r"\1", folder), root)
        elif self._inside and entry.device == self._inside[0]:
            yield from self._layer_at(entry.root, self._inside[1])

    def _layer_of_folder(self, folder, root):
        """Id of the layer that an overlay's folder is: one or none."""
        if not folder.startswith("/"):
            yield from self._named(folder)
            return
        found = list(self._layer_at(folder, self._home))
        yield from found or self._by_another_path(folder, root)

    def _layer_at(self, path, home):
        if path.startswith(home.rstrip("/") + "/"):
            yield from self._named(path[len(home.rstrip("/")) + 1 :])

    def _named(self, path):
        """Id of the layer that a path relative to the home is in: one or none."""
        first, _slash, rest = path.partition("/")
        if first == LINK_DIR:
            first = self._links.get(rest.partition("/")[0])
        if first in self._ids:
            yield first

    def _by_another_path(self, folder, root):
        """The same of a folder that is not below the home by its path: through a link, or in another mount namespace.

        :param root: root folder of a process in the mount's namespace (str).
        """
        above, _slash, last = folder.rpartition("/")
        parent = os.path.basename(above)
        layer, last = (self._links.get(last), DIFF) if parent == LINK_DIR else (parent, last)
        try:
            ours = os.stat(os.path.join(self._home, layer or "", last))
        except (OSError, ValueError):
            return
        for place in (root + folder, folder):
            try:
                if not os.path.samestat(ours, os.stat(place)):
                    return
                break
            except (OSError, ValueError):
                continue  # the mount is older than this root; if no root shows the folder, it may well be ours
        if layer in self._ids:
            yield layer


def _where(home):
    """(device, path) of the home within its own file system, as a bind mount would name it; None where unknown."""
    best = None
    for entry in mountinfo.mounts():
        point = entry.mount_point.rstrip("/") + "/"
        if (home + "/").startswith(point) and (best is None or len(point) >= len(best[0])):
            best = point, entry
    if best is None:
        return None
    point, entry = best
    below = home[len(point) :] if len(home) >= len(point) else ""
    return entry.device, os.path.join(entry.root, below).rstrip("/")
