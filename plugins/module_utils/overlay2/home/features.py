# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""What this host can do for a home: one frozen record, found by trying the real thing.

Each probe mounts a small overlay in a private directory on the home's own file system and looks at the result, as
moby's ``overlayutils`` and ``overlay2/check.go`` do. Nothing is remembered between calls, so two homes on two file
systems are judged separately. The trial mounts are ``volatile``: unmounting any other overlay writes its whole upper
file system to disk (``ovl_sync_fs``, fs/overlayfs/super.c), which is slow on a host that writes a lot.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import TYPE_CHECKING, NamedTuple, Tuple

from ..errors import DTypeNotSupported, NotSupported, from_os_error, translated
from ..linux import fs, kernel, mount, mountinfo, overlayfs, xattr
from ..tree import remove_tree, scratch_folder

if TYPE_CHECKING:
    from typing import Callable, Iterator

log = logging.getLogger("overlay2")

#: Where the overlay module shows its parameters; ``index`` is missing if the kernel does not know the option.
INDEX_PARAMETER = "/sys/module/overlay/parameters/index"
#: First kernel with the mount option ``volatile``.
_VOLATILE_SINCE = (5, 10)
#: File systems that can hold an upper directory, by Docker's names: if the kernel refuses, the reason is another.
_SUITABLE = frozenset(("extfs", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs", "zfs"))


class Obstacle(NamedTuple):
    """Why the kernel refused a mount, and what to do about it."""

    reason: str
    remedy: str


class Features(NamedTuple):
    """What the host's kernel and the home's file system offer the driver."""

    #: Docker's name of the home's file system, such as ``extfs`` or ``xfs``.
    backing_fs: str
    #: Directory entries contain the file type, which overlayfs needs.
    supports_d_type: bool
    #: Overlay mounts copy up metadata alone (``metacopy=on`` is the module's default).
    metacopy: bool
    #: A layer's diff can be read from its ``diff`` directory alone.
    native_diff: bool
    #: Why not, if ``native_diff`` is False; else "".
    native_diff_reason: str
    #: The kernel knows ``index``, so mounts have ``index=off``.
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
    #: Why not, if ``project_quota`` is False; else "".
    project_quota_reason: str = ""
    #: The kernel knows ``volatile`` (Linux 5.10): unmounting writes nothing to disk. For the driver's own mounts only.
    volatile: bool = False

    @property
    def xattr_class(self) -> str:
        """Namespace of the overlay's extended attributes: ``"user"`` or ``"trusted"``."""
        return "user" if self.userxattr else "trusted"

    @property
    def mount_prefix(self) -> str:
        """Options in front of every mount's ``lowerdir``, in moby's order."""
        return ("index=off," if self.index_off else "") + ("userxattr," if self.userxattr else "")


def probe(home: str, scratch: str) -> Features:
    """Detects the features of a home, project quota excepted.

    :param home: the home, or its nearest existing parent. Its file system is looked at but not written to.
    :param scratch: an existing directory to try mounts in, normally on the same file system.
    :raises NotSupported: no overlay can be mounted there, with the kernel's reason.
    :raises DTypeNotSupported: the file system does not report file types.
    """
    backing_fs = fs.fs_name(home)
    in_userns = kernel.in_user_namespace()
    volatile = check_overlay(scratch, home)
    if not supports_d_type(home):
        raise d_type_error(backing_fs, home)
    userxattr = needs_userxattr(scratch, in_userns)
    metacopy = uses_metacopy(scratch, userxattr)
    reason = why_not_native(scratch, in_userns, userxattr)
    if not reason and metacopy:
        # Copied-up metadata without data would be archived as empty files.
        reason = "metacopy is enabled, so a layer's directory may contain files without their data"
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
        volatile=volatile,
    )


def check_overlay(scratch: str, home: str) -> bool:
    """Mounts an overlay of two lower layers; moby's SupportsOverlay.

    :param home: the path that an error names.
    :returns: True if the kernel knows ``volatile``.
    :raises NotSupported: with the kernel's reason.
    """
    if os.environ.get("_DOCKERD_ROOTLESS_SELINUX") == "1":
        raise NotSupported("overlay2 is not supported for rootless mode with SELinux")
    try:
        with _trial(scratch, "check-overlayfs-support", ("lower2", "lower1"), "upper") as trial:
            return trial.volatile
    except OSError as error:
        message = "the overlay file system can't be mounted"
        refusal = from_os_error(NotSupported, message, error, path=home, place=scratch)
        obstacle = upper_obstacle(scratch, error.errno)
        if obstacle is not None:
            refusal = NotSupported("%s: %s" % (refusal.message, obstacle.reason), path=home, remedy=obstacle.remedy)
        raise refusal from error


def upper_obstacle(directory: str, number: int | None) -> Obstacle | None:
    """Returns why the kernel refused an overlay with its upper directory in ``directory``; None if that is unknown.

    :param number: the errno of mount(2), which says little: the kernel writes the reason to its log.
    """
    if number == errno.ENODEV:
        return Obstacle("this kernel has no overlay file system", "Load its module: modprobe overlay")
    if number == errno.EPERM and kernel.in_user_namespace() and kernel.release() < (5, 11):
        reason = "a user namespace may mount overlays from Linux 5.11 on only"
        return Obstacle(reason, "Run as root on the host, or update the kernel")
    if number != errno.EINVAL or fs.fs_name(directory) in _SUITABLE:
        return None
    kind = _kind(directory)
    reason = "the home is on %s, which the kernel refuses as the upper file system of an overlay" % kind
    remedy = "Put the home on a local file system such as ext4 or XFS"
    if kind == "overlayfs":
        remedy += "; in a container, mount a volume or a directory of the host there"
    return Obstacle(reason, remedy)


def _kind(directory: str) -> str:
    """Returns Docker's name of the file system of a directory, or the kernel's if Docker has none."""
    name = fs.fs_name(directory)
    if name != fs.UNKNOWN_FS:
        return name
    number = os.stat(directory).st_dev
    device = "%d:%d" % (os.major(number), os.minor(number))
    return next((entry.fs_type for entry in mountinfo.mounts() if entry.device == device), name)


def supports_d_type(directory: str) -> bool:
    """True if the entries of ``directory`` contain their file type; containerd's fs.SupportsDType."""
    with contextlib.ExitStack() as stack:
        return fs.DT_UNKNOWN not in fs.entry_types(fs.open_on(stack, directory))


def d_type_error(backing_fs: str, path: str) -> DTypeNotSupported:
    """Returns the error for a file system without d_type, with a remedy for its kind; moby's ErrDTypeNotSupported."""
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


def needs_userxattr(scratch: str, in_userns: bool) -> bool:
    """True if mounts need ``userxattr``, which is in a user namespace if the kernel knows it; moby's NeedsUserXAttr."""
    if not in_userns:
        return False
    if kernel.release() >= (5, 11):
        return True
    try:
        with _trial(scratch, "userxattr-check", ("lower2", "lower1"), "upper", userxattr=True):
            return True
    except OSError:
        return False


def uses_metacopy(scratch: str, userxattr: bool) -> bool:
    """True if a change of mode copies up the inode alone; moby's usingMetacopy.

    :raises NotSupported: the probe itself failed.
    """
    attribute = xattr.metacopy("user" if userxattr else "trusted")

    def prepare(root: str) -> None:
        os.close(os.open(os.path.join(root, "l1", "f"), os.O_CREAT | os.O_WRONLY, 0o700))

    with translated("the metacopy probe failed", NotSupported, path=scratch):
        with _trial(scratch, "metacopy-check", ("l1",), "l2", userxattr=userxattr, prepare=prepare) as trial:
            os.chmod(os.path.join(trial.root, "merged", "f"), 0o600)
            # An empty value is a "yes" too: only the presence of the attribute counts.
            return xattr.get(os.path.join(trial.root, "l2", "f"), attribute) is not None


def why_not_native(scratch: str, in_userns: bool, userxattr: bool) -> str:
    """Returns why diffs cannot be read from a layer's directory alone; "" if they can. moby's doesSupportNativeDiff."""
    if in_userns and not userxattr:
        return "running in a user namespace, which needs kernel 5.11 or later"
    xattr_class = "user" if userxattr else "trusted"

    def prepare(root: str) -> None:
        os.mkdir(os.path.join(root, "l1", "d"), 0o755)
        os.mkdir(os.path.join(root, "l1", "d1"), 0o755)
        os.mkdir(os.path.join(root, "l2", "d"), 0o755)
        os.setxattr(os.path.join(root, "l2", "d"), xattr.opaque(xattr_class), xattr.OPAQUE)

    try:
        with _trial(scratch, "opaque-bug-check", ("l2", "l1"), "l3", userxattr=userxattr, prepare=prepare) as trial:
            return _native_obstacle(trial.root, xattr_class)
    except OSError as error:
        return "the probe failed: %s" % error


def _native_obstacle(root: str, xattr_class: str) -> str:
    """Looks for the two kernel behaviours that prevent a native diff in the mounted trial at ``root``."""
    merged, upper = os.path.join(root, "merged"), os.path.join(root, "l3")
    os.close(os.open(os.path.join(merged, "d", "f"), os.O_CREAT | os.O_WRONLY, 0o644))
    if xattr.get(os.path.join(upper, "d"), xattr.opaque(xattr_class)) == xattr.OPAQUE:
        return "the opaque flag is erroneously copied up: kernel fix of 4.8 needed"
    try:
        os.rename(os.path.join(merged, "d1"), os.path.join(merged, "d2"))
    except OSError as error:
        if error.errno == errno.EXDEV:
            return ""  # redirect_dir is off: the kernel refuses to rename a lower directory
        raise
    if xattr.get(os.path.join(upper, "d2"), xattr.redirect(xattr_class)) == b"d1":
        return "the kernel has CONFIG_OVERLAY_FS_REDIRECT_DIR enabled"
    return ""


def has_lowerdir_plus(directory: str) -> bool:
    """True if overlayfs takes ``lowerdir+`` through fsconfig(2), as from Linux 6.8 on. Nothing is mounted."""

    def configure() -> None:
        with mount.filesystem_context("overlay") as context:
            mount.set_option(context, "lowerdir+", ".")  # the directory's path may be longer than the call takes

    try:
        mount.in_directory(directory, configure)
    except OSError:
        return False
    return True


class _Trial(NamedTuple):
    """A mounted trial overlay."""

    #: The directory with its lower and upper directories and its mount point ``merged``.
    root: str
    #: The kernel knew the option ``volatile``.
    volatile: bool


@contextlib.contextmanager
def _trial(
    scratch: str,
    name: str,
    lowers: tuple[str, ...],
    upper: str,
    userxattr: bool = False,
    prepare: Callable[[str], None] | None = None,
) -> Iterator[_Trial]:
    """Mounts a trial overlay for the length of a ``with`` block.

    :param prepare: called with the trial's directory before the mount.
    :raises OSError: a step before or at the mount failed; nothing is left behind.
    """
    with scratch_folder(scratch, name) as root:
        for directory in (*lowers, upper, "merged"):
            os.mkdir(os.path.join(root, directory), 0o755)
        if prepare is not None:
            prepare(root)
        volatile = _mount_trial(root, lowers, upper, userxattr)
        merged = os.path.join(root, "merged")
        try:
            if fs.is_read_only(merged):
                raise OSError(errno.ENOSPC, "the kernel mounts it read-only, as it does if the disk is full", merged)
            yield _Trial(root, volatile)
        finally:
            try:
                mount.unmount(merged)
            except OSError as error:
                log.warning("failed to unmount the probe at %s: %s", merged, error)
                mount.unmount_stack(merged)


def _mount_trial(root: str, lowers: tuple[str, ...], upper: str, userxattr: bool) -> bool:
    """Mounts a trial, ``volatile`` if the kernel takes that; True if it did.

    The kernel refuses ``volatile`` also on a file system with a write error that nobody has seen yet.
    """
    work = os.path.join(root, "work")

    def attempt(volatile: bool) -> None:
        os.mkdir(work, 0o755)
        prefix = ("volatile," if volatile else "") + ("userxattr," if userxattr else "")
        data = overlayfs.data(lowers, upper, "work", prefix)
        # Relative names: the path of a home may be too long for a page of mount data that names it four times.
        mount.in_directory(root, lambda: mount.mount("overlay", "merged", "overlay", 0, data))

    if kernel.release() >= _VOLATILE_SINCE:
        try:
            attempt(True)
            return True
        except OSError:
            remove_tree(work)
    attempt(False)
    return False


def unprobed(home: str, reason: str) -> Features:
    """Returns the features that can be detected without a mount, for a reader who may not or cannot mount.

    :param reason: why nothing is mounted; it replaces each answer that is missing.
    :raises OSError: the home can't be read.
    """
    in_userns = kernel.in_user_namespace()
    # Without that right the attributes of opaque directories are invisible, and a diff would be wrong.
    sees_attributes = kernel.is_admin() and not in_userns
    # The probes detect the module's defaults, which can also be read once the module is loaded.
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


def _parameter_is_on(name: str) -> bool:
    """True if a parameter of the overlay module is on; False if it cannot be read."""
    try:
        with open(os.path.join(os.path.dirname(INDEX_PARAMETER), name), encoding="ascii") as source:
            return source.read().strip() == "Y"
    except OSError:
        return False
