# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What is known of a layer, as plain records, whichever engine's home it is in."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Tuple


class Layer(NamedTuple):
    """One layer of a home, as recorded there."""

    #: The name of the layer's directory.
    id: str
    #: Id of the layer it stands on; "" for none, None if the link to it is broken.
    parent: Optional[str]
    #: Ids of the lower layers, uppermost first; a broken link appears as its ``l/...`` name.
    lower: Tuple[str, ...]
    #: The same as written in the ``lower`` file.
    lower_links: Tuple[str, ...]
    #: Its own name in ``l/``; "" if the ``link`` file is missing or empty.
    link: str
    #: It has been a parent, so it is mounted read-only.
    committed: bool
    #: Created for writing; None if that is not recorded (the layer was made by another program).
    read_write: Optional[bool] = None
    #: ``sha256:...`` of the uncompressed tar that was applied, where known.
    diff_id: Optional[str] = None
    #: Project quota (``quota.QuotaUsage``), where there is one.
    quota: Optional[Any] = None
    #: Everything wrong with it, in plain sentences.
    problems: Tuple[str, ...] = ()
    #: Who keeps the layer, as named by its creator; None if that is not recorded.
    owner: Optional[str] = None
    #: Bytes of its own content, if recorded and the layer is not for writing.
    size: Optional[int] = None

    @property
    def depth(self) -> int:
        """Number of layers below it."""
        return len(self.lower)


class WatchedDirectories(NamedTuple):
    """Directories whose entries come and go as layers and holders do, for inotify(7)."""

    #: Entries are layers.
    layers: str
    #: Entries are the layers' link names; "" in a format without links.
    links: str
    #: Entries are holder records.
    holders: str


class LayerPaths(NamedTuple):
    """The directories of one layer, whether they exist or not; "" for one that the format does not have."""

    #: The layer's own files.
    upper: str
    #: The working directory of overlayfs.
    work: str
    #: The mount point.
    merged: str


class LowerDirectory(NamedTuple):
    """One lower layer of a chain."""

    #: Id of the layer; the name that the chain has for it if that leads nowhere.
    id: str
    #: The directory of its own files; "" if the name leads nowhere.
    path: str
    #: Why the path is missing, as a sentence without its full stop.
    problem: str = ""
