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
  - Compares a layer with the layer below it, or with any other layer, and lists what was added, modified and deleted.
  - With O(dest), writes the difference as a tar with OCI whiteouts, which M(strata.overlay2.overlay2_layer) and every
    container engine can apply.
  - The same content gives the same bytes, so O(dest) is only replaced if the layer has changed. It is replaced in one
    step, never written in place.
  - A new O(dest) can be read by its owner only, unless O(mode) says otherwise, as layers may contain secrets. An
    existing one keeps its owner and mode.
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
      - The archive is created and measured, but not written.
      - A comparison with a O(parent) other than the layer's own needs mounts. They are made temporarily in check mode
        as well.
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
  parent:
    description:
      - The layer to compare with. The default is the layer below O(id).
      - An empty string compares with nothing, so that the archive contains the whole tree.
    type: str
  dest:
    description:
      - Where to write the archive on the target. The folder must exist.
      - If O(dest) exists, it must be a regular file. Anything else, such as a device, a pipe or a symbolic link, is
        refused.
    type: path
  compression:
    description:
      - How to compress O(dest). For V(zstd) the target needs Python 3.14, the C(backports.zstd) package or the C(zstd)
        program.
    type: str
    choices: [none, gzip, zstd, xz]
    default: none
  all_xattrs:
    description:
      - Whether to archive all extended attributes except those of overlayfs itself. By default only
        C(security.capability) is archived, as Docker does.
    type: bool
    default: false
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
- name: List what the shop has written
  strata.overlay2.overlay2_diff:
    id: shop-run
  register: shop

- name: Show the files that it has deleted
  ansible.builtin.debug:
    msg: "{{ shop.changes | selectattr('kind', 'eq', 'deleted') | map(attribute='path') }}"

- name: Save what the shop has written as an archive
  strata.overlay2.overlay2_diff:
    id: shop-run
    dest: /srv/backup/shop-run.tar.xz
    compression: xz
    list_changes: false

- name: Export the shop with all layers below it as one archive that everybody may read
  strata.overlay2.overlay2_diff:
    id: shop-run
    parent: ""
    dest: /srv/export/shop.tar.gz
    compression: gzip
    list_changes: false
    mode: "0644"
"""

RETURN = r"""
changes:
  description:
    - What the layer changes, sorted by path. If a folder was deleted, only the folder itself is listed.
    - A folder in which something changed is V(modified).
  returned: success and O(list_changes=true)
  type: list
  elements: dict
  contains:
    path:
      description: Absolute path within the layer. A byte that is not UTF-8 is written as C(\udcXX).
      type: str
      sample: /etc/shop.conf
    kind:
      description: What happened to it, one of V(added), V(modified) and V(deleted).
      type: str
      sample: modified
size:
  description: Bytes of the uncompressed tar; null in check mode for a layer that does not exist yet.
  returned: success
  type: int
  sample: 10240
diff_id:
  description: Digest of the uncompressed tar; null in check mode for a layer that does not exist yet.
  returned: success
  type: str
  sample: sha256:7cea17427f83f6c4706c74f94fb6d7925b06ea9a0701234f1a9d43f6af11432a
dest:
  description: The archive; null without O(dest).
  returned: success
  type: str
  sample: /srv/backup/shop-run.tar.xz
dest_digest:
  description: Digest of the archive, compressed; null without O(dest).
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
import stat
import tempfile
from contextlib import contextmanager, suppress
from io import RawIOBase
from typing import Any, BinaryIO, Iterator, NamedTuple, Optional

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


def check_dest(module: DriverModule, dest: str) -> None:
    """Refuse a destination that can't be written, before any work.

    :raises OptionError: it exists and is not a regular file, or its folder is missing.
    """
    try:
        mode = os.lstat(dest).st_mode
    except FileNotFoundError:
        pass
    else:
        refuse_special(dest, mode)
    folder = os.path.dirname(os.path.abspath(dest))
    if os.path.isdir(folder):
        return
    if not module.check_mode:
        remedy = "Create the folder first, for example with ansible.builtin.file"
        raise OptionError("the folder of dest does not exist", path=folder, remedy=remedy)
    module.missing_in_check_mode("the folder of dest, %s," % folder)


def refuse_special(dest: str, mode: int) -> None:
    """Refuse to read or replace anything but a regular file: a device node would become the archive.

    :param mode: ``st_mode`` of ``dest``.
    :raises OptionError: it is not a regular file.
    """
    if stat.S_ISREG(mode):
        return
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    remedy = "Give the path of a regular file, or of a file that does not exist yet"
    raise OptionError("dest is %s, not a regular file" % kind, path=dest, remedy=remedy)


def digest_at(path: str) -> str | None:
    """Digest of the regular file at ``path``; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as stream:
        refuse_special(path, os.fstat(descriptor).st_mode)
        return digest_of(stream)


class Written(NamedTuple):
    """A layer's diff: bytes and digest of the tar, and the digest of the archive that holds it."""

    size: Optional[int] = None
    diff_id: Optional[str] = None
    dest_digest: Optional[str] = None


def write_archive(stream: RawIOBase, raw: BinaryIO | None, compression: str) -> Written:
    """Compress the tar ``stream`` into ``raw``, or only measure it if that is None."""
    plain, packed = HashingWriter(), HashingWriter(raw)
    with compressed(packed, compression) as writer:
        pump(stream, plain, writer)
    return Written(plain.size, plain.digest, packed.digest)


@contextmanager
def beside(dest: str) -> Iterator[tuple[BinaryIO, str]]:
    """A new file next to ``dest``, open for writing, for its owner only; removed again unless it was moved away."""
    folder, name = os.path.split(os.path.abspath(dest))
    descriptor, path = tempfile.mkstemp(prefix=".%s." % name[:100], dir=folder)
    try:
        with open(descriptor, "wb") as file:
            yield file, path
    finally:
        if os.path.lexists(path):
            os.unlink(path)


def move_into_place(module: DriverModule, file: BinaryIO, path: str, dest: str) -> None:
    """Rename a written file to ``dest``, durably: its bytes before the name, then the name.

    Unlike ``atomic_move`` of Ansible it leaves a new file readable by its owner only.
    """
    file.flush()
    dress(module, file.fileno(), path, dest)
    os.fsync(file.fileno())
    os.rename(path, dest)
    folder = os.open(os.path.dirname(os.path.abspath(dest)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def dress(module: DriverModule, descriptor: int, path: str, dest: str) -> None:
    """Give the new file owner and mode of the one that it replaces, and its SELinux context, or the default one."""
    info = None
    with suppress(FileNotFoundError):
        info = os.lstat(dest)
        refuse_special(dest, info.st_mode)
    if module.selinux_enabled():
        context = module.selinux_default_context(dest) if info is None else module.selinux_context(dest)
        module.set_context_if_different(path, context, False)
    if info is not None:
        os.fchown(descriptor, info.st_uid, info.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(info.st_mode))


def write_dest(module: DriverModule, stream: RawIOBase, before: str | None) -> Written:
    """Write the archive and put it in place if it differs from the digest ``before``."""
    dest = module.params["dest"]
    with beside(dest) as (file, path):
        written = write_archive(stream, file, module.params["compression"])
        if written.dest_digest != before:
            move_into_place(module, file, path, dest)
    return written


def parent_of(layer: Any, parent: str | None) -> str:
    """The layer to compare with ("" for none): ``parent``, or if that is None the one below.

    :raises LayerDamaged: the one below cannot be determined.
    """
    if parent is not None:
        return parent
    if layer.parent is None:
        message = "its lower chain is broken, so its parent cannot be determined"
        raise LayerDamaged(message, layer=layer.id, remedy="Give a parent")
    return layer.parent


def compare(
    module: DriverModule, layer: Any, driver: Driver, before: str | None
) -> tuple[list[dict[str, str]], Written]:
    """List the changes and write the archive, or measure it if nothing is to be written.

    :param before: the digest that ``dest`` has.
    """
    params = module.params
    changes: list[dict[str, str]] = []
    parent = parent_of(layer, params["parent"])
    if params["list_changes"]:
        changes = [{"path": plain_text(path), "kind": KINDS[kind]} for path, kind in driver.changes(layer.id, parent)]
    with driver.diff(layer.id, parent, all_xattrs=params["all_xattrs"]) as stream:
        if params["dest"] and not module.check_mode:
            return changes, write_dest(module, stream, before)
        return changes, write_archive(stream, None, params["compression"])


def manage(module: DriverModule) -> dict[str, Any]:
    """Compare, write if asked to, and return the module's result."""
    params, dest = module.params, module.params["dest"]
    if dest:
        check_dest(module, dest)
    before = digest_at(dest) if dest else None
    driver = module.open_driver(read_only=True)
    layer = module.require_layer(driver)
    changes: list[dict[str, str]] = []
    written = Written()
    if layer is not None:
        try:
            changes, written = compare(module, layer, driver, before)
        except ReadOnlyDriver:  # raised before anything is written: the comparison needs temporary mounts
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


def difference(before: str | None, after: str | None, changes: list[dict[str, str]]) -> dict[str, Any]:
    """What diff mode shows: the archive's digests, and the changes in the new one."""
    result: dict[str, Any] = {"before": {"dest_digest": before}, "after": {"dest_digest": after}}
    if changes:
        result["after"]["changes"] = ["%s %s" % (change["kind"], change["path"]) for change in changes]
    return result


def main() -> None:
    DriverModule(
        {
            "id": {"type": "str", "required": True},
            "parent": {"type": "str"},
            "dest": {"type": "path"},
            "compression": {"type": "str", "choices": ["none", "gzip", "zstd", "xz"], "default": "none"},
            "all_xattrs": {"type": "bool", "default": False},
            "list_changes": {"type": "bool", "default": True},
        },
        driver=Driver,
        add_file_common_args=True,
    ).run(manage)


if __name__ == "__main__":
    main()
