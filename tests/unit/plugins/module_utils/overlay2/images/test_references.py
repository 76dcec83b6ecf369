# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Names of images, as Docker reads them."""

from __future__ import annotations

import pytest
from overlay2.errors import OptionError
from overlay2.images.references import parse_reference

D = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("shop", "docker.io/library/shop:latest"),
        ("shop:4.2", "docker.io/library/shop:4.2"),
        ("team/shop", "docker.io/team/shop:latest"),
        ("docker.io/shop", "docker.io/library/shop:latest"),
        ("index." + "docker.io/team/shop", "docker.io/team/shop:latest"),
        ("localhost/shop", "localhost/shop:latest"),
        ("localhost:5000/shop", "localhost:5000/shop:latest"),
        ("Host/shop", "Host/shop:latest"),
        ("host.example:80/a/b/c:t", "host.example:80/a/b/c:t"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ("a__b/c-d--e.f", "docker.io/a__b/c-d--e.f:latest"),
        ("shop@" + D, "docker.io/library/shop@" + D),
        ("shop:4.2@" + D, "docker.io/library/shop:4.2"),
    ],
)
def test_names(text, label):
    reference = parse_reference(text)
    assert reference.label == label
    assert reference.digest == (D if "@" in text else "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://host.example/shop", "scheme"),
        ("0" * 64, "image ID"),
        ("Shop", "malformed"),
        ("shop:", "tag"),
        ("shop:-x", "tag"),
        ("shop:" + "x" * 129, "tag"),
        ("shop@sha256:0", "digest"),
        ("shop@", "digest"),
        ("a//b", "malformed"),
        ("/shop", "malformed"),
        ("../shop", "malformed"),
        ("shop ", "malformed"),
        ("sh\nop", "malformed"),
        ("a___b", "malformed"),
        ("x" * 256, "longer"),
        ("-host.example/x", "malformed"),
        ("", "malformed"),
    ],
)
def test_what_is_not_a_name(text, words):
    with pytest.raises(OptionError, match=words) as caught:
        parse_reference(text)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
