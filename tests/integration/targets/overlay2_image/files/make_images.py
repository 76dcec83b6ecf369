# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write images into a folder: ``shop`` (OCI layout), ``shop.tar`` (as docker save), ``bad.tar`` (wrong diff ID)."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path


def tar_of(entries):
    """The bytes of a tar with these files: name to content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.mtime = 1700000000
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def digest_of(content):
    """The sha256 digest of bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def docker_archive(path, config, tars):
    """Write an archive of docker save."""
    content = json.dumps(config).encode()
    name = hashlib.sha256(content).hexdigest() + ".json"
    members = {name: content}
    members.update({"%d/layer.tar" % number: tar for number, tar in enumerate(tars)})
    layers = [member for member in members if member.endswith("layer.tar")]
    members["manifest.json"] = json.dumps([{"Config": name, "RepoTags": ["shop:4.2"], "Layers": layers}]).encode()
    path.write_bytes(tar_of(members))


def layout(path, config, tars):
    """Write an OCI image layout."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(content, media_type):
        digest = digest_of(content)
        (blobs / digest.split(":")[1]).write_bytes(content)
        return {"mediaType": "application/vnd.oci.image." + media_type, "digest": digest, "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "config": put(json.dumps(config).encode(), "config.v1+json"),
        "layers": [put(gzip.compress(tar), "layer.v1.tar+gzip") for tar in tars],
    }
    entry = put(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "4.2"}
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def main():
    """Write them all."""
    folder = Path(sys.argv[1])
    tars = [tar_of({"etc/conf": b"one", "old": b"x"}), tar_of({"etc/conf": b"two", ".wh.old": b""})]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["serve"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
    }
    docker_archive(folder / "shop.tar", config, tars)
    layout(folder / "shop", config, tars)
    config["rootfs"]["diff_ids"][1] = digest_of(b"")
    docker_archive(folder / "bad.tar", config, tars)


main()
