# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Platforms of images, and which of them serves a host; containerd's rules, which docker and nerdctl follow."""

from __future__ import annotations

import os
import re
import struct
from typing import Any, Dict, NamedTuple, Sequence, Tuple

from ..errors import OptionError
from . import documents

#: Words that are systems, or architectures, if they stand alone.
_SYSTEMS = frozenset(("android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "solaris", "windows"))
_ARCHITECTURES = frozenset((
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
))  # fmt: skip
_SAME_SYSTEM = {"macos": "darwin"}
_SAME_ARCHITECTURE = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
_ARM = {"armhf": "v7", "armel": "v6"}
#: What ``uname -m`` says, where it differs from the names above.
_MACHINES = {"i486": "386", "i586": "386", "i686": "386", "armv5l": "arm/v5", "armv6l": "arm/v6", "armv7l": "arm/v7",
             "armv8l": "arm/v7", "loongarch64": "loong64"}  # fmt: skip
_PART = re.compile(r"[A-Za-z0-9_.-]+")
_VARIANT_9 = re.compile(r"v9(?:\.([0-9]))?")
_VARIANT_8 = re.compile(r"(?:v8\.([0-9]))?")


class Platform(NamedTuple):
    """A platform, normalised: "" is the variant that goes without saying, such as ``v8`` of arm64."""

    os: str
    architecture: str
    variant: str = ""
    #: Features of the operating system that the image needs.
    features: Tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(filter(None, self[:3])) or "unknown"

    @classmethod
    def make(cls, system: str, architecture: str, variant: str = "", features: Sequence[str] = ()) -> Platform:
        """Returns the normalised platform of these parts."""
        system = system.lower() or "linux"
        architecture = _SAME_ARCHITECTURE.get(architecture.lower(), architecture.lower())
        variant = variant.lower()
        if architecture in _ARM:
            architecture, variant = "arm", _ARM[architecture]
        if architecture == "arm":
            variant = "v" + variant if variant in ("5", "6", "7", "8") else variant or "v7"
        elif architecture == "arm64":
            if variant in ("8", "8.0", "v8", "v8.0"):
                variant = ""
            elif variant in ("9", "9.0", "v9.0"):
                variant = "v9"
        elif architecture == "386" or (architecture == "amd64" and variant == "v1"):
            variant = ""
        return cls(_SAME_SYSTEM.get(system, system), architecture, variant, tuple(features))

    @classmethod
    def of(cls, document: Dict[str, Any], what: str) -> Platform:
        """Returns the platform in a descriptor or a configuration.

        :raises ImageError: a part is not a text.
        """
        return cls.make(
            documents.text(document, "os", what),
            documents.text(document, "architecture", what),
            documents.text(document, "variant", what),
            documents.texts(document, "os.features", what),
        )

    def serves(self, wanted: Platform) -> bool:
        """True if an image of this platform is one for the wanted platform exactly."""
        return self[:3] == wanted[:3] and set(self.features) <= set(wanted.features)


def parse_platform(text: str) -> Platform:
    """Returns the platform that a user names: ``os``, ``arch``, ``os/arch`` or ``os/arch/variant``.

    :raises OptionError: it is not such a text, or a lone word that is neither a system nor an architecture.
    """
    parts = text.split("/")
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
        raise OptionError("invalid platform: '%s'" % text, remedy=_REMEDY)
    if len(parts) > 1:
        return Platform.make(*parts)
    alone = Platform.make("linux", text)
    if alone.architecture in _ARCHITECTURES:
        return alone
    system = _SAME_SYSTEM.get(text.lower(), text.lower())
    if system not in _SYSTEMS:
        raise OptionError("unknown platform: '%s'" % text, remedy=_REMEDY)
    return host_platform()._replace(os=system)


_REMEDY = "Write it as os/architecture or os/architecture/variant, such as linux/arm64 or linux/arm/v7"


def host_platform() -> Platform:
    """Returns the platform of this process: a 32-bit Python on a 64-bit kernel is a 32-bit platform."""
    machine = os.uname().machine
    if struct.calcsize("P") == 4:
        machine = {"x86_64": "i686", "aarch64": "armv7l"}.get(machine, machine)
    return Platform.make("linux", *_MACHINES.get(machine, machine).split("/"))


def accepted(wanted: Platform) -> list[Platform]:
    """Returns the platforms whose images serve the wanted one, the best first; containerd's platforms.Only."""
    found = [wanted]
    found += [wanted._replace(architecture=name, variant=variant) for name, variant in _lesser(wanted)]
    return found


def _lesser(wanted: Platform) -> list[tuple[str, str]]:
    """Returns architecture and variant of what the wanted platform runs beside its own."""
    architecture, variant = wanted.architecture, wanted.variant
    if architecture == "amd64":
        level = int(variant[1:]) if re.fullmatch(r"v[2-9]", variant) else 1
        return [("amd64", "v%d" % lower if lower > 1 else "") for lower in range(level - 1, 0, -1)] + [("386", "")]
    if architecture == "arm" and re.fullmatch(r"v[5-8]", variant):
        return [("arm", "v%d" % lower) for lower in range(int(variant[1:]) - 1, 4, -1)]
    if architecture != "arm64":
        return []
    lesser: list[str] = []
    minor = None
    nine, eight = _VARIANT_9.fullmatch(variant), _VARIANT_8.fullmatch(variant)
    if nine:
        level = int(nine.group(1) or 0)
        lesser += ["v9.%d" % lower if lower else "v9" for lower in range(level - 1, -1, -1)]
        minor = level + 6  # v9.m runs all of v8.(m+5)
    elif eight:
        minor = int(eight.group(1) or 0)
    if minor is None:
        return []
    lesser += ["v8.%d" % lower if lower else "" for lower in range(minor - 1, -1, -1)]
    return [("arm64", name) for name in lesser] + [("arm", "v%d" % lower) for lower in (8, 7, 6, 5)]


def choose(offered: Sequence[Platform | None], wanted: Platform) -> int | None:
    """Returns the index of the platform that serves the wanted one best, of equals the first; None if none does."""
    for platform in accepted(wanted):
        for index, offer in enumerate(offered):
            if offer is not None and offer.serves(platform):
                return index
    return None
