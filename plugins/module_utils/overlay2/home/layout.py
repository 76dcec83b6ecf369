# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Names and small files in the home of a graph driver: dockerd, containers/storage, this project.

::

    l/<26 of A-Z2-7>   symbolic link to ../<id>/diff, so that 128 names fit into one page of mount data
    <id>/diff/         the layer's own files
    <id>/link          the layer's name in l/
    <id>/lower         l/<link>:l/<link>:..., uppermost first; missing for a layer without parent
    <id>/work/         overlayfs' own; only with a lower
    <id>/merged/       the mount point, only while mounted
    <id>/committed     empty: the layer has been a parent and is mounted read-only
    <id>/strata.json   this project's record of the layer; a layer without it works just as well
    .images/           this project's records of images, one file each
"""

from __future__ import annotations

import errno
import json
import os
import re
from typing import NamedTuple, Optional

from ..errors import DepthExceeded, InvalidLayerId, LayerDamaged, OptionError, remedy_for

LINK_DIR = "l"
DIFF = "diff"
WORK = "work"
MERGED = "merged"
LINK = "link"
LOWER = "lower"
COMMITTED = "committed"
RECORD = "strata.json"
#: The tree of a layer of containers/storage with ``use_composefs`` (drivers/overlay/composefs.go).
COMPOSEFS = "composefs-data"

#: Where layers are built and taken apart, out of sight.
STAGING = ".staging"
#: Records of images. Neither dockerd nor containers/storage has a directory of that name.
IMAGES = ".images"
#: Device node that project quota may need in the home.
QUOTA_DEVICE = "backingFsBlockDev"

#: Most lower layers of one layer: 128 names of ``l/`` plus 26 characters fit one page of mount data.
MAX_DEPTH = 128

#: Names in a home that no layer can have.
OWN_NAMES = frozenset((".", "..", LINK_DIR, STAGING, IMAGES, QUOTA_DEVICE))
_NAME_MAX = 255
#: Larger than a ``lower`` file of 128 names.
_SMALL = 8192
_LARGEST = 1 << 20
_SMALL_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: ``l/`` and a name as for :func:`is_link_name`, once or more.
_LOWER_TEXT = re.compile(r"(?:l/(?!\.{1,2}(?::|\Z))[^/:\0]+(?::|\Z))+(?<!:)")
#: A link id as dockerd, containers/storage and this driver generate it.
_LINK_ID = re.compile(r"[A-Z2-7]{26}")


class LayerRecord(NamedTuple):
    """This project's record of a layer, beside Docker's files."""

    read_write: Optional[bool] = None
    diff_id: Optional[str] = None
    #: Who keeps the layer. Unlike its holders, this survives a reboot.
    owner: Optional[str] = None
    #: Bytes of the content that was applied, folders not counted.
    size: Optional[int] = None

    def encode(self) -> bytes:
        """Returns the content of ``strata.json``."""
        known = {key: value for key, value in self._asdict().items() if value is not None}
        return json.dumps(known).encode("ascii") + b"\n"

    @classmethod
    def decode(cls, content: bytes) -> LayerRecord:
        """Returns the record in ``content``; an empty one if that is not a record."""
        try:
            values = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(values, dict):
            return cls()
        read_write, diff_id, owner = values.get("read_write"), values.get("diff_id"), values.get("owner")
        size = values.get("size")
        return cls(
            read_write if isinstance(read_write, bool) else None,
            diff_id if isinstance(diff_id, str) else None,
            owner if isinstance(owner, str) and owner else None,
            size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        )


class LayerFiles:
    """The small files of one layer, each read at most once.

    What was read is kept, so an instance must not be used beyond the call, or the lock, that it was made for.
    """

    __slots__ = ("_contents", "_home", "layer_id", "path")

    def __init__(self, home: str, layer_id: str) -> None:
        self._home = home
        self.layer_id = layer_id
        self.path = "%s/%s" % (home, layer_id)
        self._contents: dict[str, bytes | None] = {}

    def content(self, name: str) -> bytes | None:
        """Returns the content of one of the layer's files; None if the file is missing.

        :raises LayerDamaged: the file exists and cannot be read.
        """
        if name not in self._contents:
            path = "%s/%s" % (self.path, name)
            try:
                self._contents[name] = read_small(path)
            except OSError as error:
                raise LayerDamaged(
                    "its %s file can't be read: %s" % (name, error.strerror),
                    layer=self.layer_id,
                    path=path,
                    remedy=remedy_for(error.errno, path) or "Remove the layer and create it again",
                ) from error
        return self._contents[name]

    @property
    def link(self) -> str:
        """The layer's name in ``l/``.

        :raises LayerDamaged: its ``link`` file is missing, empty, or does not hold such a name.
        """
        content = self.content(LINK)
        text = "" if content is None else os.fsdecode(content)
        if not is_link_name(text):
            state = "missing" if content is None else "empty" if not text else "not a link name"
            raise LayerDamaged(
                "its link file is %s" % state,
                layer=self.layer_id,
                path="%s/%s" % (self.path, LINK),
                remedy="Find its name with 'ls -l %s/%s' and write it there, or remove the layer"
                % (self._home, LINK_DIR),
            )
        return text

    @property
    def lower(self) -> str | None:
        """The text of the ``lower`` file; None if it is missing, as for a layer without parent.

        :raises LayerDamaged: the file is empty, or holds something other than names in ``l/``.
        """
        content = self.content(LOWER)
        if content is None:
            return None
        text = os.fsdecode(content)
        if not _LOWER_TEXT.fullmatch(text):
            raise LayerDamaged(
                "its lower file is %s, as after a power cut" % ("garbled" if content else "empty"),
                layer=self.layer_id,
                path="%s/%s" % (self.path, LOWER),
                remedy="Remove the layer and create it again",
            )
        return text

    @property
    def lower_links(self) -> tuple[str, ...]:
        """Names of the lower layers as mounts use them, ``l/...`` each, uppermost first.

        :raises LayerDamaged: as for :attr:`lower`.
        """
        return links_of(self.lower)

    @property
    def record(self) -> LayerRecord:
        """This project's record of the layer; an empty one if there is none.

        :raises LayerDamaged: it cannot be read.
        """
        content = self.content(RECORD)
        return LayerRecord() if content is None else LayerRecord.decode(content)

    def lower_for_child(self) -> str:
        """Returns the text of the ``lower`` file of a new child of this layer; moby's getLower.

        :raises LayerDamaged: the layer's files are broken.
        :raises DepthExceeded: the child would have more than 128 lower layers.
        """
        lowers = ("%s/%s" % (LINK_DIR, self.link), *self.lower_links)
        if len(lowers) > MAX_DEPTH:
            raise DepthExceeded(
                "max depth exceeded: it already has %d lower layers, and %d is the most" % (len(lowers) - 1, MAX_DEPTH),
                layer=self.layer_id,
                path="%s/%s" % (self.path, LOWER),
                remedy="Merge some layers of the chain into one",
            )
        return ":".join(lowers)


def check_id(layer_id: object) -> None:
    """Refuses a value that cannot be the name of a layer's directory.

    :raises InvalidLayerId: empty, more than one path component, too long, or one of the driver's own names.
    """
    if not isinstance(layer_id, str):
        raise InvalidLayerId("a layer id is a str, not %s" % type(layer_id).__name__, remedy="Name the layer")
    if not layer_id:
        raise InvalidLayerId("a layer id is empty", remedy="Name the layer")
    if layer_id in OWN_NAMES:
        raise InvalidLayerId("'%s' is reserved by the driver" % layer_id, remedy="Choose another layer id")
    if "/" in layer_id or "\0" in layer_id:
        raise InvalidLayerId("'%s' is not a single folder name" % layer_id, remedy="Choose a layer id without '/'")
    try:
        name = os.fsencode(layer_id)
    except UnicodeEncodeError as error:
        message = "'%s' is not a file name: %s" % (layer_id, error.reason)
        raise InvalidLayerId(message, remedy="Choose another layer id") from error
    if len(name) > _NAME_MAX:
        short = layer_id[:40] + "..."
        raise InvalidLayerId("a layer id is longer than %d bytes" % _NAME_MAX, layer=short, remedy="Shorten it")


def check_owner(owner: object) -> None:
    """Refuses an owner that cannot be recorded.

    :raises OptionError: it is not a non-empty str.
    """
    if not isinstance(owner, str) or not owner:
        raise OptionError("the owner has no name", remedy="Give the owner a name, or leave it out")


def is_link_name(text: str) -> bool:
    """True if ``text`` can be a name in ``l/``. After a power cut a file may be empty, or hold zeros."""
    return bool(text) and "/" not in text and "\0" not in text and text not in (".", "..")


def is_link_id(text: str) -> bool:
    """True if ``text`` is a link id as graph drivers generate it: 26 characters of RFC 4648 base32."""
    return _LINK_ID.fullmatch(text) is not None


def links_of(lower: str | None) -> tuple[str, ...]:
    """Returns the entries of the text of a ``lower`` file; none for a layer without parent."""
    return tuple(lower.split(":")) if lower else ()


def read_small(path: str) -> bytes | None:
    """Returns the content of a small file, None if it is missing. Takes a third of the system calls of ``open()``.

    Whatever else has the name does not block the reader, nor is it read without end.

    :raises OSError: it can't be read, is a symbolic link, or is not small.
    """
    try:
        descriptor = os.open(path, _SMALL_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        content = part = os.read(descriptor, _SMALL)
        while len(part) == _SMALL:
            if len(content) > _LARGEST:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
            part = os.read(descriptor, _SMALL)
            content += part
        return content
    finally:
        os.close(descriptor)
