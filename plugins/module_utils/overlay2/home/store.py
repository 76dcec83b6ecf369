# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""The graph driver's format, read: links, lower chains, layers. Nothing here changes a home."""

from __future__ import annotations

import logging
import os
import re
import stat

from ..errors import HINTS, DepthExceeded, LayerDamaged, LayerNotFound
from ..linux import fs
from .layout import (
    COMMITTED,
    DIFF,
    LINK,
    LINK_DIR,
    LOWER,
    LOWER_TEXT,
    MAX_DEPTH,
    OWN_NAMES,
    RECORD,
    LayerRecord,
    is_link_name,
    read_small,
)
from .reading import Layer

log = logging.getLogger("overlay2")


class Store:
    """A home, for reading.

    :param home: its folder (str).
    """

    def __init__(self, home):
        self.home = home

    def path(self, layer, *names):
        """Path (str) of a layer's folder, or of something in it."""
        return "/".join((self.home, layer) + names)

    def open_diff(self, stack, layer):
        """A descriptor (int) of the layer's ``diff`` folder, closed with ``stack``.

        :raises LayerDamaged: it is missing, or the whole layer is.
        :raises OSError: it can't be opened.
        """
        try:
            return fs.open_on(stack, self.path(layer, DIFF))
        except FileNotFoundError as error:
            raise LayerDamaged(
                "its diff folder is missing",
                layer=layer,
                path=error.filename,
                remedy="Remove the layer and create it again",
            ) from error

    def exists(self, layer):
        """Whether the layer's folder is there (bool)."""
        return os.path.isdir(self.path(layer))

    def require(self, layer):
        """The layer's folder (str).

        :raises LayerNotFound: it is not there.
        """
        path = self.path(layer)
        if not os.path.isdir(path):
            raise LayerNotFound(
                "no such layer in %s" % self.home,
                layer=layer,
                path=path,
                remedy="Create it first, or check the id and the home",
            )
        return path

    def read(self, layer, name):
        """Content (bytes) of one of the layer's own files; None where it is missing.

        :raises LayerDamaged: it is there and can't be read.
        """
        path = self.path(layer, name)
        try:
            return read_small(path)
        except OSError as error:
            raise LayerDamaged(
                "its %s file can't be read: %s" % (name, error.strerror),
                layer=layer,
                path=path,
                remedy=HINTS.get(error.errno, "Remove the layer and create it again"),
            ) from error

    def link(self, layer):
        """The layer's name in ``l/`` (str).

        :raises LayerDamaged: its ``link`` file is missing, empty or no such name.
        """
        content = self.read(layer, LINK)
        text = "" if content is None else os.fsdecode(content)
        if not is_link_name(text):
            state = "missing" if content is None else "empty" if not text else "not a link name"
            raise LayerDamaged(
                "its link file is %s" % state,
                layer=layer,
                path=self.path(layer, LINK),
                remedy="Find its name with 'ls -l %s' and write it there, or remove the layer" % self.path(LINK_DIR),
            )
        return text

    def lower_text(self, layer):
        """The ``lower`` file as it stands (str); None where it is missing, which is a layer without parent.

        :raises LayerDamaged: the file is there and empty, or holds something else than names in ``l/``.
        """
        content = self.read(layer, LOWER)
        if content is None:
            return None
        text = os.fsdecode(content)
        if not LOWER_TEXT.fullmatch(text):
            raise LayerDamaged(
                "its lower file is %s, as after a power cut" % ("garbled" if content else "empty"),
                layer=layer,
                path=self.path(layer, LOWER),
                remedy="Remove the layer and create it again",
            )
        return text

    def has_lower(self, layer):
        """Whether the layer stands on others, and so is mounted to be used (bool): it has a ``lower`` file."""
        return os.path.lexists(self.path(layer, LOWER))

    def lower_links(self, layer):
        """Names of the lower layers as mounts use them, ``l/...`` each (tuple of str), uppermost first.

        :raises LayerDamaged: the ``lower`` file is empty or garbled.
        """
        text = self.lower_text(layer)
        return () if text is None else tuple(text.split(":"))

    def lower_for_child(self, parent):
        """Content of the ``lower`` file of a new child of ``parent`` (str); moby's getLower.

        :raises LayerNotFound: there is no such parent.
        :raises LayerDamaged: the parent's files are broken.
        :raises DepthExceeded: the child would have more than 128 lower layers.
        """
        try:
            link = self.link(parent)
        except LayerDamaged:
            self.require(parent)
            raise
        lowers = ("%s/%s" % (LINK_DIR, link),) + self.lower_links(parent)
        if len(lowers) > MAX_DEPTH:
            raise DepthExceeded(
                "max depth exceeded: it already has %d lower layers, and %d is the most" % (len(lowers) - 1, MAX_DEPTH),
                layer=parent,
                path=self.path(parent, LOWER),
                remedy="Merge some layers of the chain into one",
            )
        return ":".join(lowers)

    def resolve(self, layer, link):
        """Folder (str) that one entry of the layer's ``lower`` file stands for; moby's getLowerDirs, one step.

        :raises LayerDamaged: the symbolic link is missing.
        """
        path = os.path.join(self.home, link)
        try:
            target = os.readlink(path)
        except OSError as error:
            raise LayerDamaged(
                "its lower chain names %s, which can't be followed: %s" % (link, error.strerror),
                layer=layer,
                path=path,
                remedy="If the lower layer's folder still exists, link it again: ln -s ../<id>/diff %s" % path,
            ) from error
        return os.path.normpath(os.path.join(self.home, LINK_DIR, target))

    def lower_dirs(self, layer):
        """Folders of the lower layers (list of str), uppermost first; moby's getLowerDirs.

        :raises LayerDamaged: a link of the chain is missing.
        """
        return [self.resolve(layer, link) for link in self.lower_links(layer)]

    def is_parent(self, layer, parent):
        """Whether ``parent`` is the layer directly below, "" being none (bool); moby's isParent."""
        try:
            lowers = self.lower_dirs(layer)
        except LayerDamaged:
            return False
        if not lowers or not parent:
            return not lowers and not parent
        return os.path.dirname(lowers[0]) == os.path.normpath(self.path(parent))

    def committed(self, layer):
        """Whether the layer has been a parent (bool)."""
        return os.path.exists(self.path(layer, COMMITTED))

    def record(self, layer):
        """The :class:`LayerRecord` of the layer; an empty one where there is none."""
        content = self.read(layer, RECORD)
        return LayerRecord() if content is None else LayerRecord.decode(content)

    def ids(self):
        """Ids of all layers (list of str, sorted): folders with a ``diff`` or a ``link``, or that we may not look into.

        :raises OSError: the home can't be listed.
        """
        found = []
        with os.scandir(self.home) as entries:
            for entry in entries:
                if entry.name in OWN_NAMES or not entry.is_dir(follow_symlinks=False):
                    continue
                if _may_be(os.path.join(entry.path, DIFF)) or _may_be(os.path.join(entry.path, LINK)):
                    found.append(entry.name)
        return sorted(found)

    def links(self):
        """All of ``l/``: link name to layer id (dict of str), None for a link that leads to no layer."""
        found = {}
        try:
            names = os.listdir(os.path.join(self.home, LINK_DIR))
        except FileNotFoundError:
            return found
        for name in names:
            layer = _layer_of_link(os.path.join(self.home, LINK_DIR, name))
            found[name] = layer if layer is not None and self.exists(layer) else None
        return found

    def describe(self, layer, links):
        """The :class:`Layer`, whatever state it is in: what is wrong with it stands in ``problems``.

        :param links: what :meth:`links` returned.
        :raises LayerNotFound: the folder is gone.
        """
        self.require(layer)
        problems = []
        try:
            link = self.link(layer)
            if links.get(link) != layer:
                problems.append("its link %s/%s is missing or leads elsewhere" % (LINK_DIR, link))
        except LayerDamaged as error:
            link = ""
            problems.append(error.message)
        problems += _flaw_of_folder(self.path(layer, DIFF), "diff")
        try:
            lower_links = self.lower_links(layer)
            parent = links.get(lower_links[0][len(LINK_DIR) + 1 :]) if lower_links else ""
        except LayerDamaged as error:
            lower_links, parent = (), None
            problems.append(error.message)
        lower = []
        for entry in lower_links:
            below = links.get(entry[len(LINK_DIR) + 1 :])
            if below is None:
                problems.append("its lower chain names %s, which leads nowhere" % entry)
            lower.append(below or entry)
        if len(lower_links) > MAX_DEPTH:
            problems.append("its lower chain has %d entries, and %d is the most" % (len(lower_links), MAX_DEPTH))
        if link and "%s/%s" % (LINK_DIR, link) in lower_links:
            problems.append("its lower chain names itself")
        elif len(set(lower_links)) < len(lower_links):
            problems.append("its lower chain names a layer twice")
        try:
            record = self.record(layer)
        except LayerDamaged as error:
            record = LayerRecord()
            problems.append(error.message)
        return Layer(
            id=layer,
            parent=parent,
            lower=tuple(lower),
            lower_links=lower_links,
            link=link,
            committed=self.committed(layer),
            read_write=record.read_write,
            diff_id=record.diff_id,
            owner=record.owner,
            size=None if record.read_write else record.size,
            problems=tuple(problems),
        )

    def children(self, layer):
        """Ids of the layers that stand directly on this one (list of str, sorted)."""
        try:
            content = self.read(layer, LINK)
        except LayerDamaged:
            return []
        if not content:
            return []
        wanted = b"%s/%s" % (LINK_DIR.encode("ascii"), content)
        return [other for other in self.ids() if self._raw_lower(other).split(b":", 1)[0] == wanted]

    def stands_on(self, layer, link):
        """Whether the layer has ``l/<link>`` in its chain (bool); of one that is damaged, as far as can be told."""
        return os.fsencode("%s/%s" % (LINK_DIR, link)) in self._raw_lower(layer).split(b":")

    def _raw_lower(self, layer):
        try:
            return self.read(layer, LOWER) or b""
        except LayerDamaged as error:
            log.warning("%s", error)
            return b""


_LINK_TARGET = re.compile(r"\.\./([^/]+)/%s/?" % DIFF)


def _layer_of_link(path):
    try:
        match = _LINK_TARGET.fullmatch(os.readlink(path))
    except OSError:
        return None
    return match.group(1) if match else None


def _flaw_of_folder(path, name):
    """What is wrong with a folder that should be at ``path`` (list of str): nothing, or one sentence."""
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except PermissionError as error:
        return ["its %s folder can't be looked at: %s" % (name, error.strerror)]
    except OSError:
        is_folder = False
    return [] if is_folder else ["its %s folder is missing" % name]


def _may_be(path):
    """Whether something is at ``path`` (bool), or may be, as far as we are allowed to look."""
    try:
        os.lstat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
