# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What moby's compare of two trees says, written down a second time as plainly as can be; and random changes."""

from __future__ import annotations

import contextlib
import os
import random
import stat
import struct
from typing import Iterator

#: A capability in the form of the kernel's VFS_CAP_REVISION_2: cap_net_raw=ep.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def seeds(count: int) -> range:
    """Seeds for random tests, *count* of them; OVERLAY2_SEEDS=50 tries 50 times as many."""
    return range(count * int(os.environ.get("OVERLAY2_SEEDS", "1")))


def changes(new: str, old: str | None) -> list[tuple[str, str]]:
    """Changes from the folder *old* (None for an empty one) to *new*: (path, letter), sorted by the path's bytes."""
    here = _tree(new)
    there = {} if old is None else _tree(old)
    found = {}
    for path, info in here.items():
        if path not in there:
            found[path] = "A"
        elif _differs(new + path, info, old + path, there[path]):
            found[path] = "C"
    for path in there:
        parent = os.path.dirname(path).rstrip("/")
        if path not in here and (not parent or (parent in here and stat.S_ISDIR(here[parent].st_mode))):
            found[path] = "D"
    for path in list(found):
        parent = os.path.dirname(path)
        while parent != "/":
            found.setdefault(parent, "C")
            parent = os.path.dirname(parent)
    return sorted(found.items(), key=lambda item: os.fsencode(item[0]))


def _tree(root: str) -> dict[str, os.stat_result]:
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            # In folders that nothing is merged into, the kernel lists whiteouts, and then has nothing of that name.
            with contextlib.suppress(FileNotFoundError):
                found[path[len(root) :]] = os.lstat(path)
    return found


def _differs(here: str, new: os.stat_result, there: str, old: os.stat_result) -> bool:
    if (new.st_mode, new.st_uid, new.st_gid, new.st_rdev) != (old.st_mode, old.st_uid, old.st_gid, old.st_rdev):
        return True
    if _capability(here) != _capability(there):
        return True
    if stat.S_ISDIR(new.st_mode):
        return False
    same_second = new.st_mtime_ns // 10**9 == old.st_mtime_ns // 10**9
    whole = new.st_mtime_ns % 10**9 == 0 or old.st_mtime_ns % 10**9 == 0
    same_time = new.st_mtime_ns == old.st_mtime_ns or (same_second and whole)
    return new.st_size != old.st_size or not same_time


def _capability(path: str) -> bytes:
    with contextlib.suppress(OSError):
        return os.getxattr(path, "security.capability", follow_symlinks=False)
    return b""


# --- random changes ---------------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c", "d", "e")
MODES = (0o644, 0o600, 0o4755, 0o1777, 0o700)


def meddle(root: str, rng: random.Random, count: int, *, privileged: bool = True, sensible: bool = False) -> None:
    """Do *count* random things below *root*; what the file system refuses is left undone.

    *privileged*: owners, devices and capabilities too; the latter on anything, unless *sensible*.
    """
    actions = [
        _write, _write, _append, _same_again, _mkdir, _mkdir, _symlink, _fifo, _unlink, _unlink, _rmtree, _rmtree,
        _rename, _rename, _replace_folder, _replace_folder, _empty_folder, _link, _chmod, _utime, _whole_second,
        _user_attribute, _change_type, _open_for_writing,
    ]  # fmt: skip
    if privileged:
        actions += [_chown, _capable_file if sensible else _capable, _device]
    for _round in range(count):
        with contextlib.suppress(OSError):
            rng.choice(actions)(_place(root, rng), rng, root)


def _place(root: str, rng: random.Random) -> str:
    """A random path below *root* with no symbolic link on the way: whatever is done there stays in the tree."""
    path = root
    for _round in range(rng.choice((1, 1, 2, 2, 3))):
        if os.path.islink(path):
            break
        path = os.path.join(path, rng.choice(NAMES))
    return path


def _opened(path: str, flags: int) -> int:
    """A regular file, or a new one. No link is followed, no pipe or device opened: they would block, or worse."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)


def _write(path, rng, root):
    with open(_opened(path, os.O_WRONLY | os.O_TRUNC), "wb") as target:
        target.write(b"x" * rng.choice((0, 3, 3, 100)))


def _append(path, rng, root):
    with open(_opened(path, os.O_WRONLY | os.O_APPEND), "ab") as target:
        target.write(b"more")


def _same_again(path, rng, root):
    """The same content and the same time: not a change."""
    info = os.lstat(path)
    with open(_opened(path, os.O_RDWR), "r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)


def _open_for_writing(path, rng, root):
    os.close(_opened(path, os.O_RDWR))


def _mkdir(path, rng, root):
    os.makedirs(path)


def _symlink(path, rng, root):
    os.symlink(rng.choice(("a", "bb", "no/where", "/no/where")), path)


def _fifo(path, rng, root):
    os.mkfifo(path)


def _device(path, rng, root):
    # Numbers for local use (Documentation/admin-guide/devices.txt): nothing answers to them.
    device = os.makedev(rng.choice((240, 241)), rng.randrange(1, 9))
    os.mknod(path, rng.choice((stat.S_IFCHR, stat.S_IFBLK)) | 0o600, device)


def _unlink(path, rng, root):
    os.unlink(path)


def _rmtree(path, rng, root):
    if not os.path.isdir(path) or os.path.islink(path):
        raise NotADirectoryError
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            os.unlink(os.path.join(folder, name))
        for name in folders:
            below = os.path.join(folder, name)
            (os.unlink if os.path.islink(below) else os.rmdir)(below)
    os.rmdir(path)


def _replace_folder(path, rng, root):
    """Opaque afterwards, where a lower layer has the folder; some of its names come back."""
    info = os.lstat(path)
    names = os.listdir(path)
    _rmtree(path, rng, root)
    os.mkdir(path)
    if rng.random() < 0.5:
        os.chmod(path, stat.S_IMODE(info.st_mode))
    for name in names:
        if rng.random() < 0.4:
            rng.choice((_write, _mkdir, _symlink))(os.path.join(path, name), rng, root)


def _empty_folder(path, rng, root):
    if os.path.islink(path):
        raise NotADirectoryError
    for name in os.listdir(path):
        with contextlib.suppress(OSError):
            _unlink(os.path.join(path, name), rng, root)


def _rename(path, rng, root):
    os.rename(path, _place(root, rng))


def _link(path, rng, root):
    os.link(path, _place(root, rng), follow_symlinks=False)


def _chmod(path, rng, root):
    if not os.path.islink(path):
        os.chmod(path, rng.choice(MODES))


def _chown(path, rng, root):
    os.chown(path, rng.randrange(3), rng.randrange(3), follow_symlinks=False)


def _utime(path, rng, root):
    os.utime(path, ns=(0, rng.choice((10**18, 10**18 + 5, 10**18 + 7 * 10**8, 2 * 10**18))), follow_symlinks=False)


def _whole_second(path, rng, root):
    seconds = os.lstat(path).st_mtime_ns // 10**9
    os.utime(path, ns=(0, seconds * 10**9), follow_symlinks=False)


def _user_attribute(path, rng, root):
    os.setxattr(path, "user.note", b"%d" % rng.randrange(3), follow_symlinks=False)


def _capable(path, rng, root):
    if rng.random() < 0.7:
        os.setxattr(path, "security.capability", CAPABILITY, follow_symlinks=False)
    else:
        os.removexattr(path, "security.capability", follow_symlinks=False)


def _capable_file(path, rng, root):
    if stat.S_ISREG(os.lstat(path).st_mode):
        _capable(path, rng, root)


def _change_type(path, rng, root):
    os.unlink(path)
    rng.choice((_mkdir, _symlink, _fifo, _write))(path, rng, root)


def entries(rng: random.Random, count: int) -> Iterator[tuple[str, bytes | None]]:
    """Random entries of an archive, whiteouts and opaque marks of all kinds among them, in no sensible order."""
    for _round in range(count):
        names = [rng.choice(NAMES) for _round in range(rng.choice((1, 1, 2, 3)))]
        kind = rng.choice(("file", "folder", "whiteout", "whiteout", "opaque"))
        if kind == "whiteout":
            names[-1] = ".wh." + names[-1]
        elif kind == "opaque":
            names.append(".wh..wh..opq")
        yield "/".join(names) + "/" * (kind == "folder"), None if kind == "folder" else b"y" * rng.randrange(4)


def sensible_entries(rng: random.Random, count: int) -> Iterator[tuple[str, bytes | None]]:
    """The same as archivers have them: each name once, and after the folders that it is in."""
    kinds: dict[str, str] = {"": "folder"}
    for _round in range(count):
        names = [rng.choice(NAMES) for _round in range(rng.choice((1, 1, 2, 3)))]
        folders = ["/".join(names[:end]) for end in range(len(names))]
        path, kind = "/".join(names), rng.choice(("file", "folder", "folder", "whiteout", "opaque"))
        if path not in kinds and all(kinds.get(folder, "folder") in ("folder", "opaque") for folder in folders):
            for folder in folders:
                if folder not in kinds:
                    kinds[folder] = "folder"
                    yield folder + "/", None
            kinds[path] = kind
            if kind == "whiteout":
                yield "/".join((*names[:-1], ".wh." + names[-1])), b""
            else:
                yield path + "/" * (kind != "file"), b"y" * rng.randrange(4) if kind == "file" else None
            if kind == "opaque":
                yield path + "/.wh..wh..opq", b""
