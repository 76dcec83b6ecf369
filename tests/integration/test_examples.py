# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The EXAMPLES of every module run as they stand, twice, on a host without Docker and without project quota.

They run in a mount namespace in which /srv and /var/lib are empty, so that their paths need not be changed.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import lzma
import os
import re

import pytest
import yaml
from support import images, playbooks, trees

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")

NAMES = sorted(file.stem for file in (playbooks.ROOT / "plugins/modules").glob("overlay2_*.py"))
PREFIX = "strata.overlay2."

#: In the namespace, in front of the playbook's command line.
SCRIPT = """
set -e
mount -t tmpfs -o mode=0755 tmpfs /srv
mount -t tmpfs -o mode=0755 tmpfs /var/lib
mkdir /srv/images /srv/backup /srv/export /var/lib/overlay2
cp "$1"/*.tar* /srv/images
shift
exec "$@"
"""

#: What the examples of a module expect to find.
STACK = [
    {PREFIX + "overlay2_layer": {"id": "debian-12", "src": "/srv/images/debian-12-rootfs.tar.xz"}},
    {PREFIX + "overlay2_layer": {"id": "shop-run", "parent": "debian-12", "read_write": True}},
]
WRITTEN = [
    {PREFIX + "overlay2_mount": {"id": "shop-run"}},
    {"ansible.builtin.copy": {"content": "x", "dest": "/var/lib/overlay2/shop-run/merged/file", "mode": "0644"}},
    {"ansible.builtin.file": {"path": "/var/lib/overlay2/shop-run/merged/etc/conf", "state": "absent"}},
]
SETUP = {"overlay2_mount": STACK, "overlay2_diff": STACK + WRITTEN}


def examples(module):
    source = (playbooks.ROOT / "plugins/modules" / f"{module}.py").read_text()
    (text,) = (
        statement.value.value
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "EXAMPLES"
    )
    return yaml.safe_load(text)


@pytest.fixture
def archives(real_tmp):
    """(folder with the archives that the examples name, the diff ID of the shop's, the digest of its index)."""
    folder = real_tmp / "archives"
    folder.mkdir()
    base = trees.archive({"etc/": None, "etc/conf": b"one"})
    shop = trees.archive({"srv/": None, "srv/shop": b"two"})
    (folder / "debian-12-rootfs.tar.xz").write_bytes(lzma.compress(base))
    (folder / "shop-4.2.tar.gz").write_bytes(gzip.compress(shop))
    images.docker(folder / "shop.tar", base, shop)
    layout = images.Layout(real_tmp / "layout")
    index = layout.index(*[
        images.on(layout.image(base, shop, architecture=name), "linux/" + name) for name in ("amd64", "arm64")
    ])  # fmt: skip
    images.tarred(layout.finish(images.named(index, "4.2")), folder / "shop-all-platforms.tar")
    return folder, "sha256:" + hashlib.sha256(shop).hexdigest(), index["digest"]


@pytest.mark.parametrize("module", NAMES)
def test_examples_run(module, archives, real_tmp):
    folder, digest, index = archives
    shown = examples(module)
    plays = playbooks.tasks(*SETUP.get(module, []), *shown, *shown)
    plays[0]["vars"] = {"shop_digest": digest, "shop_image_digest": index}
    prefix = ["unshare", "--mount", "--propagation", "private", "bash", "-c", SCRIPT, "-", str(folder)]
    done = playbooks.play(real_tmp, plays, prefix=prefix)
    assert done.returncode == 0, done.stdout
    for task in [task for task in shown if "block" not in task]:
        assert f"[{task['name']}]" in done.stdout, done.stdout
    assert "ignored=0" in done.stdout


@pytest.mark.parametrize("module", NAMES)
def test_examples_show_the_module(module):
    assert PREFIX + module in json.dumps(examples(module))


def test_every_example_has_a_name():
    names = [task["name"] for module in NAMES for task in examples(module)]
    assert all(re.match(r"[A-Z]", name) and len(name) < 110 for name in names), names
