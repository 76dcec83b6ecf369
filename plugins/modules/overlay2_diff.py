#!/usr/bin/python

# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay2_diff
short_description: List what a layer changes, and write it as a tar archive
version_added: 0.1.0
description:
  - Compares a layer with the one below it, or with any other, and lists what was added, modified and deleted.
  - With O(dest), writes the difference as a tar with OCI whiteouts, which M(strata.overlay2.overlay2_layer) and every
    container engine can apply.
  - The same content gives the same bytes, so O(dest) is replaced only when the layer has changed. It is replaced as a
    whole, never written in place.
author:
  - The strata.overlay2 authors (@strata-overlay2)
extends_documentation_fragment:
  - ansible.builtin.files
  - strata.overlay2.driver
  - strata.overlay2.attributes
  - strata.overlay2.attributes.actiongroup_overlay2
attributes:
  check_mode:
    support: full
    details:
      - The archive is made and measured, and not written.
      - Where the comparison takes mounts, which is so for another O(parent) than the layer's own, they are made for
        that moment in check mode too.
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
  parent:
    description:
      - The layer to compare with. Without it, the one that O(id) stands on.
      - An empty string compares with nothing, so that the archive has the whole tree.
    type: str
  dest:
    description:
      - Where to write the archive on the target. Its folder must exist.
    type: path
  compression:
    description:
      - How to compress O(dest). For V(zstd) the target needs Python 3.14, the C(backports.zstd) package or the C(zstd)
        program.
    type: str
    choices: [none, gzip, zstd, xz]
    default: none
  list_changes:
    description:
      - Whether to return RV(changes).
    type: bool
    default: true
seealso:
  - module: strata.overlay2.overlay2_layer
  - module: strata.overlay2.overlay2_mount
"""

EXAMPLES = r"""
- name: What has the shop written?
  strata.overlay2.overlay2_diff:
    id: shop-run
  register: shop

- name: Tell what is gone
  ansible.builtin.debug:
    msg: "{{ shop.changes | selectattr('kind', 'eq', 'deleted') | map(attribute='path') }}"

- name: Keep what the shop has written as an archive
  strata.overlay2.overlay2_diff:
    id: shop-run
    dest: /srv/backup/shop-run.tar.zst
    compression: zstd
    list_changes: false
    mode: "0600"

- name: The shop with all that it stands on, in one archive
  strata.overlay2.overlay2_diff:
    id: shop-run
    parent: ""
    dest: /srv/export/shop.tar.gz
    compression: gzip
    list_changes: false
"""

RETURN = r"""
changes:
  description:
    - What the layer changes, sorted by path. Of a folder that is gone, the folder alone is listed.
    - A folder in which something changed is V(modified) itself.
  returned: success and O(list_changes=true)
  type: list
  elements: dict
  contains:
    path:
      description: Absolute path within the layer. A byte that is no UTF-8 shows as C(\udcXX).
      type: str
      sample: /etc/shop.conf
    kind:
      description: What happened to it, one of V(added), V(modified) and V(deleted).
      type: str
      sample: modified
size:
  description: Bytes of the uncompressed tar; null in check mode for a layer that is still to be made.
  returned: success
  type: int
  sample: 10240
diff_id:
  description: Digest of the uncompressed tar; null in check mode for a layer that is still to be made.
  returned: success
  type: str
  sample: sha256:7cea17427f83f6c4706c74f94fb6d7925b06ea9a0701234f1a9d43f6af11432a
dest:
  description: The archive; null if none was asked for.
  returned: success
  type: str
  sample: /srv/backup/shop-run.tar.zst
dest_digest:
  description: Digest of the archive as it is, compressed; null if none was asked for.
  returned: success
  type: str
  sample: sha256:3f5b8c1e7d2f7d1d8dfb1c6a4f2b61bcf06cc5b4a0f9d2a8e6a4c2b1d0e9f8a7
error:
  description: Class of the driver's error, to tell cases apart in a rescue section.
  returned: failure of the driver
  type: str
  sample: LayerNotFound
layer_id:
  description: The layer that the error is about; null if it is not about a layer.
  returned: failure of the driver
  type: str
  sample: shop-run
error_path:
  description: The file or folder that the error is about; null if there is none.
  returned: failure of the driver
  type: str
  sample: /srv/backup
remedy:
  description: What to do about the error; null if that is not known.
  returned: failure of the driver
  type: str
  sample: Create the folder first, for example with ansible.builtin.file
"""

import os
import tempfile
from contextlib import contextmanager
from typing import NamedTuple, Optional

from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule, plain_text
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.changes import ChangeKind
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.digests import HashingWriter, digest_of, pump
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.driver import Driver
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import (
    LayerDamaged,
    OptionError,
    ReadOnlyDriver,
)
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.tar.compression import compressed

KINDS = {ChangeKind.ADD: "added", ChangeKind.MODIFY: "modified", ChangeKind.DELETE: "deleted"}


def check_dest(module, dest):
    """Refuse a destination that can't be written, before any work.

    :raises OptionError: it is a folder, or its folder is missing.
    """
    if os.path.isdir(dest):
        raise OptionError("dest is a folder", path=dest, remedy="Give the path of the archive itself")
    folder = os.path.dirname(os.path.abspath(dest))
    if os.path.isdir(folder):
        return
    if not module.check_mode:
        remedy = "Create the folder first, for example with ansible.builtin.file"
        raise OptionError("the folder of dest does not exist", path=folder, remedy=remedy)
    module.missing_in_check_mode("the folder of dest, %s," % folder)


def digest_at(path):
    """Digest (str) of the file at ``path``; None where there is none."""
    try:
        with open(path, "rb") as stream:
            return digest_of(stream)
    except FileNotFoundError:
        return None


class Written(NamedTuple):
    """What became of a layer's diff: bytes and digest of the tar, and the digest of the archive that holds it."""

    size: Optional[int] = None
    diff_id: Optional[str] = None
    dest_digest: Optional[str] = None


def write_archive(stream, raw, compression):
    """Compress the tar ``stream`` into ``raw``, or only measure it where that is None; returns :class:`Written`."""
    plain, packed = HashingWriter(), HashingWriter(raw)
    with compressed(packed, compression) as writer:
        pump(stream, plain, writer)
    return Written(plain.size, plain.digest, packed.digest)


@contextmanager
def beside(dest):
    """A new file next to ``dest``, open for writing; removed again unless it was moved away."""
    folder, name = os.path.split(os.path.abspath(dest))
    descriptor, path = tempfile.mkstemp(prefix=".%s." % name[:100], dir=folder)
    try:
        with open(descriptor, "wb") as file:
            yield file, path
    finally:
        if os.path.lexists(path):
            os.unlink(path)


def move_into_place(module, file, path, dest):
    """Make a written file ``dest``, durably: its bytes before the name, then the name."""
    file.flush()
    os.fsync(file.fileno())
    module.atomic_move(path, dest)
    folder = os.open(os.path.dirname(os.path.abspath(dest)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_dest(module, stream, before):
    """Write the archive and put it in place where it differs from the digest ``before``; returns :class:`Written`."""
    dest = module.params["dest"]
    with beside(dest) as (file, path):
        written = write_archive(stream, file, module.params["compression"])
        if written.dest_digest != before:
            move_into_place(module, file, path, dest)
    return written


def parent_of(layer, parent):
    """The layer to compare with (str, "" for none): ``parent``, or where that is None the one below.

    :raises LayerDamaged: it can't be told which is below.
    """
    if parent is not None:
        return parent
    if layer.parent is None:
        message = "its lower chain is broken, so its parent can't be told"
        raise LayerDamaged(message, layer=layer.id, remedy="Name a parent")
    return layer.parent


def compare(module, layer, driver, before):
    """List the changes and write the archive, or measure it where nothing is to be written.

    :param before: the digest that ``dest`` has.
    :returns: (list of dict, :class:`Written`).
    """
    params, changes = module.params, []
    parent = parent_of(layer, params["parent"])
    if params["list_changes"]:
        changes = [{"path": plain_text(path), "kind": KINDS[kind]} for path, kind in driver.changes(layer.id, parent)]
    with driver.diff(layer.id, parent) as stream:
        if params["dest"] and not module.check_mode:
            return changes, write_dest(module, stream, before)
        return changes, write_archive(stream, None, params["compression"])


def manage(module):
    """Compare, write where asked to, and return the module's result (dict)."""
    params, dest = module.params, module.params["dest"]
    if dest:
        check_dest(module, dest)
    before = digest_at(dest) if dest else None
    driver = module.open_driver(read_only=True)
    layer = module.require_layer(driver)
    changes, written = [], Written()
    if layer is not None:
        try:
            changes, written = compare(module, layer, driver, before)
        except ReadOnlyDriver:  # raised before anything is written: the answer takes mounts, for a moment
            changes, written = compare(module, layer, module.open_driver(read_only=False), before)
    result = dict(written._asdict(), dest=dest, changed=False)
    if params["list_changes"]:
        result["changes"] = changes
    if dest:
        differs = written.dest_digest != before
        result["diff"] = difference(before, written.dest_digest, changes if differs else [])
        result["changed"] = module.set_fs_attributes_if_different(
            module.load_file_common_arguments(params), differs or layer is None, result["diff"]
        )
    else:
        result["dest_digest"] = None
    return result


def difference(before, after, changes):
    """What diff mode shows: the archive's digests, and what the new one has in it."""
    result = {"before": {"dest_digest": before}, "after": {"dest_digest": after}}
    if changes:
        result["after"]["changes"] = ["%s %s" % (change["kind"], change["path"]) for change in changes]
    return result


def main():
    DriverModule(
        {
            "id": {"type": "str", "required": True},
            "parent": {"type": "str"},
            "dest": {"type": "path"},
            "compression": {"type": "str", "choices": ["none", "gzip", "zstd", "xz"], "default": "none"},
            "list_changes": {"type": "bool", "default": True},
        },
        driver=Driver,
        add_file_common_args=True,
    ).run(manage)


if __name__ == "__main__":
    main()
