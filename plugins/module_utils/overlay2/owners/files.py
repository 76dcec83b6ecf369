# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Reading an engine's small records, each of which may be missing, half written, or none of our business to read."""

from __future__ import annotations

import json
import os
import stat

from ..errors import printable
from .records import Problem


class Unreadable(Exception):
    """A record can't be understood; ``problem`` is the :class:`~.records.Problem`."""

    def __init__(self, path: str, message: str) -> None:
        self.problem = Problem(printable(path), message)
        super().__init__(str(self.problem))


def content_of(path: str) -> bytes | None:
    """Content of a small file, None if it is missing. A pipe or a device in its place does not hold the reader up.

    :raises Unreadable: it can't be read, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unreadable(path, "can't be read: %s" % error.strerror) from error
    with open(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable(path, "is not a regular file")
        try:
            return source.read()
        except OSError as error:
            raise Unreadable(path, "can't be read: %s" % error.strerror) from error


def text_of(path):
    """What a small file says (str, stripped); None where it is missing.

    :raises Unreadable: it is empty, no text, or can't be read.
    """
    content = content_of(path)
    if content is None:
        return None
    try:
        text = content.decode("ascii").strip()
    except UnicodeDecodeError:
        text = "\0"
    if not text or "\0" in text:  # what a power cut leaves
        raise Unreadable(path, "is garbled" if text else "is empty")
    return text


def json_of(path, kind):
    """What a JSON file holds; None where it is missing.

    :param kind: the type it must be: dict or list.
    :raises Unreadable: it is something else, or can't be read.
    """
    content = content_of(path)
    if content is None:
        return None
    return parsed(path, content, kind)


def parsed(path, content, kind):
    """JSON ``content`` (bytes) of the file at ``path``.

    :raises Unreadable: it is no JSON, or of another type than ``kind``.
    """
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(path, "is no JSON" if content else "is empty") from error
    if not isinstance(value, kind):
        raise Unreadable(path, "holds something else than is expected")
    return value


def names_in(path):
    """Names in a folder (list of str, sorted); none where it is missing.

    :raises Unreadable: it can't be listed.
    """
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unreadable(path, "can't be listed: %s" % error.strerror) from error
