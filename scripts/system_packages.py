# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Install the missing system packages of a bindep.txt profile, or name them if this is not root.

It runs before there is a virtual environment, so it parses the part of bindep's format that the file uses, with the
standard library only. Usage: system_packages.py PROFILE [--check]
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, NamedTuple

BINDEP = Path(__file__).resolve().parent.parent / "bindep.txt"
LINE = re.compile(r"^(?P<name>[\w.+-]+)\s*(?:\[(?P<selectors>[^\]]*)\])?\s*(?:#\s*command:\s*(?P<commands>.+))?$")


class Package(NamedTuple):
    """One line of bindep.txt: a package, the profiles that need it, and the commands that it provides."""

    name: str
    profiles: tuple[str, ...]
    commands: tuple[str, ...]


def packages(text: str) -> Iterator[Package]:
    """Parse bindep.txt. An unknown format is an error, so that no package is silently left out."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.match(line.strip())
        if not match:
            raise SystemExit(f"{BINDEP}:{number}: cannot read {line!r}")
        selectors = (match["selectors"] or "").split()
        profiles = tuple(word for word in selectors if not word.startswith("platform:"))
        yield Package(match["name"], profiles, tuple((match["commands"] or "").split()))


def is_there(package: Package) -> bool:
    """Whether its commands exist, whoever installed them, or, for a package without commands, whether dpkg lists it."""
    if package.commands:
        path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))
        return all(shutil.which(command, path=path) for command in package.commands)
    if package.name == "python3-venv":
        return (
            subprocess.run(
                ["/bin/sh", str(Path(__file__).with_name("find_python.sh"))], capture_output=True, check=False
            ).returncode
            == 0
        )
    status = subprocess.run(
        ["dpkg-query", "-W", "-f=${db:Status-Status}", package.name], capture_output=True, text=True, check=False
    )
    return status.stdout == "installed"


def install(names: list[str]) -> None:
    """Install with apt; the package lists are only updated if that fails."""
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *names]
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    print("Installing system packages:", *names, flush=True)
    if subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0:
        return
    subprocess.run(["apt-get", "update", "-q"], env=env, check=False)
    if subprocess.run(command, env=env, check=False).returncode != 0:
        raise SystemExit("apt-get could not install: " + " ".join(names))


def main() -> None:
    """Check one profile; the exit status is not 0 only if an installation failed."""
    arguments = [word for word in sys.argv[1:] if not word.startswith("-")]
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    profile = arguments[0]
    listed = packages(BINDEP.read_text())
    wanted = [package for package in listed if not package.profiles or profile in package.profiles]
    if not shutil.which("dpkg-query"):
        wanted = [package for package in wanted if package.commands]
    missing = [package.name for package in wanted if not is_there(package)]
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() == 0 and shutil.which("apt-get") and "--check" not in sys.argv and not in_user_namespace():
        install(missing)
        return
    remedy = f"sudo apt-get install --no-install-recommends {names}" if shutil.which("apt-get") else "see bindep.txt"
    print(f"\n*** System packages missing for '{profile}': {names}", f"*** Install them with: {remedy}", sep="\n")
    print("*** Continuing without them: tests that need them are skipped, or fail and say so.\n", flush=True)


def in_user_namespace() -> bool:
    """Whether root is only root of a user namespace, which cannot install packages."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


if __name__ == "__main__":
    main()
