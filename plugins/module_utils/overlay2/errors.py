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
    """A stream is truncated, fails its checksum or is no tar archive."""


class BreakoutError(ArchiveError):
    """An entry would have reached outside the layer."""


class DigestMismatch(ArchiveError):
    """A stream is not the one its digest promised; nothing was applied."""


class CompressionNotSupported(NotSupported):
    """No program or module on this host reads or writes the compression asked for."""


class ChangedWhileRead(Overlay2Error):
    """A file shrank or vanished while it was being archived, so the stream can't be whole."""


def printable(name: object) -> str:
    """Returns a file name as text for messages: bytes are decoded, undecodable ones and control characters escaped."""
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    name = str(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


#: What an errno most often means here, and what to do. Used where the kernel refused something.
HINTS = {
    errno.EPERM: "Run as root, or inside a user namespace",
    errno.EACCES: "Run as root, or check the permissions of the path; for quota, also that it is not mounted nodev",
    errno.EROFS: "The file system is read-only; remount it read-write or choose another home",
    errno.ENOSPC: "Free some space, or raise the quota",
    errno.EDQUOT: "The quota is used up; raise it",
    errno.EBUSY: "Something still uses the path; find it with 'overlay2-tui' or 'fuser -vm'",
}


def from_os_error(
    cls: type[ErrorClass], message: str, error: OSError, layer: str | None = None, path: str | bytes | None = None
) -> ErrorClass:
    """Builds a driver error of a class from an OSError, keeping the kernel's words.

    :param error: its path is used if ``path`` is None.
    :returns: the exception, to be raised ``from error``.
    """
    where = path if path is not None else error.filename
    return cls(
        "%s: %s" % (message, error.strerror or error), layer=layer, path=where, remedy=HINTS.get(error.errno or 0)
    )


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
