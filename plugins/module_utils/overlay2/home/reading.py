# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""How a home is read, whichever engine's format it has.

View, owners, health and the inspector know a home through :class:`LayerReader` only. The graph drivers' format
(:class:`~.store.GraphDriverStore`) is its first implementation; a snapshotter of containerd, which keeps parents in a
database and files in ``snapshots/<n>/fs``, has no ``l/``, ``link`` or ``lower`` and fits the same interface.

An implementation does not derive from the interface: Ansible would send this file with every module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterable, Iterator, Protocol

if TYPE_CHECKING:
    from .layer import Layer, LayerPaths, LowerDirectory


class Chains(Protocol):
    """Reads the lower chains of one home, as they were when this was made."""

    def link(self, layer_id: str) -> str:
        """Returns a layer's own name in chains; "" if it is not known, or in a format without such names."""

    def lower(self, layer_id: str) -> tuple[str, ...] | None:
        """Returns the ids of the lower layers, uppermost first; a name that leads nowhere stays as it is written.

        :returns: None if the chain is lost.
        """


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

    def watched(self) -> tuple[str, str]:
        """Returns the directory whose entries are layers, and the one whose entries are link names ("" for none)."""

    def chains(self) -> Chains:
        """Returns a reader of lower chains, for callers who need nothing else of many layers."""

    def children(self, layer_id: str) -> list[str]:
        """Returns the ids of the layers that stand directly on this one, sorted."""

    def upper_dir(self, layer_id: str) -> str:
        """Returns the directory of the layer's own files."""

    def merged_dir(self, layer_id: str) -> str:
        """Returns the directory that the layer's engine mounts it on; "" if that is not below the home."""

    def why_hidden(self, layer_id: str) -> str:
        """Returns why :meth:`upper_dir` does not hold the layer's files, as a clause; "" if it does."""

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
