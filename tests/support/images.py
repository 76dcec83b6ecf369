# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Images for tests, made from a few lines: OCI layouts and archives of `docker save`, good and bad."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any, Callable, Mapping

from . import trees

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"

#: The lower layer deletes nothing, the upper one does.
BASE = trees.archive({"etc/": None, "etc/conf": b"a" * 5000, "gone": b"x", "to": trees.symlink("etc")})
TOP = trees.archive({"etc/new": b"b", ".wh.gone": b"", "data/": None, "data/.wh..wh..opq": b""})


def zstd(content: bytes) -> bytes:
    """*content* in one frame of zstd."""
    return subprocess.run(["zstd", "-q", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}


def digest(content: bytes) -> str:
    """The sha256 digest of *content*."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def chain_ids(*tars: bytes) -> list[str]:
    """The chain IDs of layers with these tars, the lowest first."""
    found: list[str] = []
    for content in tars:
        found.append(digest(f"{found[-1]} {digest(content)}".encode()) if found else digest(content))
    return found


def ids(*tars: bytes) -> list[str]:
    """The ids of these layers in a home."""
    return [chain_id.partition(":")[2] for chain_id in chain_ids(*tars)]


def config_of(*tars: bytes, **more: Any) -> dict[str, Any]:
    """A configuration of an image with these layers."""
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin", "EMPTY="], "Entrypoint": ["/run"], "Cmd": ["serve"], "Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": [digest(content) for content in tars]},
        "history": [{"created_by": f"step {number}"} for number, _content in enumerate(tars)],
        **more,
    }


class Layout:
    """An OCI image layout that is being made in *path*."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def put(self, content: bytes | dict[str, Any], media_type: str = "", **more: Any) -> dict[str, Any]:
        """Write a blob; its descriptor."""
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        name = digest(content)
        (self.path / "blobs/sha256" / name.partition(":")[2]).write_bytes(content)
        return {"mediaType": media_type, "digest": name, "size": len(content), **more}

    def blob(self, descriptor: Mapping[str, Any]) -> Path:
        """The file of a blob."""
        return self.path / "blobs" / descriptor["digest"].replace(":", "/")

    def layers(self, *tars: bytes, compression: str = "gzip") -> list[dict[str, Any]]:
        """Write layers; their descriptors."""
        media_type = f"{LAYER}+{compression}" if compression else LAYER
        return [self.put(COMPRESSORS[compression](content), media_type) for content in tars]

    def manifest(self, config: Any, layers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Write a configuration and a manifest; the manifest's descriptor."""
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put(config, CONFIG),
            "layers": layers,
            **more,
        }
        return self.put(document, MANIFEST)

    def image(self, *tars: bytes, compression: str = "gzip", **more: Any) -> dict[str, Any]:
        """Write an image; the manifest's descriptor."""
        return self.manifest(config_of(*tars, **more), self.layers(*tars, compression=compression))

    def index(self, *entries: dict[str, Any]) -> dict[str, Any]:
        """Write an index as a blob; its descriptor."""
        return self.put({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}, INDEX)

    def finish(self, *entries: dict[str, Any]) -> str:
        """Write ``index.json``; the path of the layout."""
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(entries)}))
        return str(self.path)


def named(entry: dict[str, Any], ref_name: str = "", full_name: str = "") -> dict[str, Any]:
    """An entry of an index with names."""
    names = {REF_NAME: ref_name, FULL_NAME: full_name}
    return {**entry, "annotations": {key: value for key, value in names.items() if value}}


def on(entry: dict[str, Any], platform: str) -> dict[str, Any]:
    """An entry of an index with a platform, such as ``linux/arm/v7``."""
    return {**entry, "platform": dict(zip(("os", "architecture", "variant"), platform.split("/")))}


def simple(path: Path, *tars: bytes, compression: str = "gzip", ref_name: str = "", **more: Any) -> str:
    """A layout with one image; its path."""
    layout = Layout(path)
    return layout.finish(named(layout.image(*tars, compression=compression, **more), ref_name))


def tarred(layout: str, target: Path, compression: str = "", prefix: str = "") -> str:
    """A layout as a tar, ``index.json`` last; its path."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        names = sorted(trees.paths_below(layout), key=lambda name: name == "index.json")
        for name in names:
            archive.add(os.path.join(layout, name), prefix + name, recursive=False)
    target.write_bytes(COMPRESSORS[compression](buffer.getvalue()))
    return str(target)


def saved(target: Path, members: Mapping[str, Any] | list[tuple[str, Any]], compression: str = "") -> str:
    """An archive with these members, as for :func:`.trees.archive`; others become JSON documents. Its path."""
    listed = members.items() if isinstance(members, Mapping) else members
    entries = [
        (name, what if isinstance(what, (bytes, trees.Entry, type(None))) else json.dumps(what).encode())
        for name, what in listed
    ]
    target.write_bytes(COMPRESSORS[compression](trees.archive(entries)))
    return str(target)


def docker(
    target: Path, *tars: bytes, tags: tuple[str, ...] = ("shop:4.2",), compression: str = "", **more: Any
) -> str:
    """An archive of `docker save` in the old form; its path."""
    config = json.dumps(config_of(*tars, **more)).encode()
    name = digest(config).partition(":")[2] + ".json"
    layers = [f"{number}/layer.tar" for number, _content in enumerate(tars)]
    members: dict[str, Any] = {name: config, **dict(zip(layers, tars))}
    members["manifest.json"] = [{"Config": name, "RepoTags": list(tags) or None, "Layers": layers}]
    return saved(target, members, compression)
