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
)

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
def test_from_os_error_tells_what_to_do(number, hint):
    assert hint in from_os_error(MountError, "no", OSError(number, os.strerror(number))).remedy


def test_from_os_error_of_a_refusal_without_a_known_remedy():
    assert from_os_error(MountError, "no", OSError(errno.EINVAL, "Invalid argument")).remedy is None
