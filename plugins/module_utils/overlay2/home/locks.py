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
import hashlib
import logging
import os
import re
import stat

from ..errors import NotSupported, Overlay2Error, from_os_error
from ..linux import kernel

log = logging.getLogger("overlay2")

#: Overrides the folder that holds every home's runtime state.
RUN_ROOT_VARIABLE = "OVERLAY2_RUN_ROOT"


def run_root():
    """The folder of all runtime state (str): ``/run/overlay2``, or the user's own where that is not ours to write.

    ``OVERLAY2_RUN_ROOT`` comes first; without root, or in a user namespace, ``$XDG_RUNTIME_DIR/overlay2``, then
    ``/run/user/<uid>/overlay2``, then a private folder beside other temporary files.
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


def _outer_uid():
    """This process's uid as the parent user namespace sees it."""
    uid = os.geteuid()
    fields = kernel.uid_map()
    if len(fields) == 3:
        inner, outer, count = (int(field) for field in fields)
        if inner <= uid < inner + count:
            return outer + uid - inner
    return uid


def state_name(home):
    """Folder name of a home's runtime state (str): its real path made readable, and a digest that makes it unique."""
    real = os.path.realpath(home)
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", real).strip("-.")[-80:]
    return "%s-%s" % (readable or "root", digest)


class RuntimeState:
    """The runtime folder of one home, made when it is first written to.

    :param home: the home (str); its real path decides the folder.
    """

    def __init__(self, home):
        self._home = home
        self.path = os.path.join(run_root(), state_name(home))
        self.holders_dir = os.path.join(self.path, "holders")
        self._locks_dir = os.path.join(self.path, "locks")
        self._home_lock = os.path.join(self.path, "home.lock")
        self._made = False

    def make(self):
        """Make the folders, private to their owner.

        :raises NotSupported: they can't be made, or somebody else owns them.
        """
        if self._made:
            return
        try:
            for folder in (os.path.dirname(self.path), self.path, self.holders_dir, self._locks_dir):
                os.makedirs(folder, mode=0o700, exist_ok=True)
            _refuse_foreign(self.path)
            if RUN_ROOT_VARIABLE not in os.environ:
                # The last resort lies where everybody may make folders.
                _refuse_foreign(os.path.dirname(self.path))
        except OSError as error:
            raise from_os_error(NotSupported, "the runtime folder can't be made", error, path=self.path) from error
        self._made = True

    def scratch(self):
        """A folder (str) for short-lived files of this home's readers, made if it is missing."""
        self.make()
        return self.path

    def home_lock(self, shared=False):
        """Hold the home's lock (a context manager); ``shared`` for those who only need its structure to stand still."""
        return _Lock(self, self._home_lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, "the home")

    def layer_lock(self, layer):
        """Hold a layer's lock (a context manager), for whatever changes it, its mount or its references.

        The lock's file goes with the layer: where there is none in the end, it is removed.
        """
        return _LayerLock(self, "%s/%s" % (self._locks_dir, layer), "%s/%s" % (self._home, layer), layer)

    def locked(self, path, mode, what):
        """Lock the file at ``path``, which is made where it is missing.

        :param mode: ``LOCK_SH`` or ``LOCK_EX``.
        :param what: what is locked, for people.
        :returns: its descriptor (int), for :func:`unlock`.
        :raises Overlay2Error: it can't be locked.
        """
        self.make()
        try:
            try:
                return _lock(path, mode, what)
            except FileNotFoundError:  # somebody tidied up the folder under a process that runs for long
                self._made = False
                self.make()
                return _lock(path, mode, what)
        except OSError as error:
            if isinstance(error, Overlay2Error):
                raise
            raise from_os_error(Overlay2Error, "can't lock %s" % what, error, path=path) from error


class _Lock:
    """A lock that is held for the length of a ``with`` block."""

    # Written as a class, as each mount takes three of them: as generators they would be a tenth of its processor time.

    def __init__(self, runtime, path, mode, what):
        self._runtime, self._path, self._mode, self._what = runtime, path, mode, what
        self._descriptor = -1

    def __enter__(self):
        self._descriptor = self._runtime.locked(self._path, self._mode, self._what)

    def __exit__(self, *exception):
        unlock(self._descriptor)


class _LayerLock(_Lock):
    """A layer's lock.

    :param folder: the layer's (str).
    """

    def __init__(self, runtime, path, folder, layer):
        super().__init__(runtime, path, fcntl.LOCK_EX, "layer %s" % layer)
        self._folder = folder

    def __exit__(self, *exception):
        try:
            if not os.path.lexists(self._folder):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path)
        finally:
            super().__exit__()


def _refuse_foreign(folder):
    info = os.stat(folder, follow_symlinks=False)
    if info.st_uid != os.geteuid() or not stat.S_ISDIR(info.st_mode):
        raise NotSupported(
            "the runtime folder belongs to uid %d" % info.st_uid,
            path=folder,
            remedy="Point %s at a folder of your own" % RUN_ROOT_VARIABLE,
        )


def _lock(path, mode, what):
    """Lock the file at ``path`` and return its descriptor.

    A lock file is removed with its layer, by who holds it. So the lock counts only if the file still has a name.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            flock(descriptor, mode, what)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def flock(descriptor, mode, what):
    """flock(2) that says in the log when it has to wait."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("waiting for another process that has locked %s", what)
        fcntl.flock(descriptor, mode)


def unlock(descriptor):
    """Let go of a lock and close its descriptor. A process forked meanwhile has a copy, and would keep the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
