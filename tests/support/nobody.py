# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Run a function of a test without any privilege."""

from __future__ import annotations

import os
import pickle
import traceback
from typing import Any, Callable

NOBODY = 65534


def call(function: Callable[[], Any]) -> Any:
    """What *function* returns in a child that is user and group `nobody`. An OSError or one of ours is raised here too.

    The child is a fork, as `nobody` may not be able to start this Python. It can use modules that are imported already.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read_end)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = _answer(function)
            while answer:
                answer = answer[os.write(write_end, answer) :]
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    returned, value = pickle.loads(answer)
    if returned:
        return value
    raise value


def _answer(function: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps((True, function()))
    except Exception as error:
        try:
            return pickle.dumps((False, error))
        except Exception:
            return pickle.dumps((False, AssertionError(traceback.format_exc())))
