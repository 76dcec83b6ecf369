# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What the README shows works as shown."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    """The code blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_library_example(home, real_tmp):
    with tarfile.open(real_tmp / "base.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("etc/hostname")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"base"))
    (text,) = blocks("python")
    text = text.replace("/srv/overlay2", home)
    writing = 'open(path + "/etc/hostname", "w").write("web")\n'
    text = text.replace("print(driver.changes", writing + "print(driver.changes")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text], cwd=real_tmp, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert "Change(path='/etc/hostname', kind=<ChangeKind.MODIFY" in done.stdout
    with tarfile.open(real_tmp / "web.tar") as archive:
        assert archive.extractfile("etc/hostname").read() == b"web"


def test_playbooks_are_valid(real_tmp):
    playbook = real_tmp / "playbook.yml"
    playbook.write_text("---\n" + "".join(blocks("yaml")))
    program = os.path.join(sysconfig.get_path("scripts"), "ansible-playbook")
    command = [program, "--inventory", "web,", "--syntax-check", str(playbook)]
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".collections"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z][a-z-]*)", README)) <= targets


def test_links_stay_in_the_repository():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
