# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Archives for the power cuts, in the form that the driver's own diff has: equal content, equal digest."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

from overlay2.tar.pack import pack_tree

ARCHIVES = ("a.tar", "b.tar", "c.tar", "d.tar")
THEN = 1_700_000_000
FILES = 40
LARGEST = 48 << 10


def make_archives(folder: Path, rng: random.Random) -> None:
    """Write :data:`ARCHIVES` into a new folder: small trees with folders, files, links and a whiteout."""
    folder.mkdir()
    for name in ARCHIVES:
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            root = Path(scratch, "tree")
            root.mkdir()
            _make_tree(root, rng)
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                (folder / name).write_bytes(b"".join(pack_tree(descriptor, overlay=True)))
            finally:
                os.close(descriptor)


def _make_tree(root: Path, rng: random.Random) -> None:
    for number in range(FILES):
        path = root / f"folder{number % 5}" / f"file{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randrange(1, LARGEST)))
    (root / "folder0" / "link").symlink_to("file0")
    os.link(root / "folder0" / "file0", root / "folder1" / "second-name")
    os.mknod(root / "folder2" / "deleted", 0o600, os.makedev(0, 0))  # a whiteout
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (THEN, THEN), follow_symlinks=False)
