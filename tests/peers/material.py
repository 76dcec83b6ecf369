# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What the peers are given to chew on: a base tree with all that a layer may hold, and changes to every kind of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile

from . import environment

NANOSECOND = 1_600_000_000_123_456_789
LONG = "long-" + "n" * 120
DEEP = "/".join(["deep-" + "d" * 60] * 5)

# Each change is one shell script that a layer of its own is made by: run by busybox in a container's root, or by a
# shell in a mounted layer. Paths are relative to the layer's root.
CHANGES = {
    "nothing": "true",
    "delete": """
        rm etc/gone                     # a file
        rm etc/link-gone                # a symlink
        rm -r trees/gone                # a folder with all below it
        rm links/second                 # one name of a file that has two
        rm "names/sp ace" "names/Ärger-雪"
    """,
    "replace": """
        echo other > etc/replaced                                       # same name, new content
        rm -r trees/opaque && mkdir trees/opaque && echo new > trees/opaque/new     # opaque, and something in it
        rm -r trees/emptied && mkdir trees/emptied                      # opaque and empty
        rm -r trees/to-file && echo file > trees/to-file
        rm etc/to-link && ln -s replaced etc/to-link
        rm etc/link-to-folder && mkdir etc/link-to-folder
        mv etc/moved etc/moved-here
        mv trees/moved trees/moved-here
        rm -r trees/deleted-below/below                                 # a whiteout inside a folder that stays
    """,
    "file-to-folder": "rm etc/to-folder && mkdir etc/to-folder && echo in > etc/to-folder/in",
    "links": """
        echo one > links/new
        ln links/new links/new-too
        mkdir links/far && ln links/new links/far/new-three
        ln links/first links/third      # copied up: the names it had before stay a file of their own below
        ln -s new links/soft && ln -s /etc/replaced links/absolute
        ln -s ../../../.. links/up && ln -s nowhere links/x
        ln -s "$(printf %0150d 0)" links/long-target
        mkfifo links/fifo && ln links/fifo links/fifo-too
    """,
    "metadata": """
        chmod 4711 etc/mode             # copied up, content the same
        chown 12:34 etc/owner && chown -h 12:34 etc/link
        chmod 1777 trees/sticky && chmod 2750 trees/kept
        touch -d @1500000000 caps/second-version caps/third-version    # copied up with their capabilities
        touch -d @1234567890 etc/touched trees/touched
        chown 3000000:2999999 etc/big-owner
        chmod 0 etc/no-mode
    """,
    "special": """
        mkfifo special/fifo
        mknod special/zero c 1 5
        mknod special/loop b 7 200
        chmod 6755 special/zero
        cp bin/busybox special/setuid && chmod 4755 special/setuid
        mkdir special/empty && chmod 0 special/empty
        : > special/no-bytes
        truncate -s 3000000 special/sparse
    """,
    "names": """
        mkdir -p "names/$(printf 'd%0180d' 0)/$(printf 'e%0180d' 0)"
        echo > "names/$(printf 'd%0180d' 0)/$(printf 'e%0180d' 0)/f"
        echo > "names/$(printf 'f%0250d' 0)"
        echo > "names/日本語"
        echo > "names/$(printf 'not\\377utf8')"
        echo > "names/$(printf 'new\\nline')"
        echo > "names/ leading" && echo > "names/trailing " && echo > 'names/back\\slash' && echo > names/co:lon,comma
        echo > names/.hidden && echo > names/.whale && echo > names/-dash && echo > names/PaxHeaders.0
        ln -s "$(printf '\\377\\376')" names/to-bytes && ln -s 日本語 names/to-utf8
        ln "names/日本語" "names/$(printf 'l%0200d' 0)"
    """,
}

_FOLDERS = (
    "bin", "dev", "etc", "proc", "sys", "tmp", "caps", "links", "names", "special", "var/empty", DEEP,
    "trees/gone/a/b", "trees/opaque/old", "trees/emptied/old", "trees/to-file/x", "trees/moved/x",
    "trees/deleted-below/below", "trees/kept", "trees/sticky", "trees/touched",
)  # fmt: skip
_FILES = (
    "etc/gone", "etc/replaced", "etc/to-folder", "etc/to-link", "etc/moved", "etc/mode", "etc/owner", "etc/touched",
    "etc/big-owner", "etc/no-mode", "trees/gone/a/b/f", "trees/opaque/old/f", "trees/emptied/old/f",
    "trees/to-file/x/f", "trees/moved/x/f", "trees/deleted-below/below/f", "trees/deleted-below/stays",
    "links/first", "caps/second-version", "caps/third-version", "names/sp ace", "names/Ärger-雪", "names/" + LONG,
    DEEP + "/file",
)  # fmt: skip


def base_tree(folder):
    """Fill the empty `folder` with the base: every kind of thing there is, and what :data:`CHANGES` change."""
    for name in _FOLDERS:
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    for name in _FILES:
        with open(os.path.join(folder, name), "w") as file:
            file.write(name + "\n")
    shutil.copy("/bin/busybox", os.path.join(folder, "bin/busybox"))
    os.chmod(os.path.join(folder, "bin/busybox"), 0o4755)
    with open(os.path.join(folder, "special/holes"), "wb") as file:
        file.write(b"head")
        file.seek(5_000_000)
        file.write(b"tail")
        file.truncate(9_000_000)
    _base_links(folder)
    _base_nodes(folder)
    _capabilities(folder)
    os.utime(os.path.join(folder, "etc/moved"), ns=(NANOSECOND, NANOSECOND))


def _base_links(folder):
    def path(name):
        return os.path.join(folder, name)

    os.symlink("busybox", path("bin/sh"))
    os.symlink("replaced", path("etc/link"))
    os.symlink("/", path("etc/link-gone"))
    os.symlink("../trees", path("etc/link-to-folder"))
    os.symlink("t" * 200, path("links/long-target-below"))
    os.link(path("links/first"), path("links/second"))
    os.link(path("links/first"), path("names/" + LONG + "-linked"))


def _base_nodes(folder):
    def path(name):
        return os.path.join(folder, name)

    os.mkfifo(path("special/pipe"), 0o640)
    os.mknod(path("special/null"), 0o020666, os.makedev(1, 3))
    os.mknod(path("special/block"), 0o060660, os.makedev(7, 300))
    os.chown(path("special/block"), 65534, 2_097_152)
    os.chmod(path("tmp"), 0o1777)
    os.chmod(path("var/empty"), 0o2511)


def _capabilities(folder):
    # The third version names the root of a user namespace; a layer's tar carries the second only.
    for name, extra in (("caps/second-version", []), ("caps/third-version", ["-n", "1000"])):
        path = os.path.join(folder, name)
        subprocess.run(["setcap", *extra, "cap_net_raw,cap_chown+ep", path], check=True, env=environment())
    os.setxattr(os.path.join(folder, "etc/mode"), "user.comment", b"not carried by a layer's tar")


def pack(folder, archive, *options):
    """Write `folder` as the file `archive` by GNU tar: PAX, all xattrs, sorted by name."""
    subprocess.run(
        [
            "tar", "--format=posix", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*",
            *options, "-C", folder, "-cf", archive, ".",
        ],
        check=True,
    )  # fmt: skip


def base_archive(archive, parent_folder):
    """Build the base tree below `parent_folder` and pack it as the file `archive`."""
    with tempfile.TemporaryDirectory(dir=parent_folder) as folder:
        os.chmod(folder, 0o755)
        base_tree(folder)
        pack(folder, archive)


def context(archive, parent_folder, base):
    """Write a build context as the file `archive`: a Dockerfile on the image `base` with a COPY, an ADD, all CHANGES.

    Gives the names of the steps that make a layer, lowest first, the base included (one without a change makes none).
    """
    with tempfile.TemporaryDirectory(dir=parent_folder) as folder:
        copied = os.path.join(folder, "copied")
        os.makedirs(os.path.join(copied, "etc"))
        os.makedirs(os.path.join(copied, "var/new"))
        for name, mode in (("etc/copied", 0o4755), ("var/new/Ärger", 0o600), ("var/new/" + LONG, 0o644)):
            with open(os.path.join(copied, name), "w") as file:
                file.write(name)
            os.chmod(os.path.join(copied, name), mode)
        os.link(os.path.join(copied, "etc/copied"), os.path.join(copied, "etc/copied-too"))
        os.symlink("copied", os.path.join(copied, "etc/copied-link"))
        added = os.path.join(folder, "added")
        os.makedirs(added)
        _capabilities_only(added)
        pack(added, os.path.join(folder, "added.tar"))
        shutil.rmtree(added)
        with open(os.path.join(folder, "Dockerfile"), "w") as file:
            file.write(f"FROM {base}\nCOPY copied/ /\nADD added.tar /opt/\n")
            for script in CHANGES.values():
                command = json.dumps(["/bin/busybox", "sh", "-ec", "cd /\n" + script])
                file.write(f"RUN {command}\n")
        pack(folder, archive)
    return ["base", "copy", "add"] + [step for step in CHANGES if step != "nothing"]


def _capabilities_only(folder):
    path = os.path.join(folder, "tool")
    with open(path, "w") as file:
        file.write("tool")
    subprocess.run(["setcap", "cap_net_admin+ep", path], check=True, env=environment())
