# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What C(overlay2_layer) has to do: wanted against actual, without touching anything.

Private to this collection.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

from . import _zip_imports  # first, it speeds up those below  # noqa: F401  # pylint: disable=unused-import
from .overlay2.errors import (
    DepthExceeded,
    DigestMismatch,
    LayerExists,
    LayerInUse,
    LayerNotEmpty,
    OptionError,
    QuotaNotSupported,
)
from .overlay2.home.layout import MAX_DEPTH
from .overlay2.home.quota import QuotaUsage
from .overlay2.home.reading import Layer


class Wanted(NamedTuple):
    """What the task asks for. None stands for what it does not mention."""

    id: str
    parent: Optional[str] = None
    read_write: Optional[bool] = None
    src: Optional[str] = None
    diff_id: Optional[str] = None  # of the content; with src, None means known after the apply
    size: Optional[int] = None  # bytes; 0 for no quota
    force: bool = False
    no_quota: str = ""  # why the home can't have quotas; "" if it can


class Actual(NamedTuple):
    """What is there: the layer's record and who depends on it."""

    layer: object
    empty: bool = True
    children: Tuple[str, ...] = ()
    holders: Tuple[str, ...] = ()
    mounted: bool = False


class Plan(NamedTuple):
    """``steps`` in their order, of remove, create, apply, replace, quota; and the layer's state before and after."""

    steps: Tuple[str, ...]
    before: dict
    after: dict


def plan_absent(actual, force):
    """The plan that ends without the layer.

    :raises LayerInUse: somebody stands on it or holds it, and ``force`` is not set.
    """
    if actual is None:
        return Plan((), {}, {})
    if not force:
        refuse_if_used(actual, "removed", "Remove the layers above and unmount it for its holders first, or set force")
    return Plan(("remove",), state_of(actual.layer), {})


def plan_present(wanted, actual):
    """The plan that ends with the layer as wanted.

    :raises Overlay2Error: what is there can't be reconciled with what is wanted.
    """
    if actual is None:
        return plan_create(wanted, {}, ("create",))
    layer = actual.layer
    difference = structural_difference(wanted, layer)
    if difference:
        if not wanted.force:
            raise LayerExists(
                "the layer exists with %s" % difference,
                layer=layer.id,
                remedy="Use another id, or set force to remove the layer and make it anew",
            )
        refuse_if_used(actual, "made anew", "Remove the layers above and unmount it for its holders first")
        kept = wanted._replace(
            parent=layer.parent if wanted.parent is None else wanted.parent,
            read_write=layer.read_write if wanted.read_write is None else wanted.read_write,
            size=state_of(layer)["quota"] if wanted.size is None else wanted.size,
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
                "the layer was made without a quota, and none can be put on content that is there already",
                layer=layer.id,
                remedy="Create a layer with a size, and apply the content to that one",
            )
        steps.append("quota")
        after["quota"] = wanted.size
    return Plan(tuple(steps), state_of(layer), after)


def plan_create(wanted, before, steps):
    """The plan that makes the layer, quota and content included, in one step."""
    if wanted.size:
        check_quota(wanted, wanted.read_write)
    if wanted.diff_id and not wanted.src:
        raise OptionError(
            "the layer is not there, and digest alone can't make it", layer=wanted.id, remedy="Give src as well"
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
        },
    )


def content_step(wanted, actual):
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
    refuse_if_used(actual, "refilled", "Remove the layers above and unmount it for its holders first")
    return "replace"


def structural_difference(wanted, layer):
    """In words, what the layer has that it can't have as wanted; "" if nothing. What is not known does not differ."""
    differences = []
    if None not in (wanted.parent, layer.parent) and wanted.parent != layer.parent:
        has, should_have = ("parent %s" % parent if parent else "no parent" for parent in (layer.parent, wanted.parent))
        differences.append("%s, not %s" % (has, should_have))
    if None not in (wanted.read_write, layer.read_write) and wanted.read_write != layer.read_write:
        differences.append("read_write %s" % str(layer.read_write).lower())
    return " and ".join(differences)


def refuse_if_used(actual, done, remedy):
    """Refuse what would pull the layer from under somebody, and say who that is.

    :raises LayerInUse: it has children or holders, or is mounted.
    """
    users = []
    if actual.children:
        users.append("%s standing on it" % ", ".join(actual.children))
    if actual.holders:
        users.append("%s holding it" % ", ".join(name or "an anonymous holder" for name in actual.holders))
    elif actual.mounted:
        users.append("a mount of it")
    if users:
        raise LayerInUse(
            "the layer can't be %s: there is %s" % (done, " and ".join(users)), layer=actual.layer.id, remedy=remedy
        )


def check_quota(wanted, read_write):
    """Refuse a quota that can't be.

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


def state_of(layer):
    """What a task can determine of a layer (dict), for the diff."""
    return {
        "id": layer.id,
        "parent": layer.parent,
        "read_write": layer.read_write,
        "diff_id": layer.diff_id,
        "quota": layer.quota.limit if layer.quota else 0,
    }


def planned_layer(plan, actual, parent):
    """The layer's record as it would be.

    :param parent: the parent's record, or None.
    :raises DepthExceeded: a layer can't stand on that many.
    """
    after, quota = plan.after, None
    if after["quota"]:
        quota = actual.layer.quota if actual and actual.layer.quota else QuotaUsage(None, 0, 0, 0)
        quota = quota._replace(limit=after["quota"])
    if actual and "create" not in plan.steps:
        return actual.layer._replace(diff_id=after["diff_id"], quota=quota)
    lower = (after["parent"],) + (parent.lower if parent else ()) if after["parent"] else ()
    if len(lower) > MAX_DEPTH:
        raise DepthExceeded(
            "it would stand on %d layers, and %d is the most" % (len(lower), MAX_DEPTH),
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
    )
