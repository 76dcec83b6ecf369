# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Driver options and storage options, as texts."""

from __future__ import annotations

import pytest
from overlay2.errors import OptionError
from overlay2.home.options import DriverOptions, parse_options, parse_storage_opt

GIB = 1024**3


@pytest.mark.parametrize(
    ("options", "parsed"),
    [
        ([], (0, "full")),
        ((), (0, "full")),
        (["overlay2.size=10G"], (10 * GIB, "full")),
        (["OVERLAY2.Size = 1.5k "], (1536, "full")),
        (["overlay2.size=0"], (0, "full")),
        ([" overlay2.size = 10G\n"], (10 * GIB, "full")),
        (["overlay2.size=1k", "overlay2.size=2k"], (2048, "full")),
        (["overlay2.sync=none", "overlay2.size=1"], (1, "none")),
        (["overlay2.sync=none", "overlay2.sync=full"], (0, "full")),
    ],
)
def test_driver_options(options, parsed):
    assert parse_options(options) == DriverOptions(*parsed)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("overlay2.size", "unable to parse storage-opt key/value option: overlay2.size"),
        ("overlay2.size=", "overlay2.size: invalid size: ''"),
        ("overlay2.size=-1", "overlay2.size: invalid size: '-1'"),
        ("overlay2.size=5ki", "overlay2.size: invalid suffix: 'ki'"),
        ("Overlay2.Foo=1", "overlay2: unknown option overlay2.foo"),
        ("size=1", "overlay2: unknown option size"),
        ("=1", "overlay2: unknown option "),
        ("overlay.size=1", "overlay2: unknown option overlay.size"),
        ("overlay2.sync=maybe", "overlay2.sync is 'maybe'"),
        ("overlay2.helper=yes", "overlay2.helper is 'yes'"),
        ("overlay2.sync=FULL", "overlay2.sync is 'FULL'"),
    ],
)
def test_driver_options_that_are_none(option, text):
    with pytest.raises(OptionError) as refused:
        parse_options(["overlay2.size=1", option])
    assert refused.value.message == text
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (None, None), ({}, None), ({"size": "10G"}, 10 * GIB), ({"SIZE": "1k"}, 1024), ({"size": "0"}, 0),
        ({"size": 4096}, 4096),
    ],
)  # fmt: skip
def test_storage_options(options, size):
    assert parse_storage_opt(options) == size


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"Colour": "red"}, "Unknown option colour"),
        ({"size": "1", "inodes": "5"}, "Unknown option inodes"),
        ({"size": ""}, "invalid size: ''"),
        ({"size": None}, "invalid size: 'None'"),
        ({"size": "x"}, "invalid size: 'x'"),
    ],
)
def test_storage_options_that_are_none(options, text):
    with pytest.raises(OptionError) as refused:
        parse_storage_opt(options)
    assert refused.value.message == text
