# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Folder to tar stream (:mod:`.pack`) and back (:mod:`.unpack`), never leaving the folder, at the file system's speed.

It imports neither: Ansible sends a module with all that its imports reach, and few modules need both.
"""
