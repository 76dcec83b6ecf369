# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the archives that the targets apply into a folder, and print {name: {"path": ..., "diff_id": ...}} as JSON.

base       a small tree with a symbolic and a hard link; also as base_gz, base_bz2, base_xz, base_zst
change     to stand on base: one file other, one file gone, one folder replaced
other      another tree
truncated  base_gz without its end
hostile    an entry that leads out of the layer
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path


def tar_of(entries):
    """The bytes of a tar; an entry is (name, content or None for a folder, type and link target if it is a link)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content, *link in entries:
            info = tarfile.TarInfo(name)
            info.mtime = 1700000000
            if link:
                info.type, info.linkname = link
            elif content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


TARS = {
    "base": tar_of(
        [
            ("etc", None),
            ("etc/app.conf", b"version = 1\n"),
            ("etc/old.conf", b"obsolete\n"),
            ("data", None),
            ("data/numbers", b"0123456789" * 1000),
            ("data/again", None, tarfile.LNKTYPE, "data/numbers"),
            ("data/latest", None, tarfile.SYMTYPE, "numbers"),
        ]
    ),
    "change": tar_of(
        [
            ("etc", None),
            ("etc/app.conf", b"version = 2\n"),
            ("etc/.wh.old.conf", b""),
            ("data", None),
            ("data/.wh..wh..opq", b""),
            ("data/letters", b"abc\n"),
        ]
    ),
    "other": tar_of([("srv", None), ("srv/other", b"something else\n")]),
    "hostile": tar_of([("fine", b"\n"), ("../overlay2-escaped", b"\n")]),
}
COMPRESSORS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda plain: subprocess.run(["zstd", "-q", "-c"], input=plain, stdout=subprocess.PIPE, check=True).stdout,
}


def main(folder):
    contents = {name: (plain, plain) for name, plain in TARS.items()}
    for suffix, compress in COMPRESSORS.items():
        contents["base_" + suffix] = (TARS["base"], compress(TARS["base"]))
    contents["truncated"] = (TARS["base"], contents["base_gz"][1][:-20])
    told = {}
    for name, (plain, packed) in contents.items():
        path = folder / (name + ".archive")
        path.write_bytes(packed)
        told[name] = {"path": str(path), "diff_id": "sha256:" + hashlib.sha256(plain).hexdigest()}
    json.dump(told, sys.stdout)


main(Path(sys.argv[1]))
