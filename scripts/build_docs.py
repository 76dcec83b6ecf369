# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Build the collection's site in .cache/docs: antsibull-docs writes the pages, Sphinx renders them.

A warning is an error. Nothing is fetched: the few labels of Ansible's own documentation that the pages refer to are in
an inventory written here, so that they become links without a download.
"""

from __future__ import annotations

import shutil
import subprocess
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / ".cache/docs"
COLLECTION = "strata.overlay2"
ANSIBLE = "https://docs.ansible.com/projects/ansible/devel/"
LABELS = """\
ansible_configuration_settings std:label -1 reference_appendices/config.html Ansible configuration settings
common_return_values std:label -1 reference_appendices/common_return_values.html Return values
"""
INVENTORY_HEAD = """\
# Sphinx inventory version 2
# Project: Ansible
# Version: devel
# The remainder of this file is compressed using zlib.
"""


def run(*command: str) -> None:
    """Run one of the tools; the first that fails ends the build. Errors and warnings go to stderr."""
    if subprocess.run(command, cwd=SITE, stdout=subprocess.DEVNULL, check=False).returncode:
        raise SystemExit(f"{command[0]} failed.")


def main() -> None:
    """Make the site anew."""
    shutil.rmtree(SITE, ignore_errors=True)
    pages = SITE / "rst"
    pages.mkdir(parents=True)
    pages.chmod(0o755)  # antsibull-docs refuses a directory that others can write to
    common = ["--use-current", "--squash-hierarchy", "--fail-on-error"]
    titles = ["--project", COLLECTION, "--title", COLLECTION, "--copyright", "The strata.overlay2 authors"]
    run("antsibull-docs", "sphinx-init", "--dest-dir", ".", "--lenient", *common, *titles, COLLECTION)
    (SITE / "ansible.inv").write_bytes(INVENTORY_HEAD.encode() + zlib.compress(LABELS.encode()))
    with (SITE / "conf.py").open("a") as file:
        file.write(f"\nintersphinx_mapping = {{'ansible': ({ANSIBLE!r}, '../ansible.inv')}}\n")
    settings = ["--config-file", "antsibull-docs.cfg"]
    run("antsibull-docs", *settings, "collection", "--cleanup", "everything", *common, "--dest-dir", "rst", COLLECTION)
    run("sphinx-build", "-M", "html", "rst", "build", "-c", ".", "-W", "--keep-going", "-q")
    print(f"The site: {SITE.relative_to(ROOT)}/build/html/index.html")


if __name__ == "__main__":
    main()
