# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Archives of images, which are easily mistaken for layers: their content is not what a layer should show."""

from __future__ import annotations

import json
import os

from ..errors import ArchiveError

#: Files at the top of such archives: image-spec's image-layout.md, and what ``docker save`` writes.
LAYOUT = b"oci-layout"
MANIFEST = b"manifest.json"
_LONGEST = 1 << 22


def refuse_image(dir_fd: int, name: bytes) -> None:
    """Refuse an archive by one of these files, which was just unpacked. Its content decides, not its name.

    :raises ArchiveError: it is an OCI image layout, or was made by ``docker save``.
    """
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    with open(file, "rb") as source:
        content = source.read(_LONGEST)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return
    if name == LAYOUT and isinstance(data, dict) and "imageLayoutVersion" in data:
        kind = "an OCI image layout"
    elif name == MANIFEST and isinstance(data, list) and data and all(map(_is_image, data)):
        kind = "a 'docker save' archive"
    else:
        return
    raise ArchiveError(
        "it is %s with images in it, not a layer" % kind,
        remedy="Use overlay2_image for it. If it is a layer that contains such files, give its digest",
    )


def _is_image(entry: object) -> bool:
    return isinstance(entry, dict) and {"Config", "Layers"} <= entry.keys()
