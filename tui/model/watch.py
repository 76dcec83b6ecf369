# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Waiting for changes of a home: mounts by poll(2) on the mount table, layers and holders by inotify(7)."""

from __future__ import annotations

import contextlib
import errno
import os
import select
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from inotify_simple import INotify, flags

if TYPE_CHECKING:
    from overlay2.home.layer import WatchedDirectories

_MASK = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.CLOSE_WRITE | flags.ONLYDIR
_GONE = flags.IGNORED | flags.UNMOUNT
#: One part in so many of the user's inotify watches is used; other programs on the host need them too.
_SHARE = 8
_LIMIT = "/proc/sys/fs/inotify/max_user_watches"


class News(NamedTuple):
    """What changed since the last time."""

    mounts: bool = False
    holders: bool = False
    #: Ids of layers.
    layers: frozenset[str] = frozenset()
    #: Link names of layers.
    links: frozenset[str] = frozenset()
    #: Events were lost, or somebody asks for it: look at everything.
    everything: bool = False

    def __bool__(self) -> bool:
        return self.mounts or self.holders or self.everything or bool(self.layers) or bool(self.links)

    def __or__(self, other: News) -> News:
        return News(
            self.mounts or other.mounts,
            self.holders or other.holders,
            self.layers | other.layers,
            self.links | other.links,
            self.everything or other.everything,
        )


class Watch:
    """Waits for all kinds of changes of a home at once, in :meth:`wait`.

    :param directories: the directories whose entries come and go.
    :param is_layer_name: tells names that a layer can have from other names in the home.
    """

    def __init__(self, directories: WatchedDirectories, is_layer_name: Callable[[str], bool]) -> None:
        self._layers, self._links, self._holders = directories
        self._is_layer_name = is_layer_name
        self._poll = select.poll()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll.register(self._wake_reader, select.POLLIN)
        # Not POLLIN: a mountinfo is always readable, and only says POLLPRI when it changed (proc_pid_mountinfo(5)).
        self._poll.register(self._mounts, select.POLLPRI)
        self._closed = False
        self._numbers: dict[str, int] = {}
        self._directories: dict[int, str] = {}
        #: (directory, name) of directories that do not exist yet.
        self._awaited: set[tuple[str, str]] = set()
        #: Why file events are missing, as a clause; "" if they are not.
        self.trouble = ""
        self._inotify: INotify | None = None
        try:
            self._inotify = INotify()
            self._poll.register(self._inotify.fileno(), select.POLLIN)
        except OSError as error:
            self.trouble = f"no file events ({error.strerror}), so changes show after some seconds"
        self.arm()

    def close(self) -> None:
        """Release the descriptors."""
        self._closed = True
        os.close(self._mounts)
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        if self._inotify is not None:
            self._inotify.close()

    def wake(self) -> None:
        """Let :meth:`wait` return, from any thread."""
        with contextlib.suppress(OSError):
            if not self._closed:
                os.write(self._wake_writer, b"!")

    def arm(self, layers: Iterable[str] = ()) -> None:
        """Watch the home's directories, and those of as many layers as the host's limit allows, the first ones first.

        For a directory that does not exist yet, the nearest one above it is watched.
        """
        if self._inotify is None:
            return
        for directory in filter(None, (self._layers, self._links, self._holders)):
            if not self._add(directory):
                parent, name = _nearest(directory)
                self._awaited.add((parent, name))
                self._add(parent)
        budget = _watch_limit() // _SHARE
        for layer in layers:
            if len(self._numbers) >= budget:
                break
            self._add(os.path.join(self._layers, layer))

    def _add(self, directory: str) -> bool:
        if self._inotify is None or directory in self._numbers:
            return self._inotify is not None
        try:
            number = self._inotify.add_watch(directory, _MASK)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.trouble = "the host's limit of inotify watches is reached, so some changes show after a minute"
            return False
        self._numbers[directory] = number
        self._directories[number] = directory
        return True

    def wait(self, timeout: float | None) -> News:
        """The news; empty after ``timeout`` seconds, or if somebody called :meth:`wake`."""
        news = News()
        for descriptor, event in self._poll.poll(None if timeout is None else max(0, int(timeout * 1000))):
            if descriptor == self._mounts and event & (select.POLLPRI | select.POLLERR):
                news |= News(mounts=True)
            elif descriptor == self._wake_reader:
                os.read(self._wake_reader, 4096)
            elif self._inotify is not None and descriptor == self._inotify.fileno():
                news |= self._file_news(self._inotify)
        return news

    def _file_news(self, inotify: INotify) -> News:
        news = News()
        for event in inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                return News(everything=True)
            directory = self._directories.get(event.wd)
            if directory is None:
                continue
            if event.mask & _GONE:
                self._numbers.pop(directory, None)
                self._directories.pop(event.wd, None)
                if directory in (self._layers, self._links):
                    news |= News(everything=True)
                continue
            news |= self._meaning(directory, event.name)
        return news

    def _meaning(self, directory: str, name: str) -> News:
        """The news in an entry that came or went."""
        path = os.path.join(directory, name)
        if directory == self._layers:
            if path == self._links:
                return News(everything=True)
            return News(layers=frozenset((name,))) if self._is_layer_name(name) else News()
        if directory == self._links:
            return News(links=frozenset((name,)))
        if directory == self._holders:
            return News(holders=True)
        if os.path.dirname(directory) == self._layers:
            return News(layers=frozenset((os.path.basename(directory),)))
        # Such a directory may be /run, where much comes and goes that nobody waits for.
        return News(everything=(directory, name) in self._awaited)


def _nearest(directory: str) -> tuple[str, str]:
    """The nearest parent that exists, and the name that is missing in it."""
    while True:
        directory, name = os.path.split(directory)
        if os.path.isdir(directory):
            return directory, name


def _watch_limit() -> int:
    try:
        with open(_LIMIT, encoding="ascii") as source:
            return int(source.read())
    except (OSError, ValueError):
        return 8192
