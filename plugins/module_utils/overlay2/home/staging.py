# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Writes to a home, with :mod:`.mending` the only modules that do: layers appear, change and vanish by one rename.

A layer that is not ready lies in ``.staging/<random>/`` on the home's file system, locked by its maker. After a kill or
a power cut at any instant, a layer is there whole or not at all, and a sweep deletes every staged directory that nobody
holds a lock on. The ``link`` file of a staged layer is written before the symbolic link of that name, so that the sweep
finds a link that does not lead anywhere yet, or no longer.

Others write only inside what this module made: archives to a staged layer, overlayfs to a mounted one. A mount point is
removed with its mount (:mod:`..mounts`), and project quota may need a device node (:mod:`.quota`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
from typing import TYPE_CHECKING, Iterator, NamedTuple

from ..errors import LayerExists, NotSupported, Overlay2Error, translated
from ..linux import fs
from ..tree import remove_tree, unmount_below
from .directories import (
    ensure_directory,
    make_directory,
    sync_directory,
    sync_together,
    write_new,
    write_open,
)
from .layout import (
    COMMITTED,
    DIFF,
    IMAGES,
    LINK,
    LINK_DIR,
    LOWER,
    MERGED,
    RECORD,
    STAGING,
    WORK,
    LayerRecord,
    is_link_name,
    read_small,
)
from .locks import flock, unlock
from .store import GraphDriverStore

if TYPE_CHECKING:
    from .quota import QuotaControl

log = logging.getLogger("overlay2")

#: Characters of a link id: 26 x 5 bits; 128 of them with ``l/`` and ``:`` leave 512 bytes of a page for a label.
LINK_LENGTH = 26
#: RFC 4648's base32 alphabet for each value of a byte: all letters come equally often.
_BASE32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" * 8

#: How names of files begin that are not ready.
_TEMPORARY = ".tmp-"
_KNOWN = frozenset((DIFF, WORK, MERGED, LINK, LOWER, COMMITTED, RECORD))


class Staged(NamedTuple):
    """A layer directory that is being built, or taken apart, out of sight."""

    path: str
    #: The directory, opened, which also holds its lock.
    descriptor: int

    def child(self, name: str) -> str:
        """Returns the path of something in it."""
        return os.path.join(self.path, name)


class Hidden:
    """A layer that was removed from its place; its files are still to be deleted.

    Call :meth:`delete` in any case, after the home's lock is released: it also releases the layer's own.
    """

    def __init__(self, staging: Staging, staged: Staged) -> None:
        self._staging = staging
        self._staged = staged

    def delete(self) -> None:
        """Deletes the files.

        :raises Overlay2Error: some cannot be deleted; a later sweep tries again.
        """
        try:
            self._staging.delete(self._staged.path)
        except OSError as error:
            raise Overlay2Error(
                "it is gone, but not all of its files can be deleted: %s" % error.strerror,
                path=error.filename,
                remedy="Make it deletable, with 'chattr -i -a' for example; the next driver deletes the rest",
            ) from error
        finally:
            unlock(self._staged.descriptor)


def link_id() -> str:
    """Returns a new name for ``l/``: 26 random characters of RFC 4648 base32; moby's GenerateID."""
    return os.urandom(LINK_LENGTH).translate(_BASE32).decode("ascii")


def _remove_empty(path: str) -> bool:
    """Removes the directory of a layer without content, without looking into it; True if it is gone.

    The kernel refuses if something is in ``diff``, as with most layers, or mounted on one of the directories.
    """
    try:
        for name in (DIFF, WORK):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir("%s/%s" % (path, name))
        for name in (LINK, LOWER, RECORD):
            with contextlib.suppress(FileNotFoundError):
                os.unlink("%s/%s" % (path, name))
        os.rmdir(path)
    except OSError:
        return False
    return True


class Staging:
    """Builds, shows, exchanges and removes layer directories of one home.

    :param quota: the home's project quota, if it has any: a deleted layer leaves no limit behind.
    :param root: host (uid, gid) of container root.
    :param durable: changes must survive a power cut (``overlay2.sync=full``).
    """

    def __init__(
        self, store: GraphDriverStore, quota: QuotaControl | None, root: tuple[int, int], *, durable: bool
    ) -> None:
        self._store = store
        self._quota = quota
        self._root = root
        self.durable = durable
        #: The staging directory.
        self.folder = os.path.join(store.path, STAGING)

    @contextlib.contextmanager
    def stage(self) -> Iterator[Staged]:
        """Yields a new empty staging directory.

        On exit, whatever is left at its path is deleted: the unpublished layer, or the old one after an exchange.
        """
        staged = self._open_new()
        try:
            yield staged
        finally:
            try:
                if os.path.lexists(staged.path):
                    self._discard(staged.path)
            except OSError as error:
                # It is out of sight, and the next driver tries again; the result or error from before matters more.
                log.warning("can't remove the left-over %s yet: %s", staged.path, error)
            finally:
                unlock(staged.descriptor)

    def _open_new(self) -> Staged:
        while True:
            staged = self._make_locked(self._new_path())
            if staged is not None:
                return staged

    def _new_path(self) -> str:
        return "%s/%s" % (self.folder, os.urandom(8).hex())

    def _make_staging(self) -> None:
        with contextlib.suppress(FileExistsError):
            make_directory(self.folder, 0o700, (os.geteuid(), os.getegid()))

    def _make_locked(self, path: str) -> Staged | None:
        """Makes a directory at ``path`` and locks it; None if a sweep removed it between the two."""
        try:
            make_directory(path, 0o710, (os.geteuid(), self._root[1]))
            descriptor = os.open(path, fs.OPEN_DIRECTORY_NOFOLLOW)
        except FileNotFoundError:
            self._make_staging()  # it may be the staging directory that is missing
            return None
        try:
            flock(descriptor, fcntl.LOCK_EX, path)
            if os.fstat(descriptor).st_nlink:
                return Staged(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def write_files(self, staged: Staged, link: str, lower: str | None, record: LayerRecord, sync: bool) -> None:
        """Writes a layer's small files into its staged directory.

        :param lower: text of its ``lower`` file, None for a layer without parent.
        :param sync: have each on disk at once; not needed if :meth:`sync` follows.
        """
        files = [(LINK, os.fsencode(link), sync)]
        if lower is not None:
            files.append((LOWER, os.fsencode(lower), sync))
        if record != LayerRecord():
            files.append((RECORD, record.encode(), sync and self.durable))
        descriptors = []
        try:
            for name, content, _synced in files:
                descriptors.append(write_open(staged.descriptor, name, content, 0o644))
            sync_together([descriptor for descriptor, file in zip(descriptors, files) if file[2]])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def replace_record(self, layer: str, record: LayerRecord) -> None:
        """Replaces a layer's ``strata.json`` by one rename. The caller holds the layer's lock."""
        self._replace_file(self._store.at(layer), RECORD, record.encode(), 0o644)

    def _replace_file(self, folder: str, name: str, content: bytes, mode: int) -> None:
        """Writes a file in a directory of the home, or another one in its place, by one rename."""
        temporary = _TEMPORARY + os.urandom(8).hex()  # beside it: XFS renames nothing into another project
        descriptor = os.open(folder, fs.OPEN_DIRECTORY_NOFOLLOW)
        try:
            write_new(descriptor, temporary, content, mode, sync=self.durable)
            os.rename(temporary, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=descriptor)
            raise
        finally:
            os.close(descriptor)
        self.sync_names(folder)

    def write_image(self, name: str, content: bytes) -> None:
        """Writes, or replaces, the record of an image by one rename. The caller holds the lock of the images."""
        folder = os.path.join(self._store.path, IMAGES)
        try:
            make_directory(folder, 0o700, (os.geteuid(), os.getegid()))
            self.sync_names(self._store.path)
        except FileExistsError:
            for other in os.listdir(folder):
                if other.startswith(_TEMPORARY):  # of a process that was killed
                    os.unlink(os.path.join(folder, other))
        self._replace_file(folder, name, content, 0o600)

    def remove_image(self, name: str) -> None:
        """Removes the record of an image, if it is there. The caller holds the lock of the images."""
        folder = os.path.join(self._store.path, IMAGES)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
            self.sync_names(folder)

    def sync(self, staged: Staged) -> None:
        """Writes all of a staged layer's files to disk, by one syncfs(2), before it is shown."""
        if self.durable:
            with translated("can't write the layer to disk", path=staged.path):
                fs.syncfs(staged.descriptor)

    def make_diff(self, staged: Staged, like: os.stat_result | None = None) -> None:
        """Makes the empty ``diff`` directory of a layer.

        :param like: status of the directory that it will replace, whose owner and mode it gets.
        """
        if like is None:
            make_directory(staged.child(DIFF), 0o755, self._root)
        else:
            make_directory(staged.child(DIFF), stat.S_IMODE(like.st_mode), (like.st_uid, like.st_gid))

    def make_work(self, staged: Staged) -> None:
        """Makes the empty ``work`` folder of a layer with a parent."""
        make_directory(staged.child(WORK), 0o700, self._root)

    def make_mount_point(self, layer: str) -> bool:
        """Makes the layer's ``merged`` directory; False if it exists already."""
        target = self._store.merged_dir(layer)
        try:
            if self._root == (os.geteuid(), os.getegid()):
                os.mkdir(target, 0o700)  # the umask does not matter, as a mount covers the directory
            else:
                make_directory(target, 0o700, self._root)
        except FileExistsError:
            return False
        return True

    def mend_mount_point(self, layer: str) -> None:
        """Gives a ``merged`` directory that was left over its owner and mode."""
        ensure_directory(self._store.merged_dir(layer), 0o700, self._root)

    def give_work_to_root(self, layer: str) -> None:
        """Gives overlayfs' own ``work/work`` to container root, which needs it to move a directory up from below."""
        if self._root != (os.geteuid(), os.getegid()):
            os.chown(self._store.at(layer, WORK, WORK), *self._root, follow_symlinks=False)

    def publish(self, staged: Staged, layer: str, link: str, parent: str = "") -> None:
        """Shows a staged layer under its id and marks its parent as one, by moby's empty file ``committed``.

        The caller holds the layer's and the home's lock.

        :raises LayerExists: the id is taken.
        """
        self.sync_names(staged.path)
        newly = parent and not self._store.committed(parent)
        try:
            if newly:
                self.commit(parent)
            self._show(staged, layer, link)
        except BaseException:
            if newly:
                with contextlib.suppress(OSError):
                    os.unlink(self._store.at(parent, COMMITTED))
            raise
        self.sync_names(self._store.path)

    def commit(self, layer: str) -> None:
        """Marks a layer as one that is not written to, by moby's empty file ``committed``."""
        descriptor = os.open(self._store.at(layer), fs.OPEN_DIRECTORY_NOFOLLOW)
        try:
            write_new(descriptor, COMMITTED, b"", 0o600, sync=False)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _show(self, staged: Staged, layer: str, link: str) -> None:
        links = os.path.join(self._store.path, LINK_DIR)
        os.symlink(os.path.join("..", layer, DIFF), os.path.join(links, link))
        self.sync_names(links)
        target = self._store.at(layer)
        try:
            fs.rename(staged.path, target, fs.RENAME_NOREPLACE)
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise LayerExists("it exists already", layer=layer, path=target) from error
            if error.errno != errno.EINVAL:
                raise
            # A file system without the flag; the locks keep the name free between the two lines.
            if os.path.lexists(target):
                raise LayerExists("it exists already", layer=layer, path=target) from error
            os.rename(staged.path, target)

    def exchange(self, staged: Staged, layer: str) -> None:
        """Puts a staged layer in the place of the one that has the id, which is deleted when the stage ends.

        The caller holds the layer's and the home's lock.

        :raises NotSupported: the file system can't exchange two names in one step.
        """
        target = self._store.at(layer)
        if self._store.committed(layer):
            write_new(staged.descriptor, COMMITTED, b"", 0o600, sync=False)
        self._link_foreign_files(staged, target)
        self.sync_names(staged.path)
        try:
            fs.rename(staged.path, target, fs.RENAME_EXCHANGE)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise NotSupported(
                    "the file system can't exchange two folders in one step (RENAME_EXCHANGE)",
                    layer=layer,
                    path=target,
                    remedy="Remove the layer and create it again with its content",
                ) from error
            raise
        self.sync_names(self._store.path)

    def _link_foreign_files(self, staged: Staged, target: str) -> None:
        """Hard-links files that other programs keep in the layer's directory into the staged layer."""
        for name in os.listdir(target):
            if name in _KNOWN:
                continue
            source = os.path.join(target, name)
            with translated(
                "the layer's folder holds a file that can't be kept while the layer is replaced", path=source
            ):
                self._second_name(source, staged.child(name))

    @staticmethod
    def _second_name(source: str, target: str) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EXDEV or not os.path.isfile(source):
                raise
            import shutil  # rare, and it loads every compressor there is

            # XFS refuses links into another project, and a layer with a quota has its own: copy the file instead.
            shutil.copyfile(source, target, follow_symlinks=False)
            info = os.lstat(source)
            os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
            shutil.copystat(source, target, follow_symlinks=False)

    def hide(self, layer: str) -> Hidden:
        """Removes a layer from its place by one rename, then its link. The caller holds its lock and the home's.

        :returns: the layer, whose files are to be deleted once the home's lock is released.
        """
        path = self._store.at(layer)
        hidden = Staged(self._new_path(), os.open(path, fs.OPEN_DIRECTORY_NOFOLLOW))
        try:
            flock(hidden.descriptor, fcntl.LOCK_EX, path)
            self._rename_away(path, hidden.path)
            self._drop_link(hidden.path)
            self.sync_names(self._store.path)
        except BaseException:
            unlock(hidden.descriptor)
            raise
        return Hidden(self, hidden)

    def _rename_away(self, path: str, hidden: str) -> None:
        """Renames a layer's directory into the staging directory. Mounts inside go along."""
        try:
            os.rename(path, hidden)
        except FileNotFoundError:
            self._make_staging()
            os.rename(path, hidden)
        except OSError as error:
            if error.errno != errno.EBUSY:  # it is itself a mount point
                raise
            unmount_below(os.path.realpath(path))
            os.rename(path, hidden)

    def remove_in_place(self, layer: str) -> None:
        """Removes a layer without hiding it first, in the home of an engine that does not know of hidden ones.

        Its files go last: what a kill leaves is still a layer, or an empty directory. The caller holds both locks.
        """
        path, links = self._store.at(layer), os.path.join(self._store.path, LINK_DIR)
        names = [name for name, leads_to in self._store.links().items() if leads_to == layer]
        for name in names:
            os.unlink(os.path.join(links, name))
        if names:
            sync_directory(links)
        with contextlib.nullcontext() if self._quota is None else self._quota.releasing(path):
            with os.scandir(path) as entries:
                others = [entry for entry in entries if entry.name != DIFF]
            for entry in others:
                (remove_tree if entry.is_dir(follow_symlinks=False) else os.unlink)(entry.path)
            remove_tree(path)
        sync_directory(self._store.path)

    def sweep(self) -> int:
        """Deletes what processes that are no longer alive left in the staging directory.

        :returns: how many directories were deleted.
        """
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return 0
        swept = 0
        for name in names:
            path = os.path.join(self.folder, name)
            try:
                descriptor = os.open(path, fs.OPEN_DIRECTORY_NOFOLLOW)
            except OSError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._discard(path)
                swept += 1
            except BlockingIOError:
                pass  # its maker is at work
            except OSError as error:
                log.warning("can't sweep the left-over %s: %s", path, error)
            finally:
                unlock(descriptor)
        if swept:
            log.info("swept %d unfinished layers out of %s", swept, self.folder)
        return swept

    def _discard(self, path: str) -> None:
        self._drop_link(path)
        self.delete(path)

    def delete(self, path: str) -> None:
        """Deletes a layer directory that is out of sight, and lifts the limit of its project."""
        with contextlib.nullcontext() if self._quota is None else self._quota.releasing(path):
            if not _remove_empty(path):
                remove_tree(path)

    def _drop_link(self, path: str) -> None:
        """Removes the link in ``l/`` of a layer directory that is out of sight.

        A link that another layer's ``link`` file names stays: an exchanged directory has its successor's link.
        """
        try:
            link = os.fsdecode(read_small(os.path.join(path, LINK)) or b"")
        except OSError:
            return
        if not link:
            return
        if not is_link_name(link):
            log.error("refusing to remove the link '%s' of %s", link, path)
            return
        symlink = os.path.join(self._store.path, LINK_DIR, link)
        try:
            owner = os.path.join(self._store.path, LINK_DIR, os.path.dirname(os.readlink(symlink)), LINK)
        except OSError:
            return
        with contextlib.suppress(OSError):
            if read_small(owner) == os.fsencode(link):
                return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(symlink)

    def sync_names(self, folder: str) -> None:
        """fsync(2) of a directory, if changes must survive a power cut."""
        if self.durable:
            sync_directory(folder)
