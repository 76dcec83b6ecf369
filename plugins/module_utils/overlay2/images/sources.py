# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Images in local sources: an OCI image layout, an archive of ``docker save``, or both in one (Docker 25 and later)."""

from __future__ import annotations

import contextlib
import logging
from typing import Iterator, List, NamedTuple, Optional, Tuple

from ..errors import ImageError, ImageNotFound, OptionError, Overlay2Error
from . import archive, descriptors, layout, platforms
from .archive import Entry
from .descriptors import Descriptor, parse_digest
from .files import Files, open_files
from .layout import Leaf
from .manifests import Image
from .platforms import Platform, host_platform, parse_platform
from .references import Reference, parse_reference

log = logging.getLogger("overlay2")

#: containerd writes the whole name of an image here, and others its tag there.
_FULL_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
#: Names that an error lists.
_LISTED = 10


class Candidate(NamedTuple):
    """An image of a source, of one platform or of several, by its names."""

    #: Whole names, as :attr:`.references.Reference.label` has them.
    names: Tuple[str, ...]
    #: The name of its entry in a layout, often a tag; "" for none.
    ref_name: str
    #: Its entry in ``index.json``; None if that does not have it.
    descriptor: Optional[Descriptor]
    #: Its entry in ``manifest.json``; None if that does not have it.
    entry: Optional[Entry]

    @property
    def shown(self) -> str:
        """Its name for a message."""
        if self.names or self.ref_name:
            return ", ".join(self.names) or self.ref_name
        return "(without name) %s" % (self.descriptor.digest if self.descriptor else "")


class Wanted(NamedTuple):
    """Which image of a source is meant; "" and None for whichever there is."""

    reference: Optional[Reference] = None
    #: The reference as the user wrote it.
    text: str = ""
    platform: Optional[Platform] = None
    #: Of its manifest, its index or its configuration.
    digest: str = ""


def wanted(reference: str = "", platform: str = "", digest: str = "") -> Wanted:
    """Returns which image of a source is meant, from the texts that users write; "" for whichever there is.

    :raises OptionError: one of them is malformed.
    """
    if digest:
        try:
            parse_digest(digest, "the option digest")
        except ImageError as error:
            raise OptionError(error.message, remedy="Write it as sha256: and 64 hexadecimal digits") from error
    return Wanted(
        parse_reference(reference) if reference else None,
        reference,
        parse_platform(platform) if platform else None,
        digest,
    )


class Source:
    """An opened source of images."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.path = files.path
        self._is_layout = layout.is_layout(files)
        self._is_archive = archive.is_archive(files)
        if not self._is_layout and not self._is_archive:
            raise ImageError(
                "it is neither an OCI image layout nor an archive of 'docker save'",
                path=self.path,
                remedy="Give an image; overlay2_layer takes the tar of a single layer",
            )

    def candidates(self) -> List[Candidate]:
        """Returns the images of the source.

        :raises ImageError: its documents are malformed.
        """
        entries = archive.entries(self.files) if self._is_archive else []
        if not self._is_layout:
            return [Candidate(_labels(entry.tags), "", None, entry) for entry in entries]
        by_config = {str(archive.config_digest(self.files, entry)): entry for entry in entries}
        found = []
        for descriptor in layout.entries(self.files):
            entry = by_config.get(self._config_digest(descriptor)) if by_config else None
            ref_name = descriptor.annotations.get(_REF_NAME, "")
            names = [descriptor.annotations.get(_FULL_NAME, ""), ref_name if set(ref_name) & set("/:") else ""]
            found.append(Candidate(_labels([*names, *(entry.tags if entry else ())]), ref_name, descriptor, entry))
        listed = [candidate.entry for candidate in found]
        found += [Candidate(_labels(entry.tags), "", None, entry) for entry in entries if entry not in listed]
        return found

    def _config_digest(self, descriptor: Descriptor) -> str:
        """Returns the digest of the configuration of an entry that is a manifest; "" for an index."""
        if descriptor.media_type in descriptors.INDEXES:
            return ""
        try:
            return str(layout.manifest_of(self.files, Leaf(descriptor, None))[1].config.digest)
        except Overlay2Error:
            return ""  # which is reported if this is the image that is asked for

    def choose(self, wanted: Wanted) -> tuple[Image, Tuple[str, ...]]:
        """Returns the image that is asked for, and its names.

        :raises ImageNotFound: it is not there, or not for the platform; the message lists what is.
        :raises ImageError: it is not clear which is meant, or it is malformed.
        """
        candidates = self.candidates()
        chosen = _matching(candidates, wanted)
        if wanted.reference is None and wanted.digest:
            return self._by_digest(candidates, wanted)
        if not chosen:
            raise ImageNotFound(
                "it does not have the image %s; it has %s" % (wanted.text or "that is asked for", _listed(candidates)),
                path=self.path,
                remedy="Choose one of them, or leave reference out if there is one only",
            )
        if wanted.reference is None and _are_several(chosen):
            raise ImageError(
                "it has several images: %s" % _listed(chosen),
                path=self.path,
                remedy="Choose one by reference, or by digest",
            )
        image = self._image(chosen, wanted)
        digest = wanted.digest or (wanted.reference.digest if wanted.reference else "")
        if digest and digest not in image.digests:
            found = ", ".join(sorted(filter(None, image.digests)))
            raise ImageNotFound(
                "%s does not have the digest %s; its digests are %s" % (chosen[-1].shown, digest, found),
                path=self.path,
                remedy="Fetch the image with that digest, or correct the digest",
            )
        return image, chosen[-1].names

    def _by_digest(self, candidates: List[Candidate], wanted: Wanted) -> tuple[Image, Tuple[str, ...]]:
        failures: List[Overlay2Error] = []
        for candidate in candidates:
            try:
                image = self._image([candidate], wanted)
            except Overlay2Error as error:
                failures.append(error)
                continue
            if wanted.digest in image.digests:
                return image, candidate.names
        if len(candidates) == 1 and failures:
            raise failures[0]
        raise ImageNotFound(
            "it does not have an image with the digest %s; it has %s" % (wanted.digest, _listed(candidates)),
            path=self.path,
            remedy="Correct the digest, which may be that of a manifest, an index or a configuration",
        )

    def _image(self, chosen: List[Candidate], wanted: Wanted) -> Image:
        """Returns the image that candidates of one name have for the platform."""
        in_layout = [candidate for candidate in chosen if candidate.descriptor is not None]
        if not in_layout:
            return self._of_archive(chosen[-1], wanted)
        leaf = self._leaf([candidate.descriptor for candidate in in_layout if candidate.descriptor], wanted)
        entry = next((c.entry for c in in_layout if c.descriptor == leaf.descriptor and c.entry), None)
        try:
            image = layout.image_of(self.files, leaf)
            if layout.fits(self.files, image):
                problem = None
            else:
                problem = ImageError("the order of its layers is wrong", path=self.path, remedy=_ORDER)
        except ImageError as error:
            problem = error
        if problem is None:
            return self._checked(image, wanted, leaf.descriptor.platform)
        if entry is None:
            raise problem
        image = archive.image_of(self.files, entry)
        if not layout.fits(self.files, image):
            raise problem
        log.warning(
            "%s: its manifest is wrong (%s), as some versions of Docker 25 write it; manifest.json is taken instead",
            self.path, problem.message,
        )  # fmt: skip
        return self._checked(image, wanted, None)

    def _of_archive(self, candidate: Candidate, wanted: Wanted) -> Image:
        if candidate.entry is None:
            raise ImageError("it has no images", path=self.path)
        return self._checked(archive.image_of(self.files, candidate.entry), wanted, None)

    def _checked(self, image: Image, wanted: Wanted, told: Optional[Platform]) -> Image:
        """Returns the image if it is for the platform. One that is not is taken, with a warning, if none is named.

        :param told: the platform in the index, which has decided already.
        """
        asked = wanted.platform or host_platform()
        if told is None and platforms.choose([image.config.platform], asked) is None and not _is_pinned(wanted):
            if wanted.platform is not None:
                raise self._no_platform([image.config.platform], wanted)
            log.warning("%s: the image is for %s, and this host is %s", self.path, image.config.platform, asked)
        return image

    def _leaf(self, found: List[Descriptor], wanted: Wanted) -> Leaf:
        """Returns the manifest for the platform, among those that some entries of ``index.json`` lead to."""
        leaves = [leaf for descriptor in found for leaf in layout.leaves(self.files, descriptor)]
        digest = wanted.digest or (wanted.reference.digest if wanted.reference else "")
        pinned = [leaf for leaf in leaves if digest and str(leaf.descriptor.digest) == digest]
        if pinned:
            return pinned[-1]
        if not leaves:
            raise ImageNotFound("it has no image, or artifacts only", path=self.path, remedy="Choose another source")
        direct = len({leaf.descriptor.digest for leaf in leaves}) == 1
        if direct and leaves[0].index_digest is None:
            # A single manifest without an index. Its configuration tells the platform.
            leaf = leaves[-1]
            return leaf._replace(descriptor=leaf.descriptor._replace(platform=None))
        asked = wanted.platform or host_platform()
        offered = [leaf.descriptor.platform for leaf in leaves]
        if all(leaf.index_digest is None for leaf in leaves):
            leaves, offered = leaves[::-1], offered[::-1]  # one name given twice: the last entry counts
        index = platforms.choose(offered, asked)
        if index is not None:
            return leaves[index]
        configs = [
            layout.config_of(self.files, layout.manifest_of(self.files, leaf)[1]).platform
            if leaf.descriptor.platform is None
            else None
            for leaf in leaves
        ]
        index = platforms.choose(configs, asked)
        if index is None:
            raise self._no_platform([a or b for a, b in zip(offered, configs)], wanted)
        return leaves[index]

    def _no_platform(self, offered: List[Optional[Platform]], wanted: Wanted) -> ImageNotFound:
        asked = wanted.platform or host_platform()
        return ImageNotFound(
            "it has no image for %s, but for %s" % (asked, ", ".join(sorted({str(offer) for offer in offered}))),
            path=self.path,
            remedy="Name one of these as platform",
        )


_ORDER = "Save the image again with a newer Docker"


def _is_pinned(wanted: Wanted) -> bool:
    return bool(wanted.digest or (wanted.reference and wanted.reference.digest))


def _labels(names: Iterator[str] | List[str] | Tuple[str, ...]) -> Tuple[str, ...]:
    """Returns whole names, each once; texts that are no references are left out."""
    found = []
    for name in filter(None, names):
        with contextlib.suppress(OptionError):
            found.append(parse_reference(name).label)
    return tuple(dict.fromkeys(found))


def _matching(candidates: List[Candidate], wanted: Wanted) -> List[Candidate]:
    """Returns the candidates that a reference means: by whole name, by name of the entry, by tag, by digest."""
    reference = wanted.reference
    if reference is None:
        return candidates
    ways = (
        lambda one: reference.label in one.names,
        lambda one: wanted.text == one.ref_name,
        lambda one: not one.names and reference.tag == one.ref_name,
        lambda one: one.descriptor is not None and str(one.descriptor.digest) == reference.digest,
    )
    for matches in ways:
        found = [candidate for candidate in candidates if matches(candidate)]
        if found:
            return found
    return candidates if len(candidates) == 1 and not candidates[0].names and not candidates[0].ref_name else []


def _are_several(candidates: List[Candidate]) -> bool:
    """True if these are not one image for several platforms."""
    names = {candidate.names or candidate.ref_name for candidate in candidates}
    nameless = names <= {(), ""} and len(candidates) > 1
    platforms_of = {candidate.descriptor.platform for candidate in candidates if candidate.descriptor is not None}
    return len(names) > 1 or (nameless and (None in platforms_of or len(platforms_of) < len(candidates)))


def _listed(candidates: List[Candidate]) -> str:
    names = [candidate.shown for candidate in candidates]
    more = " and %d more" % (len(names) - _LISTED) if len(names) > _LISTED else ""
    return "; ".join(descriptors.shown(name) for name in names[:_LISTED]) + more or "none"


@contextlib.contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Opens a layout or an archive. Errors about it, from within the block too, name it.

    :raises ImageError: it is neither, or cannot be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            files = open_files(path)
            stack.callback(files.close)
            yield Source(files)
        except Overlay2Error as error:
            if error.path is None and error.layer is None:
                error.path = path
            raise
