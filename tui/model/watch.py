# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Waiting for news of a home: the kernel's mount table by poll(2), layers and holders by inotify(7)."""

from __future__ import annotations

import contextlib
import errno
import os
import select
from typing import NamedTuple

from inotify_simple import INotify, flags
from overlay2.home.layout import LINK_DIR, QUOTA_DEVICE, STAGING

_MASK = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.CLOSE_WRITE | flags.ONLYDIR
_GONE = flags.IGNORED | flags.UNMOUNT
#: The share of the user's watches that is ours to take: others on the host live on them too.
_SHARE = 8
#: What comes and goes in a home and is no layer.
_NO_LAYERS = (STAGING, QUOTA_DEVICE)
_LIMIT = "/proc/sys/fs/inotify/max_user_watches"


class News(NamedTuple):
    """What changed since the last time."""

    mounts: bool = False
    holders: bool = False
    #: Ids of layers, and ``l/…`` names of links.
    layers: frozenset = frozenset()
    #: Events were lost, or somebody asks for it: look at everything.
    everything: bool = False

    def __bool__(self):
        return self.mounts or self.holders or self.everything or bool(self.layers)

    def __or__(self, other):
        return News(
            self.mounts or other.mounts,
            self.holders or other.holders,
            self.layers | other.layers,
            self.everything or other.everything,
        )


class Watch:
    """Everything that tells of changes in a home, behind one :meth:`wait`.

    :param folders: ``driver.watched_directories()``: home, links, holders.
    """

    def __init__(self, folders):
        self._home, self._links, self._holders = folders
        self._poll = select.poll()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll.register(self._wake_reader, select.POLLIN)
        # Not POLLIN: a mountinfo is always readable, and only says POLLPRI when it changed (proc_pid_mountinfo(5)).
        self._poll.register(self._mounts, select.POLLPRI)
        self._closed = False
        self._watches = {}
        #: (folder, name) of what is not there yet.
        self._awaited = set()
        #: Why file events do not come, as a sentence; "" where they do.
        self.trouble = ""
        try:
            self._inotify = INotify()
            self._poll.register(self._inotify.fileno(), select.POLLIN)
        except OSError as error:
            self._inotify = None
            self.trouble = f"no file events ({error.strerror}), so changes show after some seconds"
        self.arm()

    def close(self):
        """Release the descriptors."""
        self._closed = True
        os.close(self._mounts)
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        if self._inotify is not None:
            self._inotify.close()

    def wake(self):
        """Let :meth:`wait` return, from any thread."""
        with contextlib.suppress(OSError):
            if not self._closed:
                os.write(self._wake_writer, b"!")

    def arm(self, layers=()):
        """Watch the home's folders, and those of the layers as far as the host's limit allows, the first ones first.

        A folder that is not there yet is waited for in the nearest one that is.
        """
        if self._inotify is None:
            return
        for folder in (self._home, self._links, self._holders):
            if not self._add(folder):
                parent, name = _nearest(folder)
                self._awaited.add((parent, name))
                self._add(parent)
        budget = _watch_limit() // _SHARE
        for layer in layers:
            if len(self._watches) >= budget:
                break
            self._add(os.path.join(self._home, layer))

    def _add(self, folder):
        if folder in self._watches:
            return True
        try:
            number = self._inotify.add_watch(folder, _MASK)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.trouble = "the host's limit of inotify watches is reached, so some changes show after a minute"
            return False
        self._watches[folder] = number
        self._watches[number] = folder
        return True

    def wait(self, timeout):
        """News (:class:`News`), empty once ``timeout`` seconds passed or somebody called :meth:`wake`."""
        news = News()
        for descriptor, event in self._poll.poll(None if timeout is None else max(0, int(timeout * 1000))):
            if descriptor == self._mounts and event & (select.POLLPRI | select.POLLERR):
                news |= News(mounts=True)
            elif descriptor == self._wake_reader:
                os.read(self._wake_reader, 4096)
            elif self._inotify is not None and descriptor == self._inotify.fileno():
                news |= self._file_news()
        return news

    def _file_news(self):
        news = News()
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                return News(everything=True)
            folder = self._watches.get(event.wd)
            if folder is None:
                continue
            if event.mask & _GONE:
                self._watches.pop(folder, None)
                self._watches.pop(event.wd, None)
                if folder in (self._home, self._links):
                    news |= News(everything=True)
                continue
            news |= self._meaning(folder, event.name)
        return news

    def _meaning(self, folder, name):
        """What an entry that came or went tells."""
        if folder == self._home:
            if name == LINK_DIR:
                return News(everything=True)
            return News() if name in _NO_LAYERS else News(layers=frozenset((name,)))
        if folder == self._links:
            return News(layers=frozenset((f"{LINK_DIR}/{name}",)))
        if folder == self._holders:
            return News(holders=True)
        if os.path.dirname(folder) == self._home:
            return News(layers=frozenset((os.path.basename(folder),)))
        # Such a folder may be /run, where much comes and goes that is not waited for.
        return News(everything=(folder, name) in self._awaited)


def _nearest(folder):
    """The nearest parent of ``folder`` that exists, and the name that is missing in it (pair of str)."""
    while True:
        folder, name = os.path.split(folder)
        if os.path.isdir(folder):
            return folder, name


def _watch_limit():
    try:
        with open(_LIMIT, encoding="ascii") as source:
            return int(source.read())
    except (OSError, ValueError):
        return 8192
