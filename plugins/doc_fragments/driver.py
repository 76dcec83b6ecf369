# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module that opens a home takes; the same in Python is C(DRIVER_ARGUMENTS) in module_utils/_module.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  home:
    description:
      - The home, the driver's root folder on the target, which holds the layers and their mounts.
      - It is made where it is missing and the task has something to put into it.
      - A home that dockerd or containers/storage is running on is theirs to write to; only
        M(strata.overlay2.overlay2_info) and M(strata.overlay2.overlay2_diff) are of use there.
        M(strata.overlay2.overlay2_prune) and M(strata.overlay2.overlay2_repair) refuse to change it until that has
        stopped.
    type: path
    default: /var/lib/overlay2
  options:
    description:
      - Driver options, each as V(key=value).
      - V(overlay2.size=10G) gives each read-write layer that is created without a size of its own this quota.
      - V(overlay2.sync=none) leaves it to the kernel when a layer's data reaches the disk. With V(overlay2.sync=full),
        the driver's default, what a task reported as done survives a power cut.
    type: list
    elements: str
    default: []
requirements:
  - Linux with overlayfs, on a file system that reports file types in its directory entries
    (ext4; XFS with C(ftype=1); btrfs; tmpfs)
  - root, or a user namespace with a kernel of 5.11 or later
  - Python 3.8 or later; nothing else has to be installed on the target
notes:
  - Without real root, run the play inside a user namespace, for example with C(unshare --user --map-root-user --mount).
    The mounts live as long as that namespace does.
  - Mount references and locks are kept below C(/run/overlay2), or where the environment variable C(OVERLAY2_RUN_ROOT)
    says. All tasks and programs that share a home must agree on it.
"""
