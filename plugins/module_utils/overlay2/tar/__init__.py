# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Folder to tar stream and back, without leaving the folder, at the speed of the file system."""

from __future__ import annotations

from .compression import compressed, decompressed
from .pack import pack_changes, pack_tree
from .stream import TarStream
from .unpack import Unpacked, unpack
from .whiteouts import Whiteouts

__all__ = (
    "TarStream",
    "Unpacked",
    "Whiteouts",
    "compressed",
    "decompressed",
    "pack_changes",
    "pack_tree",
    "unpack",
)
