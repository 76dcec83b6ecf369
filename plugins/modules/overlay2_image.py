#!/usr/bin/python

# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay2_image
short_description: Provide whole images as layers of an overlay2 home
version_added: 0.1.0
description:
  - Brings an image from an OCI image layout, or from an archive of C(docker save), into a home. Each layer of the image
    becomes a layer of the home, named by the hexadecimal digits of its chain ID, so that images share layers.
  - Blob digest, size and diff ID of each layer are verified in one pass while the layer is applied. A layer appears
    only if all of them are right, and the image only if all of its layers are.
  - An interrupted task leaves the previous state. Layers that were applied before the interruption are used by the next
    run. Layers that no image needs for a day are removed by a later task that changes an image of the home.
  - A second run reads the documents of the image, not its layers, and changes nothing.
  - Pulling from registries is not implemented yet. Copy the image to the target as a layout first, for example with
    C(skopeo copy docker://… oci:/srv/images/shop:4.2).
author:
  - The strata.overlay2 authors (@strata-overlay2)
extends_documentation_fragment:
  - strata.overlay2.driver
  - strata.overlay2.attributes
  - strata.overlay2.attributes.actiongroup_overlay2
attributes:
  check_mode:
    support: full
    details:
      - Check mode verifies the documents of the image and the sizes of the layers that are missing, but not their
        contents.
      - If O(src) does not exist, check mode warns and assumes that an earlier task creates it.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  reference:
    description:
      - The name of the image, C([host[:port]/]name[:tag][@digest]). As with Docker, C(docker.io), C(library/) and the
        tag C(latest) are filled in.
      - With O(src), chooses the image in the layout or archive. It is compared with the whole names there, then with
        the name of an entry in C(index.json), which is often a tag, then the tag alone with that. An image without
        name is taken if it is the only one.
      - The image is kept under this name. If O(holder) kept another image under the name, it gives that one back. The
        previous image is removed after a day, so that a return to it costs nothing.
      - Required unless O(src) holds a single image, or O(digest) is given.
    type: str
  src:
    description:
      - Path on the target of an OCI image layout, which is a directory or a tar, or of an archive that
        C(docker save), C(podman save) or C(skopeo copy) wrote. Tars may be compressed with gzip, bzip2, xz or zstd.
      - A directory or an uncompressed tar is read in place. For a compressed tar, the layers that are missing are
        copied out of it first, which needs space in the home for a moment.
      - Required if O(state=present). Not used if O(state=absent).
    type: path
  state:
    description:
      - V(present) ensures that the home has the image, and that O(holder) keeps it.
      - V(absent) ensures that O(holder) does not keep the image any more. If nobody else does, the image is removed
        with the layers that were made for images, unless another image needs them, a layer stands on them, or they are
        mounted or held.
    type: str
    choices: [present, absent]
    default: present
  platform:
    description:
      - The platform to choose, C(os), C(arch), C(os/arch) or C(os/arch/variant). The default is the host's.
      - An image for a lesser variant, or for the 32-bit architecture of the same processor, is taken if there is no
        better one, by the rules of containerd.
      - A single image that is for another platform is taken with a warning if this option is not given.
    type: str
  holder:
    description:
      - The name of whoever keeps the image. Holders of images survive a reboot.
    type: str
    default: ansible
  digest:
    description:
      - The digest of the manifest, of the index or of the configuration (the image ID) that the image must have.
      - Without O(reference), chooses the image.
    type: str
  force:
    description:
      - With O(state=absent), gives back the claims of all holders.
    type: bool
    default: false
notes:
  - The top layer is mounted read-only. To run something on the image, create a read-write layer on RV(top_layer) with
    M(strata.overlay2.overlay2_layer), and mount that.
seealso:
  - module: strata.overlay2.overlay2_layer
  - module: strata.overlay2.overlay2_mount
"""

EXAMPLES = r"""
- name: Provide the image of the application
  strata.overlay2.overlay2_image:
    reference: shop:4.2
    src: /srv/images/shop.tar
    holder: shop
  register: image

- name: Create a layer for the running application to write to
  strata.overlay2.overlay2_layer:
    id: shop-run
    parent: "{{ image.top_layer }}"
    read_write: true
    owner: shop

- name: Mount it
  strata.overlay2.overlay2_mount:
    id: shop-run
    holder: shop

- name: Provide a certain image, for another platform
  strata.overlay2.overlay2_image:
    reference: shop:4.2
    src: /srv/images/shop-all-platforms.tar
    platform: linux/arm64
    digest: "{{ shop_image_digest }}"

- name: Give the previous release back
  strata.overlay2.overlay2_image:
    reference: shop:4.1
    holder: shop
    state: absent
"""

RETURN = r"""
image_id:
  description: The image ID, which is the digest of the configuration; null if the image is absent already.
  returned: success
  type: str
  sample: sha256:d1f4bb3e8cdfdee4c2a5a4d9a35c1f8d45a8ff03b3ee5eb9cc5f1f4ac2da9cb3
manifest_digest:
  description: The digest of the manifest; null if the source has none, as an old archive of C(docker save).
  returned: success
  type: str
  sample: sha256:58b2a7927ac0dc966f13729af8bafc8a8506e4a32dfddac5f91d7f35c4b2a9bf
index_digest:
  description: The digest of the index that the manifest was chosen from; null if there is none.
  returned: success
  type: str
  sample: sha256:0c2bb24bdbaab4b5b4fb0b5aa4f5cd1b1c9d0f6ed3a5ad0e97b8b2a4a8f7a6d5
chain_ids:
  description: The chain IDs of the layers, the lowest first.
  returned: success
  type: list
  elements: str
  sample: ["sha256:8e7b8ebb8eef7a7e6a861bb46573d4993ffe114305e3fdaaec56ebef8a2ae34d"]
layers:
  description: The layers, the lowest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The name of the layer in the home.
      type: str
      sample: 8e7b8ebb8eef7a7e6a861bb46573d4993ffe114305e3fdaaec56ebef8a2ae34d
    chain_id:
      description: The chain ID.
      type: str
      sample: sha256:8e7b8ebb8eef7a7e6a861bb46573d4993ffe114305e3fdaaec56ebef8a2ae34d
    parent:
      description: The chain ID of the layer below, empty for the lowest.
      type: str
      sample: ""
    diff_id:
      description: The digest of the uncompressed tar.
      type: str
      sample: sha256:8e7b8ebb8eef7a7e6a861bb46573d4993ffe114305e3fdaaec56ebef8a2ae34d
    digest:
      description: The digest of the blob; null if the source does not tell it, or O(state=absent).
      type: str
      sample: sha256:46dfd3a5e071dcbe3bd7dce14b0aac57b6cc4328b81ef5a17b5a4fe34735d62d
    media_type:
      description: The media type of the blob; null if the source does not tell it, or O(state=absent).
      type: str
      sample: application/vnd.oci.image.layer.v1.tar+gzip
    size:
      description: Bytes of the blob; null if O(state=absent).
      type: int
      sample: 174
    tar_size:
      description: Bytes of the uncompressed tar; null if the blob does not tell.
      type: int
      sample: 10240
    created_by:
      description: The command that made the layer, as the history of the image tells; empty if it does not.
      type: str
      sample: "COPY app /app"
    action:
      description:
        - V(kept) for a layer that the home has and keeps, V(applied) for one that was added, V(removed) for one that
          went with the image. In check mode, what would become of the layer.
      type: str
      sample: applied
top_layer:
  description: The name of the uppermost layer in the home; null for an image without layers.
  returned: success
  type: str
  sample: 8e7b8ebb8eef7a7e6a861bb46573d4993ffe114305e3fdaaec56ebef8a2ae34d
config:
  description: How a container of the image is started.
  returned: success
  type: dict
  contains:
    entrypoint:
      description: The program and its first arguments.
      type: list
      elements: str
      sample: [/usr/bin/shop]
    cmd:
      description: Default arguments, or the program if there is no entrypoint.
      type: list
      elements: str
      sample: [serve]
    env:
      description: Environment variables.
      type: dict
      sample: {PATH: "/usr/bin:/bin"}
    user:
      description: The user, and after a colon the group; empty for root.
      type: str
      sample: "1000:1000"
    working_dir:
      description: The directory to start in; empty for the root.
      type: str
      sample: /srv
    labels:
      description: Labels.
      type: dict
      sample: {org.opencontainers.image.version: "4.2"}
    exposed_ports:
      description: Ports, each with its protocol.
      type: list
      elements: str
      sample: [8080/tcp]
    volumes:
      description: Directories that are meant to be volumes.
      type: list
      elements: str
      sample: [/data]
    stop_signal:
      description: The signal that ends it; empty for the default.
      type: str
      sample: SIGTERM
reference:
  description: The whole name that the image is kept under, or was; null for an image without name.
  returned: success
  type: str
  sample: docker.io/library/shop:4.2
references:
  description: All names that the image is kept under, by any holder.
  returned: success
  type: list
  elements: str
  sample: [docker.io/library/shop:4.2]
holders:
  description: Who keeps the image.
  returned: success
  type: list
  elements: str
  sample: [shop]
platform:
  description: The platform that the image is for; null if the image is absent already.
  returned: success
  type: str
  sample: linux/amd64
bytes_present:
  description: Bytes of the blobs of the layers that the home had already.
  returned: success
  type: int
  sample: 0
space_needed:
  description:
    - Bytes to be written at least, for the layers that were missing, and for the copy of those in a compressed archive.
    - Exact for uncompressed layers. gzip tells the size modulo 4 GiB. For other layers it is the size of the blob.
  returned: success
  type: int
  sample: 20480
space_free:
  description: Bytes that the file system of the home had free before; null if O(state=absent).
  returned: success
  type: int
  sample: 107374182400
error:
  description: Class of the driver's error, to tell cases apart in a rescue section.
  returned: failure of the driver
  type: str
  sample: ImageError
layer_id:
  description: The layer that the error is about; null if it is not about a layer.
  returned: failure of the driver
  type: str
  sample: 8e7b8ebb8eef7a7e6a861bb46573d4993ffe114305e3fdaaec56ebef8a2ae34d
error_path:
  description: The file or folder that the error is about; null if there is none.
  returned: failure of the driver
  type: str
  sample: /srv/images/shop.tar
remedy:
  description: What to do about the error; null if that is not known.
  returned: failure of the driver
  type: str
  sample: Choose one of them, or leave reference out if there is one only
"""

import os
from typing import Any

from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import images
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.basedriver import BaseDriver
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import NotSupported, OptionError

#: The result about an image that is not there.
NOTHING: dict[str, Any] = {
    "image_id": None,
    "manifest_digest": None,
    "index_digest": None,
    "chain_ids": [],
    "layers": [],
    "top_layer": None,
    "config": {},
    "reference": None,
    "references": [],
    "holders": [],
    "platform": None,
    "bytes_present": 0,
    "space_needed": 0,
    "space_free": None,
}


def present(module: DriverModule) -> dict[str, Any]:
    """Have the image in the home, or in check mode find out what that takes."""
    params = module.params
    wanted = images.wanted(params["reference"] or "", params["platform"] or "", params["digest"] or "")
    if params["src"] is None:
        raise NotSupported(
            "pulling from registries is not implemented yet, so src is required",
            remedy="Copy the image to the target, with 'skopeo copy docker://%s oci:DIR', and give DIR as src"
            % (params["reference"] or "IMAGE"),
        )
    if module.check_mode and not os.path.lexists(params["src"]):
        module.missing_in_check_mode("the image %s" % params["src"])
        return dict(NOTHING, changed=True)
    home, holder = params["home"], params["holder"]
    with images.open_source(params["src"]) as source:
        if not os.path.isdir(home):
            # Refuse before a home is made.
            planned = images.plan(None, home, source, wanted, holder)
            images.refuse_space(home, planned)
        driver = module.open_driver(make_home=True)
        if not module.check_mode:
            planned = images.provide(driver.opened, source, wanted, holder)
        elif driver is not None:
            planned = images.plan(driver.opened, home, source, wanted, holder)
            images.refuse_space(home, planned)
    return result_of_plan(planned)


def result_of_plan(planned: images.Plan) -> dict[str, Any]:
    """The module's result about an image that is provided."""
    image, config = planned.image, planned.image.config
    before = planned.before
    return {
        "changed": planned.changed,
        "image_id": image.id,
        "manifest_digest": image.manifest_digest,
        "index_digest": image.index_digest,
        "chain_ids": config.chain_ids,
        "layers": [layer_record(layer) for layer in planned.layers],
        "top_layer": planned.layers[-1].id if planned.layers else None,
        "config": config.settings,
        "reference": planned.name or None,
        "references": planned.after.references,
        "holders": sorted(planned.after.claims),
        "platform": str(config.platform),
        "bytes_present": planned.bytes_present,
        "space_needed": planned.space_needed,
        "space_free": planned.space_free,
        "diff": {
            "before": state_of(before, [layer.id for layer in planned.layers if layer.action == "kept"]),
            "after": state_of(planned.after, [layer.id for layer in planned.layers]),
        },
    }


def layer_record(layer: images.PlannedLayer) -> dict[str, Any]:
    """A layer as the module returns it."""
    return {
        "id": layer.id,
        "chain_id": layer.chain_id,
        "parent": layer.parent,
        "diff_id": layer.diff_id,
        "digest": layer.blob.digest,
        "media_type": layer.blob.media_type,
        "size": layer.blob.size,
        "tar_size": layer.tar_size,
        "created_by": layer.created_by,
        "action": layer.action,
    }


def state_of(record: images.ImageRecord | None, layers: list[str]) -> dict[str, Any]:
    """Names, holders and layers of an image, for the diff."""
    return {
        "references": record.references if record else [],
        "holders": sorted(record.claims) if record else [],
        "layers": layers,
    }


def absent(module: DriverModule) -> dict[str, Any]:
    """Give the image back, or in check mode find out what that does."""
    params = module.params
    wanted = images.wanted(params["reference"] or "", "", params["digest"] or "")
    name, digest = "", wanted.digest
    if wanted.reference is not None:
        name, digest = wanted.reference.label, digest or wanted.reference.digest
    if not name and not digest:
        raise OptionError("nothing says which image", remedy="Give reference or digest")
    driver = module.open_driver()
    if driver is None:
        return dict(NOTHING, changed=False)
    act = images.find if module.check_mode else images.release
    released = act(driver.opened, params["holder"], name, digest, params["force"])
    if not released:
        return dict(NOTHING, changed=False)
    return result_of_release(released, name)


def result_of_release(released: list[images.Release], name: str) -> dict[str, Any]:
    """The module's result about images that were given back; details are of the first."""
    first = released[0]
    config = first.before.parsed()
    layers = [record for one in released for record in released_layers(one)]
    manifest = first.before.manifests[0] if first.before.manifests else None
    after = first.after
    return {
        "changed": True,
        "image_id": first.before.id,
        "manifest_digest": manifest.digest if manifest else None,
        "index_digest": manifest.index_digest if manifest else None,
        "chain_ids": config.chain_ids,
        "layers": layers,
        "top_layer": config.chain_ids[-1].partition(":")[2] if config.chain_ids else None,
        "config": config.settings,
        "reference": name or None,
        "references": after.references if after else [],
        "holders": sorted(after.claims) if after else [],
        "platform": str(config.platform),
        "bytes_present": 0,
        "space_needed": 0,
        "space_free": None,
        "diff": {
            "before": state_of(first.before, [layer["id"] for layer in layers]),
            "after": state_of(after, [layer["id"] for layer in layers if layer["action"] == "kept"]),
        },
    }


def released_layers(one: images.Release) -> list[dict[str, Any]]:
    """The layers of an image that is given back, as the module returns them."""
    config = one.before.parsed()
    found, parent = [], ""
    for number, chain_id in enumerate(config.chain_ids):
        layer = chain_id.partition(":")[2]
        found.append({
            "id": layer,
            "chain_id": chain_id,
            "parent": parent,
            "diff_id": config.diff_ids[number],
            "digest": None,
            "media_type": None,
            "size": None,
            "tar_size": one.before.tar_sizes.get(config.diff_ids[number]),
            "created_by": config.created_by[number],
            "action": "removed" if layer in one.removed else "kept",
        })  # fmt: skip
        parent = chain_id
    return found


def manage(module: DriverModule) -> dict[str, Any]:
    """Do what the task says, and return the module's result."""
    for option in ("reference", "src", "platform", "holder", "digest"):
        if module.params[option] == "":
            raise OptionError("%s is empty" % option, remedy="Give it a value, or leave it out")
    return present(module) if module.params["state"] == "present" else absent(module)


def main() -> None:
    DriverModule(
        {
            "reference": {"type": "str"},
            "src": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "platform": {"type": "str"},
            "holder": {"type": "str", "default": "ansible"},
            "digest": {"type": "str"},
            "force": {"type": "bool", "default": False},
        },
        driver=BaseDriver,
    ).run(manage)


if __name__ == "__main__":
    main()
