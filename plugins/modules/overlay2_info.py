#!/usr/bin/python

# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay2_info
short_description: Tell what is in an overlay2 home
version_added: 0.1.0
description:
  - Tells what the host offers, which layers there are, what is mounted and who holds it, how much of their quota layers
    use, whose the layers are and what is wrong with them.
  - Takes no lock and changes nothing, so it is safe on a home that dockerd is using.
  - One damaged layer does not hide the others; what is wrong with it is in its C(problems).
author:
  - The strata.overlay2 authors (@strata-overlay2)
extends_documentation_fragment:
  - strata.overlay2.driver
  - strata.overlay2.attributes
  - strata.overlay2.attributes.info_module
  - strata.overlay2.attributes.actiongroup_overlay2
options:
  gather:
    description:
      - What to tell. Each has a key of its name in the result.
      - V(owners) tells whose each layer is, from the records of the engine that made the home (dockerd,
        containers/storage, this collection) and from the mounts of all mount namespaces; and which are nobody's.
      - V(health) checks the home and all of its layers.
    type: list
    elements: str
    choices: [status, layers, mounts, quota, owners, health]
    default: [status, layers, mounts]
  deep:
    description:
      - With V(health) in O(gather), also recompute the digests that are on record, which reads every file of those
        layers.
    type: bool
    default: false
seealso:
  - module: strata.overlay2.overlay2_layer
  - module: strata.overlay2.overlay2_mount
  - module: strata.overlay2.overlay2_prune
  - module: strata.overlay2.overlay2_repair
"""

EXAMPLES = r"""
- name: Look at the home
  strata.overlay2.overlay2_info:
  register: overlay2

- name: Layers that nothing stands on and nobody holds
  ansible.builtin.debug:
    msg: >-
      {{ overlay2.layers | map(attribute='id')
         | difference(overlay2.layers | map(attribute='parent'))
         | difference(overlay2.mounts | map(attribute='id')) }}

- name: Fail if a layer is damaged
  ansible.builtin.assert:
    that: overlay2.layers | map(attribute='problems') | flatten | length == 0

- name: Whose are the folders in Docker's home, and is something wrong with it?
  strata.overlay2.overlay2_info:
    home: /var/lib/docker/overlay2
    gather: [owners, health]
  register: docker_home

- name: Nobody's layers
  ansible.builtin.debug:
    msg: "{{ docker_home.owners.layers | selectattr('kind', 'equalto', 'unowned') | map(attribute='id') }}"

- name: Fail if something is broken
  ansible.builtin.assert:
    that: docker_home.health | selectattr('severity', 'equalto', 'error') | length == 0

- name: Does dockerd's home have native diff?
  strata.overlay2.overlay2_info:
    home: /var/lib/docker/overlay2
    gather: [status]
  register: docker
  failed_when: docker.status['Native Overlay Diff'] != 'true'
"""

RETURN = r"""
exists:
  description: Whether the home exists. If not, the keys below are there and empty.
  returned: success
  type: bool
  sample: true
status:
  description: What the driver reports of itself and of the host. The first five labels are those of C(docker info).
  returned: success and V(status) in O(gather)
  type: dict
  sample:
    Backing Filesystem: extfs
    Supports d_type: "true"
    Using metacopy: "false"
    Native Overlay Diff: "true"
    userxattr: "false"
layers:
  description: The layers, sorted by name.
  returned: success and V(layers) in O(gather)
  type: list
  elements: dict
  contains:
    id:
      description: The name of the layer.
      type: str
      sample: shop-run
    parent:
      description: The layer below, empty for a base, null if it can't be determined.
      type: str
      sample: shop-4.2
    depth:
      description: The number of layers below.
      type: int
      sample: 2
    lowers:
      description: The layers below, uppermost first.
      type: list
      elements: str
      sample: [shop-4.2, debian-12]
    upper_dir:
      description: Folder with the layer's own content.
      type: str
      sample: /var/lib/overlay2/shop-run/diff
    work_dir:
      description: Folder that overlayfs uses internally. It does not exist for a base.
      type: str
      sample: /var/lib/overlay2/shop-run/work
    merged_dir:
      description: Where the layer and those below are visible together while the layer is mounted.
      type: str
      sample: /var/lib/overlay2/shop-run/merged
    link:
      description: The short name used in mounts; empty if it is lost.
      type: str
      sample: 5C7HYQ3TTGZEXY2KBCFVBT4LQN
    committed:
      description: Whether the layer has been the parent of another layer. It is then mounted read-only.
      type: bool
      sample: false
    read_write:
      description: Whether it was created to be written to; null if that is not recorded.
      type: bool
      sample: true
    owner:
      description: The name of whoever keeps the layer; null if it has no owner.
      type: str
      sample: shop
    size:
      description: >-
        Bytes of the layer's own content, recorded when an archive was applied. Null if it is not recorded, as for
        layers that are written to.
      type: int
      sample: 8192
    diff_id:
      description: Diff ID of the archive that was applied to it; null if there was none, or it is not recorded.
      type: str
      sample: sha256:7cea17427f83f6c4706c74f94fb6d7925b06ea9a0701234f1a9d43f6af11432a
    quota:
      description: The project quota of the layer; null if it has none, or it can't be read.
      type: dict
      contains:
        project_id:
          description: The XFS project of the layer.
          type: int
          sample: 7
        limit:
          description: Bytes that the layer may use.
          type: int
          sample: 10737418240
        used:
          description: Bytes in use.
          type: int
          sample: 8192
        inodes:
          description: Files and folders in use.
          type: int
          sample: 5
    problems:
      description: What is wrong with the layer, one sentence each.
      type: list
      elements: str
      sample: []
mounts:
  description: The layers that are mounted or held, sorted by name.
  returned: success and V(mounts) in O(gather)
  type: list
  elements: dict
  contains:
    id:
      description: The layer's name.
      type: str
      sample: shop-run
    path:
      description: Where its files are, those below included.
      type: str
      sample: /var/lib/overlay2/shop-run/merged
    mounted:
      description: Whether the kernel has it mounted. False for a base, which is held without a mount.
      type: bool
      sample: true
    ref_count:
      description: The number of references, over all holders.
      type: int
      sample: 2
    holders:
      description: The number of references by holder.
      type: dict
      sample: {"backup": 1, "shop": 1}
quota:
  description: The layers that have a project quota, sorted by name.
  returned: success and V(quota) in O(gather)
  type: list
  elements: dict
  contains:
    id:
      description: The layer's name.
      type: str
      sample: shop-run
    project_id:
      description: The XFS project that counts for it.
      type: int
      sample: 7
    limit:
      description: Bytes that it may use; 0 for no limit.
      type: int
      sample: 10737418240
    used:
      description: Bytes in use.
      type: int
      sample: 8192
    inodes:
      description: Files and folders in use.
      type: int
      sample: 5
owners:
  description: Whose the layers are.
  returned: success and V(owners) in O(gather)
  type: dict
  contains:
    engine:
      description: Whose home it is, V(dockerd), V(containers-storage), V(overlay2) (this collection), or empty.
      type: str
      sample: dockerd
    root:
      description: The folder of the engine's records.
      type: str
      sample: /var/lib/docker
    running:
      description: Whether the engine is at work on the home now; null if that can't be told.
      type: bool
      sample: true
    counts:
      description: The number of layers by kind.
      type: dict
      sample: {container: 7, image: 12, build-cache: 3, layer: 0, mount: 0, unowned: 1, unknown: 0}
    problems:
      description: Records of the engine that can't be read. Layers that they may be about are V(unknown).
      type: list
      elements: str
      sample: []
    layers:
      description: An entry for each layer, sorted by name.
      type: list
      elements: dict
      contains:
        id:
          description: The layer's name.
          type: str
          sample: 3f3750ebbcb6f72ba299173aefa13d918dd719de25ab1768107596e84ad6fa6f
        kind:
          description:
            - What its strongest owner is, V(container), V(image), V(build-cache), V(layer) (made for its own sake, by
              this collection for one) or V(mount) (something has it mounted that no record explains).
            - V(unowned) if nobody needs it, V(unknown) if that can't be told.
          type: str
          sample: image
        names:
          description: Image tags, container names, build steps, holders.
          type: list
          elements: str
          sample: [shop:4.2]
        state:
          description: State of the strongest owner, as V(running), V(exited), V(tagged), V(dangling).
          type: str
          sample: tagged
        certainty:
          description: V(certain), V(likely) or V(none).
          type: str
          sample: certain
        reason:
          description: What makes it so, one sentence.
          type: str
          sample: it is below a layer of image shop:4.2 (tagged)
        evidence:
          description: Where that is written, a file and the field in it.
          type: list
          elements: str
          sample: ["/var/lib/docker/image/overlay2/repositories.json: Repositories.shop.shop:4.2"]
        owners:
          description: All its owners, the strongest first, with their C(kind), C(id), C(names), C(state) and C(direct).
          type: list
          elements: dict
          sample:
            - {kind: image, id: "sha256:7de041b4", names: [shop:4.2], state: tagged, direct: false}
health:
  description: What is wrong with the home, worst first.
  returned: success and V(health) in O(gather)
  type: list
  elements: dict
  contains:
    code:
      description: What it is, as V(link-empty), V(lower-layer-missing), V(merged-leftover).
      type: str
      sample: link-empty
    severity:
      description: V(error) if a layer can't be used for it, V(warning) if it can, V(note).
      type: str
      sample: error
    layer:
      description: The layer's name, empty for the home itself.
      type: str
      sample: shop-run
    path:
      description: The file or folder.
      type: str
      sample: /var/lib/overlay2/shop-run/link
    evidence:
      description: What is there, and what should be.
      type: str
      sample: its link file is empty, as after a power cut, and l/5C7HYQ3TTGZEXY2KBCFVBT4LQN leads to it
    remedy:
      description: What to do.
      type: str
      sample: Write that name into it
    repairable:
      description: Whether M(strata.overlay2.overlay2_repair) mends it.
      type: bool
      sample: true
error:
  description: Class of the driver's error, to tell cases apart in a rescue section.
  returned: failure of the driver
  type: str
  sample: NotSupported
layer_id:
  description: The layer that the error is about; null if it is not about a layer.
  returned: failure of the driver
  type: str
  sample: shop-run
error_path:
  description: The file or folder that the error is about; null if there is none.
  returned: failure of the driver
  type: str
  sample: /var/lib/overlay2
remedy:
  description: What to do about the error; null if that is not known.
  returned: failure of the driver
  type: str
  sample: Run as root, or inside a user namespace
"""

import os

from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import records
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.driver import Driver


def gather_status(driver):
    """Label to value (dict of str), in the driver's order."""
    return dict(driver.status())


def gather_layers(driver):
    """A record for each layer. Sizes that are not recorded are left out: they take a walk through the layer."""
    return [records.layer_record(driver.home, layer) for layer in driver.layers()]


def gather_mounts(driver):
    """A record for each layer that is mounted or held (list of dict)."""
    return [mount_record(driver, layer) for layer in driver.layers(driver.mounted_layers())]


def mount_record(driver, layer):
    """A layer's mount and holders (dict)."""
    path = os.path.join(driver.home, layer.id, "diff" if layer.parent == "" else "merged")
    return records.mount_record(layer.id, path, driver.mounted(layer.id), driver.holders(layer.id))


def gather_quota(driver):
    """A record for each layer with a quota (list of dict)."""
    return [dict(records.quota_record(layer.quota), id=layer.id) for layer in driver.layers() if layer.quota]


def gather_checked(driver, topics, deep):
    """Owners and health (dict), as far as they are asked for: health needs the owners too, which take the time once."""
    # Imported here: whoever asks for status and layers alone does not pay for it.
    from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import health, owners

    report = owners.resolve(driver)
    found = {}
    if "owners" in topics:
        found["owners"] = records.owners_record(report)
    if "health" in topics:
        found["health"] = [records.finding_record(finding) for finding in health.check(driver, deep, report)]
    return found


GATHERERS = {"status": gather_status, "layers": gather_layers, "mounts": gather_mounts, "quota": gather_quota}
CHECKED = ("owners", "health")


def manage(module):
    """Look, and return the module's result (dict)."""
    topics = module.params["gather"]
    driver = module.open_driver(read_only=True)
    if driver is None:
        return dict({topic: {} if topic in ("status", "owners") else [] for topic in topics}, exists=False)
    result = {topic: GATHERERS[topic](driver) for topic in topics if topic in GATHERERS}
    if any(topic in CHECKED for topic in topics):
        result.update(gather_checked(driver, topics, module.params["deep"]))
    return dict(result, exists=True)


def main():
    DriverModule(
        {
            "gather": {
                "type": "list",
                "elements": "str",
                "choices": ["status", "layers", "mounts", "quota", "owners", "health"],
                "default": ["status", "layers", "mounts"],
            },
            "deep": {"type": "bool", "default": False},
        },
        driver=Driver,
    ).run(manage)


if __name__ == "__main__":
    main()
