# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""The driver: the interface of Docker's overlay2. It forwards to the modules beside it, and does nothing else.

>>> from overlay2 import Driver
>>> driver = Driver("/var/lib/overlay2")
>>> driver.create("base")
>>> with open("base.tar", "rb") as archive:
...     driver.apply_diff("base", "", archive)
>>> driver.create_read_write("web", parent="base")
>>> path = driver.get("web", holder="nginx")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import diffs
from .basedriver import BaseDriver

if TYPE_CHECKING:
    from .changes import Change
    from .tar.stream import TarStream


class Driver(BaseDriver):
    """One home and its layers, in full: :class:`~.basedriver.BaseDriver`, with diffs."""

    def diff(self, id: str, parent: str = "", *, all_xattrs: bool = False) -> TarStream:
        """Returns a tar of the layer's changes against ``parent``, as a readable binary file; moby's Diff.

        The same layer gives the same bytes. Closing it early is fine. A mount that it needs lasts until the close.

        :param all_xattrs: archive every extended attribute but the overlay's own; else only ``security.capability``.
        :raises LayerNotFound: no such layer, or parent.
        """
        self._require_both(id, parent)
        return diffs.diff(self.opened, id, parent, all_xattrs)

    def diff_size(self, id: str, parent: str = "") -> int:
        """Returns the bytes that the layer adds to ``parent``, directories not counted; moby's DiffSize.

        :raises LayerNotFound: no such layer, or parent.
        """
        self._require_both(id, parent)
        return diffs.diff_size(self.opened, id, parent)

    def changes(self, id: str, parent: str = "") -> list[Change]:
        """Returns the changes of the layer against ``parent``, sorted by path; moby's Changes.

        Against no parent everything is an ADD.

        :raises LayerNotFound: no such layer, or parent.
        """
        self._require_both(id, parent)
        return diffs.changes(self.opened, id, parent)

    def _require_both(self, id: str, parent: str) -> None:
        self._require(id)
        if parent:
            self._require(parent)
