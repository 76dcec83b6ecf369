# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""This project's own records of the layers in a home: which were made on purpose, and who holds them.

A layer with a ``strata.json`` was made by a caller who gave it its name. Only that caller knows whether it is garbage,
so it is owned even if nobody holds it: references are void after a reboot, layers are not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import Overlay2Error
from ..home.layout import RECORD, STAGING, LayerRecord
from .files import Unreadable
from .records import LAYER, Evidence, Owner

if TYPE_CHECKING:
    from ..home.opening import Home


def owner_of(home: Home, layer: str) -> Owner | None:
    """Returns the owner of a layer that this collection made or holds: its holders, or the layer itself.

    :returns: None if it is neither.
    :raises Unreadable: it has a record that can't be understood, and nobody holds it.
    """
    evidence, record = [], LayerRecord()
    held = home.references.counts(layer)
    if held:
        evidence.append(Evidence(os.path.join(home.runtime.holders_dir, layer)))
    path = home.store.at(layer, RECORD)
    try:
        content = home.store.files(layer).content(RECORD)
    except Overlay2Error as error:
        content = b""
        message = error.message
    else:
        message = "can't be understood" if content else "is empty"
    if content is not None:
        record = LayerRecord.decode(content)
        if record == LayerRecord() and not held:
            raise Unreadable(path, message)
        evidence.append(Evidence(path))
    if not evidence:
        return None
    state = {True: "read-write", False: "read-only", None: "held"}[record.read_write]
    names = tuple(sorted(name or "anonymous" for name in held))
    return Owner(LAYER, layer, names, state, evidence=tuple(evidence))


def has_been_here(path: str) -> bool:
    """True if this project's driver changed the home at ``path``: it has a staging directory."""
    return os.path.isdir(os.path.join(path, STAGING))
