# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""A second process that puts small files in their places, while the first one reads on and does the rest.

Four system calls a file are most of the work, and two processors do them in half the time (threads do not: the
interpreter lets one run at a time). The second process has the archive's bytes by shared memory and is told where a
body lies. It only ever creates new files in folders that are there: what it can't do so it leaves alone and says so,
and the first process does that file as it would have without help. So it does with all of them if it is killed.

Done by two the result is what it would be done by one, since a file is handed over only if nothing can depend on
which comes first:

- its folder's path meets no symbolic link, so that no other path means the same file;
- what comes later waits (:meth:`Helper.make_way`) if it has the same path, lies below it or behind a symbolic link, or
  removes or links something.
"""

from __future__ import annotations

import collections
import contextlib
import marshal
import os
import select
import signal
import stat
import struct
import threading
import time

from ..linux.beneath import has_openat2, open_without_links
from ..linux.fs import write_all
from ..linux.process import die_with_parent
from .folders import NEW_FILE, UnlinkedFolders

#: Files of one message, and how many may be under way before the first process does the next ones itself.
_BATCH = 64
_ENOUGH = 2 * _BATCH

#: Most paths, and most folders, that are remembered.
_PATHS = 4096

_LENGTH = struct.Struct("=I")


class Helper:
    """The second process, seen from the first.

    :param root_fd: the target folder.
    :param memory: the shared memory that bodies lie in (memoryview).
    :param place: called as ``place(entry, position)`` for a file that the second process has left alone.
    """

    def __init__(self, root_fd, memory, place):
        self._root_fd = root_fd
        self._place = place
        self._tasks = []  # not sent yet
        self._entries = []  # (entry, position) of those
        self._sent = collections.deque()  # (entry, position) lists of the batches under way
        self._under_way = 0  # files of those
        self._left = collections.deque()  # (entry, position) that come back
        self._paths = set()  # what was handed over and may not be in its place yet
        self._unlinked = {}  # folder to whether its path meets no link (bool)
        self._folder = None  # of the last entry
        self._apart = False  # whether nothing in that may be done beside anything else
        self._here = 0  # so many of the next files are for this process
        self._draining = False
        self._pid, self._to, self._from = _start(root_fd, memory)

    def make_way(self, path, folder, apart):
        """Wait for what must be in its place before an entry is.

        :param path: the entry's, as the archive has it, clean; ``folder`` is the part before the last slash (bytes).
        :param apart: it may concern any path: a whiteout, a hard link.
        """
        if folder != self._folder:
            self._folder = folder
            self._here = 0
            self._apart = self._is_below(folder) or not self._is_unlinked(folder)
        if apart or self._apart or path in self._paths or len(self._paths) >= _PATHS:
            self.settle()

    def _is_below(self, folder):
        """Whether a folder's path goes through one that was handed over as a file."""
        paths = self._paths
        while folder:
            if folder in paths:
                return True
            folder = folder.rpartition(b"/")[0]
        return False

    def offer(self, entry, folder, base, needs, reader):
        """Hand a new file over, unless this process had better make it; returns whether it was.

        :param needs: what :meth:`~.dress.Dresser.needs` says.
        """
        if self._here:
            self._here -= 1
            return False
        if self._under_way + len(self._tasks) >= _ENOUGH:
            self._collect(wait=False)
            if self._under_way + len(self._tasks) >= _ENOUGH:
                self._here = _BATCH
                return False
        if self._apart or self._pid is None:
            return False
        position = reader.claim(entry.size)
        if position is None:
            return False
        self._paths.add(entry.path)
        self._tasks.append((folder, base, position, entry.size, entry.mode, *needs, entry.atime, entry.mtime))
        self._entries.append((entry, position))
        if len(self._tasks) >= _BATCH:
            self._send()
        return True

    def _is_unlinked(self, folder):
        known = self._unlinked
        if folder not in known:
            if len(known) >= _PATHS:
                known.clear()
            try:
                os.close(open_without_links(self._root_fd, folder))
            except FileNotFoundError:
                return True  # what there is of it meets no link, and the rest will be made
            except OSError:
                known[folder] = False
            else:
                known[folder] = True
        return known[folder]

    def forget(self):
        """Something was removed: a path may mean another folder now."""
        self._unlinked.clear()
        self._folder = None

    def settle(self):
        """Wait until all that was handed over is in its place."""
        if self._draining:
            return  # what is put in its place now is apart from all that is under way
        self._send()
        while self._sent:
            self._collect()
        self._drain()
        self._paths.clear()

    def before_reuse(self, start, end):
        """Wait until nothing in a part of the memory is needed any more: from offset ``start`` up to ``end``."""
        if self._tasks and start <= self._entries[0][1] < end:
            self._send()
        while any(start <= batch[0][1] < end for batch in self._sent):
            self._collect()
        self._drain()

    def close(self):
        """End the process, whatever it is at."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            self._gone()

    def _send(self):
        if not self._tasks:
            return
        message = marshal.dumps(self._tasks)
        self._sent.append(self._entries)
        self._under_way += len(self._tasks)
        self._tasks, self._entries = [], []
        try:
            _write(self._to, message)
        except OSError:
            self._lost()

    def _collect(self, wait=True):
        """Take in what the second process says of batches: of one, waiting for it; or of those that it has done."""
        while self._sent and (wait or select.select([self._from], [], [], 0)[0]):
            message = _read(self._from)
            if message is None:
                self._lost()
                return
            batch = self._sent.popleft()
            self._under_way -= len(batch)
            self._left.extend(batch[index] for index in marshal.loads(message))
            if wait:
                return

    def _lost(self):
        """The second process has been killed: all that it had is for this one."""
        for batch in self._sent:
            self._left.extend(batch)
        self._sent.clear()
        self._under_way = 0
        self._gone()

    def _drain(self):
        self._draining = True
        while self._left:
            self._place(*self._left.popleft())
        self._draining = False  # not after an error: then nothing more is put in its place

    def _gone(self):
        os.close(self._to)
        os.close(self._from)
        with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored
            os.waitpid(self._pid, 0)
        self._pid = None


def is_possible():
    """Whether a second process would help here, and may be forked (bool).

    A fork copies the calling thread alone, with whatever locks others hold: a process with threads is not forked.
    """
    if not has_openat2() or len(os.sched_getaffinity(0)) < 2 or threading.active_count() > 1:
        return False
    for _look in range(20):
        if len(os.listdir("/proc/self/task")) == 1:
            return True
        time.sleep(0.0005)  # a thread that was joined may not be quite gone
    return False  # threads that Python does not know


def _start(root_fd, memory):
    """Fork; returns the process's id, and descriptors to write tasks to and to read answers from."""
    with contextlib.ExitStack() as stack:
        tasks, to = _pipe(stack)
        answers, back = _pipe(stack)
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                die_with_parent(parent)
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to both; the first one decides
                _close_pipes(tasks, back)
                _serve(root_fd, memory, tasks, back)
                status = 0
            finally:
                os._exit(status)
        stack.pop_all()
    os.close(tasks)
    os.close(back)
    return pid, to, answers


def _close_pipes(*but):
    """Close all other pipes and sockets, as somebody may wait for their end. Locks must be held as long as we live."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in but:
            with contextlib.suppress(OSError):  # the listing's own descriptor
                mode = os.fstat(descriptor).st_mode
                if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
                    os.close(descriptor)


def _pipe(stack):
    ends = os.pipe()
    for end in ends:
        stack.callback(os.close, end)
    return ends


# In the second process


def _serve(root_fd, memory, tasks, back):
    """Do batch after batch, and answer each with the indices of the files that were left alone."""
    folders = UnlinkedFolders(root_fd)  # of one that was removed meanwhile it has a descriptor that takes no new file
    while True:
        message = _read(tasks)
        if message is None:
            return
        batch = marshal.loads(message)
        _write(back, marshal.dumps([index for index, task in enumerate(batch) if not _done(folders, memory, *task)]))


def _done(folders, memory, folder, base, position, size, mode, owner, exact_mode, atime, mtime):
    """Make one file; returns whether that worked. If not, the first process makes it anew, or tells why it can't."""
    try:
        parent = folders.get(folder)
        file = os.open(base, NEW_FILE, mode & 0o777, dir_fd=parent)
    except OSError:
        return False
    try:
        if size:
            write_all(file, memory[position : position + size])
        if owner is not None:
            os.fchown(file, owner[0], owner[1])
        if exact_mode is not None:
            os.fchmod(file, exact_mode)
        os.utime(file, ns=(atime, mtime))
    except OSError:
        return False
    finally:
        os.close(file)
    return True


# Messages: a length and as many bytes


def _write(descriptor, message):
    write_all(descriptor, _LENGTH.pack(len(message)) + message)


def _read(descriptor):
    """The next message (bytes), or None where the other end is closed."""
    head = _read_exactly(descriptor, _LENGTH.size)
    return None if head is None else _read_exactly(descriptor, *_LENGTH.unpack(head))


def _read_exactly(descriptor, size):
    data = b""
    while len(data) < size:
        part = os.read(descriptor, size - len(data))
        if not part:
            return None
        data += part
    return data
