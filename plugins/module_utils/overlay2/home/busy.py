# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Which processes use a layer through its mount, or through one that was detached while they used it."""

from __future__ import annotations

import os
import re
from typing import Collection, Sequence

from ..errors import LayerInUse, printable
from ..linux import mountinfo, users
from .layout import DIFF, MERGED


def users_of(directory: str, devices: Collection[int]) -> tuple[users.User, ...]:
    """Returns the processes that use a layer, by pid, in all mount namespaces; those that may be looked into.

    :param directory: real path of the layer.
    :param devices: device numbers of its overlays, mounted or detached.
    """
    target = os.path.join(directory, MERGED)
    found = users.find(devices, directory)
    return tuple([user for user in found if not devices or not _is_on_another(user, devices, target)])


def names_of(busy: Sequence[users.User]) -> str:
    """Returns processes as text, such as ``812 (nginx), 815 (nginx) and 6 more``."""
    named = ", ".join([printable(str(user)) for user in busy[:5]])
    return "%s and %d more" % (named, len(busy) - 5) if len(busy) > 5 else named


def in_use(layer_id: str, path: str, busy: Sequence[users.User]) -> LayerInUse:
    """Returns the error for a layer that processes use."""
    if busy:
        message, remedy = "processes use it: %s" % names_of(busy), "Stop them first"
    else:
        message = "it is in use, though no process is seen that uses it"
        remedy = "Look for mounts below it and in other mount namespaces: grep %s /proc/*/mountinfo" % path
    return LayerInUse(message, layer=layer_id, path=path, remedy=remedy)


def _is_on_another(user: users.User, devices: Collection[int], target: str) -> bool:
    """True if a process is on a file system that got the device number of a detached overlay later on."""
    try:
        entries = mountinfo.mounts(user.pid)
    except OSError:
        return False
    numbers = {"%d:%d" % (os.major(device), os.minor(device)) for device in devices}
    shown = [entry for entry in entries if entry.device in numbers]
    return bool(shown) and all(_is_other(entry, target) for entry in shown)


def _is_other(entry: mountinfo.MountEntry, target: str) -> bool:
    """True if a mount is certainly not the layer's overlay."""
    if entry.fs_type != "overlay":
        return True
    if entry.mount_point == target:
        return False
    for option in entry.super_options:
        key, _equals, value = option.partition("=")
        if key == "upperdir" and value.startswith("/"):
            upper = re.sub(r"\\(.)", r"\1", value)  # overlayfs escapes what would end a name
            return os.path.realpath(upper) != os.path.join(os.path.dirname(target), DIFF)
    return False
