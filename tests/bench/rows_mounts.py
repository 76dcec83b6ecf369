# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Rows about layers as such: made and removed, mounted and unmounted, listed. All on the real disk.

To unmount an overlay costs more on a loop device, and that would hide what the drivers cost.
"""

from __future__ import annotations

import contextlib
import functools
import os

from contenders import GO, OURS, STORAGE, UNSYNCED_GO, Sample
from peers import containers_storage
from row import Goal, Row

TIMES = 200  # calls of a driver in one measurement
PROGRAM_TIMES = 5  # runs of a program in one measurement
GENERATIONS = 10  # layers that stand on one another where many are listed


@contextlib.contextmanager
def made_and_removed(bench, sync="none"):
    """Each contender makes and removes an empty layer on a parent.

    With overlay2.sync=none its small files are on disk nevertheless, as with moby's later versions.
    """
    with bench.place() as place:

        def driver(name, sync, meter):
            with bench.worker(name, os.path.join(place, "home"), sync) as worker:
                sample = meter.worker(worker, "create_remove", layer="new", parent="base", times=TIMES)
                return sample._replace(seconds=sample.seconds / TIMES)

        with bench.worker(OURS, os.path.join(place, "home")) as worker:
            worker.ask("create", layer="base")
        measures = {OURS: functools.partial(driver, OURS, sync), GO: functools.partial(driver, GO, None)}
        if sync == "none":
            store = containers_storage.Store(os.path.join(place, "store"))
            if bench.has(STORAGE):
                store.create("base")
            pair = [store.command("create-layer", "--id", "new", "base"), store.command("delete-layer", "new")]
            measures[STORAGE] = functools.partial(_programs, pair)
            measures[UNSYNCED_GO] = functools.partial(driver, UNSYNCED_GO, None)
        else:
            measures["sync=none"] = functools.partial(driver, OURS, "none")
        yield measures


def _programs(commands, meter):
    samples = [meter.program(command) for _time in range(PROGRAM_TIMES) for command in commands]
    return Sample(sum(sample.seconds for sample in samples) / PROGRAM_TIMES, max(sample.peak for sample in samples))


@contextlib.contextmanager
def mounted_and_unmounted(bench, lowers):
    """Each contender mounts and unmounts a layer with that many below it."""
    chain = [f"layer-{number}" for number in range(lowers)] + ["top"]
    with bench.place() as place:
        home, store = os.path.join(place, "home"), containers_storage.Store(os.path.join(place, "store"))

        def driver(name, meter):
            with bench.worker(name, home) as worker:
                sample = meter.worker(worker, "get_put", layer="top", times=TIMES)
                return sample._replace(seconds=sample.seconds / TIMES)

        with bench.worker(OURS, home) as worker:
            for parent, layer in zip(["", *chain], chain):
                worker.ask("create", layer=layer, parent=parent)
        if bench.has(STORAGE):
            for parent, layer in zip(["", *chain], chain):
                store.create(layer, parent)
        yield {
            OURS: functools.partial(driver, OURS),
            GO: functools.partial(driver, GO),
            STORAGE: functools.partial(_programs, [store.command("mount", "top"), store.command("unmount", "top")]),
        }


@contextlib.contextmanager
def listed(bench, few=1_000, many=5_000):
    """This driver describes all layers, with metadata; the Go driver reads the folder and the metadata."""
    with bench.place() as place:
        homes = {count: os.path.join(place, f"home-{count}") for count in (few, many)}
        for count, home in homes.items():
            with bench.worker(OURS, home) as worker:
                for number in range(count):
                    parent = f"layer-{number - 1}" if number % GENERATIONS else ""
                    worker.ask("create", layer=f"layer-{number}", parent=parent)

        def driver(name, count, meter):
            with bench.worker(name, homes[count]) as worker:
                sample = meter.worker(worker, "list")
                return sample._replace(result=sample.result - count)

        yield {
            OURS: functools.partial(driver, OURS, many),
            GO: functools.partial(driver, GO, many),
            f"{few:,} layers": functools.partial(driver, OURS, few),
        }


made_and_removed_full = functools.partial(made_and_removed, sync="full")

ROWS = [
    Row("create-remove", "create and remove", made_and_removed, (Goal(0.9),)),
    Row("create-remove-sync", "create and remove, overlay2.sync=full", made_and_removed_full),
    *(
        Row(f"get-put-{lowers}", f"get and put, {lowers} lower{'s' if lowers > 1 else ''}",
            functools.partial(mounted_and_unmounted, lowers=lowers), (Goal(goal),))
        for lowers, goal in ((1, 0.9), (20, 0.9), (120, 0.3))
    ),
    Row("list", "5,000 layers listed with metadata", listed, (Goal(1.0, None), Goal(5.5, "1,000 layers"))),
]  # fmt: skip
