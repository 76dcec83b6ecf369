#!/usr/bin/python

# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay2_layer
short_description: Create, fill and remove layers of an overlay2 home
version_added: 0.1.0
description:
  - Creates a layer, either as a base or on top of another layer, and fills it from a tar archive.
  - A layer, including its content, is created completely or not at all. It records the diff ID of the archive that was
    applied to it, so a second run changes nothing. With O(digest), the second run does not even read the archive.
  - If several tasks create the same layer at the same time, one of them does and the others report no change.
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
      - If O(parent) or O(src) does not exist, check mode warns and assumes that an earlier task creates it.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  id:
    description:
      - The name of the layer. It must be usable as the name of a single folder.
    type: str
    required: true
  state:
    description:
      - V(present) ensures that the layer exists and has the given parent, kind, content, quota and owner. Options that
        are not given are not compared.
      - V(absent) ensures that the layer does not exist. The module refuses to remove a layer that is the parent of
        another layer, is held or mounted, or is used by a process, and names them.
    type: str
    choices: [present, absent]
    default: present
  parent:
    description:
      - The layer below. It must exist.
      - Without this option, a new layer is a base. Use an empty string to require that an existing layer is a base.
      - The parent of an existing layer cannot be changed. With O(force), the layer is removed and created anew.
    type: str
  read_write:
    description:
      - V(true) creates a layer that is written to through its mount, V(false) a layer to build other layers on. The
        default for a new layer is V(false).
      - A layer whose kind is not recorded, for example one that dockerd created, matches both values.
    type: bool
  src:
    description:
      - Path of an archive on the target that becomes the content of the layer. OCI whiteouts are applied.
      - A tar file, uncompressed or compressed with gzip, bzip2, xz or zstd. For zstd the target needs Python 3.14, the
        C(backports.zstd) package or the C(zstd) program.
    type: path
  digest:
    description:
      - The diff ID that the content must have, C(sha256:) followed by 64 hexadecimal digits. This is the digest of the
        I(uncompressed) tar, as listed in the configuration of an image.
      - With O(src), the archive is verified while it is applied. It is not read if the layer has that diff ID already.
      - Without O(src), the recorded diff ID of the layer must be this one.
    type: str
  size:
    description:
      - The quota of a read-write layer, such as V(10G) or V(512M), in units of 1024. V(0) removes the limit.
      - Requires that the home is on XFS mounted with C(pquota).
    type: str
  owner:
    description:
      - The name of whoever keeps the layer, for example an application. Unlike a holder of
        M(strata.overlay2.overlay2_mount), it is stored with the layer and survives a reboot.
      - A new layer gets this owner. An existing layer without an owner gets it as well, unless another program created
        the layer.
      - An existing layer of another owner keeps its owner. If the task would have to change or remove that layer, it
        fails unless O(force=true).
    type: str
  measure:
    description:
      - Whether to count the bytes of the layer's own content for RV(layer.size) if they are not recorded. This reads
        every folder of the layer.
    type: bool
    default: false
  force:
    description:
      - With O(state=present), replaces the content if it is not that of O(src), and removes and creates anew a layer
        whose O(parent) or O(read_write) differ. The previous content is lost. The module still refuses this for a layer
        that is the parent of another layer, is held or mounted, or is used by a process.
      - With O(state=absent), removes the layer even if it is in use. Layers above it can no longer be mounted, and
        processes lose the files that they use.
    type: bool
    default: false
seealso:
  - module: strata.overlay2.overlay2_mount
  - module: strata.overlay2.overlay2_diff
  - module: strata.overlay2.overlay2_info
"""

EXAMPLES = r"""
- name: Create a base layer from the root file system of a distribution
  strata.overlay2.overlay2_layer:
    id: debian-12
    src: /srv/images/debian-12-rootfs.tar.xz

- name: Add the files of the application on top, and verify them
  strata.overlay2.overlay2_layer:
    id: shop-4.2
    parent: debian-12
    src: /srv/images/shop-4.2.tar.gz
    digest: "{{ shop_digest }}"
    owner: shop

- name: Find out whether the home has project quota
  strata.overlay2.overlay2_info:
    gather: [status]
  register: home

- name: Create a layer for the running application to write to, limited to 10 GiB where that is possible
  strata.overlay2.overlay2_layer:
    id: shop-run
    parent: shop-4.2
    read_write: true
    size: "{{ '10G' if home.status['Project Quota'] | default('false') == 'true' else omit }}"
    owner: shop

- name: Remove the previous release unless it is still in use
  strata.overlay2.overlay2_layer:
    id: shop-4.1
    owner: shop
    state: absent
"""

RETURN = r"""
layer:
  description:
    - The layer, or in check mode the layer as it would be.
    - An empty dictionary if it is absent.
  returned: success
  type: dict
  contains:
    id:
      description: The name of the layer.
      type: str
      sample: shop-run
    parent:
      description: The layer below, empty for a base, null if it cannot be determined.
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
      description: The short name used in mounts; empty in check mode for a layer that does not exist yet.
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
        layers that are written to; O(measure) counts it.
      type: int
      sample: 8192
    diff_id:
      description: Diff ID of the archive that was applied to it; null if there was none, or it is not recorded.
      type: str
      sample: sha256:7cea17427f83f6c4706c74f94fb6d7925b06ea9a0701234f1a9d43f6af11432a
    quota:
      description: The project quota of the layer; null if it has none.
      type: dict
      contains:
        project_id:
          description: The XFS project of the layer; null in check mode for a layer that does not exist yet.
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
skipped_devices:
  description:
    - The number of devices and pipes of the archive that were left out, because a user namespace may not create them.
    - Zero if the task applied no archive.
  returned: success
  type: int
  sample: 0
dropped_attributes:
  description:
    - The number of extended attributes of the archive that were left out, because the file system of the home cannot
      store them. The module warns of them.
    - Zero if the task applied no archive.
  returned: success
  type: int
  sample: 0
error:
  description: Class of the driver's error, to tell cases apart in a rescue section.
  returned: failure of the driver
  type: str
  sample: LayerInUse
layer_id:
  description: The layer that the error is about; null if it is not about a layer.
  returned: failure of the driver
  type: str
  sample: shop-4.2
error_path:
  description: The file or folder that the error is about, or an entry of the archive; null if there is none.
  returned: failure of the driver
  type: str
  sample: /srv/images/shop-4.2.tar.gz
remedy:
  description: What to do about the error; null if that is not known.
  returned: failure of the driver
  type: str
  sample: Remove those layers first, or set force
"""

import os
from contextlib import contextmanager, nullcontext
from typing import Any, BinaryIO, Callable, Iterator

from ansible_collections.strata.overlay2.plugins.module_utils._layer_plan import (
    Actual,
    Plan,
    Wanted,
    plan_absent,
    plan_present,
    planned_layer,
    state_of,
)
from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule, find_layer
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.basedriver import BaseDriver
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.digests import checked_digest, diff_id_of
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import (
    ArchiveError,
    DigestMismatch,
    LayerExists,
    LayerNotEmpty,
    OptionError,
    Overlay2Error,
    from_os_error,
)
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.home.store import GraphDriverStore
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.records import layer_record
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.units import ram_in_bytes

#: How often to look again when others create or fill the layer meanwhile.
ATTEMPTS = 3


def observe(driver: Any, layer_id: str, look_for_users: bool = False) -> Actual | None:
    """The layer and its surroundings, or None if there is no such layer."""
    layer = find_layer(driver, layer_id)
    if layer is None:
        return None
    return Actual(
        layer,
        empty=is_empty(driver.opened.store.upper_dir(layer_id)),
        children=tuple(driver.children(layer_id)),
        holders=tuple(sorted(driver.holders(layer_id))),
        mounted=driver.mounted(layer_id),
        users=tuple([str(user) for user in driver.users(layer_id)]) if look_for_users else (),
    )


def is_empty(folder: str) -> bool:
    """True if nothing is in the folder, or if a damaged layer has lost it."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True


def wanted_of(module: DriverModule, driver: Any, layer: Any) -> Wanted:
    """What the task asks for. The archive is read if the plan depends on its digest.

    :param layer: the layer's record, or None.
    :raises Overlay2Error: an argument is malformed, or the archive can't be read or has another digest.
    """
    params = module.params
    digest = None if params["digest"] is None else checked_digest(params["digest"])
    return Wanted(
        id=params["id"],
        parent=params["parent"],
        read_write=params["read_write"],
        src=params["src"],
        diff_id=wanted_diff_id(module, params["src"], digest, layer),
        size=wanted_size(params, driver, layer),
        owner=params["owner"],
        force=params["force"],
        no_quota=driver.features.project_quota_reason if driver else "",
    )


def wanted_size(params: dict[str, Any], driver: Any, layer: Any) -> int | None:
    """The quota that the layer must have, in bytes; None for any.

    A limit is rounded up to blocks, as XFS does. A new layer without a size gets the driver's.
    """
    if params["size"] is not None:
        size = ram_in_bytes(params["size"])
    elif layer is None and params["read_write"] and driver:
        size = driver.options.size
    else:
        return None
    block = os.statvfs(driver.home).f_frsize if driver else 1
    return -(-size // block) * block


def wanted_diff_id(module: DriverModule, src: str | None, digest: str | None, layer: Any) -> str | None:
    """The diff ID that the content must have; None for any, or if it becomes known by applying the archive.

    The archive is read before an existing layer is changed, and in check mode, which so predicts what the real run
    finds. The archive of a new layer is verified while it is applied.
    """
    if src is None or (layer is not None and digest and digest == layer.diff_id):
        return digest
    if layer is None and not module.check_mode:
        return digest
    if module.check_mode and not os.path.lexists(src):
        module.missing_in_check_mode("the archive %s" % src)
        return digest
    with opened(src, module.params["id"]) as archive:
        found = diff_id_of(archive)
    if digest not in (None, found):
        raise DigestMismatch(
            "the archive's digest is %s, not %s" % (found, digest),
            layer=module.params["id"],
            path=src,
            remedy="Fetch the archive again, or correct the digest (it is that of the uncompressed tar)",
        )
    return found


@contextmanager
def opened(src: str, layer_id: str) -> Iterator[BinaryIO]:
    """The archive, open for reading. Errors about the archive name it, and the layer.

    :raises ArchiveError: it can't be opened.
    """
    try:
        stream = open(src, "rb")
    except OSError as error:
        failure = from_os_error(ArchiveError, "can't read the archive", error, layer=layer_id, path=src)
        failure.remedy = failure.remedy or "Give src as the path of an archive on the target, not on the controller"
        raise failure from error
    with stream:
        try:
            yield stream
        except ArchiveError as error:
            if error.path and error.path != src:  # an entry of it
                error.message = "%s: %s" % (src, error.message)
            error.layer = error.layer or layer_id
            error.path = error.path or src
            raise


def carry_out(driver: Any, wanted: Wanted, plan: Plan, report: Callable[[Any], None]) -> None:
    """Do what the plan says.

    :param report: called with what was unpacked from the archive.
    """
    for step in plan.steps:
        if step == "remove":
            # The plan has asked already; the guard asks again, under the driver's locks.
            driver.remove(wanted.id, guard=bool(plan.after) or not wanted.force)
        elif step == "quota":
            driver.set_quota(wanted.id, wanted.size)
        elif step == "own":
            driver.set_owner(wanted.id, wanted.owner)
        else:
            with opened(wanted.src, wanted.id) if wanted.src else nullcontext() as archive:
                if step == "create":
                    create(driver, wanted, plan.after, archive, report)
                else:
                    parent, replace = plan.after["parent"], step == "replace"
                    driver.apply_diff(
                        wanted.id, parent, archive, diff_id=wanted.diff_id, replace=replace, report=report
                    )


def create(
    driver: Any, wanted: Wanted, after: dict[str, Any], archive: BinaryIO | None, report: Callable[[Any], None]
) -> None:
    """Create the layer with its content."""
    content = {"diff": archive, "diff_id": wanted.diff_id, "owner": after["owner"], "report": report}
    if after["read_write"]:
        size = {"size": str(after["quota"])} if after["quota"] or driver.options.size else None
        driver.create_read_write(wanted.id, after["parent"], size, **content)
    else:
        driver.create(wanted.id, after["parent"], **content)


def expected(module: DriverModule, driver: Any, plan: Plan, actual: Actual | None) -> dict[str, Any]:
    """The layer's record as it would be, for check mode."""
    after, parent = plan.after, None
    if not after:
        return {}
    if after["parent"]:
        parent = find_layer(driver, after["parent"])
        if parent is None:
            module.missing_in_check_mode("the parent %s" % after["parent"])
    unchanged = not {"create", "apply", "replace"} & set(plan.steps)
    size = size_of(driver, after["id"]) if unchanged and module.params["measure"] else None
    planned = planned_layer(plan, actual, parent)
    return layer_record(planned, GraphDriverStore(module.params["home"]).paths(planned.id), size)


def size_of(driver: Any, layer_id: str) -> int | None:
    """Bytes of the layer's own content; None for a damaged layer, whose content can't be read."""
    try:
        return driver.own_size(layer_id)
    except Overlay2Error:
        return None


def present(module: DriverModule, driver: Any, report: Callable[[Any], None]) -> tuple[Plan, Actual | None]:
    """Have the layer as the task wants it. Returns the plan that was carried out, and the layer as it was before.

    Another process may create or fill the layer after this one has looked: then look again, as there may be nothing
    left to do.
    """
    params, removed = module.params, False
    for attempt in range(1, ATTEMPTS + 1):
        actual = observe(driver, params["id"], params["force"])
        for problem in actual.layer.problems if actual else ():
            module.warn("layer %s is damaged: %s" % (params["id"], problem))
        wanted = wanted_of(module, driver, actual.layer if actual else None)
        plan = plan_present(wanted, actual)
        if module.check_mode:
            break
        try:
            carry_out(driver, wanted, plan, report)
            break
        except (LayerExists, LayerNotEmpty):
            removed = removed or "remove" in plan.steps
            if attempt == ATTEMPTS:
                raise
    if removed and not plan.steps:
        plan = plan._replace(steps=("remove",))
    return plan, actual


def absent(module: DriverModule, driver: Any, report: Callable[[Any], None]) -> tuple[Plan, Actual | None]:
    """Have no such layer; as :func:`present`."""
    params = module.params
    actual = observe(driver, params["id"], look_for_users=not params["force"])
    wanted = Wanted(params["id"], owner=params["owner"], force=params["force"])
    plan = plan_absent(wanted, actual)
    if not module.check_mode:
        carry_out(driver, wanted, plan, report)
    return plan, actual


def manage(module: DriverModule) -> dict[str, Any]:
    """Bring the layer into the state that the task wants, and return the module's result."""
    params = module.params
    if params["owner"] == "":
        raise OptionError("the owner has no name", layer=params["id"], remedy="Give owner a name, or leave it out")
    driver = module.open_driver(make_home=params["state"] == "present")
    unpacked: list[Any] = []
    plan, actual = (present if params["state"] == "present" else absent)(module, driver, unpacked.append)
    if module.check_mode:
        record, after = expected(module, driver, plan, actual), plan.after
    else:
        layer = find_layer(driver, params["id"])
        size = size_of(driver, layer.id) if layer and params["measure"] else None
        record = layer_record(layer, driver.opened.store.paths(layer.id), size) if layer else {}
        after = state_of(layer) if layer else {}
    return {
        "changed": bool(plan.steps),
        "layer": record,
        "skipped_devices": sum(one.skipped_devices.total for one in unpacked),
        "dropped_attributes": sum(one.dropped_attributes.total for one in unpacked),
        "diff": {"before": plan.before, "after": after},
    }


def main() -> None:
    DriverModule(
        {
            "id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "parent": {"type": "str"},
            "read_write": {"type": "bool"},
            "src": {"type": "path"},
            "digest": {"type": "str"},
            "size": {"type": "str"},
            "owner": {"type": "str"},
            "measure": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
        },
        driver=BaseDriver,
    ).run(manage)


if __name__ == "__main__":
    main()
