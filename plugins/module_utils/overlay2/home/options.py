# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Driver options and storage options: ``key=value`` texts in, numbers out."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import OptionError
from ..units import key_value, ram_in_bytes


class DriverOptions(NamedTuple):
    """Driver options, parsed."""

    #: ``overlay2.size``: quota in bytes of each new read-write layer; 0 is none.
    size: int = 0
    #: ``overlay2.sync``: ``full`` where what is done must survive a power cut, or ``none``.
    sync: str = "full"


def parse_options(options):
    """Parse driver options, ``key=value`` each; moby's parseOptions.

    :raises OptionError: no ``key=value``, an unknown key or a bad value.
    """
    parsed = DriverOptions()
    for option in options:
        key, value = key_value(option)
        if key == "overlay2.size":
            parsed = parsed._replace(size=ram_in_bytes(value))
        elif key == "overlay2.sync":
            if value not in ("full", "none"):
                raise OptionError("overlay2.sync is '%s'" % value, remedy="Set it to full or none")
            parsed = parsed._replace(sync=value)
        else:
            raise OptionError("overlay2: unknown option %s" % key, remedy="Known are overlay2.size and overlay2.sync")
    return parsed


def parse_storage_opt(storage_opt):
    """Quota in bytes out of a layer's storage options, None where they name none; moby's parseStorageOpt.

    :raises OptionError: an unknown key or a bad size.
    """
    size = None
    for key, value in (storage_opt or {}).items():
        if key.lower() != "size":
            raise OptionError("Unknown option %s" % key.lower(), remedy="The only storage option is size")
        size = ram_in_bytes(str(value))
    return size
