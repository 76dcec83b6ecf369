# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The collection as Galaxy and Ansible see it: metadata, and what the built archive holds."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(file.stem for file in (ROOT / "plugins/modules").glob("[!_]*.py"))
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
RUNTIME = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())


sys.path.insert(0, str(ROOT / "scripts"))
build_collection = importlib.import_module("build_collection")

# What tools, editors and people leave in a checkout.
LITTER = (
    ".benchmarks/Linux-CPython/0001.json",
    ".coverage",
    ".hypothesis/unicode_data/charmap.json",
    ".mypy_cache/3.11/x.json",
    ".venv/bin/python",
    "__pycache__/x.pyc",
    "build/lib/overlay2/__init__.py",
    "htmlcov/index.html",
    "importer_result.json",
    "plugins/module_utils/overlay2/__pycache__/units.cpython-311.pyc",
    "README.md.orig",
    "strata_overlay2.egg-info/PKG-INFO",
    "strata-overlay2-0.0.1.tar.gz",
    "venv/bin/python",
)


@pytest.fixture(scope="module")
def files_in_git():
    """The tracked files, relative to the checkout; the test is void where there is no repository."""
    try:
        return set(build_collection.tracked_files())
    except subprocess.CalledProcessError:
        pytest.skip("not in a git repository")


@pytest.fixture(scope="module")
def tarball(tmp_path_factory, files_in_git):
    """The names of the files in the archive that `ansible-galaxy collection build` makes of a littered checkout."""
    folder = tmp_path_factory.mktemp("galaxy")
    checkout = folder / "checkout"
    build_collection.copy_tracked(checkout)
    for name in LITTER:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("litter")
    path = build_collection.build(checkout, folder)
    assert path.name == f"strata-overlay2-{GALAXY['version']}.tar.gz"
    return file_names(path)


def file_names(path):
    """The files in a tarball."""
    with tarfile.open(path) as archive:
        return {member.name for member in archive if not member.isdir()}


def test_action_group_lists_all_modules():
    """So that `module_defaults: group/strata.overlay2.overlay2` reaches each of them."""
    assert RUNTIME["action_groups"]["overlay2"] == MODULES


def test_requires_ansible_is_a_full_version():
    assert re.fullmatch(r">=2\.\d+\.\d+", RUNTIME["requires_ansible"])


def test_sanity_ignores_nothing():
    """Galaxy's importer warns of an ignore file, and ansible-test needs none."""
    assert list((ROOT / "tests/sanity").glob("ignore-*.txt")) == []


def test_addresses_have_one_base():
    """They are set when the project is published, all together: docs/releases.md says how."""
    base = GALAXY["homepage"]
    addresses = {GALAXY[key] for key in ("repository", "documentation", "issues")}
    for name in ("pyproject.toml", "docs/docsite/links.yml"):
        addresses |= set(re.findall(r"https://[^\s\"']*\.example[^\s\"']*", (ROOT / name).read_text()))
    assert {address for address in addresses if address != base and not address.startswith(base + "/")} == set()


def test_addresses_stand_in_few_places(files_in_git):
    host = "https://" + GALAXY["homepage"].split("/")[2]
    files = {name for name in files_in_git if host.encode() in (ROOT / name).read_bytes()}
    assert files == {"galaxy.yml", "pyproject.toml", "docs/docsite/links.yml", "docs/releases.md"}


def test_tags_are_few_and_lower_case():
    tags = GALAXY["tags"]
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
    """Files that git ignores are not left out by themselves, and a virtual environment would be 100 MB."""
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


def test_the_release_is_built_from_what_git_tracks(tarball, tmp_path):
    program = [sys.executable, ROOT / "scripts/build_collection.py", tmp_path]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
    assert file_names(done.stdout.strip()) == tarball


def test_files_that_follow_moby_have_its_licence_too(files_in_git):
    """Their heads give credit, and REUSE.toml says the same to tools."""
    core = [name for name in files_in_git if name.startswith("plugins/module_utils/") and name.endswith(".py")]
    found = {name for name in core if "(Apache-2.0" in (ROOT / name).read_text()[:400]}
    listed = set(re.findall(r'^    "(.*)",$', (ROOT / "REUSE.toml").read_text(), re.MULTILINE))
    assert found == listed


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


def test_the_changelog_lists_all_modules():
    """`make changelog` renders it; antsibull-changelog's own lint does not miss a module."""
    releases = yaml.safe_load((ROOT / "changelogs/changelog.yaml").read_text())["releases"].values()
    listed = [module["name"] for release in releases for module in release.get("modules", ())]
    assert sorted(listed) == MODULES
    page = (ROOT / "CHANGELOG.rst").read_text()
    assert [name for name in MODULES if f"- strata.overlay2.{name} - " not in page] == []


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
