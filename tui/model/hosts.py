# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The homes that are open: one on this host that is followed, or some that were gathered elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from overlay2 import Driver

from . import gathered
from .poller import Poller
from .snapshot import Snapshot
from .source import HomeSource


class LiveHost:
    """A home on this host.

    :param home: its directory.
    :param publish: called with each Snapshot, from other threads.
    """

    def __init__(self, home: str, publish: Callable[[Snapshot], object]) -> None:
        self.source = HomeSource(home)
        self.poller = Poller(self.source, publish)
        #: The last Snapshot that was shown.
        self.snapshot: Snapshot | None = None
        #: Id of the selected layer; "" for none.
        self.selected = ""

    @property
    def driver(self) -> Driver | None:
        """The driver that reads files; None while there is no home."""
        return self.source.driver

    @property
    def name(self) -> str:
        return self.source.snapshot.host


class GatheredHost:
    """A home on another host, as it was when it was gathered."""

    driver = poller = None

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot: Snapshot | None = snapshot
        self.selected = ""
        self.name = snapshot.host or snapshot.home


def gathered_hosts(paths: Iterable[str]) -> list[GatheredHost]:
    """A :class:`GatheredHost` for each Snapshot in some files."""
    return [GatheredHost(snapshot) for path in paths for snapshot in gathered.load(path)]
