# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""How a home is read, whichever engine's format it has.

View, owners, health and the inspector know a home through :class:`LayerReader` only. The graph drivers' format
(:class:`~.store.GraphDriverStore`) is its first implementation; a snapshotter of containerd, which keeps parents in a
database and files in ``snapshots/<n>/fs``, has no ``l/``, ``link`` or ``lower`` and fits the same interface.
"""

from __future__ import annotations

from typing import Any, Iterable, Iterator, NamedTuple, Optional, Protocol, Tuple


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
        return len(self.lower_links)


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


class LayerReader(Protocol):
    """Reads the layers of one home. Takes no lock, changes nothing, and copes with layers that come and go."""

    #: The home's directory.
    path: str

    def problems(self) -> list[str]:
        """Returns what is wrong with the home as a whole, in plain sentences; a directory that is not one has some."""

    def ids(self) -> list[str]:
        """Returns the ids of all layers, sorted.

        :raises OSError: the home cannot be listed.
        """

    def exists(self, layer_id: str) -> bool:
        """True if the layer's directory exists."""

    def is_layer(self, layer_id: str) -> bool:
        """True if the directory of that name is a layer; it may be one in the making, or the remains of one."""

    def require(self, layer_id: str) -> str:
        """Returns the layer's directory.

        :raises LayerNotFound: it does not exist.
        """

    def layers(self, ids: Iterable[str] | None = None) -> Iterator[Layer]:
        """Yields the layers, sorted by id; those that vanish meanwhile are left out.

        :param ids: only these; None for all.
        """

    def children(self, layer_id: str) -> list[str]:
        """Returns the ids of the layers that stand directly on this one, sorted."""

    def upper_dir(self, layer_id: str) -> str:
        """Returns the directory of the layer's own files."""

    def merged_dir(self, layer_id: str) -> str:
        """Returns the directory that the layer's engine mounts it on; "" if that is not below the home."""

    def paths(self, layer_id: str) -> LayerPaths:
        """Returns the directories of the layer, these two and the working directory of overlayfs."""

    def lower_dirs(self, layer_id: str) -> list[str]:
        """Returns the directories of the lower layers' files, uppermost first.

        :raises LayerDamaged: the chain is broken.
        """

    def lower_chain(self, layer_id: str) -> list[LowerDirectory]:
        """Returns the lower layers, uppermost first; unlike :meth:`lower_dirs` with those that cannot be found.

        :raises LayerDamaged: the layer's own record of its chain is broken.
        """

    def has_parent(self, layer_id: str) -> bool:
        """True if the layer stands on another, and so is mounted to be used."""

    def layer_at(self, path: str) -> str | None:
        """Returns the id of the layer that a path below the home belongs to; None if it belongs to none.

        :param path: relative to the home, as in mount tables: a layer's directory or anything in it, or a link to one.
        """

    def created(self, layer_id: str) -> float | None:
        """Returns when the layer was created, in seconds since the epoch; None if nothing records it."""
