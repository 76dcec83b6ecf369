# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What overlay2_layer decides, for every pair of wanted and actual."""

from __future__ import annotations

import pytest
from ansible_collections.strata.overlay2.plugins.module_utils._layer_plan import (
    Actual,
    Wanted,
    plan_absent,
    plan_present,
    planned_layer,
)
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import errors
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.home.layer import Layer
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.home.quota import QuotaUsage

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def layer(**facts):
    defaults = {
        "id": "web",
        "parent": "base",
        "lower": ("base",),
        "lower_links": ("l/B",),
        "link": "W",
        "committed": False,
        "read_write": False,
    }
    return Layer(**dict(defaults, **facts))


def actual(surroundings=None, **facts):
    return Actual(layer(**facts), **(surroundings or {}))


def steps(wanted, there):
    return plan_present(Wanted("web", **wanted), there).steps


# --- a layer that is not there ----------------------------------------------------------------------------------------


def test_a_new_layer_is_one_step_with_content_and_quota():
    plan = plan_present(Wanted("web", parent="base", read_write=True, src="a.tar", diff_id=ONE, size=4096), None)
    assert plan.steps == ("create",)
    assert plan.before == {}
    assert plan.after == {
        "id": "web",
        "parent": "base",
        "read_write": True,
        "diff_id": ONE,
        "quota": 4096,
        "owner": None,
    }


def test_a_new_layer_without_anything_is_an_empty_base():
    plan = plan_present(Wanted("web"), None)
    assert plan.after == {"id": "web", "parent": "", "read_write": False, "diff_id": None, "quota": 0, "owner": None}


def test_a_digest_alone_makes_no_layer():
    with pytest.raises(errors.OptionError, match="digest alone") as caught:
        plan_present(Wanted("web", diff_id=ONE), None)
    assert caught.value.remedy


@pytest.mark.parametrize("read_write", [None, False])
def test_a_quota_needs_a_read_write_layer(read_write):
    with pytest.raises(errors.OptionError, match="read-write"):
        plan_present(Wanted("web", read_write=read_write, size=4096), None)


def test_a_quota_needs_a_home_that_can():
    with pytest.raises(errors.QuotaNotSupported, match="only XFS"):
        plan_present(Wanted("web", read_write=True, size=4096, no_quota="only XFS has it"), None)


def test_size_zero_is_no_quota_and_needs_nothing():
    assert steps({"size": 0, "no_quota": "only XFS has it"}, None) == ("create",)


# --- a layer that is there --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"parent": "base"},
        {"read_write": False},
        {"src": "a.tar", "diff_id": ONE},
        {"diff_id": ONE},
        {"force": True, "src": "a.tar", "diff_id": ONE, "parent": "base"},
        {"size": 0},
    ],
)
def test_what_is_as_wanted_stays(wanted):
    plan = plan_present(Wanted("web", **wanted), actual(diff_id=ONE))
    assert plan.steps == ()
    assert plan.before == plan.after


def test_what_is_not_known_does_not_differ():
    unknown = actual(read_write=None, parent=None)
    assert steps({"read_write": True, "parent": "base"}, unknown) == ()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"parent": "other"}, "with parent base, not parent other"),
        ({"parent": ""}, "with parent base, not no parent"),
        ({"read_write": True}, "with read_write false"),
        ({"parent": "other", "read_write": True}, "not parent other and read_write false"),
    ],
)
def test_another_structure_is_refused(wanted, words):
    with pytest.raises(errors.LayerExists, match=words) as caught:
        steps(wanted, actual())
    assert "force" in caught.value.remedy


def test_force_makes_the_layer_anew_and_keeps_what_is_not_mentioned():
    there = actual(read_write=True, quota=QuotaUsage(7, 8192, 10, 1), owner="shop")
    plan = plan_present(Wanted("web", parent="other", force=True), there)
    assert plan.steps == ("remove", "create")
    assert plan.before["parent"] == "base"
    assert plan.after == {
        "id": "web",
        "parent": "other",
        "read_write": True,
        "diff_id": None,
        "quota": 8192,
        "owner": "shop",
    }


@pytest.mark.parametrize(
    ("surroundings", "words"),
    [
        ({"children": ("app", "job")}, "it is the parent of app, job"),
        ({"holders": ("", "nginx"), "mounted": True}, "it is held by an anonymous holder, nginx"),
        ({"mounted": True}, "it is mounted"),
        ({"users": ("12 (sh)", "13 (nginx)")}, r"processes use it: 12 \(sh\), 13 \(nginx\)"),
        ({"children": ("app",), "holders": ("nginx",)}, "it is the parent of app; it is held by nginx"),
    ],
)
@pytest.mark.parametrize("wanted", [{"parent": "other"}, {"src": "b.tar", "diff_id": TWO}])
def test_force_does_not_pull_a_layer_from_under_its_users(surroundings, words, wanted):
    with pytest.raises(errors.LayerInUse, match=words):
        steps(dict(wanted, force=True), actual(surroundings, diff_id=ONE))


# --- content ----------------------------------------------------------------------------------------------------------


def test_an_empty_layer_takes_content():
    plan = plan_present(Wanted("web", src="a.tar", diff_id=ONE), actual({"children": ("app",)}))
    assert plan.steps == ("apply",)
    assert (plan.before["diff_id"], plan.after["diff_id"]) == (None, ONE)


def test_a_held_layer_takes_no_content():
    with pytest.raises(errors.LayerInUse, match="nginx"):
        steps({"src": "a.tar", "diff_id": ONE}, actual({"holders": ("nginx",)}))


@pytest.mark.parametrize(("facts", "surroundings"), [({"diff_id": ONE}, {}), ({}, {"empty": False})])
def test_other_content_is_replaced_by_force_only(facts, surroundings):
    there = actual(surroundings, **facts)
    with pytest.raises(errors.LayerNotEmpty, match=TWO) as caught:
        steps({"src": "b.tar", "diff_id": TWO}, there)
    assert "force" in caught.value.remedy
    assert steps({"src": "b.tar", "diff_id": TWO, "force": True}, there) == ("replace",)


@pytest.mark.parametrize(("recorded", "words"), [(ONE, ONE), (None, "no recorded diff ID")])
@pytest.mark.parametrize("force", [False, True])
def test_a_digest_alone_verifies(recorded, words, force):
    with pytest.raises(errors.DigestMismatch, match=words):
        steps({"diff_id": TWO, "force": force}, actual(diff_id=recorded))


# --- quota ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4096, 0])
def test_a_quota_changes_in_place(size):
    plan = plan_present(Wanted("web", size=size), actual(read_write=True, quota=QuotaUsage(7, 8192, 10, 1)))
    assert plan.steps == ("quota",)
    assert (plan.before["quota"], plan.after["quota"]) == (8192, size)


def test_the_same_quota_stays():
    assert steps({"size": 8192}, actual(read_write=True, quota=QuotaUsage(7, 8192, 10, 1))) == ()


def test_content_and_quota_in_one_plan():
    there = actual(read_write=None, quota=QuotaUsage(7, 8192, 10, 1))
    assert steps({"src": "a.tar", "diff_id": ONE, "size": 4096}, there) == ("apply", "quota")


@pytest.mark.parametrize(
    ("facts", "no_quota", "error"),
    [
        ({"read_write": False}, "", errors.OptionError),
        ({"read_write": True}, "only XFS has it", errors.QuotaNotSupported),
        ({"read_write": True}, "", errors.OptionError),  # made without one
    ],
)
def test_a_quota_that_cannot_be(facts, no_quota, error):
    with pytest.raises(error):
        steps({"size": 4096, "no_quota": no_quota}, actual(**facts))


# --- absent -----------------------------------------------------------------------------------------------------------


def test_absent_is_absent():
    plan = plan_absent(Wanted("web"), None)
    assert (plan.steps, plan.before, plan.after) == ((), {}, {})


def test_an_unused_layer_is_removed():
    plan = plan_absent(Wanted("web"), actual())
    assert plan.steps == ("remove",)
    assert plan.before["id"] == "web"
    assert plan.after == {}


@pytest.mark.parametrize(
    "surroundings",
    [{"children": ("app",)}, {"holders": ("nginx",)}, {"mounted": True}, {"users": ("12 (sh)",)}],
)
def test_a_used_layer_is_removed_by_force_only(surroundings):
    there = actual(surroundings)
    with pytest.raises(errors.LayerInUse) as caught:
        plan_absent(Wanted("web"), there)
    assert caught.value.layer == "web"
    assert "force" in caught.value.remedy
    assert plan_absent(Wanted("web", force=True), there).steps == ("remove",)


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_a_new_layer_gets_its_owner():
    plan = plan_present(Wanted("web", owner="shop"), None)
    assert (plan.steps, plan.after["owner"]) == (("create",), "shop")


def test_a_layer_without_an_owner_is_claimed():
    plan = plan_present(Wanted("web", owner="shop"), actual())
    assert (plan.steps, plan.before["owner"], plan.after["owner"]) == (("own",), None, "shop")


def test_a_layer_of_another_program_is_not_claimed():
    assert steps({"owner": "shop"}, actual(read_write=None)) == ()


@pytest.mark.parametrize("owner", ["shop", None])
def test_its_owner_may_change_a_layer(owner):
    there = actual(diff_id=ONE, owner="shop", read_write=True, quota=QuotaUsage(7, 8192, 10, 1))
    assert steps({"owner": owner}, there) == ()
    assert steps({"owner": owner, "size": 4096}, there) == ("quota",)
    assert plan_absent(Wanted("web", owner=owner), there).steps == ("remove",)


def test_another_owners_layer_may_be_used():
    plan = plan_present(
        Wanted("web", owner="shop", parent="base", src="a.tar", diff_id=ONE), actual(diff_id=ONE, owner="db")
    )
    assert (plan.steps, plan.after["owner"]) == ((), "db")


@pytest.mark.parametrize("wanted", [{"size": 4096}, {"src": "b.tar", "diff_id": ONE}])
def test_another_owners_layer_is_changed_by_force_only(wanted):
    there = actual(owner="db", read_write=True, quota=QuotaUsage(7, 8192, 10, 1))
    with pytest.raises(errors.LayerInUse, match="belongs to db, not to shop") as caught:
        steps(dict(wanted, owner="shop"), there)
    assert "force" in caught.value.remedy
    plan = plan_present(Wanted("web", owner="shop", force=True, **wanted), there)
    assert plan.steps
    assert plan.after["owner"] == "db"


def test_another_owners_layer_is_removed_by_force_only():
    there = actual(owner="db")
    with pytest.raises(errors.LayerInUse, match="belongs to db"):
        plan_absent(Wanted("web", owner="shop"), there)
    assert plan_absent(Wanted("web", owner="shop", force=True), there).steps == ("remove",)


def test_a_layer_that_is_created_anew_by_force_changes_hands():
    plan = plan_present(Wanted("web", owner="shop", parent="other", force=True), actual(owner="db"))
    assert plan.after["owner"] == "shop"


# --- what check mode foresees -----------------------------------------------------------------------------------------

MIDDLE = Layer("middle", "base", ("base",), ("l/B",), "M", False)


def planned(wanted, actual=None, parent=None):
    return planned_layer(plan_present(wanted, actual), actual, parent)


def test_a_new_layer():
    layer = planned(Wanted("web", parent="middle", read_write=True, size=4096), parent=MIDDLE)
    assert (layer.parent, layer.lower, layer.depth) == ("middle", ("middle", "base"), 2)
    assert (layer.link, layer.committed, layer.read_write) == ("", False, True)
    assert layer.quota == QuotaUsage(None, 4096, 0, 0)


def test_a_new_base():
    layer = planned(Wanted("web"))
    assert (layer.parent, layer.lower, layer.depth, layer.quota) == ("", (), 0, None)


def test_a_new_layer_whose_parent_is_still_to_come():
    layer = planned(Wanted("web", parent="middle"))
    assert (layer.lower, layer.depth) == (("middle",), 1)


def test_an_existing_layer_keeps_what_is_not_touched():
    quota = QuotaUsage(7, 8192, 10, 3)
    there = Actual(Layer("web", "middle", ("middle", "base"), ("l/M", "l/B"), "W", True, True, quota=quota))
    layer = planned(Wanted("web", src="a.tar", diff_id=ONE, size=4096), there)
    assert (layer.link, layer.committed, layer.diff_id) == ("W", True, ONE)
    assert layer.quota == QuotaUsage(7, 4096, 10, 3)


def test_a_chain_that_is_too_long():
    deepest = tuple(map(str, range(127)))
    assert planned(Wanted("web", parent="p"), parent=Layer("p", "0", deepest, deepest, "P", False)).depth == 128
    deepest += ("127",)
    with pytest.raises(errors.DepthExceeded, match="129"):
        planned(Wanted("web", parent="p"), parent=Layer("p", "0", deepest, deepest, "P", False))
