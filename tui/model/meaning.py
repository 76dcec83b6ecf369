# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What the driver's words mean for who runs the host: a sentence for each label of Status and each feature."""

from __future__ import annotations

_MEANINGS = {
    "Backing Filesystem": {
        "": "the file system that holds the layers",
        "extfs": "ext4 or its elders: everything but size limits for single layers",
        "xfs": "XFS: can limit the size of single layers, if mounted with pquota",
        "btrfs": "btrfs: layers work; size limits for single layers do not",
        "tmpfs": "memory: layers are gone after a reboot",
        "overlayfs": "an overlay in itself, as inside a container: layers may fail to mount",
    },
    "Supports d_type": {
        "true": "folders tell file types, which overlayfs needs",
        "false": "folders do not tell file types: overlayfs misbehaves here",
    },
    "Using metacopy": {
        "true": "a change of mode or owner copies no data up; diffs take a mount",
        "false": "a file that changes is copied up whole, data included",
    },
    "Native Overlay Diff": {
        "true": "what a layer changed is read straight from its folder: fast",
        "false": "what a layer changed is found by mounting and comparing: slow",
    },
    "userxattr": {
        "true": "overlay attributes are user.overlay.*, as in a user namespace",
        "false": "overlay attributes are trusted.overlay.*, which only root sees",
    },
    "Project Quota": {
        "true": "single layers can be limited in size",
        "false": "single layers can't be limited in size",
    },
    "Mount API (lowerdir+)": {
        "true": "long lower chains mount without the limit of one page",
        "false": "a mount's options must fit one page; long chains use relative names",
    },
    "User Namespace": {
        "true": "rootless: no project quota, no device nodes",
        "false": "the host's own root",
    },
    "Sync": {
        "full": "what is reported as done survives a power cut",
        "none": "file data reaches the disk when the kernel likes",
    },
    "Kernel": {"": "the running kernel"},
}


def meaning(label, value):
    """What ``value`` of a Status label means (str); "" for a label nobody explained."""
    if value == "unknown":
        return "only root can find out"
    known = _MEANINGS.get(label, {})
    return known.get(value, known.get("", ""))


def features_of(status, reasons=()):
    """Label, value and meaning of each line of Status, with the driver's own reasons put in where it gives any.

    :param status: list of (label, value).
    :param reasons: dict of label to the reason.
    """
    found = []
    for label, value in status:
        text, reason = meaning(label, value), dict(reasons).get(label)
        found.append((label, value, f"{text} ({reason})" if reason and value != "unknown" else text))
    return tuple(found)
