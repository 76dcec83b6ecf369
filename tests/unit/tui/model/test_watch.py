# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""News of a home, as the kernel has them."""

from __future__ import annotations

import os
import threading

import pytest
from overlay2 import Driver
from overlay2_tui.model.watch import News, Watch


@pytest.fixture
def driver(home):
    """A driver of a home with one layer."""
    driver = Driver(home, ["overlay2.sync=none"])
    driver.create("base")
    yield driver
    driver.cleanup()


@pytest.fixture
def watch(driver):
    """A watch on that home."""
    store = driver.opened.store
    watch = Watch(driver.watched_directories(), lambda name: store.layer_at(name) is not None)
    yield watch
    watch.close()


def until(watch, condition):
    """All news until a condition holds of them."""
    news = News()
    while not condition(news):
        more = watch.wait(10)
        assert more, f"no more news after {news}"
        news |= more
    return news


def test_a_new_layer_and_its_link(driver, watch):
    driver.create("new", "base")
    news = until(watch, lambda news: "new" in news.layers and news.links)
    assert news.links == {driver.layer("new").link}
    assert not news.everything


def test_a_change_in_a_layer(driver, watch):
    watch.arm(["base"])
    os.unlink(os.path.join(driver.home, "base/link"))
    assert until(watch, lambda news: news.layers).layers == {"base"}


def test_mounts_and_holders(driver, watch):
    driver.create_read_write("run", "base")
    driver.get("run", holder="web")
    assert until(watch, lambda news: news.mounts and (news.holders or news.everything))


def test_the_links_folder_that_goes_is_a_reason_to_read_everything(driver, watch):
    os.rename(os.path.join(driver.home, "l"), os.path.join(driver.home, "gone"))
    until(watch, lambda news: news.everything)


def test_names_of_the_driver_s_own_are_no_layers(driver, watch):
    os.makedirs(os.path.join(driver.home, ".staging"), exist_ok=True)
    os.mkdir(os.path.join(driver.home, "last"))
    assert until(watch, lambda news: "last" in news.layers).layers == {"last"}


def test_a_wait_can_be_ended_from_another_thread(watch):
    thread = threading.Timer(0.05, watch.wake)
    thread.start()
    watch.wait(None)  # or it would never return; mounts elsewhere on the host may end it too
    thread.join()
