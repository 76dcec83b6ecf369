# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""How a layer is mounted: the options, the page-size rule, and the calls."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from typing import TYPE_CHECKING, NamedTuple, Optional, Tuple

from .errors import MountError, from_os_error, remedy_for
from .home.features import Obstacle, upper_obstacle
from .home.layout import DIFF, MERGED, WORK
from .linux import fs, mount, overlayfs

if TYPE_CHECKING:
    from typing import Callable, Iterator, Sequence

    from .home.features import Features

log = logging.getLogger("overlay2")

#: The ways to mount, in the order they are tried.
CLASSIC = "classic"
RELATIVE = "relative"
FSCONFIG = "fsconfig"

#: The largest mount data in bytes: a page without its NUL.
DATA_MAX = mount.PAGE_SIZE - 1

#: Options with which a mount shows layers whose directories were renamed, or whose files were copied up without their
#: data, as far as the kernel permits (not with ``userxattr``).
FOLLOWING = ("metacopy=on", "redirect_dir=on")


class MountPlan(NamedTuple):
    """One overlay mount, decided but not yet made."""

    #: ``classic`` (absolute paths), ``relative`` (to the home) or ``fsconfig`` (the mount API).
    method: str
    #: The mount data that the classic call would get, absolute for all but ``relative``.
    data: str
    home: str
    target: str
    #: Directories as ``method`` names them, uppermost first.
    lowers: Tuple[str, ...]
    #: None for a read-only mount.
    upper: Optional[str]
    work: Optional[str]
    label: str
    #: Options beyond those that every mount has: ``key=value`` or a flag.
    options: Tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Bytes of ``data``, at most :data:`DATA_MAX` for a classic mount."""
        return len(os.fsencode(self.data))


def format_label(options: str, label: str) -> str:
    """Returns ``options`` with an SELinux context; moby's label.FormatMountLabel. Quotes protect the label's commas."""
    if not label:
        return options
    # Go's %q escapes quotes, backslashes and unprintable characters; for labels, JSON does the same.
    context = "context=%s" % json.dumps(label, ensure_ascii=False)
    return "%s,%s" % (options, context) if options else context


def plan(
    home: str,
    layer: str,
    lower_links: Sequence[str],
    read_only: bool,
    features: Features,
    label: str = "",
    options: tuple[str, ...] = (),
) -> MountPlan:
    """Decides how to mount a layer with lower layers; the middle part of moby's Get.

    :param lower_links: its lower chain as in its ``lower`` file, ``l/...`` each.
    :param read_only: mount its own files as the uppermost lower layer.
    :param options: further mount options.
    :raises MountError: no way to mount takes that many bytes.
    """
    return _fitting(
        layer, lambda method: _plan(method, home, layer, lower_links, read_only, features, label, options), features
    )


def plan_view(
    home: str, place: str, links: Sequence[str], features: Features, options: tuple[str, ...] = ()
) -> MountPlan:
    """Decides how to show a layer read-only at a private mount point, beside a mount of its own that may exist.

    :param place: directory with the mount point ``merged``, relative to the home.
    :param links: the layer's own link and those of its lower chain, ``l/...`` each, uppermost first.
    :raises MountError: no way to mount takes that many bytes.
    """
    return _fitting(None, lambda method: _planned(method, home, place, links, False, features, "", options), features)


def _fitting(layer: str | None, planned: Callable[[str], MountPlan], features: Features) -> MountPlan:
    """Returns the plan by the first method that fits.

    Absolute paths if they fit in a page, else names relative to the home if those do, both as in moby; else the mount
    API, which has no such limit, if the kernel has it. It comes last because each lower layer takes a call of its own:
    half a millisecond for 120 of them.

    :param planned: returns the plan by a method.
    """
    absolute = planned(CLASSIC)
    if absolute.length <= DATA_MAX:
        return absolute
    relative = planned(RELATIVE)
    if relative.length <= DATA_MAX:
        return relative
    fits_api = overlayfs.fits_fsconfig(absolute.label) and len(absolute.lowers) <= overlayfs.MAX_LOWERS
    if features.lowerdir_plus and fits_api:
        return absolute._replace(method=FSCONFIG)
    raise MountError(
        "cannot mount layer, mount label too large %d: the kernel takes mount data of %d bytes at most"
        % (relative.length, DATA_MAX),
        layer=layer,
        path=absolute.target,
        remedy="Shorten the mount label or the layer id",
    )


def _plan(
    method: str,
    home: str,
    layer: str,
    lower_links: Sequence[str],
    read_only: bool,
    features: Features,
    label: str,
    options: tuple[str, ...] = (),
) -> MountPlan:
    """Returns the plan of :func:`plan` by one method, whether it fits or not."""
    lowers = [os.path.join(layer, DIFF), *lower_links] if read_only else lower_links
    return _planned(method, home, layer, lowers, not read_only, features, label, options)


def _planned(
    method: str,
    home: str,
    place: str,
    lowers: Sequence[str],
    writable: bool,
    features: Features,
    label: str,
    options: tuple[str, ...],
) -> MountPlan:
    """Returns the plan of one mount by one method.

    :param place: directory with the mount point and, if ``writable``, the upper and work directories.
    :param lowers: relative to the home, as ``place`` is.
    """
    base = "" if method == RELATIVE else home
    prefix = os.path.join(base, "")
    named = tuple([prefix + lower for lower in lowers])
    upper = os.path.join(base, place, DIFF) if writable else None
    work = os.path.join(base, place, WORK) if writable else None
    before = features.mount_prefix + "".join([option + "," for option in options])
    data = format_label(overlayfs.data(named, upper, work, before), label)
    return MountPlan(method, data, home, os.path.join(base, place, MERGED), named, upper, work, label, options)


def perform(layer: str | None, planned: MountPlan, features: Features) -> None:
    """Makes a planned mount.

    :raises MountError: with the kernel's reason.
    """
    target = os.path.join(planned.home, planned.target)
    try:
        if planned.method == FSCONFIG:
            _by_mount_api(planned, features)
        elif planned.method == RELATIVE:
            mount.in_directory(planned.home, lambda: _classic(planned))
        else:
            _classic(planned)
    except OSError as error:
        message = "error creating overlay mount to %s" % target
        refusal = from_os_error(MountError, message, error, layer=layer, path=target)
        obstacle = _obstacle(planned, error.errno)
        if obstacle is not None:
            message = "%s: %s" % (refusal.message, obstacle.reason)
            refusal = MountError(message, layer=layer, path=target, remedy=obstacle.remedy)
        raise refusal from error
    if planned.upper is not None and fs.is_read_only(target):
        mount.unmount(target, mount.MNT_DETACH)
        raise MountError(
            "the kernel mounted it read-only, as it could not make its directory in work",
            layer=layer,
            path=target,
            remedy="%s; if there is enough, see the kernel's log (dmesg)" % remedy_for(errno.ENOSPC, planned.home),
        )


def _obstacle(planned: MountPlan, number: int | None) -> Obstacle | None:
    """Returns why the kernel refused a mount, which it writes to its log only; None if that is unknown.

    :param number: the errno.
    """
    if planned.work is None or number == errno.ENOSPC:
        return None
    work = os.path.join(planned.home, planned.work)
    if not os.path.isdir(work):
        return Obstacle("its work directory is missing", "Create it: overlay2_repair does, or 'mkdir -m 700 %s'" % work)
    # ovl_workdir_create() in fs/overlayfs/super.c: the names in there are features that the mount must know.
    refused = os.path.join(work, WORK, "incompat")
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(refused))
        if names:
            return Obstacle(
                "its work directory was last used with '%s', and not unmounted since" % ", ".join(names),
                "Data may be missing if the host went down: check the layer's files, then remove %s" % refused,
            )
    return upper_obstacle(work, number)


def _classic(planned: MountPlan) -> None:
    mount.mount("overlay", planned.target, "overlay", 0, planned.data)


def _by_mount_api(planned: MountPlan, features: Features) -> None:
    """Mounts with names relative to the directory of the mount point.

    A string of the mount API may be much shorter than a path, and relative names need no escaping, which that API wants
    in ``upperdir`` and ``workdir`` but not in ``lowerdir+``.
    """
    directory = os.path.dirname(planned.target)
    own, home = os.path.join(directory, ""), os.path.join(planned.home, "")
    to_home = os.path.relpath(home, directory)

    def relative(path: str) -> str:
        if path.startswith(own):
            return path[len(own) :]
        return "%s/%s" % (to_home, path[len(home) :])

    def configure() -> None:
        with mount.filesystem_context("overlay") as context:
            for key, value in _options(planned, features, relative):
                mount.set_option(context, key, value)
            mount.attach(context, os.path.basename(planned.target))

    mount.in_directory(directory, configure)


def _options(planned: MountPlan, features: Features, name: Callable[[str], str]) -> Iterator[tuple[str, str | None]]:
    """Yields the options for fsconfig(2) in order, as pairs of key and value; the value of a flag is None."""
    yield "source", "overlay"
    if features.index_off:
        yield "index", "off"
    if features.userxattr:
        yield "userxattr", None
    for option in planned.options:
        key, equals, value = option.partition("=")
        yield key, value if equals else None
    for lower in planned.lowers:
        yield "lowerdir+", name(lower)
    if planned.upper is not None and planned.work is not None:
        yield "upperdir", name(planned.upper)
        yield "workdir", name(planned.work)
    if planned.label:
        yield "context", planned.label


def unmount(layer: str | None, target: str, lazy: bool = True) -> bool:
    """Unmounts ``target`` and removes the directory; the last part of moby's Put.

    Removing the mount point makes the kernel drop copies of the mount in other namespaces, which could make the next
    mount fail with EBUSY. Older kernels refuse the removal, which is not an error.

    :param lazy: detach it even if it is in use; its users keep it.
    :returns: False if it is in use and was left mounted.
    :raises MountError: the kernel refused to unmount.
    """
    while True:
        mounted = True
        try:
            mount.unmount(target, mount.MNT_DETACH if lazy else 0)
        except OSError as error:
            if error.errno == errno.EBUSY and not lazy:
                return False
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise from_os_error(MountError, "can't unmount", error, layer=layer, path=target) from error
            if error.errno == errno.ENOENT:
                return True
            log.debug("layer %s is not mounted at %s", layer, target)
            mounted = False
        try:
            os.rmdir(target)
        except FileNotFoundError:
            pass
        except OSError as error:
            if mounted and error.errno == errno.EBUSY:
                continue  # of several mounts on one point, the call takes the uppermost
            level = logging.WARNING if error.errno == errno.ENOTEMPTY else logging.DEBUG
            log.log(level, "layer %s: can't remove the mount point %s: %s", layer, target, error)
        return True
