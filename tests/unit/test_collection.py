# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The collection as Galaxy and Ansible see it: metadata, and what the built archive holds."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(file.stem for file in (ROOT / "plugins/modules").glob("[!_]*.py"))
RUNTIME = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())


@pytest.fixture(scope="module")
def files_in_git():
    """What git knows or would add, relative to the checkout; the test is void where there is no repository."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        pytest.skip("not in a git repository")
    return {name for name in os.fsdecode(done.stdout).split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def tarball(tmp_path_factory):
    """The names of the files in the archive that `ansible-galaxy collection build` makes of this checkout."""
    folder = tmp_path_factory.mktemp("galaxy")
    program = os.path.join(sysconfig.get_path("scripts"), "ansible-galaxy")
    command = [program, "collection", "build", "--output-path", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.tar.gz")
    assert path.name == "strata-overlay2-{}.tar.gz".format(yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"])
    with tarfile.open(path) as archive:
        return {member.name for member in archive if not member.isdir()}


def test_action_group_lists_all_modules():
    """So that `module_defaults: group/strata.overlay2.overlay2` reaches each of them."""
    assert RUNTIME["action_groups"]["overlay2"] == MODULES


def test_requires_ansible_is_a_full_version():
    assert re.fullmatch(r">=2\.\d+\.\d+", RUNTIME["requires_ansible"])


def test_sanity_ignores_nothing():
    oldest = int(RUNTIME["requires_ansible"].split(".")[1])
    files = sorted((ROOT / "tests/sanity").glob("ignore-*.txt"))
    assert files[0].name == f"ignore-2.{oldest}.txt"
    assert len(files) >= 2
    for file in files:
        assert file.read_text() == ""


def test_tags_are_few_and_lower_case():
    tags = yaml.safe_load((ROOT / "galaxy.yml").read_text())["tags"]
    assert len(tags) <= 20
    assert all(re.fullmatch(r"[a-z0-9]+", tag) for tag in tags)
    assert {"storage", "linux", "tools", "infrastructure"} & set(tags)


def test_tarball_holds_what_ansible_needs(tarball, files_in_git):
    wanted = {
        name
        for name in files_in_git
        if name.startswith(("plugins/", "meta/", "roles/", "playbooks/", "LICENSES/", "tests/integration/targets/"))
    }
    wanted |= {"README.md", "LICENSE", "CHANGELOG.rst", "changelogs/changelog.yaml"}
    assert wanted <= tarball


def test_tarball_holds_nothing_else(tarball, files_in_git):
    """Git-ignored files are not left out by themselves, and a virtual environment would be 100 MB."""
    assert tarball - files_in_git == {"MANIFEST.json", "FILES.json"}
    unwanted = (
        "tui/",
        "molecule/",
        "scripts/",
        ".ci/",
        ".github/",
        "tests/bench/",
        "tests/corpus/",
        "tests/unit/",
        "tests/vm/",
        "tests/peers/",
        "tests/support/",
    )
    assert sorted(name for name in tarball if name.startswith(unwanted)) == []
    assert not {"pyproject.toml", "Makefile", "bindep.txt", "ansible.cfg", "tests/conftest.py"} & tarball


def test_no_file_names_a_registry_host(files_in_git):
    """Where packages and images come from is the configuration of the machine, never this project's."""
    hosts = [
        "pypi." + "org",
        "python" + "hosted.org",
        "registry-1." + "docker",
        "index." + "docker.io",
        "quay." + "io",
        "ghcr." + "io",
        "deb." + "debian.org",
        "testing." + "ansible.com",
    ]
    pattern = re.compile("|".join(map(re.escape, hosts)).encode())
    assert sorted(name for name in files_in_git if pattern.search((ROOT / name).read_bytes())) == []


def test_changelog_fragments_are_there():
    fragments = list((ROOT / "changelogs/fragments").glob("*.yml"))
    assert fragments
    for file in fragments:
        assert set(yaml.safe_load(file.read_text())) <= {
            "release_summary",
            "major_changes",
            "minor_changes",
            "breaking_changes",
            "deprecated_features",
            "removed_features",
            "security_fixes",
            "bugfixes",
            "known_issues",
        }
