# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""XFS project quota: a project id for each layer with a size, and the limit of that project.

The id is set on the layer's directory while that is empty; everything created below inherits it, also through the
overlay. Ids, limits and use are read from the file system, and nothing is stored beside it. After moby's
quota/projectquota.go, which numbers ids and sets limits in the same way.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from ..errors import OptionError, Overlay2Error, QuotaNotSupported, translated
from ..linux import fs, fsxattr, kernel, quotactl
from .layout import LINK_DIR, QUOTA_DEVICE, STAGING

if TYPE_CHECKING:
    from typing import Iterator, Union

    #: A directory: its path, or its descriptor (not ``O_PATH``).
    Place = Union[str, int]

log = logging.getLogger("overlay2")

#: The highest number that is a project id; (projid_t)-1 means none (include/linux/projid.h).
_LAST_PROJECT_ID = 2**32 - 2
#: The kernel counts file sizes in a signed 64-bit number.
_LARGEST_SIZE = 2**63 - 1

_HOW_TO_ENABLE = "Mount the XFS file system with the option 'pquota' (the root file system: boot with rootflags=pquota)"
#: Without quotactl_fd, quota goes through a device node in the home.
_HOW_TO_USE_DEVICE = "Mount the file system of the home without the option 'nodev', or use Linux 5.14 or later"


class QuotaUsage(NamedTuple):
    """Limit and use of one project."""

    project_id: int
    #: bytes; 0 is no limit
    limit: int
    #: bytes, including space that XFS reserves behind the end of growing files
    used: int
    inodes: int


class QuotaControl:
    """Project quota of one home. It keeps no descriptor open and needs no closing."""

    def __init__(self, home: str, base_id: int, device: str | None = None) -> None:
        """Not for callers: use :meth:`open`.

        :param base_id: the home's own project id.
        :param device: path of the block device node if the kernel takes no descriptor.
        """
        self.home = home
        self.base_id = base_id
        self._device = device
        self._next_id: int | None = None

    @classmethod
    def open(cls, home: str) -> QuotaControl:
        """Prepares to set limits; moby's quota.NewControl.

        As there, the limit of project ``base_id + 1`` is removed to test the permission, and that id is never given to
        a layer. Unlike moby, this removes the inherit flag of the home, see :func:`_let_layers_move`.

        :param home: the driver's root directory.
        :raises QuotaNotSupported: limits cannot be set; says why and what to do.
        """
        _refuse_user_namespace(home)
        with translated("can't set project quota", QuotaNotSupported, path=home):
            with _opened(home) as folder:
                device = None if quotactl.has_descriptor_call() else _make_device_node(home)
                _require_enforcing(folder if device is None else device, home)
                base_id = fsxattr.get(folder).project_id
                quotactl.set_block_limits(folder if device is None else device, base_id + 1, 0)
                _let_layers_move(folder)
        return cls(home, base_id, device)

    @classmethod
    def probe(cls, home: str) -> None:
        """Checks that project quota is on. Changes nothing, and needs no privilege from Linux 5.14 on.

        :raises QuotaNotSupported: it is not; says why and what to do.
        """
        _refuse_user_namespace(home)
        with translated("can't ask for project quota", QuotaNotSupported, path=home):
            with _opened(home) as folder:
                target = folder if quotactl.has_descriptor_call() else _find_device_node(home)
                _require_enforcing(target, home)

    @classmethod
    def for_reading(cls, home: str) -> QuotaControl:
        """Returns a control that only reads, after :meth:`probe`.

        :raises QuotaNotSupported: as :meth:`probe`.
        """
        cls.probe(home)
        with translated("can't ask for project quota", QuotaNotSupported, path=home):
            with _opened(home) as folder:
                device = None if quotactl.has_descriptor_call() else _find_device_node(home)
                return cls(home, fsxattr.get(folder).project_id, device)

    def assign(self, place: Place, size: int) -> int:
        """Gives an empty directory the next free project id and limits that project; moby's Control.SetQuota.

        The caller holds the home's lock. The directory must be empty: its content would not be counted.

        :param size: bytes; 0 for an id without a limit. Less than 512 counts as 512, where moby's division results in
            no limit. XFS rounds up to its own blocks.
        :returns: the project id.
        :raises OptionError: the size is negative or too large.
        :raises Overlay2Error: the directory is not empty, no id is left, or the kernel refused; nothing is changed.
        """
        blocks = _blocks(size)
        with self._changing(place) as (folder, target):
            project_id = self._claim(folder, target)
            quotactl.set_block_limits(target, project_id, blocks)
        log.debug("project id %d with a limit of %d bytes for %s", project_id, size, place)
        return project_id

    def join_home(self, place: Place) -> None:
        """Gives an empty directory the home's own project, if it has one: for layers without a size of their own.

        In moby such layers inherit it. Here the home's inherit flag is off, so it is set on the layer's directory.

        :raises Overlay2Error: the directory is not empty, or the kernel refused.
        """
        if self.base_id:
            with self._changing(place) as (folder, _target):
                fsxattr.set_project(folder, self.base_id)

    def set_limit(self, project_id: int, size: int) -> None:
        """Changes the limit of a layer's project. If it is less than the current use, nothing more can be written.

        :param size: bytes, as for :meth:`assign`; 0 removes the limit.
        :raises OptionError: the size is negative or too large.
        :raises Overlay2Error: the id does not belong to a layer, or the kernel refused.
        """
        blocks = _blocks(size)
        self._require_layers_id(project_id)
        with translated("can't set the limit of project id %d" % project_id, path=self.home):
            with _opened(self.home) as folder:
                quotactl.set_block_limits(self._target(folder), project_id, blocks)

    @contextlib.contextmanager
    def releasing(self, place: Place) -> Iterator[None]:
        """Surrounds the deletion of a directory: if it has a project of its own, the limit is removed afterwards.

        Then the id may be given again. A project that layers share, which this driver never does, keeps its limit.
        """
        project_id = self._own_project(place)
        yield
        if project_id is not None:
            try:
                if project_id not in set(_ids_below(self.home)):
                    self.set_limit(project_id, 0)
            except (OSError, Overlay2Error) as error:
                log.warning("the limit of project id %d stays: %s", project_id, error)

    def get(self, place: Place) -> QuotaUsage | None:
        """Returns limit and use of a layer; None for a directory without a project of its own; moby's Control.GetQuota.

        :raises Overlay2Error: the directory cannot be opened, or the caller is not root on the host.
        """
        with translated("can't read the project quota", path=_path(place)):
            with _opened(place) as folder:
                project_id = self._own_project(folder)
                if project_id is None:
                    return None
                quota = quotactl.get_quota(self._target(folder), project_id)
        if quota is None:
            return QuotaUsage(project_id, 0, 0, 0)
        block = quotactl.BLOCK
        return QuotaUsage(project_id, quota.hard_blocks * block, quota.used_blocks * block, quota.used_inodes)

    def _own_project(self, place: Place) -> int | None:
        """Returns the project id of a directory; None if it has none of its own or cannot be read."""
        with contextlib.suppress(OSError), _opened(place) as folder:
            project_id = fsxattr.get(folder).project_id
            return None if project_id in (0, self.base_id) else project_id
        return None

    def _target(self, folder: int) -> int | str:
        return folder if self._device is None else self._device

    @contextlib.contextmanager
    def _changing(self, place: Place) -> Iterator[tuple[int, int | str]]:
        """Yields descriptor and target of an empty directory to change its project id; an error restores the old id."""
        with translated("can't set the project quota", path=_path(place)):
            with _opened(place) as folder:
                if os.listdir(folder):
                    raise Overlay2Error(
                        "a directory that is not empty can't be given a project id: its content would not be counted",
                        path=_path(place),
                    )
                before = fsxattr.get(folder)
                try:
                    yield folder, self._target(folder)
                except BaseException:
                    fsxattr.put(folder, before)
                    raise

    def _claim(self, folder: int, target: int | str) -> int:
        """Gives a directory the next id that is not in use on the file system, and returns the id.

        Numbers increase from the ids in the home, as in moby. The kernel says whether a number is free, because it also
        knows the layers of other processes, those being staged or removed, and other homes and projects.
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
            quota = quotactl.get_quota(target, candidate)
            if quota is not None and quota.used_inodes == 1:
                return candidate
            # Another home on this file system, with a lock of its own, took the same id just now, and sees that too.
            self._next_id += os.urandom(1)[0] % 16
        raise Overlay2Error("no project id is left above %d" % self.base_id, path=self.home)

    def _require_layers_id(self, project_id: int) -> None:
        if project_id in (0, self.base_id):
            raise Overlay2Error(
                "project id %d is not a layer's own" % project_id,
                path=self.home,
                remedy="Create the layer with a size to give it a project of its own",
            )


def _refuse_user_namespace(home: str) -> None:
    if kernel.in_user_namespace():
        raise QuotaNotSupported(
            "project quota can't be set from a user namespace", path=home, remedy="Run as root on the host"
        )


def _require_enforcing(target: int | str, home: str) -> None:
    """Raises :class:`QuotaNotSupported` unless project quota is accounted and enforced; moby's hasQuotaSupport."""
    try:
        accounting, enforcing = quotactl.state(target)
    except OSError as error:
        raise QuotaNotSupported(
            "the file system does not support project quota, or it is not enabled (%s)" % error.strerror,
            path=home,
            remedy=_HOW_TO_USE_DEVICE if error.errno == errno.EACCES else _HOW_TO_ENABLE,
        ) from error
    if not (accounting and enforcing):
        problem = "is counted but not enforced" if accounting else "is not enabled"
        raise QuotaNotSupported("project quota of the file system %s" % problem, path=home, remedy=_HOW_TO_ENABLE)


def _let_layers_move(home_fd: int) -> None:
    """Removes the inherit flag of the home, its ``l`` and its staging directory.

    XFS refuses (EXDEV) to rename a directory with one project id into a directory with another and the flag. A layer
    with a size has an id of its own, and is published and removed by a rename. The flag is set if the home, or a
    directory above it, was made a project.
    """
    _stop_inheritance(home_fd)
    for name in (LINK_DIR, STAGING):
        with contextlib.suppress(FileNotFoundError), _opened(name, home_fd) as folder:
            _stop_inheritance(folder)


def _stop_inheritance(folder: int) -> None:
    attributes = fsxattr.get(folder)
    if attributes.inherited:
        fsxattr.set_project(folder, attributes.project_id, inherited=False)


def _ids_below(home: str) -> Iterator[int]:
    """Yields the project ids of the directories in a home, except those that vanish or that are mount points."""
    with _opened(home) as home_fd:
        for name in os.listdir(home_fd):
            with contextlib.suppress(OSError), _opened(name, home_fd) as folder:
                yield fsxattr.get(folder).project_id


def _in_use(quota: quotactl.DiskQuota | None) -> bool:
    return quota is not None and any(quota[1:])


def _blocks(size: int) -> int:
    if not 0 <= size <= _LARGEST_SIZE:
        raise OptionError("a quota of %d bytes is out of range" % size)
    return max(size // quotactl.BLOCK, 1) if size else 0


def _make_device_node(home: str) -> str:
    """Returns the path of a block device node of the home's file system, made if missing; moby's makeBackingFsDev.

    :raises OSError: ``EPERM`` without CAP_MKNOD.
    """
    node, number = os.path.join(home, QUOTA_DEVICE), os.stat(home).st_dev
    if not _is_device(node, number):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(node)
        os.mknod(node, stat.S_IFBLK | 0o600, number)
    return node


def _find_device_node(home: str) -> str:
    """Returns the path of an existing block device node of the home's file system.

    :raises QuotaNotSupported: there is none.
    """
    number = os.stat(home).st_dev
    known = "/dev/block/%d:%d" % (os.major(number), os.minor(number))
    for node in (os.path.join(home, QUOTA_DEVICE), known):
        if _is_device(node, number):
            return node
    raise QuotaNotSupported(
        "there is no node of the file system's block device, through which quota is read",
        path=home,
        remedy="Run once as root with a driver that may write, which makes it",
    )


def _is_device(path: str, number: int) -> bool:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return stat.S_ISBLK(status.st_mode) and status.st_rdev == number
    return False


@contextlib.contextmanager
def _opened(place: Place, dir_fd: int | None = None) -> Iterator[int]:
    """Yields the descriptor of a directory given by path and closes it, or the given descriptor."""
    if isinstance(place, int):
        yield place
        return
    flags = fs.OPEN_DIRECTORY if dir_fd is None else fs.OPEN_DIRECTORY_NOFOLLOW
    descriptor = os.open(place, flags, dir_fd=dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _path(place: Place) -> str | None:
    return None if isinstance(place, int) else place
