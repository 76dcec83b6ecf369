# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Mounting for real: the classic call, the mount API, a working directory of its own, and unmounting."""

from __future__ import annotations

import errno
import os
import signal
import threading

import pytest
from overlay2.linux import mount
from support import headers, host, nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


def open_descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def test_numbers_are_those_of_the_c_headers(real_tmp):
    names = [
        "MNT_DETACH", "FSOPEN_CLOEXEC", "FSMOUNT_CLOEXEC", "FSCONFIG_SET_FLAG", "FSCONFIG_SET_STRING",
        "FSCONFIG_CMD_CREATE", "MOVE_MOUNT_F_EMPTY_PATH", "CLONE_FS", "SYS_move_mount", "SYS_fsopen", "SYS_fsconfig",
        "SYS_fsmount",
    ]  # fmt: skip
    told = headers.ask(real_tmp, ["sys/mount.h", "sys/syscall.h", "sched.h"], names)
    assert [getattr(mount, name.replace("SYS_", "sys_").upper()) for name in names] == told
    assert os.sysconf("SC_PAGE_SIZE") == mount.PAGE_SIZE


# The classic call


def test_mount_and_unmount(real_tmp):
    mount.mount("the source", real_tmp, "tmpfs", 0, "size=64k,mode=0751")
    assert host.mounts_below(real_tmp) == [str(real_tmp)]
    assert os.statvfs(real_tmp).f_blocks * os.statvfs(real_tmp).f_frsize == 64 << 10
    assert os.stat(real_tmp).st_mode & 0o7777 == 0o751
    mount.unmount(real_tmp)
    assert host.mounts_below(real_tmp) == []


def test_mount_passes_flags(real_tmp):
    mount.mount("t", real_tmp, "tmpfs", 1)  # MS_RDONLY
    with pytest.raises(OSError) as refused:
        os.mkdir(real_tmp / "a")
    assert refused.value.errno == errno.EROFS


def test_mount_takes_any_name(real_tmp):
    folder = os.fsencode(real_tmp) + b"/ a\xff,b\\:\n"
    os.mkdir(folder)
    for name in (folder, os.fsdecode(folder)):
        mount.mount("t", name, "tmpfs")
        mount.unmount(name)


@pytest.mark.parametrize(
    ("fs_type", "data", "number"), [("nosuchfs", "", errno.ENODEV), ("tmpfs", "size=much", errno.EINVAL)]
)
def test_a_refused_mount_names_the_target(real_tmp, fs_type, data, number):
    with pytest.raises(OSError) as refused:
        mount.mount("t", str(real_tmp), fs_type, 0, data)
    assert (refused.value.errno, refused.value.filename) == (number, str(real_tmp))
    assert host.mounts_below(real_tmp) == []


def test_unmount_of_what_is_no_mount_point(real_tmp):
    with pytest.raises(OSError) as refused:
        mount.unmount(str(real_tmp))
    assert (refused.value.errno, refused.value.filename) == (errno.EINVAL, str(real_tmp))


def test_unmount_of_a_busy_mount_unless_it_is_detached(real_tmp):
    mount.mount("t", real_tmp, "tmpfs")
    with open(real_tmp / "file", "wb") as file:
        with pytest.raises(OSError) as refused:
            mount.unmount(real_tmp)
        assert refused.value.errno == errno.EBUSY
        assert host.mounts_below(real_tmp) == [str(real_tmp)]
        mount.unmount(real_tmp, mount.MNT_DETACH)
        assert host.mounts_below(real_tmp) == []
        file.write(b"still there")


# Stacks


@pytest.mark.parametrize("height", [0, 1, 3])
def test_unmount_stack_takes_all_of_a_stack(real_tmp, height):
    for _round in range(height):
        mount.mount("t", real_tmp, "tmpfs")
    assert mount.unmount_stack(real_tmp) == height
    assert host.mounts_below(real_tmp) == []
    assert real_tmp.is_dir()


def test_unmount_stack_takes_what_is_mounted_inside_along(real_tmp):
    mount.mount("t", real_tmp, "tmpfs")
    os.mkdir(real_tmp / "inside")
    mount.mount("t", real_tmp / "inside", "tmpfs")
    assert mount.unmount_stack(real_tmp) == 1
    assert host.mounts_below(real_tmp) == []


def test_unmount_stack_leaves_mounts_beside_alone(real_tmp):
    for name in ("a", "ab"):
        os.mkdir(real_tmp / name)
        mount.mount("t", real_tmp / name, "tmpfs")
    assert mount.unmount_stack(real_tmp / "a") == 1
    assert host.mounts_below(real_tmp) == [str(real_tmp / "ab")]


def test_unmount_stack_of_a_missing_folder(real_tmp):
    assert mount.unmount_stack(real_tmp / "none") == 0


@pytest.mark.root
def test_unmount_stack_does_not_hide_a_refusal(real_tmp):
    mount.mount("t", real_tmp, "tmpfs")
    with pytest.raises(PermissionError):
        nobody.call(lambda: mount.unmount_stack(real_tmp))
    assert host.mounts_below(real_tmp) == [str(real_tmp)]


# A working directory of its own


@pytest.fixture(params=["alone", "beside another thread"])
def company(request):
    """What the process has beside the thread that calls in_directory()."""
    if request.param == "alone":
        yield
        return
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()


def only_thread():
    return len(os.listdir("/proc/self/task")) == 1


def test_in_directory_needs_no_thread_where_there_is_none(real_tmp, company):
    alone = only_thread()
    assert (mount.in_directory(real_tmp, threading.get_ident) == threading.get_ident()) == alone


def in_a_child(function):
    """Run a function in a forked process, which has one thread, and return what it returns (an int)."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(function())
        finally:
            os._exit(99)
    return os.WEXITSTATUS(os.waitpid(pid, 0)[1])


def test_in_directory_of_a_single_thread_comes_back(real_tmp):
    (real_tmp / "before").mkdir()

    def fail():
        raise KeyError

    def act():
        os.chdir(real_tmp / "before")
        me = threading.get_ident()
        seen = [mount.in_directory(real_tmp, lambda: (os.getcwd(), threading.get_ident())) == (str(real_tmp), me)]
        seen.append(os.getcwd() == str(real_tmp / "before"))
        with pytest.raises(KeyError):
            mount.in_directory(real_tmp, fail)
        seen.append(os.getcwd() == str(real_tmp / "before"))
        os.rmdir(real_tmp / "before")  # a working directory without a name is one all the same
        seen.append(mount.in_directory(real_tmp, os.getcwd) == str(real_tmp))
        try:
            os.getcwd()
        except FileNotFoundError:
            seen.append(True)
        descriptors = len(os.listdir("/proc/self/fd"))
        mount.in_directory(real_tmp, os.getcwd)
        seen.append(len(os.listdir("/proc/self/fd")) == descriptors)
        return seen == [True] * 6

    assert in_a_child(act) == 1


def test_signals_wait_until_a_single_thread_is_back(real_tmp):
    def act():
        before, seen = os.getcwd(), []
        signal.signal(signal.SIGTERM, lambda *_about: seen.append(os.getcwd()))
        signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR2])

        def disturb():
            os.kill(os.getpid(), signal.SIGTERM)
            return list(seen)

        during = mount.in_directory(real_tmp, disturb)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return during == [] and seen == [before] and mask == {signal.SIGUSR2}

    assert in_a_child(act) == 1


def test_in_directory_runs_there_and_returns_the_result(real_tmp, company):
    (real_tmp / "file").write_text("here")
    with_name = mount.in_directory(str(real_tmp), lambda: (os.getcwd(), os.stat("file").st_ino))
    assert with_name == (str(real_tmp), os.stat(real_tmp / "file").st_ino)


def test_in_directory_leaves_every_other_threads_working_directory_alone(real_tmp):
    before = os.getcwd()
    at_work, done = threading.Event(), threading.Event()
    seen = []

    def watch():
        at_work.wait(10)
        seen.append(os.getcwd())
        done.set()

    def act():
        at_work.set()
        assert done.wait(10)
        os.mkdir("made")
        return os.getcwd()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert mount.in_directory(real_tmp, act) == str(real_tmp)
    watcher.join()
    assert seen == [before]
    assert os.getcwd() == before
    assert os.path.isdir(real_tmp / "made")


def test_in_directory_serves_many_threads_at_once(real_tmp):
    barrier = threading.Barrier(8)
    found = {}

    def work(number):
        folder = real_tmp / str(number)
        folder.mkdir()

        def act():
            barrier.wait(10)
            return os.path.basename(os.getcwd())

        found[number] = mount.in_directory(folder, act)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: str(number) for number in range(8)}


class Odd(BaseException):
    """Not even an Exception."""


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "no", "/x"), KeyError("k"), Odd("o"), SystemExit(3)])
def test_in_directory_raises_what_its_action_raises(real_tmp, failure, company):
    def act():
        raise failure

    with pytest.raises(type(failure)) as raised:
        mount.in_directory(real_tmp, act)
    assert raised.value is failure


def test_in_directory_of_a_missing_folder_runs_nothing(real_tmp, company):
    with pytest.raises(FileNotFoundError):
        mount.in_directory(real_tmp / "none", lambda: os.mkdir("wrong place"))
    assert not os.path.exists("wrong place")


def test_a_mount_made_in_directory_is_seen_by_everybody(real_tmp):
    (real_tmp / "point").mkdir()
    mount.in_directory(real_tmp, lambda: mount.mount("t", "point", "tmpfs"))
    assert host.mounts_below(real_tmp) == [str(real_tmp / "point")]


# The mount API


def test_the_mount_api_mounts_with_options_and_closes_its_descriptors(real_tmp):
    before = open_descriptors()
    with mount.filesystem_context("tmpfs") as context:
        mount.set_option(context, "source", "the source")
        mount.set_option(context, "size", "64k")
        mount.set_option(context, "ro")
        mount.attach(context, real_tmp)
    assert open_descriptors() == before
    assert os.statvfs(real_tmp).f_blocks * os.statvfs(real_tmp).f_frsize == 64 << 10
    with open("/proc/self/mountinfo", encoding="ascii", errors="replace") as table:
        assert " - tmpfs the\\040source ro," in table.read()
    mount.unmount(real_tmp)


def test_an_unknown_file_system_has_no_context():
    with pytest.raises(OSError) as refused:
        with mount.filesystem_context("nosuchfs"):
            pass
    assert refused.value.errno == errno.ENODEV


def test_an_unknown_option_is_refused_in_the_kernels_own_words():
    before = open_descriptors()
    with pytest.raises(OSError, match=r"Invalid argument \(.*tmpfs: Unknown parameter 'nosuchoption'\)") as refused:
        with mount.filesystem_context("tmpfs") as context:
            mount.set_option(context, "nosuchoption", "/some/path")
    assert (refused.value.errno, refused.value.filename) == (errno.EINVAL, "/some/path")
    assert open_descriptors() == before


def test_a_bad_value_is_refused_in_the_kernels_own_words():
    with pytest.raises(OSError, match=r"\(.*tmpfs: Bad value for 'size'\)"):
        with mount.filesystem_context("tmpfs") as context:
            mount.set_option(context, "size", "much")


def test_attaching_to_a_missing_folder_names_it_and_leaves_nothing(real_tmp):
    before = open_descriptors()
    with pytest.raises(FileNotFoundError) as refused:
        with mount.filesystem_context("tmpfs") as context:
            mount.attach(context, str(real_tmp / "none"))
    assert refused.value.filename == str(real_tmp / "none")
    assert open_descriptors() == before
    assert host.mounts_below(real_tmp) == []


def test_a_context_that_cannot_be_created_names_the_target(real_tmp):
    with pytest.raises(OSError) as refused:
        with mount.filesystem_context("overlay") as context:
            mount.attach(context, str(real_tmp))  # no lower folder was named
    assert (refused.value.errno, refused.value.filename) == (errno.EINVAL, str(real_tmp))
    assert host.mounts_below(real_tmp) == []
