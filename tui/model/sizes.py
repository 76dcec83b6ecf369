# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Measuring layers in the background: politely, one after the other, and again only when it may have changed.

Measuring something again is followed by a rest of two hundred times as long. So however much there is in a home,
keeping its sizes fresh takes less than a hundredth of one core.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import threading
import time

import psutil
from overlay2 import Overlay2Error

#: The rest, in times of what the last measuring again took; and the least seconds between two looks at one layer.
_REST = 200
_LEAST_REST = 10.0
#: Seconds between two words about how far it is.
_TELL_EVERY = 0.5
#: A walk gives way to the screen after this many seconds of work.
_STRIDE = 0.02


class Cancelled(Exception):
    """The walk is not wanted any more."""


class SizeKeeper:
    """Keeps the sizes of a home's layers. All methods may be called from any thread.

    :param measure: ``measure(id, progress)`` gives bytes (int), calling ``progress()`` on the way.
    :param tell: called with (sizes, size_errors), both dicts of id, when there is news; from the keeper's own thread.
    """

    def __init__(self, measure, tell, clock=time.monotonic):
        self._measure = measure
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._stopped = self._paused = False
        self._sizes, self._size_errors = {}, {}
        self._wanted, self._again, self._changing = [], set(), set()
        self._due = []
        self._rest_until = 0.0
        self._changed = False
        self._worked_since = 0.0

    def follow(self, layers):
        """Measure these layers: dict of id to whether it may change without a word, being mounted for writing."""
        with self._lock:
            settled = self._changing - {id for id, changing in layers.items() if changing}
            self._changing = {id for id, changing in layers.items() if changing}
            for known in (self._sizes, self._size_errors):
                for id in set(known) - set(layers):
                    del known[id]
            # The list is worked off from its end: those that can be written to are first, as people look at these.
            missing = [id for id in layers if id in settled or not (id in self._sizes or id in self._size_errors)]
            self._wanted = sorted({*missing, *self._again} & set(layers), key=lambda id: (id in self._changing, id))
            scheduled = {id for _when, id in self._due}
            now = self._clock()
            for id in self._changing - scheduled:
                if id in self._sizes:
                    heapq.heappush(self._due, (now + _LEAST_REST, id))
        self._news.set()

    def forget(self, ids):
        """These changed: measure them again."""
        with self._lock:
            for id in ids:
                self._size_errors.pop(id, None)
                if id in self._sizes and id not in self._again:
                    self._again.add(id)
                    self._wanted.append(id)
        self._news.set()

    def pause(self, paused):
        """Rest, or go on."""
        self._paused = paused
        self._news.set()

    def stop(self):
        """End :meth:`run`, also in the middle of a walk."""
        self._stopped = True
        self._news.set()

    def run(self):
        """Work until :meth:`stop`."""
        lower_priority()
        told = 0.0
        while not self._stopped:
            id = None if self._paused else self._next()
            if id is not None:
                self._one(id)
            if id is None or self._clock() - told >= _TELL_EVERY:
                told = self._clock()
                self._publish()
            if id is None:
                self._news.wait(self._pause_length())
                self._news.clear()

    def measure_all(self):
        """Measure everything that is wanted, at once, in the caller's thread: (sizes, size_errors)."""
        while (id := self._next()) is not None:
            self._one(id)
        return dict(self._sizes), dict(self._size_errors)

    def _next(self):
        """The id to measure now, or None."""
        with self._lock:
            if self._wanted:
                id = self._wanted.pop()
                self._again.discard(id)
                return id
            while self._due and max(self._due[0][0], self._rest_until) <= self._clock():
                _when, id = heapq.heappop(self._due)
                if id in self._changing and id in self._sizes:
                    return id
        return None

    def _pause_length(self):
        with self._lock:
            if self._paused or not self._due:
                return None
            return max(0.0, self._due[0][0] - self._clock(), self._rest_until - self._clock())

    def _one(self, id):
        started = self._worked_since = self._clock()
        size = why = None
        try:
            size = self._measure(id, self._yield)
        except Cancelled:
            return
        except (Overlay2Error, OSError) as error:
            why = getattr(error, "message", None) or str(error)
        took = self._clock() - started
        with self._lock:
            self._changed = self._changed or self._sizes.get(id) != size or size is None
            if size is None:
                self._sizes.pop(id, None)
                self._size_errors[id] = why
                return
            if id in self._sizes:
                self._rest_until = self._clock() + _REST * took
            self._sizes[id] = size
            if id in self._changing:
                heapq.heappush(self._due, (self._clock() + _LEAST_REST, id))

    def _yield(self):
        """Called for each folder: ends the walk if so wished, and leaves the interpreter to others now and then."""
        if self._stopped:
            raise Cancelled
        while self._paused and not self._stopped:
            time.sleep(0.1)
        if self._clock() - self._worked_since > _STRIDE:
            time.sleep(_STRIDE / 4)
            self._worked_since = self._clock()

    def _publish(self):
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            sizes, size_errors = dict(self._sizes), dict(self._size_errors)
        self._tell(sizes, size_errors)


def lower_priority():
    """Let this thread take the processor and the disk only when nobody else wants them: on Linux both are its own."""
    with contextlib.suppress(OSError, psutil.Error):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        psutil.Process(threading.get_native_id()).ionice(psutil.IOPRIO_CLASS_IDLE)
