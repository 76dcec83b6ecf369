# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Keys that are typed faster than the screen follows go where they would have gone when typed slowly.

Textual gives a key to whatever has the focus when it arrives. What a key does may take several messages between
widget, screen and app: after Enter in the filter the focus is on its way to the list while the next key still goes
into the filter. So keys wait in a queue, and each is given out only when the one before it has had its effect.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Optional, Union

from textual import events
from textual.app import App
from textual.message_pump import MessagePump

Typed = Union[events.Key, events.Paste]

#: Messages from a widget bubble up to the app, where they may be answered by others: so many times at most.
_ROUNDS = 4
#: Seconds that a key waits at most for a widget that does not answer, and for a list that is being read.
_LONGEST_ANSWER, _LONGEST_READ = 1.0, 10.0
_LOOK_EVERY = 0.02


class TypedAhead:
    """The queue of one app.

    :param give: gives a key to whatever has the focus.
    :param must_wait: whether a key would be lost now, as what it is meant for is still being read.
    """

    def __init__(
        self, app: App[None], give: Callable[[Typed], Awaitable[None]], must_wait: Callable[[Typed], bool]
    ) -> None:
        self._app, self._give, self._must_wait = app, give, must_wait
        # Made when the event loop runs: before Python 3.10 a queue belongs to the loop of the moment it is made.
        self._queue: Optional[asyncio.Queue[Typed]] = None

    @property
    def _keys(self) -> asyncio.Queue[Typed]:
        if self._queue is None:
            self._queue = asyncio.Queue()
        return self._queue

    def put(self, event: Typed) -> None:
        """Take a key, to be given out in its turn."""
        self._keys.put_nowait(event)

    async def run(self) -> None:
        """Give out keys until the app ends."""
        while self._app.is_running:
            event = await self._keys.get()
            try:
                await self._until_of_use(event)
                await self._give(event)
                await self._until_done()
            finally:
                self._keys.task_done()

    async def all_done(self) -> None:
        """Wait until all keys taken so far have had their effect."""
        await self._keys.join()

    async def _until_of_use(self, event: Typed) -> None:
        loop = asyncio.get_running_loop()
        latest = loop.time() + _LONGEST_READ
        while self._must_wait(event) and loop.time() < latest:
            await asyncio.sleep(_LOOK_EVERY)

    async def _until_done(self) -> None:
        for _round in range(_ROUNDS):
            screen = self._app.screen
            node = screen.focused or screen
            for pump in (*node.ancestors_with_self, self._app):
                await _until_empty(pump)


async def _until_empty(pump: MessagePump) -> None:
    """Wait until a widget has handled all messages that are in its queue now."""
    empty = asyncio.Event()
    if pump.call_later(empty.set):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(empty.wait(), _LONGEST_ANSWER)
