# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Archives that try to reach outside, are inconsistent or would exhaust the host, each with its expected outcome.

``python -m corpus.hostile FOLDER`` (in ``tests/``) writes them as files, to try other programs on.

The target of an archive is an empty folder ``target``. Beside it is a folder ``outside`` with a file ``secret``;
nothing there may change, whatever else happens.
"""

from __future__ import annotations

import os
import sys
from typing import Dict, NamedTuple, Optional

from .forge import (
    BLOCK,
    END,
    archive,
    base256,
    file,
    folder,
    gnu_long,
    hardlink,
    header,
    old_sparse,
    pax,
    pax_sparse,
    symlink,
)

#: Types of entries in an expected tree.
FOLDER = "folder"
WHITEOUT = "whiteout"
FIFO = "fifo"


class Link(NamedTuple):
    """A symbolic link in an expected tree."""

    target: bytes


class Case(NamedTuple):
    """One archive."""

    name: str
    data: bytes
    #: class in ``overlay2.errors`` that it is refused with, or None if it is harmless
    error: Optional[str] = None
    #: part of the message
    says: str = ""
    #: for a harmless one: entries of the target afterwards, by path (FOLDER, Link, ... or the content)
    tree: Optional[Dict[bytes, object]] = None
    #: ``OVERLAY`` or ``MERGE`` if it is for one way of unpacking only
    only: str = ""

    def bytes_for(self, outside):
        """The archive with the absolute path of the outside directory in place of its placeholder."""
        return self.data.replace(OUTSIDE, os.fsencode(outside).rjust(len(OUTSIDE), b"/"))


#: Placeholder for the outside directory's absolute path, which is padded with slashes, so that no size changes.
OUTSIDE = b"%OUTSIDE" * 25


def to_outside(member, name, below=b""):
    """A symbolic or hard link to a place in the outside directory, by its absolute path."""
    return gnu_long(b"K", OUTSIDE + below) + member(name, b"x")


def refused(name, error, says, *members, only=""):
    return Case(name, archive(*members), error, says, None, only)


def harmless(name, tree, *members, only=""):
    return Case(name, archive(*members), None, "", tree, only)


def raw(name, error, says, data):
    return Case(name, data, error, says)


OUT = symlink(b"out", b"../outside")
ABSOLUTE = to_outside(symlink, b"out")
BREAKOUT = "BreakoutError"
ARCHIVE = "ArchiveError"
CORRUPT = "CorruptArchive"

NAMES = [
    refused("name-up", BREAKOUT, "'..'", file(b"../escape")),
    refused("name-up-below", BREAKOUT, "'..'", folder(b"a"), file(b"a/../../escape")),
    harmless("name-up-inside", {b"a": FOLDER, b"b": b"data\n"}, folder(b"a"), file(b"a/../b")),
    harmless("name-up-inside-unlisted", {b"b": b"data\n"}, file(b"x/y/.././..//b")),
    harmless("name-up-through-link", {b"b": b"data\n"}, symlink(b"out", b"../outside"), file(b"out/../b")),
    harmless("name-up-to-root", {}, folder(b"a/..", 0o700)),
    refused("name-up-and-up", BREAKOUT, "'..'", folder(b"a"), file(b"a/../../b")),
    refused("name-up-alone", BREAKOUT, "'..'", folder(b"..")),
    refused("name-up-dotted", BREAKOUT, "'..'", file(b"./.././escape")),
    harmless("name-up-absolute", {b"inside": b"data\n"}, file(b"/../../inside")),
    refused("name-up-in-prefix", BREAKOUT, "'..'", file(b"escape", prefix=b"..")),
    refused("name-up-by-pax", BREAKOUT, "'..'", pax([(b"path", b"../escape")]), file(b"good")),
    refused("name-up-by-gnu", BREAKOUT, "'..'", gnu_long(b"L", b"../escape"), file(b"good")),
    refused("name-up-by-sparse", BREAKOUT, "'..'", pax_sparse(b"../escape", b"0\n", b"0", b"")),
    harmless("name-absolute", {b"etc/passwd": b"data\n"}, file(b"/etc/passwd")),
    harmless("name-slashes", {b"a/b": b"data\n"}, file(b".///a//./b")),
    harmless("name-three-dots", {b".../..a": b"data\n"}, file(b".../..a")),
    refused("name-nul", CORRUPT, "malformed record", pax([(b"path", b"a\0/../../b")]), file(b"good")),
    refused("name-too-long", ARCHIVE, "longer than", pax([(b"path", b"a/" * 40000 + b"b")]), file(b"good")),
    refused("name-component-too-long", ARCHIVE, "too long", gnu_long(b"L", b"n" * 256), file(b"good")),
    harmless("name-empty-file", {b"f": b"data\n"}, file(b""), file(b"f")),
    harmless("name-root-as-file", {b"f": b"data\n"}, file(b"./", b"x" * 3000), file(b"f")),
    harmless("name-root-as-link", {b"f": b"data\n"}, symlink(b".", b"../outside"), file(b"f")),
    harmless("name-root-as-hardlink", {b"f": b"data\n"}, file(b"f"), hardlink(b"/", b"f")),
    harmless("name-root-as-device", {}, header(b"a/..", b"3", device=(1, 3))),
    harmless("name-root-as-folder", {}, folder(b"./", 0o700)),
    refused("name-below-file", ARCHIVE, "Not a directory", file(b"f"), file(b"f/x")),
]

SYMLINKS = [
    refused("link-out", BREAKOUT, "leads out", OUT, file(b"out/secret", b"changed")),
    refused("link-out-folder", BREAKOUT, "leads out", OUT, folder(b"out/new", 0o777)),
    refused("link-out-implied", BREAKOUT, "leads out", OUT, file(b"out/new/deep/file")),
    refused("link-out-deep", BREAKOUT, "leads out", folder(b"a/b"), symlink(b"a/b/out", b"../../../outside"),
            file(b"a/b/out/new")),
    refused("link-out-chain", BREAKOUT, "leads out", symlink(b"a", b"b"), symlink(b"b", b"./c"),
            symlink(b"c", b"../outside"), file(b"a/new")),
    refused("link-out-by-folder-and-up", BREAKOUT, "leads out", folder(b"d"), symlink(b"l", b"d/../../outside"),
            file(b"l/new")),
    harmless("link-absolute", None, ABSOLUTE, file(b"out/secret", b"changed")),
    refused("link-absolute-and-up", BREAKOUT, "leads out", symlink(b"a", b"/"), symlink(b"l", b"a/../outside"),
            file(b"l/new")),
    harmless("link-to-proc", {b"proc/self/root/new": b"data\n"}, symlink(b"l", b"/proc/self/root"), file(b"l/new")),
    harmless("link-absolute-inside", {b"real/new": b"data\n"}, folder(b"real"), symlink(b"l", b"/real"),
             file(b"l/new")),
    harmless("link-absolute-clamped", {b"real/new": b"data\n"}, folder(b"real"), symlink(b"l", b"/../../real"),
             file(b"l/new")),
    harmless("link-to-root", {b"new": b"data\n"}, symlink(b"l", b"/"), file(b"l/new")),
    harmless("link-up-inside", {b"new": b"data\n"}, folder(b"d"), symlink(b"d/l", b".."), file(b"d/l/new")),
    harmless("link-implied-inside", {b"real/x/y": b"data\n"}, folder(b"real"), symlink(b"l", b"real"), file(b"l/x/y")),
    harmless("link-dangling", {b"no/where/new": b"data\n", b"no": FOLDER, b"l": Link(b"no/where")},
             symlink(b"l", b"no/where"), file(b"l/new")),
    harmless("link-dangling-chain", {b"d/x/new": b"data\n"}, symlink(b"a", b"/b"), symlink(b"b", b"d/./x"),
             file(b"a/new")),
    harmless("link-dangling-up", {b"x/new": b"data\n"}, folder(b"d"), symlink(b"d/l", b"../x"), file(b"d/l/new")),
    harmless("link-dangling-absolute-up", {b"x/new": b"data\n"}, symlink(b"l", b"/../../x"), file(b"l/new")),
    refused("link-dangling-out", BREAKOUT, "leads out", symlink(b"l", b"x/../../outside/new"), file(b"l/new")),
    refused("link-dangling-onto-file", ARCHIVE, "Not a directory", file(b"f"), symlink(b"l", b"f/x"), file(b"l/new")),
    refused("link-loop", ARCHIVE, "oo many", symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/new")),
    refused("link-self", ARCHIVE, "oo many", symlink(b"a", b"a/a"), file(b"a/new")),
    harmless("link-up-within-text", {b"d/new": b"data\n"}, folder(b"d"), folder(b"e/f"), symlink(b"l", b"e/f/../../d"),
             file(b"l/new")),
    harmless("link-up-within-text-after-link", {b"e/new": b"data\n", b"f": FOLDER}, folder(b"f"), folder(b"e/f"),
             symlink(b"s", b"/e/f"), symlink(b"l", b"s/.."), file(b"l/new")),
    refused("link-of-many-turns", ARCHIVE, "oo many", symlink(b"s", b"/"), folder(b"d"),
            pax([(b"linkpath", b"s/" + b"d/../" * 700)]), symlink(b"l", b"x"), file(b"l/new")),
    refused("link-empty", ARCHIVE, "to nothing", symlink(b"l", b"")),
    refused("link-swapped-for-open-folder", BREAKOUT, "leads out", folder(b"d"), file(b"d/one"),
            symlink(b"d", b"../outside"), file(b"d/secret", b"changed")),
    refused("link-swapped-for-open-parent", BREAKOUT, "leads out", folder(b"d/e"), file(b"d/e/one"),
            symlink(b"d", b"../outside"), file(b"d/e/two")),
    refused("link-swapped-by-hardlink", BREAKOUT, "leads out", OUT, folder(b"d"), file(b"d/one"),
            hardlink(b"d", b"out"), file(b"d/secret", b"changed")),
    harmless("link-replaced-by-file", {b"l": b"data\n"}, symlink(b"l", b"../outside/secret"), file(b"l")),
    harmless("link-replaced-by-folder", {b"l": FOLDER, b"l/f": b"data\n"}, symlink(b"l", b"../outside"),
             folder(b"l", 0o777), file(b"l/f")),
    harmless("link-dressed-by-hardlink", {b"l": Link(b"../outside/secret"), b"h": Link(b"../outside/secret")},
             symlink(b"l", b"../outside/secret"), hardlink(b"h", b"l", mode=0o777, uid=1, gid=1, mtime=7)),
    harmless("link-as-last-name-of-folder-times", {b"d": Link(b"../outside")}, folder(b"d", mtime=77),
             symlink(b"d", b"../outside")),
    harmless("link-as-parent-of-folder-times", {b"d": Link(b"../outside")}, folder(b"d/e", mtime=77),
             symlink(b"d", b"../outside")),
    harmless("link-over-fifo", {b"p": Link(b"../outside/secret")}, header(b"p", b"6", mode=0o777),
             symlink(b"p", b"../outside/secret")),
]  # fmt: skip

HARD_LINKS = [
    refused("hardlink-up", BREAKOUT, "'..'", hardlink(b"h", b"../outside/secret")),
    refused("hardlink-up-by-pax", BREAKOUT, "'..'", pax([(b"linkpath", b"../outside/secret")]), hardlink(b"h", b"x")),
    refused("hardlink-up-by-gnu", BREAKOUT, "'..'", gnu_long(b"K", b"../outside/secret"), hardlink(b"h", b"x")),
    refused("hardlink-absolute-outside", ARCHIVE, "missing", to_outside(hardlink, b"h", b"/secret")),
    harmless("hardlink-absolute-inside", {b"h": b"data\n"}, folder(b"a"), file(b"a/f"), hardlink(b"h", b"/a/f")),
    refused("hardlink-through-link", BREAKOUT, "leads out", OUT, hardlink(b"h", b"out/secret")),
    refused("hardlink-through-absolute-link", ARCHIVE, "missing", ABSOLUTE, hardlink(b"h", b"out/secret")),
    refused("hardlink-missing", ARCHIVE, "missing", hardlink(b"h", b"nowhere")),
    refused("hardlink-missing-folder", ARCHIVE, "missing", hardlink(b"h", b"no/where")),
    refused("hardlink-below-file", ARCHIVE, "missing", file(b"f"), hardlink(b"h", b"f/x")),
    refused("hardlink-to-folder", ARCHIVE, "not permitted", folder(b"d"), hardlink(b"h", b"d")),
    refused("hardlink-to-root", ARCHIVE, "to nothing", hardlink(b"h", b"/")),
    refused("hardlink-empty", ARCHIVE, "to nothing", hardlink(b"h", b"")),
    harmless("hardlink-to-itself", {b"f": b"data\n"}, file(b"f"), hardlink(b"f", b"f")),
    harmless("hardlink-with-size", {b"f": b"data\n", b"h": b"data\n", b"g": b"data\n"}, file(b"f"),
             hardlink(b"h", b"f", size=12345), file(b"g")),
]  # fmt: skip

WHITEOUTS = [
    refused("whiteout-nameless", ARCHIVE, "without a name", file(b".wh.", b"")),
    refused("whiteout-of-dot", ARCHIVE, "without a name", folder(b"d"), file(b"d/.wh..", b"")),
    refused("whiteout-of-parent", ARCHIVE, "without a name", folder(b"d"), file(b"d/.wh...", b"")),
    refused("whiteout-as-folder", ARCHIVE, "below a whiteout", folder(b".wh.d"), file(b".wh.d/x")),
    refused("whiteout-through-link", BREAKOUT, "leads out", OUT, file(b"out/.wh.secret", b"")),
    harmless("whiteout-through-absolute-link", None, ABSOLUTE, file(b"out/.wh.secret", b"")),
    harmless("whiteout-through-dangling-link", {b"l": Link(b"d")}, symlink(b"l", b"d"), file(b"l/.wh.x", b"")),
    refused("opaque-through-link", BREAKOUT, "leads out", OUT, file(b"out/.wh..wh..opq", b"")),
    refused("whiteout-through-swapped-folder", BREAKOUT, "leads out", folder(b"d"), file(b"d/one"),
            symlink(b"d", b"../outside"), file(b"d/.wh.secret", b"")),
    harmless("whiteout-of-link", {b"l": Link(b"../outside")}, symlink(b"l", b"../outside"), file(b".wh.l", b"")),
    harmless("whiteout-after-file", {b"x": b"data\n"}, file(b"x"), file(b".wh.x", b"")),
    harmless("whiteout-before-file", {b"x": b"data\n"}, file(b".wh.x", b""), file(b"x")),
    harmless("whiteout-before-implied", {b"x": FOLDER, b"x/y": b"data\n"}, file(b".wh.x", b""), file(b"x/y")),
    harmless("whiteout-twice", {b"x": WHITEOUT}, file(b".wh.x", b""), file(b".wh.x", b""), only="OVERLAY"),
    harmless("whiteout-with-body", {b"x": WHITEOUT, b"y": b"data\n"}, file(b".wh.x", b"body" * 1000), file(b"y"),
             only="OVERLAY"),
    refused("whiteout-then-link-to-it", ARCHIVE, "missing", file(b".wh.x", b""), hardlink(b"h", b".wh.x")),
    harmless("whiteout-as-parent-by-link", {b"x/y": b"data\n"}, file(b".wh.x", b""), symlink(b"l", b"x"),
             file(b"l/y")),
    harmless("whiteout-below-file", {b"x": b"data\n"}, file(b"x"), file(b"x/.wh.y", b"")),
    harmless("whiteout-in-its-whiteout", {b"x": WHITEOUT}, file(b".wh.x", b""), file(b"x/y/.wh.z", b""),
             file(b"x/.wh..wh..opq", b""), only="OVERLAY"),
    harmless("whiteout-of-its-folder", {b"x": WHITEOUT}, file(b"x/y/.wh.z", b""), file(b"x/.wh..wh..opq", b""),
             file(b".wh.x", b""), only="OVERLAY"),
    refused("whiteout-below-loop", ARCHIVE, "oo many", symlink(b"a", b"b"), symlink(b"b", b"a"),
            file(b"a/.wh.x", b"")),
    harmless("aufs-dropped", {b"x": b"data\n"}, file(b".wh..wh.aufs"), folder(b".wh..wh.orph"), file(b".wh..wh.orph/z"),
             file(b"x")),
    harmless("aufs-links", {b"a": b"data\n", b"b": b"data\n"}, folder(b".wh..wh.plnk"), file(b".wh..wh.plnk/1.2"),
             hardlink(b"a", b".wh..wh.plnk/1.2"), hardlink(b"b", b"/.wh..wh.plnk/1.2")),
    refused("aufs-link-unknown", ARCHIVE, "invalid aufs hardlink", hardlink(b"a", b".wh..wh.plnk/1.2")),
    refused("aufs-link-up", ARCHIVE, "missing", file(b".wh..wh.plnk/1.2"), hardlink(b"a", b".wh..wh.plnk/../secret")),
    refused("aufs-name-up", BREAKOUT, "'..'", file(b".wh..wh.plnk/../../outside/secret", b"changed")),
    harmless("aufs-file-in-place-of-folder", {b"x": b"data\n"}, file(b".wh..wh.plnk"), file(b"x")),
]  # fmt: skip

NODES = [
    harmless("device-whiteout", {b"x": WHITEOUT}, header(b"x", b"3"), only="OVERLAY"),
    refused("device-major-too-large", CORRUPT, "no such device", header(b"x", b"3", device=(1 << 12, 0))),
    refused("device-minor-too-large", CORRUPT, "no such device", header(b"x", b"4", device=(8, 1 << 20))),
    refused("device-negative", CORRUPT, "no such device", header(b"x", b"3", device=(base256(-1, 8), 0))),
    harmless("fifo-with-size", {b"p": FIFO, b"f": b"data\n"}, header(b"p", b"6", size=99999), file(b"f")),
    refused("type-contiguous", ARCHIVE, "unhandled tar header type", header(b"x", b"7")),
    refused("type-multi-volume", ARCHIVE, "unhandled tar header type", header(b"x", b"M")),
    refused("type-volume-label", ARCHIVE, "unhandled tar header type", header(b"x", b"V")),
    refused("type-dump-folder", ARCHIVE, "unhandled tar header type", header(b"x", b"D")),
    refused("type-unknown", ARCHIVE, "unhandled tar header type", header(b"x", b"\xff")),
]

HEADERS = [
    Case("empty-stream", b"", None, "", {}),
    raw("no-tar", CORRUPT, "not a tar archive", b"This is no archive at all.\n" * 100),
    raw("half-a-block", CORRUPT, "cut short", file(b"x")[:300]),
    harmless("nothing-but-the-end", {}),
    raw("end-of-one-block", None, "", file(b"x") + bytes(BLOCK)),
    Case("no-end", file(b"x"), None, "", {b"x": b"data\n"}),
    Case("no-end-and-no-padding", file(b"x")[: BLOCK + 5], None, "", {b"x": b"data\n"}),
    raw("no-end-and-no-last-byte", CORRUPT, "cut short", file(b"x")[: BLOCK + 4]),
    raw("no-end-but-half-a-header", CORRUPT, "cut short", file(b"x") + file(b"y")[:300]),
    raw("no-end-and-pax-without-entry", CORRUPT, "missing", file(b"x") + pax([(b"path", b"y")])),
    raw("zeros-in-the-middle", CORRUPT, "in the middle", file(b"x") + bytes(BLOCK) + file(b"y") + END),
    Case("rubbish-after-the-end", archive(file(b"x")) + b"\xff" * 5000, None, "", {b"x": b"data\n"}),
    refused("checksum-wrong", CORRUPT, "checksum", file(b"x"), file(b"y", checksum=1)),
    refused("checksum-off-by-its-modulus", CORRUPT, "not a tar archive",
            header(b"\xff" * 100, link=b"\xff" * 100, prefix=b"\xff" * 155,
                   checksum=sum(header(b"\xff" * 100, link=b"\xff" * 100, prefix=b"\xff" * 155)) - 65521)),
    harmless("checksum-signed", {b"\xfc": b"data\n"}, file(b"\xfc", signed=True)),
    refused("size-negative", CORRUPT, "gives the size", file(b"x", size=base256(-512, 12))),
    refused("size-overflow", CORRUPT, "gives the size", file(b"x", size=base256(2**63, 12))),
    refused("size-huge", CORRUPT, "cut short", file(b"x", size=base256(2**62, 12))),
    refused("size-no-number", CORRUPT, "not a number", file(b"x", size=b"12z")),
    refused("size-signed-text", CORRUPT, "not a number", file(b"x", size=b"-0000000005")),
    refused("size-underscore", CORRUPT, "not a number", file(b"x", size=b"1_0")),
    refused("size-beyond-the-stream", CORRUPT, "cut short", file(b"x", size=100000)),
    refused("size-eats-more-than-the-end", CORRUPT, "cut short", file(b"x", size=512 + 1024 + 1)),
    harmless("size-eats-the-end", {b"x": b"data\n".ljust(512 + 1024, b"\0")}, file(b"x", size=512 + 1024)),
    refused("uid-minus-one", ARCHIVE, "no file can belong", file(b"x", uid=base256(-1, 8))),
    refused("uid-that-means-unchanged", ARCHIVE, "no file can belong", file(b"x", uid=base256(2**32 - 1, 8))),
    refused("gid-overflow", ARCHIVE, "no file can belong", pax([(b"gid", b"4294967296")]), file(b"x")),
    harmless("mode-with-type-bits", {b"x": b"data\n"}, file(b"x", mode=0o120644)),
    harmless("mtime-before-1970", {b"x": b"data\n"}, file(b"x", mtime=base256(-5, 12))),
    harmless("mtime-beyond-time", {b"x": b"data\n"}, file(b"x", mtime=base256(2**80, 12))),
]  # fmt: skip

EXTENDED = [
    refused("pax-length-too-long", CORRUPT, "wrong length", pax(raw=b"99 path=x\n"), file(b"x")),
    refused("pax-length-zero", CORRUPT, "wrong length", pax(raw=b"0 path=x\n"), file(b"x")),
    refused("pax-length-short", CORRUPT, "wrong length", pax(raw=b"3 path=x\n"), file(b"x")),
    refused("pax-length-negative", CORRUPT, "without a length", pax(raw=b"-9 path=x\n"), file(b"x")),
    refused("pax-length-huge", CORRUPT, "without a length", pax(raw=b"9" * 300 + b" path=x\n"), file(b"x")),
    refused("pax-no-newline", CORRUPT, "wrong length", pax(raw=b"9 path=xy"), file(b"x")),
    refused("pax-no-equals", CORRUPT, "malformed record", pax(raw=b"8 pathx\n"), file(b"x")),
    refused("pax-no-keyword", CORRUPT, "malformed record", pax(raw=b"5 =x\n"), file(b"x")),
    refused("pax-nothing-but-text", CORRUPT, "without a length", pax(raw=b"hello"), file(b"x")),
    refused("pax-too-long", CORRUPT, "longer than", pax([(b"comment", b"c" * (1 << 20))]), file(b"x")),
    refused("pax-length-lie", CORRUPT, "longer than", pax([(b"path", b"y")], size=base256(2**62, 12)), file(b"x")),
    refused("pax-without-entry", CORRUPT, "missing", file(b"x"), pax([(b"path", b"y")])),
    refused("pax-size-negative", CORRUPT, "for the size", pax([(b"size", b"-1")]), file(b"x")),
    refused("pax-size-underscore", CORRUPT, "for the size", pax([(b"size", b"1_0")]), file(b"x")),
    refused("pax-size-overflow", CORRUPT, "for the size", pax([(b"size", b"9" * 30)]), file(b"x")),
    refused("pax-size-beyond-the-stream", CORRUPT, "cut short", pax([(b"size", b"99999")]), file(b"x")),
    refused("pax-size-hides-entries", CORRUPT, "checksum", pax([(b"size", b"5")]), file(b"x", b"y" * 5000)),
    harmless("pax-size-wins", {b"x": b"data\n", b"y": b"data\n"}, pax([(b"size", b"5")]), header(b"x", size=0)
             + b"data\n".ljust(BLOCK, b"\0"), file(b"y")),
    harmless("pax-numbers-with-zeros", {b"x": b"data\n", b"y": b"data\n"},
             pax([(b"size", b"0" * 5000 + b"5"), (b"uid", b"0" * 30), (b"mtime", b"0" * 5000 + b"1.5")]),
             header(b"x", size=0) + b"data\n".ljust(BLOCK, b"\0"), file(b"y")),
    harmless("pax-length-with-zeros", {b"long": b"data\n"}, pax(raw=b"00000000000000000031 path=long\n"), file(b"x")),
    refused("pax-uid-negative", CORRUPT, "for the uid", pax([(b"uid", b"-1")]), file(b"x")),
    refused("pax-mtime-no-time", CORRUPT, "a time that is not", pax([(b"mtime", b"soon")]), file(b"x")),
    harmless("pax-mtime-huge", {b"x": b"data\n"}, pax([(b"mtime", b"9" * 20)]), file(b"x")),
    refused("pax-mtime-endless", CORRUPT, "a time that is not", pax([(b"mtime", b"9" * 1000)]), file(b"x")),
    harmless("pax-bomb", {b"x": b"data\n"}, *[pax([(b"path", b"n%d" % n)]) for n in range(3000)],
             pax([(b"path", b"x")]), file(b"y")),
    harmless("pax-global-is-passed-over", {b"good": b"data\n"}, pax([(b"path", b"../escape")], kind=b"g"),
             file(b"good")),
    refused("pax-global-too-long", CORRUPT, "longer than", pax([(b"comment", b"c" * (1 << 20))], kind=b"g"),
            file(b"x")),
    harmless("pax-empty-value-takes-back", {b"x": b"data\n"}, pax([(b"path", b"y"), (b"path", b"")]), file(b"x")),
    refused("gnu-name-too-long", CORRUPT, "longer than", gnu_long(b"L", b"n" * (1 << 20)), file(b"x")),
    refused("gnu-name-without-entry", CORRUPT, "missing", gnu_long(b"L", b"n")),
    harmless("gnu-name-wins", {b"gnu": b"data\n"}, pax([(b"path", b"pax")]), gnu_long(b"L", b"gnu"), file(b"x")),
]  # fmt: skip


def _attribute(name, value=b"y"):
    return pax([(b"SCHILY.xattr." + name, value)])


ATTRIBUTES = [
    refused("xattr-opaque", ARCHIVE, "overlayfs' own", _attribute(b"trusted.overlay.opaque"), folder(b"d")),
    refused("xattr-redirect", ARCHIVE, "overlayfs' own", _attribute(b"trusted.overlay.redirect", b"/etc"),
            folder(b"d")),
    refused("xattr-metacopy", ARCHIVE, "overlayfs' own", _attribute(b"trusted.overlay.metacopy", b""), file(b"x")),
    refused("xattr-whiteout", ARCHIVE, "overlayfs' own", _attribute(b"user.overlay.whiteout"), file(b"x")),
    refused("xattr-escaped", ARCHIVE, "overlayfs' own", _attribute(b"trusted.overlay.overlay.opaque"), folder(b"d")),
    refused("xattr-on-root", ARCHIVE, "overlayfs' own", _attribute(b"user.overlay.opaque"), folder(b"."), only="MERGE"),
    refused("xattr-on-link", ARCHIVE, "overlayfs' own", _attribute(b"trusted.overlay.redirect"), symlink(b"l", b"x")),
    refused("xattr-opaque-by-libarchive", ARCHIVE, "overlayfs' own",
            pax([(b"LIBARCHIVE.xattr.trusted.%6Fverlay.opaque", b"eQ")]), folder(b"d")),
    harmless("xattr-without-name", {b"x": b"data\n"}, _attribute(b""), file(b"x")),
    harmless("xattr-of-no-class", {b"x": b"data\n"}, _attribute(b"nonsense"), file(b"x")),
    harmless("xattr-with-nul", {b"x": b"data\n"}, pax([(b"LIBARCHIVE.xattr.user.a%00b", b"eQ")]), file(b"x")),
    harmless("acl-rubbish", {b"x": b"data\n"}, pax([(b"SCHILY.acl.access", b"\0::::rwx,")]), file(b"x")),
    refused("xattr-too-large", ARCHIVE, "can't be set", _attribute(b"user.x", b"v" * 70000), file(b"x")),
    harmless("xattr-on-link-out", {b"l": Link(b"../outside/secret")}, _attribute(b"user.touched"),
             symlink(b"l", b"../outside/secret")),
]  # fmt: skip

SPARSE = [
    refused("sparse-old-overlap", CORRUPT, "overlap", old_sparse(b"x", [(0, 512), (256, 512)], 4096, b"x" * 1024)),
    refused("sparse-old-backwards", CORRUPT, "overlap", old_sparse(b"x", [(1024, 512), (0, 512)], 4096, b"x" * 1024)),
    refused("sparse-old-beyond", CORRUPT, "beyond the end", old_sparse(b"x", [(4096, 512)], 1024, b"x" * 512)),
    refused("sparse-old-negative", CORRUPT, "overlap", old_sparse(b"x", [(base256(-512, 12), 512)], 1024, b"x" * 512)),
    refused("sparse-old-overflow", CORRUPT, "beyond the end",
            old_sparse(b"x", [(base256(2**63 - 1, 12), 512)], base256(2**63 - 1, 12), b"x" * 512)),
    refused("sparse-old-too-little", CORRUPT, "asks for", old_sparse(b"x", [(0, 2048)], 4096, b"x" * 512)),
    refused("sparse-old-too-much", CORRUPT, "asks for", old_sparse(b"x", [(0, 512)], 4096, b"x" * 2048)),
    refused("sparse-old-endless-map", CORRUPT, "longer than",
            old_sparse(b"x", [], 0, b"", extended=1, more=(bytes(504) + b"\1" + bytes(7)) * 2100)),
    refused("sparse-old-cut-map", CORRUPT, "not a number",
            old_sparse(b"x", [], 0, b"", extended=1) + file(b"y")),
    refused("sparse-overlap", CORRUPT, "overlap", pax_sparse(b"x", b"2\n0\n512\n256\n512\n", b"4096", b"x" * 1024)),
    refused("sparse-beyond", CORRUPT, "beyond the end", pax_sparse(b"x", b"1\n4096\n512\n", b"1024", b"x" * 512)),
    refused("sparse-overflow", CORRUPT, "beyond the end",
            pax_sparse(b"x", b"1\n9223372036854775807\n512\n", b"9223372036854775807", b"x" * 512)),
    refused("sparse-too-little", CORRUPT, "asks for", pax_sparse(b"x", b"1\n0\n2048\n", b"4096", b"x" * 512)),
    refused("sparse-count-lie", CORRUPT, "", pax_sparse(b"x", b"999999999999\n0\n512\n", b"4096", b"x" * 512)),
    harmless("sparse-numbers-with-zeros", {b"x": b"\0" * 512 + b"x" * 512},
             pax_sparse(b"x", b"1\n" + b"0" * 600 + b"512\n" + b"0" * 5000 + b"512\n", b"01024", b"x" * 512)),
    refused("sparse-long-number", CORRUPT, "number", pax_sparse(b"x", b"1" * 4000, b"4096", b"")),
    refused("sparse-no-number", CORRUPT, "not a number", pax_sparse(b"x", b"x\n", b"0", b"")),
    refused("sparse-endless-map", CORRUPT, "longer than",
            pax_sparse(b"x", b"400000\n" + b"".join([b"%d\n0\n" % n for n in range(400000)]), b"999999", b"")),
    refused("sparse-map-beyond-body", CORRUPT, "sparse map", pax_sparse(b"x", b"9\n0\n1\n", b"4096", b"", size=512)),
    refused("sparse-unknown-version", ARCHIVE, "unknown version", pax_sparse(b"x", b"0\n", b"0", b"", (b"2", b"0"))),
    refused("sparse-size-no-number", CORRUPT, "size of a sparse file", pax_sparse(b"x", b"0\n", b"-5", b"")),
    refused("sparse-0.1-odd", CORRUPT, "does not have the number",
            pax([(b"GNU.sparse.size", b"9"), (b"GNU.sparse.map", b"0,1,2")]), file(b"x")),
    refused("sparse-0.1-no-number", CORRUPT, "for a sparse map",
            pax([(b"GNU.sparse.size", b"9"), (b"GNU.sparse.map", b"0,-1")]), file(b"x")),
    refused("sparse-0.0-disordered", CORRUPT, "out of order",
            pax([(b"GNU.sparse.size", b"9"), (b"GNU.sparse.offset", b"0"), (b"GNU.sparse.offset", b"0")]), file(b"x")),
    refused("sparse-0.0-count-lie", CORRUPT, "does not have the number",
            pax([(b"GNU.sparse.size", b"9"), (b"GNU.sparse.numblocks", b"5"), (b"GNU.sparse.offset", b"0"),
                 (b"GNU.sparse.numbytes", b"5")]), file(b"x")),
]  # fmt: skip

CASES = NAMES + SYMLINKS + HARD_LINKS + WHITEOUTS + NODES + HEADERS + EXTENDED + ATTRIBUTES + SPARSE


def main(folder):
    """Write every archive to ``folder`` as ``<name>.tar``."""
    os.makedirs(folder, exist_ok=True)
    for case in CASES:
        with open(os.path.join(folder, case.name + ".tar"), "wb") as out:
            out.write(case.bytes_for("/tmp/outside"))


if __name__ == "__main__":
    main(sys.argv[1])
