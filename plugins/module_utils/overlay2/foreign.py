# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Working on the home of another engine: only with that engine's own locks held, so that it stands still meanwhile.

dockerd keeps its databases locked (flock) while it runs, and waits for them when it starts; containers/storage takes
its lock files (fcntl, for writing) for each change. Whoever holds these has the home to himself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from .errors import EngineRunning, Overlay2Error, from_os_error
from .owners import CONTAINERS_STORAGE, DOCKERD, containers_storage, dockerd, engine


@contextlib.contextmanager
def standstill(home, kind):
    """Keep the engine of a home from working on it, for the length of a ``with`` block.

    :param kind: the engine, as :attr:`.owners.Report.engine` has it; for one of this project's own nothing is locked.
    :raises EngineRunning: it is at work now, or there is nothing to tell by that it is not.
    """
    with contextlib.ExitStack() as stack:
        if kind == DOCKERD:
            _hold(stack, home, engine.dockerd_files(dockerd.Places(home).data_root), _flock, "dockerd")
        elif kind == CONTAINERS_STORAGE:
            locks = [path for path in containers_storage.Places(home).locks if os.path.exists(path)]
            _hold(stack, home, locks, _record_lock, "containers/storage")
        yield


def _hold(stack, home, files, lock, name):
    if not files:
        raise EngineRunning(
            "there is no file of %s's to tell by that it does not run" % name,
            path=home,
            remedy="Use the engine's own commands",
        )
    for path in files:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            lock(descriptor)
        except BlockingIOError as error:
            raise EngineRunning(
                "%s is at work on this home" % name, path=path, remedy="Stop %s first" % name
            ) from error
        except OSError as error:
            raise from_os_error(Overlay2Error, "can't lock the engine's file", error, path=path) from error


def _flock(descriptor):
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _record_lock(descriptor):
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # POSIX leaves it to the kernel whether this is EACCES or EAGAIN
        raise BlockingIOError(error.errno, error.strerror) from error
