# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The trees that are used for measurements, and their archives: the same bytes in every run."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from typing import NamedTuple

from peers import environment

MTIME = 1_700_000_000  # seconds since 1970
COMPRESS = {".gz": ["gzip", "-6", "-k"], ".zst": ["zstd", "-q", "-3", "-k"]}
BLOCK = 1 << 20


class Shape(NamedTuple):
    """The shape of a tree: how many files of how many bytes, in how many folders."""

    files: int
    size: int
    folders: int

    def __str__(self):
        size = f"{self.size >> 20} MiB" if self.size >= BLOCK else f"{self.size >> 10} KiB"
        return f"{self.files:,} files of {size}"


MANY = Shape(50_000, 1 << 10, 500)
LARGE = Shape(4, 256 << 20, 1)


def file_name(shape, number):
    """The path of the tree's file of that number."""
    return f"folder-{number % shape.folders:04}/file-{number:06}"


def make_tree(folder, shape):
    """Fill a new folder; the content compresses to about a third, as programs and texts do."""
    for number in range(shape.folders):
        os.makedirs(os.path.join(folder, f"folder-{number:04}"))
    for number in range(shape.files):
        with open(os.path.join(folder, file_name(shape, number)), "wb") as file:
            block = _content(number, min(shape.size, BLOCK))
            for _part in range(-(-shape.size // BLOCK)):
                file.write(block[: shape.size])


def _content(number, size):
    seeded = random.Random(number)
    words = [hashlib.sha256(b"%d" % seeded.randrange(1000)).hexdigest()[:32].encode() for _word in range(size // 32)]
    return b"".join(words)


def make_archive(path, tree):
    """Archive a tree by GNU tar, with times that do not change."""
    subprocess.run(
        ["tar", "-C", tree, "--sort=name", "--numeric-owner", "--owner=0", "--group=0", "--format=posix",
         "--pax-option=delete=atime,delete=ctime", f"--mtime=@{MTIME}", "-cf", path, "."],
        check=True, env=environment(),
    )  # fmt: skip


def compress(archive, suffix):
    """Compress an archive with the program that the suffix stands for; gives the new path."""
    subprocess.run([*COMPRESS[suffix], archive], check=True, env=environment())
    return archive + suffix


def change(merged, shape, count):
    """Change `count` files of a mounted tree: two fifths are written to, as many are deleted, the rest is new."""
    for number in range(count):
        path = os.path.join(merged, file_name(shape, number * (shape.files // count)))
        if number % 5 in (0, 1):
            with open(path, "ab") as file:
                file.write(b"changed")
        elif number % 5 in (2, 3):
            os.unlink(path)
        else:
            with open(path + ".new", "wb") as file:
                file.write(b"new")
