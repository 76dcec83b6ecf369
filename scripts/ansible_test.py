# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Run ansible-test on a copy of this checkout: ansible_test.py sanity|integration [ansible-test's arguments].

ansible-test only works in a directory …/ansible_collections/strata/overlay2, so the files that git does not ignore are
copied to .cache/ansible_collections/strata/overlay2. It also needs each Python as `pythonX.Y` on PATH, and pip's
bootstrap script, which it downloads from a host that a closed network may not reach. If its cache lacks the script, one
is written there that does the same with ensurepip.

Sanity runs on the oldest and on the newest ansible-core that the collection claims to support, each in an environment
of its own in .cache, on the newest Python here that pip can install it on. Integration runs on the core of `.venv`.
CORES="2.19 2.22.0rc1" chooses others for either.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import build_collection
import pythons

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
COLLECTIONS = CACHE / "ansible_collections"
COPY = COLLECTIONS / "strata" / "overlay2"
# What ansible-test creates in the copy and reuses.
KEPT = {".git", "tests/output"}

BOOTSTRAP = '''\
"""Install pip as get-pip.py does, from the wheel that comes with Python. Written by the tests of strata.overlay2.

Remove this file to have ansible-test download pip's own script again.
"""
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip", "--upgrade"])
arguments = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install"] + arguments))
'''


def claimed_cores() -> list[str]:
    """The oldest and the newest ansible-core claimed: by meta/runtime.yml, and by the upper bound in pyproject.toml."""
    oldest = re.search(r"requires_ansible: '>=(\d+\.\d+)", (ROOT / "meta/runtime.yml").read_text())
    excluded = re.search(r'"ansible-core>=[\d.]+,<2\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    return [oldest[1], f"2.{int(excluded[1]) - 1}"]


def environment(core: str) -> Path | None:
    """An environment with another ansible-core; returns its folder of programs, None if no Python here can have it."""
    folder = CACHE / f"core-{core}"
    if not (folder / ".installed").exists():
        wanted = f"ansible-core=={core}" + ".*" * (core.count(".") == 1)
        for interpreter in reversed(list(pythons.found().values())):
            subprocess.run([interpreter, "-m", "venv", "--clear", folder], check=True)
            command = [folder / "bin" / "python", "-m", "pip", "--quiet", "install", wanted]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                break
        else:
            return None
        (folder / ".installed").touch()
    return folder / "bin"


def write_bootstrap(programs: Path) -> None:
    """Write a bootstrap script for each pip version that ansible-test may ask for and has none in its cache."""
    (file,) = programs.parent.glob("lib/python*/site-packages/ansible_test/_internal/python_requirements.py")
    source = file.read_text()
    folder = Path("~/.ansible/test/cache").expanduser()
    for version in set(re.findall(r"""\bpip=['"]([\d.]+)['"]""", source)):
        path = folder / "get_pip_{}.py".format(version.replace(".", "_"))
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(BOOTSTRAP)


def link_pythons() -> None:
    """Create a directory with a link pythonX.Y for each interpreter found."""
    folder = CACHE / "pythons"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for version, path in pythons.found().items():
        (folder / f"python{version}").symlink_to(path)


def copy_checkout() -> None:
    """Synchronize the copy with the checkout. Times are kept, so that caches that compare them stay valid."""
    names = build_collection.tracked_files("--others", "--exclude-standard")
    wanted = set(names)
    if COPY.exists():
        for path in sorted(COPY.rglob("*"), reverse=True):
            name = path.relative_to(COPY).as_posix()
            if any(name == kept or name.startswith(kept + "/") for kept in KEPT) or name in wanted:
                continue
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            else:
                path.unlink()
    for name in names:
        target = COPY / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():
            target.unlink()
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    # A repository of its own, because that of the checkout ignores .cache and ansible-test asks git for the files.
    subprocess.run(["git", "init", "--quiet", str(COPY)], check=True)


def run(programs: Path, kind: str, arguments: list[str]) -> int:
    """Run ansible-test of one environment in the copy; returns its exit status."""
    write_bootstrap(programs)
    env = dict(os.environ, PATH=os.pathsep.join((str(programs), str(CACHE / "pythons"), os.environ["PATH"])))
    env.pop("ANSIBLE_COLLECTIONS_PATH", None)
    command = [str(programs / "ansible-test"), kind, "--color", "yes" if sys.stdout.isatty() else "no"]
    if kind == "sanity":
        command += ["--venv"]
    else:
        command += ["--allow-destructive", "--allow-root", "--continue-on-error", "--python", "default"]
    return subprocess.run([*command, *arguments], cwd=COPY, env=env, check=False).returncode


def main() -> int:
    """Prepare the copy and the tools, and run ansible-test; the exit status is the last one that is not 0."""
    if len(sys.argv) < 2 or sys.argv[1] not in ("sanity", "integration"):
        raise SystemExit(__doc__)
    kind, arguments = sys.argv[1], sys.argv[2:]
    copy_checkout()
    link_pythons()
    if kind == "integration" and not (COPY / "tests/integration/targets").is_dir():
        print("There are no integration targets yet.")
        return 0
    status = 0
    chosen = os.environ.get("CORES", "").split()
    for core in chosen or (claimed_cores() if kind == "sanity" else [""]):
        programs = environment(core) if core else Path(sysconfig.get_path("scripts"))
        if programs is None:
            print(f"*** Left out: no Python found here can have ansible-core {core}; the newest need Python 3.12.")
            status = status or bool(chosen)
            continue
        print(f"--- ansible-test {kind}, ansible-core {core or 'of the environment'}", flush=True)
        status = run(programs, kind, arguments) or status
    return status


if __name__ == "__main__":
    sys.exit(main())
