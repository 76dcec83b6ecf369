# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The corpus of hostile archives: each is refused with a clear error, or is harmless; nothing outside ever changes."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from random import Random

import overlay2.errors
import pytest
from corpus import hostile
from corpus.forge import BLOCK, seal
from corpus.place import Trickle, facts
from overlay2.errors import Overlay2Error
from overlay2.linux import beneath
from overlay2.tar.whiteouts import Whiteouts

pytestmark = pytest.mark.usefixtures("hands")

WAYS = [Whiteouts.OVERLAY, Whiteouts.MERGE]


@pytest.fixture(params=["openat2", "walk"])
def kernel(request, monkeypatch):
    """Both ways of opening beneath: with this kernel's openat2, and as on a kernel without it."""
    if request.param == "walk":

        def missing(*_arguments, **_options):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(beneath, "openat2", missing)


def check_tree(place, tree):
    for name, expected in tree.items():
        path = place.path(name)
        mode = os.lstat(path).st_mode
        if expected is hostile.FOLDER:
            assert stat.S_ISDIR(mode), name
        elif expected is hostile.FIFO:
            assert stat.S_ISFIFO(mode), name
        elif expected is hostile.WHITEOUT:
            assert stat.S_ISCHR(mode), name
            assert os.lstat(path).st_rdev == 0, name
        elif isinstance(expected, hostile.Link):
            assert os.readlink(path) == expected.target, name
        else:
            assert stat.S_ISREG(mode), name
            with open(path, "rb") as content:
                assert content.read() == expected, name


def attempt(place, case, way, stream):
    before = facts(place.outside)
    if case.error is None:
        place.unpack(stream, way)
        check_tree(place, case.tree or {})
    else:
        with pytest.raises(Overlay2Error) as caught:
            place.unpack(stream, way)
        assert caught.value.__class__ is getattr(overlay2.errors, case.error), repr(caught.value)
        assert case.says in str(caught.value)
    assert facts(place.outside) == before
    assert sorted(os.listdir(place.base)) == ["outside", "scratch", "target"]


def ways(cases):
    return [pytest.param(case, way, id="%s-%s" % (case.name, way.value))
            for case in cases for way in WAYS if case.only in ("", way.name)]  # fmt: skip


@pytest.mark.parametrize(("case", "way"), ways(hostile.CASES))
def test_hostile_archive(place, kernel, case, way):
    attempt(place, case, way, case.bytes_for(str(place.outside)))


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_hostile_archive_in_small_pieces(place, case):
    step = 4099 if len(case.data) > 1 << 20 else 97
    way = Whiteouts[case.only] if case.only else Whiteouts.OVERLAY
    attempt(place, case, way, Trickle(case.bytes_for(str(place.outside)), step))


SMALL = [case for case in hostile.CASES if BLOCK <= len(case.data) < 20000]


def mutated(random, outside):
    """Two archives of the corpus in one, with bytes and blocks changed, doubled or removed; most headers sealed."""
    first, second = (random.choice(SMALL).bytes_for(outside) for _which in range(2))
    data = bytearray(first[: -2 * BLOCK] + second)
    for _time in range(random.randint(0, 4)):
        at, other = (random.randrange(len(data)) for _which in range(2))
        block, from_block = at - at % BLOCK, other - other % BLOCK
        what = random.choice(["byte", "byte", "double", "remove", "cut"])
        if what == "byte":
            data[at] = random.randrange(256)
        elif what == "double":
            data[block : block + BLOCK] = data[from_block : from_block + BLOCK]
        elif what == "remove":
            del data[block : block + BLOCK]
        else:
            del data[at:]
        if not data:
            break
    if random.random() < 0.8:
        for at in range(0, len(data) - BLOCK + 1, BLOCK):
            if data[at + 257 : at + 262] == b"ustar":
                data[at : at + BLOCK] = seal(data[at : at + BLOCK])
    return bytes(data)


@pytest.mark.parametrize("seed", range(100))
def test_mutated_archives_are_refused_or_harmless(place, seed):
    before = facts(place.outside)
    random = Random(seed)
    data = mutated(random, str(place.outside))
    with contextlib.suppress(Overlay2Error):
        place.unpack(data, random.choice(WAYS))
    assert facts(place.outside) == before
    assert sorted(os.listdir(place.base)) == ["outside", "scratch", "target"]


def test_corpus_is_as_large_as_it_should_be():
    assert len(hostile.CASES) >= 40
    assert len({case.name for case in hostile.CASES}) == len(hostile.CASES)


def test_error_names_the_entry(place):
    with pytest.raises(Overlay2Error) as caught:
        place.unpack(io.BytesIO(hostile.archive(hostile.folder(b"d"), hostile.hardlink(b"d/h\n", b"no\nwhere"))))
    assert caught.value.path == "d/h\\n"
    assert "\n" not in str(caught.value)
