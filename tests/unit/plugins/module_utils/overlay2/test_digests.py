# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
from __future__ import annotations

import gzip
import hashlib
import io
import tracemalloc

import pytest
from overlay2.digests import HashingWriter, checked_digest, diff_id_of, digest_of, pump
from overlay2.errors import CorruptArchive, OptionError

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
CONTENT = b"layer" * 1_000_000


def sha256(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def test_digest_of_a_stream():
    assert digest_of(io.BytesIO()) == EMPTY
    assert digest_of(io.BytesIO(CONTENT)) == sha256(CONTENT)


def test_diff_id_is_that_of_the_uncompressed_stream():
    assert diff_id_of(io.BytesIO(gzip.compress(CONTENT))) == sha256(CONTENT)
    assert diff_id_of(io.BytesIO(CONTENT)) == sha256(CONTENT)


def test_diff_id_of_a_truncated_archive_is_refused():
    with pytest.raises(CorruptArchive):
        diff_id_of(io.BytesIO(gzip.compress(CONTENT)[:-10]))


def test_pump_feeds_every_writer():
    first, second = io.BytesIO(), HashingWriter()
    pump(io.BytesIO(CONTENT), first, second)
    assert first.getvalue() == CONTENT
    assert (second.size, second.digest) == (len(CONTENT), sha256(CONTENT))


def test_hashing_writer_hands_on():
    raw = io.BytesIO()
    writer = HashingWriter(raw)
    assert writer.write(b"ab") == 2
    assert writer.write(memoryview(b"c")) == 1
    assert raw.getvalue() == b"abc"
    assert writer.digest == sha256(b"abc")


def test_memory_is_bounded():
    class Endless(io.RawIOBase):
        left = 64 << 20

        def readinto(self, buffer):
            count = min(len(buffer), self.left)
            self.left -= count
            return count

    tracemalloc.start()
    try:
        digest_of(Endless())
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:abc", EMPTY.upper(), EMPTY[7:], "md5:" + EMPTY[7:], EMPTY + "\n"]
)
def test_malformed_digests_are_refused(text):
    with pytest.raises(OptionError, match="invalid digest"):
        checked_digest(text)


def test_a_well_formed_digest_passes():
    assert checked_digest(EMPTY) == EMPTY
