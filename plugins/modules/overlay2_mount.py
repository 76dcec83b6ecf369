#!/usr/bin/python

# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay2_mount
short_description: Mount and unmount layers of an overlay2 home, each for a named holder
version_added: 0.1.0
description:
  - Mounts a layer together with those below it, and remembers for whom. A layer stays mounted as long as anybody holds
    it.
  - A holder is a name, such as a service's. It counts once however often the task runs, so a play that runs twice holds
    once, and the play that ends the service lets go of just that.
  - References are shared by all processes of the host and are void after a reboot, as the mounts are.
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
      - A layer that does not exist is a warning in check mode, as an earlier task may be about to make it.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  id:
    description:
      - The layer's name within the home.
    type: str
    required: true
  state:
    description:
      - V(mounted) sees to it that the layer is mounted and O(holder) holds it.
      - V(unmounted) sees to it that O(holder) does not hold it. It is unmounted when nobody else does, and that
        includes a mount which nobody holds. A layer that does not exist is fine.
    type: str
    choices: [mounted, unmounted]
    default: mounted
  holder:
    description:
      - On whose behalf.
    type: str
    default: ansible
  mount_label:
    description:
      - The SELinux context of the files in the mount. Only the call that makes the mount sets it.
    type: str
    default: ''
  all_holders:
    description:
      - With O(state=unmounted), let go on behalf of everybody.
    type: bool
    default: false
seealso:
  - module: strata.overlay2.overlay2_layer
  - module: strata.overlay2.overlay2_diff
"""

EXAMPLES = r"""
- name: Mount the shop's layers for the shop
  strata.overlay2.overlay2_mount:
    id: shop-run
    holder: shop
  register: shop_root

- name: Configure it where it is
  ansible.builtin.template:
    src: shop.conf.j2
    dest: "{{ shop_root.path }}/etc/shop.conf"
    mode: "0644"

- name: The shop has ended
  strata.overlay2.overlay2_mount:
    id: shop-run
    holder: shop
    state: unmounted

- name: Unmount it whoever holds it
  strata.overlay2.overlay2_mount:
    id: shop-run
    state: unmounted
    all_holders: true
"""

RETURN = r"""
path:
  description:
    - Where the layer's files are, those below included. A base, which has nothing below, is its own folder and needs no
      mount.
    - When the module failed, the file or folder that the error is about; null if it is about none.
  returned: always
  type: str
  sample: /var/lib/overlay2/shop-run/merged
mounted:
  description: Whether the kernel has the layer mounted. False for a base.
  returned: success
  type: bool
  sample: true
ref_count:
  description: The number of references, over all holders.
  returned: success
  type: int
  sample: 2
holders:
  description: The number of references by holder. A name counts once; callers that gave none share the empty name.
  returned: success
  type: dict
  sample: {"backup": 1, "shop": 1}
error:
  description: Class of the driver's error, to tell cases apart in a rescue section.
  returned: failure of the driver
  type: str
  sample: LayerNotFound
layer:
  description: The layer's id, where the error is about one; else null.
  returned: failure of the driver
  type: str
  sample: shop-run
remedy:
  description: What to do about the error; null where that is not known.
  returned: failure of the driver
  type: str
  sample: Create it with strata.overlay2.overlay2_layer, or correct home and id
"""

import os
from typing import Dict, NamedTuple

from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule, find_layer
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import OptionError


class Mount(NamedTuple):
    """Who holds a layer and whether the kernel has it mounted. A base is held without a mount."""

    base: bool
    holders: Dict[str, int]
    mounted: bool


def plan_mounted(actual, holder):
    """The :class:`Mount` in which ``holder`` holds the layer."""
    counts = dict(actual.holders)
    counts.setdefault(holder, 1)
    return actual._replace(holders=counts, mounted=not actual.base)


def plan_unmounted(actual, holder, all_holders):
    """The :class:`Mount` in which ``holder``, or nobody, holds the layer."""
    left = {} if all_holders else {name: count for name, count in actual.holders.items() if name != holder}
    return actual._replace(holders=left, mounted=actual.mounted and bool(left))


def observe(driver, layer):
    """The layer's :class:`Mount` as it is; one of nobody where there is no layer."""
    if layer is None:
        return Mount(False, {}, False)
    return Mount(layer.parent == "", dict(driver.holders(layer.id)), driver.mounted(layer.id))


def carry_out(driver, params, actual):
    """Mount or let go, as the task says."""
    if params["state"] == "mounted":
        driver.get(params["id"], params["mount_label"], params["holder"])
    elif params["all_holders"]:
        driver.put_all(params["id"])
    elif actual.holders:
        driver.put(params["id"], params["holder"])
    else:
        driver.put(params["id"])  # a mount that nobody holds


def state_of(mount):
    """What the task determines (dict), for the diff."""
    return {"mounted": mount.mounted, "holders": dict(sorted(mount.holders.items()))}


def manage(module):
    """Bring the mount into the state that the task wants, and return the module's result (dict)."""
    params = module.params
    if not params["holder"]:
        raise OptionError("the holder has no name", layer=params["id"], remedy="Give holder a name, or leave it out")
    driver = module.open_driver()
    if params["state"] == "mounted":
        layer = module.require_layer(driver)
        actual = observe(driver, layer)
        planned = plan_mounted(actual, params["holder"])
    else:
        layer = find_layer(driver, params["id"])
        actual = observe(driver, layer)
        planned = plan_unmounted(actual, params["holder"], params["all_holders"])
    final = planned
    if planned != actual and not module.check_mode:
        carry_out(driver, params, actual)
        final = observe(driver, layer)
    return {
        "changed": planned != actual,
        "path": os.path.join(params["home"], params["id"], "diff" if final.base else "merged"),
        "mounted": final.mounted,
        "ref_count": sum(final.holders.values()),
        "holders": final.holders,
        "diff": {"before": state_of(actual), "after": state_of(planned)},
    }


def main():
    DriverModule(
        {
            "id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["mounted", "unmounted"], "default": "mounted"},
            "holder": {"type": "str", "default": "ansible"},
            "mount_label": {"type": "str", "default": ""},
            "all_holders": {"type": "bool", "default": False},
        }
    ).run(manage)


if __name__ == "__main__":
    main()
