# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Whether an engine is running, by the locks that others hold."""

from __future__ import annotations

import fcntl
import os
import time

import pytest
from overlay2.owners import engine
from support.locking import locked


@pytest.fixture(params=["home", "tmpfs_home"])
def file(request):
    path = os.path.join(request.getfixturevalue(request.param), "engine.db")
    open(path, "w").close()
    return path


@pytest.mark.parametrize("how", ["flock", "lockf"])
def test_a_lock_of_another_process(file, how):
    assert engine.activity([file]) == (False, None)
    with locked(file, how):
        found = engine.activity([file + ".missing", file])
        assert found.running is True
        assert time.time() - 60 < found.since <= time.time() + 1
    assert engine.activity([file]).running is False


def test_a_lock_of_our_own_is_no_engine(file):
    with open(file, "r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert engine.activity([file]).running is False


def test_a_lock_on_another_file(file):
    open(file + ".other", "w").close()
    with locked(file + ".other"):
        assert engine.activity([file]).running is False


def test_nothing_to_tell_by(file):
    assert engine.activity([]) == (None, None)
    assert engine.activity([file + ".missing"]) == (None, None)
