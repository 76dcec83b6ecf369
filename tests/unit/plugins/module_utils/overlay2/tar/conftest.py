# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the tests in this directory."""

from __future__ import annotations

import importlib
import os

import pytest
from corpus.place import Place
from overlay2.tar import file_process


@pytest.fixture
def place(real_tmp):
    return Place(real_tmp)


@pytest.fixture(params=["alone", pytest.param("helped", marks=pytest.mark.slow)])
def hands(request, monkeypatch):
    """Unpack with one process, and with two from the first file on; returns the list of second processes."""
    unpacking = importlib.import_module("overlay2.tar.unpack")
    monkeypatch.setattr(unpacking, "SECOND_PROCESS_AFTER", 1 if request.param == "helped" else 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    started, start = [], file_process._start

    def noted(*arguments):
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(file_process, "_start", noted)
    yield started
    for pid, _to, _answers in started:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
