# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What a chain of layers shows at a path, told without mounting it.

A view stands on the open ``diff`` folders of a layer and of those below, and answers by the rules of overlayfs
(Documentation/filesystems/overlayfs.rst), so it serves readers who may not mount. One folder at a time is read: opening
a path costs what is in that folder, not what is in the layer.

Paths are absolute within the layer, the root being ``""``; names that are no UTF-8 come with surrogate escapes.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import stat
from typing import NamedTuple, Optional, Tuple

from .changes import ChangeKind, LowerView, NotComparable, Place, differs, listing, lstat
from .errors import LayerDamaged, Overlay2Error, from_os_error
from .home.layout import check_id
from .linux import beneath, fs, xattr
from .linux.overlayfs import is_whiteout

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: Neither a pipe nor a device may hold a reader up, and a link is no file of the layer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    path: str
    #: What lstat(2) says of what shows; of what is gone, where the layer deleted it.
    info: os.stat_result
    #: What the viewed layer did to it (a ``ChangeKind``); None where it only passes it on.
    kind: Optional[ChangeKind]
    #: Id of the layer it comes from; "" for a whiteout that hides nothing.
    owner: str
    #: A folder that hides everything of its name below the layer it comes from.
    opaque: bool = False

    @property
    def is_folder(self):
        return stat.S_ISDIR(self.info.st_mode)


class Version(NamedTuple):
    """What one layer of the chain has at a path."""

    owner: str
    info: os.stat_result
    whiteout: bool
    opaque: bool
    #: It is part of what the chain shows; else something above hides it.
    shows: bool


class Waste(NamedTuple):
    """What a chain stores and does not show: files that a layer further up wrote again or deleted."""

    #: Bytes of the files of all layers, a file with several names once.
    stored: int
    #: Bytes of those that are hidden.
    hidden: int
    #: The worst of it, most bytes first: (path, bytes, number of hidden copies).
    worst: Tuple[Tuple[str, int, int], ...]

    @property
    def score(self):
        """The share of what is stored that shows, 0.0 to 1.0."""
        return (self.stored - self.hidden) / self.stored if self.stored else 1.0


@contextlib.contextmanager
def chain_view(driver, layer):
    """A :class:`ChainView` of a layer and all below it, for the length of a ``with`` block.

    A lower layer that can't be opened is left out and stands in the view's ``problems``.

    :param driver: the home's :class:`~.basedriver.BaseDriver`; one for reading only serves.
    :param layer: id (str).
    :raises InvalidLayerId: no layer can have that id.
    :raises LayerNotFound: there is no such layer, or it vanished while it was read.
    :raises LayerDamaged: its own ``diff`` folder is missing.
    :raises Overlay2Error: the kernel refused, a missing right for example.
    """
    check_id(layer)
    store = driver.opened.store
    with contextlib.ExitStack() as stack:
        roots = {_open_own(stack, store, layer): layer}
        problems = []
        try:
            links = store.files(layer).lower_links
        except LayerDamaged as error:
            links = ()
            problems.append(error.message)
        for link in links:
            try:
                folder = store.resolve(layer, link)
                roots[fs.open_on(stack, folder)] = os.path.basename(os.path.dirname(folder))
            except LayerDamaged as error:
                problems.append(error.message)
            except OSError as error:
                problems.append("its lower layer %s can't be read: %s" % (link, error.strerror))
        try:
            yield ChainView(roots, driver.features.xattr_class, tuple(problems))
        except NotComparable as error:
            raise Overlay2Error(
                "only a mount can show that: %s" % error,
                layer=layer,
                remedy="Mount the layer and look at its merged folder",
            ) from error
        except OSError as error:
            if isinstance(error, Overlay2Error):
                raise
            raise from_os_error(Overlay2Error, "it can't be read", error, layer=layer) from error


def _open_own(stack, store, layer):
    store.require(layer)
    try:
        return store.open_diff(stack, layer)
    except OSError as error:
        if isinstance(error, Overlay2Error):
            raise
        raise from_os_error(Overlay2Error, "its files can't be read", error, layer=layer) from error


class ChainView:
    """What a layer and those below it show; made by :func:`chain_view`, whose errors its methods raise.

    :param roots: open ``diff`` folders and whose they are (dict of int to str), uppermost first.
    :param problems: what of the chain is missing, in plain sentences.
    """

    def __init__(self, roots, xattr_class, problems=()):
        self.problems = problems
        self._owners = roots
        self._roots = list(roots)
        self._top, self._lowers = self._roots[0], self._roots[1:]
        self._rules = LowerView(xattr_class)

    @property
    def layers(self):
        """Ids of the layers that are seen (list of str), uppermost first."""
        return list(self._owners.values())

    # Folders

    def own(self, folder=""):
        """What the layer itself has in a folder: list of :class:`Entry`, sorted by name.

        Whiteouts, and what an opaque folder hides, stand there as what they hide, with the kind DELETE. A folder that
        is there only for what changed below it has the kind None.

        :raises Overlay2Error: the folder can't be read.
        """
        below = self._adding(self._lowers, folder)
        state = self._state(folder)
        if state == _DELETED:
            return self._deleted(below, folder, ())
        if state == _ABSENT:
            return []
        here = listing(self._top, folder)
        found = [self._own_entry(below, folder + "/" + name, name, info) for name, info in here.items()]
        if self._is_alone(folder):
            found += self._deleted(below, folder, here)
        return sorted(found, key=_by_name)

    def merged(self, folder=""):
        """What shows in a folder of the mounted layer, with what the layer deleted there: list of :class:`Entry`.

        :raises Overlay2Error: the folder can't be read.
        """
        found = self.own(folder)
        if self._state(folder) == _DELETED or self._is_alone(folder):
            return found
        own_names = {entry.name for entry in found}
        below = self._adding(self._lowers, folder)
        for name, place in self._rules.names(below, folder).items():
            if name not in own_names:
                found.append(self._entry(folder + "/" + name, name, place, None))
        return sorted(found, key=_by_name)

    def _own_entry(self, below, path, name, info):
        before, _adding = self._rules.look_up(below, path)
        if is_whiteout(info):
            if before is None:
                return Entry(name, path, info, ChangeKind.DELETE, "")
            return self._entry(path, name, before, ChangeKind.DELETE)
        place = Place(self._top, info)
        if before is None:
            kind = ChangeKind.ADD
        else:
            kind = ChangeKind.MODIFY if differs(path, place, before) else None
            if kind is None and not place.is_folder:
                kind = ChangeKind.MODIFY  # copied up: the same to look at, and stored once more
        return self._entry(path, name, place, kind)

    def _entry(self, path, name, place, kind):
        opaque = place.is_folder and kind != ChangeKind.DELETE and self._rules.is_opaque(place.root, path)
        return Entry(name, path, place.info, kind, self._owners[place.root], opaque)

    def _deleted(self, below, folder, here):
        """What shows in the layers below and, by this layer's doing, no longer here."""
        return [
            self._entry(folder + "/" + name, name, place, ChangeKind.DELETE)
            for name, place in sorted(self._rules.names(below, folder).items())
            if name not in here
        ]

    def _adding(self, roots, folder):
        """Those of ``roots`` that have a part in ``folder``: none of its parents is hidden from them."""
        for path in _prefixes(folder):
            _top, roots = self._rules.look_up(roots, path)
        return roots

    def _state(self, folder):
        """What the layer itself has at a folder: it (PRESENT), nothing (ABSENT), or what hides it (DELETED)."""
        for path in _prefixes(folder):
            info = lstat(self._top, path)
            if info is None:
                return _DELETED if self._is_alone(os.path.dirname(path).rstrip("/")) else _ABSENT
            if not stat.S_ISDIR(info.st_mode):
                return _DELETED
        return _PRESENT

    def _is_alone(self, folder):
        """Whether the layer's own folder, or one it is in, is opaque."""
        for path in ["", *_prefixes(folder)]:
            info = lstat(self._top, path or "/.")
            if info is None or not stat.S_ISDIR(info.st_mode):
                return False
            if self._rules.is_opaque(self._top, path) and path:  # the kernel does not ask a layer's uppermost folder
                return True
        return False

    # Single paths

    def owner(self, path):
        """Id of the layer that what shows at ``path`` comes from (str); None where nothing shows."""
        place = self._find(path)
        return None if place is None else self._owners[place.root]

    def versions(self, path):
        """What each layer of the chain has at ``path``: list of :class:`Version`, uppermost first."""
        found, adding = [], self._roots
        showing = set(self._showing(path))
        for root in adding:
            info = _lstat_without_links(root, path)
            if info is None:
                continue
            opaque = stat.S_ISDIR(info.st_mode) and self._rules.is_opaque(root, path)
            found.append(Version(self._owners[root], info, is_whiteout(info), opaque, root in showing))
        return found

    def link_target(self, path):
        """Where the symbolic link that shows at ``path`` leads (str); None where it is no link."""
        place = self._find(path)
        if place is None or not stat.S_ISLNK(place.info.st_mode):
            return None
        return os.readlink(path[1:], dir_fd=place.root)

    def attributes(self, path):
        """Names of the extended attributes of what shows at ``path`` (list of str)."""
        place = self._find(path)
        if place is None:
            return []
        name = os.path.basename(path)
        parent = os.open(os.path.dirname(path)[1:] or ".", _FOLDER | os.O_NOFOLLOW, dir_fd=place.root)
        try:
            return sorted(xattr.names(xattr.below(parent, os.fsencode(name))))
        finally:
            os.close(parent)

    def head(self, path, length=4096):
        """The first bytes of the file that shows at ``path``; None where it is no regular file.

        Nothing but the layer's own file is opened, whatever changes meanwhile: no link is followed on the way.

        :param length: most bytes to read (int).
        """
        place = self._find(path)
        if place is None or not stat.S_ISREG(place.info.st_mode):
            return None
        descriptor = _open_file(place.root, path)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return os.read(descriptor, length)
        finally:
            os.close(descriptor)

    def _find(self, path):
        """The :class:`~.changes.Place` that shows at ``path``, or None."""
        place, _adding = self._rules.look_up(self._adding(self._roots, os.path.dirname(path).rstrip("/")), path)
        return place

    def _showing(self, path):
        place, adding = self._rules.look_up(self._adding(self._roots, os.path.dirname(path).rstrip("/")), path)
        if place is None:
            return ()
        return adding if place.is_folder else (place.root,)

    # The chain as a whole

    def waste(self, worst=50, progress=None):
        """How much the chain stores that it does not show: a :class:`Waste`.

        Every folder of every layer is read, so this takes as long as measuring them all.

        :param worst: how many paths to name.
        :param progress: called with the number of entries seen so far after each folder; what it raises ends the walk.
        """
        counter = _WasteCounter(self._rules, worst, progress)
        pending = [("", self._roots)]
        while pending:
            folder, roots = pending.pop()
            pending.extend(counter.visit(folder, roots))
        return counter.result()


_PRESENT, _ABSENT, _DELETED = "present", "absent", "deleted"


class _WasteCounter:
    """Adds up what is stored and what is hidden, one folder of all layers at a time."""

    def __init__(self, rules, worst, progress):
        self._rules = rules
        self._most = worst
        self._progress = progress
        self._worst = []
        self._stored = self._hidden = self._entries = 0
        self._seen = set()

    def result(self):
        worst = [(path, size, copies) for size, path, copies in sorted(self._worst, reverse=True)]
        return Waste(self._stored, self._hidden, tuple(worst))

    def visit(self, folder, roots):
        """Count one folder; returns (path, roots) of the folders in it that are still to be counted."""
        adding, covered, hidden = {}, set(), {}
        for root in roots:
            for name, info in listing(root, folder).items():
                self._entries += 1
                path = folder + "/" + name
                if name in covered or (name in adding and not stat.S_ISDIR(info.st_mode)):
                    covered.add(name)
                    size, copies = hidden.get(name, (0, 0))
                    hidden[name] = (size + self._tree(root, path, info), copies + (not is_whiteout(info)))
                elif stat.S_ISDIR(info.st_mode):
                    adding.setdefault(name, []).append(root)
                    if self._rules.is_opaque(root, path):
                        covered.add(name)
                else:
                    covered.add(name)
                    self._stored += self._size(info)
        for name, (size, copies) in hidden.items():
            self._note(folder + "/" + name, size, copies)
        if self._progress is not None:
            self._progress(self._entries)
        return [(folder + "/" + name, places) for name, places in adding.items()]

    def _note(self, path, size, copies):
        self._stored += size
        self._hidden += size
        if size:
            heapq.heappush(self._worst, (size, path, copies))
            if len(self._worst) > self._most:
                heapq.heappop(self._worst)

    def _tree(self, root, path, info):
        """Bytes of a hidden file, or of all files in a hidden folder."""
        if not stat.S_ISDIR(info.st_mode):
            return self._size(info)
        total, pending = 0, [path]
        while pending:
            folder = pending.pop()
            for name, below in listing(root, folder).items():
                self._entries += 1
                if stat.S_ISDIR(below.st_mode):
                    pending.append(folder + "/" + name)
                else:
                    total += self._size(below)
            if self._progress is not None:
                self._progress(self._entries)
        return total

    def _size(self, info):
        if info.st_nlink > 1:
            identity = (info.st_dev, info.st_ino)
            if identity in self._seen:
                return 0
            self._seen.add(identity)
        return 0 if is_whiteout(info) else info.st_size


def _by_name(entry):
    return os.fsencode(entry.name)


def _prefixes(path):
    """``/a``, ``/a/b``, ``/a/b/c`` of ``/a/b/c`` (list of str); nothing for the root."""
    names = path.split("/")[1:]
    return ["/" + "/".join(names[: count + 1]) for count in range(len(names))]


def _lstat_without_links(root, path):
    """lstat(2) of a path whose every parent is a folder of that root itself; else None."""
    for folder in _prefixes(path)[:-1]:
        info = lstat(root, folder)
        if info is None or not stat.S_ISDIR(info.st_mode):
            return None
    return lstat(root, path or "/.")


def _open_file(root, path):
    """A descriptor of a file beneath ``root``, with no link followed on the way."""
    try:
        return beneath.openat2(
            root, os.fsencode(path[1:]), _FILE, resolve=beneath.RESOLVE_BENEATH | beneath.RESOLVE_NO_SYMLINKS
        )
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    current = os.dup(root)
    try:
        for name in path[1:].split("/")[:-1]:
            below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = below
        return os.open(os.path.basename(path), _FILE, dir_fd=current)
    finally:
        os.close(current)
