# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Measuring layers in the background, one after the other, and again only if a layer may have changed.

Measuring a layer again is followed by a rest two hundred times as long, so keeping sizes up to date takes less than a
hundredth of one core however large the home is.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from overlay2 import Overlay2Error
from overlay2.tree import Usage

from .background import BackgroundLoop

#: The rest as a multiple of what the last measuring again took; the fewest seconds between two looks at one layer.
_REST = 200
_LEAST_REST = 10.0
#: Seconds between two reports of progress.
_PUBLISH_EVERY = 0.5
#: A walk gives way to the screen after this many seconds of work.
_STRIDE = 0.02


class Cancelled(Exception):
    """The walk is not wanted any more."""


class SizeKeeper(BackgroundLoop):
    """Keeps the sizes of a home's layers. The public methods may be called from any thread.

    :param measure: ``measure(id, progress)`` returns the size, and calls ``progress()`` on the way.
    :param publish: called with sizes and errors, both by id, when there is news; from the keeper's own thread.
    """

    def __init__(
        self,
        measure: Callable[[str, Callable[[], None]], Usage],
        publish: Callable[[dict[str, Usage], dict[str, str]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock)
        self._measure = measure
        self._publish = publish
        self._lock = threading.Lock()
        self._sizes: dict[str, Usage] = {}
        self._errors: dict[str, str] = {}
        self._wanted: list[str] = []
        self._again: set[str] = set()
        self._changing: set[str] = set()
        #: A heap of (when, id): when to measure a layer that may have changed again.
        self._due: list[tuple[float, str]] = []
        self._rest_until = self._published = 0.0
        self._changed = False
        self._worked_since = 0.0

    def follow(self, layers: Mapping[str, bool]) -> None:
        """Measure these layers: id to whether it may change unnoticed, because it is mounted for writing."""
        with self._lock:
            settled = self._changing - {id for id, changing in layers.items() if changing}
            self._changing = {id for id, changing in layers.items() if changing}
            self._sizes = {id: size for id, size in self._sizes.items() if id in layers}
            self._errors = {id: error for id, error in self._errors.items() if id in layers}
            # Taken from the end: those that can be written to come first, as people look at these.
            missing = [id for id in layers if id in settled or not (id in self._sizes or id in self._errors)]
            self._wanted = sorted({*missing, *self._again} & set(layers), key=lambda id: (id in self._changing, id))
            scheduled = {id for _when, id in self._due}
            now = self._clock()
            for id in self._changing - scheduled:
                if id in self._sizes:
                    heapq.heappush(self._due, (now + _LEAST_REST, id))
        self._woken.set()

    def forget(self, ids: Iterable[str]) -> None:
        """Measure these again; they changed."""
        with self._lock:
            for id in ids:
                self._errors.pop(id, None)
                if id in self._sizes and id not in self._again:
                    self._again.add(id)
                    self._wanted.append(id)
        self._woken.set()

    def measure_all(self) -> tuple[dict[str, Usage], dict[str, str]]:
        """Measure everything that is wanted now, in the caller's thread; returns sizes and errors."""
        while (id := self._next()) is not None:
            self._measure_one(id)
        return dict(self._sizes), dict(self._errors)

    def _step(self) -> float | None:
        id = None if self._paused else self._next()
        if id is not None:
            self._measure_one(id)
        if id is None or self._clock() - self._published >= _PUBLISH_EVERY:
            self._published = self._clock()
            self._publish_changes()
        return self._rest() if id is None else 0

    def _next(self) -> str | None:
        """The id to measure now, if any."""
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

    def _rest(self) -> float | None:
        with self._lock:
            if self._paused or not self._due:
                return None
            return max(0.0, self._due[0][0] - self._clock(), self._rest_until - self._clock())

    def _measure_one(self, id: str) -> None:
        started = self._worked_since = self._clock()
        size, reason = None, ""
        try:
            size = self._measure(id, self._yield)
        except Cancelled:
            return
        except (Overlay2Error, OSError) as error:
            reason = getattr(error, "message", None) or str(error)
        took = self._clock() - started
        with self._lock:
            self._changed = self._changed or self._sizes.get(id) != size or size is None
            if size is None:
                self._sizes.pop(id, None)
                self._errors[id] = reason
                return
            if id in self._sizes:
                self._rest_until = self._clock() + _REST * took
            self._sizes[id] = size
            if id in self._changing:
                heapq.heappush(self._due, (self._clock() + _LEAST_REST, id))

    def _yield(self) -> None:
        """Called for each folder of a walk: ends or pauses it, and lets other threads run."""
        if self._stopped:
            raise Cancelled
        while self._paused and not self._stopped:
            time.sleep(0.1)
        if self._clock() - self._worked_since > _STRIDE:
            time.sleep(_STRIDE / 4)
            self._worked_since = self._clock()

    def _publish_changes(self) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            sizes, errors = dict(self._sizes), dict(self._errors)
        self._publish(sizes, errors)
