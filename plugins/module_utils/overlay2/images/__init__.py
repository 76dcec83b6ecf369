# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Whole images in a home: from OCI image layouts and from archives of ``docker save``.

>>> from overlay2 import images
>>> from overlay2.home.opening import open_home
>>> home = open_home("/var/lib/overlay2")
>>> with images.open_source("/srv/shop.tar") as source:
...     done = images.provide(home, source, images.wanted("shop:4.2"), holder="web")
>>> done.image.id, done.layers[-1].id

:func:`plan` tells the same without changing anything, :func:`release` gives an image back, :func:`read_all` lists what
a home has, and :func:`sweep` removes what nobody has needed for a day.
"""

from __future__ import annotations

from .provision import Plan, PlannedLayer, plan, provide, refuse_space
from .records import ImageRecord, read_all
from .removal import Release, find, release, sweep
from .sources import Source, Wanted, open_source, wanted

__all__ = (
    "ImageRecord",
    "Plan",
    "PlannedLayer",
    "Release",
    "Source",
    "Wanted",
    "find",
    "open_source",
    "plan",
    "provide",
    "read_all",
    "refuse_space",
    "release",
    "sweep",
    "wanted",
)
