# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Headers and records, against Python's own tarfile and by hand."""

from __future__ import annotations

import contextlib
import io
import os
import random
import tarfile

import pytest
from corpus import forge
from overlay2.errors import BreakoutError, CorruptArchive
from overlay2.tar import headers, pax, ustar
from overlay2.tar.entry import clean
from overlay2.tar.reader import Reader


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
    with pytest.raises(CorruptArchive) as caught:
        headers.number(field)
    assert os.fsdecode(field) not in str(caught.value).split()


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


def test_star_without_its_trailer_ends_the_prefix_by_a_nul():
    block = bytearray(forge.header(b"name", prefix=b"p" * 130))
    block[476:500] = b"17777777777 17777777777 "
    assert parse(forge.seal(block)).name == b"p" * 130 + b"/name"


GNU = b"ustar  \0"


@pytest.mark.parametrize("magic", [b"", GNU, b"ustar ", b"ustar  0"])
@pytest.mark.parametrize("times", [b"12345", b"17777777777\0" + b"17777777776\0", forge.base256(2**40, 12)])
def test_a_prefix_is_of_ustar_only(magic, times):
    assert parse(forge.header(b"name", prefix=times, magic=magic)).name == b"name"


def test_times_of_access_in_gnu_and_star_headers():
    assert parse(forge.header(b"name", prefix=b"00000000777\0", magic=GNU)).atime == 0o777
    assert parse(forge.header(b"name", prefix=bytes(12) + b"00000000777\0", magic=GNU)).atime is None
    star = bytearray(forge.header(b"name", prefix=b"p" * 131))
    star[476:488], star[508:512] = b"00000000777 ", b"tar\0"
    assert parse(forge.seal(star)).atime == 0o777
    assert parse(forge.header(b"name")).atime is None


@pytest.mark.parametrize("prefix", [b"a/b", b"a" * 155, b"1/2", b"12345678901/8"])
def test_go_before_1_8_wrote_prefixes_into_gnu_headers(prefix):
    header = parse(forge.header(b"name", prefix=prefix, magic=GNU, uid=forge.base256(2**21, 8)))
    assert (header.name, header.atime, header.uid) == (prefix + b"/name", None, 2**21)


def test_a_gnu_header_with_rubbish_for_times_has_no_prefix():
    header = parse(forge.header(b"name", prefix=b"\x7f\xff rubbish", magic=GNU))
    assert (header.name, header.atime) == (b"name", None)


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
     (b"1.0000000019", 1000000001), (b"-1.5", -1500000000), (b"-0.000000001", -1),
     (b"0" * 30 + b"1.5", 1500000000), (b"-" + b"0" * 9000, 0)],
)  # fmt: skip
def test_times_are_exact(text, nanoseconds):
    assert pax.time(text) == nanoseconds


@pytest.mark.parametrize("text", [b"", b".5", b"1e9", b"nan", b"+1", b" 1", b"1.5.2", b"1.-5", b"0x1", b"1_0"])
def test_no_times(text):
    with pytest.raises(CorruptArchive):
        pax.time(text)


@pytest.mark.parametrize(("text", "value"), [(b"0", 0), (b"00", 0), (b"0" * 9000, 0), (b"0" * 9000 + b"17", 17)])
def test_numbers_with_leading_zeros(text, value):
    assert pax.integer(text, "the size") == value


@pytest.mark.parametrize("text", [b"", b"-1", b"+1", b" 1", b"1_0", b"9" * 20, b"9" * 9000, b"1e3", b"\xb2"])
def test_no_numbers_in_records(text):
    with pytest.raises(CorruptArchive, match="for the size"):
        pax.integer(text, "the size")


@pytest.mark.parametrize(
    ("name", "path"),
    [(b"a/../b", b"b"), (b"a/b/../../c", b"c"), (b"a/..", b""), (b"/..", b""), (b"/../../x/", b"x"),
     (b"./a/./../b/", b"b"), (b"a/b/..", b"a"), (b"...", b"..."), (b"..a/b..", b"..a/b.."), (b"a//../b", b"b")],
)  # fmt: skip
def test_clean_names(name, path):
    assert clean(name) == path


@pytest.mark.parametrize("name", [b"..", b"../", b"./..", b"a/../..", b"../a", b"a/../../b", b"a/b/../../../c/d"])
def test_names_that_lead_out(name):
    with pytest.raises(BreakoutError, match=r"'\.\.'"):
        clean(name)


def test_times_that_no_file_has():
    assert pax.storable(-1) == 0
    assert pax.storable(2**63) == 0
    assert pax.storable(2**63 - 1) == 2**63 - 1


@pytest.mark.parametrize("seed", range(3))
def test_a_name_is_cleaned_the_same_whatever_came_before_it(seed):
    rng = random.Random(seed)
    parts = (b"a", b"bb", b".", b"", b".hidden", b"c" * 300, b"..")
    names = [b"/".join(rng.choice(parts) for _unused in range(rng.randrange(1, 4))) for _unused in range(2000)]
    with contextlib.closing(Reader(io.BytesIO())) as reader:
        assert [outcome(reader._clean, name) for name in names] == [outcome(clean, name) for name in names]


def outcome(clean_, name):
    try:
        return clean_(name)
    except BreakoutError as error:
        return str(error)
