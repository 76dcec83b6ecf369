# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Keeping a Snapshot fresh: three threads, which follow the kernel's events, measure, and run the checks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from overlay2.tree import Usage

from .checks import CheckLoop, run_checks
from .sizes import Cancelled, SizeKeeper
from .snapshot import InspectedLayer, Snapshot
from .source import HomeSource
from .watch import News, Watch

#: Debounce: seconds to wait for further events before reading, and the upper bound on a host with constant mount
#: activity.
_GATHER, _GATHER_MOST = 0.15, 0.3
#: A new layer may change once more without an event: read it again after so many seconds.
_SETTLE = 1.0
#: Everything is read again after this many seconds, or after this multiple of the time that reading took.
_FULL_EVERY, _FULL_REST = 60.0, 500.0
#: The same for facts without events: use of space and quotas; other mount namespaces; processes, while somebody looks.
_USE_EVERY, _ELSEWHERE_EVERY, _PROCESSES_EVERY, _REST = 10.0, 5.0, 3.0, 300.0
#: Seconds between two readings of everything without file events.
_BLIND_EVERY = 2.0


class Poller:
    """Follows one home and publishes each new Snapshot.

    :param publish: called with each Snapshot, from the poller's threads.
    """

    def __init__(self, source: HomeSource, publish: Callable[[Snapshot], object]) -> None:
        self._source = source
        self._publish = publish
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._stopped = self.paused = False
        self._wants_processes = self._wants_all = False
        self._settling: dict[str, float] = {}
        self._last_published: Snapshot | None = None
        self._armed: Mapping[str, InspectedLayer] | None = None
        self._due = {"full": 0.0, "use": 0.0, "elsewhere": 0.0, "processes": 0.0}
        self._sizes = SizeKeeper(self._measure, self._have_sizes)
        self._checks = CheckLoop(self._check)

    # From any thread

    def pause(self, paused: bool) -> None:
        """Pause, or go on and catch up."""
        self.paused = paused
        self._sizes.pause(paused)
        self._checks.pause(paused)
        self._wake()

    def refresh(self) -> None:
        """Read everything now."""
        self._wants_all = True
        self._wake()

    def attend_processes(self, wanted: bool) -> None:
        """Whether to look for the processes that keep mounts busy, which takes a walk through all processes."""
        self._wants_processes = wanted
        self._due["processes"] = 0.0
        self._wake()

    def stop(self) -> None:
        """End the threads: soon, even in a long walk; the checking thread after its current check."""
        self._stopped = True
        self._sizes.stop()
        self._checks.stop()
        self._wake()

    def _wake(self) -> None:
        if self._watch is not None:
            self._watch.wake()

    # The thread that follows

    def run(self) -> None:
        """Read the home and publish it, then follow it until :meth:`stop`."""
        self._read(News(everything=True))
        while not self._stopped and self._source.driver is None:
            # There is no home to watch: see whether it has been created.
            time.sleep(0.2)
            if not self.paused and (self._wants_all or self._is_due("full")):
                self._read(News(everything=True))
        driver = self._source.driver
        if self._stopped or driver is None:
            return
        store = driver.opened.store
        watch = Watch(driver.watched_directories(), lambda name: store.layer_at(name) is not None)
        self._watch = watch
        try:
            self._arm(watch)
            self._follow(watch)
        finally:
            self._watch = None
            watch.close()

    def run_sizes(self) -> None:
        """Measure the home's layers until :meth:`stop`; for a thread of its own."""
        self._sizes.run()

    def run_checks(self) -> None:
        """Look for owners and findings until :meth:`stop`; for a thread of its own."""
        self._checks.run()

    def _follow(self, watch: Watch) -> None:
        pending, gather = News(), _GATHER
        while not self._stopped:
            pending |= watch.wait(None if self.paused else self._timeout())
            self._settling.update(dict.fromkeys(pending.layers, time.monotonic() + _SETTLE))
            if self.paused or self._stopped:
                continue
            if pending:
                time.sleep(gather)
                pending |= watch.wait(0)
            if pending.mounts:
                moved = self._source.mounts_moved()
                gather = _GATHER if moved else min(2 * gather, _GATHER_MOST)
                pending = pending._replace(mounts=moved)
            pending |= self._timed_news()
            if pending:
                self._read(pending)
                self._arm(watch)
                pending = News()
            self._timed_reads()

    def _timed_news(self) -> News:
        """Reading that is due without an event."""
        now = time.monotonic()
        settled = frozenset(name for name, when in self._settling.items() if when <= now)
        for name in settled:
            del self._settling[name]
        return News(layers=settled, everything=self._wants_all or self._is_due("full"))

    def _timed_reads(self) -> None:
        if self._is_due("use"):
            self._timed("use", self._source.read_use, _USE_EVERY)
        if self._is_due("elsewhere"):
            self._timed("elsewhere", self._source.read_mounts, _ELSEWHERE_EVERY)
        if self._wants_processes and self._is_due("processes"):
            self._timed("processes", self._source.read_processes, _PROCESSES_EVERY)

    def _timed(self, name: str, read: Callable[[], Snapshot], least: float) -> None:
        started = time.monotonic()
        with self._lock:
            snapshot = read()
        took = time.monotonic() - started
        self._due[name] = time.monotonic() + max(least, _REST * took)
        self._publish_if_new(snapshot)

    def _read(self, news: News) -> None:
        started = time.monotonic()
        with self._lock:
            before = snapshot = self._source.snapshot
            if news.everything:
                self._wants_all = False
                snapshot = self._source.read()
                rest = 1.0 if snapshot.failure else _BLIND_EVERY if self._is_blind() else _FULL_EVERY
                self._due["full"] = started + max(rest, _FULL_REST * (time.monotonic() - started))
            else:
                if news.layers or news.links:
                    snapshot = self._source.read_layers(news.layers, news.links)
                if news.mounts or news.holders or news.layers or news.links:
                    snapshot = self._source.read_mounts()
        self._publish_if_new(snapshot)
        if snapshot.mounts is before.mounts and snapshot.layers is before.layers:
            return
        self._checks.ask()
        self._sizes.forget(news.layers)
        mounted = {mount.id for mount in snapshot.mounts if mount.mounted or mount.elsewhere}
        self._sizes.follow({id: id in mounted and facts.kind != "ro" for id, facts in snapshot.layers.items()})

    def _publish_if_new(self, snapshot: Snapshot) -> None:
        if snapshot is not self._last_published:
            self._last_published = snapshot
            self._publish(snapshot)

    def _arm(self, watch: Watch) -> None:
        """Watch the layers, those that can change first."""
        with self._lock:
            layers = self._source.snapshot.layers
        if layers is self._armed:
            return
        self._armed = layers
        watch.arm(sorted(layers, key=lambda id: layers[id].layer.committed))

    def _is_blind(self) -> bool:
        return self._watch is not None and bool(self._watch.trouble)

    def _is_due(self, name: str) -> bool:
        return time.monotonic() >= self._due[name]

    def _timeout(self) -> float:
        """Seconds until reading is due without an event."""
        times = [self._due["full"], self._due["use"], self._due["elsewhere"], *self._settling.values()]
        if self._wants_processes:
            times.append(self._due["processes"])
        return max(0.0, min(times) - time.monotonic())

    # The thread that measures

    def _measure(self, id: str, progress: Callable[[], None]) -> Usage:
        driver = self._source.driver
        if driver is None:
            raise Cancelled
        return driver.own_usage(id, progress)

    def _have_sizes(self, sizes: dict[str, Usage], errors: dict[str, str]) -> None:
        with self._lock:
            snapshot = self._source.with_sizes(sizes, errors)
        self._publish_if_new(snapshot)

    # The thread that runs the checks

    def _check(self) -> None:
        driver = self._source.driver
        if driver is None:
            return
        owners, findings = run_checks(driver)
        with self._lock:
            if driver is not self._source.driver:
                return
            snapshot = self._source.with_checks(owners, findings)
        self._publish_if_new(snapshot)
