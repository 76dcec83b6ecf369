# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Parses driver options and storage options: ``key=value`` texts."""

from __future__ import annotations

from typing import Iterable, Mapping, NamedTuple

from ..errors import OptionError
from ..units import key_value, ram_in_bytes


class DriverOptions(NamedTuple):
    """Driver options, parsed."""

    #: ``overlay2.size``: quota in bytes of each new read-write layer; 0 is none.
    size: int = 0
    #: ``overlay2.sync``: ``full`` if changes must survive a power cut, or ``none``.
    sync: str = "full"
    #: ``overlay2.helper``: a second process may create small files while an archive is applied.
    helper: bool = True
    #: ``overlay2.ignore_chown_errors``: files whose owner a user namespace does not know keep the driver's.
    ignore_chown_errors: bool = False


def parse_options(options: Iterable[str]) -> DriverOptions:
    """Parses driver options, ``key=value`` each; moby's parseOptions.

    :raises OptionError: not ``key=value``, an unknown key, or a bad value.
    """
    parsed = DriverOptions()
    for option in options:
        key, value = key_value(option)
        if key == "overlay2.size":
            parsed = parsed._replace(size=_size(key, value))
        elif key == "overlay2.sync":
            parsed = parsed._replace(sync=_choice(key, value, ("full", "none")))
        elif key == "overlay2.helper":
            parsed = parsed._replace(helper=_choice(key, value, ("on", "off")) == "on")
        elif key == "overlay2.ignore_chown_errors":
            ignore = _choice(key, value, ("true", "false")) == "true"
            parsed = parsed._replace(ignore_chown_errors=ignore)
        else:
            raise OptionError(
                "overlay2: unknown option %s" % key,
                remedy="Known are overlay2.size, overlay2.sync, overlay2.helper and overlay2.ignore_chown_errors",
            )
    return parsed


def parse_storage_opt(storage_opt: Mapping[str, object] | None) -> int | None:
    """Returns the quota in bytes from a layer's storage options, None if they name none; moby's parseStorageOpt.

    :raises OptionError: an unknown key or a bad size.
    """
    size = None
    for key, value in (storage_opt or {}).items():
        if key.lower() != "size":
            raise OptionError("Unknown option %s" % key.lower(), remedy="The only storage option is size")
        size = ram_in_bytes(str(value))
    return size


def _size(key: str, value: str) -> int:
    try:
        return ram_in_bytes(value)
    except OptionError as error:
        raise OptionError("%s: %s" % (key, error.message), remedy=error.remedy) from error


def _choice(key: str, value: str, choices: tuple[str, str]) -> str:
    if value not in choices:
        raise OptionError("%s is '%s'" % (key, value), remedy="Set it to %s or %s" % choices)
    return value
