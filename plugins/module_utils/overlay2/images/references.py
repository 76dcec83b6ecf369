# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Names of images: ``[host[:port]/]path[:tag][@digest]``, by the rules of Docker."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import ImageError, OptionError
from .descriptors import parse_digest, shown

DEFAULT_DOMAIN = "docker.io"
_OFFICIAL = "library"
_MAX_NAME = 255

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(r"(?:%s(?:\.%s)*|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?" % (_LABEL, _LABEL))
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ID = re.compile(r"[0-9a-f]{64}")


class Reference(NamedTuple):
    """The name of an image with everything in it that users may leave out."""

    domain: str
    path: str
    #: "" only if there is a digest.
    tag: str
    #: "" for none. It decides which image is meant; a tag beside it is a label.
    digest: str

    @property
    def label(self) -> str:
        """The name that an image is kept under: with its tag, or with its digest if there is no tag."""
        separator, last = (":", self.tag) if self.tag else ("@", self.digest)
        return "%s/%s%s%s" % (self.domain, self.path, separator, last)


def parse_reference(text: str) -> Reference:
    """Returns the reference that a user, or an archive, writes.

    :raises OptionError: it is not a reference.
    """
    if "://" in text:
        raise _invalid(text, "a reference has no scheme", "Leave out what stands before the name of the host")
    if _ID.fullmatch(text):
        raise _invalid(text, "it is an image ID, not a name", "Give it as digest, with sha256: in front")
    name, at, digest = text.partition("@")
    if at:
        try:
            parse_digest(digest, "the reference")
        except ImageError as error:
            raise _invalid(text, "its digest is malformed", _REMEDY) from error
    name, tag = _split_tag(name)
    if len(name) > _MAX_NAME:
        raise _invalid(text, "its name is longer than %d characters" % _MAX_NAME, "Shorten it")
    domain, slash, path = name.partition("/")
    if not slash or not _is_domain(domain):
        domain, path = DEFAULT_DOMAIN, name
    if domain == "index." + DEFAULT_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = "%s/%s" % (_OFFICIAL, path)
    if not _DOMAIN.fullmatch(domain) or not all(_COMPONENT.fullmatch(part) for part in path.split("/")):
        raise _invalid(text, "its name is malformed", _REMEDY)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _invalid(text, "its tag is malformed", _REMEDY)
    return Reference(domain, path, tag or ("" if at else "latest"), digest)


def _split_tag(name: str) -> tuple[str, str | None]:
    """Splits off the tag. A colon before the last slash belongs to a port."""
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, None)


def _is_domain(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost" or text != text.lower()


_REMEDY = "Write it as name:tag or host/name:tag, in lower case, such as registry.example/team/shop:4.2"


def _invalid(text: str, reason: str, remedy: str) -> OptionError:
    return OptionError("invalid reference '%s': %s" % (shown(text), reason), remedy=remedy)
