# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The inspector on homes that others made: dockerd's, with a container running, and containers/storage's."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

pytest.importorskip("textual")
from overlay2_tui import headless
from overlay2_tui.app import Overlay2App
from overlay2_tui.widgets.file_grid import FileGrid
from overlay2_tui.widgets.layer_grid import LayerGrid
from peers import containers_storage, dockerd, material

pytestmark = [pytest.mark.root, pytest.mark.interop]


def look(home, script, seconds=60):
    """Run ``await script(app, pilot, until)`` on the inspector of a home; ``until`` waits for a condition."""

    async def main():
        app = Overlay2App(home)
        async with app.run_test(size=(120, 40)) as pilot:

            async def until(condition):
                deadline = time.monotonic() + seconds
                while not condition():
                    assert time.monotonic() < deadline, "it did not come to pass"
                    await pilot.pause(0.05)

            await script(app, pilot, until)

    asyncio.run(main())


def all_of(home):
    """Inode, mode, size and time of everything in a home except mounts. Reading must not change them."""
    found = {}
    for folder, folders, files in os.walk(home):
        folders[:] = [name for name in folders if not os.path.ismount(os.path.join(folder, name))]
        for name in folders + files:
            info = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns)
    return found


def test_dockerd_with_a_container_running(tmp_path):
    with dockerd.running() as docker:
        base = os.path.join(docker.folder, "base.tar")
        material.base_archive(base, docker.folder)
        docker.import_image(base, "base:1")
        container = docker.run("base:1", "/bin/busybox", "sh", "-c", "echo hello > /made-here; exec sleep 600")
        data = docker.container(container)["GraphDriver"]["Data"]
        upper = os.path.basename(os.path.dirname(data["UpperDir"]))
        while not os.path.exists(os.path.join(data["UpperDir"], "made-here")):
            time.sleep(0.05)

        before = all_of(docker.home)
        found = headless.gather(docker.home)
        assert found.failure is None
        assert found.problems == []
        assert upper in found.layers
        assert (found.owners.engine, found.owners.running) == ("dockerd", True)
        assert found.owner_of(upper).kind == "container"
        assert found.owner_of(upper).owners[0].state == "running"
        bottom = found.layers[upper].layer.lower[-1]
        assert found.owner_of(bottom).text == "base:1"
        assert "running, through a layer above" in " ".join(found.owner_of(bottom).needed_by)
        assert "base:1" in {name for owner in found.owners.layers.values() for name in owner.names}
        mount = found.mount_of(upper)
        assert mount.mounted
        assert "another program mounted it" in mount.remarks[0].text
        assert "root folder" in {process.how for process in mount.processes}
        assert all_of(docker.home) == before

        async def script(app, pilot, until):
            layers = app.screen.query_one(LayerGrid)
            await until(lambda: upper in layers.keys)
            await until(lambda: (owner := app.host.snapshot.owner_of(upper)) is not None and "(running)" in owner.text)
            layers.go_to(upper)
            await pilot.press("3")
            await until(lambda: app.current_mode == "files" and "/made-here" in app.screen.query_one(FileGrid).keys)
            docker.kill(container)
            docker.remove(container)
            await pilot.press("1")
            await until(lambda: upper not in layers.keys)

        look(docker.home, script)


def test_containers_storage():
    with containers_storage.store() as store:
        base = os.path.join(store.folder, "base.tar")
        material.base_archive(base, store.folder)
        store.create("bottom")
        store.apply("bottom", base)
        store.create("upper", "bottom")
        store.run("mount", "upper")
        before = all_of(store.home)
        found = headless.gather(store.home)
        assert found.failure is None
        assert {"bottom", "upper"} <= set(found.layers)
        assert found.layers["upper"].layer.parent == "bottom"
        assert found.sizes["bottom"] > 0
        assert [remark.text for remark in found.problems] == []
        assert found.owners.engine == "containers-storage"
        assert all_of(store.home) == before

        async def script(app, pilot, until):
            layers = app.screen.query_one(LayerGrid)
            await until(lambda: "upper" in layers.keys)
            layers.go_to("bottom")
            await pilot.press("3")
            await until(lambda: app.current_mode == "files" and app.screen.query_one(FileGrid).keys)

        look(store.home, script)
