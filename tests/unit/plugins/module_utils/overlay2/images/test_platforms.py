# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The choice among platforms, by containerd's rules."""

from __future__ import annotations

import pytest
from overlay2.errors import OptionError
from overlay2.images.platforms import Platform, accepted, choose, host_platform, parse_platform


def names(platforms):
    return [str(platform) for platform in platforms]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("linux/amd64", "linux/amd64"), ("Linux/x86_64", "linux/amd64"), ("linux/amd64/v1", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"), ("linux/arm64/v8", "linux/arm64"), ("linux/arm64/9.0", "linux/arm64/v9"),
        ("arm64", "linux/arm64"), ("linux/arm", "linux/arm/v7"), ("armhf", "linux/arm/v7"), ("armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"), ("i386", "linux/386"), ("macos/arm64", "darwin/arm64"),
        ("linux/mips64le/hardfloat", "linux/mips64le/hardfloat"),
    ],
)  # fmt: skip
def test_normalised(text, name):
    assert str(parse_platform(text)) == name


def test_a_system_alone_has_the_architecture_of_the_host():
    assert parse_platform("linux") == host_platform()


@pytest.mark.parametrize("text", ["", "linux/", "a/b/c/d", "nonsense", "linux/amd64\n", "windows(10)/amd64"])
def test_what_is_not_a_platform(text):
    with pytest.raises(OptionError, match="platform"):
        parse_platform(text)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("linux/amd64", ["linux/amd64", "linux/386"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
        ("linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64", ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64/v8.1", ["linux/arm64/v8.1", "linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6",
                              "linux/arm/v5"]),
        ("linux/arm64/v9.1", ["linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.6", "linux/arm64/v8.5",
                              "linux/arm64/v8.4", "linux/arm64/v8.3", "linux/arm64/v8.2", "linux/arm64/v8.1",
                              "linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/s390x", ["linux/s390x"]),
    ],
)  # fmt: skip
def test_what_serves_a_platform(text, order):
    assert names(accepted(parse_platform(text))) == order


def test_the_best_is_chosen_and_of_equals_the_first():
    offered = [
        Platform.make(*text.split("/")) for text in ("linux/386", "linux/amd64/v2", "linux/amd64", "linux/amd64")
    ]
    assert choose(offered, parse_platform("linux/amd64")) == 2
    assert choose(offered, parse_platform("linux/amd64/v3")) == 1
    assert choose([None, *offered[:1]], parse_platform("linux/amd64")) == 1
    assert choose(offered, parse_platform("linux/s390x")) is None
    assert choose([None], parse_platform("linux/s390x")) is None


def test_features_must_be_among_those_asked_for():
    picky = Platform.make("linux", "amd64", features=["sse9"])
    assert choose([picky], parse_platform("linux/amd64")) is None
    assert choose([picky], parse_platform("linux/amd64")._replace(features=("sse9", "x"))) == 0
