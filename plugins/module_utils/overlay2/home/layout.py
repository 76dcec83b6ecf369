# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""The names and small files of a graph driver's home: link ids, lower chains, the record that this project adds.

::

    l/<26 of A-Z2-7>   symbolic link to ../<id>/diff, so that 128 names fit into one page of mount data
    <id>/diff/         the layer's own files
    <id>/link          the layer's name in l/
    <id>/lower         l/<link>:l/<link>:..., uppermost first; missing for a layer without parent
    <id>/work/         overlayfs' own; only with a lower
    <id>/merged/       the mount point, only while mounted
    <id>/committed     empty: the layer has been a parent and is mounted read-only
    <id>/strata.json   ours: what was applied; a layer without it works just as well
"""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple, Optional

from ..errors import InvalidLayerId, OptionError

LINK_DIR = "l"
DIFF = "diff"
WORK = "work"
MERGED = "merged"
LINK = "link"
LOWER = "lower"
COMMITTED = "committed"
RECORD = "strata.json"

#: Where layers are built and taken apart, out of sight.
STAGING = ".staging"
#: Device node that project quota may need in the home.
QUOTA_DEVICE = "backingFsBlockDev"

#: Most lower layers of one layer: 128 names of ``l/`` plus 26 characters fit one page of mount data.
MAX_DEPTH = 128

OWN_NAMES = frozenset((".", "..", LINK_DIR, STAGING, QUOTA_DEVICE))
_NAME_MAX = 255
#: More than a ``lower`` file of 128 names holds.
_SMALL = 8192


class LayerRecord(NamedTuple):
    """What this project remembers of a layer beside Docker's files."""

    read_write: Optional[bool] = None
    diff_id: Optional[str] = None
    #: Holders are void after a reboot; this name is not.
    owner: Optional[str] = None
    #: Bytes of the content that was applied, folders not counted.
    size: Optional[int] = None

    def encode(self):
        """The record as the bytes of ``strata.json``."""
        known = {key: value for key, value in self._asdict().items() if value is not None}
        return json.dumps(known).encode("ascii") + b"\n"

    @classmethod
    def decode(cls, content):
        """The record that ``content`` (bytes) holds; an empty one where it can't be read."""
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


def check_id(layer):
    """Refuse what can't be a layer's folder name.

    :raises InvalidLayerId: empty, more than one path component, too long, or one of the driver's own names.
    """
    if not isinstance(layer, str):
        raise InvalidLayerId("a layer id is a str, not %s" % type(layer).__name__, remedy="Name the layer")
    if not layer:
        raise InvalidLayerId("a layer id is empty", remedy="Name the layer")
    if layer in OWN_NAMES:
        raise InvalidLayerId("'%s' is a name of the driver's own" % layer, remedy="Choose another layer id")
    if "/" in layer or "\0" in layer:
        raise InvalidLayerId("'%s' is not a single folder name" % layer, remedy="Choose a layer id without '/'")
    try:
        name = os.fsencode(layer)
    except UnicodeEncodeError as error:
        message = "'%s' is no file name: %s" % (layer, error.reason)
        raise InvalidLayerId(message, remedy="Choose another layer id") from error
    if len(name) > _NAME_MAX:
        short = layer[:40] + "..."
        raise InvalidLayerId("a layer id is longer than %d bytes" % _NAME_MAX, layer=short, remedy="Shorten it")


def check_owner(owner):
    """Refuse an owner that cannot be recorded.

    :raises OptionError: it is not a non-empty str.
    """
    if not isinstance(owner, str) or not owner:
        raise OptionError("the owner has no name", remedy="Give the owner a name, or leave it out")


#: ``l/`` and a name as for :func:`is_link_name`, once or more.
LOWER_TEXT = re.compile(r"(?:l/(?!\.{1,2}(?::|\Z))[^/:\0]+(?::|\Z))+(?<!:)")


def is_link_name(text):
    """Whether ``text`` (str) can be a name in ``l/``. After a power cut a file may be empty, or hold zeros."""
    return bool(text) and "/" not in text and "\0" not in text and text not in (".", "..")


def read_small(path):
    """Content (bytes) of a small file, None where it is missing, in a third of the calls that ``open()`` makes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        content = part = os.read(descriptor, _SMALL)
        while len(part) == _SMALL:
            part = os.read(descriptor, _SMALL)
            content += part
        return content
    finally:
        os.close(descriptor)
