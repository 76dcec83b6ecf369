# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Runtime state of a home: where it lives, and the locks that every process on the host respects.

The folder belongs on a tmpfs, as nothing in it may outlive a reboot. Where it is not on one, the boot id
inside each record has the same effect.

Locks are ``flock(2)`` on files of their own, always taken in this order: a layer's lock, then the home's.
The home lock guards the structure that layers share (names in the home, the ``l`` folder, ``committed``)
and is held for moments only; a layer's lock may be held through a long apply.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat

from ..errors import NotSupported, Overlay2Error, from_os_error
from ..linux import kernel

log = logging.getLogger("overlay2")

#: Overrides the folder that holds every home's runtime state.
RUN_ROOT_VARIABLE = "OVERLAY2_RUN_ROOT"


def run_root() -> str:
    """Returns the directory of all runtime state: ``/run/overlay2``, or the user's own if that is not writable.

    ``OVERLAY2_RUN_ROOT`` comes first; without root, or in a user namespace, ``$XDG_RUNTIME_DIR/overlay2``, then
    ``/run/user/<uid>/overlay2``, then a private directory beside other temporary files.
    """
    override = os.environ.get(RUN_ROOT_VARIABLE)
    if override:
        return override
    if os.geteuid() == 0 and not kernel.in_user_namespace():
        return "/run/overlay2"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, "overlay2")
    uid = _outer_uid()
    if os.access("/run/user/%d" % uid, os.W_OK):
        return "/run/user/%d/overlay2" % uid
    import tempfile  # seldom needed, and slow to import

    return os.path.join(tempfile.gettempdir(), "overlay2-run-%d" % uid)


def _outer_uid() -> int:
    """Returns this process's uid as the parent user namespace sees it."""
    uid = os.geteuid()
    fields = kernel.uid_map()
    if len(fields) == 3:
        inner, outer, count = (int(field) for field in fields)
        if inner <= uid < inner + count:
            return outer + uid - inner
    return uid


def state_name(home: str) -> str:
    """Returns the directory name of a home's runtime state: its real path made readable, and its device and inode.

    Device and inode identify the home: a bind mount is another path to the same home, and shares its locks and
    references. They come last, in hexadecimal.

    :raises OSError: the home cannot be looked at.
    """
    real = os.path.realpath(home)
    info = os.stat(real)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", real)[-80:].strip("-.")
    return "%s-%x-%x" % (readable or "root", info.st_dev, info.st_ino)


class RuntimeState:
    """The runtime directory of one home, made when it is first written to.

    :raises OSError: the home cannot be looked at.
    """

    def __init__(self, home: str) -> None:
        self._home = home
        self._root = run_root()
        self._name = state_name(home)
        #: The directory, once it is known to exist.
        self._made = ""

    @property
    def path(self) -> str:
        """The directory. It need not exist yet, and may bear the name of another path to the same home."""
        return self._made or os.path.join(self._root, self._existing_name() or self._name)

    @property
    def holders_dir(self) -> str:
        """The directory of the holder records."""
        return self.path + "/holders"

    def _existing_name(self) -> str | None:
        try:
            names = os.listdir(self._root)
        except OSError:
            return None
        identity = self._name.rsplit("-", 2)[1:]
        return next((name for name in sorted(names) if name.rsplit("-", 2)[1:] == identity), None)

    def make(self) -> None:
        """Makes the directories, private to their owner.

        :raises NotSupported: they cannot be made, or belong to somebody else.
        """
        if self._made:
            return
        try:
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            # Two processes may come by two paths: the first name that is made is the one for both.
            root = _lock(self._root, fcntl.LOCK_EX, "the runtime folder", os.O_RDONLY | os.O_DIRECTORY)
            try:
                path = self.path
                for directory in (path, path + "/holders", path + "/locks"):
                    os.makedirs(directory, mode=0o700, exist_ok=True)
            finally:
                unlock(root)
            _refuse_foreign(path)
            if RUN_ROOT_VARIABLE not in os.environ:
                # The last resort lies where everybody may make directories.
                _refuse_foreign(self._root)
        except OSError as error:
            raise from_os_error(NotSupported, "the runtime folder can't be made", error, path=self.path) from error
        self._made = path

    def scratch(self) -> str:
        """Returns a directory for short-lived files of this home's readers, made if it is missing."""
        self.make()
        return self.path

    def home_lock(self, shared: bool = False) -> _Lock:
        """Returns a context manager that holds the home's lock.

        :param shared: for callers that only need the home's structure to stand still.
        """
        return _Lock(self, "home.lock", fcntl.LOCK_SH if shared else fcntl.LOCK_EX, "the home")

    def layer_lock(self, layer_id: str) -> _Lock:
        """Returns a context manager that holds a layer's lock, for changes of the layer, its mount or its references.

        The lock's file goes with the layer: if the layer is gone at the end, the file is removed.
        """
        return _LayerLock(self, "locks/%s" % layer_id, "%s/%s" % (self._home, layer_id), layer_id)

    def locked(self, name: str, mode: int, what: str) -> tuple[int, str]:
        """Locks a file of the directory, which is made if it is missing.

        :param mode: ``LOCK_SH`` or ``LOCK_EX``.
        :param what: the name of the lock in messages.
        :returns: a descriptor for :func:`unlock`, and the file's path.
        :raises Overlay2Error: it cannot be locked.
        """
        self.make()
        path = "%s/%s" % (self._made, name)
        try:
            try:
                return _lock(path, mode, what), path
            except FileNotFoundError:  # somebody tidied up the directory under a process that runs for long
                self._made = ""
                self.make()
                path = "%s/%s" % (self._made, name)
                return _lock(path, mode, what), path
        except OSError as error:
            if isinstance(error, Overlay2Error):
                raise
            raise from_os_error(Overlay2Error, "can't lock %s" % what, error, path=path) from error


class _Lock:
    """A lock that is held for the length of a ``with`` block."""

    # A class, as each mount takes three of them: as generators they would cost a tenth of its processor time.

    def __init__(self, runtime: RuntimeState, name: str, mode: int, what: str) -> None:
        self._runtime, self._name, self._mode, self._what = runtime, name, mode, what
        self._descriptor, self._path = -1, ""

    def __enter__(self) -> None:
        self._descriptor, self._path = self._runtime.locked(self._name, self._mode, self._what)

    def __exit__(self, *exception: object) -> None:
        unlock(self._descriptor)


class _LayerLock(_Lock):
    """A layer's lock.

    :param directory: the layer's.
    """

    def __init__(self, runtime: RuntimeState, name: str, directory: str, layer_id: str) -> None:
        super().__init__(runtime, name, fcntl.LOCK_EX, "layer %s" % layer_id)
        self._directory = directory

    def __exit__(self, *exception: object) -> None:
        try:
            if not os.path.lexists(self._directory):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path)
        finally:
            super().__exit__()


def _refuse_foreign(directory: str) -> None:
    info = os.stat(directory, follow_symlinks=False)
    if info.st_uid != os.geteuid() or not stat.S_ISDIR(info.st_mode):
        raise NotSupported(
            "the runtime folder belongs to uid %d" % info.st_uid,
            path=directory,
            remedy="Point %s at a folder of your own" % RUN_ROOT_VARIABLE,
        )


def _lock(path: str, mode: int, what: str, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Locks the file at ``path`` and returns its descriptor.

    A lock file is removed with its layer, by the process that holds it. So a lock counts only if its file still has a
    name.
    """
    while True:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            flock(descriptor, mode, what)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def flock(descriptor: int, mode: int, what: str) -> None:
    """flock(2) that logs when it has to wait."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("waiting for another process that has locked %s", what)
        fcntl.flock(descriptor, mode)


def unlock(descriptor: int) -> None:
    """Releases a lock and closes its descriptor. A process forked meanwhile has a copy, and would keep the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
