# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of every module that opens a home. In Python they are C(DRIVER_ARGUMENTS) in module_utils/_module.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  home:
    description:
      - The root folder of the driver on the target, called the I(home). It contains the layers and their mounts.
      - A missing home is created when a layer is created in it.
      - While dockerd or containers/storage use a home, only use M(strata.overlay2.overlay2_info) and
        M(strata.overlay2.overlay2_diff) on it. M(strata.overlay2.overlay2_prune) and M(strata.overlay2.overlay2_repair)
        refuse to change the home until the engine is stopped.
    type: path
    default: /var/lib/overlay2
  options:
    description:
      - Driver options, each as V(key=value).
      - V(overlay2.size=10G) sets the quota of read-write layers that are created without a size.
      - With V(overlay2.sync=full), the default of the driver, the changes of a successful task survive a power cut.
        With V(overlay2.sync=none), the kernel decides when the data of a layer reaches the disk.
      - With V(overlay2.helper=off), archives are unpacked without a second process.
      - With V(overlay2.ignore_chown_errors=true), files of an archive whose owner does not exist in the user namespace
        keep the owner of the driver. A warning says how many they are.
    type: list
    elements: str
    default: []
requirements:
  - Linux with overlayfs, on a file system that reports file types in its directory entries
    (ext4; XFS with C(ftype=1); btrfs; tmpfs)
  - root, or a user namespace with a kernel of 5.11 or later
  - Python 3.8 or later, without additional packages
notes:
  - Without real root, run the play inside a user namespace, for example with C(unshare --user --map-root-user --mount).
    The mounts live as long as that namespace does.
  - Mount references and locks are kept below C(/run/overlay2), or below the folder in the environment variable
    C(OVERLAY2_RUN_ROOT). All tasks and programs that share a home must use the same folder.
"""
