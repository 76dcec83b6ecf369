# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Every error the driver raises on purpose, each saying which layer, which path and what to do.

All derive from :class:`Overlay2Error`, so a caller needs one ``except``. Classes exist where a caller
would act differently; the wording lives where the error is raised.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing import Callable, Iterator

ErrorClass = TypeVar("ErrorClass", bound="Overlay2Error")


class Overlay2Error(Exception):
    """Base of all driver errors.

    What these name may hold any bytes but NUL and ``/``: all texts are made :func:`printable`.

    :param message: what went wrong, without a full stop.
    :param layer: id of the layer concerned, if any.
    :param path: the file or directory concerned, if any.
    :param remedy: what the user can do about it, as an instruction.
    """

    def __init__(
        self,
        message: str,
        layer: str | None = None,
        path: str | bytes | None = None,
        remedy: str | None = None,
    ) -> None:
        self.message = printable(message)
        super().__init__(self.message)
        self.layer = layer
        self.path = None if path is None else printable(path)
        self.remedy = None if remedy is None else printable(remedy)

    def __str__(self) -> str:
        text = self.message
        if self.layer:
            text = "layer %s: %s" % (printable(self.layer), text)
        if self.path and self.path not in text:
            text = "%s (path: %s)" % (text, self.path)
        if self.remedy:
            text = "%s. %s" % (text, self.remedy)
        return text


class OptionError(Overlay2Error, ValueError):
    """A driver option, a storage option or an argument is malformed or unknown."""


class InvalidLayerId(OptionError):
    """A layer id is empty, not a single folder name, or one of the driver's own names."""


class NotSupported(Overlay2Error):
    """This host or file system cannot do what the driver needs (moby's ErrNotSupported)."""


class DTypeNotSupported(NotSupported):
    """The backing file system does not report file types in directory entries (ErrDTypeNotSupported)."""


class QuotaNotSupported(NotSupported):
    """Project quota is not available on the backing file system (quota.ErrQuotaNotSupported)."""


class HomeNotFound(Overlay2Error, FileNotFoundError):
    """The driver's root folder is not there, and the caller asked not to make it."""

    # FileNotFoundError would format (errno, strerror) pairs; the message is ours.
    __str__ = Overlay2Error.__str__


class ReadOnlyDriver(Overlay2Error):
    """A driver that was opened for reading was asked to change something."""


class LayerNotFound(Overlay2Error, FileNotFoundError):
    """No layer of that id is in the home."""

    __str__ = Overlay2Error.__str__


class LayerExists(Overlay2Error, FileExistsError):
    """A layer of that id is already there; nothing of it was touched."""

    __str__ = Overlay2Error.__str__


class LayerInUse(Overlay2Error):
    """A layer is mounted, held, or stands below another one, so it can't be changed or removed."""


class EngineRunning(Overlay2Error):
    """The engine that made the home is at work on it, or that can't be ruled out, so nothing of it may be changed."""


class LayerNotEmpty(Overlay2Error):
    """A layer already has content that an apply would have replaced."""


class LayerDamaged(Overlay2Error):
    """A layer's own files contradict each other: an empty link, a dangling or missing lower."""


class DepthExceeded(Overlay2Error):
    """The lower chain would be longer than the driver's limit of 128."""


class MountError(Overlay2Error):
    """The kernel refused an overlay mount or unmount."""


class ArchiveError(Overlay2Error):
    """A tar stream can't be unpacked. ``path`` is the entry's name."""


class CorruptArchive(ArchiveError):
    """A stream is truncated, fails its checksum or is not a tar archive."""


class BreakoutError(ArchiveError):
    """An entry would have reached outside the layer."""


class DigestMismatch(ArchiveError):
    """A stream is not the one its digest promised; nothing was applied."""


class CompressionNotSupported(NotSupported):
    """No program or module on this host reads or writes the compression asked for."""


class ImageError(Overlay2Error):
    """An image, or the source that it is read from, is malformed, incomplete, or of a kind that is refused."""


class ImageNotFound(ImageError):
    """The source or the home does not have the image that was asked for."""


class NotEnoughSpace(Overlay2Error):
    """The home's file system cannot hold what would be written; nothing was."""


class ChangedWhileRead(Overlay2Error):
    """A file shrank or vanished while it was being archived, so the stream can't be whole."""


def printable(name: object) -> str:
    """Returns a file name as text for messages: bytes are decoded, undecodable ones and control characters escaped."""
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    name = str(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


#: What to do about an errno that has one meaning here. Others: see :func:`remedy_for`.
_REMEDIES = {
    errno.EROFS: "The file system is read-only; remount it read-write or choose another home",
    errno.EBUSY: "Something still uses the path; find it with 'overlay2-tui' or 'fuser -vm'",
}
_FORBIDDEN = {
    errno.EPERM: "Run as root, or inside a user namespace",
    errno.EACCES: "Run as root, or check the permissions of the path",
}
_FORBIDDEN_TO_ROOT = (
    "Find out what restricts root here: a container or user namespace without the capability, a file that is immutable "
    "(lsattr), SELinux or AppArmor"
)


def remedy_for(number: int | None, place: str | bytes | int | None = None, needed: int = 0) -> str | None:
    """Returns what to do about an error of the kernel in this situation; None if nothing is known.

    :param number: the errno.
    :param place: the path that the error is about, or a descriptor; its file system is asked how full it is.
    :param needed: bytes that were to be written.
    """
    if number in (errno.ENOSPC, errno.EDQUOT):
        return _remedy_for_full(number, place, needed)
    if number in _FORBIDDEN and os.geteuid() == 0:
        return _FORBIDDEN_TO_ROOT
    return _FORBIDDEN.get(number or 0) or _REMEDIES.get(number or 0)


def _remedy_for_full(number: int, place: str | bytes | int | None, needed: int) -> str:
    """Returns the remedy for a file system without free blocks, without free inodes, or for a quota that is used up."""
    advice = "A quota is used up; raise it" if number == errno.EDQUOT else "Free some space, or raise the quota"
    found = _nearest(place)
    if found is None:
        return advice
    path, info = found
    if number == errno.ENOSPC and info.f_files and not info.f_favail:
        return "Delete files, or use a file system with more inodes: none of the %d on %s is free" % (
            info.f_files,
            path,
        )
    text = "%s: %d KiB are free on %s now" % (advice, info.f_bavail * info.f_frsize >> 10, path)
    if info.f_files:
        text += ", and %d inodes" % info.f_favail
    return text + ("; the file has %d KiB" % -(-needed >> 10) if needed else "")


def _nearest(place: str | bytes | int | None) -> tuple[str, os.statvfs_result] | None:
    """Returns the mount point and statvfs(3) of a place, or of its nearest parent that exists; None if unknown."""
    with contextlib.suppress(OSError):
        path = os.readlink("/proc/self/fd/%d" % place) if isinstance(place, int) else os.fsdecode(place or b"")
        while path.startswith("/") and not os.path.lexists(path):
            path = os.path.dirname(path)
        if not path.startswith("/"):
            return None
        info, device = os.statvfs(path), os.lstat(path).st_dev
        while path != "/" and os.lstat(os.path.dirname(path)).st_dev == device:
            path = os.path.dirname(path)
        return path, info
    return None


def from_os_error(
    cls: type[ErrorClass],
    message: str,
    error: OSError,
    layer: str | None = None,
    path: str | bytes | None = None,
    place: str | bytes | int | None = None,
    needed: int = 0,
) -> ErrorClass:
    """Builds a driver error of a class from an OSError, keeping the kernel's words.

    :param error: its path is used if ``path`` is None.
    :param place: the path on this host, or a descriptor, if ``path`` is not that; for the remedy.
    :param needed: bytes that were to be written.
    :returns: the exception, to be raised ``from error``.
    """
    where = path if path is not None else error.filename
    if place is None:
        place = error.filename if isinstance(error.filename, (str, bytes)) else path
    remedy = remedy_for(error.errno, place, needed)
    return cls("%s: %s" % (message, error.strerror or error), layer=layer, path=where, remedy=remedy)


@contextlib.contextmanager
def translated(
    message: str = "the file system refused",
    cls: type[Overlay2Error] = Overlay2Error,
    *,
    layer: str | None = None,
    path: str | None = None,
    shown: Callable[[str], str] | None = None,
) -> Iterator[None]:
    """Turns an OSError from within into a driver error, and says which layer any driver error from within is about.

    :param cls: the driver error to raise.
    :param path: the path to name; None for the one that the OSError names.
    :param shown: returns how to show a path, for one that is about to change its place.
    """
    try:
        yield
    except Overlay2Error as error:
        error.layer = error.layer or layer
        if shown is not None and error.path is not None:
            error.path = shown(error.path)
        raise
    except OSError as error:
        where = path if path is not None or error.filename is None else os.fsdecode(error.filename)
        if shown is not None and where is not None:
            where = shown(where)
        raise from_os_error(cls, message, error, layer=layer, path=where) from error
