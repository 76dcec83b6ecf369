# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Rows about the content of layers: applying, archiving, comparing, measuring and removing it."""

from __future__ import annotations

import contextlib
import functools
import os

from contenders import CP, GO, OURS, STORAGE, TAR
from disks import drain, feed, fresh_disk
from material import LARGE, MANY, Shape, change
from peers import containers_storage
from row import Goal, Row

LAYER = "layer"
FEW = Shape(MANY.files // 10, MANY.size, MANY.folders // 10)
CHANGES = 100


# Applying


@contextlib.contextmanager
def applied(bench, shape=MANY, suffix="", through_pipe=False):
    """Each contender unpacks the archive, which is on the real disk, in a new file system; cp copies the tree."""
    archive = bench.archive(shape, suffix)
    source = feed if through_pipe else _from_file

    def storage(meter, disk):
        store = containers_storage.Store(os.path.join(disk, "store"))
        store.create(LAYER)
        with source(disk, archive) as path:
            return meter.program(store.command("applydiff", "--file", path, LAYER))

    def tar(meter, disk):
        plain = _new(disk, "plain")
        with source(disk, archive) as path:
            return meter.program(["tar", "-C", plain, "-xp", *_tar_option(suffix), "-f", path])

    def cp(meter, disk):
        return meter.program(["cp", "--archive", bench.tree(shape), os.path.join(disk, "copy")])

    measures = {
        OURS: functools.partial(_apply, bench, OURS, "none", archive, source),
        GO: functools.partial(_apply, bench, GO, None, archive, source),
        STORAGE: storage,
        TAR: tar,
    }
    if shape is LARGE:
        measures[CP] = cp
    yield {name: functools.partial(_on_fresh_disk, bench, measure) for name, measure in measures.items()}


@contextlib.contextmanager
def applied_with_sync(bench, shape):
    """What it costs this driver to have the layer's data on disk."""
    measures = {
        name: functools.partial(_apply, bench, OURS, sync, bench.archive(shape), _from_file)
        for name, sync in ((OURS, "full"), ("sync=none", "none"))
    }
    yield {name: functools.partial(_on_fresh_disk, bench, measure) for name, measure in measures.items()}


def _apply(bench, name, sync, archive, source, meter, disk):
    with bench.worker(name, os.path.join(disk, "home"), sync) as worker:
        worker.ask("create", layer=LAYER)
        with source(disk, archive) as path:
            return meter.worker(worker, "apply", layer=LAYER, file=path)


def _on_fresh_disk(bench, measure, meter):
    with fresh_disk(bench.folder) as disk:
        return measure(meter, disk)


@contextlib.contextmanager
def _from_file(_folder, file):
    yield file


def _tar_option(suffix):
    return {"": [], ".gz": ["--gzip"], ".zst": ["--zstd"]}[suffix]


def _new(folder, name):
    path = os.path.join(folder, name)
    os.mkdir(path)
    return path


@contextlib.contextmanager
def flat(bench):
    """Memory of this driver when it applies few files, many files and large files."""
    with contextlib.ExitStack() as stack:
        yield {
            str(shape): functools.partial(_whatever_the_result, stack.enter_context(applied(bench, shape))[OURS])
            for shape in (FEW, MANY, LARGE)
        }


def _whatever_the_result(measure, meter):
    return measure(meter)._replace(result=None)


# Archiving, measuring


@contextlib.contextmanager
def filled(bench, shape):
    """A new file system with a home and a store that have the layer: gives (home, store)."""
    archive = bench.archive(shape)
    with fresh_disk(bench.folder) as disk:
        home = os.path.join(disk, "home")
        with bench.worker(OURS, home) as worker:
            worker.ask("create", layer=LAYER)
            worker.ask("apply", layer=LAYER, file=archive)
        store = containers_storage.Store(os.path.join(disk, "store"))
        if bench.has(STORAGE):
            store.create(LAYER)
            store.apply(LAYER, archive)
        yield home, store


@contextlib.contextmanager
def archived(bench, shape=MANY, through_pipe=False):
    """Each contender archives the same layer, or its own copy, into a pipe or to /dev/null."""
    with filled(bench, shape) as (home, store):
        folder = os.path.dirname(home)
        sink = drain if through_pipe else _to_null

        def driver(name, meter):
            with bench.worker(name, home) as worker, sink(folder) as path:
                return meter.worker(worker, "diff", layer=LAYER, file=path)

        def program(command, sink, meter):
            with sink(folder) as path, open(path, "wb") as target:
                return meter.program(command, stdout=target)

        with store.without_frame(LAYER):
            yield {
                OURS: functools.partial(driver, OURS),
                GO: functools.partial(driver, GO),
                STORAGE: functools.partial(program, store.command("diff", "--uncompressed", LAYER), sink),
                # GNU tar does not read files when it sees that its output is /dev/null.
                TAR: functools.partial(program, ["tar", "-C", f"{home}/{LAYER}/diff", "-cf", "-", "."], drain),
            }


@contextlib.contextmanager
def _to_null(_folder):
    yield os.devnull


@contextlib.contextmanager
def sized(bench):
    """Each contender measures the same layer, or its own copy."""
    with filled(bench, MANY) as (home, store):
        yield {
            OURS: functools.partial(_ask, bench, OURS, home, "diffsize", layer=LAYER),
            GO: functools.partial(_ask, bench, GO, home, "diffsize", layer=LAYER),
            STORAGE: lambda meter: meter.program(store.command("diffsize", LAYER)),
        }


def _ask(bench, name, home, command, meter, **arguments):
    with bench.worker(name, home) as worker:
        return meter.worker(worker, command, **arguments)


# Comparing


@contextlib.contextmanager
def compared(bench, naive=False):
    """Each contender lists 100 changes above a layer of many files.

    The chain is ground, files, between, changed; to compare with `files`, which is not the direct parent, takes mounts.
    It is on the real disk, since to unmount an overlay costs more on a loop device.
    """
    parent = "files" if naive else "between"
    with bench.place() as place:
        home = os.path.join(place, "home")
        with bench.worker(OURS, home) as worker:
            worker.ask("create", layer="ground")
            worker.ask("create", layer="files", parent="ground")
            worker.ask("apply", layer="files", parent="ground", file=bench.archive(MANY))
            worker.ask("create", layer="between", parent="files")
            worker.ask("create", layer="changed", parent="between")
            change(worker.ask("get", layer="changed")["path"], MANY, CHANGES)
            worker.ask("put", layer="changed")
        store = containers_storage.Store(os.path.join(place, "store"))
        if bench.has(STORAGE):
            _fill_store(bench, store)
        asked = {"layer": "changed", "parent": parent}
        yield {
            OURS: functools.partial(_ask, bench, OURS, home, "changes", **asked),
            GO: functools.partial(_ask, bench, GO, home, "changes", **asked),
            STORAGE: lambda meter: meter.program(store.command("changes", "changed", parent)),
        }


def _fill_store(bench, store):
    store.create("ground")
    store.create("files", "ground")
    store.apply("files", bench.archive(MANY))
    store.create("between", "files")
    store.create("changed", "between")
    with store.mounted("changed") as merged:
        change(merged, MANY, CHANGES)


# Removing


@contextlib.contextmanager
def removed(bench):
    """Each contender removes the layer from a file system of its own."""

    def driver(name, meter):
        with filled_home(bench) as home:
            return _ask(bench, name, home, "remove", meter, layer=LAYER)

    def storage(meter):
        with fresh_disk(bench.folder) as disk:
            store = containers_storage.Store(os.path.join(disk, "store"))
            store.create(LAYER)
            store.apply(LAYER, bench.archive(MANY))
            return meter.program(store.command("delete-layer", LAYER))

    yield {OURS: functools.partial(driver, OURS), GO: functools.partial(driver, GO), STORAGE: storage}


@contextlib.contextmanager
def filled_home(bench):
    """A new file system with a home that has the layer; gives the home."""
    with fresh_disk(bench.folder) as disk:
        home = os.path.join(disk, "home")
        with bench.worker(OURS, home) as worker:
            worker.ask("create", layer=LAYER)
            worker.ask("apply", layer=LAYER, file=bench.archive(MANY))
        yield home


def _row(name, title, setting, *goals, **options):
    return Row(name, title, functools.partial(setting, **options), goals)


ROWS = [
    _row("apply", f"apply {MANY}", applied, Goal(0.5)),
    _row("apply-pipe", f"apply {MANY} from a pipe", applied, Goal(0.5), through_pipe=True),
    _row("apply-gzip", f"apply {MANY} from gzip", applied, Goal(1.0), suffix=".gz"),
    _row("apply-gzip-pipe", f"apply {MANY} from gzip in a pipe", applied, Goal(1.0), suffix=".gz", through_pipe=True),
    _row("apply-zstd", f"apply {MANY} from zstd", applied, Goal(1.0), suffix=".zst"),
    _row("apply-zstd-pipe", f"apply {MANY} from zstd in a pipe", applied, Goal(1.0), suffix=".zst", through_pipe=True),
    _row("apply-sync", f"apply {MANY}, overlay2.sync=full", applied_with_sync, shape=MANY),
    _row("apply-large", f"apply {LARGE}", applied, Goal(1.2, CP), shape=LARGE),
    _row("apply-large-sync", f"apply {LARGE}, overlay2.sync=full", applied_with_sync, shape=LARGE),
    _row("diff", f"diff of {MANY}", archived, Goal(0.6)),
    _row("diff-pipe", f"diff of {MANY} into a pipe", archived, Goal(0.6), through_pipe=True),
    _row("diff-large", f"diff of {LARGE}", archived, Goal(0.9), shape=LARGE),
    _row("diff-large-pipe", f"diff of {LARGE} into a pipe", archived, Goal(0.9), shape=LARGE, through_pipe=True),
    _row("changes", f"{CHANGES} changes over {MANY.files:,} files, native", compared, Goal(0.05)),
    _row("changes-naive", f"{CHANGES} changes over {MANY.files:,} files, naive", compared, Goal(0.6), naive=True),
    _row("diff-size", f"diff size of {MANY.files:,} files", sized, Goal(1.0)),
    _row("remove", f"remove {MANY.files:,} files", removed, Goal(1.0)),
    _row(
        "memory", "peak memory, applying", flat,
        *(Goal(1.1, str(FEW), str(shape), "peak") for shape in (MANY, LARGE)),
    ),
]  # fmt: skip
