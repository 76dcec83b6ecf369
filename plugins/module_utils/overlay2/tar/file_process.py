# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""A second process that creates small files, while the first one reads on and does the rest.

Four system calls a file are most of the work, and two processors do them in half the time (threads do not: the
interpreter lets one run at a time). The second process shares the memory that holds the archive's bytes, and is told
where a body lies. It only creates new files in existing directories. Anything else it reports back, and the first
process handles it as usual; the same happens to all pending files if the second process dies.

The result is the same as that of one process, since a file is handed over only if no order of events can matter:

- its directory's path has no symbolic link in it, so that no other path leads to the same file;
- a later entry waits (:meth:`FileProcess.wait_for_conflicts`) if it has the same path, is below it or behind a symbolic
  link, or removes or links something.
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
from typing import TYPE_CHECKING, Deque, Dict, List, Optional, Set, Tuple

from ..linux.beneath import has_openat2, open_without_links
from ..linux.fs import write_all
from ..linux.process import die_with_parent
from .folders import NEW_FILE, UnlinkedFolders

if TYPE_CHECKING:
    from typing import Callable

    from .entry import Entry
    from .reader import Reader

#: Files of one message, and how many may be pending before the first process does the next ones itself.
_BATCH = 64
_ENOUGH = 2 * _BATCH

#: Most paths, and most folders, that are remembered.
_PATHS = 4096

_LENGTH = struct.Struct("=I")

#: Owner and mode that a new file does not have by itself.
_Needs = Tuple[Optional[Tuple[int, int]], Optional[int]]
#: The parameters of :func:`_done` after the second.
_Task = Tuple[bytes, bytes, int, int, int, Optional[Tuple[int, int]], Optional[int], int, int]


class FileProcess:
    """The second process, seen from the first.

    :param root_fd: the target directory.
    :param memory: the shared memory that bodies lie in.
    :param place: called as ``place(entry, position)`` for a file that the second process did not make.
    """

    def __init__(self, root_fd: int, memory: memoryview, place: Callable[[Entry, int], None]) -> None:
        self._root_fd = root_fd
        self._place = place
        self._tasks: List[_Task] = []  # not sent yet
        self._entries: List[Tuple[Entry, int]] = []  # of those, with their positions
        self._sent: Deque[List[Tuple[Entry, int]]] = collections.deque()  # the pending batches
        self._pending = 0  # files of those
        self._returned: Deque[Tuple[Entry, int]] = collections.deque()  # those that the second process did not make
        self._paths: Set[bytes] = set()  # of files that were handed over and may not exist yet
        self._unlinked: Dict[bytes, bool] = {}  # directory to whether its path has no link in it
        self._folder: Optional[bytes] = None  # of the last entry
        self._exclusive = False  # True if entries in that directory must not run concurrently
        self._skip = 0  # so many of the next files are for this process
        self._draining = False
        self._pid: Optional[int]
        self._pid, self._to, self._from = _start(root_fd, memory)

    def wait_for_conflicts(self, path: bytes, folder: bytes, exclusive: bool) -> None:
        """Wait for files that must exist before an entry is made.

        :param path: of the entry, clean; ``folder`` is the part before the last slash.
        :param exclusive: the entry may concern any path, as whiteouts and hard links do.
        """
        if folder != self._folder:
            self._folder = folder
            self._skip = 0
            self._exclusive = self._is_below(folder) or not self._is_unlinked(folder)
        if exclusive or self._exclusive or path in self._paths or len(self._paths) >= _PATHS:
            self.finish_pending()

    def _is_below(self, folder: bytes) -> bool:
        """Whether a directory's path goes through one that was handed over as a file."""
        paths = self._paths
        while folder:
            if folder in paths:
                return True
            folder = folder.rpartition(b"/")[0]
        return False

    def hand_over(self, entry: Entry, folder: bytes, base: bytes, needs: _Needs, reader: Reader) -> bool:
        """Hand over a new file, unless this process had better make it; returns True if it was handed over.

        :param needs: from :meth:`~.metadata.MetadataSetter.missing_on_new_file`.
        """
        if self._skip:
            self._skip -= 1
            return False
        if self._pending + len(self._tasks) >= _ENOUGH:
            self._collect(wait=False)
            if self._pending + len(self._tasks) >= _ENOUGH:
                self._skip = _BATCH
                return False
        if self._exclusive or self._pid is None:
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

    def _is_unlinked(self, folder: bytes) -> bool:
        known = self._unlinked
        if folder not in known:
            if len(known) >= _PATHS:
                known.clear()
            try:
                os.close(open_without_links(self._root_fd, folder))
            except FileNotFoundError:
                return True  # the existing part has no link in it, and the rest will be made
            except OSError:
                known[folder] = False
            else:
                known[folder] = True
        return known[folder]

    def forget(self) -> None:
        """Forget directories, since something was removed: a path may lead to another one now."""
        self._unlinked.clear()
        self._folder = None

    def finish_pending(self) -> None:
        """Wait until all files that were handed over exist."""
        if self._draining:
            return  # a returned file has no conflict with pending ones
        self._send()
        while self._sent:
            self._collect()
        self._drain()
        self._paths.clear()

    def before_reuse(self, start: int, end: int) -> None:
        """Wait until the memory from offset ``start`` up to ``end`` is not needed any more."""
        if self._tasks and start <= self._entries[0][1] < end:
            self._send()
        while any(start <= batch[0][1] < end for batch in self._sent):
            self._collect()
        self._drain()

    def close(self) -> None:
        """Kill the process."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            self._gone()

    def _send(self) -> None:
        if not self._tasks:
            return
        message = marshal.dumps(self._tasks)
        self._sent.append(self._entries)
        self._pending += len(self._tasks)
        self._tasks, self._entries = [], []
        try:
            _write(self._to, message)
        except OSError:
            self._lost()

    def _collect(self, wait: bool = True) -> None:
        """Receive the answers for batches: for one, waiting for it, or for all that are done."""
        while self._sent and (wait or select.select([self._from], [], [], 0)[0]):
            message = _read(self._from)
            if message is None:
                self._lost()
                return
            batch = self._sent.popleft()
            self._pending -= len(batch)
            self._returned.extend(batch[index] for index in marshal.loads(message))
            if wait:
                return

    def _lost(self) -> None:
        """Take back all pending files, since the second process has died."""
        for batch in self._sent:
            self._returned.extend(batch)
        self._sent.clear()
        self._pending = 0
        self._gone()

    def _drain(self) -> None:
        self._draining = True
        while self._returned:
            self._place(*self._returned.popleft())
        self._draining = False  # not after an error: then nothing more is unpacked

    def _gone(self) -> None:
        os.close(self._to)
        os.close(self._from)
        pid, self._pid = self._pid, None
        if pid is not None:
            with contextlib.suppress(ChildProcessError):  # if SIGCHLD is ignored
                os.waitpid(pid, 0)


def is_possible() -> bool:
    """Whether a second process would help here, and may be forked.

    A fork copies the calling thread alone, and locks that others hold: a process with threads is not forked.
    """
    if not has_openat2() or len(os.sched_getaffinity(0)) < 2 or threading.active_count() > 1:
        return False
    for _look in range(20):
        if len(os.listdir("/proc/self/task")) == 1:
            return True
        time.sleep(0.0005)  # a thread that was joined may not be quite gone
    return False  # threads that Python does not know of


def _start(root_fd: int, memory: memoryview) -> tuple[int, int, int]:
    """Fork; returns the process id, and descriptors to write tasks to and to read answers from."""
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


def _close_pipes(*but: int) -> None:
    """Close all other pipes and sockets: somebody may wait for their end. Files stay open, as their locks must."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in but:
            with contextlib.suppress(OSError):  # the listing's own descriptor
                mode = os.fstat(descriptor).st_mode
                if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
                    os.close(descriptor)


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        stack.callback(os.close, end)
    return ends


# In the second process


def _serve(root_fd: int, memory: memoryview, tasks: int, back: int) -> None:
    """Do batch after batch, and answer each with the indices of the files that were not made."""
    folders = UnlinkedFolders(root_fd)  # the descriptor of a directory that was removed takes no new file
    while True:
        message = _read(tasks)
        if message is None:
            return
        batch = marshal.loads(message)
        _write(back, marshal.dumps([index for index, task in enumerate(batch) if not _done(folders, memory, *task)]))


def _done(
    folders: UnlinkedFolders,
    memory: memoryview,
    folder: bytes,
    base: bytes,
    position: int,
    size: int,
    mode: int,
    owner: tuple[int, int] | None,
    exact_mode: int | None,
    atime: int,
    mtime: int,
) -> bool:
    """Make one file; returns True if that worked. If not, the first process makes it, or reports the error."""
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


def _write(descriptor: int, message: bytes) -> None:
    write_all(descriptor, _LENGTH.pack(len(message)) + message)


def _read(descriptor: int) -> bytes | None:
    """The next message, or None if the other end is closed."""
    head = _read_exactly(descriptor, _LENGTH.size)
    return None if head is None else _read_exactly(descriptor, *_LENGTH.unpack(head))


def _read_exactly(descriptor: int, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = os.read(descriptor, size - len(data))
        if not part:
            return None
        data += part
    return data
