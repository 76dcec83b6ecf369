# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Images that buildah wrote, in each of its forms: the tree that is mounted here is the one that buildah mounts."""

from __future__ import annotations

import os
import subprocess

import pytest
from overlay2 import Driver, images
from peers import containers_storage, environment, need
from support import homes, trees

pytestmark = [pytest.mark.interop, pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="mounts")]

LAYERS = (
    {
        "etc/": None,
        "etc/conf": b"a" * 5000,
        "etc/again": trees.hard_link("etc/conf"),
        "old/": None,
        "old/file": b"x",
        "to": trees.symlink("etc"),
        "odd": trees.Entry(b"y", mode=0o6711, uid=1000, gid=100),
    },
    {"etc/conf": b"b", "new/deep/": None, "new/deep/file": b"z"},
)


@pytest.fixture(scope="module")
def built():
    """(function that runs buildah, the tree of the image shop:1 as buildah mounts it)."""
    need("buildah")
    with containers_storage.store() as store:

        def buildah(*arguments):
            command = ["buildah", "--root", store.root, "--runroot", store.runroot, "--storage-driver", "overlay"]
            done = subprocess.run(
                [*command, *arguments], check=False, capture_output=True, text=True, env=environment(), timeout=100
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        for number, entries in enumerate(LAYERS):
            path = os.path.join(store.folder, f"{number}.tar")
            with open(path, "wb") as archive:
                archive.write(trees.archive(entries))
        working = buildah("from", "scratch")
        buildah("add", working, os.path.join(store.folder, "0.tar"), "/")
        buildah("config", "--cmd", "serve", "--env", "A=b=c", "--port", "80/tcp", working)
        buildah("commit", working, "shop:1")
        working = buildah("from", "localhost/shop:1")
        mounted = buildah("mount", working)
        os.unlink(os.path.join(mounted, "old/file"))
        buildah("add", working, os.path.join(store.folder, "1.tar"), "/")
        buildah("commit", working, "shop:1")
        mounted = buildah("mount", buildah("from", "localhost/shop:1"))
        yield buildah, trees.content_facts(mounted, whole_seconds=True)
        buildah("rm", "--all")


FORMS = {
    "oci": ("oci:{}:v1", "x:v1"),
    "oci-archive": ("oci-archive:{}:v1", "x:v1"),
    "docker-archive": ("docker-archive:{}:host.example/shop:1", "host.example/shop:1"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_tree_is_the_one_that_buildah_mounts(built, home, real_tmp, form):
    buildah, expected = built
    target, reference = FORMS[form]
    path = str(real_tmp / "image")
    buildah("push", "localhost/shop:1", target.format(path))
    driver = Driver(home)
    with images.open_source(path) as source:
        done = images.provide(driver.opened, source, images.wanted(reference), "test")
    with images.open_source(path) as source:
        assert not images.provide(driver.opened, source, images.wanted(reference), "test").changed
    assert done.image.id.partition(":")[2] == buildah("inspect", "--type", "image", "-f", "{{.FromImageID}}", "shop:1")
    assert done.image.config.settings["env"]["A"] == "b=c"
    assert done.image.config.settings["exposed_ports"] == ["80/tcp"]
    assert homes.flaws(home) == []
    mounted = driver.get(done.layers[-1].id)
    try:
        assert trees.content_facts(mounted, whole_seconds=True) == expected
    finally:
        driver.put_all(done.layers[-1].id)
