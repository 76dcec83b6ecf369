# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""How overlayfs wants its options written, and whether it takes what we wrote."""

from __future__ import annotations

import errno
import os

import pytest
from overlay2.linux import mount, overlayfs
from support import host


@pytest.mark.parametrize(
    ("path", "as_lower", "as_upper"),
    [
        ("/plain", "/plain", "/plain"),
        ("/a,b", "/a\\,b", "/a\\,b"),
        ("/a:b", "/a\\:b", "/a:b"),
        ("/a\\b", "/a\\\\b", "/a\\\\b"),
        ("/\\,:\\", "/\\\\\\,\\:\\\\", "/\\\\\\,:\\\\"),
        ("/a b=\udcff\n", "/a b=\udcff\n", "/a b=\udcff\n"),
    ],
)
def test_escapes(path, as_lower, as_upper):
    assert overlayfs.escape_lower(path) == as_lower
    assert overlayfs.escape(path) == as_upper


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((["/l"],), "lowerdir=/l"),
        ((["/2", "/1"],), "lowerdir=/2:/1"),
        ((["/2", "/1"], "/u", "/w"), "lowerdir=/2:/1,upperdir=/u,workdir=/w"),
        ((["/2"], "/u", "/w", "index=off,userxattr,"), "index=off,userxattr,lowerdir=/2,upperdir=/u,workdir=/w"),
        ((["/a:b"], "/a:u", "/a,w"), "lowerdir=/a\\:b,upperdir=/a:u,workdir=/a\\,w"),
    ],
)
def test_mount_data(arguments, text):
    assert overlayfs.data(*arguments) == text


@pytest.mark.parametrize(
    ("value", "fits"), [("x" * 255, True), ("x" * 256, False), ("ö" * 127, True), ("ö" * 128, False)]
)
def test_what_fits_one_string_of_the_mount_api(value, fits):
    assert overlayfs.fits_fsconfig(value) is fits


@pytest.fixture
def context():
    """An overlay being configured, where the kernel has `lowerdir+`."""
    if os.geteuid() != 0:
        pytest.skip("mounts")
    with mount.filesystem_context("overlay") as descriptor:
        try:
            mount.set_option(descriptor, "lowerdir+", "/")
        except OSError:
            pytest.skip("this kernel's overlayfs does not know lowerdir+ (Linux 6.8)")
        yield descriptor


def test_the_kernels_limit_of_one_string(context, real_tmp):
    longest = str(real_tmp) + "/" + "./" * 200
    longest = longest[: overlayfs.FSCONFIG_STRING_MAX - 2] + "/"
    mount.set_option(context, "lowerdir+", longest)
    with pytest.raises(OSError) as refused:
        mount.set_option(context, "lowerdir+", longest + "/")
    assert refused.value.errno == errno.EINVAL


def test_the_kernels_limit_of_lower_layers(context):
    for _round in range(overlayfs.MAX_LOWERS - 1):
        mount.set_option(context, "lowerdir+", "/")
    with pytest.raises(OSError) as refused:
        mount.set_option(context, "lowerdir+", "/")
    assert refused.value.errno == errno.EINVAL


NAMES = ["plain", "a,b", "a:b", "a\\b", "\\,\\:", ",:\\ ", "ends\\", "a\udcff\n\"'b", "%s", "=x=,y"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_takes_classic_data_with_any_name(real_tmp, name):
    folders = [os.path.join(real_tmp, name, part) for part in ("l2", "l1", "upper", "work", "merged")]
    for folder in folders:
        os.makedirs(folder)
    for lower in folders[:2]:
        open(os.path.join(lower, os.path.basename(lower)), "w").close()
    userxattr = "userxattr," if host.in_user_namespace() else ""
    mount.mount("overlay", folders[4], "overlay", 0, overlayfs.data(folders[:2], folders[2], folders[3], userxattr))
    assert sorted(os.listdir(folders[4])) == ["l1", "l2"]
    os.mkdir(os.path.join(folders[4], "new"))
    assert os.listdir(folders[2]) == ["new"]
