# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Snapshots made by hand, for the inspector's tests: always the same home at the same moment."""

from __future__ import annotations

from types import MappingProxyType

from overlay2 import Layer
from overlay2.health import Finding
from overlay2.home.layer import LayerPaths
from overlay2.home.quota import QuotaUsage
from overlay2.linux.mountinfo import MountEntry
from overlay2.owners import Owner
from overlay2_tui.model import (
    InspectedLayer,
    MountFacts,
    OwnerFacts,
    OwnershipReport,
    ProcessFacts,
    Remark,
    Snapshot,
    Space,
)
from overlay2_tui.model.meaning import features_of

#: A time of day in the tests' time zone, which is UTC.
THEN = 1_790_000_000.0
HOME = "/var/lib/overlay2"
STATUS = (
    ("Backing Filesystem", "xfs"), ("Supports d_type", "true"), ("Using metacopy", "false"),
    ("Native Overlay Diff", "true"), ("userxattr", "false"), ("Project Quota", "true"),
    ("Mount API (lowerdir+)", "true"), ("User Namespace", "false"), ("Sync", "full"), ("Kernel", "6.18"),
)  # fmt: skip


def link(id):
    """A name in ``l/`` for a layer of that id."""
    return f"{''.join(c for c in id.upper() if c.isalpha()):Q<26.26}"


def layer(id, lower=(), **more):
    """A InspectedLayer of that id and chain; ``made`` and ``name`` are its own, the rest the Layer's."""
    own = {key: more.pop(key) for key in ("made", "name") if key in more}
    record = {
        "parent": lower[0] if lower else "", "lower": tuple(lower), "lower_links": tuple(f"l/{link(one)}" for one in lower),
        "link": link(id), "committed": False, **more,
    }  # fmt: skip
    paths = LayerPaths(f"{HOME}/{id}/diff", f"{HOME}/{id}/work", f"{HOME}/{id}/merged")
    return InspectedLayer(Layer(id, **record), **{"made": THEN - 3600, "paths": paths, **own})


def mount(id, holders, **more):
    """A MountFacts of a mounted layer."""
    entry = MountEntry(113, 27, "0:50", "/", f"{HOME}/{id}/merged", ("rw",), "overlay", "overlay",
                       ("rw", "lowerdir=/a:/b", "upperdir=/u", "workdir=/w"))  # fmt: skip
    more.setdefault("processes", ())
    holders = None if holders is None else MappingProxyType(holders)
    return MountFacts(id, f"{HOME}/{id}/merged", True, holders, (entry,), **more)


def snapshot(**changes):
    """A home in which there is something of everything."""
    layers = [
        layer("debian-12", committed=True, read_write=False, diff_id="sha256:" + "40" * 32, made=THEN - 86400 * 40),
        layer("shop-4.2", ["debian-12"], committed=True, read_write=False),
        layer("shop-4.3", ["shop-4.2", "debian-12"], committed=True, read_write=False, made=THEN - 7200),
        layer("shop-run", ["shop-4.3", "shop-4.2", "debian-12"], read_write=True,
              quota=QuotaUsage(7, 10 << 30, 9 << 30, 4711)),
        layer("shop-test", ["shop-4.2", "debian-12"], read_write=True, quota=QuotaUsage(8, 1 << 30, 1 << 20, 12)),
        layer("torn", ["debian-12"], read_write=True, problems=("its link file is empty",)),
        layer("web", ["debian-12"], read_write=True),
    ]  # fmt: skip
    values = {
        "home": HOME,
        "host": "ship",
        "taken": THEN,
        "status": STATUS,
        "features": features_of(STATUS),
        "space": Space(100 << 30, 40 << 30, 35 << 30, 1_000_000, 900_000),
        "layers": MappingProxyType({facts.id: facts for facts in layers}),
        "sizes": MappingProxyType({"debian-12": 124 << 20, "shop-4.2": 3 << 20, "shop-4.3": 675, "shop-run": 9 << 30,
                                   "shop-test": 1 << 20, "web": 0}),
        "size_errors": MappingProxyType({"torn": "its diff folder is missing"}),
        "mounts": (
            mount("shop-run", {"shop": 1, "backup": 1}, elsewhere=((4026532179, 30482, "nginx"),),
                  processes=(ProcessFacts(4711, "python", "www", "working folder"),)),
            mount("web", {}, remarks=(Remark("Mounted, and no holder is on record.", "web", is_problem=False),)),
        ),
        "health": (Finding("link-empty", "torn", f"{HOME}/torn/link", "its link file is empty, as after a power cut",
                           "Write the name of the link in l that leads to it into it"),),
        "owners": OwnershipReport("dockerd", "/var/lib/docker", True, MappingProxyType({
            "debian-12": OwnerFacts("image", (Owner("image", "sha256:1", ("registry/debian:12",), "tagged"),)),
            "shop-4.2": OwnerFacts("image", (Owner("image", "sha256:2", ("shop:4.3",), "tagged", False),)),
            "shop-4.3": OwnerFacts("image", (Owner("image", "sha256:2", ("shop:4.3",), "tagged"),)),
            "shop-run": OwnerFacts("container", (Owner("container", "c0ffee", ("shop",), "running"),)),
            "shop-test": OwnerFacts("unowned", certainty="likely", reason="no container and no image needs it",
                                    evidence=("/var/lib/docker/image/overlay2/layerdb",)),
            "torn": OwnerFacts("unknown", certainty="none", reason="a record can't be read"),
            "web": OwnerFacts("container", (Owner("container", "cafe", ("web",), "exited"),)),
        })),
        "history": MappingProxyType({"": (60 << 30, 61 << 30, 63 << 30), "shop-run": (1 << 30, 4 << 30, 9 << 30)}),
    }  # fmt: skip
    values.update(changes)
    return Snapshot(**values)


class ScriptedHost:
    """A host that shows what a test gives it."""

    driver = None
    poller = None
    name = "ship"

    def __init__(self, first):
        self.snapshot = first
        self.selected = ""
