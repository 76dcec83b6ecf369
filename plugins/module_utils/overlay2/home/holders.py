# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Mount references shared by all processes of a host: who holds which layer, and how often.

One small JSON text per layer, which is there whole or not at all, so that readers need no lock, and is changed only
under the layer's lock. It is kept as the target of a symbolic link, which one system call makes and one reads; one that
is too long for that is a file. A record counts only in the boot it was written in, and only as far as the kernel's
mount table agrees: that check is the driver's, who knows what a layer's mount should look like.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from typing import Dict, NamedTuple, Tuple

from ..errors import Overlay2Error, from_os_error
from ..linux import kernel
from .layout import read_small

log = logging.getLogger("overlay2")

#: The holder that stands for callers who give no name; its count rises and falls as Docker's does.
ANONYMOUS = ""


class Record(NamedTuple):
    """What is written down about one layer's references."""

    #: Holder name to count; a named holder counts once.
    counts: Dict[str, int]
    #: Inode of the mount namespace in which the mount was made; 0 where unknown.
    mount_namespace: int = 0
    #: The mount is another program's, such as a running container's of dockerd: not ours to take away.
    borrowed: bool = False
    #: Device numbers of the layer's overlays that were detached while processes used them.
    detached: Tuple[int, ...] = ()

    @property
    def total(self):
        """The layer's reference count (int)."""
        return sum(self.counts.values())

    def taken(self, holder):
        """This record with one more reference of ``holder`` (a named one counts at most once)."""
        counts = dict(self.counts)
        counts[holder] = counts.get(holder, 0) + 1 if holder == ANONYMOUS else 1
        return self._replace(counts=counts)

    def dropped(self, holder):
        """This record with one reference of ``holder`` less; unchanged where it has none."""
        counts = dict(self.counts)
        left = counts.pop(holder, 0) - 1
        if left > 0:
            counts[holder] = left
        return self._replace(counts=counts)


NOBODY = Record({})


class Holders:
    """The reference records of one home.

    :param folder: where they lie (str); it need not exist for reading.
    """

    def __init__(self, folder):
        self._folder = folder
        self._boot_id = kernel.boot_id()

    def read(self, layer):
        """The layer's :class:`Record`; :data:`NOBODY` where there is none of this boot, or none that we may read."""
        path = "%s/%s" % (self._folder, layer)
        try:
            content = _content(path)
        except PermissionError as error:
            log.warning("can't tell who holds layer %s: %s", layer, error)
            return NOBODY
        if content is None:
            return NOBODY
        try:
            record = json.loads(content)
            if record["boot_id"] != self._boot_id:
                return NOBODY
            counts = {str(name): int(count) for name, count in record["holders"].items() if int(count) > 0}
            detached = tuple([int(device) for device in record.get("detached", ())])
            return Record(counts, int(record["mount_namespace"]), bool(record.get("borrowed")), detached)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log.warning("ignoring the unreadable reference record %s: %s", path, error)
            return NOBODY

    def write(self, layer, record):
        """Replace the layer's record; an empty one is removed. The caller holds the layer's lock.

        :raises Overlay2Error: it can't be written; the old one is still there.
        """
        if not record.counts and not record.detached:
            self.forget(layer)
            return
        values = {
            "boot_id": self._boot_id,
            "mount_namespace": record.mount_namespace,
            "borrowed": record.borrowed,
            "holders": record.counts,
        }
        if record.detached:
            values["detached"] = record.detached
        text = json.dumps(values)
        path = "%s/%s" % (self._folder, layer)
        try:
            try:
                os.symlink(text, path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENAMETOOLONG):
                    raise
                self._replace(text, path)
        except OSError as error:
            message = "who holds it can't be written down"
            raise from_os_error(Overlay2Error, message, error, layer=layer, path=self._folder) from error

    def _replace(self, text, path):
        # Its own name would be too long with a suffix; pid and object id tell threads and processes apart.
        temporary = "%s/holder-%d-%x" % (os.path.dirname(self._folder), os.getpid(), id(text))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)  # of a process that was killed here
        try:
            try:
                os.symlink(text, temporary)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                with open(temporary, "x", encoding="ascii") as target:
                    target.write(text)
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def forget(self, layer):
        """Remove the layer's record, if there is one. The caller holds the layer's lock."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink("%s/%s" % (self._folder, layer))

    def names(self):
        """Ids of the layers with a record, of this boot or not (list of str, sorted)."""
        try:
            return sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []
        except PermissionError as error:
            log.warning("can't tell which layers are held: %s", error)
            return []

    def held(self):
        """Ids of the layers with a record of this boot that we may read (list of str, sorted)."""
        return [name for name in self.names() if self.read(name).counts]


def _content(path):
    """What a record says (str or bytes); None where there is none."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return read_small(path)
