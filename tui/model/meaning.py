# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Status and features in a sentence each, for the people who run the host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_MEANINGS = {
    "Backing Filesystem": {
        "": "the file system that holds the layers",
        "extfs": "ext2, ext3 or ext4: all features except size limits for single layers",
        "xfs": "XFS: can limit the size of single layers, if mounted with pquota",
        "btrfs": "btrfs: all features except size limits for single layers",
        "tmpfs": "memory: layers are lost at a reboot",
        "overlayfs": "an overlay itself, as inside a container: layers may fail to mount",
    },
    "Supports d_type": {
        "true": "directory entries have file types, which overlayfs needs",
        "false": "directory entries have no file types: overlayfs misbehaves here",
    },
    "Using metacopy": {
        "true": "a change of mode or owner does not copy data up; diffs need a mount",
        "false": "a file that changes is copied up completely, data included",
    },
    "Native Overlay Diff": {
        "true": "the changes of a layer are read from its own folder: fast",
        "false": "the changes of a layer are found by mounting and comparing: slow",
    },
    "userxattr": {
        "true": "overlay attributes are user.overlay.*, as in a user namespace",
        "false": "overlay attributes are trusted.overlay.*, which only root sees",
    },
    "Project Quota": {
        "true": "the size of single layers can be limited",
        "false": "the size of single layers can't be limited",
    },
    "Mount API (lowerdir+)": {
        "true": "long lower chains mount without the limit of one page",
        "false": "mount options must fit one page; long chains use relative names",
    },
    "User Namespace": {
        "true": "rootless: no project quota, no device nodes",
        "false": "the host's own root",
    },
    "Sync": {
        "full": "a call that has returned survives a power cut",
        "none": "the kernel decides when file data reaches the disk",
    },
    "Kernel": {"": "the running kernel"},
}


def meaning(label: str, value: str) -> str:
    """The meaning of a Status value; "" for a label that is not known."""
    if value == "unknown":
        return "only root can find out"
    known = _MEANINGS.get(label, {})
    return known.get(value, known.get("", ""))


def features_of(
    status: Iterable[tuple[str, str]], reasons: Mapping[str, str] | None = None
) -> tuple[tuple[str, str, str], ...]:
    """Label, value and meaning of each line of Status.

    :param reasons: the driver's own reasons by label, which are added to the meaning.
    """
    found = []
    for label, value in status:
        text, reason = meaning(label, value), (reasons or {}).get(label)
        found.append((label, value, f"{text} ({reason})" if reason and value != "unknown" else text))
    return tuple(found)
