# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The real programs that the driver is compared with.

* :mod:`peers.dockerd`: a dockerd of our own, on its own folders, spoken to by its HTTP API.
* :mod:`peers.containers_storage`: the ``containers-storage`` program on a store of its own.
* :mod:`peers.tarfacts`: what a layer's tar says, entry by entry, as Python's ``tarfile`` reads it.
* :mod:`peers.diskfacts`: what lies in a folder, entry by entry, as ``lstat`` and ``listxattr`` tell it.

A peer that is missing fails the test that wants it: a comparison that silently did not happen is worth
nothing. ``OVERLAY2_TEST_ALLOW_MISSING_PEERS=1`` turns the failure into a skip that names the missing program.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

import pytest
from support import host

ALLOW_MISSING = "OVERLAY2_TEST_ALLOW_MISSING_PEERS"


def need(*programs):
    """Fail (or skip, where that is allowed) unless every one of `programs` is installed."""
    missing = [program for program in programs if shutil.which(program, path=search_path()) is None]
    if not missing:
        return
    names = ", ".join(missing)
    text = f"NOT COMPARED with the peers: {names} missing here; `make test` installs bindep.txt's test profile"
    if os.environ.get(ALLOW_MISSING) == "1":
        pytest.skip(text)
    pytest.fail(f"{text} ({ALLOW_MISSING}=1 skips instead)")


def search_path():
    """PATH with the folders of system programs in it, which not every user has there."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def environment(**more):
    """The environment to start a peer with: ours, with :func:`search_path`, and `more`."""
    return dict(os.environ, PATH=search_path(), **more)


@contextlib.contextmanager
def scratch(purpose):
    """A fresh folder (str, its real path) on a real disk; whatever is mounted in it is unmounted, and it is removed."""
    parent = os.environ.get("OVERLAY2_TEST_DIR") or "/var/tmp"
    folder = os.path.realpath(tempfile.mkdtemp(prefix=f"overlay2-{purpose}-", dir=parent))
    while "_" in os.path.basename(folder):  # dockerd names containerd's namespace so, which takes no two signs in a row
        os.rmdir(folder)
        folder = os.path.realpath(tempfile.mkdtemp(prefix=f"overlay2-{purpose}-", dir=parent))
    os.chmod(folder, 0o755)
    try:
        yield folder
    finally:
        host.remove_tree(folder)
