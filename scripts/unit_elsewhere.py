# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Run the core's unit tests on the oldest and the newest Python of this host, from the wheel that pip would install.

The core supports Python 3.8 and later, as targets have any of them. Arguments are passed to pytest. PYTHONS="3.9 3.12"
chooses other versions, PYTHONS=all each that is found. By default the newest leaves out the tests marked slow:
they do not depend on the Python version, and have run on two versions by then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pythons

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check"]


def build_wheel() -> Path:
    """Build the wheel from the checkout; returns its path."""
    folder = CACHE / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    # setuptools reuses ./build, and with it files that have been deleted since.
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    subprocess.run([sys.executable, *PIP, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    return next(folder.glob("*.whl"))


def environment(version: str, interpreter: str, wheel: Path) -> str:
    """A virtual environment with pytest and the wheel; returns its interpreter."""
    folder = CACHE / f"unit-{version}"
    python = str(folder / "bin" / "python")
    if not (folder / ".installed").exists():
        subprocess.run([interpreter, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, *PIP, "install", "pytest>=8.3,<10"], check=True)
        (folder / ".installed").touch()
    subprocess.run([python, *PIP, "install", "--no-deps", "--force-reinstall", wheel], check=True)
    return python


def main() -> int:
    """Run the tests on each version in turn; the exit status is the first that is not 0."""
    found = pythons.found()
    wanted = os.environ.get("PYTHONS", "").split()
    quick = []
    if wanted == ["all"]:
        wanted = list(found)
    elif not wanted:
        others = [version for version in found if version != "%d.%d" % sys.version_info[:2]]
        wanted = list(dict.fromkeys(others[:1] + others[-1:]))
        quick = wanted[1:]
    if not wanted:
        print("*** No other Python was found: the tests of the core ran on that of .venv only.")
    wheel = build_wheel()
    status = 0
    for version in wanted:
        if version not in found:
            raise SystemExit(f"Python {version} was not found here; there is: {' '.join(found)}")
        print(f"--- the core on Python {version} ({found[version]})", flush=True)
        python = environment(version, found[version], wheel)
        command = [python, "-m", "pytest", "-q", "tests/unit/plugins/module_utils/overlay2", *sys.argv[1:]]
        if version in quick:
            command += ["-m", "not slow"]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode or status
    return status


if __name__ == "__main__":
    sys.exit(main())
