# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Quotas through the driver, on an XFS with project quota."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from overlay2 import Driver, repair
from overlay2.errors import MountError, NotSupported, OptionError, Overlay2Error, QuotaNotSupported

MIB = 1 << 20


@pytest.fixture(autouse=True)
def run_root(folder, monkeypatch):
    """A private place for locks and reference counts."""
    monkeypatch.setenv("OVERLAY2_RUN_ROOT", str(folder / "run"))


@pytest.fixture
def driver(home):
    return Driver(home)


@pytest.fixture
def based(driver):
    """A driver with a layer `base` that holds one file of 1 MiB."""
    driver.create("base", diff=archive({"file": MIB}))
    return driver


def archive(files):
    """A tar stream of zero-filled files: name to size."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, size in files.items():
            header = tarfile.TarInfo(name)
            header.size = size
            tar.addfile(header, io.BytesIO(bytes(size)))
    stream.seek(0)
    return stream


def fill(path, size):
    """Write up to ``size`` bytes to a file; returns the errno that ended it (0 for none) and the bytes written."""
    written = 0
    try:
        with open(path, "ab", buffering=0) as stream:
            while written < size:
                written += stream.write(bytes(min(size - written, MIB)))
    except OSError as error:
        return error.errno, written
    return 0, written


def is_full(usage):
    """Whether all is used, save what XFS would keep for the book-keeping of one more block."""
    return usage.limit - 256 * 1024 < usage.used <= usage.limit


def wait_until(condition):
    """Wait for XFS, which frees what was deleted a moment later, in the background."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- what is offered --------------------------------------------------------------------------------------------------


def test_status_says_so_to_writers_and_readers(driver):
    assert dict(driver.status())["Project Quota"] == "true"
    assert dict(Driver(driver.home, read_only=True).status())["Project Quota"] == "true"


@pytest.mark.parametrize("options", ["noquota", "pqnoenforce"])
def test_without_it_sizes_are_refused_and_all_else_works(loop_xfs, options):
    home = str(loop_xfs(options) / "home")
    driver = Driver(home)
    assert dict(driver.status())["Project Quota"] == "false"
    with pytest.raises(QuotaNotSupported, match="only for overlay over xfs with 'pquota' mount option"):
        driver.create_read_write("layer", storage_opt={"size": "10M"})
    with pytest.raises(NotSupported, match=r"overlay2.size not supported. Filesystem does not support Project Quota"):
        Driver(home, ["overlay2.size=10M"])
    driver.create_read_write("layer")
    assert driver.layer("layer").quota is None


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_size_holds_through_the_mount_and_the_neighbour_goes_on(based):
    based.create_read_write("limited", "base", {"size": "5M"})
    based.create_read_write("free", "base")
    limited, free = based.get("limited"), based.get("free")
    assert fill(limited + "/big", 10 * MIB)[0] == errno.ENOSPC
    assert fill(free + "/big", 10 * MIB) == (0, 10 * MIB)
    assert is_full(based.layer("limited").quota)
    for layer in ("limited", "free"):
        based.put(layer)


def test_copying_up_a_lower_file_counts(based):
    based.create_read_write("layer", "base", {"size": "5M"})
    path = based.get("layer")
    before = based.layer("layer").quota.used
    with open(path + "/file", "ab") as stream:
        stream.write(b"x")
    assert MIB <= based.layer("layer").quota.used - before <= MIB + 64 * 1024
    based.put("layer")


def test_figures_of_all_layers_are_those_of_xfs_quota(based, report):
    for number in range(1, 4):
        based.create_read_write(f"l{number}", "base", {"size": f"{10 * number}M"})
        fill(based.get(f"l{number}") + "/file", number * MIB)
        based.put(f"l{number}")
    os.sync()
    for driver in (based, Driver(based.home, read_only=True)):
        quotas = {layer.id: layer.quota for layer in driver.layers()}
        assert quotas["base"] is None
        for number in range(1, 4):
            usage = quotas[f"l{number}"]
            assert usage.limit == 10 * number * MIB
            assert usage[1:] == (report.row(usage.project_id).limit, *report.row(usage.project_id)[::2])


def test_the_default_size_is_for_read_write_layers_and_a_size_of_ones_own_wins(home):
    driver = Driver(home, ["overlay2.size=8M"])
    driver.create("base")
    driver.create_read_write("default", "base")
    driver.create_read_write("own", "base", {"size": "16M"})
    driver.create_read_write("none", "base", {"size": "0"})
    limits = {layer.id: layer.quota and layer.quota.limit for layer in driver.layers()}
    assert limits == {"base": None, "default": 8 * MIB, "own": 16 * MIB, "none": None}


def test_a_read_only_layer_takes_no_size(driver):
    with pytest.raises(OptionError, match="only supported for ReadWrite Layers"):
        driver.create("layer", storage_opt={"size": "10M"})
    assert not driver.exists("layer")


def test_the_size_of_a_layer_can_be_changed_and_lifted(based, report):
    based.create_read_write("layer", "base", {"size": "2M"})
    path = based.get("layer")
    assert fill(path + "/big", 4 * MIB)[0] == errno.ENOSPC
    based.set_quota("layer", 3 * MIB)
    assert fill(path + "/big", 4 * MIB)[0] == errno.ENOSPC
    assert is_full(based.layer("layer").quota)
    based.set_quota("layer", 0)
    assert fill(path + "/big", 4 * MIB) == (0, 4 * MIB)
    assert based.layer("layer").quota.limit == report.row(based.layer("layer").quota.project_id).limit == 0
    based.put("layer")


def test_a_layer_made_without_a_size_cannot_get_one(based):
    with pytest.raises(Overlay2Error, match="created without a size") as refused:
        based.set_quota("base", MIB)
    assert refused.value.layer == "base"


def test_a_size_too_small_for_the_layer_itself_is_told_and_leaves_nothing(driver, report):
    with pytest.raises(Overlay2Error, match="No space left on device") as refused:
        driver.create_read_write("layer", storage_opt={"size": "4k"})
    assert refused.value.layer == "layer"
    assert "quota" in refused.value.remedy
    assert not driver.exists("layer")
    report.wait_until_unused()


def test_a_layer_that_is_full_to_the_brim_says_that_its_mount_point_needs_room(based):
    based.create_read_write("layer", "base", {"size": "2M"})
    path = based.get("layer")
    with open(path + "/small", "wb"):
        pass
    fill(path + "/big", 4 * MIB)
    while not fill(path + "/small", 4096)[0]:
        pass
    usage = based.layer("layer").quota
    assert usage.used == usage.limit
    based.put("layer")
    with pytest.raises(MountError, match="No space left on device") as refused:
        based.get("layer")
    assert "raise the quota" in refused.value.remedy
    assert based.holders("layer") == {}
    based.set_quota("layer", 3 * MIB)
    os.unlink(based.get("layer") + "/big")
    based.put("layer")
    based.set_quota("layer", 2 * MIB)
    wait_until(lambda: based.layer("layer").quota.used <= MIB)
    assert fill(based.get("layer") + "/small", MIB) == (0, MIB)
    based.put("layer")


# --- ids --------------------------------------------------------------------------------------------------------------


def test_ids_are_not_reused_while_in_use_after_a_restart_either(driver, report):
    for name in ("a", "b"):
        driver.create_read_write(name, storage_opt={"size": "1M"})
    ids = {name: driver.layer(name).quota.project_id for name in ("a", "b")}
    driver.remove("a")
    wait_until(lambda: ids["a"] not in report.rows())
    again = Driver(driver.home)
    again.create_read_write("c", storage_opt={"size": "1M"})
    assert again.layer("c").quota.project_id not in ids.values()
    assert again.layer("b").quota.project_id == ids["b"]


def test_a_removed_layer_leaves_no_limit(driver, report):
    driver.create_read_write("layer", storage_opt={"size": "10M"})
    fill(driver.get("layer") + "/big", MIB)
    driver.remove("layer")
    report.wait_until_unused()


def test_a_failed_create_leaves_no_limit(driver, report):
    with pytest.raises(Overlay2Error):
        driver.create_read_write("layer", storage_opt={"size": "10M"}, diff=io.BytesIO(b"no archive" * 200))
    report.wait_until_unused()


def test_a_layer_removed_from_another_engines_home_leaves_no_limit(driver, report):
    driver.create_read_write("layer", storage_opt={"size": "10M"}, diff=archive({"file": MIB}))
    Driver(driver.home, read_only=True, probe=False).opened.staging.remove_in_place("layer")
    assert not driver.exists("layer")
    report.wait_until_unused()


def repaired(home):
    driver = Driver(home, read_only=True, probe=False)
    assert [step.code for step in repair.perform(driver, repair.plan(driver))] == ["staging-leftover"]


@pytest.mark.parametrize("sweep", [Driver, repaired])
def test_what_a_killed_process_staged_leaves_no_limit(driver, report, sweep):
    code = (
        "import os, signal, sys\n"
        "from overlay2 import Driver\n"
        "class Deadly:\n"
        "    def read(self, size=-1):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "Driver(sys.argv[1]).create_read_write('layer', storage_opt={'size': '10M'}, diff=Deadly())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, driver.home], check=False)
    assert done.returncode == -signal.SIGKILL
    assert any(row.limit for row in report.rows().values())
    sweep(driver.home)
    report.wait_until_unused()


# --- content ----------------------------------------------------------------------------------------------------------


def test_content_given_at_creation_counts(driver):
    driver.create_read_write("layer", storage_opt={"size": "10M"}, diff=archive({"file": 3 * MIB}))
    assert 3 * MIB <= driver.layer("layer").quota.used <= 3 * MIB + 64 * 1024


def test_an_archive_too_large_is_refused_as_a_whole(driver, report):
    with pytest.raises(Overlay2Error, match="No space left on device") as refused:
        driver.create_read_write("layer", storage_opt={"size": "2M"}, diff=archive({"file": 3 * MIB}))
    assert refused.value.layer == "layer"
    assert "quota" in refused.value.remedy
    assert not driver.exists("layer")
    report.wait_until_unused()


def test_an_apply_counts_in_the_layers_project_and_one_too_large_leaves_it_empty(driver):
    driver.create_read_write("layer", storage_opt={"size": "4M"})
    with pytest.raises(Overlay2Error, match="No space left on device"):
        driver.apply_diff("layer", "", archive({"big": 5 * MIB}))
    assert os.listdir(os.path.join(driver.home, "layer", "diff")) == []
    assert driver.layer("layer").quota.used < MIB
    driver.apply_diff("layer", "", archive({"file": 3 * MIB}))
    assert driver.layer("layer").quota.limit == 4 * MIB
    assert 3 * MIB <= driver.layer("layer").quota.used <= 3 * MIB + 64 * 1024


def test_replacing_content_needs_room_for_the_new_alone(driver, report):
    driver.create_read_write("layer", storage_opt={"size": "4M"})
    driver.apply_diff("layer", "", archive({"old": 3 * MIB}))
    with open(os.path.join(driver.home, "layer", "foreign"), "w") as stream:
        stream.write("another program's")
    driver.apply_diff("layer", "", archive({"new": 3 * MIB}), replace=True)
    assert os.listdir(os.path.join(driver.home, "layer", "diff")) == ["new"]
    with open(os.path.join(driver.home, "layer", "foreign")) as stream:
        assert stream.read() == "another program's"
    usage = driver.layer("layer").quota
    assert usage.limit == 4 * MIB
    assert 3 * MIB <= usage.used <= 3 * MIB + 64 * 1024
    wait_until(lambda: set(report.rows()) <= {0, usage.project_id})


def test_replacing_content_keeps_a_lifted_limit_lifted(driver):
    driver.create_read_write("layer", storage_opt={"size": "4M"})
    driver.set_quota("layer", 0)
    driver.apply_diff("layer", "", archive({"new": 6 * MIB}))
    assert driver.layer("layer").quota.limit == 0
    driver.set_quota("layer", 8 * MIB)
    assert driver.layer("layer").quota.limit == 8 * MIB


# --- a home that is itself a project ----------------------------------------------------------------------------------


def test_in_a_home_with_a_project_each_layer_counts_where_it_should(home, report):
    report.run(f"project -s -p {home} 7", "limit -p bhard=64m 7")
    driver = Driver(home)
    driver.create("base", diff=archive({"file": 2 * MIB}))
    driver.create_read_write("own", "base", {"size": "10M"})
    driver.create_read_write("plain", "base")
    fill(driver.get("own") + "/file", 3 * MIB)
    fill(driver.get("plain") + "/file", 5 * MIB)
    for name in ("own", "plain"):
        driver.put(name)
    os.sync()
    assert {layer.id: layer.quota is None for layer in driver.layers()} == {"base": True, "own": False, "plain": True}
    # 2 MiB in base, the same copied up into plain and 5 MiB behind it; what own holds counts in its own project
    assert 9 * MIB <= report.row(7).used <= 9 * MIB + 256 * 1024
    assert report.row(driver.layer("own").quota.project_id).limit == 10 * MIB
    driver.apply_diff("own", "base", archive({"new": MIB}), replace=True)
    for name in ("own", "plain", "base"):
        driver.remove(name)
    wait_until(lambda: report.row(7).used < MIB)
    assert report.row(7).limit == 64 * MIB
