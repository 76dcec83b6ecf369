# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Errors: what they say, what they derive from, and that they survive whatever name they are given."""

from __future__ import annotations

import copy
import errno
import inspect
import os
import pickle
import re

import pytest
from overlay2 import errors
from overlay2.errors import (
    BreakoutError,
    CorruptArchive,
    DTypeNotSupported,
    HomeNotFound,
    InvalidLayerId,
    LayerExists,
    LayerNotFound,
    MountError,
    NotSupported,
    OptionError,
    Overlay2Error,
    QuotaNotSupported,
    from_os_error,
    printable,
    remedy_for,
)
from overlay2.linux import mount

ALL = [item for _name, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, Exception)]
FULL = {"layer": "web", "path": "/home/web/diff", "remedy": "Do this"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "it broke"),
        ({"layer": "web"}, "layer web: it broke"),
        ({"path": "/a/b"}, "it broke (path: /a/b)"),
        ({"remedy": "Mend it"}, "it broke. Mend it"),
        (FULL, "layer web: it broke (path: /home/web/diff). Do this"),
        ({"path": b"/a/\xff"}, "it broke (path: /a/\\udcff)"),
        ({"layer": "", "path": "", "remedy": ""}, "it broke"),
    ],
)
def test_text_names_layer_path_and_remedy(arguments, text):
    assert str(Overlay2Error("it broke", **arguments)) == text


def test_a_path_that_the_message_names_is_not_said_twice():
    error = Overlay2Error("can't mount on /home/a\nb/merged: no", path="/home/a\nb/merged")
    assert str(error) == "can't mount on /home/a\\nb/merged: no"
    assert error.path == "/home/a\\nb/merged"


@pytest.mark.parametrize("cls", ALL)
def test_each_class_is_one_of_ours_says_its_text_and_is_documented(cls):
    error = cls("it broke", **FULL)
    assert isinstance(error, Overlay2Error)
    assert str(error) == "layer web: it broke (path: /home/web/diff). Do this"
    assert (error.message, error.layer, error.path, error.remedy) == ("it broke", *FULL.values())
    assert cls.__doc__


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("carry", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_each_class_can_be_carried_between_processes(cls, carry):
    error = carry(cls("it broke", **FULL))
    assert error.__class__ is cls
    assert str(error) == "layer web: it broke (path: /home/web/diff). Do this"
    assert (error.layer, error.path, error.remedy) == tuple(FULL.values())


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (OptionError, ValueError),
        (InvalidLayerId, (OptionError, ValueError)),
        (HomeNotFound, FileNotFoundError),
        (LayerNotFound, FileNotFoundError),
        (LayerExists, FileExistsError),
        (DTypeNotSupported, NotSupported),
        (QuotaNotSupported, NotSupported),
        (CorruptArchive, errors.ArchiveError),
        (BreakoutError, errors.ArchiveError),
    ],
)
def test_what_a_caller_may_catch_instead(cls, bases):
    for base in bases if isinstance(bases, tuple) else (bases,):
        assert issubclass(cls, base)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain", "plain"),
        ("ünï 漢", "ünï 漢"),
        (b"bytes", "bytes"),
        (b"\xff\xfe", "\\udcff\\udcfe"),
        ("\udcff", "\\udcff"),
        ("a\nb\tc\x1b[31m\x7f", "a\\nb\\tc\\x1b[31m\\x7f"),
        ("\u202etxt", "\\u202etxt"),
        (7, "7"),
    ],
)
def test_printable(name, text):
    assert printable(name) == text
    assert printable(printable(name)) == text


@pytest.mark.parametrize("place", ["message", "layer", "path", "remedy"])
def test_no_name_can_break_a_terminal_or_an_encoder(place):
    arguments = dict({"message": "it broke"}, **{place: "a\udcff\n\x1b[2J"})
    text = str(Overlay2Error(**arguments))
    assert text.encode("utf-8")
    assert "\n" not in text
    assert "\x1b" not in text


def test_from_os_error_keeps_the_kernels_words_and_its_path():
    refusal = OSError(errno.ENOENT, "No such file or directory", "/x")
    error = from_os_error(MountError, "can't mount", refusal, layer="web")
    assert error.__class__ is MountError
    assert str(error) == "layer web: can't mount: No such file or directory (path: /x)"


def test_from_os_error_prefers_the_path_it_is_given():
    error = from_os_error(NotSupported, "no", OSError(errno.ENOENT, "gone", "/x"), path=b"/y")
    assert error.path == "/y"


def test_from_os_error_without_errno():
    assert str(from_os_error(NotSupported, "no", OSError("it just did not"))) == "no: it just did not"


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EPERM, "Run as root"),
        (errno.EACCES, "permissions"),
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EBUSY, "still uses"),
    ],
)
def test_from_os_error_tells_what_to_do(monkeypatch, number, hint):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert hint in from_os_error(MountError, "no", OSError(number, os.strerror(number))).remedy


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_root_is_not_sent_to_become_root(monkeypatch, number):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    remedy = remedy_for(number)
    assert "Run as root" not in remedy
    assert "capability" in remedy


@pytest.mark.root
@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ("size=64k,nr_inodes=100", r"Free some space, or raise the quota: 0 KiB are free on .*/m now, and \d+ inodes"),
        (
            "size=1m,nr_inodes=10",
            r"Delete files, or use a file system with more inodes: none of the 10 on .*/m is free",
        ),
    ],
)
def test_a_full_file_system_says_what_is_used_up(real_tmp, options, remedy):
    folder = real_tmp / "m"
    folder.mkdir()
    mount.mount("t", str(folder), "tmpfs", 0, options)
    with pytest.raises(OSError, match="No space left") as full:
        for number in range(20):
            (folder / str(number)).write_bytes(b"x" * 8000)
    for place in (full.value.filename or str(folder), str(folder / "none/at/all"), os.fsencode(folder)):
        assert re.match(remedy, from_os_error(MountError, "no", full.value, path=place).remedy)
    with open(folder / "0", "rb") as file:
        assert re.match(remedy, remedy_for(errno.ENOSPC, file.fileno()))


def test_what_was_needed_is_said(tmp_path):
    error = from_os_error(
        MountError, "no", OSError(errno.ENOSPC, "full"), path="entry/of/an/archive", place=str(tmp_path), needed=3000
    )
    assert error.path == "entry/of/an/archive"
    assert "the file has 3 KiB" in error.remedy
    assert "A quota is used up" in remedy_for(errno.EDQUOT, str(tmp_path))
    assert remedy_for(errno.ENOSPC, "entry/of/an/archive") == "Free some space, or raise the quota"


def test_from_os_error_of_a_refusal_without_a_known_remedy():
    assert from_os_error(MountError, "no", OSError(errno.EINVAL, "Invalid argument")).remedy is None
