# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The bbolt reader on each form of page, on damaged files, and beside a writer."""

from __future__ import annotations

import os
import random

import pytest
from overlay2.owners import bolt
from support import boltfile

TREE = {
    b"empty": {},
    b"flat": {b"a": b"1", b"b": b""},
    b"nested": {b"in": {b"deep": {b"key": b"value"}}, b"text": b"x" * 3000},
    b"top": b"a value beside buckets",
}
MANY = {b"bucket": {b"%06d" % number: b"value %d" % number for number in range(5000)}}


def tree_of(bucket):
    return {key: tree_of(value) if isinstance(value, bolt.Bucket) else value for key, value in bucket.items()}


@pytest.mark.parametrize("page_size", [1024, 4096, 65536])
@pytest.mark.parametrize("inline_below", [0, 600])
@pytest.mark.parametrize("entries_per_page", [None, 2])
def test_round_trip(tmp_path, page_size, inline_below, entries_per_page):
    path = tmp_path / "x.db"
    boltfile.write(path, TREE, page_size=page_size, inline_below=inline_below, entries_per_page=entries_per_page)
    assert bolt.read(path, tree_of) == TREE


@pytest.mark.parametrize("entries_per_page", [None, 50])
def test_branches_and_pages_that_flow_over(tmp_path, entries_per_page):
    path = tmp_path / "x.db"
    boltfile.write(path, MANY, entries_per_page=entries_per_page)
    assert bolt.read(path, tree_of) == MANY
    assert bolt.read(path, lambda root: root.get(b"bucket").get(b"004321")) == b"value 4321"
    assert bolt.read(path, lambda root: root.get(b"other")) is None


@pytest.mark.parametrize("damaged", [0, 1])
def test_the_other_meta_page_counts(tmp_path, damaged):
    path = tmp_path / "x.db"
    boltfile.write(path, TREE)
    with open(path, "r+b") as target:
        target.seek(damaged * 4096 + 40)
        target.write(b"\xff")
    assert bolt.read(path, tree_of) == TREE


@pytest.mark.parametrize("size", [0, 10, 79, 4096 * 2, 4096 * 4])
def test_a_file_that_is_cut_short(tmp_path, size):
    path = tmp_path / "x.db"
    boltfile.write(path, TREE)
    os.truncate(path, size)
    with pytest.raises(bolt.BoltError):
        bolt.read(path, tree_of)


def test_other_content(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"\0" * 65536)
    with pytest.raises(bolt.BoltError):
        bolt.read(path, tree_of)


def test_a_tree_that_leads_back_into_itself(tmp_path):
    path = tmp_path / "x.db"
    boltfile.write(path, MANY, entries_per_page=3000)
    content = bytearray(path.read_bytes())
    branch = next(at for at in range(4 * 4096, len(content), 4096) if content[at + 8 : at + 10] == b"\x01\x00")
    content[branch + 16 + 8 : branch + 16 + 16] = (branch // 4096).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(bolt.BoltError, match="leads back"):
        bolt.read(path, tree_of)


def test_random_damage_is_an_error_or_harmless(tmp_path):
    path = tmp_path / "x.db"
    boltfile.write(path, TREE, inline_below=100)
    content = path.read_bytes()
    generator = random.Random(7)
    for _attempt in range(300):
        damaged = bytearray(content)
        for _byte in range(generator.randrange(1, 5)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            bolt.read(path, tree_of)
        except bolt.BoltError:
            pass


def test_what_changes_meanwhile_is_read_again(tmp_path):
    path = tmp_path / "x.db"
    boltfile.write(path, {b"state": b"old"}, transaction=7)
    calls = []

    def collect(root):
        found = tree_of(root)
        if not calls:
            boltfile.write(path, {b"state": b"new"}, transaction=8)
        calls.append(found)
        return found

    assert bolt.read(path, collect) == {b"state": b"new"}
    assert len(calls) == 2


def test_what_never_stands_still_is_an_error(tmp_path):
    path = tmp_path / "x.db"
    transactions = iter(range(10, 1000))
    boltfile.write(path, {})
    with pytest.raises(bolt.BoltError, match="changed each time"):
        bolt.read(path, lambda root: boltfile.write(path, {}, transaction=next(transactions)))
