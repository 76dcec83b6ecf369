# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
from .changes import Change as Change
from .changes import ChangeKind as ChangeKind
from .driver import Driver as Driver
from .errors import Overlay2Error as Overlay2Error
from .home.layer import Layer as Layer
from .idmap import IdMap as IdMap
from .idmap import IdRange as IdRange
