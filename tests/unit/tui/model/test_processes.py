# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Whatever keeps a mount busy is found: umount(8) refuses, and the inspector says why."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from overlay2 import Driver
from overlay2_tui.model.source import HomeSource
from support.trees import stream

#: How a process can use a mount: code with the mount's path as ``m``, and the words for it.
USES = {
    "working folder": "os.chdir(m)",
    "open file": "f = open(m + '/file')",
    "open file of a folder": "f = os.open(m + '/folder', os.O_RDONLY)",
    "open file, deleted": "f = open(m + '/gone', 'w'); os.unlink(m + '/gone')",
    "open file, a pipe": "os.mkfifo(m + '/pipe'); f = os.open(m + '/pipe', os.O_RDWR); os.unlink(m + '/pipe')",
    "unix socket": "s = socket.socket(socket.AF_UNIX); s.bind(m + '/socket'); s.listen()",
    "mapped file": "f = open(m + '/file'); a = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); os.closerange(3, 99)",
    "working folder of a thread": "threading.Thread(target=apart, daemon=True).start(); there.wait()",
}
CODE = """
import ctypes, mmap, os, socket, sys, threading, time
m = sys.argv[1]
there = threading.Event()
def apart():
    ctypes.CDLL(None).unshare(0x200)  # CLONE_FS
    os.chdir(m + "/folder")
    there.set()
    time.sleep(60)
{use}
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def merged(home):
    """The merged folder of a mounted layer."""
    driver = Driver(home, ["overlay2.sync=none"])
    driver.create("base", diff=stream({"file": b"x" * 5000, "folder/": None}))
    driver.create_read_write("run", "base")
    yield driver.get("run", holder="me")
    driver.cleanup()


def mount_of(merged):
    """What the model says of the mount."""
    source = HomeSource(os.path.dirname(os.path.dirname(merged)))
    source.read()
    return source.read_processes().mount_of("run")


@pytest.mark.parametrize("how", USES)
def test_a_use_is_found(merged, spawn, how):
    code = CODE.format(use=USES[how])
    process = spawn([sys.executable, "-c", code, merged], cwd="/", stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    found = {user.pid: user for user in mount_of(merged).processes}
    assert found[process.pid].how.startswith(how.split(" of a folder")[0].split(",")[0])
    assert found[process.pid].name.startswith("python")
    assert found[process.pid].user


@pytest.mark.root
def test_mounts_and_loop_devices_in_a_mount_are_told(merged):
    os.mkdir(merged + "/inner")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", merged + "/inner"], check=True)
    with open(merged + "/image", "wb") as image:
        image.truncate(1 << 20)
    loop = subprocess.run(["losetup", "-f", "--show", merged + "/image"], capture_output=True, text=True, check=False)
    try:
        remarks = [remark.text for remark in mount_of(merged).remarks if not remark.is_problem]
        assert "Busy: tmpfs from tmpfs is mounted in it, at /inner." in remarks
        if loop.returncode == 0:
            assert f"Busy: the loop device {loop.stdout.strip()} uses its file /image." in remarks
    finally:
        if loop.returncode == 0:
            subprocess.run(["losetup", "-d", loop.stdout.strip()], check=True)
        subprocess.run(["umount", merged + "/inner"], check=True)


def test_nobody_uses_an_idle_mount(merged):
    assert mount_of(merged).processes == ()
