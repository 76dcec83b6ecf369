# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Run a function of a test file, or a script, as root of a fresh user and mount namespace.

The parent calls `call(function, *args)`; this file, run as a program, is the child's end of it.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Callable


class UsernsError(AssertionError):
    """The code in the namespace failed; the text carries its traceback and output."""


def unshare_command(*, map_auto: bool = False) -> list[str]:
    """The prefix that makes the namespace. *map_auto* maps the ids of /etc/subuid too, where there are some."""
    return ["unshare", "--user", "--map-root-user", *(["--map-auto"] if map_auto else []), "--mount", "--"]


def available(*, map_auto: bool = False) -> str:
    """Why such a namespace cannot be made here; empty when it can."""
    done = subprocess.run([*unshare_command(map_auto=map_auto), "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def call(function: Callable[..., Any], *args: Any, map_auto: bool = False, timeout: float = 120, **kwargs: Any) -> Any:
    """Call a module-level *function* of a test file in the namespace and return what it returns.

    Arguments and result must pickle without naming classes of the test file. Raises UsernsError with the child's
    traceback; its output is part of the text.
    """
    read_end, write_end = os.pipe()
    try:
        request = pickle.dumps((inspect.getsourcefile(function), function.__qualname__, sys.path, args, kwargs))
        child = subprocess.Popen(
            [*unshare_command(map_auto=map_auto), sys.executable, __file__, str(write_end)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[write_end],
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    with child, os.fdopen(read_end, "rb") as answers:
        try:
            output = child.communicate(request, timeout=timeout)[0]
        except BaseException:
            child.kill()
            raise
        answer = answers.read()
    text = output.decode(errors="replace")
    if not answer:
        raise UsernsError(f"the child ended with status {child.returncode} before it answered\n{text}")
    succeeded, value = pickle.loads(answer)
    if not succeeded:
        raise UsernsError(f"{value}\n{text}")
    return value


def run(command: list[str], *, map_auto: bool = False, **kwargs: Any) -> subprocess.CompletedProcess:
    """Run a command in the namespace; the keywords are those of subprocess.run."""
    check = kwargs.pop("check", True)
    return subprocess.run([*unshare_command(map_auto=map_auto), *command], check=check, **kwargs)


def _child(answer_fd: int) -> None:
    source, name, path, args, kwargs = pickle.loads(sys.stdin.buffer.read())
    sys.path[:] = path
    try:
        spec = importlib.util.spec_from_file_location("userns_" + Path(source).stem, source)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        function: Any = module
        for part in name.split("."):
            function = getattr(function, part)
        answer = pickle.dumps((True, function(*args, **kwargs)))
    except BaseException:  # the parent raises it again
        answer = pickle.dumps((False, traceback.format_exc()))
    with os.fdopen(answer_fd, "wb") as stream:
        stream.write(answer)


if __name__ == "__main__":
    _child(int(sys.argv[1]))
