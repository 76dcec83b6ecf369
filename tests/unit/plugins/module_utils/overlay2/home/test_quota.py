# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""home/quota.py without project quota in the kernel: clear refusals, nothing left behind. With quota: tests/vm."""

from __future__ import annotations

import os
import stat

import pytest
from overlay2.errors import OptionError, Overlay2Error, QuotaNotSupported
from overlay2.home import quota
from overlay2.home.quota import QuotaControl
from overlay2.linux import fsxattr, quotactl

HOMES = ["home", "tmpfs_home", "xfs_home"]


@pytest.fixture
def control(xfs_home):
    """A control of a home whose file system has project ids but no quota, as far as that goes."""
    return QuotaControl(xfs_home, base_id=3)


@pytest.mark.parametrize("fixture", HOMES)
@pytest.mark.parametrize("attempt", [QuotaControl.open, QuotaControl.probe])
def test_a_home_without_quota_is_refused_with_the_remedy_and_left_alone(request, fixture, attempt):
    home = request.getfixturevalue(fixture)
    with pytest.raises(QuotaNotSupported) as refused:
        attempt(home)
    assert refused.value.path == home
    assert "pquota" in refused.value.remedy
    assert "it is not enabled" in refused.value.message
    assert os.listdir(home) == []


@pytest.mark.parametrize("attempt", [QuotaControl.open, QuotaControl.probe])
def test_a_missing_home_is_told(home, attempt):
    with pytest.raises(QuotaNotSupported, match="No such file"):
        attempt(home + "/nowhere")


@pytest.mark.root
def test_an_old_kernel_is_asked_through_a_device_node(xfs_home, monkeypatch):
    monkeypatch.setattr(quotactl, "has_descriptor_call", lambda: False)
    with pytest.raises(QuotaNotSupported, match="it is not enabled"):
        QuotaControl.open(xfs_home)
    node = os.stat(os.path.join(xfs_home, "backingFsBlockDev"))
    assert stat.S_ISBLK(node.st_mode)
    assert stat.S_IMODE(node.st_mode) == 0o600
    assert node.st_rdev == os.stat(xfs_home).st_dev
    with pytest.raises(QuotaNotSupported, match="it is not enabled"):
        QuotaControl.open(xfs_home)
    assert os.stat(os.path.join(xfs_home, "backingFsBlockDev")).st_ino == node.st_ino


@pytest.mark.root
def test_a_wrong_device_node_is_replaced(xfs_home, monkeypatch):
    monkeypatch.setattr(quotactl, "has_descriptor_call", lambda: False)
    path = os.path.join(xfs_home, "backingFsBlockDev")
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(1, 1))
    with pytest.raises(QuotaNotSupported):
        QuotaControl.open(xfs_home)
    assert os.stat(path).st_rdev == os.stat(xfs_home).st_dev


@pytest.mark.root
def test_on_a_file_system_without_a_device_the_node_cannot_be_asked(tmpfs_home, monkeypatch):
    monkeypatch.setattr(quotactl, "has_descriptor_call", lambda: False)
    with pytest.raises(QuotaNotSupported, match="not"):
        QuotaControl.open(tmpfs_home)


def test_on_an_old_kernel_the_probe_makes_no_node(tmpfs_home, monkeypatch):
    monkeypatch.setattr(quotactl, "has_descriptor_call", lambda: False)
    with pytest.raises(QuotaNotSupported, match="no node of the file system"):
        QuotaControl.probe(tmpfs_home)
    assert os.listdir(tmpfs_home) == []


def refusal_in_a_namespace():
    for attempt in (QuotaControl.open, QuotaControl.probe):
        with pytest.raises(QuotaNotSupported, match="from a user namespace"):
            attempt("/tmp")


def test_in_a_user_namespace_there_is_no_quota(userns):
    userns(refusal_in_a_namespace)


@pytest.mark.parametrize(
    ("size", "blocks"),
    [(0, 0), (1, 1), (511, 1), (512, 1), (1023, 1), (1024, 2), (10 << 30, 20 << 20), (2**63 - 1, 2**54 - 1)],
)
def test_bytes_become_blocks_and_never_no_limit(size, blocks):
    assert quota._blocks(size) == blocks


@pytest.mark.parametrize("size", [-1, 2**63])
def test_a_size_out_of_range_is_refused_before_anything_is_touched(control, size):
    layer = os.path.join(control.home, "layer")
    os.mkdir(layer)
    for attempt in (lambda: control.assign(layer, size), lambda: control.set_limit(9, size)):
        with pytest.raises(OptionError, match="out of range"):
            attempt()
    assert control.get(layer) is None


def test_a_folder_with_content_is_refused(control):
    layer = os.path.join(control.home, "layer")
    os.makedirs(os.path.join(layer, "diff"))
    attempts = (
        lambda: control.assign(layer, 1 << 20),
        lambda: control.join_home(layer),
    )
    for attempt in attempts:
        with pytest.raises(Overlay2Error, match="not empty") as refused:
            attempt()
        assert refused.value.path == layer


def test_a_refused_assignment_leaves_the_folder_as_it_was(control):
    layer = os.path.join(control.home, "layer")
    os.mkdir(layer)
    with pytest.raises(Overlay2Error, match="can't set the project quota") as refused:
        control.assign(layer, 1 << 20)
    assert refused.value.path == layer
    assert control.get(layer) is None
    descriptor = os.open(layer, os.O_RDONLY)
    try:
        assert not fsxattr.get(descriptor).inherited
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("project_id", [0, 3])
def test_no_limit_is_set_on_what_is_no_layers_project(control, project_id):
    """The limit of project 0 is the default of all others; the home's own belongs to the administrator."""
    with pytest.raises(Overlay2Error, match="not a layer's own"):
        control.set_limit(project_id, 1 << 20)


def test_join_home_puts_the_homes_id_on_the_folder_and_what_comes_below(control):
    layer = os.path.join(control.home, "layer")
    os.mkdir(layer)
    control.join_home(layer)
    os.mkdir(os.path.join(layer, "diff"))
    descriptor = os.open(os.path.join(layer, "diff"), os.O_RDONLY)
    try:
        assert fsxattr.get(descriptor).project_id == 3
        assert fsxattr.get(descriptor).inherited
    finally:
        os.close(descriptor)


def test_a_deletion_goes_on_where_no_limit_can_be_lifted(control, caplog):
    layer = os.path.join(control.home, "layer")
    os.mkdir(layer)
    descriptor = os.open(layer, os.O_RDONLY)
    fsxattr.set_project(descriptor, 9)
    os.close(descriptor)
    with control.releasing(layer):
        os.rmdir(layer)
    assert "the limit of project id 9 stays" in caplog.text
    with control.releasing(layer):
        pass


def test_ids_in_a_home_are_found_and_what_is_no_folder_is_passed_over(control):
    for name, project_id in (("a", 9), ("b", 12), ("l", 3)):
        os.mkdir(os.path.join(control.home, name))
        descriptor = os.open(os.path.join(control.home, name), os.O_RDONLY)
        fsxattr.set_project(descriptor, project_id)
        os.close(descriptor)
    os.symlink("a", os.path.join(control.home, "link"))
    os.mkfifo(os.path.join(control.home, "fifo"))
    assert sorted(quota._ids_below(control.home)) == [3, 9, 12]


def test_a_folder_that_is_gone_is_told(control):
    with pytest.raises(Overlay2Error, match="No such file") as refused:
        control.get(os.path.join(control.home, "gone"))
    assert refused.value.path == os.path.join(control.home, "gone")
