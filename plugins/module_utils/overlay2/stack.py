# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Names as they show through a stack of layer directories, by the rules of overlayfs and without a mount.

Whiteouts, opaque directories, redirects and metacopy files are followed as fs/overlayfs/namei.c does
(Documentation/filesystems/overlayfs.rst). Nothing in a layer can lead out of it: each component of a redirect is looked
up by itself, and only directories are entered.
"""

from __future__ import annotations

import os
import stat
from typing import Iterable, NamedTuple, Optional, Sequence, Tuple

from .changes import listing, lstat, open_directory
from .linux import xattr
from .linux.overlayfs import is_whiteout


class Part(NamedTuple):
    """A directory of one layer that is part of a merged directory."""

    #: Descriptor of the layer's directory.
    root: int
    #: Path in that layer; "" for its root. A redirect makes it differ from the path that is shown.
    path: str
    #: It may hold whiteouts made of attributes (Linux 6.8).
    whiteouts: bool = False


class Place(NamedTuple):
    """Where one layer has a file or directory."""

    root: int
    path: str
    info: os.stat_result

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)


class Marks(NamedTuple):
    """The attributes that overlayfs keeps on a directory or file."""

    opaque: bool = False
    whiteouts: bool = False
    #: Where the content comes from in the layers below: an absolute path, or a name beside this one; "" for the same.
    redirect: str = ""
    #: The data of the file is in a layer below.
    metacopy: bool = False


class Stack:
    """A stack of layers.

    :param roots: descriptors of their directories, uppermost first.
    :param xattr_class: ``"trusted"`` or ``"user"``.
    """

    def __init__(self, roots: Sequence[int], xattr_class: str) -> None:
        self._roots = tuple(roots)
        self._opaque = xattr.opaque(xattr_class)
        self._redirect = xattr.redirect(xattr_class)
        self._metacopy = xattr.metacopy(xattr_class)
        self._whiteout = xattr.whiteout(xattr_class)
        self._known: dict[tuple[str, int], list[Part]] = {}

    def parts(self, folder: str, first: int = 0) -> list[Part]:
        """The directories that a merged directory is made of, uppermost first; none if it does not show.

        :param first: leave out so many of the upper layers.
        """
        if (folder, first) not in self._known:
            found = [self._root_part(root) for root in self._roots[first:]]
            for name in folder.split("/")[1:]:
                _top, found = self.look_up(found, name)
            self._known[folder, first] = found
        return self._known[folder, first]

    def _root_part(self, root: int) -> Part:
        # The kernel does not ask the root of a layer whether it is opaque.
        return Part(root, "", self.folder_marks(root, "").whiteouts)

    def look_up(self, parts: Iterable[Part], name: str) -> tuple[Place | None, list[Part]]:
        """Looks a name up in a merged directory: what shows there, and its parts if that is a directory."""
        top: Optional[Place] = None
        adding: list[Part] = []
        pending = list(parts)
        while pending:
            place, hides = self._at(pending.pop(0), name)
            if place is not None:
                top = top or place
                if not place.is_folder:
                    break  # on top it hides the layers below, under a directory it is hidden itself
                marks = self.folder_marks(place.root, place.path)
                adding.append(Part(place.root, place.path, marks.whiteouts))
                hides = hides or marks.opaque
                if marks.redirect and not hides:
                    name, pending = self._redirected(marks.redirect, name, place.root, pending)
            if hides:
                break
        return top, adding

    def data_of(self, parts: Iterable[Part], name: str) -> Place | None:
        """Where the data of a regular file is, which for a metacopy file is in a layer below; None if it is lost."""
        pending = list(parts)
        while pending:
            place, hides = self._at(pending.pop(0), name)
            if place is not None:
                if not stat.S_ISREG(place.info.st_mode):
                    return None
                marks = self.file_marks(place.root, place.path)
                if not marks.metacopy:
                    return place
                if marks.redirect:
                    name, pending = self._redirected(marks.redirect, name, place.root, pending)
            if hides:
                break
        return None

    def names(self, parts: Iterable[Part]) -> dict[str, Place]:
        """The names that show in a merged directory, and where each comes from."""
        shown: dict[str, Place] = {}
        hidden: set[str] = set()
        for part in parts:
            for name, info in listing(part.root, part.path).items():
                if name in shown or name in hidden:
                    continue
                path = part.path + "/" + name
                if self.is_whiteout(part.root, path, info, part.whiteouts):
                    hidden.add(name)
                else:
                    shown[name] = Place(part.root, path, info)
        return shown

    def is_whiteout(self, root: int, path: str, info: os.stat_result, marked: bool) -> bool:
        """True if a file deletes what the layers below have at its path.

        :param marked: its directory may hold whiteouts made of attributes.
        """
        if is_whiteout(info):
            return True
        return marked and stat.S_ISREG(info.st_mode) and not info.st_size and self.file_marks(root, path).whiteouts

    def is_metacopy(self, root: int, path: str, info: os.stat_result) -> bool:
        """True if a file's data is in a layer below. Only files that take less space than their length are asked."""
        if not stat.S_ISREG(info.st_mode) or info.st_blocks * 512 >= info.st_size:
            return False
        return self.file_marks(root, path).metacopy

    def folder_marks(self, root: int, path: str) -> Marks:
        """The marks of a directory.

        :raises OSError: it can't be opened.
        """
        descriptor = open_directory(root, path)
        try:
            names = xattr.names(descriptor)
            value = xattr.get(descriptor, self._opaque) if self._opaque in names else None
            redirect = xattr.get(descriptor, self._redirect) if self._redirect in names else None
        finally:
            os.close(descriptor)
        return Marks(value == xattr.OPAQUE, value == xattr.OPAQUE_WHITEOUTS, _text(redirect))

    def file_marks(self, root: int, path: str) -> Marks:
        """The marks of anything but a directory."""
        descriptor = open_directory(root, os.path.dirname(path).rstrip("/"))
        try:
            file = xattr.below(descriptor, os.fsencode(os.path.basename(path)))
            names = xattr.names(file)
            redirect = xattr.get(file, self._redirect) if self._redirect in names else None
        except FileNotFoundError:
            return Marks()
        finally:
            os.close(descriptor)
        return Marks(whiteouts=self._whiteout in names, redirect=_text(redirect), metacopy=self._metacopy in names)

    def _at(self, part: Part, name: str) -> Tuple[Optional[Place], bool]:
        """What one layer has at a name, or at a path after a redirect; and whether that hides the layers below."""
        root, path, whiteouts, hides = part.root, part.path, part.whiteouts, False
        folders, _slash, last = name.rpartition("/")
        for component in folders.split("/") if folders else ():
            path += "/" + component
            info = lstat(root, path)
            if info is None:
                return None, hides
            if not stat.S_ISDIR(info.st_mode):
                return None, True
            marks = self.folder_marks(root, path)
            whiteouts, hides = marks.whiteouts, hides or marks.opaque
        path += "/" + last
        info = lstat(root, path)
        if info is None:
            return None, hides
        if is_whiteout(info) or (whiteouts and self.is_whiteout(root, path, info, whiteouts)):
            return None, True
        return Place(root, path, info), hides

    def _redirected(self, redirect: str, name: str, root: int, pending: list[Part]) -> tuple[str, list[Part]]:
        """The name to look up in the layers below a redirect, and where to look."""
        names = redirect.lstrip("/").split("/")
        if any(component in ("", ".", "..") for component in names):
            return name, []
        if redirect.startswith("/"):
            below = self._roots[self._roots.index(root) + 1 :]
            return "/".join(names), [self._root_part(other) for other in below]
        if len(names) > 1:
            return name, []
        return name[: name.rfind("/") + 1] + redirect, pending


def _text(value: bytes | None) -> str:
    return "" if value is None else os.fsdecode(value)
