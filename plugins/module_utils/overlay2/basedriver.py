# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""The driver without its diffs: creates, fills and removes layers, too. moby's ProtoDriver, with its ApplyDiff.

Separate from :mod:`.driver` to keep the Ansible payload small: modules that only manage layers do not import the code
that archives and compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Callable, Mapping

from . import lifecycle
from .errors import OptionError, translated
from .home.layout import LayerRecord, check_id, check_owner
from .home.options import parse_storage_opt
from .mountdriver import MountDriver
from .tree import Usage, tree_usage

if TYPE_CHECKING:
    from .tar.unpack import Unpacked


class BaseDriver(MountDriver):
    """One home, whose layers can be managed: :class:`~.mountdriver.MountDriver`, with what changes layers."""

    # Creating and removing

    def create(
        self,
        id: str,
        parent: str = "",
        storage_opt: Mapping[str, object] | None = None,
        *,
        diff: BinaryIO | None = None,
        diff_id: str | None = None,
        owner: str | None = None,
        report: Callable[[Unpacked], None] | None = None,
    ) -> None:
        """Creates a layer, which appears whole, by one rename, or not at all; moby's Create.

        :param parent: id of the layer it stands on; "" for none.
        :param storage_opt: storage options; ``size`` is refused here.
        :param diff: a binary stream of a tar, compressed or not: the layer appears with this content.
        :param diff_id: ``sha256:...`` that the uncompressed tar must have.
        :param owner: name of whoever keeps the layer; unlike holders it survives a reboot.
        :param report: called with what was unpacked from ``diff``, once the layer is there.
        :raises LayerExists: the id is taken; that layer is not touched.
        :raises LayerNotFound: there is no such parent.
        :raises DepthExceeded: it would have more than 128 lower layers.
        :raises OptionError: a bad id or storage option.
        :raises ArchiveError: the stream cannot be unpacked.
        """
        if parse_storage_opt(storage_opt) is not None:
            raise OptionError(
                "--storage-opt size is only supported for ReadWrite Layers",
                layer=id,
                remedy="Use create_read_write, or leave size out",
            )
        self._create(id, parent, None, LayerRecord(False, None, owner), diff, diff_id, report)

    def create_read_write(
        self,
        id: str,
        parent: str = "",
        storage_opt: Mapping[str, object] | None = None,
        *,
        diff: BinaryIO | None = None,
        diff_id: str | None = None,
        owner: str | None = None,
        report: Callable[[Unpacked], None] | None = None,
    ) -> None:
        """Creates a layer for writing; moby's CreateReadWrite. As :meth:`create`, and:

        :param storage_opt: ``{"size": "10G"}`` limits what it may hold, by project quota.
        :raises QuotaNotSupported: a size is asked for and the home has no project quota.
        """
        size = parse_storage_opt(storage_opt)
        if size is None and self.options.size:
            size = self.options.size
        self._create(id, parent, size, LayerRecord(True, None, owner), diff, diff_id, report)

    def _create(
        self,
        id: str,
        parent: str,
        size: int | None,
        record: LayerRecord,
        diff: BinaryIO | None,
        diff_id: str | None,
        report: Callable[[Unpacked], None] | None,
    ) -> None:
        self.opened.require_writable()
        check_id(id)
        if parent:
            check_id(parent)
        if record.owner is not None:
            check_owner(record.owner)
        lifecycle.create(self.opened, id, parent, size, record, diff, diff_id, report)

    def set_owner(self, id: str, owner: str) -> None:
        """Records who keeps a layer that has no owner yet.

        :raises OptionError: the owner's name is empty.
        :raises LayerInUse: the layer belongs to another owner.
        :raises Overlay2Error: the layer was created by another program.
        """
        self.opened.require_writable()
        check_id(id)
        check_owner(owner)
        lifecycle.set_owner(self.opened, id, owner)

    def remove(self, id: str, *, guard: bool = False) -> None:
        """Removes a layer with everything in it, mounted or not; a missing one is not an error. moby's Remove.

        :param guard: refuse if another layer stands on it, it is mounted or held, or processes use its files.
        :raises LayerInUse: so refused; names the layers, holders or processes.
        """
        self.opened.require_writable()
        check_id(id)
        lifecycle.remove(self.opened, id, guard)

    def set_quota(self, id: str, size: int) -> None:
        """Changes how much a layer may hold.

        :param size: bytes; 0 lifts the limit.
        :raises QuotaNotSupported: the home has no project quota.
        :raises Overlay2Error: the layer was made without a size, so it has no project of its own.
        """
        self.opened.require_writable()
        check_id(id)
        lifecycle.set_quota(self.opened, id, size)

    # Content

    def apply_diff(
        self,
        id: str,
        parent: str,
        stream: BinaryIO,
        *,
        diff_id: str | None = None,
        replace: bool = False,
        report: Callable[[Unpacked], None] | None = None,
    ) -> int:
        """Unpacks a tar into a layer; moby's ApplyDiff.

        All or nothing: the content appears by one rename, and an archive that is refused leaves the layer as it was.

        :param parent: id of its parent. With another than the direct one, whiteouts are applied through a mount.
        :param stream: a binary file with the tar, plain or as gzip, bzip2, xz or zstd.
        :param diff_id: ``sha256:...`` that the uncompressed tar must have.
        :param replace: replace the layer's content; otherwise the layer must be empty.
        :param report: called with what was unpacked, once the layer shows it.
        :returns: bytes applied.
        :raises LayerNotEmpty: it has content, and ``replace`` is not set.
        :raises LayerInUse: it, or a layer above it, is mounted.
        :raises ArchiveError: the stream is corrupt or hostile, or does not have the digest.
        """
        self.opened.require_writable()
        check_id(id)
        if parent:
            check_id(parent)
        return lifecycle.apply(self.opened, id, parent, stream, diff_id, replace, report)

    def own_size(self, id: str) -> int:
        """Returns the bytes of the files in the layer's own directory, directories not counted. Mounts nothing.

        :raises LayerNotFound: no such layer.
        :raises Overlay2Error: its ``diff`` directory is missing or cannot be read.
        """
        return self.own_usage(id).size

    def own_usage(self, id: str, progress: Callable[[], None] | None = None) -> Usage:
        """Returns the same, and the space on disk.

        :param progress: called for each directory on the way; an exception from it ends the walk.
        """
        self._require(id)
        with translated(layer=id):
            look = None if progress is None else lambda _directory: progress()
            return tree_usage(self.opened.store.upper_dir(id), look)
