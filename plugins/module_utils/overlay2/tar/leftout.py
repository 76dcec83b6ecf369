# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Counts of what an archive has and a layer could not get."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

from ..errors import printable

#: Examples that are kept, and characters of each.
_EXAMPLES = 8
_LENGTH = 200


class LeftOut(NamedTuple):
    """How many things were left out, and the first few of them."""

    total: int = 0
    #: printable texts
    examples: Tuple[str, ...] = ()

    def __str__(self) -> str:
        more = ", ..." if self.total > len(self.examples) else ""
        return ", ".join(self.examples) + more


class Tally:
    """Counts towards a :class:`LeftOut`."""

    def __init__(self) -> None:
        self._count = 0
        self._examples: Dict[str, str] = {}

    def add(self, kind: str, example: str | bytes) -> None:
        """Count one more thing; there is one example for each ``kind``."""
        self._count += 1
        if len(self._examples) < _EXAMPLES and kind not in self._examples:
            self._examples[kind] = printable(example)[:_LENGTH]

    @property
    def result(self) -> LeftOut:
        """What was counted."""
        return LeftOut(self._count, tuple(self._examples.values()))
