# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Reads a home in the graph drivers' format, the only module that does. Nothing here changes a home."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
from typing import Iterable, Iterator

from ..errors import LayerDamaged, LayerNotFound
from ..linux import fs
from .layer import Layer, LayerPaths, LowerDirectory
from .layout import (
    COMMITTED,
    COMPOSEFS,
    DIFF,
    LINK,
    LINK_DIR,
    LOWER,
    MAX_DEPTH,
    MERGED,
    OWN_NAMES,
    WORK,
    LayerFiles,
    LayerRecord,
)

log = logging.getLogger("overlay2")

_LINK_TARGET = re.compile(r"\.\./([^/]+)/%s/?" % DIFF)


class GraphDriverStore:
    """The layers of a home of dockerd, containers/storage or this project: a :class:`~.reading.LayerReader`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def at(self, layer_id: str, *names: str) -> str:
        """Returns the path of a layer's directory, or of something in it."""
        return "/".join((self.path, layer_id, *names))

    def files(self, layer_id: str) -> LayerFiles:
        """Returns the layer's small files, not yet read: for one call, or for as long as the layer's lock is held."""
        return LayerFiles(self.path, layer_id)

    # As LayerReader has it

    def problems(self) -> list[str]:
        if os.path.isdir(os.path.join(self.path, LINK_DIR)):
            return []
        return ["the folder %s/ is missing, so no layer with a parent can be mounted" % LINK_DIR]

    def ids(self) -> list[str]:
        with os.scandir(self.path) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted(name for name in names if self.is_layer(name))

    def exists(self, layer_id: str) -> bool:
        return os.path.isdir(self.at(layer_id))

    def is_layer(self, layer_id: str) -> bool:
        """A layer is a directory that holds a ``diff`` or a ``link``, or one that may not be looked into."""
        return layer_id not in OWN_NAMES and (_may_be(self.at(layer_id, DIFF)) or _may_be(self.at(layer_id, LINK)))

    def require(self, layer_id: str) -> str:
        path = self.at(layer_id)
        if not os.path.isdir(path):
            raise LayerNotFound(
                "no such layer in %s" % self.path,
                layer=layer_id,
                path=path,
                remedy="Create it first, or check the id and the home",
            )
        return path

    def layers(self, ids: Iterable[str] | None = None) -> Iterator[Layer]:
        links = self.links()
        for layer_id in self.ids() if ids is None else sorted(ids):
            with contextlib.suppress(FileNotFoundError):
                yield self.describe(layer_id, links)

    def chains(self) -> GraphDriverChains:
        return GraphDriverChains(self)

    def watched(self) -> tuple[str, str]:
        return self.path, os.path.join(self.path, LINK_DIR)

    def children(self, layer_id: str) -> list[str]:
        try:
            link = self.files(layer_id).content(LINK)
        except LayerDamaged:
            return []
        if not link:
            return []
        wanted = b"%s/%s" % (LINK_DIR.encode("ascii"), link)
        return [other for other in self.ids() if self._raw_lower(other).split(b":", 1)[0] == wanted]

    def upper_dir(self, layer_id: str) -> str:
        return self.at(layer_id, DIFF)

    def why_hidden(self, layer_id: str) -> str:
        if os.path.isdir(self.at(layer_id, COMPOSEFS)):
            return "its tree is in a composefs image, and its diff folder holds objects by their digest"
        return ""

    def merged_dir(self, layer_id: str) -> str:
        return self.at(layer_id, MERGED)

    def paths(self, layer_id: str) -> LayerPaths:
        return LayerPaths(self.upper_dir(layer_id), self.at(layer_id, WORK), self.merged_dir(layer_id))

    def lower_dirs(self, layer_id: str) -> list[str]:
        return self.resolve_all(self.files(layer_id))

    def lower_chain(self, layer_id: str) -> list[LowerDirectory]:
        found = []
        for link in self.files(layer_id).lower_links:
            try:
                path = self.resolve(layer_id, link)
                lower_id = os.path.basename(os.path.dirname(path))
                hidden = self.why_hidden(lower_id)
                problem = "the files of its lower layer %s can't be read: %s" % (lower_id, hidden) if hidden else ""
                found.append(LowerDirectory(lower_id, path, problem))
            except LayerDamaged as error:
                found.append(LowerDirectory(link, "", error.message))
        return found

    def has_parent(self, layer_id: str) -> bool:
        return os.path.lexists(self.at(layer_id, LOWER))

    def layer_at(self, path: str) -> str | None:
        first, _slash, rest = path.partition("/")
        if first == LINK_DIR:
            return layer_of_link(os.path.join(self.path, LINK_DIR, rest.partition("/")[0]))
        return first if first and first not in OWN_NAMES else None

    def created(self, layer_id: str) -> float | None:
        """The ``link`` file is written once, when the layer is created; without one the directory's time serves."""
        for name in (LINK, ""):
            with contextlib.suppress(OSError):
                info = os.lstat(self.at(layer_id, name))
                if not name or stat.S_ISREG(info.st_mode):
                    return info.st_mtime
        return None

    # Chains

    def resolve(self, layer_id: str, link: str) -> str:
        """Returns the directory that one entry of the layer's ``lower`` file stands for; one step of getLowerDirs.

        :raises LayerDamaged: the symbolic link is missing.
        """
        path = os.path.join(self.path, link)
        try:
            target = os.readlink(path)
        except OSError as error:
            raise LayerDamaged(
                "its lower chain names %s, which can't be followed: %s" % (link, error.strerror),
                layer=layer_id,
                path=path,
                remedy="If the lower layer's folder still exists, link it again: ln -s ../<id>/diff %s" % path,
            ) from error
        return os.path.normpath(os.path.join(self.path, LINK_DIR, target))

    def resolve_all(self, files: LayerFiles) -> list[str]:
        """Returns the directories of the lower layers, uppermost first; moby's getLowerDirs.

        :raises LayerDamaged: a link of the chain is missing.
        """
        return [self.resolve(files.layer_id, link) for link in files.lower_links]

    def is_parent(self, files: LayerFiles, parent: str) -> bool:
        """True if ``parent`` is the layer directly below, "" being none; moby's isParent."""
        try:
            lowers = self.resolve_all(files)
        except LayerDamaged:
            return False
        return self.is_first(lowers, parent)

    def is_first(self, lowers: list[str], parent: str) -> bool:
        """True if a chain of directories begins with ``parent``, or is empty and ``parent`` is "" ."""
        if not lowers or not parent:
            return not lowers and not parent
        return os.path.dirname(lowers[0]) == os.path.normpath(self.at(parent))

    def parent_files(self, parent: str) -> LayerFiles:
        """Returns the files of a layer that is to be a parent.

        :raises LayerNotFound: it does not exist.
        """
        files = self.files(parent)
        if files.content(LINK) is None:
            self.require(parent)
        return files

    def stands_on(self, layer_id: str, link: str) -> bool:
        """True if the layer has ``l/<link>`` in its chain; for a damaged layer, as far as its file can be read."""
        return os.fsencode("%s/%s" % (LINK_DIR, link)) in self._raw_lower(layer_id).split(b":")

    def _raw_lower(self, layer_id: str) -> bytes:
        try:
            return self.files(layer_id).content(LOWER) or b""
        except LayerDamaged as error:
            log.warning("%s", error)
            return b""

    # Single layers

    def committed(self, layer_id: str) -> bool:
        """True if the layer has been a parent."""
        return os.path.exists(self.at(layer_id, COMMITTED))

    def open_diff(self, stack: contextlib.ExitStack, layer_id: str) -> int:
        """Returns a descriptor of the layer's ``diff`` directory, closed with ``stack``.

        :raises LayerDamaged: the directory, or the whole layer, is missing.
        :raises OSError: it cannot be opened.
        """
        try:
            return fs.open_on(stack, self.at(layer_id, DIFF))
        except FileNotFoundError as error:
            raise LayerDamaged(
                "its diff folder is missing",
                layer=layer_id,
                path=error.filename,
                remedy="Remove the layer and create it again",
            ) from error

    def links(self) -> dict[str, str | None]:
        """Returns all of ``l/``: link name to layer id, None for a link that leads to no layer."""
        found: dict[str, str | None] = {}
        for name, target in self.link_targets().items():
            layer_id = layer_of_target(target)
            found[name] = layer_id if layer_id is not None and self.exists(layer_id) else None
        return found

    def link_targets(self) -> dict[str, str | None]:
        """Returns all of ``l/`` as it is: name to the target of a symbolic link, None for anything else."""
        try:
            names = os.listdir(os.path.join(self.path, LINK_DIR))
        except FileNotFoundError:
            return {}
        return {name: _target(os.path.join(self.path, LINK_DIR, name)) for name in names}

    def describe(self, layer_id: str, links: dict[str, str | None]) -> Layer:
        """Returns the layer, whatever state it is in: ``problems`` says what is wrong with it.

        :param links: the result of :meth:`links`.
        :raises LayerNotFound: the directory is gone.
        """
        self.require(layer_id)
        files = self.files(layer_id)
        problems: list[str] = []
        try:
            link = files.link
            if links.get(link) != layer_id:
                problems.append("its link %s/%s is missing or leads elsewhere" % (LINK_DIR, link))
        except LayerDamaged as error:
            link = ""
            problems.append(error.message)
        problems += _problem_of_directory(files.path + "/" + DIFF, DIFF)
        try:
            lower_links = files.lower_links
            parent = links.get(lower_links[0][len(LINK_DIR) + 1 :]) if lower_links else ""
        except LayerDamaged as error:
            lower_links, parent = (), None
            problems.append(error.message)
        lower = _named(lower_links, links, problems)
        problems += _problems_of_chain(lower_links, link)
        try:
            record = files.record
        except LayerDamaged as error:
            record = LayerRecord()
            problems.append(error.message)
        return Layer(
            id=layer_id,
            parent=parent,
            lower=lower,
            lower_links=lower_links,
            link=link,
            committed=self.committed(layer_id),
            read_write=record.read_write,
            diff_id=record.diff_id,
            owner=record.owner,
            size=None if record.read_write else record.size,
            problems=tuple(problems),
        )


class GraphDriverChains:
    """The lower chains of a home, by the links as they were when this was made; see :class:`~.reading.Chains`."""

    def __init__(self, store: GraphDriverStore) -> None:
        self._store = store
        self._links = store.links()

    def link(self, layer_id: str) -> str:
        with contextlib.suppress(LayerDamaged):
            return self._store.files(layer_id).link
        return ""

    def lower(self, layer_id: str) -> tuple[str, ...] | None:
        with contextlib.suppress(LayerDamaged):
            entries = self._store.files(layer_id).lower_links
            return tuple(self._links.get(entry[len(LINK_DIR) + 1 :]) or entry for entry in entries)
        return None


def layer_of_link(path: str) -> str | None:
    """Returns the id of the layer that a symbolic link in ``l/`` names; None if it does not name one."""
    return layer_of_target(_target(path))


def layer_of_target(target: str | None) -> str | None:
    """Returns the id of the layer that a target ``../<id>/diff`` names; None for another target, or None."""
    match = _LINK_TARGET.fullmatch(target) if target else None
    return match.group(1) if match else None


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _named(lower_links: tuple[str, ...], links: dict[str, str | None], problems: list[str]) -> tuple[str, ...]:
    """Returns the layers that a chain names; a broken link stays as it is written, and adds to ``problems``."""
    found = []
    for entry in lower_links:
        below = links.get(entry[len(LINK_DIR) + 1 :])
        if below is None:
            problems.append("its lower chain names %s, which leads nowhere" % entry)
        found.append(below or entry)
    return tuple(found)


def _problems_of_chain(lower_links: tuple[str, ...], link: str) -> list[str]:
    found = []
    if len(lower_links) > MAX_DEPTH:
        found.append("its lower chain has %d entries, and %d is the most" % (len(lower_links), MAX_DEPTH))
    if link and "%s/%s" % (LINK_DIR, link) in lower_links:
        found.append("its lower chain names itself")
    elif len(set(lower_links)) < len(lower_links):
        found.append("its lower chain names a layer twice")
    return found


def _problem_of_directory(path: str, name: str) -> list[str]:
    """Returns what is wrong with a directory that should exist: nothing, or one sentence."""
    try:
        is_directory = stat.S_ISDIR(os.lstat(path).st_mode)
    except PermissionError as error:
        return ["its %s folder can't be looked at: %s" % (name, error.strerror)]
    except OSError:
        is_directory = False
    return [] if is_directory else ["its %s folder is missing" % name]


def _may_be(path: str) -> bool:
    """True if something is at ``path``, or may be as far as this process is allowed to look."""
    try:
        os.lstat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
