# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The overlay module's parameters are left as they were, even by a test run that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import overlay_module

#: A parameter that nothing here depends on.
NAME = "redirect_max"
TESTS = str(Path(__file__).parents[2])

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not os.access(os.path.join(overlay_module.FOLDER, NAME), os.W_OK), reason="the module's parameters can't be set"
    ),
]

CHANGER = """
import sys, time
sys.path.insert(0, %r)
from support import overlay_module
with overlay_module.parameter(%r, "253"):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_parameter_is_changed_and_restored():
    before = overlay_module.value(NAME)
    with overlay_module.parameter(NAME, "255"):
        assert overlay_module.value(NAME) == "255"
    assert overlay_module.value(NAME) == before
    with pytest.raises(KeyError), overlay_module.parameter(NAME, "254"):
        raise KeyError
    assert overlay_module.value(NAME) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_parameter_is_restored_when_its_changer_is_killed(spawn, number):
    before = overlay_module.value(NAME)
    changer = spawn([sys.executable, "-c", CHANGER % (TESTS, NAME)], stdout=subprocess.PIPE, start_new_session=True)
    assert changer.stdout.readline() == b"ready\n"
    assert overlay_module.value(NAME) == "253"
    os.killpg(changer.pid, number)
    changer.wait()
    with overlay_module.parameter(NAME, "252"):  # waits until the restorer let go
        pass
    assert overlay_module.value(NAME) == before
