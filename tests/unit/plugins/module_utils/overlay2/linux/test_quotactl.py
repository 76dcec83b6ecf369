# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The ABI of XFS quota, as far as it shows without quota; with it: tests/vm."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys

import pytest
from overlay2.linux import kernel, quotactl

HEADERS = """
#include <linux/dqblk_xfs.h>
#include <linux/quota.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/syscall.h>
#define AT(member) printf("%zu ", offsetof(struct fs_disk_quota, member))
int main(void) {
    printf("%zu %zu ", sizeof(struct fs_disk_quota), sizeof(struct fs_quota_stat));
    printf("%zu ", offsetof(struct fs_quota_stat, qs_flags));
    AT(d_fieldmask); AT(d_id); AT(d_blk_hardlimit); AT(d_blk_softlimit); AT(d_ino_hardlimit); AT(d_ino_softlimit);
    AT(d_bcount); AT(d_icount);
    printf("%d %d %d %d ", Q_XGETQUOTA, Q_XSETQLIM, Q_XGETQSTAT, PRJQUOTA);
    printf("%d %d %d %d ", FS_QUOTA_PDQ_ACCT, FS_QUOTA_PDQ_ENFD, FS_DQUOT_VERSION, FS_PROJ_QUOTA);
    printf("%d %d %d\\n", FS_DQ_BSOFT, FS_DQ_BHARD, SYS_quotactl_fd);
    return 0;
}
"""


@contextlib.contextmanager
def opened(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_structures_have_the_size_of_the_kernels():
    assert quotactl._FS_DISK_QUOTA.size == 112
    assert quotactl._FS_QUOTA_STAT.size == 80


def test_numbers_are_those_of_the_c_headers(real_tmp):
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler to ask the kernel's headers with (package gcc)")
    (real_tmp / "ask.c").write_text(HEADERS)
    subprocess.run([compiler, "-o", real_tmp / "ask", real_tmp / "ask.c"], check=True)
    told = subprocess.run([real_tmp / "ask"], check=True, capture_output=True, text=True).stdout.split()
    numbers = [int(word) for word in told]
    assert numbers[:3] == [quotactl._FS_DISK_QUOTA.size, quotactl._FS_QUOTA_STAT.size, 2]
    assert numbers[3:11] == [2, 4, 8, 16, 24, 32, 40, 48]
    assert numbers[11:15] == [quotactl.Q_XGETQUOTA, quotactl.Q_XSETQLIM, quotactl.Q_XGETQSTAT, quotactl.PRJQUOTA]
    assert numbers[15:19] == [
        quotactl._PDQ_ACCT,
        quotactl._PDQ_ENFD,
        quotactl._DQUOT_VERSION,
        quotactl._PROJ_QUOTA,
    ]
    assert numbers[19:] == [quotactl._BSOFT, quotactl._BHARD, quotactl._SYS_QUOTACTL_FD]


def test_where_fields_lie_in_the_record():
    record = quotactl._FS_DISK_QUOTA.pack(1, 2, 3, 4, *range(5, 11), *[0] * 11, b"")
    assert record[:2] == b"\1\2"
    assert int.from_bytes(record[2:4], sys.byteorder) == 3
    assert int.from_bytes(record[4:8], sys.byteorder) == 4
    for offset in range(8, 56, 8):
        assert int.from_bytes(record[offset : offset + 8], sys.byteorder) == 4 + offset // 8


@pytest.mark.skipif(kernel.release() < (5, 14), reason="the kernel is older than 5.14")
def test_this_kernel_takes_descriptors():
    assert quotactl.has_descriptor_call()


@pytest.mark.parametrize("fixture", ["home", "tmpfs_home", "xfs_home"])
def test_a_file_system_without_quota_is_told_from_one_that_cannot_be_asked(request, fixture):
    with opened(request.getfixturevalue(fixture)) as folder:
        for ask in (quotactl.state, lambda target: quotactl.set_block_limits(target, 7, 8)):
            with pytest.raises(OSError) as refused:
                ask(folder)
            assert refused.value.errno in (errno.ENOSYS, errno.EINVAL, errno.ESRCH)


@pytest.mark.root
def test_a_device_path_is_a_target_too(xfs_home):
    node = xfs_home + "/node"
    os.mknod(node, 0o060600, os.stat(xfs_home).st_dev)
    with pytest.raises(OSError) as refused:
        quotactl.state(node)
    assert refused.value.errno in (errno.ENOSYS, errno.EINVAL, errno.ESRCH)
    assert refused.value.filename == node


@pytest.mark.parametrize(
    ("target", "number"), [("/dev/null", errno.ENOTBLK), ("/nowhere", errno.ENOENT), (-1, errno.EBADF)]
)
def test_what_is_no_target_is_refused(target, number):
    with pytest.raises(OSError) as refused:
        quotactl.state(target)
    assert refused.value.errno == number
