# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""A home: the directory that holds a driver's layers, on disk and at run time."""
