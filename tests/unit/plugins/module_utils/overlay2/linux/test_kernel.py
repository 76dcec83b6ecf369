# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Facts about the kernel and this process, on the host and in namespaces."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from overlay2.linux import kernel, mount
from support import host, nobody


def ask_elsewhere(prefix, *expressions):
    """Values of expressions about `kernel` in a process of its own, started by the command *prefix*."""
    load = "import runpy, types; kernel = types.SimpleNamespace(**runpy.run_path(%r)); " % kernel.__file__
    command = [*prefix, sys.executable, "-I", "-S", "-c", load + "print([%s])" % ", ".join(expressions)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_release():
    assert "%d.%d" % kernel.release() == re.match(r"\d+\.\d+", os.uname().release).group()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("6.18.44-fc", (6, 18)), ("5.4", (5, 4)), ("4.18.0-553.el8", (4, 18)), ("6.8-rc1", (6, 8)), ("odd", (0, 0))],
)
def test_release_of_other_kernels(monkeypatch, text, numbers):
    class Uname:
        release = text

    monkeypatch.setattr(os, "uname", Uname)
    assert kernel.release() == numbers


def test_boot_id_is_one_of_this_boot():
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", kernel.boot_id())
    assert kernel.boot_id() == kernel.boot_id()


def test_whether_it_is_a_user_namespace():
    assert kernel.in_user_namespace() is host.in_user_namespace()


@pytest.mark.root
def test_the_host_has_the_full_map():
    assert kernel.in_user_namespace() is False
    assert kernel.uid_map() == ["0", "0", "4294967295"]


def _facts():
    return kernel.in_user_namespace(), kernel.uid_map(), kernel.is_admin(), kernel.mount_namespace()


def test_in_a_user_namespace(userns):
    inside, id_map, admin, namespace = userns(_facts)
    assert inside is True
    assert (id_map[0], id_map[2]) == ("0", "1")
    assert admin is True
    assert namespace not in (0, kernel.mount_namespace())


def _without_namespace_files():
    mount.mount("t", "/proc/%d/ns" % os.getpid(), "tmpfs")
    return os.path.exists("/proc/self/ns/user"), *_facts()


def test_in_a_user_namespace_of_a_kernel_that_shows_none(userns):
    shown, inside, _map, _admin, namespace = userns(_without_namespace_files)
    assert (shown, inside, namespace) == (False, True, 0)


@pytest.mark.root
def test_on_the_host_of_a_kernel_that_shows_no_namespaces():
    prefix = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs t /proc/$$/ns && exec "$0" "$@"']
    told = ask_elsewhere(prefix, "kernel.in_user_namespace()", "kernel.mount_namespace()")
    assert told == "[False, 0]"


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a mount namespace")
def test_mount_namespaces_differ():
    assert kernel.mount_namespace() == os.stat("/proc/self/ns/mnt").st_ino
    told = ask_elsewhere(["unshare", "--mount"], "kernel.mount_namespace() not in (0, %d)" % kernel.mount_namespace())
    assert told == "[True]"


@pytest.mark.root
def test_who_is_admin():
    assert kernel.is_admin() is True
    assert nobody.call(kernel.is_admin) is False
    assert ask_elsewhere(["setpriv", "--bounding-set=-sys_admin"], "kernel.is_admin()") == "[False]"
    assert ask_elsewhere(["setpriv", "--bounding-set=-all,+sys_admin"], "kernel.is_admin()") == "[True]"
