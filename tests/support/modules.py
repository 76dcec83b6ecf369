# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Runs a module of the collection as a process of its own, without a playbook around it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COLLECTIONS = Path(__file__).resolve().parents[2] / ".collections"
PROGRAM = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
name, arguments = sys.argv[1], json.loads(sys.argv[2])
module = importlib.import_module("ansible_collections.strata.overlay2.plugins.modules." + name)
with patch_module_args(arguments):
    module.main()
"""


def start(name, check_mode=False, **arguments):
    """A process (subprocess.Popen) that runs a module; see :func:`result`."""
    given = json.dumps(dict(arguments, _ansible_check_mode=check_mode))
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name, given],
        cwd=COLLECTIONS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def result(process, timeout=60):
    """What a started module returned (dict)."""
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    if not output:
        raise AssertionError(errors)
    return json.loads(output)


def run(name, check_mode=False, **arguments):
    """What a module returns (dict)."""
    return result(start(name, check_mode, **arguments))
