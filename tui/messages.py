# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Messages between the model, the app and its screens."""

from __future__ import annotations

from textual.message import Message

from .model.snapshot import Snapshot


class SnapshotReady(Message):
    """A new Snapshot of a host. If several wait, only the last one counts."""

    def __init__(self, host: int, snapshot: Snapshot) -> None:
        super().__init__()
        self.host, self.snapshot = host, snapshot

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, SnapshotReady) and message.host == self.host


class ShowScreen(Message):
    """A screen asks for another one, with ``layer`` selected unless that is None."""

    def __init__(self, mode: str, layer: str | None = None) -> None:
        super().__init__()
        self.mode, self.layer = mode, layer
