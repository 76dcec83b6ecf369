# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What can be wrong with a home: the codes, and the record of one finding."""

from __future__ import annotations

from typing import NamedTuple, Optional

from ..errors import printable

ERROR, WARNING, NOTE = "error", "warning", "note"
#: Worst first. An error keeps a layer, or one above it, from being mounted as it was made; a warning does not.
SEVERITIES = (ERROR, WARNING, NOTE)

#: Code to (severity, meaning).
CODES = {
    # names in l/
    "link-dir-missing": (ERROR, "the folder l is missing"),
    "link-missing": (ERROR, "a layer's link file is missing"),
    "link-empty": (ERROR, "a layer's link file is empty, as after a power cut"),
    "link-garbled": (ERROR, "a layer's link file holds no link name"),
    "link-shared": (ERROR, "two layers go by the same link name"),
    "short-link-missing": (ERROR, "the symbolic link of a layer's name in l is missing"),
    "short-link-wrong": (ERROR, "the symbolic link of a layer's name in l leads elsewhere"),
    "short-link-dangling": (WARNING, "a symbolic link in l leads to no layer"),
    "short-link-duplicate": (WARNING, "a layer has a second symbolic link in l"),
    "short-link-stray": (WARNING, "something in l is no link to a layer"),
    # lower chains
    "lower-missing": (ERROR, "a layer with a work folder has no lower file"),
    "lower-empty": (ERROR, "a layer's lower file is empty, as after a power cut"),
    "lower-garbled": (ERROR, "a layer's lower file holds something else than names in l"),
    "lower-layer-missing": (ERROR, "a lower chain names a layer that is not there"),
    "lower-layer-elsewhere": (NOTE, "a lower chain names a layer of another store, which can't be checked"),
    "lower-loop": (ERROR, "a lower chain names its own layer, or one twice"),
    "lower-too-long": (ERROR, "a lower chain is longer than the driver's limit"),
    "lower-inconsistent": (ERROR, "a lower chain is not that of the parent with the parent before it"),
    # folders of a layer
    "layer-incomplete": (WARNING, "a folder in the home has parts of a layer, and neither diff nor link"),
    "layer-unfinished": (NOTE, "a layer's making or removal was cut off, and its engine removes the rest"),
    "diff-missing": (ERROR, "a layer's diff folder is missing"),
    "diff-not-folder": (ERROR, "a layer's diff is no folder"),
    "work-missing": (ERROR, "a layer with a lower chain has no work folder"),
    "work-not-folder": (ERROR, "a layer's work is no folder"),
    "work-refused": (ERROR, "the kernel refuses a layer's work folder"),
    "merged-leftover": (WARNING, "an empty merged folder is left of a mount that is gone"),
    "merged-not-empty": (WARNING, "something was written to a merged folder while nothing was mounted on it"),
    "committed-missing": (WARNING, "a layer that others stand on is not marked as committed, so it may be written to"),
    "temporary-leftover": (WARNING, "a temporary file is left in a layer's folder by a write that was cut off"),
    "record-garbled": (WARNING, "a layer's strata.json can't be understood"),
    # rights
    "home-mode": (WARNING, "everybody may write to the home"),
    "link-dir-mode": (WARNING, "others may write to the folder l"),
    "layer-mode": (WARNING, "others may write to a layer's folder or its work folder"),
    "layer-owner": (WARNING, "a layer's folder does not belong to the home's owner"),
    # leftovers and state
    "staging-leftover": (WARNING, "a layer that was being made or removed when its process ended"),
    "probe-leftover": (WARNING, "a folder is left of an engine's test of the file system"),
    "mount-stale": (WARNING, "something is mounted where no layer is"),
    "mount-not-overlay": (WARNING, "something that is no overlay is mounted on a merged folder"),
    "holder-stale": (WARNING, "holders are on record of a layer that is not mounted"),
    "holder-without-layer": (WARNING, "holders are on record of a layer that is not there"),
    "quota-project-mismatch": (WARNING, "parts of a layer count for different quota projects"),
    "quota-project-shared": (WARNING, "two layers count for one quota project"),
    # the engine's records, and content
    "record-without-layer": (ERROR, "the engine has a layer on record that is not there"),
    "engine-record-unreadable": (WARNING, "a record of the engine's can't be read"),
    "namespace-unseen": (NOTE, "a mount namespace can't be looked into"),
    "digest-mismatch": (ERROR, "a layer's content is no longer what its recorded digest says"),
    "digest-unverifiable": (NOTE, "a layer's recorded digest can't be recomputed"),
}


class Step(NamedTuple):
    """One step of a repair: what is at a path, and what will be."""

    path: str
    #: States as :func:`~.states.state_of` gives them; "" for nothing there.
    before: str
    after: str


class Finding(NamedTuple):
    """Something that is wrong with a home or a layer."""

    #: One of :data:`CODES`.
    code: str
    #: The layer's id; "" for the home's.
    layer: str
    #: The file or folder concerned.
    path: str
    #: What is there and what should be, a sentence without its full stop.
    evidence: str
    #: What to do, as an instruction.
    remedy: str
    #: How it can be mended, where the rest of the home proves what was there; None where it does not.
    step: Optional[Step] = None

    @property
    def severity(self):
        """``error``, ``warning`` or ``note``."""
        return CODES[self.code][0]

    @property
    def repairable(self):
        """Whether ``repair`` can mend it (bool)."""
        return self.step is not None

    def __str__(self):
        whose = "layer %s: " % printable(self.layer) if self.layer else ""
        return "%s%s (%s). %s" % (whose, printable(self.evidence), printable(self.path), printable(self.remedy))


def rank(finding):
    """Sorting key of a finding: worst first, then by layer."""
    return SEVERITIES.index(finding.severity), finding.layer, finding.code, finding.path
