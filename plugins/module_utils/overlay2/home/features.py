# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""What this host can do for a home: one frozen record, found by trying the real thing.

Each probe mounts a small overlay in a private folder on the home's own file system and looks at what the
kernel made of it, as moby's ``overlayutils`` and ``overlay2/check.go`` do. Nothing is remembered between
calls, so two homes on two file systems are judged each by itself.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import NamedTuple, Tuple

from ..errors import DTypeNotSupported, NotSupported, from_os_error
from ..linux import fs, kernel, mount, overlayfs
from ..tree import scratch_folder

log = logging.getLogger("overlay2")

#: Where the overlay module shows its parameters; ``index`` is missing on kernels that don't know the option.
INDEX_PARAMETER = "/sys/module/overlay/parameters/index"


class Features(NamedTuple):
    """What the host's kernel and the home's file system offer the driver."""

    #: Docker's name of the home's file system, such as ``extfs`` or ``xfs``.
    backing_fs: str
    #: Directory entries carry their file type, which overlayfs needs.
    supports_d_type: bool
    #: Overlay mounts copy up metadata alone (``metacopy=on`` is the module's default).
    metacopy: bool
    #: A layer's diff can be read straight from its ``diff`` folder.
    native_diff: bool
    #: Why not, where ``native_diff`` is False; else "".
    native_diff_reason: str
    #: The kernel knows ``index``, so mounts say ``index=off``.
    index_off: bool
    #: Mounts need ``userxattr``: overlay attributes are ``user.overlay.*``.
    userxattr: bool
    #: This process lives in a user namespace.
    in_user_namespace: bool
    #: The mount API takes lower layers one by one (``lowerdir+``), free of the page-size limit.
    lowerdir_plus: bool
    #: Running kernel, (major, minor).
    kernel: Tuple[int, int]
    #: Project quota works on the home.
    project_quota: bool = False
    #: Why not, where ``project_quota`` is False; else "".
    project_quota_reason: str = ""

    @property
    def xattr_class(self):
        """Namespace of the overlay's extended attributes: ``"user"`` or ``"trusted"`` (str)."""
        return "user" if self.userxattr else "trusted"

    @property
    def mount_prefix(self):
        """Options in front of every mount's ``lowerdir``, in moby's order (str)."""
        return ("index=off," if self.index_off else "") + ("userxattr," if self.userxattr else "")


def probe(home, scratch):
    """Find the features of a home.

    :param home: the home, or its nearest existing parent: the backing file system, looked at but not written to.
    :param scratch: an existing folder to try mounts in, normally on the same file system.
    :returns: :class:`Features`, quota not yet looked at.
    :raises NotSupported: no overlay can be mounted there, with the kernel's reason.
    :raises DTypeNotSupported: the file system hides file types.
    """
    backing_fs = fs.fs_name(home)
    in_userns = kernel.in_user_namespace()
    check_overlay(scratch)
    if not supports_d_type(home):
        raise d_type_error(backing_fs, home)
    userxattr = needs_userxattr(scratch, in_userns)
    metacopy = uses_metacopy(scratch, userxattr)
    reason = why_not_native(scratch, in_userns, userxattr)
    if not reason and metacopy:
        # Copied-up metadata without data would be archived as empty files.
        reason = "metacopy is enabled, so a layer's folder may hold files without their data"
    return Features(
        backing_fs=backing_fs,
        supports_d_type=True,
        metacopy=metacopy,
        native_diff=not reason,
        native_diff_reason=reason,
        index_off=os.path.exists(INDEX_PARAMETER),
        userxattr=userxattr,
        in_user_namespace=in_userns,
        lowerdir_plus=has_lowerdir_plus(scratch),
        kernel=kernel.release(),
    )


def check_overlay(scratch):
    """Mount an overlay of two lower layers (moby's SupportsOverlay).

    :raises NotSupported: with the kernel's reason.
    """
    if os.environ.get("_DOCKERD_ROOTLESS_SELINUX") == "1":
        raise NotSupported("overlay2 is not supported for rootless mode with SELinux")
    try:
        with _trial(scratch, "check-overlayfs-support", ("lower2", "lower1"), "upper"):
            pass
    except OSError as error:
        raise from_os_error(NotSupported, "the overlay file system can't be mounted", error, path=scratch) from error


def supports_d_type(folder):
    """Whether directory entries of ``folder`` tell their file type (bool); containerd's fs.SupportsDType."""
    with contextlib.ExitStack() as stack:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, descriptor)
        return fs.DT_UNKNOWN not in fs.entry_types(descriptor)


def d_type_error(backing_fs, path):
    """The error for a file system without d_type (moby's ErrDTypeNotSupported), with that file system's remedy."""
    remedies = {
        "xfs": "Reformat it with ftype=1",
        "extfs": "Reformat it, or run 'tune2fs -O filetype' on it",
    }
    return DTypeNotSupported(
        "overlay2: the backing %s file system is formatted without d_type support, which leads to incorrect "
        "behaviour; such file systems are not supported" % backing_fs,
        path=path,
        remedy=remedies.get(backing_fs, "Choose a home on a file system with d_type"),
    )


def needs_userxattr(scratch, in_userns):
    """Whether mounts must say ``userxattr`` (moby's NeedsUserXAttr): in a user namespace, where the kernel takes it."""
    if not in_userns:
        return False
    if kernel.release() >= (5, 11):
        return True
    try:
        with _trial(scratch, "userxattr-check", ("lower2", "lower1"), "upper", userxattr=True):
            return True
    except OSError:
        return False


def uses_metacopy(scratch, userxattr):
    """Whether a change of mode copies up the inode alone (moby's usingMetacopy).

    :raises NotSupported: the probe itself failed.
    """
    attribute = "%s.overlay.metacopy" % ("user" if userxattr else "trusted")

    def prepare(root):
        os.close(os.open(os.path.join(root, "l1", "f"), os.O_CREAT | os.O_WRONLY, 0o700))

    try:
        with _trial(scratch, "metacopy-check", ("l1",), "l2", userxattr=userxattr, prepare=prepare) as root:
            os.chmod(os.path.join(root, "merged", "f"), 0o600)
            # An empty value is a "yes" too: what counts is that the attribute is there.
            return _get_xattr(os.path.join(root, "l2", "f"), attribute) is not None
    except OSError as error:
        raise from_os_error(NotSupported, "the metacopy probe failed", error, path=scratch) from error


def why_not_native(scratch, in_userns, userxattr):
    """Why diffs can't be read from the layer's folder alone (moby's doesSupportNativeDiff).

    :returns: the reason (str); "" where they can.
    """
    if in_userns and not userxattr:
        return "running in a user namespace, which needs kernel 5.11 or later"
    prefix = "user" if userxattr else "trusted"

    def prepare(root):
        os.mkdir(os.path.join(root, "l1", "d"), 0o755)
        os.mkdir(os.path.join(root, "l1", "d1"), 0o755)
        os.mkdir(os.path.join(root, "l2", "d"), 0o755)
        os.setxattr(os.path.join(root, "l2", "d"), prefix + ".overlay.opaque", b"y")

    try:
        with _trial(scratch, "opaque-bug-check", ("l2", "l1"), "l3", userxattr=userxattr, prepare=prepare) as root:
            return _native_obstacle(root, prefix)
    except OSError as error:
        return "the probe failed: %s" % error


def _native_obstacle(root, prefix):
    """The two kernel behaviours that spoil a native diff, looked for in the mounted probe at ``root``."""
    merged, upper = os.path.join(root, "merged"), os.path.join(root, "l3")
    os.close(os.open(os.path.join(merged, "d", "f"), os.O_CREAT | os.O_WRONLY, 0o644))
    if _get_xattr(os.path.join(upper, "d"), prefix + ".overlay.opaque") == b"y":
        return "the opaque flag is erroneously copied up: kernel fix of 4.8 needed"
    try:
        os.rename(os.path.join(merged, "d1"), os.path.join(merged, "d2"))
    except OSError as error:
        if error.errno == errno.EXDEV:
            return ""  # redirect_dir is off: the kernel refuses to rename a lower folder
        raise
    if _get_xattr(os.path.join(upper, "d2"), prefix + ".overlay.redirect") == b"d1":
        return "the kernel has CONFIG_OVERLAY_FS_REDIRECT_DIR enabled"
    return ""


def has_lowerdir_plus(folder):
    """Whether overlayfs takes ``lowerdir+`` through fsconfig(2) (bool), Linux 6.8 and later. Nothing is mounted."""

    def configure():
        with mount.filesystem_context("overlay") as context:
            mount.set_option(context, "lowerdir+", ".")  # the folder's own path may be longer than the call takes

    try:
        mount.in_folder(folder, configure)
    except OSError:
        return False
    return True


def _get_xattr(path, name):
    """The attribute's value (bytes), None where it is not set or the file system has none."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


@contextlib.contextmanager
def _trial(scratch, name, lowers, upper, userxattr=False, prepare=None):
    """A mounted trial overlay: yields its folder, which holds ``lowers``, ``upper``, ``work`` and ``merged``.

    :raises OSError: a step before or at the mount failed; nothing stays.
    """
    with scratch_folder(scratch, name) as root:
        for folder in lowers + (upper, "work", "merged"):
            os.mkdir(os.path.join(root, folder), 0o755)
        if prepare is not None:
            prepare(root)
        data = overlayfs.data(lowers, upper, "work") + (",userxattr" if userxattr else "")
        # Relative names: the path of a home may be too long for a page of mount data that names it four times.
        mount.in_folder(root, lambda: mount.mount("overlay", "merged", "overlay", 0, data))
        merged = os.path.join(root, "merged")
        try:
            if fs.is_read_only(merged):
                raise OSError(errno.EROFS, "the kernel mounts it read-only, as it does where the disk is full", merged)
            yield root
        finally:
            try:
                mount.unmount(merged)
            except OSError as error:
                log.warning("failed to unmount the probe at %s: %s", merged, error)
                mount.unmount_stack(merged)


def unprobed(home, reason):
    """The features as far as they can be told without mounting anything, for a reader without the right to.

    :param reason: why nothing could be tried (str); it stands in for each answer that is missing.
    :raises OSError: the home can't be read.
    """
    in_userns = kernel.in_user_namespace()
    # Without that right the attributes that make a folder opaque can't be seen, and a diff would be wrong.
    sees_attributes = kernel.is_admin() and not in_userns
    # The probes find out what the module's defaults are, and those can be read, once the module is loaded.
    metacopy, redirect = _parameter_is_on("metacopy"), _parameter_is_on("redirect_dir")
    native = sees_attributes and not metacopy and not redirect
    not_native = "the overlay module has %s on" % ("metacopy" if metacopy else "redirect_dir")
    return Features(
        backing_fs=fs.fs_name(home),
        supports_d_type=supports_d_type(home),
        metacopy=metacopy,
        native_diff=native,
        native_diff_reason="" if native else not_native if sees_attributes else "not tried: %s" % reason,
        index_off=os.path.exists(INDEX_PARAMETER),
        userxattr=in_userns and kernel.release() >= (5, 11),
        in_user_namespace=in_userns,
        lowerdir_plus=has_lowerdir_plus(home),
        kernel=kernel.release(),
        project_quota_reason="not tried: %s" % reason,
    )


def _parameter_is_on(name):
    """Whether a parameter of the overlay module is on (bool); off where it can't be read."""
    try:
        with open(os.path.join(os.path.dirname(INDEX_PARAMETER), name), encoding="ascii") as source:
            return source.read().strip() == "Y"
    except OSError:
        return False
