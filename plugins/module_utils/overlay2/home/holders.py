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
from typing import Any, Dict, NamedTuple, Tuple

from ..errors import translated
from ..linux import kernel
from .layout import read_small
from .locks import RuntimeState

log = logging.getLogger("overlay2")

#: The holder that stands for callers who give no name; its count rises and falls as Docker's does.
ANONYMOUS = ""


class Record(NamedTuple):
    """The references to one layer."""

    #: Holder name to count; a named holder counts once.
    counts: Dict[str, int]
    #: Inode of the mount namespace in which the mount was made; 0 if unknown.
    mount_namespace: int = 0
    #: The mount belongs to another program, such as a running container of dockerd, and is not taken away.
    borrowed: bool = False
    #: Device numbers of the layer's overlays that were detached while processes used them.
    detached: Tuple[int, ...] = ()
    #: Where the layer is mounted; "" if that is not recorded.
    mount_point: str = ""

    @property
    def total(self) -> int:
        """The layer's reference count."""
        return sum(self.counts.values())

    def taken(self, holder: str) -> Record:
        """Returns this record with one more reference of ``holder`` (a named one counts at most once)."""
        counts = dict(self.counts)
        counts[holder] = counts.get(holder, 0) + 1 if holder == ANONYMOUS else 1
        return self._replace(counts=counts)

    def dropped(self, holder: str) -> Record:
        """Returns this record with one reference of ``holder`` less; unchanged if it has none."""
        counts = dict(self.counts)
        left = counts.pop(holder, 0) - 1
        if left > 0:
            counts[holder] = left
        return self._replace(counts=counts)


NOBODY = Record({})


class Holders:
    """The reference records of one home, in its runtime directory, which need not exist for reading."""

    def __init__(self, runtime: RuntimeState) -> None:
        self._runtime = runtime
        self._boot_id = kernel.boot_id()

    def read(self, layer_id: str) -> Record:
        """Returns the layer's record; :data:`NOBODY` if there is none of this boot, or none that may be read."""
        path = "%s/%s" % (self._runtime.holders_dir, layer_id)
        try:
            content = _content(path)
        except PermissionError as error:
            log.warning("can't tell who holds layer %s: %s", layer_id, error)
            return NOBODY
        if content is None:
            return NOBODY
        try:
            record = json.loads(content)
            if record["boot_id"] != self._boot_id:
                return NOBODY
            return Record(
                {str(name): int(count) for name, count in record["holders"].items() if int(count) > 0},
                int(record["mount_namespace"]),
                bool(record.get("borrowed")),
                tuple([int(device) for device in record.get("detached", ())]),
                str(record.get("mount_point", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log.warning("ignoring the unreadable reference record %s: %s", path, error)
            return NOBODY

    def write(self, layer_id: str, record: Record) -> None:
        """Replaces the layer's record; an empty one is removed. The caller holds the layer's lock.

        :raises Overlay2Error: it cannot be written; the old one is still there.
        """
        if not record.counts and not record.detached:
            self.forget(layer_id)
            return
        values: dict[str, Any] = {
            "boot_id": self._boot_id,
            "mount_namespace": record.mount_namespace,
            "borrowed": record.borrowed,
            "holders": record.counts,
        }
        if record.detached:
            values["detached"] = record.detached
        if record.mount_point:
            values["mount_point"] = record.mount_point
        text = json.dumps(values)
        path = "%s/%s" % (self._runtime.holders_dir, layer_id)
        with translated("its holders cannot be recorded", layer=layer_id, path=self._runtime.holders_dir):
            try:
                os.symlink(text, path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENAMETOOLONG):
                    raise
                self._replace(text, path)

    def _replace(self, text: str, path: str) -> None:
        # Its own name would be too long with a suffix; pid and object id tell threads and processes apart.
        temporary = "%s/holder-%d-%x" % (self._runtime.path, os.getpid(), id(text))
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

    def forget(self, layer_id: str) -> None:
        """Removes the layer's record, if there is one. The caller holds the layer's lock."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink("%s/%s" % (self._runtime.holders_dir, layer_id))

    def names(self) -> list[str]:
        """Returns the ids of the layers with a record, of this boot or not, sorted."""
        try:
            return sorted(os.listdir(self._runtime.holders_dir))
        except FileNotFoundError:
            return []
        except PermissionError as error:
            log.warning("can't tell which layers are held: %s", error)
            return []

    def held(self) -> list[str]:
        """Returns the ids of the layers with a readable record of this boot, sorted."""
        return [name for name in self.names() if self.read(name).counts]


def describe(counts: dict[str, int]) -> str:
    """Returns the holders of a count as text, such as ``web, ansible, 2 anonymous``."""
    names = [name for name in sorted(counts) if name != ANONYMOUS]
    if counts.get(ANONYMOUS):
        names.append("%d anonymous" % counts[ANONYMOUS])
    return ", ".join(names) or "nobody"


def _content(path: str) -> str | bytes | None:
    """Returns the text of a record; None if there is none."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return read_small(path)
