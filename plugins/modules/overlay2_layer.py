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
  - Creates a layer, on top of another one or as a base, and fills it from a tar archive.
  - A layer appears whole or not at all, content included, and remembers the diff ID of what was applied to it.
    That is how a second run knows that there is nothing to do, without reading the archive where O(digest) is given.
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
      - A O(parent) or O(src) that does not exist is a warning in check mode, as an earlier task may be about to make
        it.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  id:
    description:
      - The layer's name within the home; a single folder name.
    type: str
    required: true
  state:
    description:
      - V(present) sees to it that the layer exists, with the parent, kind, content and quota that are given. What is
        not given is not compared.
      - V(absent) sees to it that there is no such layer. A layer that others stand on, or that somebody holds, is
        refused and they are named.
    type: str
    choices: [present, absent]
    default: present
  parent:
    description:
      - The layer below. It must exist.
      - Without it, a new layer is a base. An empty string says so of an existing one too.
      - A layer's parent never changes; O(force) makes the layer anew.
    type: str
  read_write:
    description:
      - V(true) creates a layer to be written to through its mount, V(false) one to build others on.
        When not given, a new layer is of the second kind.
      - A layer whose kind is not recorded, such as one that dockerd made, passes for both.
    type: bool
  src:
    description:
      - An archive on the target that becomes the content of the layer, with OCI whiteouts honoured.
      - A tar, plain or compressed by gzip, bzip2, xz or zstd. For zstd the target needs Python 3.14, the
        C(backports.zstd) package or the C(zstd) program.
    type: path
  digest:
    description:
      - The diff ID that the content must have, C(sha256:) and 64 hexadecimal digits. This is the digest of the
        I(uncompressed) tar, as an image's configuration lists it.
      - With O(src), the archive is verified while it is applied, and it is not read at all where the layer has that
        diff ID already.
      - Without O(src), the layer's recorded diff ID must be this one.
    type: str
  size:
    description:
      - The quota of a read-write layer, such as V(10G) or V(512M), in units of 1024. V(0) lifts it.
      - Needs XFS mounted with C(pquota) below the home.
    type: str
  force:
    description:
      - With O(state=present), replaces other content than O(src)'s, and removes and makes anew a layer whose O(parent)
        or O(read_write) differ. What was in the layer is lost. A layer that others stand on, or that somebody holds, is
        refused all the same.
      - With O(state=absent), removes the layer whoever stands on it or holds it. The layers above it can't be mounted
        any more.
    type: bool
    default: false
seealso:
  - module: strata.overlay2.overlay2_mount
  - module: strata.overlay2.overlay2_diff
  - module: strata.overlay2.overlay2_info
"""

EXAMPLES = r"""
- name: A base layer from a distribution's root file system
  strata.overlay2.overlay2_layer:
    id: debian-12
    src: /srv/images/debian-12-rootfs.tar.xz
    digest: sha256:7cea17427f83f6c4706c74f94fb6d7925b06ea9a0701234f1a9d43f6af11432a

- name: The application's files above it
  strata.overlay2.overlay2_layer:
    id: shop-4.2
    parent: debian-12
    src: /srv/images/shop-4.2.tar.gz

- name: A place for the running shop to write to, 10 GiB at most
  strata.overlay2.overlay2_layer:
    id: shop-run
    parent: shop-4.2
    read_write: true
    size: 10G

- name: Away with the last version, unless something still stands on it
  strata.overlay2.overlay2_layer:
    id: shop-4.1
    state: absent
"""

RETURN = r"""
layer:
  description:
    - The layer as it is, or in check mode as it would be.
    - An empty dict if it is absent.
    - When the module failed, the layer's id instead, where the error is about one.
  returned: always
  type: dict
  contains:
    id:
      description: The layer's name.
      type: str
      sample: shop-run
    parent:
      description: The layer below, empty for a base, null if it can't be told.
      type: str
      sample: shop-4.2
    depth:
      description: How many layers it stands on.
      type: int
      sample: 2
    lowers:
      description: The layers it stands on, uppermost first.
      type: list
      elements: str
      sample: [shop-4.2, debian-12]
    upper_dir:
      description: Folder of the layer's own content.
      type: str
      sample: /var/lib/overlay2/shop-run/diff
    work_dir:
      description: Folder that overlayfs works in. A base has none.
      type: str
      sample: /var/lib/overlay2/shop-run/work
    merged_dir:
      description: Where the layer shows together with those below while it is mounted.
      type: str
      sample: /var/lib/overlay2/shop-run/merged
    link:
      description: The short name that mounts use for it; empty in check mode for a layer that is still to be made.
      type: str
      sample: 5C7HYQ3TTGZEXY2KBCFVBT4LQN
    committed:
      description: Whether a layer was made on top of it, so that it is mounted read-only.
      type: bool
      sample: false
    read_write:
      description: Whether it was made to be written to; null if that is not recorded.
      type: bool
      sample: true
    size:
      description: >-
        Bytes of the layer's own content; null in check mode for content that is still to be applied, and for a damaged
        layer.
      type: int
      sample: 8192
    diff_id:
      description: Diff ID of the archive that was applied to it; null if none was, or that is not recorded.
      type: str
      sample: sha256:7cea17427f83f6c4706c74f94fb6d7925b06ea9a0701234f1a9d43f6af11432a
    quota:
      description: The layer's project quota; null if it has none.
      type: dict
      contains:
        project_id:
          description: The XFS project that counts for the layer; null in check mode for one that is still to be made.
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
error:
  description: Class of the driver's error, to tell cases apart in a rescue section.
  returned: failure of the driver
  type: str
  sample: LayerInUse
path:
  description: The file or folder that the error is about; null if it is about none.
  returned: failure of the driver
  type: str
  sample: /srv/images/shop-4.2.tar.gz
remedy:
  description: What to do about the error; null where that is not known.
  returned: failure of the driver
  type: str
  sample: Remove those layers first, or set force
"""

import os
from contextlib import contextmanager

from ansible_collections.strata.overlay2.plugins.module_utils._layer_plan import (
    Actual,
    Wanted,
    plan_absent,
    plan_present,
    planned_layer,
    state_of,
)
from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule, find_layer, layer_record
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.digests import checked_digest, diff_id_of
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import (
    ArchiveError,
    DigestMismatch,
    Overlay2Error,
    from_os_error,
)
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.units import ram_in_bytes


def observe(driver, layer_id):
    """The layer and its surroundings as they are, or None."""
    layer = find_layer(driver, layer_id)
    if layer is None:
        return None
    return Actual(
        layer,
        empty=is_empty(os.path.join(driver.home, layer_id, "diff")),
        children=tuple(driver.children(layer_id)),
        holders=tuple(sorted(driver.holders(layer_id))),
        mounted=driver.mounted(layer_id),
    )


def is_empty(folder):
    """Whether nothing is in the folder (bool); so is one that a damaged layer has lost."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True


def wanted_of(module, driver, layer):
    """What the task asks for, its archive read where the plan depends on it.

    :param layer: the layer's record, or None.
    :raises Overlay2Error: an argument is malformed, or the archive can't be read or has another digest.
    """
    params = module.params
    digest = checked_digest(params["digest"]) if params["digest"] else None
    return Wanted(
        id=params["id"],
        parent=params["parent"],
        read_write=params["read_write"],
        src=params["src"],
        diff_id=wanted_diff_id(module, params["src"], digest, layer),
        size=wanted_size(params, driver, layer),
        force=params["force"],
        no_quota=driver.features.project_quota_reason if driver else "",
    )


def wanted_size(params, driver, layer):
    """The quota that the layer must have, in bytes; None for any.

    A limit is rounded up as XFS does it, to its blocks. A new layer without a size gets the driver's.
    """
    if params["size"] is not None:
        size = ram_in_bytes(params["size"])
    elif layer is None and params["read_write"] and driver:
        size = driver.options.size
    else:
        return None
    block = os.statvfs(driver.home).f_frsize if driver else 1
    return -(-size // block) * block


def wanted_diff_id(module, src, digest, layer):
    """The diff ID that the content must have; None for any, or where the apply will tell.

    The archive is read before anything is done to an existing layer, and in check mode, which then knows what the real
    run would find. A new layer's archive is verified while it is applied.
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
def opened(src, layer_id):
    """The archive, open for reading; None for None. Errors about the archive name it, and the layer.

    :raises ArchiveError: it can't be opened.
    """
    if src is None:
        yield None
        return
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
            error.layer = error.layer or layer_id
            error.path = error.path or src
            raise


def carry_out(driver, wanted, plan):
    """Do what the plan says."""
    for step in plan.steps:
        if step == "remove":
            # The plan has asked already; the guard asks again, under the driver's locks.
            driver.remove(wanted.id, guard=bool(plan.after) or not wanted.force)
        elif step == "quota":
            driver.set_quota(wanted.id, wanted.size)
        else:
            with opened(wanted.src, wanted.id) as archive:
                fill(driver, wanted, step, plan.after, archive)


def fill(driver, wanted, step, after, archive):
    """Create the layer with its content, or apply or replace the content."""
    if step != "create":
        driver.apply_diff(wanted.id, after["parent"], archive, diff_id=wanted.diff_id, replace=step == "replace")
    elif after["read_write"]:
        size = {"size": str(after["quota"])} if after["quota"] or driver.options.size else None
        driver.create_read_write(wanted.id, after["parent"], size, diff=archive, diff_id=wanted.diff_id)
    else:
        driver.create(wanted.id, after["parent"], diff=archive, diff_id=wanted.diff_id)


def expected(module, driver, plan, actual):
    """The layer's record (dict) as it would be, for check mode."""
    after, parent = plan.after, None
    if not after:
        return {}
    if after["parent"]:
        parent = find_layer(driver, after["parent"])
        if parent is None:
            module.missing_in_check_mode("the parent %s" % after["parent"])
    size = None if {"create", "apply", "replace"} & set(plan.steps) else size_of(driver, after["id"])
    return layer_record(module.params["home"], planned_layer(plan, actual, parent), size)


def size_of(driver, layer_id):
    """Bytes of the layer's own content (int); None for a damaged layer, whose content can't be read."""
    try:
        return driver.own_size(layer_id)
    except Overlay2Error:
        return None


def manage(module):
    """Bring the layer into the state that the task wants, and return the module's result (dict)."""
    params = module.params
    driver = module.open_driver(make_home=params["state"] == "present")
    actual = observe(driver, params["id"])
    if params["state"] == "present":
        for problem in actual.layer.problems if actual else ():
            module.warn("layer %s is damaged: %s" % (params["id"], problem))
        wanted = wanted_of(module, driver, actual.layer if actual else None)
        plan = plan_present(wanted, actual)
    else:
        wanted = Wanted(params["id"], force=params["force"])
        plan = plan_absent(actual, params["force"])
    if module.check_mode:
        record, after = expected(module, driver, plan, actual), plan.after
    else:
        carry_out(driver, wanted, plan)
        layer = find_layer(driver, params["id"])
        record = layer_record(driver.home, layer, size_of(driver, layer.id)) if layer else {}
        after = state_of(layer) if layer else {}
    return {"changed": bool(plan.steps), "layer": record, "diff": {"before": plan.before, "after": after}}


def main():
    DriverModule(
        {
            "id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "parent": {"type": "str"},
            "read_write": {"type": "bool"},
            "src": {"type": "path"},
            "digest": {"type": "str"},
            "size": {"type": "str"},
            "force": {"type": "bool", "default": False},
        }
    ).run(manage)


if __name__ == "__main__":
    main()
