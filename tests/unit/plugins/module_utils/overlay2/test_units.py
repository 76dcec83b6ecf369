# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Sizes and options as people write them; the tables are what go-units and moby's parsers answer."""

from __future__ import annotations

import pytest
from overlay2.errors import OptionError
from overlay2.units import human_size, key_value, ram_in_bytes

KIB, MIB, GIB, TIB, PIB = (1024**power for power in range(1, 6))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("-0", 0), ("32", 32), ("+5", 5), ("5.", 5), ("0x1p4", 16), ("0X1.8P1k", 3 * KIB), ("1_0", 10),
        ("1e3", 1000), ("1E+3", 1000), ("1.5", 1), ("0.9999", 0),
        ("32b", 32), ("32B", 32), ("32k", 32 * KIB), ("32K", 32 * KIB), ("32kb", 32 * KIB), ("32Kb", 32 * KIB),
        ("32kib", 32 * KIB), ("32KiB", 32 * KIB), ("32 kib", 32 * KIB), ("32 b", 32), ("32 ", 32),
        ("512m", 512 * MIB), ("32mb", 32 * MIB), ("32MiB", 32 * MIB), ("10G", 10 * GIB), ("32gb", 32 * GIB),
        ("3t", 3 * TIB), ("3TiB", 3 * TIB), ("1p", PIB), ("1PB", PIB), ("1.5k", 1536), (".5g", GIB // 2),
        ("32.5kB", 33280), ("0.3 K", 307), ("1e3k", 1000 * KIB), ("8191p", 8191 * PIB),
        ("9223372036854774784", 2**63 - 1024),
    ],
)  # fmt: skip
def test_sizes(text, size):
    assert ram_in_bytes(text) == size
    assert ram_in_bytes(text).__class__ is int


@pytest.mark.parametrize("text", ["", "GB", "b", "-1", "-1k", "-0.5", "inf", "nan", "Infinity", "k"])
def test_what_is_no_size(text):
    with pytest.raises(OptionError, match=r"^invalid size: '%s'\." % text):
        ram_in_bytes(text)


@pytest.mark.parametrize(
    "text", [" 5", ".", "..", "0x10", "1__0", "_1", "1_", "e5", "x5", "5 5", "- 5", "--5", "1e5.5", "1\n5", "१5"]
)
def test_what_has_no_number_before_its_unit(text):
    with pytest.raises(OptionError, match=r"^invalid (size|suffix): "):
        ram_in_bytes(text)


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("1e", "e"), ("5ki", "ki"), ("5e", "e"), ("5 bb", "bb"), ("5kibi", "kibi"), ("32mm", "mm"), ("32KX", "kx"),
        ("5kbb", "kbb"), ("5zb", "zb"), ("5k\n", "k\\n"), ("5%", "%"), ("5\tk", "\\tk"),
    ],
)  # fmt: skip
def test_what_is_no_unit(text, suffix):
    with pytest.raises(OptionError) as refused:
        ram_in_bytes(text)
    assert refused.value.message == "invalid suffix: '%s'" % suffix


@pytest.mark.parametrize("text", ["8192p", "9223372036854775808", "1e400", "1e308p", "0x1p63", "0x1p2000", "9" * 400])
def test_a_size_of_2_to_the_63_or_more_is_refused(text):
    with pytest.raises(OptionError, match="2\\^63"):
        ram_in_bytes(text)


def test_a_refusal_says_what_would_do():
    with pytest.raises(OptionError, match="such as 10G or 512M"):
        ram_in_bytes("ten")


@pytest.mark.parametrize(
    ("option", "pair"),
    [
        ("overlay2.size=10G", ("overlay2.size", "10G")),
        ("Overlay2.SIZE=10G", ("overlay2.size", "10G")),
        (" key\t= Value ", ("key", "Value")),
        ("a=b=c", ("a", "b=c")),
        ("=v", ("", "v")),
        ("k=", ("k", "")),
        ("=", ("", "")),
    ],
)
def test_key_and_value(option, pair):
    assert key_value(option) == pair


@pytest.mark.parametrize("option", ["", "size", "size:10G"])
def test_an_option_without_equals_sign(option):
    with pytest.raises(OptionError, match="unable to parse storage-opt key/value option: %s" % option):
        key_value(option)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 * MIB, "5.0 MiB"), (10 * GIB, "10.0 GiB"),
     (3 * TIB, "3.0 TiB"), (2 * PIB, "2.0 PiB"), (4096 * PIB, "4096.0 PiB"), (-2048, "-2.0 KiB")],
)  # fmt: skip
def test_sizes_for_people(count, text):
    assert human_size(count) == text
