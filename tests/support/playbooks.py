# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Runs playbooks on this host with the collection of this checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.path.join(sysconfig.get_path("scripts"), "ansible-playbook")


def play(folder, plays, *arguments, prefix=(), timeout=150):
    """Run plays as a playbook.

    :param folder: a scratch folder (pathlib.Path) for what Ansible keeps.
    :param plays: text of the playbook, or a list of plays.
    :param prefix: a command in front, such as one that enters a namespace.
    :returns: subprocess.CompletedProcess, standard error included in its output.
    """
    path = folder / "playbook.yml"
    path.write_text(plays if isinstance(plays, str) else json.dumps(plays))
    environment = dict(
        os.environ,
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".collections"),
        ANSIBLE_HOME=str(folder / "ansible"),
        ANSIBLE_LOCALHOST_WARNING="false",
        ANSIBLE_INVENTORY_UNPARSED_WARNING="false",
        ANSIBLE_NOCOWS="1",
        ANSIBLE_NOCOLOR="1",
        ANSIBLE_PYTHON_INTERPRETER=sys.executable,
        ANSIBLE_REMOTE_TMP=str(folder / "remote"),
    )
    return subprocess.run(
        [*prefix, PROGRAM, "--inventory", "localhost,", "--connection", "local", *arguments, str(path)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout,
    )


def role(name, **variables):
    """A task that includes a role of the collection."""
    return {"ansible.builtin.include_role": {"name": "strata.overlay2." + name}, "vars": variables}


def tasks(*listed):
    """The plays of a playbook that runs these tasks here."""
    return [{"hosts": "all", "gather_facts": False, "tasks": list(listed)}]
