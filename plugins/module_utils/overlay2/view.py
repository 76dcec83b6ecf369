# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The files of a chain of layers, as they show without a mount.

A view reads the open directories of a layer and of those below it by the rules of overlayfs, so it serves readers who
may not mount. One directory is read at a time: opening a path costs what is in that directory, not in the layer.

Paths are absolute within the layer, the root being ``""``; names that are not UTF-8 come with surrogate escapes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Callable, Iterator, NamedTuple, Optional, Sequence, Tuple

from . import changes
from .changes import ChangeKind, listing, lstat
from .errors import LayerDamaged, Overlay2Error, from_os_error, translated
from .home.layout import check_id
from .home.opening import Home, Opened, home_of
from .linux import beneath, fs, xattr
from .stack import Part, Place, Stack
from .waste import Waste, measure

if TYPE_CHECKING:
    from .home.reading import LayerReader

#: Without waiting for a pipe or a device, and without following a link.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Entry(NamedTuple):
    """One name in a directory."""

    name: str
    path: str
    #: lstat(2) of the file that shows; of the one that is gone, if the layer deleted it.
    info: os.stat_result
    #: What the viewed layer did to it; None if it is only passed on.
    kind: Optional[ChangeKind]
    #: Id of the layer it comes from; "" for a whiteout that hides nothing.
    owner: str
    #: A directory that hides the one of its name in the layers below its own.
    opaque: bool = False
    #: A renamed directory: its path or name in the layers below its own, whose content it shows; "" for the same.
    redirect: str = ""
    #: A file whose data is in a layer below its own: only its attributes were changed.
    metacopy: bool = False

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)


class Version(NamedTuple):
    """What one layer of the chain has at a path."""

    owner: str
    info: os.stat_result
    whiteout: bool
    opaque: bool
    #: It is part of what the chain shows; otherwise a layer above hides it.
    shows: bool
    #: Its path in that layer, if a redirect makes that another one; "" for the same.
    path: str = ""
    #: Its data is in a layer below.
    metacopy: bool = False


@contextlib.contextmanager
def chain_view(opened: Home | Opened, layer: str) -> Iterator[ChainView]:
    """A :class:`ChainView` of a layer and all below it, for the length of a ``with`` block.

    A lower layer that cannot be opened is left out and described in the view's ``problems``.

    :param opened: the home, or a driver of it; one that was opened for reading will do.
    :raises InvalidLayerId: no layer can have that id.
    :raises LayerNotFound: there is no such layer, or it vanished while it was read.
    :raises LayerDamaged: its own directory is missing.
    :raises Overlay2Error: the kernel refused, for lack of rights for example.
    """
    check_id(layer)
    home = home_of(opened)
    store = home.store
    with contextlib.ExitStack() as stack:
        roots = {_open_own(stack, store, layer): layer}
        problems = []
        try:
            chain = store.lower_chain(layer)
        except LayerDamaged as error:
            chain = []
            problems.append(error.message)
        for lower in chain:
            if lower.problem:
                problems.append(lower.problem)
                continue
            try:
                roots[fs.open_on(stack, lower.path)] = lower.id
            except OSError as error:
                problems.append("its lower layer %s can't be read: %s" % (lower.id, error.strerror))
        with translated("it can't be read", layer=layer):
            yield ChainView(roots, home.features.xattr_class, tuple(problems))


def _open_own(stack: contextlib.ExitStack, store: LayerReader, layer: str) -> int:
    store.require(layer)
    hidden = store.why_hidden(layer)
    if hidden:
        remedy = "Have its engine mount it, for example with 'podman image mount'"
        raise Overlay2Error(
            "its files can't be read: " + hidden, layer=layer, path=store.upper_dir(layer), remedy=remedy
        )
    try:
        return fs.open_on(stack, store.upper_dir(layer))
    except FileNotFoundError as error:
        raise LayerDamaged(
            "its %s folder is missing" % os.path.basename(store.upper_dir(layer)),
            layer=layer,
            path=error.filename,
            remedy="Remove the layer and create it again",
        ) from error
    except OSError as error:
        raise from_os_error(Overlay2Error, "its files can't be read", error, layer=layer) from error


class ChainView:
    """What a layer and those below it show; made by :func:`chain_view`, whose errors its methods raise.

    :param roots: open directories and the layers they belong to, uppermost first.
    :param problems: what of the chain is missing, in plain sentences.
    """

    def __init__(self, roots: dict[int, str], xattr_class: str, problems: Tuple[str, ...] = ()) -> None:
        self.problems = problems
        self._owners = roots
        self._roots = list(roots)
        self._top = self._roots[0]
        self._stack = Stack(self._roots, xattr_class)

    @property
    def layers(self) -> list[str]:
        """Ids of the layers that are seen, uppermost first."""
        return list(self._owners.values())

    # Directories

    def own(self, folder: str = "") -> list[Entry]:
        """The layer's own entries in a directory, sorted by name.

        A whiteout, or an entry that an opaque directory hides, appears as the file that it hides, with the kind DELETE.
        A directory that exists only because something below it changed has the kind None.

        :raises Overlay2Error: the directory can't be read.
        """
        below = self._below(folder)
        state = self._state(folder)
        if state == _DELETED:
            return self._deleted(below, folder, ())
        if state == _ABSENT:
            return []
        here = listing(self._top, folder)
        marked = self._stack.folder_marks(self._top, folder).whiteouts
        found = [self._own_entry(below, folder + "/" + name, name, info, marked) for name, info in here.items()]
        if self._is_alone(folder):
            found += self._deleted(below, folder, here)
        return sorted(found, key=_by_name)

    def merged(self, folder: str = "") -> list[Entry]:
        """The entries of a directory of the mounted layer, and those that the layer deleted there, sorted by name.

        :raises Overlay2Error: the directory can't be read.
        """
        found = self.own(folder)
        if self._state(folder) == _DELETED or self._is_alone(folder):
            return found
        own_names = {entry.name for entry in found}
        for name, place in self._stack.names(self._below(folder)).items():
            if name not in own_names:
                found.append(self._entry(folder + "/" + name, name, place, None))
        return sorted(found, key=_by_name)

    def _own_entry(self, below: list[Part], path: str, name: str, info: os.stat_result, marked: bool) -> Entry:
        place = Place(self._top, path, info)
        before, _parts = self._stack.look_up(below, name)
        if self._stack.is_whiteout(self._top, path, info, marked):
            if before is None:
                return Entry(name, path, info, ChangeKind.DELETE, "")
            return self._entry(path, name, before, ChangeKind.DELETE)
        if before is None:
            return self._entry(path, name, place, ChangeKind.ADD)
        differs = changes.differs(path, changes.Place(self._top, info), changes.Place(before.root, before.info))
        # A file that is the same was copied up, and is stored once more.
        return self._entry(path, name, place, ChangeKind.MODIFY if differs or not place.is_folder else None)

    def _entry(self, path: str, name: str, place: Place, kind: Optional[ChangeKind]) -> Entry:
        owner = self._owners[place.root]
        if kind == ChangeKind.DELETE:
            return Entry(name, path, place.info, kind, owner)
        if place.is_folder:
            marks = self._stack.folder_marks(place.root, place.path)
            return Entry(name, path, place.info, kind, owner, marks.opaque, marks.redirect)
        return Entry(
            name, path, place.info, kind, owner, metacopy=self._stack.is_metacopy(place.root, place.path, place.info)
        )

    def _deleted(self, below: list[Part], folder: str, here: Sequence[str] | dict[str, os.stat_result]) -> list[Entry]:
        """Entries that show in the layers below, and not in this one."""
        return [
            self._entry(folder + "/" + name, name, place, ChangeKind.DELETE)
            for name, place in sorted(self._stack.names(below).items())
            if name not in here
        ]

    def _below(self, folder: str) -> list[Part]:
        """The parts of a directory in the layers below, where a redirect of the layer itself says."""
        for path in _prefixes(folder):
            info = lstat(self._top, path)
            if info is None or not stat.S_ISDIR(info.st_mode):
                break
            if self._stack.folder_marks(self._top, path).redirect:
                return [part for part in self._stack.parts(folder) if part.root != self._top]
        return self._stack.parts(folder, 1)

    def _state(self, folder: str) -> str:
        """What the layer itself has at a directory: it (PRESENT), nothing (ABSENT), or what hides it (DELETED)."""
        for path in _prefixes(folder):
            info = lstat(self._top, path)
            if info is None:
                return _DELETED if self._is_alone(os.path.dirname(path).rstrip("/")) else _ABSENT
            if not stat.S_ISDIR(info.st_mode):
                return _DELETED
        return _PRESENT

    def _is_alone(self, folder: str) -> bool:
        """True if the layer's own directory, or one that it is in, is opaque."""
        for path in _prefixes(folder):
            info = lstat(self._top, path)
            if info is None or not stat.S_ISDIR(info.st_mode):
                return False
            if self._stack.folder_marks(self._top, path).opaque:
                return True
        return False

    # Single paths

    def owner(self, path: str) -> str | None:
        """Id of the layer that the file at ``path`` comes from; None if nothing shows there."""
        place = self._find(path)
        return None if place is None else self._owners[place.root]

    def versions(self, path: str) -> list[Version]:
        """What each layer of the chain has at ``path``, uppermost first."""
        showing = {part.root: part.path for part in self._showing(path)}
        found = []
        for root in self._roots:
            there = showing.get(root, path)
            info = _lstat_without_links(root, there)
            if info is None:
                continue
            marked = self._stack.folder_marks(root, _parent(there)).whiteouts
            is_folder = stat.S_ISDIR(info.st_mode)
            found.append(
                Version(
                    owner=self._owners[root],
                    info=info,
                    whiteout=self._stack.is_whiteout(root, there, info, marked),
                    opaque=is_folder and bool(there) and self._stack.folder_marks(root, there).opaque,
                    shows=root in showing,
                    path="" if there == path else there,
                    metacopy=self._stack.is_metacopy(root, there, info),
                )
            )
        return found

    def link_target(self, path: str) -> str | None:
        """The target of the symbolic link at ``path``; None if that is not a link."""
        place = self._find(path)
        if place is None or not stat.S_ISLNK(place.info.st_mode):
            return None
        return os.readlink(place.path[1:], dir_fd=place.root)

    def attributes(self, path: str) -> list[str]:
        """Names of the extended attributes of the file at ``path``."""
        place = self._find(path)
        if place is None:
            return []
        name = os.path.basename(place.path)
        parent = os.open(os.path.dirname(place.path)[1:] or ".", fs.OPEN_DIRECTORY_NOFOLLOW, dir_fd=place.root)
        try:
            return sorted(xattr.names(xattr.below(parent, os.fsencode(name or "."))))
        finally:
            os.close(parent)

    def head(self, path: str, length: int = 4096) -> bytes | None:
        """The first bytes of the file that shows at ``path``; None if it is not a regular file.

        Only the layers' own files are opened, whatever changes meanwhile: no link is followed on the way.

        :param length: most bytes to read.
        """
        parts = self._stack.parts(_parent(path))
        place = self._stack.data_of(parts, os.path.basename(path)) if path else None
        if place is None:
            return None
        descriptor = _open_file(place.root, place.path)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return os.read(descriptor, length)
        finally:
            os.close(descriptor)

    def _find(self, path: str) -> Place | None:
        """The place of the file that shows at ``path``."""
        if not path:
            return Place(self._top, "", os.fstat(self._top))
        place, _parts = self._stack.look_up(self._stack.parts(_parent(path)), os.path.basename(path))
        return place

    def _showing(self, path: str) -> list[Part]:
        """The parts of a directory, or the one place of a file, that show at ``path``."""
        place = self._find(path)
        if place is None:
            return []
        return self._stack.parts(path) if place.is_folder else [Part(place.root, place.path)]

    # The chain as a whole

    def waste(self, worst: int = 50, progress: Callable[[int], None] | None = None) -> Waste:
        """How much the chain stores that it does not show.

        Every directory of every layer is read, so this takes as long as measuring them all.

        :param worst: how many paths to name.
        :param progress: called with the number of entries seen so far after each directory; an exception ends the walk.
        :raises Overlay2Error: a directory was renamed (``redirect_dir``), so files show at other paths.
        """
        return measure(self._roots, self._stack, worst, progress)


_PRESENT, _ABSENT, _DELETED = "present", "absent", "deleted"


def _by_name(entry: Entry) -> bytes:
    return os.fsencode(entry.name)


def _parent(path: str) -> str:
    return os.path.dirname(path).rstrip("/")


def _prefixes(path: str) -> list[str]:
    """``/a``, ``/a/b``, ``/a/b/c`` of ``/a/b/c``; nothing for the root."""
    names = path.split("/")[1:]
    return ["/" + "/".join(names[: count + 1]) for count in range(len(names))]


def _lstat_without_links(root: int, path: str) -> os.stat_result | None:
    """lstat(2) of a path if all its parents are directories of that layer itself."""
    for folder in _prefixes(path)[:-1]:
        info = lstat(root, folder)
        if info is None or not stat.S_ISDIR(info.st_mode):
            return None
    return lstat(root, path or "/.")


def _open_file(root: int, path: str) -> int:
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
            below = os.open(name, fs.OPEN_DIRECTORY_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = below
        return os.open(os.path.basename(path), _FILE, dir_fd=current)
    finally:
        os.close(current)
