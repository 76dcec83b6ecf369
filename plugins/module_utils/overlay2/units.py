# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver and go-units (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Sizes as people write them, and ``key=value`` options."""

from __future__ import annotations

import re

from .errors import OptionError

#: Number, at most one space, suffix, as in go-units' RAMInBytes. Everything up to the last digit, point or space is the
#: number, in the decimal and hexadecimal forms of Go's ParseFloat.
_SIZE = re.compile(r"(?P<number>.*[0-9. ])(?P<suffix>[^0-9. ]*)", re.DOTALL)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")
_SUFFIX = re.compile(r"(?:([kmgtp])(?:i?b)?|b)?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def ram_in_bytes(text: str) -> int:
    """Returns the bytes of a size such as ``10G``, ``512m``, ``1.5 kib`` or ``4096``; go-units' RAMInBytes.

    Every unit is a power of 1024, ``kb`` too; the product is rounded down to a whole number.

    :raises OptionError: not a size, an unknown suffix, or 2^63 and above.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise _invalid(text)
    number, suffix = match.group("number"), match.group("suffix")
    if number.endswith(" "):
        number = number[:-1]
    if _HEXADECIMAL.fullmatch(number):
        value = _from_hexadecimal(number)
    elif _DECIMAL.fullmatch(number):
        value = float(number)
    else:
        raise OptionError("invalid size: '%s' has no number" % text, remedy=_REMEDY)
    if value < 0:
        raise _invalid(text)
    unit = _SUFFIX.fullmatch(suffix.lower())
    if unit is None:
        raise OptionError("invalid suffix: '%s'" % suffix.lower(), remedy=_REMEDY)
    value *= float(1024 ** _POWERS[unit.group(1) or ""])
    if value >= 2**63:
        raise OptionError("invalid size: '%s' is 2^63 bytes or more" % text, remedy=_REMEDY)
    return int(value)


_REMEDY = "Write a number with an optional unit of k, m, g, t or p, such as 10G or 512M"


def _from_hexadecimal(number: str) -> float:
    try:
        return float.fromhex(number)
    except OverflowError:
        return float("inf")


def _invalid(text: str) -> OptionError:
    return OptionError("invalid size: '%s'" % text, remedy=_REMEDY)


def human_size(count: int) -> str:
    """Returns a number of bytes as text, such as ``1.5 MiB``; exact below 1 KiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024:
            return "%d B" % value if unit == "B" else "%.1f %s" % (value, unit)
        value /= 1024
    return "%.1f PiB" % value


def key_value(option: str) -> tuple[str, str]:
    """Splits ``key=value`` at the first ``=`` and strips both sides; moby's parsers.ParseKeyValueOpt.

    :returns: the key in lower case, and the value.
    :raises OptionError: there is no ``=``.
    """
    key, equals, value = option.partition("=")
    if not equals:
        raise OptionError("unable to parse storage-opt key/value option: %s" % option, remedy="Write it as key=value")
    return key.strip().lower(), value.strip()
