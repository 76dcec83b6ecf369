# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The command line where stdin, stdout and stderr are not what one expects, and what it writes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from overlay2 import Driver
from overlay2_tui import export

TUI = [sys.executable, "-m", "overlay2_tui"]


@pytest.fixture
def damaged(home):
    """A home with a problem, for which --check exits with 1."""
    Driver(home).create("base")
    open(os.path.join(home, "base/link"), "w").close()
    return home


@pytest.mark.parametrize("option", ["--print", "--json"])
def test_a_full_disk_is_said_and_is_not_a_problem_of_the_home(damaged, option):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*TUI, option, "--check", damaged], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 5
    assert done.stderr == "overlay2-tui: the output can't be written: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_a_closed_stdout(damaged, closed):
    command = f'exec "$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *TUI, "--print", "--check", damaged], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 5
    assert done.stderr == ("overlay2-tui: stdout is closed\n" if closed == ">&-" else "")


def test_a_reader_that_has_seen_enough(damaged):
    command = '"$@" | true; exit ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", command, "sh", *TUI, "--print", "--check", damaged],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("missing", ["stdin", "stdout", "stderr"])
def test_each_stream_must_be_a_terminal(damaged, missing):
    master, slave = pty.openpty()
    read, write = os.pipe()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
    streams[missing] = read if missing == "stdin" else write
    done = subprocess.run([*TUI, damaged], **streams, check=False)
    os.close(write)
    os.close(slave)
    told = os.read(read if missing == "stderr" else master, 4096).decode()
    os.close(read)
    os.close(master)
    assert done.returncode == 4
    assert told.strip() == f"overlay2-tui: {missing} is not a terminal. Use --print or --json in pipes and jobs."


class Terminal:
    """The program in a pseudo-terminal."""

    def __init__(self, *arguments):
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        self.process = subprocess.Popen(
            [*TUI, *arguments], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.output = b""

    def wait(self, condition):
        """Read what it draws until a condition holds."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.output[-2000:]
            try:
                self.output += os.read(self._master, 65536)
            except (BlockingIOError, OSError):
                time.sleep(0.02)

    def close(self):
        """Take the terminal away."""
        if self._master is not None:
            os.close(self._master)
        self._master = None


@pytest.fixture
def terminal():
    """A function: the program in a terminal."""
    opened = []

    def open_one(*arguments):
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield open_one
    for one in opened:
        one.process.kill()
        one.process.wait()
        one.close()


def test_it_ends_with_its_terminal(damaged, terminal):
    one = terminal(damaged)
    one.wait(lambda: b"base" in one.output)
    one.close()
    assert one.process.wait(30) != 0


def test_it_ends_with_a_terminal_that_goes_while_it_starts(damaged, terminal):
    """Whatever it waits for just then; the moments are those at which it stayed in one of three tries."""
    started = [terminal(damaged) for _number in range(4)]
    for number, one in enumerate(started):
        time.sleep(0.3 + 0.2 * number)
        os.write(one._master, b"262431")
        one.close()
    for one in started:
        assert one.process.wait(60) != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal(damaged, terminal, number):
    one = terminal(damaged)
    one.wait(lambda: b"base" in one.output)
    one.process.send_signal(number)
    one.wait(lambda: one.process.poll() is not None)
    assert one.process.returncode == 128 + number
    # The alternate screen and mouse reports are off, the cursor is back: xterm's control sequences.
    for sequence in (b"\x1b[?1049l", b"\x1b[?1000l", b"\x1b[?25h"):
        assert sequence in one.output


@pytest.mark.parametrize("kind", ["file", "fifo", "link", "dangling link", "folder"])
def test_an_export_never_replaces_anything(real_tmp, kind):
    path = real_tmp / "here"
    if kind == "file":
        path.write_text("mine")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("there" if kind == "dangling link" else os.devnull)
    before = os.lstat(path)
    with pytest.raises(FileExistsError):
        export.write_new(str(path), "text")
    assert os.lstat(path) == before
    assert os.listdir(real_tmp) == ["here"]


@pytest.mark.root
def test_an_export_that_fails_leaves_no_file(real_tmp):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(real_tmp)], check=True)
    try:
        with pytest.raises(OSError, match="No space left"):
            export.write_new(str(real_tmp / "view.txt"), "x" * 100_000)
        assert os.listdir(real_tmp) == []
    finally:
        subprocess.run(["umount", str(real_tmp)], check=True)
