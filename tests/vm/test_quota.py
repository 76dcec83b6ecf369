# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""home/quota.py on an XFS with project quota: the kernel enforces the limits, and xfs_quota reports them."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from overlay2.errors import Overlay2Error, QuotaNotSupported
from overlay2.home.quota import QuotaControl, QuotaUsage
from overlay2.linux import fs, fsxattr, quotactl

MIB = 1 << 20


def new_layer(control, name, size, content=True):
    """A layer's folder (Path) with a quota, made as the driver creates it: first the id, then `diff` and `work`."""
    layer = Path(control.home, name)
    layer.mkdir(parents=True)
    control.assign(str(layer), size)
    if content:
        (layer / "diff").mkdir()
        (layer / "work").mkdir()
    return layer


def remove(control, name):
    """Delete a layer's folder as the driver does."""
    with control.releasing(os.path.join(control.home, name)):
        shutil.rmtree(os.path.join(control.home, name))


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


def wait_until(condition):
    """Wait for XFS, which frees what was deleted a moment later, in the background."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def attributes(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return fsxattr.get(descriptor)
    finally:
        os.close(descriptor)


def project_of(path):
    return attributes(path).project_id


@pytest.fixture
def control(home):
    return QuotaControl.open(home)


# --- opening ----------------------------------------------------------------------------------------------------------


def test_opening_puts_nothing_into_the_home_and_takes_the_first_id_as_probe(control):
    assert os.listdir(control.home) == []
    assert control.base_id == 0
    assert project_of(new_layer(control, "first", MIB)) == 2


def test_probe_needs_no_privilege_and_reading_says_that_it_does(home):
    control = QuotaControl.open(home)
    new_layer(control, "layer", MIB)
    for path in (home, home + "/layer", str(Path(home).parent)):
        os.chmod(path, 0o755)
    code = (
        "import os, sys; os.setgid(65534); os.setuid(65534)\n"
        "from overlay2.home.quota import QuotaControl\n"
        "QuotaControl.probe(sys.argv[1])\n"
        "try:\n    QuotaControl(sys.argv[1], 0).get(sys.argv[1] + '/layer')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
        "try:\n    QuotaControl.open(sys.argv[1])\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, home], capture_output=True, text=True, check=True)
    reading, opening = done.stdout.splitlines()
    assert reading.startswith("Overlay2Error can't read the project quota: Operation not permitted")
    assert opening.startswith("QuotaNotSupported can't set project quota: Operation not permitted")


def test_by_a_device_node_as_on_a_kernel_before_5_14(home, report, overlay, monkeypatch):
    monkeypatch.setattr(quotactl, "has_descriptor_call", lambda: False)
    with pytest.raises(QuotaNotSupported, match="no node of the file system"):
        # /dev/block is udev's, and the guest has none
        QuotaControl.probe(home)
    control = QuotaControl.open(home)
    assert stat.S_ISBLK(os.stat(home + "/backingFsBlockDev").st_mode)
    QuotaControl.probe(home)
    layer = new_layer(control, "layer", 4 * MIB)
    assert fill(overlay(layer) / "file", 8 * MIB) == (errno.ENOSPC, 4 * MIB)
    assert control.get(str(layer)).limit == report.row(2).limit == 4 * MIB
    control.set_limit(2, 6 * MIB)
    assert control.get(str(layer)).limit == report.row(2).limit == 6 * MIB


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("noquota", "it is not enabled"),
        ("uquota", "is not enabled"),
        ("pqnoenforce", "is counted but not enforced"),
    ],
)
def test_an_xfs_without_project_quota_says_what_is_missing(loop_xfs, options, words):
    point = loop_xfs(options)
    for attempt in (QuotaControl.open, QuotaControl.probe):
        with pytest.raises(QuotaNotSupported, match=words) as refused:
            attempt(str(point))
        assert "'pquota'" in refused.value.remedy
    assert os.listdir(point) == []


def test_on_a_read_only_mount_limits_can_be_read_but_not_set(loop_xfs):
    point = loop_xfs("pquota")
    layer = new_layer(QuotaControl.open(str(point)), "layer", MIB)
    subprocess.run(["mount", "-o", "remount,ro", point], check=True)
    QuotaControl.probe(str(point))
    assert QuotaControl(str(point), 0).get(str(layer)).limit == MIB
    with pytest.raises(QuotaNotSupported, match="Read-only"):
        QuotaControl.open(str(point))


# --- limits -----------------------------------------------------------------------------------------------------------


def test_the_limit_holds_through_an_overlay_and_the_neighbour_goes_on(control, overlay):
    limited, neighbour = new_layer(control, "limited", 5 * MIB), new_layer(control, "neighbour", 50 * MIB)
    assert fill(overlay(limited) / "big", 10 * MIB) == (errno.ENOSPC, 5 * MIB)
    assert fill(overlay(neighbour) / "big", 10 * MIB) == (0, 10 * MIB)


def test_the_overlay_shows_the_limit_as_its_size(control, overlay):
    shown = os.statvfs(overlay(new_layer(control, "layer", 5 * MIB)))
    assert shown.f_blocks * shown.f_frsize == 5 * MIB


def test_at_the_limit_a_lower_file_cannot_be_deleted_either(control, overlay):
    layer = new_layer(control, "layer", MIB)
    lower = layer.parent / "layer-lower"
    lower.mkdir()
    # Names too long to fit beside each other into the folder's inode: each whiteout takes a block of its own.
    for number in range(4):
        (lower / (str(number) + "x" * 200)).touch()
    merged = overlay(layer)
    assert fill(merged / "big", 2 * MIB)[0] == errno.ENOSPC
    with pytest.raises(OSError) as refused:
        [path.unlink() for path in merged.glob("?x*")]
    assert refused.value.errno == errno.ENOSPC
    (merged / "big").unlink()


def test_what_lies_below_inherits_the_id(control, overlay):
    merged = overlay(new_layer(control, "layer", 5 * MIB))
    (merged / "folder").mkdir()
    (merged / "folder" / "file").touch()
    layer = merged.parent
    for path in (layer, layer / "diff", layer / "work", layer / "diff/folder", layer / "diff/folder/file"):
        assert project_of(path) == 2
    assert attributes(layer / "diff/folder").inherited


@pytest.mark.parametrize(
    ("size", "limit"),
    [(0, 0), (1, 4096), (511, 4096), (4096, 4096), (4097, 4096), (4608, 8192), (1 << 40, 1 << 40)],
)
def test_sizes_are_cut_to_512_bytes_as_in_docker_and_rounded_up_to_blocks_by_xfs(control, report, size, limit):
    layer = new_layer(control, "layer", size, content=False)
    assert control.get(str(layer)).limit == limit
    assert report.row(2).limit == limit


def test_a_limit_of_a_few_blocks_is_too_small_for_an_empty_layer(control):
    """XFS reserves space for the worst case before it makes a folder; the driver's create has to say so."""
    with pytest.raises(OSError) as refused:
        new_layer(control, "layer", 4096)
    assert refused.value.errno == errno.ENOSPC


def test_a_limit_can_be_raised_lowered_and_lifted(control, report, overlay):
    layer = new_layer(control, "layer", 2 * MIB)
    big = overlay(layer) / "big"
    assert fill(big, 4 * MIB) == (errno.ENOSPC, 2 * MIB)
    control.set_limit(2, 3 * MIB)
    assert fill(big, 4 * MIB) == (errno.ENOSPC, MIB)
    control.set_limit(2, MIB)
    assert control.get(str(layer))[1:3] == (MIB, 3 * MIB)
    assert fill(big, 1) == (errno.ENOSPC, 0)
    control.set_limit(2, 0)
    assert report.row(2).limit == control.get(str(layer)).limit == 0
    assert fill(big, 8 * MIB) == (0, 8 * MIB)


def test_usage_is_what_xfs_quota_reports(control, report, overlay):
    first, second = new_layer(control, "first", 64 * MIB), new_layer(control, "second", 64 * MIB)
    merged = overlay(first)
    for number in range(50):
        (merged / f"file{number}").write_bytes(b"x" * 1000 * number)
    fill(overlay(second) / "big", 7 * MIB)
    os.sync()
    for layer in (first, second):
        usage = control.get(str(layer))
        row = report.row(usage.project_id)
        assert usage == QuotaUsage(usage.project_id, row.limit, row.used, row.inodes)
        assert usage.used == int(subprocess.check_output(["du", "-sx", "-B1", layer]).split()[0])
    # layer, diff, work, work/work, merged and the files
    assert control.get(str(first)).inodes == 5 + 50


def test_a_folder_without_a_project_of_its_own_has_no_quota(control):
    os.mkdir(control.home + "/plain")
    assert control.get(control.home + "/plain") is None
    assert control.get(control.home) is None


# --- ids --------------------------------------------------------------------------------------------------------------


def test_ids_go_up_and_are_not_reused_while_in_use(control):
    assert [project_of(new_layer(control, name, MIB)) for name in "abc"] == [2, 3, 4]
    remove(control, "b")
    assert project_of(new_layer(control, "d", MIB)) == 5


def test_after_a_restart_numbering_goes_on_above_what_is_there(control):
    for name in "abc":
        new_layer(control, name, MIB)
    remove(control, "a")
    assert project_of(new_layer(QuotaControl.open(control.home), "d", MIB)) == 5


def test_a_removed_layers_id_is_free_once_its_limit_is_lifted_and_not_before(control, report):
    shutil.rmtree(new_layer(control, "a", MIB))
    assert project_of(new_layer(QuotaControl.open(control.home), "b", MIB)) == 3
    remove(control, "b")
    wait_until(lambda: 3 not in report.rows())
    assert report.row(2).limit == MIB
    assert project_of(new_layer(QuotaControl.open(control.home), "c", MIB)) == 3


def test_a_project_that_layers_share_keeps_its_limit_as_long_as_one_is_there(control, report):
    for name in ("a", "b"):
        Path(control.home, name).mkdir()
        report.run(f"project -s -p {control.home}/{name} 9", "limit -p bhard=3m 9")
    remove(control, "a")
    assert report.row(9).limit == 3 * MIB
    remove(control, "b")
    wait_until(lambda: 9 not in report.rows())


def test_a_file_that_is_open_but_deleted_still_holds_its_id(control):
    layer = new_layer(control, "a", MIB)
    with open(layer / "diff" / "file", "wb") as stream:
        stream.write(bytes(MIB // 2))
        remove(control, "a")
        assert project_of(new_layer(QuotaControl.open(control.home), "b", MIB)) == 3


def test_ids_of_other_processes_of_staged_layers_and_of_other_homes_are_seen(control, folder):
    other_process = QuotaControl.open(control.home)
    (folder / "other").mkdir()
    other_home = QuotaControl.open(str(folder / "other"))
    controls = (control, other_process, other_home, control, other_home)
    made = [project_of(new_layer(user, f"{n}", MIB)) for n, user in enumerate(controls)]
    made.append(project_of(new_layer(other_process, ".staging/x", MIB)))
    made.append(project_of(new_layer(control, "z", MIB)))
    assert made == [2, 3, 4, 5, 6, 7, 8]


def test_a_project_of_the_administrators_is_passed_over(control, report):
    report.run("limit -p bhard=1m 3")
    assert [project_of(new_layer(control, name, MIB)) for name in "ab"] == [2, 4]
    assert report.row(3).limit == MIB


def assign_many(home, start, results):
    control = QuotaControl.open(home)
    start.wait()
    for number in range(40):
        layer = Path(home, str(number))
        layer.mkdir()
        results.put(control.assign(str(layer), MIB))


def test_two_homes_at_the_same_moment_get_different_ids(folder):
    start, results = multiprocessing.Barrier(2), multiprocessing.Queue()
    workers = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        workers.append(multiprocessing.Process(target=assign_many, args=(str(folder / name), start, results)))
    for worker in workers:
        worker.start()
    ids = [results.get(timeout=60) for _round in range(80)]
    for worker in workers:
        worker.join(60)
    assert len(set(ids)) == 80


def test_an_id_that_another_home_takes_at_the_same_moment_is_given_up(control, folder, monkeypatch):
    set_project = fsxattr.set_project

    def set_second(descriptor, project_id):
        monkeypatch.undo()
        (folder / "elsewhere").mkdir()
        other = os.open(folder / "elsewhere", os.O_RDONLY)
        set_project(other, project_id)
        os.close(other)
        return set_project(descriptor, project_id)

    monkeypatch.setattr(fsxattr, "set_project", set_second)
    layer = new_layer(control, "layer", MIB)
    assert project_of(folder / "elsewhere") == 2
    assert project_of(layer) > 2
    assert control.get(str(layer)).limit == MIB


def test_an_assignment_that_fails_leaves_no_id(control):
    layer = Path(control.home, "layer")
    (layer / "diff").mkdir(parents=True)
    before = attributes(layer)
    with pytest.raises(Overlay2Error, match="not empty"):
        control.assign(str(layer), MIB)
    assert attributes(layer) == before
    assert project_of(layer) == 0


# --- layers that move -------------------------------------------------------------------------------------------------


def test_a_staged_layer_moves_in_by_rename_and_takes_anothers_place_by_exchange(control, report):
    layer = Path(control.home, "layer")
    staged = new_layer(control, ".staging/x", 10 * MIB)
    fill(staged / "diff" / "old", MIB)
    staged.rename(layer)
    staged = new_layer(control, ".staging/y", 10 * MIB)
    fill(staged / "diff" / "new", 3 * MIB)
    fs.rename(str(staged), str(layer), fs.RENAME_EXCHANGE)
    assert control.get(str(layer))[:3] == (3, 10 * MIB, 3 * MIB)
    remove(control, ".staging/y")
    wait_until(lambda: 2 not in report.rows())
    assert report.row(3)[:2] == (3 * MIB, 10 * MIB)


@pytest.fixture
def project_home(home, report):
    """A home that the administrator made project 7, with a limit, as Docker's documentation has it."""
    report.run(f"project -s -p {home} 7", "limit -p bhard=20m 7")
    assert attributes(home).inherited
    return home


def test_in_a_home_that_is_a_project_layers_still_move_in_and_out(project_home):
    for name in ("l", ".staging"):
        os.mkdir(os.path.join(project_home, name))  # inherit the flag, as in a home first used without quota
    control = QuotaControl.open(project_home)
    assert control.base_id == 7
    assert not attributes(project_home).inherited
    staged = new_layer(control, ".staging/one", MIB)
    assert project_of(staged) == 9
    os.rename(staged, project_home + "/layer")
    replacement = new_layer(control, ".staging/two", MIB)
    fs.rename(str(replacement), project_home + "/layer", fs.RENAME_EXCHANGE)
    assert project_of(project_home + "/layer") == 10
    os.rename(project_home + "/layer", project_home + "/.staging/gone")
    os.symlink("../layer/diff", project_home + "/.staging/link")
    os.rename(project_home + "/.staging/link", project_home + "/l/LINK")


def test_in_a_home_that_is_a_project_layers_without_a_size_count_there(project_home, report):
    control = QuotaControl.open(project_home)
    own = new_layer(control, "own", 40 * MIB)
    plain = Path(project_home, ".staging", "plain")
    plain.mkdir(parents=True)
    control.join_home(str(plain))
    (plain / "diff").mkdir()
    os.rename(plain, project_home + "/plain")
    assert control.get(project_home + "/plain") is None
    assert fill(own / "diff" / "file", 30 * MIB) == (0, 30 * MIB)
    assert fill(Path(project_home, "plain/diff/file"), 30 * MIB)[0] == errno.ENOSPC
    assert report.row(7).limit == 20 * MIB
    with pytest.raises(Overlay2Error, match="not a layer's own"):
        control.set_limit(7, MIB)
