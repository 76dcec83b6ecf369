# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""File systems for measurements, and pipes that take or give data at next to no cost."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import tempfile
import threading

from peers import environment
from support import host

DISK_SIZE = 8 << 30  # bytes; the file is sparse
PIPE_SIZE = 1 << 20  # bytes: what /proc/sys/fs/pipe-max-size lets anybody have
F_SETPIPE_SZ = 1031  # fcntl(2); Python names it from 3.10 on


@contextlib.contextmanager
def fresh_disk(folder):
    """A new ext4 in a file in `folder`, mounted for the length of a ``with`` block; gives its path.

    Creating 50,000 files where as many were just deleted takes ext4 many times longer, so no two measurements that
    create files share a file system, and the files are gone with the image that holds them.
    """
    with tempfile.TemporaryDirectory(prefix="disk-", dir=folder) as place:
        image, disk = os.path.join(place, "ext4"), os.path.join(place, "mounted")
        os.mkdir(disk)
        with open(image, "wb") as target:
            target.truncate(DISK_SIZE)
        subprocess.run(["mkfs.ext4", "-q", image], check=True, env=environment())
        # The kernel would go on writing inode tables beside the measurement.
        subprocess.run(["mount", "-o", "loop,noinit_itable", image, disk], check=True, env=environment())
        try:
            yield disk
        finally:
            # Data of large files that is still in memory need not be written any more.
            large = ["find", disk, "-xdev", "-size", "+1M", "-type", "f"]
            subprocess.run([*large, "-exec", "truncate", "--size", "0", "{}", "+"], check=False, env=environment())
            host.unmount_below(disk)
            for device in host.loop_devices_below(place):
                subprocess.run(["losetup", "-d", device], check=False, env=environment())


@contextlib.contextmanager
def tmpfs(folder):
    """A tmpfs in `folder` for the length of a ``with`` block; gives its path."""
    place = tempfile.mkdtemp(prefix="tmpfs-", dir=folder)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True, env=environment())
    try:
        yield place
    finally:
        host.unmount_below(place)
        os.rmdir(place)


@contextlib.contextmanager
def drain(folder):
    """The path of a named pipe whose reader splices everything to /dev/null, so that it costs next to nothing."""
    path = os.path.join(folder, "pipe")
    with _pipe(path, lambda: _move(path, os.devnull)):
        yield path


@contextlib.contextmanager
def feed(folder, file):
    """A named pipe that all of `file` is spliced into; gives its path, which has the file's suffix."""
    path = os.path.join(folder, "pipe" + os.path.splitext(file)[1])
    with _pipe(path, lambda: _move(file, path)):
        yield path


@contextlib.contextmanager
def _pipe(path, serve):
    os.mkfifo(path)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        while thread.is_alive():  # it may wait for a process that failed before it opened the pipe
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
            thread.join(0.1)
        os.unlink(path)


def _move(source, target):
    with open(source, "rb", buffering=0) as reader, open(target, "wb", buffering=0) as writer:
        for end in (reader, writer):
            with contextlib.suppress(OSError):  # not the pipe
                fcntl.fcntl(end, F_SETPIPE_SZ, PIPE_SIZE)
        with contextlib.suppress(BrokenPipeError):
            while _splice(reader.fileno(), writer.fileno()):
                pass


def _splice(source, target):
    if hasattr(os, "splice"):  # from Python 3.10 on
        return os.splice(source, target, PIPE_SIZE)
    return os.write(target, os.read(source, PIPE_SIZE))
