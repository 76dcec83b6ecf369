# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The codes of findings, and the record of one finding."""

from __future__ import annotations

from typing import NamedTuple, Optional

from ..errors import printable
from .path_state import State

ERROR, WARNING, NOTE = "error", "warning", "note"
#: Worst first. An error keeps a layer, or one above it, from being mounted as it was made; a warning does not.
SEVERITIES = (ERROR, WARNING, NOTE)

#: Code to (severity, meaning).
CODES = {
    # names in l/
    "link-dir-missing": (ERROR, "the folder l is missing"),
    "link-missing": (ERROR, "a layer's link file is missing"),
    "link-empty": (ERROR, "a layer's link file is empty, as after a power cut"),
    "link-garbled": (ERROR, "a layer's link file does not hold a link name"),
    "link-shared": (ERROR, "two layers have the same link name"),
    "short-link-missing": (ERROR, "the symbolic link of a layer's name in l is missing"),
    "short-link-wrong": (ERROR, "the symbolic link of a layer's name in l leads elsewhere"),
    "short-link-dangling": (WARNING, "a symbolic link in l does not lead to a layer"),
    "short-link-duplicate": (WARNING, "a layer has a second symbolic link in l"),
    "short-link-stray": (WARNING, "something in l is not a link to a layer"),
    # lower chains
    "lower-missing": (ERROR, "a layer with a work folder has no lower file"),
    "lower-empty": (ERROR, "a layer's lower file is empty, as after a power cut"),
    "lower-garbled": (ERROR, "a layer's lower file holds something other than names in l"),
    "lower-layer-missing": (ERROR, "a lower chain names a layer that does not exist"),
    "lower-layer-elsewhere": (NOTE, "a lower chain names a layer of another store, which can't be checked"),
    "lower-loop": (ERROR, "a lower chain names its own layer, or one twice"),
    "lower-too-long": (ERROR, "a lower chain is longer than the driver's limit"),
    "lower-inconsistent": (ERROR, "a lower chain is not that of the parent with the parent before it"),
    # folders of a layer
    "layer-incomplete": (WARNING, "a folder in the home is empty, or has parts of a layer without diff and link"),
    "layer-unfinished": (NOTE, "a layer's making or removal was cut off, and its engine removes the rest"),
    "diff-missing": (ERROR, "a layer's diff folder is missing"),
    "diff-not-folder": (ERROR, "a layer's diff is not a folder"),
    "work-missing": (ERROR, "a layer with a lower chain has no work folder"),
    "work-not-folder": (ERROR, "a layer's work is not a folder"),
    "work-refused": (ERROR, "the kernel refuses a layer's work folder"),
    "merged-leftover": (WARNING, "an empty merged folder is left over from a mount"),
    "merged-not-empty": (WARNING, "something was written to a merged folder while nothing was mounted on it"),
    "committed-missing": (WARNING, "a layer that others stand on is not marked as committed, so it may be written to"),
    "temporary-leftover": (WARNING, "a write that was cut off left a temporary file in a layer's folder"),
    "record-garbled": (WARNING, "a layer's strata.json can't be understood"),
    # rights
    "home-mode": (WARNING, "everybody may write to the home"),
    "link-dir-mode": (WARNING, "others may write to the folder l"),
    "layer-mode": (WARNING, "others may write to a layer's folder or its work folder"),
    "layer-owner": (WARNING, "a layer's folder does not belong to the home's owner"),
    # leftovers and state
    "staging-leftover": (WARNING, "the process that made or removed a layer ended before it was done"),
    "probe-leftover": (WARNING, "an engine's test of the file system left a folder"),
    "mount-stale": (WARNING, "something is mounted where there is no layer"),
    "mount-not-overlay": (WARNING, "something other than an overlay is mounted on a merged folder"),
    "holder-stale": (WARNING, "holders are on record of a layer that is not mounted"),
    "holder-without-layer": (WARNING, "holders are on record of a layer that does not exist"),
    "quota-project-mismatch": (WARNING, "parts of a layer count for different quota projects"),
    "quota-project-shared": (WARNING, "two layers count for one quota project"),
    # the engine's records, and content
    "record-without-layer": (ERROR, "the engine has a layer on record that does not exist"),
    "engine-record-unreadable": (WARNING, "a record of the engine can't be read"),
    "namespace-unseen": (NOTE, "a mount namespace can't be looked into"),
    "digest-mismatch": (ERROR, "a layer's content does not match its recorded digest"),
    "digest-unverifiable": (NOTE, "a layer's recorded digest can't be recomputed"),
}


class Step(NamedTuple):
    """One step of a repair: the state of a path before and after."""

    path: str
    #: As :func:`~.path_state.state_of` returns it.
    before: State
    after: State


class Finding(NamedTuple):
    """Something that is wrong with a home or a layer."""

    #: One of :data:`CODES`.
    code: str
    #: The layer's id; "" for the home's.
    layer: str
    #: The file or folder concerned.
    path: str
    #: The facts, a sentence without its full stop.
    evidence: str
    #: An instruction.
    remedy: str
    #: How it can be repaired, if the rest of the home proves what was there.
    step: Optional[Step] = None

    @property
    def severity(self) -> str:
        """``error``, ``warning`` or ``note``."""
        return CODES[self.code][0]

    @property
    def repairable(self) -> bool:
        """True if ``overlay2.repair`` can repair it."""
        return self.step is not None

    def __str__(self) -> str:
        whose = "layer %s: " % printable(self.layer) if self.layer else ""
        return "%s%s (%s). %s" % (whose, printable(self.evidence), printable(self.path), printable(self.remedy))


def rank(finding: Finding) -> tuple[int, str, str, str]:
    """Returns the sorting key of a finding: worst first, then by layer."""
    return SEVERITIES.index(finding.severity), finding.layer, finding.code, finding.path
