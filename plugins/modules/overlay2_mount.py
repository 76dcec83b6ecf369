#!/usr/bin/python

# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay2_mount
short_description: Mount and unmount layers of an overlay2 home for named holders
version_added: 0.1.0
description:
  - Mounts a layer together with the layers below it, and records the holder. A layer stays mounted as long as it has a
    holder.
  - A holder is a name, for example that of a service. It counts once, no matter how often the task runs, and releasing
    it does not affect other holders.
  - References are shared by all processes of the host. Like the mounts, they do not survive a reboot.
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
      - If the layer does not exist, check mode warns and assumes that an earlier task creates it.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  id:
    description:
      - The name of the layer.
    type: str
    required: true
  state:
    description:
      - V(mounted) ensures that the layer is mounted and held by O(holder).
      - V(unmounted) ensures that O(holder) does not hold it. The layer is unmounted if nobody else holds it, and so is
        a mount without any holder. It is not an error if the layer does not exist.
      - Processes that use the layer when it is unmounted keep their files, but other processes no longer see them. The
        module warns and returns the processes in RV(busy). See O(strict).
    type: str
    choices: [mounted, unmounted]
    default: mounted
  holder:
    description:
      - The name of the holder.
    type: str
    default: ansible
  mount_label:
    description:
      - The SELinux context of the files in the mount. It has no effect if the layer is mounted already.
    type: str
    default: ''
  all_holders:
    description:
      - With O(state=unmounted), release all holders.
    type: bool
    default: false
  strict:
    description:
      - With O(state=unmounted), fail instead of unmounting the layer while processes use it. The layer then stays
        mounted and held.
    type: bool
    default: false
seealso:
  - module: strata.overlay2.overlay2_layer
  - module: strata.overlay2.overlay2_diff
"""

EXAMPLES = r"""
- name: Mount the layers of the shop
  strata.overlay2.overlay2_mount:
    id: shop-run
    holder: shop
  register: shop_root

- name: Write a configuration file to the mounted layers
  ansible.builtin.copy:
    content: "listen: 8080\n"
    dest: "{{ shop_root.path }}/shop.conf"
    mode: "0644"

- name: Release the layers after the shop has stopped, and fail if it still runs
  strata.overlay2.overlay2_mount:
    id: shop-run
    holder: shop
    state: unmounted
    strict: true

- name: Unmount the layers no matter who holds them
  strata.overlay2.overlay2_mount:
    id: shop-run
    state: unmounted
    all_holders: true
"""

RETURN = r"""
path:
  description:
    - Where the files of the layer and those below are. For a base, which needs no mount, this is its own folder.
  returned: success
  type: str
  sample: /var/lib/overlay2/shop-run/merged
mounted:
  description: Whether the layer is mounted, according to the kernel. Always false for a base.
  returned: success
  type: bool
  sample: true
ref_count:
  description: The number of references of all holders.
  returned: success
  type: int
  sample: 2
holders:
  description: The number of references by holder. A name counts once; callers without a name share the empty name.
  returned: success
  type: dict
  sample: {"backup": 1, "shop": 1}
busy:
  description:
    - The processes that use the layer although it was unmounted, or would be in check mode. Processes of all mount
      namespaces are listed, except those that the module may not look into.
  returned: success
  type: list
  elements: dict
  contains:
    pid:
      description: Process ID on the target.
      type: int
      sample: 812
    command:
      description: Name of its program, at most 15 bytes.
      type: str
      sample: nginx
    namespace:
      description: Inode of its mount namespace, as in C(/proc/812/ns/mnt); 0 if it cannot be read.
      type: int
      sample: 4026531841
    use:
      description: How the process uses the layer, one of V(cwd), V(root), V(exe), V(fd) and V(map).
      type: str
      sample: cwd
error:
  description: Class of the driver's error, to tell cases apart in a rescue section.
  returned: failure of the driver
  type: str
  sample: LayerInUse
layer_id:
  description: The layer that the error is about; null if it is not about a layer.
  returned: failure of the driver
  type: str
  sample: shop-run
error_path:
  description: The file or folder that the error is about; null if there is none.
  returned: failure of the driver
  type: str
  sample: /var/lib/overlay2/shop-run/merged
remedy:
  description: What to do about the error; null if that is not known.
  returned: failure of the driver
  type: str
  sample: Stop them first
"""

import os
from typing import Any, Dict, NamedTuple

from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule, find_layer, user_records
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import LayerInUse, OptionError


class Mount(NamedTuple):
    """Who holds a layer, and whether the kernel has it mounted. A base is held without a mount."""

    base: bool
    holders: Dict[str, int]
    mounted: bool


def plan_mounted(actual: Mount, holder: str) -> Mount:
    """The :class:`Mount` in which ``holder`` holds the layer."""
    counts = dict(actual.holders)
    counts.setdefault(holder, 1)
    return actual._replace(holders=counts, mounted=not actual.base)


def plan_unmounted(actual: Mount, holder: str, all_holders: bool) -> Mount:
    """The :class:`Mount` in which ``holder``, or nobody, holds the layer."""
    left = {} if all_holders else {name: count for name, count in actual.holders.items() if name != holder}
    return actual._replace(holders=left, mounted=actual.mounted and bool(left))


def observe(driver: Any, layer: Any) -> Mount:
    """The layer's current :class:`Mount`; one without holders if there is no layer."""
    if layer is None:
        return Mount(False, {}, False)
    return Mount(layer.parent == "", dict(driver.holders(layer.id)), driver.mounted(layer.id))


def unmount(module: DriverModule, driver: Any, actual: Mount) -> tuple[Any, ...]:
    """Release the layer as the task says, and return the processes that go on using it."""
    params = module.params
    # A mount without holders is unmounted by the anonymous put, as in moby.
    holder = params["holder"] if actual.holders else None
    return driver.release(params["id"], holder, everybody=params["all_holders"], strict=params["strict"])


def foresee(module: DriverModule, driver: Any, actual: Mount, planned: Mount) -> tuple[Any, ...]:
    """The processes that would go on using the layer after it is unmounted.

    :raises LayerInUse: there are some, and the task is strict.
    """
    if not actual.mounted or planned.mounted:
        return ()
    busy = driver.users(module.params["id"])
    if busy and module.params["strict"]:
        message = "processes use it: %s" % ", ".join(map(str, busy))
        raise LayerInUse(message, layer=module.params["id"], remedy="Stop them first")
    return busy


def state_of(mount: Mount) -> dict[str, Any]:
    """The facts that the task determines, for the diff."""
    return {"mounted": mount.mounted, "holders": dict(sorted(mount.holders.items()))}


def manage(module: DriverModule) -> dict[str, Any]:
    """Bring the mount into the state that the task wants, and return the module's result."""
    params = module.params
    if not params["holder"]:
        raise OptionError("the holder has no name", layer=params["id"], remedy="Give holder a name, or leave it out")
    driver, busy = module.open_driver(), ()
    wants_mount = params["state"] == "mounted"
    layer = module.require_layer(driver) if wants_mount else find_layer(driver, params["id"])
    actual = observe(driver, layer)
    if wants_mount:
        planned = plan_mounted(actual, params["holder"])
    else:
        planned = plan_unmounted(actual, params["holder"], params["all_holders"])
    final = planned
    if planned != actual and module.check_mode:
        busy = () if wants_mount else foresee(module, driver, actual, planned)
    elif planned != actual:
        if wants_mount:
            driver.get(params["id"], params["mount_label"], params["holder"])
        else:
            busy = unmount(module, driver, actual)
        final = observe(driver, layer)
    return {
        "changed": planned != actual,
        "path": os.path.join(params["home"], params["id"], "diff" if final.base else "merged"),
        "mounted": final.mounted,
        "ref_count": sum(final.holders.values()),
        "holders": final.holders,
        "busy": user_records(busy),
        "diff": {"before": state_of(actual), "after": state_of(planned)},
    }


def main() -> None:
    DriverModule(
        {
            "id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["mounted", "unmounted"], "default": "mounted"},
            "holder": {"type": "str", "default": "ansible"},
            "mount_label": {"type": "str", "default": ""},
            "all_holders": {"type": "bool", "default": False},
            "strict": {"type": "bool", "default": False},
        }
    ).run(manage)


if __name__ == "__main__":
    main()
