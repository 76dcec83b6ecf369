# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Who holds which mount: counts that all processes share and that the kernel's mount table has to bear out."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import threading

import pytest
from overlay2 import Driver
from overlay2.errors import LayerDamaged, LayerInUse, LayerNotFound, MountError, Overlay2Error
from overlay2.home.holders import ANONYMOUS, NOBODY, Holders, Record
from overlay2.home.locks import RuntimeState
from support import homes, host, trees


@pytest.fixture
def driver(home):
    """A driver with `base`, `image` (committed, with a file), and `box` on top."""
    made = Driver(home, ["overlay2.sync=none"])
    made.create("base")
    made.create("image", "base", diff=trees.stream({"etc/": None, "etc/conf": b"one"}))
    made.create_read_write("box", "image")
    return made


def merged(driver, layer="box"):
    return os.path.join(driver.home, layer, "merged")


def record_file(run_root, layer="box"):
    """Path of the layer's reference record."""
    (home,) = os.listdir(run_root)
    return os.path.join(run_root, home, "holders", layer)


def write_record(path, content):
    """Put a file with *content* (bytes) in the place of a record, which is a symbolic link."""
    os.unlink(path)
    with open(path, "xb") as target:
        target.write(content)


def mount_by_hand(driver, layer="box"):
    """Mount a layer as another program would, without any reference."""
    folder, metadata = merged(driver, layer), driver.get_metadata(layer)
    os.makedirs(folder, exist_ok=True)
    options = "index=off,lowerdir={LowerDir},upperdir={UpperDir},workdir={WorkDir}".format(**metadata)
    if driver.features.userxattr:
        options = "userxattr," + options
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder], check=True)


# --- what counts ------------------------------------------------------------------------------------------------------


def test_the_anonymous_count_rises_and_falls(driver):
    for count in (1, 2, 3):
        assert driver.get("box") == merged(driver)
        assert driver.holders("box") == {"": count}
    for count in (2, 1):
        driver.put("box")
        assert driver.holders("box") == {"": count}
        assert driver.mounted("box")
    driver.put("box")
    assert driver.holders("box") == {}
    assert not driver.mounted("box")
    assert not os.path.lexists(merged(driver))


def test_a_named_holder_counts_once(driver):
    for _unused in range(3):
        assert driver.get("box", holder="web") == merged(driver)
    assert driver.holders("box") == {"web": 1}
    driver.get("box", holder="db")
    assert driver.holders("box") == {"web": 1, "db": 1}
    driver.put("box", holder="web")
    assert driver.holders("box") == {"db": 1}
    assert driver.mounted("box")
    driver.put("box", holder="db")
    assert host.mounts_below(driver.home) == []


def test_names_and_the_anonymous_add_up(driver):
    driver.get("box")
    driver.get("box", holder="web")
    driver.get("box")
    assert driver.holders("box") == {"": 2, "web": 1}
    driver.put("box", holder="web")
    driver.put("box")
    assert driver.holders("box") == {"": 1}
    driver.put("box")
    assert not driver.mounted("box")


def test_a_put_of_who_holds_nothing_changes_nothing_where_others_hold(driver, run_root):
    driver.get("box", holder="web")
    before = os.readlink(record_file(run_root))
    mounts = host.mounts_below(driver.home)
    for holder in (None, "db", ""):
        driver.put("box", holder=holder)
        driver.put("box", holder=holder)
    assert driver.holders("box") == {"web": 1}
    assert os.readlink(record_file(run_root)) == before
    assert host.mounts_below(driver.home) == mounts
    driver.put("box", holder="web")
    driver.get("box")
    driver.put("box", holder="web")
    assert driver.holders("box") == {"": 1}
    driver.put("box")


def test_an_empty_name_is_the_anonymous_holder(driver):
    driver.get("box", holder="")
    driver.get("box")
    assert driver.holders("box") == {"": 2}
    driver.put_all("box")


@pytest.mark.parametrize("name", ["ansible", "ünï", "a\nb", "\udcff", "x" * 5000, "0", "../../x", " ", "null", '"'])
def test_a_holder_may_have_any_name(driver, name):
    driver.get("box", holder=name)
    driver.get("box", holder=name)
    driver.get("box", holder=name + "2")
    assert Driver(driver.home).holders("box") == {name: 1, name + "2": 1}
    with pytest.raises(LayerInUse) as refused:
        driver.remove("box", guard=True)
    assert str(refused.value).isprintable()
    driver.put("box", holder=name)
    driver.put("box", holder=name + "2")
    assert not driver.mounted("box")


def test_each_layer_has_its_own_count(driver):
    driver.get("box", holder="web")
    driver.get("image", holder="web")
    assert driver.mounted_layers() == ["box", "image"]
    driver.put("box", holder="web")
    assert driver.holders("image") == {"web": 1}
    assert driver.mounted_layers() == ["image"]
    driver.put("image", holder="web")
    assert driver.mounted_layers() == []


def test_put_all_drops_everybody(driver):
    driver.get("box", holder="web")
    driver.get("box")
    driver.put_all("box")
    assert driver.holders("box") == {}
    assert host.mounts_below(driver.home) == []
    assert not os.path.lexists(merged(driver))
    driver.put_all("box")
    driver.put_all("base")
    driver.put_all("gone")


def test_what_is_not_there_is_put_and_told_without_a_trace(driver, run_root):
    driver.get("box")  # so that the folders exist
    before = trees.paths_below(run_root)
    driver.put("gone")
    driver.put("gone", holder="web")
    driver.put_all("gone")
    assert driver.holders("gone") == {}
    assert not driver.mounted("gone")
    with pytest.raises(LayerNotFound):
        driver.get("gone")
    assert trees.paths_below(run_root) == before
    driver.put("box")


# --- layers without parent --------------------------------------------------------------------------------------------


def test_a_layer_without_parent_is_its_own_folder(driver, run_root):
    path = driver.get("base")
    assert path == os.path.join(driver.home, "base", "diff")
    trees.write_tree(path, {"new": b""})  # writable, though it is a parent
    assert driver.holders("base") == {}
    assert host.mounts_below(driver.home) == []
    assert not os.path.lexists(record_file(run_root, "base"))
    driver.get("base", holder="web")
    driver.get("base", holder="web")
    assert driver.holders("base") == {"web": 1}
    assert not driver.mounted("base")
    driver.put("base")
    assert Driver(driver.home).holders("base") == {"web": 1}
    assert driver.mounted_layers() == ["base"]
    driver.put("base", holder="web")
    assert driver.holders("base") == {}
    assert not os.path.lexists(merged(driver, "base"))


def test_a_folder_that_somebody_was_given_is_not_replaced(driver):
    path = driver.get("base", holder="web")
    with pytest.raises(LayerInUse, match="held by web"):
        driver.apply_diff("base", "", trees.stream({"new": b""}))
    driver.put("base", holder="web")
    driver.apply_diff("base", "", trees.stream({"new": b""}))
    assert os.listdir(path) == ["new"]


# --- what the mount is ------------------------------------------------------------------------------------------------


def test_a_mount_shows_the_chain_and_keeps_changes_in_the_layer(driver):
    path = driver.get("box")
    assert host.filesystem_type(path) == "overlay"
    assert homes.content_of(path, "etc/conf") == "one"
    trees.write_tree(path, {"etc/conf": b"two", "new": b"3"})
    assert homes.content_of(driver.home, "box/diff/etc/conf") == "two"
    assert homes.content_of(driver.home, "image/diff/etc/conf") == "one"
    driver.put("box")
    assert homes.content_of(driver.get("box"), "etc/conf") == "two"
    driver.put("box")


def test_a_committed_layer_is_mounted_read_only(driver):
    path = driver.get("image")
    assert homes.content_of(path, "etc/conf") == "one"
    with pytest.raises(OSError) as refused:
        trees.write_tree(path, {"new": b""})
    assert refused.value.errno == errno.EROFS
    driver.put("image")
    path = driver.get("box")
    trees.write_tree(path, {"new": b""})
    driver.put("box")
    driver.create("child", "box")
    path = driver.get("box")
    with pytest.raises(OSError, match="Read-only"):
        os.unlink(path + "/new")
    driver.put("box")


def test_a_layer_that_becomes_a_parent_while_mounted_is_read_only_from_the_next_mount_on(driver):
    path = driver.get("box")
    driver.create("child", "box")
    trees.write_tree(path, {"late": b""})
    driver.put("box")
    assert sorted(os.listdir(driver.get("child"))) == ["etc", "late"]
    with pytest.raises(OSError, match="Read-only"):
        trees.write_tree(driver.get("box"), {"later": b""})
    driver.put("box")
    driver.put("child")


# --- the kernel has the last word -------------------------------------------------------------------------------------


def test_a_left_over_mount_is_no_reference(driver, run_root):
    mount_by_hand(driver)
    assert driver.mounted("box")
    assert driver.holders("box") == {}
    assert driver.get("box") == merged(driver)
    assert host.mounts_below(driver.home) == [merged(driver)]  # taken over, not mounted again
    assert driver.holders("box") == {"": 1}
    driver.put("box")
    assert host.mounts_below(driver.home) == []


def test_the_anonymous_put_of_an_unheld_layer_unmounts_a_left_over(driver):
    mount_by_hand(driver)
    driver.put("box")
    assert host.mounts_below(driver.home) == []
    assert not os.path.lexists(merged(driver))
    driver.put("box")  # nothing there at all: no error
    os.mkdir(merged(driver))
    driver.put("box")
    assert not os.path.lexists(merged(driver))


def test_mounts_stacked_on_one_point_all_go(driver):
    driver.get("box", holder="web")
    for _unused in range(3):
        subprocess.run(["mount", "--bind", merged(driver), merged(driver)], check=True)
    assert len(host.mounts_below(driver.home)) == 4
    assert driver.holders("box") == {"web": 1}
    driver.put("box", holder="web")
    assert host.mounts_below(driver.home) == []
    assert not os.path.lexists(merged(driver))


def test_a_busy_mount_is_detached(driver):
    path = driver.get("box")
    with open(path + "/etc/conf", "rb") as busy:
        driver.put("box")
        assert busy.read() == b"one"
    assert host.mounts_below(driver.home) == []
    assert driver.get("box") == path
    driver.put("box")


def test_references_are_void_where_the_kernel_has_nothing_mounted(driver, caplog):
    driver.get("box", holder="web")
    driver.get("box")
    subprocess.run(["umount", merged(driver)], check=True)
    assert driver.holders("box") == {}
    assert driver.mounted_layers() == []
    with caplog.at_level(logging.WARNING, "overlay2"):
        assert os.path.isfile(driver.get("box", holder="db") + "/etc/conf")
    assert "web, 1 anonymous" in caplog.text
    assert "void" in caplog.text
    assert driver.holders("box") == {"db": 1}
    driver.put("box", holder="db")
    assert not driver.mounted("box")


def test_a_put_of_void_references_says_so_and_leaves_no_count(driver, caplog, run_root):
    driver.get("box", holder="web")
    subprocess.run(["umount", merged(driver)], check=True)
    driver.put("box")
    assert "void" in caplog.text
    assert not os.path.lexists(record_file(run_root))
    assert not os.path.lexists(merged(driver))


def test_references_are_void_after_a_reboot(driver, run_root):
    driver.get("box", holder="web")
    driver.get("base", holder="web")
    for layer in ("box", "base"):
        path = record_file(run_root, layer)
        record = {**json.loads(os.readlink(path)), "boot_id": "00000000-0000-0000-0000-000000000000"}
        os.unlink(path)
        os.symlink(json.dumps(record), path)
        assert Driver(driver.home).holders(layer) == {}
    assert driver.mounted_layers() == ["box"]
    driver.get("box")
    assert driver.holders("box") == {"": 1}
    driver.put("box")
    driver.put("base", holder="web")
    assert host.mounts_below(driver.home) == []


@pytest.mark.parametrize("content", [
    b"", b"{", b"\xff", b"[]", b"7", b'{"boot_id": 1}', b'{"holders": {}}', b"[" * 100_000,
    b'{"boot_id": "BOOT", "mount_namespace": 0, "holders": {"web": "many"}}',
    b'{"boot_id": "BOOT", "mount_namespace": 0, "holders": ["web"]}',
    b'{"boot_id": "BOOT", "mount_namespace": 0, "holders": {"web": -1, "db": 0}}',
    b'{"boot_id": "BOOT", "mount_namespace": "x", "holders": {"web": 1}}',
])  # fmt: skip
def test_a_garbled_record_is_as_none(driver, run_root, content):
    driver.get("box", holder="web")
    with open("/proc/sys/kernel/random/boot_id", "rb") as source:
        content = content.replace(b"BOOT", source.read().strip())
    write_record(record_file(run_root), content)
    assert driver.holders("box") == {}
    assert driver.mounted_layers() == ["box"]
    driver.get("box")
    assert driver.holders("box") == {"": 1}
    driver.put("box")
    assert host.mounts_below(driver.home) == []


def test_something_else_on_the_mount_point_is_told_not_used(driver):
    os.mkdir(merged(driver))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", merged(driver)], check=True)
    assert not driver.mounted("box")
    assert driver.holders("box") == {}
    for call in (driver.get, driver.put):
        with pytest.raises(MountError, match="other than an overlay") as refused:
            call("box")
        assert refused.value.path == merged(driver)
        assert "umount" in refused.value.remedy
    driver.put_all("box")
    assert host.mounts_below(driver.home) == []


def test_cleanup_unmounts_all_below_the_home_and_voids_the_references(driver, real_tmp):
    driver.get("box", holder="web")
    driver.get("image")
    driver.get("base", holder="web")
    mount_by_hand_at = os.path.join(driver.home, "base", "diff", "tmp")
    os.mkdir(mount_by_hand_at)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount_by_hand_at], check=True)
    subprocess.run(["mount", "--bind", real_tmp, merged(driver)], check=True)
    driver.cleanup()
    assert host.mounts_below(driver.home) == []
    for layer in ("base", "image", "box"):
        assert driver.holders(layer) == {}
    driver.cleanup()
    driver.get("box", holder="web")
    assert driver.holders("box") == {"web": 1}
    driver.put("box", holder="web")


def test_cleanup_leaves_the_home_itself_mounted(tmpfs_home):
    driver = Driver(os.path.dirname(tmpfs_home))
    driver.create("base")
    driver.create("box", "base")
    driver.get("box")
    driver.cleanup()
    assert host.mounts_below(driver.home) == [driver.home]


# --- another program's mounts -----------------------------------------------------------------------------------------


@pytest.fixture
def theirs(driver):
    """`box` as another program made it, and mounted by it."""
    os.unlink(os.path.join(driver.home, "box", "strata.json"))
    mount_by_hand(driver)
    return driver


def test_another_program_s_mount_is_borrowed_and_left_as_it_was(theirs):
    theirs.get("box", holder="web")
    theirs.get("box")
    assert theirs.holders("box") == {"web": 1, "": 1}
    theirs.put("box")
    theirs.put("box", holder="web")
    assert host.mounts_below(theirs.home) == [merged(theirs)]
    theirs.put("box", holder="nobody")
    assert host.mounts_below(theirs.home) == [merged(theirs)]
    with pytest.raises(LayerInUse, match="another program"):
        theirs.remove("box", guard=True)
    theirs.put("box")  # as moby's: who asks for it gets it
    assert host.mounts_below(theirs.home) == []


def test_our_own_mount_of_another_program_s_layer_goes_with_its_last_reference(theirs):
    theirs.put_all("box")
    theirs.get("box", holder="web")
    theirs.put("box", holder="web")
    assert host.mounts_below(theirs.home) == []


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.path.exists("/sys/fs/selinux/enforce"), reason="with SELinux the kernel takes labels")
def test_a_mount_that_is_refused_leaves_nothing(driver, run_root):
    for _unused in range(2):
        with pytest.raises(MountError) as refused:
            driver.get("box", "system_u:object_r:svirt_t:s0:c1,c2", holder="web")
        assert refused.value.layer == "box"
    assert driver.holders("box") == {}
    assert host.mounts_below(driver.home) == []
    assert not os.path.lexists(merged(driver))
    assert not os.path.lexists(record_file(run_root))
    driver.get("box")
    driver.put("box")


def test_a_mount_whose_work_folder_is_missing_leaves_nothing(driver):
    os.rmdir(os.path.join(driver.home, "box", "work"))
    with pytest.raises((MountError, LayerDamaged)) as refused:
        driver.get("box")
    assert refused.value.layer == "box"
    assert host.mounts_below(driver.home) == []
    assert not os.path.lexists(merged(driver))


def test_a_mount_that_can_t_be_written_down_is_undone(driver, tmpfs_home, monkeypatch):
    mount_point = os.path.dirname(tmpfs_home)
    monkeypatch.setenv("OVERLAY2_RUN_ROOT", tmpfs_home)
    driver = Driver(driver.home)
    driver.get("image", holder="web")  # makes the folders
    info = os.statvfs(mount_point)
    subprocess.run(["mount", "-o", f"remount,nr_inodes={info.f_files - info.f_ffree + 1}", mount_point], check=True)
    with pytest.raises(Overlay2Error, match="o space left") as refused:
        driver.get("box", holder="web")  # one file more, the lock, is had
    assert refused.value.layer == "box"
    assert host.mounts_below(driver.home) == [merged(driver, "image")]
    assert driver.holders("box") == {}
    assert not os.path.lexists(merged(driver))
    # What is there stays usable: nothing has to be written to let go.
    with pytest.raises(Overlay2Error):
        driver.get("image", holder="db")
    assert driver.holders("image") == {"web": 1}
    driver.put("image", holder="web")
    assert host.mounts_below(driver.home) == []
    driver.get("box", holder="web")
    driver.put_all("box")


def test_a_runtime_folder_that_was_tidied_away_is_made_again(driver, run_root):
    driver.get("box", holder="web")
    shutil.rmtree(run_root)
    assert driver.holders("box") == {}
    driver.get("box", holder="db")
    assert driver.holders("box") == {"db": 1}
    shutil.rmtree(run_root)
    driver.create("new", "base")
    driver.put("box")
    assert host.mounts_below(driver.home) == []


def test_a_file_in_the_way_of_the_mount_point_is_told(driver):
    trees.write_tree(driver.home, {"box/merged": b"precious"})
    with pytest.raises(MountError) as refused:
        driver.get("box")
    assert refused.value.path == merged(driver)
    assert homes.content_of(merged(driver)) == "precious"


# --- processes and threads --------------------------------------------------------------------------------------------

PRELUDE = "import sys; from overlay2 import Driver; d = Driver(sys.argv[1], ['overlay2.sync=none'])\n"


def run_code(driver, code):
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code, driver.home], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_references_survive_the_process_that_took_them(driver):
    run_code(driver, "d.get('box', holder='web'); d.get('box'); d.get('box')")
    assert driver.holders("box") == {"web": 1, "": 2}
    assert driver.mounted("box")
    driver.get("box", holder="web")
    driver.put("box")
    output = run_code(driver, "print(d.holders('box')); d.put('box'); d.put('box', holder='web')")
    assert output == "{'web': 1, '': 1}\n"
    assert driver.holders("box") == {}
    assert host.mounts_below(driver.home) == []


HAMMER = """
import os, random
layer, number = "box", int(sys.argv[2])
rng = random.Random(number)
held = 0
for _ in range(60):
    if held and rng.random() < 0.5:
        d.put(layer, holder="h%d" % number if number % 2 else None)
        held = 0 if number % 2 else held - 1
    else:
        path = d.get(layer, holder="h%d" % number if number % 2 else None)
        held = 1 if number % 2 else held + 1
    if held:
        assert open(os.path.join(d.home, layer, "merged", "etc", "conf")).read() == "one"
        open(os.path.join(d.home, layer, "merged", "f%d" % number), "w").close()
print(held)
"""


def test_eight_processes_count_together(driver, spawn):
    command = [sys.executable, "-c", PRELUDE + HAMMER, driver.home]
    processes = [spawn([*command, str(number)], stdout=subprocess.PIPE, text=True) for number in range(8)]
    held = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    expected = {"h%d" % number: 1 for number in range(1, 8, 2) if held[number]}
    anonymous = sum(held[::2])
    assert driver.holders("box") == {**expected, **({"": anonymous} if anonymous else {})}
    assert len(host.mounts_below(driver.home)) == bool(sum(held))
    for name in expected:
        driver.put("box", holder=name)
    for _unused in range(anonymous):
        driver.put("box")
    assert driver.holders("box") == {}
    assert host.mounts_below(driver.home) == []
    assert len(os.listdir(os.path.join(driver.home, "box", "diff"))) == 8


def test_eight_threads_count_together(driver):
    failures = []

    def work(number):
        try:
            for _unused in range(40):
                path = driver.get("box", holder="t%d" % number if number % 2 else None)
                assert homes.content_of(path, "etc/conf") == "one"
                driver.put("box", holder="t%d" % number if number % 2 else None)
            driver.get("box", holder="t%d" % number if number % 2 else None)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert driver.holders("box") == {"": 4, "t1": 1, "t3": 1, "t5": 1, "t7": 1}
    driver.put_all("box")


# --- other mount namespaces -------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(driver, spawn):
    """A process that holds `box` mounted in a mount namespace of its own; ends when its input is closed."""
    code = PRELUDE + "d.get('box', holder='inside'); print('ready', flush=True); sys.stdin.read()"
    command = ["unshare", "--mount", sys.executable, "-c", code, driver.home]
    process = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def mounted_in(process, path):
    with open(f"/proc/{process.pid}/mountinfo") as table:
        return sum(line.split(" ")[4] == path for line in table)


def test_a_layer_mounted_in_another_namespace_is_in_use(driver, elsewhere):
    assert not driver.mounted("box")
    assert driver.holders("box") == {"inside": 1}
    for call in (lambda: driver.get("box"), lambda: driver.put("box"), lambda: driver.get("box", holder="inside")):
        with pytest.raises(LayerInUse, match="inside") as refused:
            call()
        assert str(elsewhere.pid) in refused.value.remedy
    with pytest.raises(LayerInUse):
        driver.remove("box", guard=True)
    assert mounted_in(elsewhere, merged(driver)) == 1
    assert driver.holders("box") == {"inside": 1}


def test_a_layer_mounted_in_another_namespace_is_not_replaced(driver, elsewhere):
    for layer, parent in (("box", "image"), ("image", "base")):
        with pytest.raises(LayerInUse):
            driver.apply_diff(layer, parent, trees.stream({"new": b""}), replace=True)
    assert os.listdir(os.path.join(driver.home, "image", "diff")) == ["etc"]


def test_put_all_reaches_into_other_namespaces(driver, elsewhere):
    driver.put_all("box")
    assert mounted_in(elsewhere, merged(driver)) == 0
    assert driver.holders("box") == {}
    driver.get("box")
    driver.put("box")


def test_references_end_with_the_namespace_that_had_the_mount(driver, elsewhere, caplog):
    elsewhere.communicate("", timeout=30)
    assert driver.holders("box") == {}
    assert os.path.isfile(driver.get("box") + "/etc/conf")
    assert "void" in caplog.text
    assert driver.holders("box") == {"": 1}
    driver.put("box")


def test_removal_reaches_into_other_namespaces(driver, elsewhere):
    driver.remove("box")
    assert mounted_in(elsewhere, merged(driver)) == 0
    assert not driver.exists("box")
    assert homes.flaws(driver.home) == []


# --- processes that use a mount ---------------------------------------------------------------------------------------


@pytest.fixture
def worker(spawn):
    """worker(folder, *prefix) starts a process that works in the folder, below a command, until its input ends."""

    def start(folder, *prefix):
        code = "import os, sys; os.chdir(sys.argv[1]); print('there', flush=True); sys.stdin.read()"
        command = [*prefix, sys.executable, "-c", code, folder]
        process = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "there\n"
        return process

    return start


def pids(users):
    return [user.pid for user in users]


def test_unmounting_names_the_processes_that_use_the_layer(driver, worker, caplog):
    process = worker(driver.get("box", holder="shop"))
    assert [(user.pid, user.use) for user in driver.users("box")] == [(process.pid, "cwd")]
    driver.put("box", holder="shop")
    assert f"layer box was unmounted while processes use it: {process.pid} (" in caplog.text
    assert not driver.mounted("box")
    assert driver.holders("box") == {}


def test_unmounting_an_idle_layer_says_nothing(driver, caplog):
    driver.get("box", holder="shop")
    assert driver.release("box", "shop") == ()
    assert caplog.text == ""
    assert driver.users("box") == ()


def test_release_returns_the_processes(driver, worker):
    process = worker(driver.get("box", holder="shop"))
    (user,) = driver.release("box", "shop")
    assert (user.pid, user.namespace) == (process.pid, os.stat("/proc/self/ns/mnt").st_ino)
    with open(f"/proc/{process.pid}/comm") as source:
        assert user.command == source.read().rstrip("\n")


@pytest.mark.parametrize("everybody", [False, True])
def test_strict_release_leaves_a_busy_layer_mounted(driver, worker, everybody):
    process = worker(driver.get("box", holder="shop"))
    with pytest.raises(LayerInUse, match=f"processes use it: {process.pid} "):
        driver.release("box", "shop", everybody=everybody, strict=True)
    assert driver.mounted("box")
    assert driver.holders("box") == {"shop": 1}
    process.communicate("", timeout=30)
    assert driver.release("box", "shop", everybody=everybody, strict=True) == ()
    assert not driver.mounted("box")


def test_strict_release_of_one_holder_of_two_unmounts_nothing(driver, worker):
    worker(driver.get("box", holder="shop"))
    driver.get("box", holder="web")
    assert driver.release("box", "web", strict=True) == ()
    assert driver.holders("box") == {"shop": 1}


def test_a_detached_layer_is_not_removed_from_under_a_process(driver, worker):
    process = worker(driver.get("box", holder="shop"))
    driver.put("box", holder="shop")
    for _again in range(2):
        with pytest.raises(LayerInUse, match=f"processes use it: {process.pid} "):
            Driver(driver.home).remove("box", guard=True)
    process.communicate("", timeout=30)
    driver.remove("box", guard=True)
    assert not driver.exists("box")
    assert homes.flaws(driver.home) == []


def test_a_detached_layer_keeps_its_content_while_a_process_uses_it(driver, worker):
    process = worker(driver.get("box", holder="shop"))
    driver.put("box", holder="shop")
    for layer, parent in (("box", "image"), ("image", "base")):
        with pytest.raises(LayerInUse, match=f"processes use it: {process.pid} "):
            driver.apply_diff(layer, parent, trees.stream({"new": b""}), replace=True)
    process.communicate("", timeout=30)
    driver.apply_diff("box", "image", trees.stream({"new": b""}), replace=True)


def test_a_detached_layer_is_remembered_across_mounts(driver, worker):
    process = worker(driver.get("box", holder="shop"))
    driver.put("box", holder="shop")
    driver.get("box", holder="shop")
    assert driver.release("box", "shop") == driver.users("box")
    assert pids(driver.users("box")) == [process.pid]
    with pytest.raises(LayerInUse, match=str(process.pid)):
        driver.remove("box", guard=True)


def test_a_new_mount_that_gets_the_old_device_number_is_not_mistaken(driver, worker):
    """The kernel gives out the number of an unmounted overlay again."""
    process = worker(driver.get("box", holder="shop"))
    device = os.stat(merged(driver)).st_dev
    driver.put("box", holder="shop")
    process.communicate("", timeout=30)
    driver.create_read_write("next", "image")
    other = worker(driver.get("next", holder="web"))
    if os.stat(merged(driver, "next")).st_dev == device:
        assert pids(driver.users("next")) == [other.pid]
    driver.remove("box", guard=True)
    assert not driver.exists("box")
    driver.put_all("next")


def test_an_unguarded_removal_asks_nobody(driver, worker):
    worker(driver.get("box", holder="shop"))
    driver.remove("box")
    assert not driver.exists("box")


def test_a_process_in_another_mount_namespace_is_seen(driver, worker):
    """Its copy of the mount is private, so the kernel does not call the mount busy."""
    path = driver.get("box", holder="shop")
    process = worker(path, "unshare", "--mount", "--propagation", "private", "--")
    assert pids(driver.users("box")) == [process.pid]
    with pytest.raises(LayerInUse, match=f"processes use it: {process.pid} "):
        driver.release("box", "shop", strict=True)
    assert driver.mounted("box")
    (user,) = driver.release("box", "shop")
    assert user.namespace == os.stat(f"/proc/{process.pid}/ns/mnt").st_ino != os.stat("/proc/self/ns/mnt").st_ino
    with pytest.raises(LayerInUse, match=str(process.pid)):
        driver.remove("box", guard=True)


def test_a_process_in_the_folder_of_a_base_is_seen(driver, worker):
    process = worker(driver.get("base", holder="shop"))
    assert pids(driver.users("base")) == [process.pid]
    driver.put("base", holder="shop")


@pytest.mark.parametrize("use", ["fd", "map"])
def test_open_and_mapped_files_are_a_use(driver, spawn, use):
    path = driver.get("box", holder="shop")
    code = """
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
if sys.argv[2] == "map":
    held = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    os.close(file)
    for name in os.listdir("/proc/self/fd"):  # mmap() keeps a descriptor of its own
        if int(name) > 2:
            try: os.close(int(name))
            except OSError: pass
print("there", flush=True)
sys.stdin.read()
"""
    process = spawn(
        [sys.executable, "-c", code, path + "/etc/conf", use], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "there\n"
    assert [(user.pid, user.use) for user in driver.users("box")] == [(process.pid, use)]
    process.communicate("", timeout=30)
    driver.put("box", holder="shop")


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_record_counts_names_once_and_the_anonymous_each_time():
    record = NOBODY.taken(ANONYMOUS).taken(ANONYMOUS).taken("web").taken("web")
    assert (record.counts, record.total) == ({"": 2, "web": 1}, 3)
    assert record.dropped("nobody") == record
    assert record.dropped(ANONYMOUS).counts == {"": 1, "web": 1}
    assert record.dropped("web").dropped(ANONYMOUS).dropped(ANONYMOUS).counts == {}
    assert Record({}) == NOBODY
    assert NOBODY.dropped(ANONYMOUS) == NOBODY


@pytest.mark.parametrize("name", ["web", "w" * 5000, "ünï\udcff\0\n/"], ids=["short", "long", "odd"])
def test_records_are_replaced_whole_and_leave_nothing_beside(real_tmp, name):
    """One that is too long for the target of a symbolic link is a file."""
    runtime = RuntimeState(str(real_tmp))
    runtime.make()
    folder = runtime.holders_dir
    holders = Holders(runtime)
    assert holders.read("a") == NOBODY
    for record in (
        Record({name: 1, "": 2}, 77),
        Record({"db": 1}),
        Record({"db": 1, name: 1}, 78, True),
        Record({}, 0, False, (41, 2097153)),
    ):
        holders.write("a", record)
        assert Holders(runtime).read("a") == record
        assert os.path.islink(os.path.join(folder, "a")) == (len(name) < 4000 or name not in record.counts)
        assert holders.held() == (["a"] if record.counts else [])
        assert trees.paths_below(runtime.path) == ["holders", "holders/a", "locks"]
    holders.write("a", Record({}))
    assert holders.held() == []
    holders.forget("a")
    assert trees.paths_below(runtime.path) == ["holders", "locks"]
    shutil.rmtree(folder)
    assert Holders(runtime).held() == []


# --- one home by two paths --------------------------------------------------------------------------------------------


@pytest.fixture
def twin(driver, real_tmp):
    """A driver of the same home by a bind mount, which does not show the layers' mounts."""
    other = real_tmp / "elsewhere"
    other.mkdir()
    subprocess.run(["mount", "--bind", driver.home, str(other)], check=True)
    try:
        yield Driver(str(other), ["overlay2.sync=none"])
    finally:
        subprocess.run(["umount", "--lazy", str(other)], check=True)


@pytest.mark.root
def test_a_bind_mount_of_the_home_shares_its_holders_and_locks(driver, twin, run_root):
    path = driver.get("box", holder="service")
    assert twin.holders("box") == {"service": 1}
    assert len(os.listdir(run_root)) == 1
    with pytest.raises(LayerInUse, match="service"):
        twin.remove("box", guard=True)
    assert twin.get("box", holder="other") == path  # mounted once, by whoever came first
    twin.put("box", holder="other")
    assert driver.mounted("box")
    twin.put("box", holder="service")
    assert not driver.mounted("box")
    assert driver.holders("box") == {}
    twin.remove("box", guard=True)
    assert not driver.exists("box")


@pytest.mark.root
@pytest.mark.parametrize("by", ["its path", "another path"])
def test_a_mounted_layer_stays_though_nothing_records_its_holders(driver, twin, run_root, by):
    path = driver.get("box", holder="service")
    (state,) = os.listdir(run_root)
    shutil.rmtree(os.path.join(run_root, state))
    remover = driver if by == "its path" else twin
    with pytest.raises(LayerInUse, match="mounted at " + path):
        remover.remove("box", guard=True)
    assert os.path.ismount(path)
    driver.put_all("box")
    remover.remove("box", guard=True)
    assert not driver.exists("box")


# --- mounts that the kernel refuses -----------------------------------------------------------------------------------


def test_a_left_over_of_a_volatile_mount_says_so(driver):
    left_over = os.path.join(driver.home, "box/work/work/incompat/volatile")
    os.makedirs(left_over)
    with pytest.raises(MountError, match="its work directory was last used with 'volatile'") as refused:
        driver.get("box")
    assert refused.value.layer == "box"
    assert os.path.dirname(left_over) in refused.value.remedy
    shutil.rmtree(os.path.dirname(left_over))
    driver.get("box")
    driver.put("box")


def test_a_lost_work_directory_says_so(driver):
    work = os.path.join(driver.home, "box/work")
    os.rmdir(work)
    with pytest.raises(MountError, match="its work directory is missing") as refused:
        driver.get("box")
    assert "mkdir -m 700 %s" % work in refused.value.remedy
    os.mkdir(work, 0o700)
    driver.get("box")
    driver.put("box")
