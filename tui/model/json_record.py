# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A JSON object from somebody else: each part is checked for its type when it is taken."""

from __future__ import annotations

import math
import os
from typing import Any, TypeVar

from .plain import visible

_NEEDED: Any = object()
#: Larger numbers are not bytes, processes or times.
_LARGEST = 2**63
_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    dict: "an object",
}

D = TypeVar("D")
T = TypeVar("T", str, int)


class Unusable(ValueError):
    """A part is missing or has the wrong type; the message says which."""


class JsonRecord:
    """One JSON object. Keys that nobody asks for are ignored.

    All methods take a key and what stands for a part that is missing or null; without that the part is required.

    :param where: the name of the object in messages.
    :raises Unusable: it, or a part that is taken, is not what it should be.
    """

    def __init__(self, data: Any, where: str = "") -> None:
        if not isinstance(data, dict):
            raise Unusable(f"{where or 'it'} is not an object")
        self._data = data
        self._where = where

    def is_missing(self, key: str) -> bool:
        """True for null as well."""
        return self._data.get(key) is None

    def is_null(self, key: str) -> bool:
        return key in self._data and self._data[key] is None

    def _take(self, key: str, kind: type, default: Any) -> Any:
        value = self._data.get(key)
        if value is None:
            if default is _NEEDED:
                raise Unusable(f"{self._name(key)} is missing")
            return default
        return _checked(value, kind, self._name(key))

    def _name(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def text(self, key: str, default: str | D = _NEEDED) -> str | D:
        """Text as it is, such as a path or an id; it is not safe for a terminal."""
        return self._take(key, str, default)

    def shown(self, key: str, default: str | D = _NEEDED) -> str | D:
        """Text that is only displayed."""
        value = self._take(key, str, default)
        return value if value is default else visible(value)

    def whole(self, key: str, default: int | D = _NEEDED) -> int | D:
        """A whole number."""
        return self._take(key, int, default)

    def number(self, key: str, default: D) -> float | D:
        """A number."""
        value: float | D = self._take(key, float, default)
        return value

    def flag(self, key: str, default: bool | D = _NEEDED) -> bool | D:
        """True or false."""
        return self._take(key, bool, default)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty if it is missing."""
        name = self._name(key)
        return tuple(_checked(value, str, f"{name}[{at}]") for at, value in enumerate(self._take(key, list, ())))

    def mapping(self, key: str, kind: type[T]) -> dict[str, T]:
        """An object whose values are all of one type; empty if it is missing. Text is for display only."""
        found = {}
        for label, value in self._take(key, dict, {}).items():
            value = _checked(value, kind, self._name(key))
            found[visible(label)] = visible(value) if kind is str else value
        return found

    def record(self, key: str) -> JsonRecord | None:
        """An object; None if it is missing, null or empty."""
        data = self._take(key, dict, {})
        return JsonRecord(data, self._name(key)) if data else None

    def records(self, key: str, alone: str = "") -> list[JsonRecord]:
        """A list of objects; empty if it is missing.

        :param alone: text in the list stands for an object with this key alone.
        """
        name, found = self._name(key), []
        for at, data in enumerate(self._take(key, list, ())):
            if alone and isinstance(data, str):
                data = {alone: data}
            found.append(JsonRecord(data, f"{name}[{at}]"))
        return found


def _checked(value: Any, kind: type, name: str) -> Any:
    """The value, if it is of that type; text in a form that can be a file name."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < _LARGEST else math.inf
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Unusable(f"{visible(name)} is not {_NAMES[kind]}")
    if isinstance(value, (int, float)) and not abs(value) < _LARGEST:
        raise Unusable(f"{visible(name)} is out of range")
    if isinstance(value, str):
        try:
            os.fsencode(value)
        except UnicodeEncodeError:
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value
