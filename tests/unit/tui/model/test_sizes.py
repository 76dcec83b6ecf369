# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Measuring layers in the background."""

from __future__ import annotations

from overlay2_tui.model.sizes import SizeKeeper


def test_sizes_are_kept_and_taken_again_when_they_changed():
    taken, told = [], []

    def measure(id, progress):
        taken.append(id)
        return len(taken)

    keeper = SizeKeeper(measure, lambda sizes, size_errors: told.append((sizes, size_errors)))
    keeper.follow({"a": False, "b": False})
    assert keeper.measure_all()[0].keys() == {"a", "b"}
    keeper.follow({"a": False, "b": False, "c": False})
    keeper.measure_all()
    assert sorted(taken) == ["a", "b", "c"]
    keeper.forget(["b"])
    keeper.measure_all()
    assert taken[-1] == "b"
    keeper.follow({"a": False})
    assert keeper.measure_all()[0].keys() == {"a"}


def test_a_layer_that_was_mounted_for_writing_is_measured_once_more_when_it_is_not():
    taken = []
    keeper = SizeKeeper(lambda id, progress: taken.append(id) or 1, lambda *_: None)
    keeper.follow({"a": True})
    keeper.measure_all()
    keeper.follow({"a": False})
    keeper.measure_all()
    assert taken == ["a", "a"]


def test_what_cannot_be_measured_says_why():
    def measure(id, progress):
        raise OSError(5, "Input/output error")

    keeper = SizeKeeper(measure, lambda *_: None)
    keeper.follow({"a": False})
    assert keeper.measure_all() == ({}, {"a": "[Errno 5] Input/output error"})
