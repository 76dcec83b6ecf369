# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Keep what Python compiles out of zip files. Loaded by every Python of a test VM, by a .pth file.

Ansible sends each module as a zip of sources, and on an emulated processor compiling them is more than half of the time
that a task takes. A name here is that of the source's content, so nothing stale is ever used; and each file carries its
own checksum, as the power may be cut while it is written.
"""

import _imp
import marshal
import os
import zipimport

FOLDER = "/srv/data/.code-cache"
_compile = zipimport._compile_source


def _checksum(data):
    return _imp.source_hash(0, data)


def compile_source(pathname, source):
    """In place of zipimport's own: the code object of a source, from the cache where it is there and whole."""
    name = pathname.rpartition(".zip/")[2]
    path = os.path.join(FOLDER, _checksum(name.encode() + b"\0" + source).hex())
    try:
        with open(path, "rb") as stream:
            stored = stream.read()
        if stored[:8] == _checksum(stored[8:]):
            return marshal.loads(stored[8:])
    except OSError:
        pass
    code = _compile(pathname, source)
    _store(path, marshal.dumps(code))
    return code


def _store(path, data):
    temporary = "%s.%d" % (path, os.getpid())
    try:
        os.makedirs(FOLDER, exist_ok=True)
        with open(temporary, "wb") as stream:
            stream.write(_checksum(data) + data)
        os.rename(temporary, path)
    except OSError:
        pass  # the disk may be full, or the user may not write there


zipimport._compile_source = compile_source
