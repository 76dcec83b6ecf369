# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Homes as dockerd and containers/storage leave them, with the engine's records beside them, made by hand.

Each has images, containers and, with dockerd, a build cache; so each kind of record is there to be damaged. Layers are
this driver's own, less what only it writes.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import tarfile
from io import BytesIO

from overlay2 import Driver

from . import boltfile


def digest(text):
    """A made-up digest (64 hexadecimal digits) that depends on *text* alone."""
    return hashlib.sha256(text.encode()).hexdigest()


def archive(**files):
    """A tar of small files, as a stream."""
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, BytesIO(text.encode()))
    stream.seek(0)
    return stream


class Made:
    """A home that was made, and whose its layers are."""

    def __init__(self, home, kind):
        self.home = home
        self.kind = kind
        self.root = os.path.dirname(home)
        #: Layer id to the kind of owner that it has.
        self.truth = {}
        #: What tests call a layer, to its id.
        self.ids = {}

    def path(self, layer, *names):
        """Path of something in a layer, by what tests call it."""
        return os.path.join(self.home, self.ids[layer], *names)

    def beside(self, *names):
        """Path of something beside the home."""
        return os.path.join(self.root, *names)

    def link(self, layer):
        """A layer's name in ``l``."""
        with open(self.path(layer, "link")) as source:
            return source.read()


def _layers(made, names):
    """Make layers with a file each: *names* to (id, what it stands on, kind of owner)."""
    driver = Driver(made.home)
    for name, (id, parent, kind) in names.items():
        made.ids[name] = id
        made.truth[id] = kind
        make = driver.create_read_write if name.startswith("run") else driver.create
        make(id, parent=made.ids.get(parent, ""), diff=archive(**{"of-" + name: name, "same": name}))
    return driver


def _foreign(made):
    """Take away what only this driver writes."""
    shutil.rmtree(os.path.join(made.home, ".staging"), ignore_errors=True)
    for id in made.truth:
        os.unlink(os.path.join(made.home, id, "strata.json"))


def overlay2(root):
    """A home of this project's own."""
    made = Made(os.path.join(root, "overlay2"), "overlay2")
    os.makedirs(root, exist_ok=True)
    _layers(made, {
        "base": ("base", "", "layer"),
        "middle": ("middle", "base", "layer"),
        "run": ("run", "middle", "layer"),
        "solo": ("solo", "", "layer"),
    })  # fmt: skip
    return made


def dockerd(root):
    """A data root of dockerd's: two images, two containers, a build cache, and a layer of each kind that is garbage."""
    made = Made(os.path.join(root, "docker", "overlay2"), "dockerd")
    os.makedirs(made.root)
    _layers(made, {
        "base": (digest("base"), "", "container"),
        "middle": (digest("middle"), "base", "container"),
        "init": (digest("run") + "-init", "middle", "container"),
        "run": (digest("run"), "init", "container"),
        "solo": (digest("solo"), "", "image"),
        "cache": ("c" * 25, "", "build-cache"),
        "step": ("s" * 25, "cache", "build-cache"),
        "orphan": (digest("orphan"), "base", "unowned"),
        "lost": (digest("lost"), "", "unowned"),
        "gone-init": (digest("gone") + "-init", "", "unowned"),
    })  # fmt: skip
    _foreign(made)
    diffs = {name: "sha256:" + digest("diff of " + name) for name in ("base", "middle", "solo", "orphan")}
    chains = {"base": diffs["base"], "solo": diffs["solo"]}
    for name in ("middle", "orphan"):
        both = f"{chains['base']} {diffs[name]}".encode()
        chains[name] = "sha256:" + hashlib.sha256(both).hexdigest()
    image = made.beside("image", "overlay2")
    for name, chain in chains.items():
        folder = os.path.join(image, "layerdb", "sha256", chain[7:])
        _write(folder, "cache-id", made.ids[name])
        _write(folder, "diff", diffs[name])
        _write(folder, "size", "10")
        if name in ("middle", "orphan"):
            _write(folder, "parent", chains["base"])
    made.chains = {name: os.path.join(image, "layerdb", "sha256", chain[7:]) for name, chain in chains.items()}
    tags = {}
    for tag, names in (("web:1", ["base", "middle"]), ("tool:2", ["solo"])):
        config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [diffs[name] for name in names]}})
        id = hashlib.sha256(config.encode()).hexdigest()
        _write(os.path.join(image, "imagedb", "content", "sha256"), id, config)
        tags.setdefault(tag.partition(":")[0], {})[tag] = "sha256:" + id
    made.images = os.path.join(image, "imagedb", "content", "sha256")
    _write(image, "repositories.json", json.dumps({"Repositories": tags}))
    made.container = digest("container")
    mount = os.path.join(image, "layerdb", "mounts", made.container)
    _write(mount, "mount-id", made.ids["run"])
    _write(mount, "init-id", made.ids["init"])
    _write(mount, "parent", chains["middle"])
    state = {"Running": False, "StartedAt": "2026-01-01T00:00:00Z"}
    config = {"ID": made.container, "Name": "/shop", "State": state, "Image": "sha256:x"}
    _write(made.beside("containers", made.container), "config.v2.json", json.dumps(config))
    _write(os.path.join(image, "layerdb", "mounts", digest("gone")), "mount-id", made.ids["gone-init"])
    os.makedirs(made.beside("buildkit"))
    build_cache(made)
    os.makedirs(made.beside("volumes"))
    boltfile.write(made.beside("volumes", "metadata.db"), {})
    return made


def build_cache(made, **more):
    """Write the build cache of a made dockerd; *more* snapshots: name to fields."""
    snapshots = {
        b"k" * 25: {b"committed": made.ids["cache"].encode(), b"size": b"7"},
        made.ids["cache"].encode(): {b"iscommitted": b"", b"parent": b""},
        made.ids["step"].encode(): {b"parent": b"k" * 25},
        **{name.encode(): fields for name, fields in more.items()},
    }
    boltfile.write(made.beside("buildkit", "snapshots.db"), snapshots, inline_below=1024)
    records = {b"k" * 25: {b"cache.description": b'{"value":"COPY busybox /bin/busybox"}'}}
    boltfile.write(made.beside("buildkit", "metadata_v2.db"), {b"_main": records, b"_index": {}}, inline_below=100)


def containers_storage(root):
    """A graph root of containers/storage: image, container, named layer, and garbage with a record and without."""
    made = Made(os.path.join(root, "storage", "overlay"), "containers-storage")
    os.makedirs(made.root)
    _layers(made, {
        "base": (digest("base"), "", "container"),
        "middle": (digest("middle"), "base", "container"),
        "run": (digest("run"), "middle", "container"),
        "solo": (digest("solo"), "", "image"),
        "named": (digest("named"), "solo", "layer"),
        "orphan": (digest("orphan"), "base", "unowned"),
        "lost": (digest("lost"), "", "unowned"),
    })  # fmt: skip
    _foreign(made)
    for id in made.truth:
        for name in ("merged", "work") + (() if os.path.exists(os.path.join(made.home, id, "lower")) else ("empty",)):
            os.makedirs(os.path.join(made.home, id, name), mode=0o700, exist_ok=True)
    parents = {"middle": "base", "run": "middle", "named": "solo", "orphan": "base"}
    old = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=9)).isoformat().replace("+00:00", "Z")
    layers = [
        dict(id=made.ids[name], created=old, **({"parent": made.ids[parents[name]]} if name in parents else {}))
        for name in made.ids
        if name != "lost"
    ]
    layers[4]["names"] = ["kept"]
    _write(made.beside("overlay-layers"), "layers.json", json.dumps(layers))
    images = [
        {"id": digest("image"), "names": ["localhost/web:1"], "layer": made.ids["middle"]},
        {"id": digest("tool"), "layer": made.ids["solo"]},
    ]
    _write(made.beside("overlay-images"), "images.json", json.dumps(images))
    containers = [{"id": digest("container"), "names": ["shop"], "image": digest("image"), "layer": made.ids["run"]}]
    _write(made.beside("overlay-containers"), "containers.json", json.dumps(containers))
    for what in ("layers", "images", "containers"):
        _write(made.beside("overlay-" + what), what + ".lock", "")
    return made


MAKERS = {"overlay2": overlay2, "dockerd": dockerd, "containers-storage": containers_storage}


def _write(folder, name, text):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w") as target:
        target.write(text)
