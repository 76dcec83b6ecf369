# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Docker's overlay2 storage driver in pure Python: layers, lower chains, overlay mounts, diffs.

Standard library only, Linux only, Python 3.8 and later.
"""

from __future__ import annotations

import importlib

#: The public names, each with its module. Type checkers read ``__init__.pyi``.
_MODULES = {
    "Change": "changes",
    "ChangeKind": "changes",
    "Driver": "driver",
    "IdMap": "idmap",
    "IdRange": "idmap",
    "Layer": "home.layer",
    "Overlay2Error": "errors",
}
__all__ = tuple(_MODULES)


def __getattr__(name: str) -> object:
    """Imports a public name from its module when it is first used (PEP 562).

    Import statements would do, but Ansible follows them: it would send the whole driver with each module that imports
    anything below this package.
    """
    if name not in _MODULES:
        raise AttributeError("module %r has no attribute %r" % (__name__, name))
    value = globals()[name] = getattr(importlib.import_module("." + _MODULES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
