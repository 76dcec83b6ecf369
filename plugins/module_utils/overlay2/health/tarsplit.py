# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The frame that dockerd and containers/storage keep of an applied tar: with the layer's files it gives the tar back.

One JSON object a line (github.com/vbatts/tar-split, tar/storage): type 2 is a segment of the stream, in base64; type 1
a file, whose ``size`` bytes come from the layer. So what the layer's files are now shows in the digest of the whole.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import stat

from ..errors import ArchiveError
from ..linux import beneath

_FILE, _SEGMENT = 1, 2
_CHUNK = 1 << 20


class FrameError(Exception):
    """The frame is damaged, or a file of the layer is missing or cut short; the message is a clause."""


def digest(frame, diff):
    """``sha256:…`` (str) of the tar that a frame and a layer's files make.

    :param frame: path of the gzipped frame (str).
    :param diff: the layer's ``diff`` folder (str).
    :raises FrameError: they make none.
    :raises OSError: the frame or the folder can't be read.
    """
    hashed = hashlib.sha256()
    root = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with gzip.open(frame, "rb") as lines:
            for line in lines:
                _add(hashed, json.loads(line), root)
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise FrameError("the frame of its archive can't be understood") from error
    finally:
        os.close(root)
    return "sha256:" + hashed.hexdigest()


def _add(hashed, entry, root):
    if entry["type"] == _SEGMENT:
        hashed.update(base64.b64decode(entry["payload"]))
    elif entry["type"] == _FILE and entry.get("size"):
        name = base64.b64decode(entry["name_raw"]) if entry.get("name_raw") else entry["name"].encode("utf-8")
        _add_file(hashed, os.fsdecode(name), entry["size"], root)


def _add_file(hashed, name, size, root):
    try:
        descriptor = _open(root, os.path.normpath("/" + name).lstrip("/"))
    except (OSError, ArchiveError) as error:
        raise FrameError("its file %s can't be read: %s" % (name, getattr(error, "strerror", error))) from error
    with open(descriptor, "rb") as content:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FrameError("its file %s is no file any more" % name)
        while size:
            part = content.read(min(size, _CHUNK))
            if not part:
                raise FrameError("its file %s is shorter than it was" % name)
            hashed.update(part)
            size -= len(part)


def _open(root, path):
    """Descriptor of a layer's file. No link leads out of the layer, and neither pipe nor device holds the reader up."""
    folder, _slash, name = path.rpartition("/")
    parent = beneath.open_folder(root, os.fsencode(folder))
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)
