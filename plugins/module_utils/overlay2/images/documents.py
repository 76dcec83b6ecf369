# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Parses the JSON documents of images: indexes, manifests, configurations. All of them are hostile input.

Limits: 4 MiB a document, as in registries (distribution-spec, "Pushing Manifests"), no key twice, nesting of 64.
"""

from __future__ import annotations

import json
from typing import Any, Dict

from ..errors import ImageError

#: Largest document that is read, in bytes.
MAX_SIZE = 4 << 20
MAX_NESTING = 64

Object = Dict[str, Any]


def parse(content: bytes, what: str) -> Any:
    """Returns the value of a JSON document.

    :param what: name of the document in messages.
    :raises ImageError: it is not such a document. Its content does not appear in the message: the file may be any.
    """
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        if isinstance(error, _DuplicateKey):
            raise ImageError("%s has a key twice" % what, remedy=REMEDY) from None
        raise ImageError("%s is not a JSON document" % what, remedy=REMEDY) from None
    _check_nesting(value, what)
    return value


REMEDY = "Have the image written again, by skopeo for example"


class _DuplicateKey(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> Object:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKey
    return found


def _refuse(constant: str) -> Any:
    raise ValueError("%s is not JSON" % constant)


def _check_nesting(value: Any, what: str) -> None:
    level = [value]
    for _depth in range(MAX_NESTING):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise ImageError("%s is nested more than %d deep" % (what, MAX_NESTING), remedy=REMEDY)


def _inner(value: Any) -> list[Any]:
    """Returns the objects and lists directly within an object or a list."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in inner if isinstance(item, (dict, list))]


def parse_object(content: bytes, what: str) -> Object:
    """As :func:`parse`, for a document that must be an object."""
    value = parse(content, what)
    if not isinstance(value, dict):
        raise ImageError("%s is not a JSON object" % what, remedy=REMEDY)
    return value


# Members of objects; null counts as missing


def text(document: Object, key: str, what: str) -> str:
    """Returns a member that must be a text; "" if it is missing."""
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise malformed(what, key, "a text")
    return value or ""


def number(document: Object, key: str, what: str) -> int:
    """Returns a member that must be there, as a number from 0 to 2^63 - 1."""
    value = document.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise malformed(what, key, "a number from 0 to 2^63 - 1")
    return value


def items(document: Object, key: str, what: str) -> list[Any]:
    """Returns a member that must be a list; an empty one if it is missing."""
    value = document.get(key)
    if value is not None and not isinstance(value, list):
        raise malformed(what, key, "a list")
    return value or []


def texts(document: Object, key: str, what: str) -> list[str]:
    """Returns a member that must be a list of texts; an empty one if it is missing."""
    value = items(document, key, what)
    if not all(isinstance(item, str) for item in value):
        raise malformed(what, key, "a list of texts")
    return value


def member(document: Object, key: str, what: str) -> Object:
    """Returns a member that must be an object; an empty one if it is missing."""
    value = document.get(key)
    if value is not None and not isinstance(value, dict):
        raise malformed(what, key, "an object")
    return value or {}


def text_map(document: Object, key: str, what: str) -> dict[str, str]:
    """Returns a member that must be an object of texts; an empty one if it is missing."""
    value = member(document, key, what)
    if not all(isinstance(item, str) for item in value.values()):
        raise malformed(what, key, "an object of texts")
    return value


def malformed(what: str, key: str, wanted: str) -> ImageError:
    """Returns the error for a member of a document that has another type."""
    return ImageError("%s: '%s' is not %s" % (what, key, wanted), remedy=REMEDY)
