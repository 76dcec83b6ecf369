# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Build the collection's tarball from the files that git tracks: build_collection.py FOLDER

`ansible-galaxy collection build` packs whatever lies in the checkout and is not listed in galaxy.yml. Building from a
copy of the tracked files keeps notes, caches and build results out of a release. Prints the path of the tarball.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tracked_files(*arguments: str) -> list[str]:
    """The names that `git ls-files` lists and that exist, relative to the checkout, sorted."""
    command = ["git", "ls-files", "-z", "--cached", *arguments]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    names = os.fsdecode(output).split("\0")
    return sorted({name for name in names if name and os.path.lexists(ROOT / name)})


def copy_tracked(target: Path) -> None:
    """Copy the tracked files, as they are in the checkout, into *target*."""
    for name in tracked_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


def build(source: Path, output: Path) -> Path:
    """Build the tarball of *source* in the folder *output*; returns its path."""
    program = os.path.join(sysconfig.get_path("scripts"), "ansible-galaxy")
    command = [program, "collection", "build", "--force", "--output-path", output, source]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.split(" at ")[-1].strip())


def main() -> None:
    """Copy, build, and print where the tarball is."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        copy_tracked(Path(folder))
        print(build(Path(folder), Path(sys.argv[1]).resolve()))


if __name__ == "__main__":
    main()
