#!/usr/bin/python

# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay2_info
short_description: Gather information about an overlay2 home
version_added: 0.1.0
description:
  - Returns the features of the host, the layers of a home, its mounts and their holders, quotas, the owners of the
    layers, and what is wrong with them.
  - Takes no lock and changes nothing, so it can be used on a home while dockerd uses it.
  - A damaged layer does not hide the others. What is wrong with it is in its C(problems).
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
      - What to return. Each value is also the name of a key in the result.
      - V(owners) returns the owner of each layer, according to the records of the engine that created the home
        (dockerd, containers/storage, this collection) and to the mounts in all mount namespaces; and the layers that
        nobody owns.
      - V(health) checks the home and all of its layers.
    type: list
    elements: str
    choices: [status, layers, mounts, quota, owners, health]
    default: [status, layers, mounts]
  deep:
    description:
      - With V(health) in O(gather), also recompute recorded digests, which reads all files of those layers.
    type: bool
    default: false
seealso:
  - module: strata.overlay2.overlay2_layer
  - module: strata.overlay2.overlay2_mount
  - module: strata.overlay2.overlay2_prune
  - module: strata.overlay2.overlay2_repair
"""

EXAMPLES = r"""
- name: Gather features, layers and mounts
  strata.overlay2.overlay2_info:
  register: overlay2

- name: List layers that have no children and no holders
  ansible.builtin.debug:
    msg: >-
      {{ overlay2.layers | map(attribute='id')
         | difference(overlay2.layers | map(attribute='parent'))
         | difference(overlay2.mounts | map(attribute='id')) }}

- name: Fail if a layer is damaged
  ansible.builtin.assert:
    that: overlay2.layers | map(attribute='problems') | flatten | length == 0

- name: Find the owners of the layers in Docker's home, and check its health
  strata.overlay2.overlay2_info:
    home: /var/lib/docker/overlay2
    gather: [status, owners, health]
  register: docker

- name: List the layers that nobody owns
  ansible.builtin.debug:
    msg: "{{ docker.owners.layers | selectattr('kind', 'equalto', 'unowned') | map(attribute='id') }}"

- name: Fail if something is broken
  ansible.builtin.assert:
    that: docker.health | selectattr('severity', 'equalto', 'error') | length == 0

- name: Fail if Docker uses a home without native diff
  ansible.builtin.assert:
    that: docker.status['Native Overlay Diff'] == 'true'
  when: docker.exists
"""

RETURN = r"""
exists:
  description: Whether the home exists. If not, the keys below are returned with empty values.
  returned: success
  type: bool
  sample: true
status:
  description: Features of the driver and the host. The first five labels are those of C(docker info).
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
      description: The name of the layer.
      type: str
      sample: shop-run
    path:
      description: Where the files of the layer and those below are.
      type: str
      sample: /var/lib/overlay2/shop-run/merged
    mounted:
      description: Whether the layer is mounted, according to the kernel. Always false for a base.
      type: bool
      sample: true
    ref_count:
      description: The number of references of all holders.
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
      description: The name of the layer.
      type: str
      sample: shop-run
    project_id:
      description: The XFS project of the layer.
      type: int
      sample: 7
    limit:
      description: Bytes that the layer may use; 0 for no limit.
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
  description: The owners of the layers.
  returned: success and V(owners) in O(gather)
  type: dict
  contains:
    engine:
      description: The engine that created the home, V(dockerd), V(containers-storage) or V(overlay2); empty if unknown.
      type: str
      sample: dockerd
    root:
      description: The folder with the records of the engine.
      type: str
      sample: /var/lib/docker
    running:
      description: Whether the engine is running on the home; null if that cannot be determined.
      type: bool
      sample: true
    counts:
      description: The number of layers by kind.
      type: dict
      sample: {container: 7, image: 12, build-cache: 3, layer: 0, mount: 0, unowned: 1, unknown: 0}
    problems:
      description: Records of the engine that can't be read. Layers that they may refer to are V(unknown).
      type: list
      elements: str
      sample: []
    layers:
      description: An entry for each layer, sorted by name.
      type: list
      elements: dict
      contains:
        id:
          description: The name of the layer.
          type: str
          sample: 3f3750ebbcb6f72ba299173aefa13d918dd719de25ab1768107596e84ad6fa6f
        kind:
          description:
            - The kind of its strongest owner, V(container), V(image), V(build-cache), V(layer) (created for its own
              sake, for example by this collection) or V(mount) (mounted without any record that explains it).
            - V(unowned) if nobody needs it, V(unknown) if that cannot be determined.
          type: str
          sample: image
        names:
          description: Image tags, container names, build steps, holders.
          type: list
          elements: str
          sample: [shop:4.2]
        state:
          description: State of the strongest owner, such as V(running), V(exited), V(tagged) or V(dangling).
          type: str
          sample: tagged
        certainty:
          description: V(certain), V(likely) or V(none).
          type: str
          sample: certain
        reason:
          description: The reason, in one sentence.
          type: str
          sample: it is below a layer of image shop:4.2 (tagged)
        evidence:
          description: The evidence, as files and the fields in them.
          type: list
          elements: str
          sample: ["/var/lib/docker/image/overlay2/repositories.json: Repositories.shop.shop:4.2"]
        owners:
          description: All owners, the strongest first, with their C(kind), C(id), C(names), C(state) and C(direct).
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
      description: The kind of problem, such as V(link-empty), V(lower-layer-missing) or V(merged-leftover).
      type: str
      sample: link-empty
    severity:
      description: V(error) if a layer cannot be used because of it, V(warning) if it can, or V(note).
      type: str
      sample: error
    layer:
      description: The name of the layer; empty for the home itself.
      type: str
      sample: shop-run
    path:
      description: The file or folder.
      type: str
      sample: /var/lib/overlay2/shop-run/link
    evidence:
      description: The current state, and the expected one.
      type: str
      sample: its link file is empty, as after a power cut, and l/5C7HYQ3TTGZEXY2KBCFVBT4LQN leads to it
    remedy:
      description: What to do.
      type: str
      sample: Write that name into it
    repairable:
      description: Whether M(strata.overlay2.overlay2_repair) can fix it.
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

from typing import Any

from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import records
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.driver import Driver

#: Labels of the driver's status, for a home that does not exist.
STATUS = (
    "Backing Filesystem",
    "Supports d_type",
    "Using metacopy",
    "Native Overlay Diff",
    "userxattr",
    "Project Quota",
    "Mount API (lowerdir+)",
    "User Namespace",
    "Sync",
    "Kernel",
)


def gather_status(driver: Driver) -> dict[str, str]:
    """Label to value, in the driver's order."""
    return dict(driver.status())


def gather_layers(driver: Driver) -> list[dict[str, Any]]:
    """A record for each layer. Sizes that are not recorded are null: counting needs a walk through the layer."""
    return [records.layer_record(layer, driver.opened.store.paths(layer.id)) for layer in driver.layers()]


def gather_mounts(driver: Driver) -> list[dict[str, Any]]:
    """A record for each layer that is mounted or held."""
    return [mount_record(driver, layer) for layer in driver.layers(driver.mounted_layers())]


def mount_record(driver: Driver, layer: Any) -> dict[str, Any]:
    """A layer's mount and holders."""
    paths = driver.opened.store.paths(layer.id)
    path = paths.upper if layer.parent == "" else paths.merged
    return records.mount_record(layer.id, path, driver.mounted(layer.id), driver.holders(layer.id))


def gather_quota(driver: Driver) -> list[dict[str, Any]]:
    """A record for each layer with a quota."""
    return [dict(records.quota_record(layer.quota), id=layer.id) for layer in driver.layers() if layer.quota]


def gather_checked(driver: Driver, topics: list[str], deep: bool) -> dict[str, Any]:
    """Owners and health, as requested. Health needs the owners too, so they are resolved once for both."""
    # Imported here: tasks that ask for status and layers alone do not pay for it.
    from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import health, owners

    report = owners.resolve(driver)
    found: dict[str, Any] = {}
    if "owners" in topics:
        found["owners"] = records.owners_record(report)
    if "health" in topics:
        found["health"] = [records.finding_record(finding) for finding in health.check(driver, deep, report)]
    return found


def gather_nothing(home: str, topics: list[str]) -> dict[str, Any]:
    """The result for a home that does not exist, with all keys that an existing one has."""
    found: dict[str, Any] = {topic: [] for topic in topics}
    if "status" in topics:
        found["status"] = dict.fromkeys(STATUS, "")
    if "owners" in topics:
        from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import owners

        found["owners"] = records.owners_record(owners.Report(home, "", "", None, {}))
    return found


GATHERERS = {"status": gather_status, "layers": gather_layers, "mounts": gather_mounts, "quota": gather_quota}
CHECKED = ("owners", "health")


def manage(module: DriverModule) -> dict[str, Any]:
    """Look, and return the module's result."""
    topics = module.params["gather"]
    driver = module.open_driver(read_only=True)
    if driver is None:
        return dict(gather_nothing(module.params["home"], topics), exists=False)
    result = {topic: GATHERERS[topic](driver) for topic in topics if topic in GATHERERS}
    if any(topic in CHECKED for topic in topics):
        result.update(gather_checked(driver, topics, module.params["deep"]))
    return dict(result, exists=True)


def main() -> None:
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
