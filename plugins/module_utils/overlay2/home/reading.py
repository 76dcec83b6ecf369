# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""How a home is read, whichever engine's format it has."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Tuple


class Layer(NamedTuple):
    """One layer of a home, as its files tell."""

    #: The layer's folder name.
    id: str
    #: Id of the layer it stands on; "" for none, None where the link to it is broken.
    parent: Optional[str]
    #: Ids of the lower layers, uppermost first; a broken link shows as its ``l/...`` name.
    lower: Tuple[str, ...]
    #: The same as written in the ``lower`` file.
    lower_links: Tuple[str, ...]
    #: Its own name in ``l/``; "" where the ``link`` file is missing or empty.
    link: str
    #: It has been a parent, so it is mounted read-only.
    committed: bool
    #: Made for writing; None where nobody wrote that down (made by another program).
    read_write: Optional[bool] = None
    #: ``sha256:...`` of the uncompressed tar that was applied, where known.
    diff_id: Optional[str] = None
    #: Project quota (``quota.QuotaUsage``), where there is one.
    quota: Optional[Any] = None
    #: What is wrong with it, in plain sentences.
    problems: Tuple[str, ...] = ()
    #: Who keeps the layer, as named by whoever created it; None where that is not recorded.
    owner: Optional[str] = None
    #: Bytes of its own content, where that was recorded and nobody writes to the layer.
    size: Optional[int] = None

    @property
    def depth(self):
        """Number of layers below it (int)."""
        return len(self.lower_links)
