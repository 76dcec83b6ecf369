# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Decides what C(overlay2_layer) has to do: wanted against actual, without touching anything.

Private to this collection.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple

from . import _fast_zipimport

_fast_zipimport.install()

from .overlay2.errors import (
    DepthExceeded,
    DigestMismatch,
    LayerExists,
    LayerInUse,
    LayerNotEmpty,
    OptionError,
    QuotaNotSupported,
)
from .overlay2.home.layer import Layer
from .overlay2.home.layout import MAX_DEPTH
from .overlay2.home.quota import QuotaUsage


class Wanted(NamedTuple):
    """What the task asks for; None for options that it does not mention."""

    id: str
    parent: Optional[str] = None
    read_write: Optional[bool] = None
    src: Optional[str] = None
    #: Diff ID of the content; with src, None means that the apply finds it out.
    diff_id: Optional[str] = None
    #: Quota in bytes; 0 for no quota.
    size: Optional[int] = None
    owner: Optional[str] = None
    force: bool = False
    #: Why the home cannot have quotas; "" if it can.
    no_quota: str = ""


class Actual(NamedTuple):
    """What is there: the layer's record and who depends on it."""

    layer: Any
    empty: bool = True
    children: Tuple[str, ...] = ()
    holders: Tuple[str, ...] = ()
    mounted: bool = False
    #: Processes that use it, as text.
    users: Tuple[str, ...] = ()


class Plan(NamedTuple):
    """``steps`` in their order, of remove, create, apply, replace, quota, own; and the state before and after."""

    steps: Tuple[str, ...]
    before: Dict[str, Any]
    after: Dict[str, Any]


def plan_absent(wanted: Wanted, actual: Actual | None) -> Plan:
    """The plan that ends without the layer.

    :raises LayerInUse: another layer, a holder or a process uses it, or it is another owner's; unless forced.
    """
    if actual is None:
        return Plan((), {}, {})
    if not wanted.force:
        refuse_if_owned(wanted, actual.layer)
        refuse_if_used(
            actual, "removed", "Remove the layers above, stop the processes and unmount it first, or set force"
        )
    return Plan(("remove",), state_of(actual.layer), {})


def plan_present(wanted: Wanted, actual: Actual | None) -> Plan:
    """The plan that ends with the layer as wanted.

    :raises Overlay2Error: the existing layer cannot be reconciled with what is wanted.
    """
    if actual is None:
        return plan_create(wanted, {}, ("create",))
    plan = plan_change(wanted, actual)
    if plan.steps and not wanted.force:
        refuse_if_owned(wanted, actual.layer)
    if plan.after["owner"] is None and wanted.owner and "create" not in plan.steps and is_ours(actual.layer):
        return plan._replace(steps=(*plan.steps, "own"), after=dict(plan.after, owner=wanted.owner))
    return plan


def plan_change(wanted: Wanted, actual: Actual) -> Plan:
    """The plan for an existing layer, but for its owner."""
    layer = actual.layer
    difference = structural_difference(wanted, layer)
    if difference:
        if not wanted.force:
            raise LayerExists(
                "the layer exists with %s" % difference,
                layer=layer.id,
                remedy="Use another id, or set force to remove the layer and create it anew",
            )
        refuse_if_used(actual, "created anew", "Remove the layers above, stop the processes and unmount it first")
        kept = wanted._replace(
            parent=layer.parent if wanted.parent is None else wanted.parent,
            read_write=layer.read_write if wanted.read_write is None else wanted.read_write,
            size=state_of(layer)["quota"] if wanted.size is None else wanted.size,
            owner=layer.owner if wanted.owner is None else wanted.owner,
        )
        return plan_create(kept, state_of(layer), ("remove", "create"))
    steps, after = [], state_of(layer)
    content = content_step(wanted, actual)
    if content:
        steps.append(content)
        after["diff_id"] = wanted.diff_id
    if wanted.size is not None and wanted.size != after["quota"]:
        check_quota(wanted, layer.read_write is not False)
        if layer.quota is None:
            raise OptionError(
                "the layer was created without a quota, and one cannot be added to existing content",
                layer=layer.id,
                remedy="Create a layer with a size, and apply the content to that one",
            )
        steps.append("quota")
        after["quota"] = wanted.size
    return Plan(tuple(steps), state_of(layer), after)


def plan_create(wanted: Wanted, before: dict[str, Any], steps: tuple[str, ...]) -> Plan:
    """The plan that creates the layer, quota and content included, in one step."""
    if wanted.size:
        check_quota(wanted, wanted.read_write)
    if wanted.diff_id and not wanted.src:
        raise OptionError(
            "the layer does not exist, and a digest alone cannot create it", layer=wanted.id, remedy="Give src as well"
        )
    return Plan(
        steps,
        before,
        {
            "id": wanted.id,
            "parent": wanted.parent or "",
            "read_write": bool(wanted.read_write),
            "diff_id": wanted.diff_id,
            "quota": wanted.size or 0,
            "owner": wanted.owner,
        },
    )


def content_step(wanted: Wanted, actual: Actual) -> str:
    """What to do about the content of an existing layer: apply, replace or nothing ("")."""
    layer = actual.layer
    if wanted.diff_id is None or wanted.diff_id == layer.diff_id:
        return ""
    held = "no recorded diff ID" if layer.diff_id is None else "the diff ID %s" % layer.diff_id
    if wanted.src is None:
        raise DigestMismatch(
            "the layer has %s, not %s" % (held, wanted.diff_id),
            layer=layer.id,
            remedy="Correct digest, or give src and force to replace the content",
        )
    if layer.diff_id is None and actual.empty:
        refuse_if_used(actual._replace(children=()), "filled", "Unmount it for its holders first")
        return "apply"
    if not wanted.force:
        raise LayerNotEmpty(
            "the layer has content with %s, and %s is %s" % (held, wanted.src, wanted.diff_id),
            layer=layer.id,
            remedy="Use another id, or set force to replace the content",
        )
    refuse_if_used(actual, "refilled", "Remove the layers above, stop the processes and unmount it first")
    return "replace"


def structural_difference(wanted: Wanted, layer: Layer) -> str:
    """In words, what cannot be changed about the layer and differs; "" if nothing. Unknown facts do not differ."""
    differences = []
    if None not in (wanted.parent, layer.parent) and wanted.parent != layer.parent:
        has, should_have = ("parent %s" % parent if parent else "no parent" for parent in (layer.parent, wanted.parent))
        differences.append("%s, not %s" % (has, should_have))
    if None not in (wanted.read_write, layer.read_write) and wanted.read_write != layer.read_write:
        differences.append("read_write %s" % str(layer.read_write).lower())
    return " and ".join(differences)


def is_ours(layer: Layer) -> bool:
    """True if this collection created the layer or its content, so that it may record an owner."""
    return layer.read_write is not None or layer.diff_id is not None


def refuse_if_owned(wanted: Wanted, layer: Layer) -> None:
    """Refuse to change or remove the layer of another owner than the one that the task names.

    :raises LayerInUse: it belongs to another owner.
    """
    if None not in (wanted.owner, layer.owner) and wanted.owner != layer.owner:
        raise LayerInUse(
            "the layer belongs to %s, not to %s" % (layer.owner, wanted.owner),
            layer=layer.id,
            remedy="Use another id, correct owner, or set force",
        )


def refuse_if_used(actual: Actual, done: str, remedy: str) -> None:
    """Refuse to take the layer away from its users, and name them.

    :raises LayerInUse: it has children, holders or users, or is mounted.
    """
    reasons = []
    if actual.children:
        reasons.append("it is the parent of %s" % ", ".join(actual.children))
    if actual.holders:
        reasons.append("it is held by %s" % ", ".join(name or "an anonymous holder" for name in actual.holders))
    elif actual.mounted:
        reasons.append("it is mounted")
    if actual.users:
        more = " and %d more" % (len(actual.users) - 5) if len(actual.users) > 5 else ""
        reasons.append("processes use it: %s%s" % (", ".join(actual.users[:5]), more))
    if reasons:
        raise LayerInUse(
            "the layer cannot be %s: %s" % (done, "; ".join(reasons)), layer=actual.layer.id, remedy=remedy
        )


def check_quota(wanted: Wanted, read_write: bool | None) -> None:
    """Refuse a quota that is impossible.

    :raises OptionError: nobody writes to the layer.
    :raises QuotaNotSupported: the home has no quotas.
    """
    if not read_write:
        remedy = "Set read_write, or leave out size"
        raise OptionError("a quota needs a read-write layer", layer=wanted.id, remedy=remedy)
    if wanted.no_quota:
        raise QuotaNotSupported(
            "a quota needs XFS mounted with pquota: %s" % wanted.no_quota,
            layer=wanted.id,
            remedy="Leave out size, or put the home on such a file system",
        )


def state_of(layer: Layer) -> dict[str, Any]:
    """The facts about a layer that a task can determine, for the diff."""
    return {
        "id": layer.id,
        "parent": layer.parent,
        "read_write": layer.read_write,
        "diff_id": layer.diff_id,
        "quota": layer.quota.limit if layer.quota else 0,
        "owner": layer.owner,
    }


def planned_layer(plan: Plan, actual: Actual | None, parent: Layer | None) -> Layer:
    """The layer's record as it would be.

    :param parent: the parent's record, if it exists.
    :raises DepthExceeded: the chain would be too long.
    """
    after, quota = plan.after, None
    if after["quota"]:
        quota = actual.layer.quota if actual else None
        # The project is chosen when the layer is created.
        quota = quota or QuotaUsage(None, 0, 0, 0)  # type: ignore[arg-type]
        quota = quota._replace(limit=after["quota"])
    if actual and "create" not in plan.steps:
        size = None if after["diff_id"] != actual.layer.diff_id else actual.layer.size
        return actual.layer._replace(diff_id=after["diff_id"], quota=quota, owner=after["owner"], size=size)
    lower = (after["parent"],) + (parent.lower if parent else ()) if after["parent"] else ()
    if len(lower) > MAX_DEPTH:
        raise DepthExceeded(
            "it would have %d lower layers, and %d is the limit" % (len(lower), MAX_DEPTH),
            layer=after["id"],
            remedy="Merge some layers of the chain into one",
        )
    return Layer(
        after["id"],
        after["parent"],
        lower,
        lower,
        link="",
        committed=False,
        read_write=after["read_write"],
        diff_id=after["diff_id"],
        quota=quota,
        owner=after["owner"],
    )
