# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""JSON documents, digests and descriptors: what is refused, and what errors do not show."""

from __future__ import annotations

import hashlib
import json

import pytest
from overlay2.errors import ImageError, NotSupported
from overlay2.images import documents
from overlay2.images.descriptors import Digest, parse_descriptor, parse_digest

GOOD = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"root:x:0:0:secret", "not a JSON document"),
        (b"\xff\xfe", "not a JSON document"),
        (b'{"a": 1, "a": 2}', "a key twice"),
        (b'{"a": NaN}', "not a JSON document"),
        (b"[" * 65 + b"]" * 65, "nested"),
        (b"[" * 100_000, "not a JSON document"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested"),
    ],
)
def test_what_is_refused(content, words):
    with pytest.raises(ImageError, match=words) as caught:
        documents.parse(content, "index.json")
    assert "secret" not in str(caught.value)
    assert "index.json" in str(caught.value)


def test_what_is_deep_but_not_too_deep():
    assert documents.parse(b"[" * 64 + b"]" * 64, "it")


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (documents.text, 1),
        (documents.number, -1),
        (documents.number, True),
        (documents.number, 1 << 63),
        (documents.number, None),
        (documents.items, {}),
        (documents.texts, ["a", 1]),
        (documents.member, []),
        (documents.text_map, {"a": 1}),
    ],
)
def test_members_of_another_type(read, value):
    with pytest.raises(ImageError, match="'key' is not"):
        read({"key": value}, "key", "it")


@pytest.mark.parametrize("read", [documents.text, documents.items, documents.texts, documents.member])
def test_null_counts_as_missing(read):
    assert read({"key": None}, "key", "it") == read({}, "key", "it")


@pytest.mark.parametrize("text", [GOOD, "sha512:" + "a" * 128, "blake3:" + "b" * 64, "a+b.c_d-e:AZ-=_9"])
def test_digests(text):
    digest = parse_digest(text, "it")
    assert digest == text == f"{digest.algorithm}:{digest.encoded}"


@pytest.mark.parametrize(
    "value",
    [
        "sha256:" + "A" * 64, "sha256:" + "0" * 63, "sha512:" + "0" * 64, "blake3:" + "g" * 64, "SHA256:" + "0" * 64,
        "sha256:../../etc/passwd", "../x:00", "sha256:", ":00", "x", "", "a:" + "0" * 300, "a:b\n", None, 7, [GOOD],
    ],
)  # fmt: skip
def test_invalid_digests(value):
    with pytest.raises(ImageError, match="invalid digest") as caught:
        parse_digest(value, "it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["blake3:" + "b" * 64, "md5:00"])
def test_other_algorithms_are_not_supported_rather_than_invalid(text):
    with pytest.raises(NotSupported, match=text.partition(":")[0]):
        parse_digest(text, "it").matches(b"")


def test_digests_verify():
    for name in ("sha256", "sha512"):
        assert Digest(f"{name}:{hashlib.new(name, b'x').hexdigest()}").matches(b"x")
        assert not Digest(f"{name}:{hashlib.new(name, b'x').hexdigest()}").matches(b"y")


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "x"}, {"size": -1}, {"size": "1"}, {"size": None}, {"mediaType": 1}, {"urls": "x"},
        {"annotations": []}, {"annotations": {"a": 1}}, {"platform": "linux"}, {"platform": {"os": 1}},
    ],
)  # fmt: skip
def test_malformed_descriptors(change):
    value = json.loads(json.dumps({"mediaType": "a", "digest": GOOD, "size": 1}))
    assert parse_descriptor(value, "it").blob == "blobs/sha256/" + "0" * 64
    with pytest.raises(ImageError):
        parse_descriptor({**value, **change}, "it")


def test_a_descriptor_that_is_not_an_object():
    with pytest.raises(ImageError, match="not an object"):
        parse_descriptor([], "it")
