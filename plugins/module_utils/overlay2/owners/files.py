# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Reads an engine's small records, each of which may be missing, half written, or closed to this user."""

from __future__ import annotations

import json
import os
import stat
from typing import TypeVar

from ..errors import printable
from .records import Problem

_T = TypeVar("_T")
_CHUNK = 1 << 16


class Unreadable(Exception):
    """A record can't be understood; ``problem`` says which, and why."""

    def __init__(self, path: str, message: str) -> None:
        self.problem = Problem(printable(path), message)
        super().__init__(str(self.problem))


def content_of(path: str) -> bytes | None:
    """Returns the content of a small file; None if it is missing. A pipe or device in its place does not block.

    :raises Unreadable: it can't be read, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unreadable(path, "can't be read: %s" % error.strerror) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable(path, "is not a regular file")
        parts = [os.read(descriptor, _CHUNK)]
        while parts[-1]:
            parts.append(os.read(descriptor, _CHUNK))
        return b"".join(parts)
    except OSError as error:
        raise Unreadable(path, "can't be read: %s" % error.strerror) from error
    finally:
        os.close(descriptor)


def text_of(path: str) -> str | None:
    """Returns the text of a small file, stripped; None if it is missing.

    :raises Unreadable: it is empty, not a text, or can't be read.
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


def json_of(path: str, kind: type[_T]) -> _T | None:
    """Returns the content of a JSON file; None if it is missing.

    :param kind: its type: dict or list.
    :raises Unreadable: it is of another type, or can't be read.
    """
    content = content_of(path)
    if content is None:
        return None
    return parsed(path, content, kind)


def parsed(path: str, content: bytes, kind: type[_T]) -> _T:
    """Returns the JSON ``content`` of the file at ``path``.

    :raises Unreadable: it is not JSON, or of another type than ``kind``.
    """
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(path, "is not JSON" if content else "is empty") from error
    if not isinstance(value, kind):
        raise Unreadable(path, "has unexpected content")
    return value


def names_in(path: str) -> list[str]:
    """Returns the names in a directory, sorted; none if it is missing.

    :raises Unreadable: it can't be listed.
    """
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unreadable(path, "can't be listed: %s" % error.strerror) from error
