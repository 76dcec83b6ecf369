# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Project ids of files and folders, on file systems that have them and on one that has not."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

import pytest
from overlay2.linux import fs, fsxattr

HEADERS = """
#include <linux/fs.h>
#include <stddef.h>
#include <stdio.h>
int main(void) {
    printf("%zu ", sizeof(struct fsxattr));
    printf("%zu %zu ", offsetof(struct fsxattr, fsx_projid), offsetof(struct fsxattr, fsx_cowextsize));
    printf("%u %u %u\\n", (unsigned)FS_IOC_FSGETXATTR, (unsigned)FS_IOC_FSSETXATTR, FS_XFLAG_PROJINHERIT);
    return 0;
}
"""


@pytest.fixture
def folder(xfs_home):
    """A descriptor of an empty folder on XFS."""
    descriptor = os.open(xfs_home, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def project_of(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return fsxattr.get(descriptor).project_id
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("machine", "codes"),
    [
        ("x86_64", (0x801C581F, 0x401C5820)),
        ("aarch64", (0x801C581F, 0x401C5820)),
        ("s390x", (0x801C581F, 0x401C5820)),
        ("ppc64le", (0x401C581F, 0x801C5820)),
        ("mips64", (0x401C581F, 0x801C5820)),
        ("sparc64", (0x401C581F, 0x801C5820)),
        ("parisc64", (0x401C581F, 0x801C5820)),
    ],
)
def test_codes_of_each_kind_of_machine(machine, codes):
    assert fsxattr.ioctl_codes(machine) == codes


def test_numbers_are_those_of_the_c_headers(real_tmp):
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler to ask the kernel's headers with (package gcc)")
    (real_tmp / "ask.c").write_text(HEADERS)
    subprocess.run([compiler, "-o", real_tmp / "ask", real_tmp / "ask.c"], check=True)
    told = subprocess.run([real_tmp / "ask"], check=True, capture_output=True, text=True).stdout.split()
    assert [int(word) for word in told] == [
        fsxattr._FSXATTR.size,
        12,
        16,
        fsxattr.FS_IOC_FSGETXATTR,
        fsxattr.FS_IOC_FSSETXATTR,
        fsxattr.PROJINHERIT,
    ]


def test_project_id_round_trip_keeps_the_other_attributes(folder):
    before = fsxattr.get(folder)
    assert (before.project_id, before.inherited) == (0, False)
    fsxattr.put(folder, before._replace(flags=before.flags | 0x80))  # FS_XFLAG_NODUMP
    returned = fsxattr.set_project(folder, 2**32 - 2)
    after = fsxattr.get(folder)
    assert returned.project_id == 0
    assert (after.project_id, after.inherited, after.flags & 0x80) == (2**32 - 2, True, 0x80)
    fsxattr.set_project(folder, 7, inherited=False)
    assert fsxattr.get(folder)[3] == 7
    assert not fsxattr.get(folder).inherited


def test_what_is_made_below_inherits_and_what_was_there_does_not(xfs_home, folder):
    os.mkdir(os.path.join(xfs_home, "early"))
    fsxattr.set_project(folder, 42)
    os.makedirs(os.path.join(xfs_home, "late", "deep"))
    with open(os.path.join(xfs_home, "late", "deep", "file"), "wb"):
        pass
    assert project_of(os.path.join(xfs_home, "early")) == 0
    assert project_of(os.path.join(xfs_home, "late", "deep")) == 42
    assert project_of(os.path.join(xfs_home, "late", "deep", "file")) == 42


def test_xfs_lets_nothing_of_another_project_be_renamed_into_an_inheriting_folder(xfs_home, folder):
    """The reason why home/quota.py removes the flag from a home."""
    fsxattr.set_project(folder, 42)
    outside = os.path.join(os.path.dirname(xfs_home), "outside")
    os.mkdir(outside)
    with pytest.raises(OSError) as refused:
        os.rename(outside, os.path.join(xfs_home, "inside"))
    assert refused.value.errno == errno.EXDEV
    fsxattr.set_project(folder, 42, inherited=False)
    os.rename(outside, os.path.join(xfs_home, "inside"))
    assert project_of(os.path.join(xfs_home, "inside")) == 0


def test_ext4_without_the_project_feature_says_so(home):
    if fs.fs_name(home) != "extfs":
        pytest.skip("the test folder is not on ext4")
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert fsxattr.get(descriptor).project_id == 0
        with pytest.raises(OSError) as refused:
            fsxattr.set_project(descriptor, 42)
    finally:
        os.close(descriptor)
    assert refused.value.errno == errno.EOPNOTSUPP


def test_a_path_only_descriptor_is_refused(home):
    descriptor = os.open(home, os.O_PATH)
    try:
        with pytest.raises(OSError) as refused:
            fsxattr.get(descriptor)
    finally:
        os.close(descriptor)
    assert refused.value.errno == errno.EBADF
