# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""How a layer is mounted: the options, the page-size rule, and the calls."""

from __future__ import annotations

import errno
import json
import logging
import os
from typing import NamedTuple, Optional, Tuple

from .errors import MountError, from_os_error
from .home.layout import DIFF, MERGED, WORK
from .linux import fs, mount, overlayfs

log = logging.getLogger("overlay2")

#: The ways to mount, in the order they are tried.
CLASSIC = "classic"
RELATIVE = "relative"
FSCONFIG = "fsconfig"

#: Mount data holds this many bytes at most: a page less its NUL.
DATA_MAX = mount.PAGE_SIZE - 1


class MountPlan(NamedTuple):
    """One overlay mount, decided but not yet made."""

    #: ``classic`` (absolute paths), ``relative`` (to the home) or ``fsconfig`` (the mount API).
    method: str
    #: The mount data that the classic call would get, absolute for all but ``relative``.
    data: str
    home: str
    target: str
    #: Folders as ``method`` names them, uppermost first.
    lowers: Tuple[str, ...]
    #: None for a read-only mount.
    upper: Optional[str]
    work: Optional[str]
    label: str

    @property
    def length(self):
        """Bytes of ``data`` (int), to be held against :data:`DATA_MAX`."""
        return len(os.fsencode(self.data))


def format_label(options, label):
    """``options`` with an SELinux context (moby's label.FormatMountLabel). The quotes shield the label's commas."""
    if not label:
        return options
    # Go's %q: escapes quotes, backslashes and what is not printable, as a JSON string does for what labels hold.
    context = "context=%s" % json.dumps(label, ensure_ascii=False)
    return "%s,%s" % (options, context) if options else context


def plan(home, layer, lower_links, read_only, features, label=""):
    """Decide how a layer with lower layers is to be mounted; moby's Get, the middle part.

    Absolute paths while they fit a page, else names relative to the home while those do, both as in moby; else the
    mount API, which has no such limit, where the kernel has it. It comes last, as each lower layer takes a call of its
    own: for 120 of them that is half a millisecond more.

    :param lower_links: its lower chain as in its ``lower`` file, ``l/...`` each.
    :param read_only: mount its own files as the uppermost lower layer.
    :raises MountError: it does not fit by any means.
    """
    absolute = _plan(CLASSIC, home, layer, lower_links, read_only, features, label)
    if absolute.length <= DATA_MAX:
        return absolute
    relative = _plan(RELATIVE, home, layer, lower_links, read_only, features, label)
    if relative.length <= DATA_MAX:
        return relative
    if features.lowerdir_plus and overlayfs.fits_fsconfig(label) and len(absolute.lowers) <= overlayfs.MAX_LOWERS:
        return absolute._replace(method=FSCONFIG)
    raise MountError(
        "cannot mount layer, mount label too large %d: mount data of %d bytes at most fit"
        % (relative.length, DATA_MAX),
        layer=layer,
        path=absolute.target,
        remedy="Shorten the mount label or the layer id",
    )


def _plan(method, home, layer, lower_links, read_only, features, label):
    base = "" if method == RELATIVE else home
    prefix = os.path.join(base, "")
    lowers = tuple([prefix + link for link in lower_links])
    diff = os.path.join(base, layer, DIFF)
    upper = work = None
    if read_only:
        lowers = (diff,) + lowers
    else:
        upper, work = diff, os.path.join(base, layer, WORK)
    data = format_label(overlayfs.data(lowers, upper, work, features.mount_prefix), label)
    return MountPlan(method, data, home, os.path.join(base, layer, MERGED), lowers, upper, work, label)


def perform(layer, planned, features):
    """Make a planned mount.

    :raises MountError: with the kernel's reason.
    """
    target = os.path.join(planned.home, planned.target)
    try:
        if planned.method == FSCONFIG:
            _by_mount_api(planned, features)
        elif planned.method == RELATIVE:
            mount.in_folder(planned.home, lambda: _classic(planned))
        else:
            _classic(planned)
    except OSError as error:
        message = "error creating overlay mount to %s" % target
        raise from_os_error(MountError, message, error, layer=layer, path=target) from error
    if planned.upper is not None and fs.is_read_only(target):
        mount.unmount(target, mount.MNT_DETACH)
        raise MountError(
            "the kernel mounted it read-only, as it could not make its folder in work",
            layer=layer,
            path=target,
            remedy="Free some space; if there is enough, see the kernel's log (dmesg)",
        )


def _classic(planned):
    mount.mount("overlay", planned.target, "overlay", 0, planned.data)


def _by_mount_api(planned, features):
    """Mount with names as seen from the layer's own folder: one string of the mount API is far shorter than a path may
    be, and these need no escaping, which that API wants in ``upperdir`` and ``workdir`` but not in ``lowerdir+``.
    """
    folder = os.path.dirname(planned.target)
    own, home = os.path.join(folder, ""), os.path.join(planned.home, "")
    to_home = os.path.relpath(home, folder)

    def relative(path):
        if path.startswith(own):
            return path[len(own) :]
        return "%s/%s" % (to_home, path[len(home) :])

    def configure():
        with mount.filesystem_context("overlay") as context:
            for key, value in _options(planned, features, relative):
                mount.set_option(context, key, value)
            mount.attach(context, os.path.basename(planned.target))

    mount.in_folder(folder, configure)


def _options(planned, features, name):
    """What fsconfig(2) is told, in order: (key, value) pairs, the value None for a flag."""
    yield "source", "overlay"
    if features.index_off:
        yield "index", "off"
    if features.userxattr:
        yield "userxattr", None
    for lower in planned.lowers:
        yield "lowerdir+", name(lower)
    if planned.upper is not None:
        yield "upperdir", name(planned.upper)
        yield "workdir", name(planned.work)
    if planned.label:
        yield "context", planned.label


def unmount(layer, target, lazy=True):
    """Detach what is mounted at ``target`` and remove the folder; moby's Put, the last part.

    Removing the mount point makes the kernel drop copies of the mount in other namespaces, which could make the next
    mount fail with EBUSY. Older kernels refuse that, so this is tried but not insisted on.

    :param lazy: detach it also while it is in use; whoever uses it keeps it.
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
                continue  # of mounts stacked on one point the call takes the top one
            level = logging.WARNING if error.errno == errno.ENOTEMPTY else logging.DEBUG
            log.log(level, "layer %s: can't remove the mount point %s: %s", layer, target, error)
        return True
