# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The inspector from end to end: in a real terminal, keys typed, while another process mounts and removes layers.

Nothing here depends on how fast it is: each key waits for what the one before it brought to the screen.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import pytest
from overlay2 import Driver
from support.trees import stream

pytest.importorskip("textual")

#: Seconds until the slowest of machines has shown what it has to show.
PATIENCE = 60

#: A driver of the same home in another process, which reads commands from its standard input.
OTHER = """
import sys
from overlay2 import Driver
driver = Driver(sys.argv[1], ["overlay2.sync=none"])
for line in sys.stdin:
    words = line.split()
    kwargs = {"holder": words.pop()} if words[0] in ("get", "put") else {}
    getattr(driver, words[0])(*words[1:], **kwargs)
    print("done", flush=True)
"""

#: The same, at work all the time until its input is closed.
BUSY = """
import select, sys
from overlay2 import Driver
driver = Driver(sys.argv[1], ["overlay2.sync=none"])
number = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    number += 1
    name = "busy-%d" % (number % 5)
    driver.create_read_write(name, "base")
    driver.get(name, holder="job")
    if number == 1:
        print("at work", flush=True)
    driver.put(name, holder="job")
    driver.remove(name)
"""


class Terminal:
    """A tmux server of our own with the program in its only window."""

    def __init__(self, *arguments, size=(120, 40)):
        # A socket's path must be short.
        self._folder = tempfile.mkdtemp(prefix="tmux-")
        self._tmux = ["tmux", "-f", "/dev/null", "-S", os.path.join(self._folder, "s")]
        self._environment = {key: value for key, value in os.environ.items() if key not in ("TMUX", "NO_COLOR")}
        self._environment.update(TERM="xterm-256color", LC_ALL="C.UTF-8")
        program = shlex.join([sys.executable, "-m", "overlay2_tui", *arguments])
        size = ["-x", str(size[0]), "-y", str(size[1])]
        # The window outlives the program, so that its last words can be read.
        self._code = os.path.join(self._folder, "code")
        self.run("new-session", "-d", *size, f"{program}; echo $? > {self._code}; exec cat")

    def run(self, *arguments):
        """A tmux command's output (str)."""
        done = subprocess.run(
            [*self._tmux, *arguments], capture_output=True, text=True, check=False, env=self._environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def type(self, *keys):
        """Press keys, as tmux names them."""
        self.run("send-keys", *keys)

    def text(self):
        """What is on the screen."""
        return self.run("capture-pane", "-p")

    def wait(self, *words, gone=()):
        """Wait until words are on the screen, and others are not; gives the seconds that it took."""
        started = time.monotonic()
        while True:
            text = self.text()
            if all(word in text for word in words) and not any(word in text for word in gone):
                return time.monotonic() - started
            assert time.monotonic() - started < PATIENCE, f"{words} did not come, or {gone} did not go:\n{text}"
            time.sleep(0.05)

    def go(self, key, mode):
        """Press a screen's key and wait for the screen."""
        self.type(key)
        self.wait(f"[{key} {mode}]")

    def quit(self):
        """Leave by the key; gives the program's exit code (int)."""
        self.type("q")
        started = time.monotonic()
        while not os.path.exists(self._code) or not os.path.getsize(self._code):
            assert time.monotonic() - started < PATIENCE, self.text()
            time.sleep(0.05)
        with open(self._code, encoding="ascii") as source:
            return int(source.read())

    def close(self):
        """End the server, and with it the program."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False, env=self._environment)
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture
def terminal():
    """A function: the program in a terminal, with these arguments."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is missing (package tmux)")
    opened = []

    def open_one(*arguments, **more):
        opened.append(Terminal(*arguments, **more))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def other(driver, spawn):
    """Another process with a driver of the same home: other("get", "web", "nginx")."""
    process = spawn(
        [sys.executable, "-c", OTHER, driver.home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def tell(*words):
        process.stdin.write(" ".join(words) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    yield tell
    process.stdin.close()
    process.wait(PATIENCE)
    process.stdout.close()


@pytest.fixture
def driver(home):
    """A home with a layer for writing on a base."""
    driver = Driver(home, ["overlay2.sync=none"])
    driver.create("base", diff=stream({"etc/": None, "etc/motd": b"hello\n"}))
    driver.create_read_write("web", "base")
    yield driver
    driver.cleanup()


def test_keys_are_typed_while_another_process_mounts_and_removes(driver, terminal, other, report):
    screen, taken = terminal(driver.home), []

    def news(words, *come, gone=()):
        other(*words)
        taken.append(screen.wait(*come, gone=gone))

    first = screen.wait("● live", "base", "web", "2 layers")
    news(("create_read_write", "db", "base"), "├─ db", "3 layers")
    screen.type("/", "d", "b")
    screen.wait("1 of 3", gone=["└─ web"])
    news(("get", "db", "nginx"), "● yes ×1")
    screen.type("Escape")
    screen.wait("└─ web", "● yes ×1", gone=["1 of 3"])

    screen.go("4", "Mounts")
    screen.wait("╭─ db ─", "nginx")
    news(("get", "web", "shop"), "shop", "nginx")
    screen.type("G")
    screen.wait("╭─ web ─")
    news(("put", "db", "nginx"), gone=["nginx"])
    screen.wait("╭─ web ─")  # the selection is where it was

    screen.go("1", "Layers")
    news(("remove", "db"), "2 layers", gone=["├─ db"])
    screen.go("2", "Chain")
    screen.wait("top", "The kernel's mount table")
    screen.go("3", "Files")
    screen.type("m")
    screen.wait("[merged view]", "▸ etc/")
    screen.type("Space")
    screen.wait("motd")
    screen.type("j")
    screen.wait("First lines", "hello")
    screen.go("5", "Status")
    screen.wait("Backing Filesystem", "Space")
    screen.type("?")
    screen.wait("Help (Esc closes it)")
    screen.type("Escape")
    screen.wait("[5 Status]", gone=["Help (Esc"])
    screen.go("6", "Health")
    screen.wait("No problems: layers")

    other("put", "web", "shop")
    assert screen.quit() == 0
    report(f"overlay2-tui in tmux: first paint after {first:.1f} s, news after {max(taken):.2f} s at most")


def test_every_screen_while_layers_come_and_go_all_the_time(driver, terminal, spawn):
    busy = spawn([sys.executable, "-c", BUSY, driver.home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert busy.stdout.readline() == "at work\n"
    screen = terminal(driver.home, size=(80, 24))
    screen.wait("● live")
    for _round in range(2):
        for number, mode in enumerate(("Layers", "Chain", "Files", "Mounts", "Status", "Health"), 1):
            screen.go(str(number), mode)
            screen.type("j", "k", "G", "g")
            screen.wait("● live")
    screen.go("1", "Layers")
    screen.type("/", "w", "e", "b", "Enter")
    screen.wait("1 of")
    busy.stdin.close()
    assert busy.wait(PATIENCE) == 0
    busy.stdout.close()
    screen.wait("web", "1 of 2")
    assert screen.quit() == 0


def test_a_home_that_is_not_there_and_then_is(home, terminal):
    os.rmdir(home)
    screen = terminal(home, size=(80, 24))
    screen.wait("does not exist", "no home")
    Driver(home).create("base")
    screen.wait("● live", "base")
    assert screen.quit() == 0


def test_no_terminal_is_said_so(driver):
    command = [sys.executable, "-m", "overlay2_tui", driver.home]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 4
    assert "--print" in done.stderr
