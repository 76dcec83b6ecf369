# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Find the Python interpreters of this host by version: on PATH, and where pyenv and uv keep theirs.

As a program it prints lines of `version path`. A name on PATH may be the shim of a version manager that refuses to run,
so each candidate is tried.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

VERSIONS = tuple(f"3.{minor}" for minor in range(8, 15))


def found() -> dict[str, str]:
    """Map versions such as "3.8" to the path of a working interpreter, lowest version first."""
    result = {}
    for version in VERSIONS:
        for candidate in _candidates(version):
            executable = _executable(candidate, version)
            if executable:
                result[version] = executable
                break
    return result


def _candidates(version: str) -> list[str]:
    on_path = shutil.which("python" + version)
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local/share/uv/python")
    managed = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
    managed += sorted(uv.glob(f"cpython-{version}.*/bin/python{version}"))
    return ([on_path] if on_path else []) + [str(path) for path in reversed(managed)]


def _executable(path: str, version: str) -> str:
    """The real path of the interpreter; empty if it is another version, does not run or lacks venv."""
    code = "import ensurepip, ssl, sys, venv, zlib; print('%d.%d' % sys.version_info[:2], sys.executable)"
    try:
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    reported, executable = [*done.stdout.strip().split(" ", 1), ""][:2]
    return executable if reported == version else ""


if __name__ == "__main__":
    for number, interpreter in found().items():
        print(number, interpreter)
