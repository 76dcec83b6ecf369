# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Half the time to import the driver on a target: import this before it.

Ansible sends a module and what it imports as a zip of sources. Python's zipimport compiles each source twice: once to
tell the file's name (``get_filename()``, for the module's spec), and once to run it. Seen in CPython 3.8 to 3.13.

Private to this collection.
"""

from __future__ import annotations

import sys
import zipimport


class OnceCompiled(zipimport.zipimporter):
    """A zipimporter that tells a file's name without compiling the file."""

    def get_filename(self, fullname):
        """Path of a module's source (str).

        :raises ZipImportError: there is no such module.
        """
        tail = "/__init__.py" if self.is_package(fullname) else ".py"
        return self.archive + "/" + self.prefix + fullname.rpartition(".")[2] + tail


def install():
    """Use it for the packages of this collection that are imported from now on."""
    sys.path_hooks.insert(0, OnceCompiled)


if isinstance(__loader__, zipimport.zipimporter):  # only where the module runs out of a zip
    install()
