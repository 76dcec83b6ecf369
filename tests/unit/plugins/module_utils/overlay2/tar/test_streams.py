# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""TarStream, and compression in both directions."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys

import pytest
from corpus.place import Trickle
from overlay2.errors import ArchiveError, CompressionNotSupported, CorruptArchive, OptionError
from overlay2.tar import compression, zstd
from overlay2.tar.compression import compressed
from overlay2.tar.decompression import decompressed
from overlay2.tar.stream import TarStream

DATA = os.urandom(300000) + b"the same again and again\n" * 100000


def squeeze(method, data=DATA):
    if method == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}[method](data)


METHODS = ["gzip", "bzip2", "xz", "zstd"]


def drain(stream, size=1 << 20):
    found, buffer = [], bytearray(size)
    with decompressed(stream) as plain:
        while True:
            count = plain.readinto(memoryview(buffer))
            if not count:
                return b"".join(found)
            found.append(bytes(buffer[:count]))


@pytest.fixture(params=["as it is", "program"])
def zstd_by(request, monkeypatch):
    """zstd by this Python's module, if it has one, and by the program."""
    if request.param == "program":
        monkeypatch.setattr(zstd, "module", None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_reads(zstd_by, method, size):
    assert drain(io.BytesIO(squeeze(method)), size) == DATA


@pytest.mark.parametrize("method", METHODS)
def test_reads_from_a_pipe_that_gives_little(zstd_by, method):
    data = b"0123456789" * 2000
    assert drain(Trickle(squeeze(method, data), 3)) == data


def test_reads_what_has_only_read():
    class Only:
        def __init__(self, data):
            self.read = io.BytesIO(data).read

    assert drain(Only(DATA)) == DATA
    assert drain(Only(squeeze("gzip"))) == DATA


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\x1f", b"BZh9", b"BZh9/etc/passwd", b"\x28\xb5\x2f", b"plain text that is long"]
)
def test_plain_streams_pass_as_they_are(data):
    assert drain(io.BytesIO(data)) == data


@pytest.mark.parametrize("method", METHODS)
def test_several_members_are_one_stream(zstd_by, method):
    assert drain(io.BytesIO(squeeze(method, b"one ") + squeeze(method, b"") + squeeze(method, b"two"))) == b"one two"


@pytest.mark.parametrize("method", METHODS)
def test_empty_input_compressed(zstd_by, method):
    assert drain(io.BytesIO(squeeze(method, b""))) == b""


@pytest.mark.parametrize("method", ["gzip", "bzip2", "xz"])
def test_zeros_after_the_last_member_are_padding(method):
    assert drain(io.BytesIO(squeeze(method, b"x") + bytes(5000))) == b"x"


@pytest.mark.parametrize("method", METHODS)
def test_rubbish_after_the_last_member_is_damage(zstd_by, method):
    with pytest.raises(CorruptArchive):
        drain(io.BytesIO(squeeze(method, b"x" * 100) + b"rubbish" * 10))


@pytest.mark.parametrize("method", METHODS)
def test_cut_anywhere_is_refused(zstd_by, method):
    whole = squeeze(method, os.urandom(3000))
    cuts = sorted({*range(11, 40), *range(len(whole) - 30, len(whole)), *range(40, len(whole), 307)})
    for cut in cuts:  # shorter ones can't be told from a plain stream
        with pytest.raises(CorruptArchive):
            drain(io.BytesIO(whole[:cut]))


@pytest.mark.parametrize("method", METHODS)
def test_a_changed_byte_is_refused(zstd_by, method):
    whole = squeeze(method, os.urandom(3000))
    for at in (len(whole) // 2, len(whole) - 3):
        bad = bytearray(whole)
        bad[at] ^= 0x55
        with pytest.raises(CorruptArchive):
            drain(io.BytesIO(bytes(bad)))


def test_an_xz_stream_may_not_ask_for_gigabytes():
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30, "preset": 0}]
    huge = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=filters)
    data = huge.compress(b"x") + huge.flush()
    with pytest.raises(CorruptArchive, match="emory"):
        drain(io.BytesIO(data))


@pytest.mark.parametrize("method", compression.METHODS)
def test_writes_what_programs_read(zstd_by, method):
    out = io.BytesIO()
    with compressed(out, method) as writer:
        for at in range(0, len(DATA), 70001):
            part = DATA[at : at + 70001]
            assert writer.write(part) == len(part)
    program = {"none": "cat", "gzip": "gzip", "xz": "xz", "zstd": "zstd"}[method]
    command = ["cat"] if method == "none" else [program, "-dc"]
    assert subprocess.run(command, input=out.getvalue(), stdout=subprocess.PIPE, check=True).stdout == DATA
    assert drain(io.BytesIO(out.getvalue())) == DATA
    again = io.BytesIO()
    with compressed(again, method) as writer:
        writer.write(DATA)
    if method in ("none", "gzip", "xz"):
        assert again.getvalue() == out.getvalue()


@pytest.mark.parametrize("method", compression.METHODS)
def test_written_bytes_tell_no_time(zstd_by, method, monkeypatch):
    outputs = []
    for now in (1.0, 2e9):
        monkeypatch.setattr("time.time", lambda now=now: now)
        out = io.BytesIO()
        with compressed(out, method) as writer:
            writer.write(DATA)
        outputs.append(out.getvalue())
    assert outputs[0] == outputs[1]


def test_raw_targets_may_take_less_than_they_get():
    class Slow(io.RawIOBase):
        data = b""

        def writable(self):
            return True

        def write(self, data):
            part = bytes(data[:1000])
            self.data += part
            return len(part)

    slow = Slow()
    with compressed(slow, "none") as writer:
        writer.write(DATA)
    assert slow.data == DATA


def test_unknown_method():
    with pytest.raises(OptionError, match="lzip"), compressed(io.BytesIO(), "lzip"):
        pass


def test_zstd_with_nothing_to_read_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(zstd, "module", None)
    data = squeeze("zstd")
    monkeypatch.setenv("PATH", "/nonexistent")
    for attempt in (lambda: drain(io.BytesIO(data)), lambda: compressed(io.BytesIO(), "zstd").__enter__()):
        with pytest.raises(CompressionNotSupported) as caught:
            attempt()
        for name in ("'zstd'", "backports.zstd", "3.14"):
            assert name in str(caught.value)


@pytest.mark.parametrize(("method", "module"), [("bzip2", "bz2"), ("xz", "lzma")])
def test_a_python_that_lacks_a_module_says_so(monkeypatch, method, module):
    data = squeeze(method)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CompressionNotSupported, match="without its module " + module):
        drain(io.BytesIO(data))
    if method in compression.METHODS:
        with pytest.raises(CompressionNotSupported, match="without its module " + module):
            compressed(io.BytesIO(), method).__enter__()


def test_the_program_ends_with_the_context(monkeypatch):
    monkeypatch.setattr(zstd, "module", None)
    with decompressed(io.BytesIO(squeeze("zstd"))) as plain:
        assert plain.readinto(bytearray(10))
        process = plain._program
    assert process.returncode is not None

    started = []

    def fail_while_writing():
        with compressed(io.BytesIO(), "zstd") as writer:
            writer.write(b"x")
            started.append(writer._compressor._program)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_while_writing()
    (process,) = started
    assert process.returncode is not None


def test_an_error_of_the_source_is_not_called_damage():
    class Broken(io.RawIOBase):
        def readinto(self, _buffer):
            raise OSError(5, "Input/output error")

    with pytest.raises(ArchiveError, match="Input/output error"), decompressed(Broken()):
        pass


def test_a_non_blocking_source_is_told():
    class Dry(io.RawIOBase):
        def readinto(self, _buffer):
            return None

    with pytest.raises(ArchiveError, match="non-blocking"), decompressed(Dry()):
        pass


# TarStream


def chunks(log, count=3, fail=False):
    try:
        for index in range(count):
            yield b"%d" % index * 10
        if fail:
            raise ValueError("in the middle")
    finally:
        log.append("chunks")


def test_stream_is_a_file_to_read():
    log = []
    with TarStream(chunks(log), on_close=lambda: log.append("close")) as stream:
        assert stream.readable()
        assert not stream.writable()
        assert stream.read(3) == b"000"
        buffer = bytearray(5)
        assert stream.readinto(buffer) == 5
        assert bytes(buffer) == b"00000"
        assert stream.read(100) == b"00"
        assert stream.read(10) == b"1" * 10
        assert stream.read() == b"2" * 10
        assert stream.read() == b""
        assert stream.read(1) == b""
        assert log == ["chunks", "close"]
    assert log == ["chunks", "close"]


def test_stream_reads_through_a_buffer():
    log = []
    with io.BufferedReader(TarStream(chunks(log, 1000))) as stream:
        assert len(stream.read(5000)) == 5000
        assert len(stream.read()) == 10 * (10 * 1 + 90 * 2 + 900 * 3) - 5000
    assert log == ["chunks"]


def test_stream_closed_early_ends_the_generator_and_releases_once():
    log = []
    stream = TarStream(chunks(log), on_close=lambda: log.append("close"))
    assert stream.read(1) == b"0"
    stream.close()
    stream.close()
    assert log == ["chunks", "close"]
    with pytest.raises(ValueError):
        stream.read(1)


def test_stream_closed_before_the_first_read():
    log = []
    TarStream(iter([b"x"]), on_close=lambda: log.append("close")).close()
    assert log == ["close"]


def test_an_error_in_the_iterator_is_raised_by_the_read():
    log = []
    with TarStream(chunks(log, 1, fail=True), on_close=lambda: log.append("close")) as stream:
        assert stream.read(10) == b"0" * 10
        with pytest.raises(ValueError, match="in the middle"):
            stream.read(1)
        assert log == ["chunks", "close"]
    assert log == ["chunks", "close"]


def test_stream_releases_also_if_the_generator_fails_to_end():
    def bad():
        try:
            yield b"x"
        finally:
            raise ValueError("while closing")

    log = []
    stream = TarStream(bad(), on_close=lambda: log.append("close"))
    stream.read(1)
    with pytest.raises(ValueError, match="while closing"):
        stream.close()
    assert log == ["close"]
    assert stream.closed


def test_empty_chunks_are_passed_over():
    assert TarStream([b"", b"a", b"", b"b", b""]).read() == b"ab"
