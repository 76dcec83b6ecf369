# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Archives as other programs write them: layers on top of material's base that test the corners of an apply.

:data:`ARCHIVES` maps a name to a function that writes the archive to the path it is given.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
import tempfile

WHEN = 1_400_000_000


def _whiteouts(archive):
    """Whiteouts of a file, a folder, a missing name and a name of this archive; opaque marks before and after."""
    with _tar(archive) as tar:
        _file(tar, "etc/.wh.gone")
        _file(tar, "trees/.wh.gone")
        _file(tar, "etc/.wh.never-was")
        _folder(tar, "trees/opaque")
        _file(tar, "trees/opaque/before", b"before")
        _file(tar, "trees/opaque/.wh..wh..opq")
        _file(tar, "trees/opaque/after", b"after")
        _file(tar, "trees/emptied/.wh..wh..opq")
        _file(tar, ".wh.var", uid=7, gid=8)


def _opaque_root(archive):
    """The layer's root marked opaque, which overlayfs does not look at."""
    with _tar(archive) as tar:
        _file(tar, ".wh..wh..opq")
        _file(tar, "only", b"only")


def _implied_parents(archive):
    """Folders that no entry lists, one listed after something in it, one listed after all that is in it."""
    with _tar(archive) as tar:
        _file(tar, "new/a/b/c/file", b"c")
        _folder(tar, "new/a/b", mode=0o1751, uid=3, gid=4)
        _file(tar, "new/a/b/late", b"late")
        _folder(tar, "late", mode=0o500, mtime=WHEN - 5)
        _file(tar, "late/file", b"x")
        _file(tar, "/absolute/file", b"x")
        _file(tar, "./dotted/./file", b"x")


def _replaced(archive):
    """One name twice or more in one archive: the last one is what stays."""
    with _tar(archive) as tar:
        _file(tar, "r/file", b"first, and longer")
        _file(tar, "r/file", b"second", mode=0o600)
        _folder(tar, "r/folder")
        _file(tar, "r/folder", b"now a file")
        _file(tar, "r/was-file", b"x")
        _folder(tar, "r/was-file", mode=0o711)
        _file(tar, "r/was-file/in", b"x")
        _link(tar, "r/was-link", "folder")
        _file(tar, "r/was-link", b"now a file")
        _folder(tar, "r/twice", mode=0o700)
        _file(tar, "r/twice/in", b"x")
        _folder(tar, "r/twice", mode=0o755, mtime=WHEN - 9)


def _links(archive):
    """Hard links, to a file, to a symlink, by absolute and dotted names; symlinks that lead anywhere."""
    with _tar(archive) as tar:
        _file(tar, "h/file", b"content", mode=0o4711)
        _link(tar, "h/link", "h/file", tarfile.LNKTYPE)
        _link(tar, "h/absolute", "/h/file", tarfile.LNKTYPE)
        _link(tar, "h/dotted", "./h/./file", tarfile.LNKTYPE)
        _link(tar, "h/soft", "nowhere", uid=5, gid=6)
        _link(tar, "h/hard-soft", "h/soft", tarfile.LNKTYPE)
        _link(tar, "h/out", "../../../../etc/passwd")
        _link(tar, "h/root", "/")
        _link(tar, "h/long", "l" * 1000)


def _metadata(archive):
    """Owners, modes, times and attributes at their ends."""
    with _tar(archive) as tar:
        _file(tar, "m/big-owner", uid=4_000_000_000, gid=3_000_000)
        _file(tar, "m/modes", b"x", mode=0o7777)
        _folder(tar, "m/sgid", mode=0o2770, gid=50)
        _file(tar, "m/none", mode=0)
        _file(tar, "m/epoch", mtime=0)
        _file(tar, "m/nanoseconds", b"x", pax={"mtime": "1400000000.123456789", "atime": "1400000100.5"})
        _folder(tar, "m/nanoseconds-folder", pax={"mtime": "1400000000.000000001"})
        _link(tar, "m/nanoseconds-link", "x", pax={"mtime": "1400000000.999999999"})
        _file(tar, "m/far", mtime=4_294_967_296 + 5)
        _file(tar, "m/xattrs", b"x", pax={"SCHILY.xattr.user.one": "1", "SCHILY.xattr.trusted.t": "t"})
        _folder(tar, "m/xattrs-folder", pax={"SCHILY.xattr.user.two": "2=2\n2"})
        capability = bytes.fromhex("0100000200200000000000000000000000000000").decode("latin-1")
        _file(tar, "m/capable", b"x", uid=1, mode=0o755, pax={"SCHILY.xattr.security.capability": capability})
        _file(tar, "m/comment", b"x", pax={"comment": "nobody reads this"})
        for kind, name in ((tarfile.CHRTYPE, "m/char"), (tarfile.BLKTYPE, "m/block"), (tarfile.FIFOTYPE, "m/fifo")):
            info = _info(name, mode=0o640, uid=1, gid=2)
            info.type, info.devmajor, info.devminor = kind, 5, 300
            tar.addfile(info)


def empty_attribute(archive):
    """An extended attribute that has no bytes, which GNU tar keeps and Go programs leave out."""
    with _tar(archive) as tar:
        _file(tar, "file", b"x", pax={"SCHILY.xattr.user.empty": "", "SCHILY.xattr.user.one": "1"})


def _names(archive):
    """Names that are long, not ASCII, not UTF-8, or look like something else."""
    with _tar(archive) as tar:
        for name in (
            "n/" + "x" * 255, "n/" + "/".join(["d" * 200] * 10), "n/雪", "n/\udcff\udcfe", "n/new\nline", "n/ space ",
            "n/trailing.", "n/...", "n/..a", "n/-rf", "n/\x01\x7f", "n/%s", "n/.whale", "n/wh.x", "n/PaxHeaders.0/x",
        ):  # fmt: skip
            _file(tar, name, b"x")


def _end(archive):
    """No entry at all."""
    with open(archive, "wb") as target:
        target.write(bytes(1024))


def _gnu_tar(*options):
    """An archive by GNU tar of a tree with holes, long names and links."""

    def write(archive):
        with tempfile.TemporaryDirectory(dir=os.path.dirname(archive)) as folder:
            os.makedirs(os.path.join(folder, "g/" + "d" * 90 + "/" + "e" * 120))
            for name in ("g/plain", "g/" + "f" * 150, "g/" + "d" * 90 + "/" + "e" * 120 + "/deep"):
                with open(os.path.join(folder, name), "w") as file:
                    file.write(name)
                os.utime(os.path.join(folder, name), (WHEN, WHEN))
            os.link(os.path.join(folder, "g/" + "f" * 150), os.path.join(folder, "g/linked"))
            os.symlink("t" * 200, os.path.join(folder, "g/symlink"))
            for name, pieces, size in (
                ("holes", [(0, b"head"), (1 << 20, b"middle" * 1000), (5_000_001, b"x")], 9 << 20),
                ("many-holes", [(number * 65536, b"%d" % number) for number in range(50)], 0),
                ("only-hole", [], 1 << 20),
            ):
                _holes(os.path.join(folder, "g", name), pieces, size)
            subprocess.run(["tar", "-C", folder, "--sort=name", *options, "-cf", archive, "g"], check=True)

    return write


def _ustar_tar(archive):
    """The oldest format, which has no long names."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(archive)) as folder:
        os.makedirs(os.path.join(folder, "v/a"))
        with open(os.path.join(folder, "v/a/file"), "w") as file:
            file.write("v7")
        os.symlink("a/file", os.path.join(folder, "v/link"))
        os.link(os.path.join(folder, "v/a/file"), os.path.join(folder, "v/hard"))
        subprocess.run(["tar", "-C", folder, "--format=v7", "-cf", archive, "v"], check=True)


ARCHIVES = {
    "whiteouts": _whiteouts,
    "implied-parents": _implied_parents,
    "links": _links,
    "metadata": _metadata,
    "names": _names,
    "end": _end,
    "gnu": _gnu_tar("--format=gnu"),
    "posix": _gnu_tar("--format=posix"),
    "posix-sparse-1.0": _gnu_tar("--format=posix", "--sparse", "--sparse-version=1.0"),
    "posix-sparse-0.1": _gnu_tar("--format=posix", "--sparse", "--sparse-version=0.1"),
    "posix-sparse-0.0": _gnu_tar("--format=posix", "--sparse", "--sparse-version=0.0"),
    "v7": _ustar_tar,
}

# A difference on purpose (docs/archives.md): the peers mark the root opaque, where overlayfs does not look, so that the
# layers below still show.
OPAQUE_ROOT = _opaque_root


# What the peers refuse, with their words, and this driver takes: to be held against GNU tar.
REFUSED_BY_PEERS = {
    "replaced": (_replaced, "duplicates of file paths not supported"),
    "gnu-sparse": (_gnu_tar("--format=gnu", "--sparse"), "unhandled tar header type 83"),
}


@contextlib.contextmanager
def _tar(archive):
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
        yield tar


def _info(name, mode=0o644, uid=0, gid=0, mtime=WHEN, pax=None):
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.mtime = mode, uid, gid, mtime
    info.pax_headers = pax or {}
    return info


def _file(tar, name, content=b"", **fields):
    info = _info(name, **fields)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _folder(tar, name, mode=0o755, **fields):
    info = _info(name, mode=mode, **fields)
    info.type = tarfile.DIRTYPE
    tar.addfile(info)


def _link(tar, name, target, kind=tarfile.SYMTYPE, mode=0o777, **fields):
    info = _info(name, mode=mode, **fields)
    info.type, info.linkname = kind, target
    tar.addfile(info)


def _holes(path, pieces, size):
    with open(path, "wb") as file:
        for offset, content in pieces:
            file.seek(offset)
            file.write(content)
        if size:
            file.truncate(size)
    os.utime(path, (WHEN, WHEN))
