# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Who needs the layers of a home, in a form that can be displayed and read back from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Optional

from .plain import visible

if TYPE_CHECKING:
    from overlay2.owners import Owner


class OwnerFacts(NamedTuple):
    """Who needs a layer, according to ``overlay2.owners``."""

    #: One of ``overlay2.owners.KINDS``.
    kind: str
    #: The strongest first.
    owners: tuple[Owner, ...] = ()
    certainty: str = "certain"
    #: One sentence.
    reason: str = ""
    #: Where that is recorded.
    evidence: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all owners, each once; the strongest owner's title if none has a name."""
        names = tuple(dict.fromkeys(name for owner in self.owners for name in owner.names))
        return names or tuple(owner.title for owner in self.owners[:1])

    @property
    def state(self) -> str:
        """State of the strongest owner; "" without owners."""
        return self.owners[0].state if self.owners else ""

    @property
    def needed_by(self) -> tuple[str, ...]:
        """Each owner as a phrase."""
        return tuple(map(_needed_by, self._others))

    @property
    def text(self) -> str:
        """The owner in a few words, for a row; "" for a layer that only its own record keeps."""
        if self.kind in ("unowned", "unknown"):
            return "unowned" if self.kind == "unowned" else "owner unknown"
        # An image without a tag is best described by the names of others.
        named = [owner for owner in self._others if owner.names] or self._others
        direct = [owner for owner in named if owner.direct]
        names = _titles(direct or (named if self.kind != "layer" else []))
        text = ", ".join(map(visible, names[:2])) + (f" +{len(names) - 2}" if len(names) > 2 else "")
        if not text:
            return "" if self.kind == "layer" else self.kind
        if not direct:
            return f"under {text}"
        return f"{text} ({direct[0].state})" if direct[0].kind == "container" else text

    @property
    def _others(self) -> list[Owner]:
        """The owners without the layer itself, which a layer of this collection has as its owner if nobody holds it."""
        return [owner for owner in self.owners if owner.names or owner.kind != "layer"]


def _titles(owners: list[Owner]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for owner in owners for name in owner.names or (owner.title,)))


def _needed_by(owner: Owner) -> str:
    state = f", {owner.state}" if owner.state else ""
    return f"{owner.kind} {owner.title}{state}" + ("" if owner.direct else ", through a layer above")


class OwnershipReport(NamedTuple):
    """Who needs the layers of a home."""

    #: ``dockerd``, ``containers-storage``, ``overlay2``; "" if no engine's records were found.
    engine: str
    #: The folder with the engine's records.
    root: str
    #: Whether the engine is running; None if that cannot be determined.
    running: Optional[bool]
    #: By layer id.
    layers: Mapping[str, OwnerFacts]
    #: Records that cannot be read, one sentence each.
    problems: tuple[str, ...] = ()

    @property
    def unowned(self) -> list[str]:
        """Ids of the layers that nobody needs."""
        return [id for id, owner in self.layers.items() if owner.kind == "unowned"]

    def counts(self) -> dict[str, int]:
        """Number of layers by kind, every known kind included."""
        from overlay2.owners import KINDS  # not before it is needed: it loads all that reads engines' records

        counted = dict.fromkeys(KINDS, 0)
        for owner in self.layers.values():
            counted[owner.kind] = counted.get(owner.kind, 0) + 1
        return counted
