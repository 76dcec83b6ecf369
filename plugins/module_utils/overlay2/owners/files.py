# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Reading an engine's small records, each of which may be missing, half written, or none of our business to read."""

from __future__ import annotations

import json
import os

from ..errors import printable
from ..home.layout import read_small
from .records import Problem


class Unreadable(Exception):
    """A record can't be understood; ``problem`` is the :class:`~.records.Problem`."""

    def __init__(self, path, message):
        self.problem = Problem(printable(path), message)
        super().__init__(str(self.problem))


def _content(path):
    """What a small file holds (bytes); None where it is missing.

    :raises Unreadable: it can't be read.
    """
    try:
        return read_small(path)
    except OSError as error:
        raise Unreadable(path, "can't be read: %s" % error.strerror) from error


def text_of(path):
    """What a small file says (str, stripped); None where it is missing.

    :raises Unreadable: it is empty, no text, or can't be read.
    """
    content = _content(path)
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
    content = _content(path)
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
