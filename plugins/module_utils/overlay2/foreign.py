# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Holds the locks of another engine, so that it stands still while its home is changed.

dockerd keeps its databases locked (flock) while it runs, and waits for them when it starts; containers/storage takes
its lock files (fcntl, for writing) for each change. A process that holds them is alone in the home.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Callable, Iterable, Iterator

from .errors import EngineRunning, Overlay2Error, from_os_error
from .owners import CONTAINERS_STORAGE, DOCKERD, containers_storage, dockerd, engine


@contextlib.contextmanager
def standstill(path: str, kind: str) -> Iterator[None]:
    """Keeps the engine of the home at ``path`` from working on it, for the length of a ``with`` block.

    :param kind: the engine, as :attr:`.owners.Report.engine` has it; in a home of this project nothing is locked.
    :raises EngineRunning: it is at work now, or nothing can prove that it is not.
    """
    with contextlib.ExitStack() as stack:
        if kind == DOCKERD:
            _hold(stack, path, engine.dockerd_files(dockerd.Places(path).data_root), _flock, "dockerd")
        elif kind == CONTAINERS_STORAGE:
            locks = [lock for lock in containers_storage.Places(path).locks if os.path.exists(lock)]
            _hold(stack, path, locks, _record_lock, "containers/storage")
        yield


def _hold(stack: contextlib.ExitStack, home: str, files: Iterable[str], lock: Callable[[int], None], name: str) -> None:
    """Takes the locks of an engine."""
    if not files:
        raise EngineRunning(
            "cannot verify that %s is stopped: none of its lock files was found" % name,
            path=home,
            remedy="Use the engine's own commands",
        )
    for path in files:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            lock(descriptor)
        except BlockingIOError as error:
            raise EngineRunning(
                "%s is at work on this home" % name, path=path, remedy="Stop %s first" % name
            ) from error
        except OSError as error:
            raise from_os_error(Overlay2Error, "can't lock the engine's file", error, path=path) from error


def _flock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _record_lock(descriptor: int) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # POSIX leaves it to the kernel whether this is EACCES or EAGAIN
        raise BlockingIOError(error.errno, error.strerror) from error
