# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""XFS project quota: a project id for each layer that has a size, and the limit of that project.

The id is put on the layer's folder while that is empty; all that is created below inherits it, through the overlay
too. The kernel keeps the books: ids, limits and use are read back from the file system, nothing is stored beside it.
After moby's quota/projectquota.go; ids are numbered as there, and limits set as there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from typing import NamedTuple

from ..errors import OptionError, Overlay2Error, QuotaNotSupported, from_os_error
from ..linux import fsxattr, kernel, quotactl
from .layout import LINK_DIR, QUOTA_DEVICE, STAGING

log = logging.getLogger("overlay2")

#: The highest number that is a project id; (projid_t)-1 means none (include/linux/projid.h).
_LAST_PROJECT_ID = 2**32 - 2
#: What a byte count may be: the kernel counts file sizes in a signed 64-bit number.
_LARGEST_SIZE = 2**63 - 1

_HOW_TO_ENABLE = "Mount the XFS file system with the option 'pquota' (the root file system: boot with rootflags=pquota)"


class QuotaUsage(NamedTuple):
    """What one project may use and uses."""

    project_id: int
    #: bytes; 0 is no limit
    limit: int
    #: bytes, space that XFS holds ready behind the end of growing files included
    used: int
    inodes: int


class QuotaControl:
    """Project quota of one home. It keeps no descriptor open and needs no closing.

    Methods take a folder as a path (str) or as a descriptor (int, not ``O_PATH``).
    """

    def __init__(self, home, base_id, device=None):
        """Not for callers: use :meth:`open`.

        :param base_id: the home's own project id (int).
        :param device: path of the block device node (str), where the kernel takes no descriptor.
        """
        self.home = home
        self.base_id = base_id
        self._device = device
        self._next_id = None

    @classmethod
    def open(cls, home):
        """Make sure that limits can be set, and get ready for it; moby's quota.NewControl.

        As there, the limit of project ``base_id + 1`` is set to none to see whether that is allowed, and that id is not
        given to a layer. What moby need not do: the inherit flag comes off the home, see :func:`_let_layers_move`.

        :param home: the driver's root folder (str).
        :raises QuotaNotSupported: saying why and what to do.
        """
        _refuse_user_namespace(home)
        try:
            with _opened(home) as folder:
                device = None if quotactl.has_descriptor_call() else _make_device_node(home)
                _require_enforcing(folder if device is None else device, home)
                base_id = fsxattr.get(folder).project_id
                quotactl.set_block_limits(folder if device is None else device, base_id + 1, 0)
                _let_layers_move(folder)
        except OSError as error:
            raise from_os_error(QuotaNotSupported, "can't set project quota", error, path=home) from error
        return cls(home, base_id, device)

    @classmethod
    def probe(cls, home):
        """Make sure that project quota is on. Changes nothing, and needs no privilege from Linux 5.14 on.

        :raises QuotaNotSupported: saying why and what to do.
        """
        _refuse_user_namespace(home)
        try:
            with _opened(home) as folder:
                target = folder if quotactl.has_descriptor_call() else _find_device_node(home)
                _require_enforcing(target, home)
        except OSError as error:
            raise from_os_error(QuotaNotSupported, "can't ask for project quota", error, path=home) from error

    @classmethod
    def for_reading(cls, home):
        """A control that can be asked but not change anything: :meth:`probe`, then what :meth:`get` needs to know.

        :raises QuotaNotSupported: as :meth:`probe`.
        """
        cls.probe(home)
        try:
            with _opened(home) as folder:
                device = None if quotactl.has_descriptor_call() else _find_device_node(home)
                return cls(home, fsxattr.get(folder).project_id, device)
        except OSError as error:
            raise from_os_error(QuotaNotSupported, "can't ask for project quota", error, path=home) from error

    def assign(self, place, size):
        """Give an empty folder the next free project id and limit that project; moby's Control.SetQuota.

        The caller holds the home's lock. The folder must be empty: what is in it would not be counted.

        :param size: bytes, 0 for an id without a limit. Less than 512 counts as 512, which moby's division makes no
            limit at all. XFS rounds up to its own blocks.
        :returns: the project id (int).
        :raises OptionError: the size is negative or too large.
        :raises Overlay2Error: the folder is not empty, no id is left, or the kernel refused; the folder is as before.
        """
        blocks = _blocks(size)
        with self._changing(place) as (folder, target):
            project_id = self._claim(folder, target)
            quotactl.set_block_limits(target, project_id, blocks)
        log.debug("project id %d with a limit of %d bytes for %s", project_id, size, place)
        return project_id

    def join_home(self, place):
        """Give an empty folder the home's own project, if it has one: for layers that have no size of their own.

        In moby such layers inherit it. Here the home's inherit flag is off, so it is set on the layer's folder.

        :raises Overlay2Error: the folder is not empty, or the kernel refused.
        """
        if self.base_id:
            with self._changing(place) as (folder, _target):
                fsxattr.set_project(folder, self.base_id)

    def set_limit(self, project_id, size):
        """Change the limit of a layer's project. It may be less than what is in use; then nothing more can be written.

        :param size: bytes, as for :meth:`assign`; 0 lifts the limit.
        :raises OptionError: the size is negative or too large.
        :raises Overlay2Error: the id is no layer's, or the kernel refused.
        """
        blocks = _blocks(size)
        self._require_layers_id(project_id)
        try:
            with _opened(self.home) as folder:
                quotactl.set_block_limits(self._target(folder), project_id, blocks)
        except OSError as error:
            message = "can't set the limit of project id %d" % project_id
            raise from_os_error(Overlay2Error, message, error, path=self.home) from error

    @contextlib.contextmanager
    def releasing(self, place):
        """Surround the deletion of a folder: if it has a project of its own, that project's limit is lifted afterwards.

        So the id may be given again, and no limit is left behind. A project that other layers share, which is not this
        driver's doing, keeps its limit.
        """
        project_id = self._own_project(place)
        yield
        if project_id is not None:
            try:
                if project_id not in set(_ids_below(self.home)):
                    self.set_limit(project_id, 0)
            except (OSError, Overlay2Error) as error:
                log.warning("the limit of project id %d stays: %s", project_id, error)

    def get(self, place):
        """What a layer may use and uses; moby's Control.GetQuota, for any layer and with the use.

        :returns: :class:`QuotaUsage`, or None for a folder that has no project of its own.
        :raises Overlay2Error: the folder can't be opened, or the caller is not root on the host.
        """
        try:
            with _opened(place) as folder:
                project_id = self._own_project(folder)
                if project_id is None:
                    return None
                quota = quotactl.get_quota(self._target(folder), project_id)
        except OSError as error:
            raise from_os_error(Overlay2Error, "can't read the project quota", error, path=_path(place)) from error
        if quota is None:
            return QuotaUsage(project_id, 0, 0, 0)
        block = quotactl.BLOCK
        return QuotaUsage(project_id, quota.hard_blocks * block, quota.used_blocks * block, quota.used_inodes)

    def _own_project(self, place):
        """Project id (int) of a folder, None if it has none of its own or can't be asked."""
        with contextlib.suppress(OSError), _opened(place) as folder:
            project_id = fsxattr.get(folder).project_id
            return None if project_id in (0, self.base_id) else project_id
        return None

    def _target(self, folder):
        return folder if self._device is None else self._device

    @contextlib.contextmanager
    def _changing(self, place):
        """An empty folder whose project id is about to change: (descriptor, target). An error sets the old one back."""
        try:
            with _opened(place) as folder:
                if os.listdir(folder):
                    raise Overlay2Error(
                        "a folder that is not empty can't be given a project id: what is in it would not be counted",
                        path=_path(place),
                    )
                before = fsxattr.get(folder)
                try:
                    yield folder, self._target(folder)
                except BaseException:
                    fsxattr.put(folder, before)
                    raise
        except OSError as error:
            raise from_os_error(Overlay2Error, "can't set the project quota", error, path=_path(place)) from error

    def _claim(self, folder, target):
        """Give a folder the next id that nothing on the file system uses; returns the id.

        Numbering goes up from the ids in the home, as in moby. That a number is free is the kernel's word, which knows
        the layers of other processes, what is being staged or removed, and other homes and projects on the file system.
        """
        if self._next_id is None:
            self._next_id = max(_ids_below(self.home), default=0)
            self._next_id = max(self._next_id, self.base_id + 1) + 1
        while self._next_id <= _LAST_PROJECT_ID:
            candidate = self._next_id
            self._next_id += 1
            if _in_use(quotactl.get_quota(target, candidate)):
                continue
            fsxattr.set_project(folder, candidate)
            if quotactl.get_quota(target, candidate).used_inodes == 1:
                return candidate
            # Another home on this file system, which has a lock of its own, took the id just now; it sees that as well.
            self._next_id += os.urandom(1)[0] % 16
        raise Overlay2Error("no project id is left above %d" % self.base_id, path=self.home)

    def _require_layers_id(self, project_id):
        if project_id in (0, self.base_id):
            raise Overlay2Error(
                "project id %d is not a layer's own" % project_id,
                path=self.home,
                remedy="Create the layer with a size to give it a project of its own",
            )


def _refuse_user_namespace(home):
    if kernel.in_user_namespace():
        raise QuotaNotSupported(
            "project quota can't be set from a user namespace", path=home, remedy="Run as root on the host"
        )


def _require_enforcing(target, home):
    """Raise :class:`QuotaNotSupported` unless project quota is accounted and enforced (moby's hasQuotaSupport)."""
    try:
        accounting, enforcing = quotactl.state(target)
    except OSError as error:
        raise QuotaNotSupported(
            "the file system does not support project quota, or has it not enabled (%s)" % error.strerror,
            path=home,
            remedy=_HOW_TO_ENABLE,
        ) from error
    if not (accounting and enforcing):
        what = "counts project quota but does not enforce it" if accounting else "has project quota not enabled"
        raise QuotaNotSupported("the file system %s" % what, path=home, remedy=_HOW_TO_ENABLE)


def _let_layers_move(home_fd):
    """Take the inherit flag off the home, its ``l`` and its staging folder.

    XFS refuses (EXDEV) to rename into a folder with the flag what has another project id. A layer with a size has one,
    and is put in place and removed by a rename. The flag is there when the home, or a folder above, was made a project.
    """
    _stop_inheritance(home_fd)
    for name in (LINK_DIR, STAGING):
        with contextlib.suppress(FileNotFoundError), _opened(name, home_fd) as folder:
            _stop_inheritance(folder)


def _stop_inheritance(folder):
    attributes = fsxattr.get(folder)
    if attributes.inherited:
        fsxattr.set_project(folder, attributes.project_id, inherited=False)


def _ids_below(home):
    """Project ids of the folders in a home; what can't be read (it vanished, it is a mount point) is left out."""
    with _opened(home) as home_fd:
        for name in os.listdir(home_fd):
            with contextlib.suppress(OSError), _opened(name, home_fd) as folder:
                yield fsxattr.get(folder).project_id


def _in_use(quota):
    return quota is not None and any(quota[1:])


def _blocks(size):
    if not 0 <= size <= _LARGEST_SIZE:
        raise OptionError("a quota of %d bytes is out of range" % size)
    return max(size // quotactl.BLOCK, 1) if size else 0


def _make_device_node(home):
    """Path of a block device node of the home's file system, made if it is missing (moby's makeBackingFsDev).

    :raises OSError: ``EPERM`` without CAP_MKNOD.
    """
    node, number = os.path.join(home, QUOTA_DEVICE), os.stat(home).st_dev
    if not _is_device(node, number):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(node)
        os.mknod(node, stat.S_IFBLK | 0o600, number)
    return node


def _find_device_node(home):
    """Path of a block device node of the home's file system that is there already.

    :raises QuotaNotSupported: there is none.
    """
    number = os.stat(home).st_dev
    known = "/dev/block/%d:%d" % (os.major(number), os.minor(number))
    for node in (os.path.join(home, QUOTA_DEVICE), known):
        if _is_device(node, number):
            return node
    raise QuotaNotSupported("no device node to ask for project quota through", path=home)


def _is_device(path, number):
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return stat.S_ISBLK(status.st_mode) and status.st_rdev == number
    return False


@contextlib.contextmanager
def _opened(place, dir_fd=None):
    """A descriptor of a folder given by path, closed at the end, or the one that was given."""
    if isinstance(place, int):
        yield place
        return
    follow = os.O_NOFOLLOW if dir_fd is not None else 0
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | follow, dir_fd=dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _path(place):
    return None if isinstance(place, int) else place
