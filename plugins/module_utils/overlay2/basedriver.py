# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""What manages layers: the home, creating, filling, mounting and removing. moby's BaseDriver, with its ApplyDiff.

A room of its own for those who need no more: Ansible sends a module with all that its imports reach, and what archives
and compares layers (:mod:`.driver`) is not needed to make one.
"""

from __future__ import annotations

import contextlib
import logging
import os

from .errors import (
    HomeNotFound,
    NotSupported,
    OptionError,
    Overlay2Error,
    QuotaNotSupported,
    ReadOnlyDriver,
    from_os_error,
)
from .filling import Content
from .home import features as feature_detection
from .home.holders import ANONYMOUS
from .home.layout import DIFF, LINK_DIR, MERGED, WORK, LayerRecord, check_id, check_owner
from .home.locks import RuntimeState
from .home.options import parse_options, parse_storage_opt
from .home.quota import QuotaControl
from .home.staging import Staging, ensure_folder
from .home.store import Store
from .idmap import IDENTITY
from .lifecycle import Lifecycle
from .mounting import References
from .tree import scratch_folder, unmount_below

log = logging.getLogger("overlay2")


class BaseDriver:
    """One home and its layers; moby's Init.

    Safe to use from several threads and processes at once. Methods that take an ``id`` raise
    :class:`~.errors.InvalidLayerId` for one that is no single folder name.

    :param home: the driver's root folder (str), made where it is missing.
    :param options: driver options such as ``"overlay2.size=10G"``.
    :param id_map: an :class:`~.idmap.IdMap`; None for no mapping.
    :param read_only: change nothing in the home, which must exist. Calls that would change something raise
        :class:`~.errors.ReadOnlyDriver`.
    :param probe: with ``read_only``: find features by trial mounts, away from the home; False: by looking alone.
    :raises OptionError: a bad option.
    :raises NotSupported: the host or the file system can't hold layers, with the reason.
    :raises HomeNotFound: ``read_only``, and there is no home.
    :raises Overlay2Error: ``read_only``, and the home may not be read.
    """

    def __init__(self, home, options=(), id_map=None, *, read_only=False, probe=True):
        self.options = parse_options(options)
        if not home:
            raise OptionError("the path of the home is empty", remedy="Name the folder, such as /var/lib/overlay2")
        self.home = os.path.abspath(home)
        self.id_map = IDENTITY if id_map is None else id_map
        self.read_only = read_only
        self._runtime = RuntimeState(self.home)
        self._store = Store(self.home)
        self._quota = None
        root = self.id_map.root
        self._staging = Staging(self._store, root, durable=self.options.sync == "full")
        self.features = self._probe_reading(probe) if read_only else self._open_home(root)
        self._references = References(self._store, self._runtime, self.features, root)
        self._content = Content(self._store, self.features, self.id_map, self._staging)
        self._life = Lifecycle(
            self._store, self._runtime, self._staging, self._references, self._content, self._quota, self.features
        )
        log.debug("%s: %s", self.home, self.features)

    def _open_home(self, root):
        """Detect, make the folders, sweep what a killed process left; in moby's order."""
        try:
            features = self._probe(root)
            ensure_folder(self.home, 0o710, (os.geteuid(), root[1]))
            ensure_folder(os.path.join(self.home, LINK_DIR), 0o700, (os.geteuid(), os.getegid()))
            features = self._with_quota(features)
            self._staging.quota = self._quota
            self._staging.sweep()
        except OSError as error:
            path = error.filename or self.home
            raise from_os_error(NotSupported, "can't prepare the home", error, path=path) from error
        return features

    def _probe(self, root):
        """Detect by trial mounts in the home, where a sweep finds what a kill leaves; where they fail nothing stays."""
        made = [folder for folder in _with_parents(self._staging.folder) if not os.path.lexists(folder)]
        try:
            if not os.path.isdir(self.home):
                ensure_folder(self.home, 0o710, (os.geteuid(), root[1]))
            with self._staging.stage() as scratch:
                return feature_detection.probe(self.home, scratch.path)
        except (NotSupported, OSError):
            for folder in made:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
            raise

    def _probe_reading(self, trial_mounts):
        """Detect without writing to the home: mounts are tried in the runtime folder, or nowhere where we may not."""
        try:
            os.stat(os.path.join(self.home, ""))
            if not trial_mounts:
                return self._with_quota(feature_detection.unprobed(self.home, "nothing is mounted for this reader"))
            try:
                with scratch_folder(self._runtime.scratch(), "probe-") as scratch:
                    features = feature_detection.probe(self.home, scratch)
            except (NotSupported, OSError) as error:
                return feature_detection.unprobed(self.home, str(error))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise HomeNotFound(
                "there is no driver home", path=self.home, remedy="Check the path, or create a layer in it first"
            ) from error
        except OSError as error:
            raise from_os_error(Overlay2Error, "can't read the home", error, path=self.home) from error
        return self._with_quota(features)

    def _with_quota(self, features):
        """The features with what project quota can do; moby looks for it on XFS only.

        :raises NotSupported: ``overlay2.size`` is given and there is none.
        """
        if features.backing_fs != "xfs":
            reason = "only XFS has project quota, and this is %s" % features.backing_fs
            if self.options.size:
                raise NotSupported(
                    "Storage Option overlay2.size only supported for backingFS XFS. Found %s" % features.backing_fs,
                    path=self.home,
                    remedy="Leave overlay2.size out, or put the home on XFS mounted with pquota",
                )
            return features._replace(project_quota_reason=reason)
        try:
            self._quota = QuotaControl.for_reading(self.home) if self.read_only else QuotaControl.open(self.home)
        except QuotaNotSupported as error:
            if self.options.size:
                raise NotSupported(
                    "Storage option overlay2.size not supported. Filesystem does not support Project Quota: %s"
                    % error.message,
                    path=self.home,
                    remedy=error.remedy,
                ) from error
            return features._replace(project_quota_reason=error.message)
        return features._replace(project_quota=True)

    # What it is

    def __str__(self):
        return "overlay2"

    def __repr__(self):
        return "<overlay2.Driver of %s>" % self.home

    def status(self):
        """Facts about the driver for people: list of (label, value) pairs of str; moby's Status, then our own."""
        features = self.features
        return [
            ("Backing Filesystem", features.backing_fs),
            ("Supports d_type", _bool(features.supports_d_type)),
            ("Using metacopy", _bool(features.metacopy)),
            ("Native Overlay Diff", _bool(features.native_diff)),
            ("userxattr", _bool(features.userxattr)),
            ("Project Quota", _bool(features.project_quota)),
            ("Mount API (lowerdir+)", _bool(features.lowerdir_plus)),
            ("User Namespace", _bool(features.in_user_namespace)),
            ("Sync", self.options.sync),
            ("Kernel", "%d.%d" % features.kernel),
        ]

    def get_metadata(self, id):
        """Folders of a layer: dict with ``WorkDir``, ``MergedDir``, ``UpperDir`` and, with a parent, ``LowerDir``.

        The lower folders are joined with ``:``; moby's GetMetadata.

        :raises LayerNotFound: no such layer.
        :raises LayerDamaged: its lower chain is broken.
        """
        path = self._require(id)
        metadata = {
            "WorkDir": os.path.join(path, WORK),
            "MergedDir": os.path.join(path, MERGED),
            "UpperDir": os.path.join(path, DIFF),
        }
        lowers = self._store.lower_dirs(id)
        if lowers:
            metadata["LowerDir"] = ":".join(lowers)
        return metadata

    def exists(self, id):
        """Whether there is a layer of that id (bool); moby's Exists."""
        try:
            check_id(id)
        except OptionError:
            return False
        return self._store.exists(id)

    def layer(self, id):
        """The :class:`~.layers.Layer`; one that is damaged says so in ``problems``.

        :raises LayerNotFound: no such layer.
        """
        self._require(id)
        return self._described(id, self._store.links())

    def layers(self, ids=None):
        """Iterator of :class:`~.layers.Layer` records, sorted by id. It takes no lock; what vanishes is left out.

        :param ids: only these (iterable of str); None for all.
        """
        links = self._store.links()
        for id in self._store.ids() if ids is None else sorted(ids):
            with contextlib.suppress(FileNotFoundError):
                yield self._described(id, links)

    def _described(self, id, links):
        layer = self._store.describe(id, links)
        if self._quota is None:
            return layer
        try:
            return layer._replace(quota=self._quota.get(self._store.path(id)))
        except Overlay2Error as error:
            return layer._replace(problems=layer.problems + (error.message,))

    def children(self, id):
        """Ids of the layers that stand directly on this one (list of str, sorted)."""
        check_id(id)
        return self._store.children(id)

    # Making and removing

    def create(self, id, parent="", storage_opt=None, *, diff=None, diff_id=None, owner=None):
        """Make a layer; moby's Create.

        It appears whole, by one rename, or not at all.

        :param parent: id of the layer it stands on; "" for none.
        :param storage_opt: storage options (dict); ``size`` is refused here.
        :param diff: a binary stream of a tar, compressed or not: the layer appears with this content.
        :param diff_id: ``sha256:...`` that the uncompressed tar must have.
        :param owner: name of whoever keeps the layer; unlike holders it outlives a reboot.
        :raises LayerExists: the id is taken; that layer is not touched.
        :raises LayerNotFound: there is no such parent.
        :raises DepthExceeded: it would have more than 128 lower layers.
        :raises OptionError: a bad id or storage option.
        :raises ArchiveError: the stream can't be unpacked.
        """
        if parse_storage_opt(storage_opt) is not None:
            raise OptionError(
                "--storage-opt size is only supported for ReadWrite Layers",
                layer=id,
                remedy="Use create_read_write, or leave size out",
            )
        self._create(id, parent, None, LayerRecord(False, None, owner), diff, diff_id)

    def create_read_write(self, id, parent="", storage_opt=None, *, diff=None, diff_id=None, owner=None):
        """Make a layer for writing; moby's CreateReadWrite. As :meth:`create`, and:

        :param storage_opt: ``{"size": "10G"}`` limits what it may hold, by project quota.
        :raises QuotaNotSupported: a size is asked for and the home has no project quota.
        """
        size = parse_storage_opt(storage_opt)
        if size is None and self.options.size:
            size = self.options.size
        self._create(id, parent, size, LayerRecord(True, None, owner), diff, diff_id)

    def _create(self, id, parent, size, record, diff, diff_id):
        self._check_writable()
        check_id(id)
        if parent:
            check_id(parent)
        if record.owner is not None:
            check_owner(record.owner)
        self._life.create(id, parent, size, record, diff, diff_id)

    def set_owner(self, id, owner):
        """Record who keeps a layer that has no owner yet.

        :raises OptionError: the owner's name is empty.
        :raises LayerInUse: the layer belongs to another owner.
        :raises Overlay2Error: the layer was created by another program.
        """
        self._check_writable()
        check_id(id)
        check_owner(owner)
        self._life.set_owner(id, owner)

    def remove(self, id, *, guard=False):
        """Remove a layer with all it holds, mounted or not; one that is missing is no error. moby's Remove.

        :param guard: refuse where another layer stands on it, somebody holds it, or processes use its files.
        :raises LayerInUse: so refused; names the layers, holders or processes.
        """
        self._check_writable()
        check_id(id)
        self._life.remove(id, guard)

    def set_quota(self, id, size):
        """Change how much a layer may hold.

        :param size: bytes (int); 0 lifts the limit.
        :raises QuotaNotSupported: the home has no project quota.
        :raises Overlay2Error: the layer was made without a size, so it has no project of its own.
        """
        self._check_writable()
        check_id(id)
        self._life.set_quota(id, size)

    # Mounting

    def get(self, id, mount_label="", holder=None):
        """Mount a layer and take a reference to it; moby's Get.

        :param mount_label: SELinux context of the mount.
        :param holder: who holds it (str): a named holder counts once however often it asks. None is the anonymous
            holder, whose count rises with each call.
        :returns: the path (str): ``merged``, or ``diff`` for a layer without parent.
        :raises LayerNotFound: no such layer.
        :raises LayerDamaged: its lower chain is broken.
        :raises MountError: the kernel refused; nothing stays mounted or counted.
        """
        self._check_writable()
        check_id(id)
        return self._references.get(id, mount_label, ANONYMOUS if holder is None else holder)

    def put(self, id, holder=None):
        """Drop a reference and, with the last one, unmount; moby's Put.

        A holder that holds nothing changes nothing for others.

        :raises MountError: the kernel refused to unmount.
        """
        self._check_writable()
        check_id(id)
        self._references.put(id, ANONYMOUS if holder is None else holder)

    def put_all(self, id):
        """Drop every holder's references and unmount the layer.

        :raises MountError: the kernel refused to unmount.
        """
        self._check_writable()
        check_id(id)
        self._references.put_all(id)

    def release(self, id, holder=None, *, everybody=False, strict=False):
        """As :meth:`put`, or :meth:`put_all` with ``everybody``, with a look at the processes that use the layer.

        All mount namespaces are searched. The processes keep what they use; a guarded :meth:`remove` of the layer is
        refused while they do.

        :param strict: refuse to unmount the layer while processes use it.
        :returns: the processes (tuple of :class:`~.linux.users.User`) that used the layer when it was unmounted.
        :raises LayerInUse: so refused; names the processes.
        :raises MountError: the kernel refused to unmount.
        """
        self._check_writable()
        check_id(id)
        if everybody:
            return self._references.put_all(id, True, strict)
        return self._references.put(id, ANONYMOUS if holder is None else holder, True, strict)

    def users(self, id):
        """The processes that use the layer through its mount, or through one that was detached while they used it.

        :returns: tuple of :class:`~.linux.users.User`, by pid; without those that this process may not look into.
        """
        check_id(id)
        return self._references.users(id)

    def holders(self, id):
        """Who holds the layer: dict of holder name to count; ``""`` is the anonymous holder.

        Only what the kernel's mount table bears out, so it is empty for a layer that something else unmounted.
        """
        check_id(id)
        return self._references.counts(id)

    def mounted(self, id):
        """Whether the layer's overlay is mounted (bool), as the kernel says."""
        check_id(id)
        return self._references.mounted(id)

    def cleanup(self):
        """Unmount everything below the home and void the references; moby's Cleanup.

        :raises Overlay2Error: something can't be unmounted.
        """
        self._check_writable()
        for id in self._references.held():
            self._references.put_all(id)
        try:
            unmount_below(os.path.realpath(self.home), itself=False)
        except OSError as error:
            raise from_os_error(Overlay2Error, "can't unmount all of the home", error, path=error.filename) from error

    # Content

    def apply_diff(self, id, parent, stream, *, diff_id=None, replace=False):
        """Unpack a tar into a layer; moby's ApplyDiff.

        All or nothing: the content appears by one rename, and an archive that is refused leaves the layer as it was.

        :param parent: id of its parent. With another than the direct one, whiteouts are applied through a mount.
        :param stream: a binary file with the tar, plain or as gzip, bzip2, xz or zstd.
        :param diff_id: ``sha256:...`` that the uncompressed tar must have.
        :param replace: replace what the layer holds; else it has to be empty.
        :returns: bytes applied (int).
        :raises LayerNotEmpty: it holds something, and ``replace`` is not set.
        :raises LayerInUse: it, or a layer above it, is mounted.
        :raises ArchiveError: the stream is corrupt, hostile, or not the one the digest names.
        """
        self._check_writable()
        check_id(id)
        if parent:
            check_id(parent)
        return self._life.apply(id, parent, stream, diff_id, replace)

    def own_size(self, id, progress=None):
        """Bytes of the files in the layer's own folder (int), folders not counted. Never takes a mount.

        :param progress: called without arguments for each folder on the way; what it raises ends the walk.
        :raises LayerNotFound: no such layer.
        :raises Overlay2Error: its ``diff`` folder is missing or can't be read.
        """
        self._require(id)
        return self._content.own_size(id, progress)

    # Shared checks

    def _require(self, id):
        check_id(id)
        return self._store.require(id)

    def _check_writable(self):
        if self.read_only:
            raise ReadOnlyDriver("this driver was opened for reading only", path=self.home)


def _with_parents(path):
    """``path`` and all folders above it (list of str), innermost first."""
    found = [path]
    while os.path.dirname(path) != path:
        path = os.path.dirname(path)
        found.append(path)
    return found


def _bool(value):
    return "true" if value else "false"
