# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Following a home as it changes."""

from __future__ import annotations

import os
import threading
import time

import pytest
from overlay2 import Driver
from overlay2_tui.model.poller import Poller
from overlay2_tui.model.source import HomeSource


def wait(seen, condition, seconds=10.0):
    """Wait for a Snapshot; how long it took (seconds)."""
    started = time.monotonic()
    while not (seen and condition(seen[-1])):
        assert time.monotonic() - started < seconds, "it did not come to pass"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
def follow(driver):
    """A poller on the driver's home, running; its Snapshots come to a list."""
    seen = []
    poller = Poller(HomeSource(driver.home), seen.append)
    threads = [threading.Thread(target=run) for run in (poller.run, poller.run_sizes, poller.run_checks)]
    for thread in threads:
        thread.start()
    yield poller, seen
    poller.stop()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_follows_layers_mounts_and_holders(driver, follow, report):
    _poller, seen = follow
    wait(seen, lambda s: s.sized == 3)
    taken = {}
    driver.create_read_write("new", "middle")
    taken["a layer"] = wait(seen, lambda s: "new" in s.layers and s.layers["new"].layer.parent == "middle")
    driver.get("new", holder="web")
    taken["a mount"] = wait(
        seen, lambda s: (m := s.mount_of("new")) is not None and m.mounted and dict(m.holders) == {"web": 1}
    )
    driver.get("new", holder="more")
    taken["a holder"] = wait(seen, lambda s: (m := s.mount_of("new")) is not None and len(m.holders) == 2)
    driver.put_all("new")
    taken["an unmount"] = wait(seen, lambda s: s.mount_of("new") is None)
    driver.remove("new")
    taken["a removal"] = wait(seen, lambda s: "new" not in s.layers)
    os.unlink(os.path.join(driver.home, "base/link"))
    taken["damage"] = wait(seen, lambda s: s.layers["base"].layer.problems)
    report("overlay2-tui shows " + ", ".join(f"{what} after {seconds:.2f} s" for what, seconds in taken.items()))


def test_owners_and_findings_follow(driver, follow):
    _poller, seen = follow
    wait(seen, lambda s: s.owners is not None and s.health == (), 30)
    driver.create_read_write("new", "middle")
    driver.get("new", holder="job")
    open(os.path.join(driver.home, "middle/link"), "w").close()
    wait(seen, lambda s: (owner := s.owner_of("new")) is not None and owner.text == "job" and s.health, 60)
    assert [finding.code for finding in seen[-1].health if finding.layer == "middle"] == ["link-empty"]
    driver.put_all("new")


def test_rests_when_paused_and_catches_up(driver, follow):
    poller, seen = follow
    wait(seen, lambda s: s.sized == 3)
    poller.pause(True)
    time.sleep(0.3)
    count = len(seen)
    driver.create("new", "base")
    time.sleep(1.0)
    assert len(seen) == count
    poller.pause(False)
    wait(seen, lambda s: "new" in s.layers)


def test_a_home_that_comes_later_is_found(home):
    seen = []
    os.rmdir(home)
    poller = Poller(HomeSource(home), seen.append)
    thread = threading.Thread(target=poller.run)
    thread.start()
    try:
        wait(seen, lambda s: s.failure is not None)
        Driver(home).create("base")
        wait(seen, lambda s: "base" in s.layers)
    finally:
        poller.stop()
        thread.join(10)


def test_a_home_that_goes_is_told(driver, follow):
    _poller, seen = follow
    wait(seen, lambda s: s.sized == 3)
    driver.cleanup()
    os.rename(driver.home, driver.home + ".gone")
    wait(seen, lambda s: s.failure is not None)
    os.rename(driver.home + ".gone", driver.home)
    wait(seen, lambda s: s.failure is None and "top" in s.layers)
