# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What crosses between the model, the app and its screens."""

from __future__ import annotations

from textual.message import Message


class SnapshotReady(Message):
    """A host has news. Only the last word counts where several wait."""

    def __init__(self, host, snapshot):
        super().__init__()
        self.host, self.snapshot = host, snapshot

    def can_replace(self, message):
        return isinstance(message, SnapshotReady) and message.host == self.host


class ShowScreen(Message):
    """A screen asks for another one, about a layer if it names one."""

    def __init__(self, mode, layer=None):
        super().__init__()
        self.mode, self.layer = mode, layer
