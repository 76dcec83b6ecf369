# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Recomputes digests from the frame that dockerd and containers/storage keep of an applied tar.

The frame and the layer's files together are the tar again. One JSON object per line (github.com/vbatts/tar-split,
tar/storage): type 2 is a segment of the stream, in base64; type 1 a file, whose ``size`` bytes come from the layer.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import stat
from typing import Any

from ..errors import ArchiveError
from ..linux import beneath, fs

_FILE, _SEGMENT = 1, 2
_CHUNK = 1 << 20


class FrameError(Exception):
    """The frame is damaged, or a file of the layer is missing or cut short; the message is a clause."""


def digest(frame: str, diff: str) -> str:
    """Returns the digest, ``sha256:…``, of the tar that a frame and a layer's files make.

    :param frame: path of the gzipped frame.
    :param diff: the layer's ``diff`` directory.
    :raises FrameError: they do not make a tar.
    :raises OSError: the frame or the directory can't be read.
    """
    hashed = hashlib.sha256()
    root = os.open(diff, fs.OPEN_DIRECTORY)
    try:
        with gzip.open(frame, "rb") as lines:
            for line in lines:
                _add(hashed, json.loads(line), root)
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise FrameError("the frame of its archive is damaged") from error
    finally:
        os.close(root)
    return "sha256:" + hashed.hexdigest()


def _add(hashed: hashlib._Hash, entry: dict[str, Any], root: int) -> None:
    if entry["type"] == _SEGMENT:
        hashed.update(base64.b64decode(entry["payload"]))
    elif entry["type"] == _FILE and entry.get("size"):
        name = base64.b64decode(entry["name_raw"]) if entry.get("name_raw") else entry["name"].encode("utf-8")
        _add_file(hashed, os.fsdecode(name), entry["size"], root)


def _add_file(hashed: hashlib._Hash, name: str, size: int, root: int) -> None:
    try:
        descriptor = _open(root, os.path.normpath("/" + name).lstrip("/"))
    except (OSError, ArchiveError) as error:
        raise FrameError("its file %s can't be read: %s" % (name, getattr(error, "strerror", error))) from error
    with open(descriptor, "rb") as content:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FrameError("its file %s is not a regular file any more" % name)
        while size:
            part = content.read(min(size, _CHUNK))
            if not part:
                raise FrameError("its file %s is shorter than it was" % name)
            hashed.update(part)
            size -= len(part)


def _open(root: int, path: str) -> int:
    """Returns a descriptor of a layer's file. Links do not lead out of the layer; pipes and devices do not block."""
    folder, _slash, name = path.rpartition("/")
    parent = beneath.open_directory(root, os.fsencode(folder))
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)
