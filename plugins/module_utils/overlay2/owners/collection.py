# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What this project's own files say of the layers in a home: that they were made on purpose, and who holds them.

A layer with a ``strata.json`` was made by a caller who gave it its name. Nobody but that caller can tell that it is
garbage, so it is owned, whether or not somebody holds it: references are void after a reboot, layers are not.
"""

from __future__ import annotations

import os

from ..errors import Overlay2Error
from ..home.layout import RECORD, LayerRecord
from .files import Unreadable
from .records import LAYER, Evidence, Owner


def owner_of(driver, store, layer, holders_folder):
    """The :class:`~.records.Owner` that a layer of this project's is to itself, or that its holders are; None for none.

    :param holders_folder: where holders are on record (str).
    :raises Unreadable: it has a record that can't be understood, and nobody holds it.
    """
    evidence, record = [], LayerRecord()
    held = driver.holders(layer)
    if held:
        evidence.append(Evidence(os.path.join(holders_folder, layer)))
    path = store.at(layer, RECORD)
    try:
        content = store.files(layer).content(RECORD)
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


def has_been_here(home):
    """Whether this project's driver made something in the home (bool): it has a staging folder."""
    return os.path.isdir(os.path.join(home, ".staging"))
