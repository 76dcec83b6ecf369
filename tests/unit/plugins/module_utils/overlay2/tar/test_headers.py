# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Headers and records, against Python's own tarfile and by hand."""

from __future__ import annotations

import io
import random
import tarfile

import pytest
from corpus import forge
from overlay2.errors import CorruptArchive
from overlay2.tar import headers, pax, ustar
from overlay2.tar.reader import Reader, clean


def parse(block):
    return headers.parse(memoryview(block), 0)


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_what_tarfile_writes(format_):
    info = tarfile.TarInfo("some/name")
    info.size, info.mode, info.uid, info.gid, info.mtime = 0o7654321, 0o4755, 1234, 2097151, 0o17777777777
    info.type, info.linkname = tarfile.CHRTYPE, "target"
    info.devmajor, info.devminor = 8, 17
    header = parse(info.tobuf(format_))
    assert header[:3] == (b"3", b"some/name", b"target")
    assert header[3:8] == (0o4755, 1234, 2097151, 0o7654321, 0o17777777777)
    assert headers.device_numbers(header.device) == (8, 17)


def test_tarfile_reads_what_is_built():
    block = ustar.build(headers.BLOCK_DEVICE, b"a/name", 0o1777, 1, 2, 0, 1234567890, b"", (259, 1048575))
    info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    assert (info.name, info.type, info.mode, info.uid, info.gid) == ("a/name", tarfile.BLKTYPE, 0o1777, 1, 2)
    assert (info.size, info.mtime, info.devmajor, info.devminor) == (0, 1234567890, 259, 1048575)


def test_built_blocks_are_a_block_long_whatever_is_in_them():
    long = b"n" * 300
    assert len(ustar.build(b"0", long, 0o7777, 1 << 40, 1 << 40, 1 << 60, -5, long, (1, 1), b"p" * 155)) == 512
    assert len(ustar.build_extended(b"\xff" * 20 + long, 1 << 20)) == 512


def test_build_is_the_same_as_the_forge():
    block = ustar.build(b"1", b"name", 0o644, 7, 8, 0, 99, b"other")
    assert block == forge.header(b"name", b"1", 0, 0o644, 7, 8, 99, b"other")


@pytest.mark.parametrize("value", [0, 1, 0o7777777, 1 << 40, 2**63 - 1, -1, -(2**40), 2**80, -(2**90)])
def test_base_256(value):
    assert headers.number(forge.base256(value, 12)) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [(b"0000644\0", 0o644), (b"   644 \0", 0o644), (b"644     ", 0o644), (b"\0" * 8, 0), (b" " * 8, 0),
     (b"00000000", 0), (b"644\0garb", 0o644)],
)  # fmt: skip
def test_octal(field, value):
    assert headers.number(field) == value


@pytest.mark.parametrize("field", [b"8", b"12z", b"-1", b"+1", b"1_0", b"0o7", b"1 2", b"\x7f"])
def test_no_number(field):
    with pytest.raises(CorruptArchive):
        headers.number(field)


def test_every_byte_of_a_header_counts():
    good = bytearray(forge.header(b"name", link=b"link", size=100))
    for at in range(512):
        bad = bytearray(good)
        bad[at] ^= 1
        if 148 <= at < 156:  # the checksum itself: some of its bytes are filling
            continue
        with pytest.raises(CorruptArchive):
            parse(bad)


def test_the_sum_is_exact_where_it_is_largest():
    assert parse(forge.header(b"\xff" * 100, link=b"\xff" * 100, prefix=b"\xff" * 155)).link == b"\xff" * 100


def test_zeros_are_no_header():
    assert parse(bytes(512)) is None


def test_star_keeps_times_at_the_end_of_its_prefix():
    block = bytearray(forge.header(b"name", prefix=b"p" * 131))
    block[476:488] = b"17777777777 "
    block[508:512] = b"tar\0"
    assert parse(forge.seal(block)).name == b"p" * 131 + b"/name"


@pytest.mark.parametrize("magic", [b"", b"ustar  \0"])
def test_a_prefix_is_of_ustar_only(magic):
    assert parse(forge.header(b"name", prefix=b"12345", magic=magic)).name == b"name"


@pytest.mark.parametrize("length", [101, 155, 156, 200, 255, 256, 257])
@pytest.mark.parametrize("folder", [b"", b"/"])
def test_split_names_are_whole_again(length, folder):
    for step in (7, 50, 99, 100, 101):
        name = b"/".join([b"n" * step] * 40)[: length - len(folder)] + folder
        split = ustar.split_name(name)
        if split is not None:
            assert len(split[0]) <= 155
            assert 0 < len(split[1]) <= 100
            assert b"/".join(split) == name


def test_records_are_what_tarfile_writes():
    for size in list(range(1, 12)) + list(range(80, 105)) + list(range(980, 1005)):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo("x")
            info.pax_headers = {"comment": "c" * size}
            tar.addfile(info)
        body = pax.record(b"comment", b"c" * size)
        assert stream.getvalue()[512 : 512 + len(body)] == body
        assert pax.parse(body) == [(b"comment", b"c" * size)]


def test_records_keep_any_byte():
    value = bytes(range(256))
    assert pax.parse(pax.build({b"SCHILY.xattr.user.x": value, b"a": b"=\n"})) == [
        (b"SCHILY.xattr.user.x", value),
        (b"a", b"=\n"),
    ]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [(b"0", 0), (b"1.5", 1500000000), (b"1.", 1000000000), (b"1234567890.123456789", 1234567890123456789),
     (b"1.0000000019", 1000000001), (b"-1.5", -1500000000), (b"-0.000000001", -1)],
)  # fmt: skip
def test_times_are_exact(text, nanoseconds):
    assert pax.time(text) == nanoseconds


@pytest.mark.parametrize("text", [b"", b".5", b"1e9", b"nan", b"+1", b" 1", b"1.5.2", b"1.-5", b"0x1", b"1_0"])
def test_no_times(text):
    with pytest.raises(CorruptArchive):
        pax.time(text)


def test_times_that_no_file_has():
    assert pax.storable(-1) == 0
    assert pax.storable(2**63) == 0
    assert pax.storable(2**63 - 1) == 2**63 - 1


@pytest.mark.parametrize("seed", range(3))
def test_a_name_is_cleaned_the_same_whatever_came_before_it(seed):
    rng = random.Random(seed)
    parts = (b"a", b"bb", b".", b"", b".hidden", b"c" * 300)
    names = [b"/".join(rng.choice(parts) for _unused in range(rng.randrange(1, 4))) for _unused in range(2000)]
    reader = Reader(io.BytesIO())
    assert [reader._clean(name) for name in names] == [clean(name) for name in names]
    reader.close()
