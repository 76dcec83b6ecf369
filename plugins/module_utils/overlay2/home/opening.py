# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
# Behaviour after Docker's overlay2 graph driver (Apache-2.0, see LICENSES/Apache-2.0.txt).
"""Opens a home: detects features, makes its directories, sweeps left-overs; in moby's order. moby's Init.

The result is one record, :class:`Home`. Everything that works on a home takes it and builds nothing of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Callable, Iterable, Iterator, NamedTuple, Optional, Protocol, Tuple

from ..errors import (
    HomeNotFound,
    NotSupported,
    OptionError,
    Overlay2Error,
    QuotaNotSupported,
    ReadOnlyDriver,
    from_os_error,
    translated,
)
from ..idmap import IDENTITY, IdMap
from ..tree import scratch_folder
from . import features as feature_detection
from .directories import ensure_directory
from .features import Features
from .holders import Holders
from .layer import Layer, WatchedDirectories
from .layout import LINK_DIR
from .locks import RuntimeState
from .options import DriverOptions, parse_options
from .quota import QuotaControl
from .references import References
from .staging import Staging
from .store import GraphDriverStore

log = logging.getLogger("overlay2")


class Home(NamedTuple):
    """An opened home."""

    #: Absolute path of its directory.
    path: str
    options: DriverOptions
    id_map: IdMap
    #: Nothing in the home may be changed through this record.
    read_only: bool
    features: Features
    #: The only reader of the home.
    store: GraphDriverStore
    #: The only writer.
    staging: Staging
    #: Locks, and the place of what must not survive a reboot.
    runtime: RuntimeState
    #: The records of who holds which layer; ``references`` says how far the kernel agrees with them.
    holders: Holders
    references: References
    #: None without project quota.
    quota: Optional[QuotaControl]

    @property
    def root(self) -> Tuple[int, int]:
        """Host (uid, gid) of container root."""
        return self.id_map.root

    def require_writable(self) -> None:
        """Refuses a home that was opened for reading.

        :raises ReadOnlyDriver: it was.
        """
        if self.read_only:
            raise ReadOnlyDriver("this driver was opened for reading only", path=self.path)

    def layers(self, ids: Iterable[str] | None = None) -> Iterator[Layer]:
        """Yields the layers with their quota, sorted by id. Takes no lock; those that vanish meanwhile are left out.

        :param ids: only these; None for all.
        """
        for layer in self.store.layers(ids):
            yield layer if self.quota is None else self._with_quota(layer, self.quota)

    def layer(self, layer_id: str) -> Layer:
        """Returns a layer with its quota; ``problems`` says what is wrong with it.

        :raises LayerNotFound: no such layer.
        """
        layer = self.store.describe(layer_id, self.store.links())
        return layer if self.quota is None else self._with_quota(layer, self.quota)

    def _with_quota(self, layer: Layer, quota: QuotaControl) -> Layer:
        try:
            return layer._replace(quota=quota.get(self.store.at(layer.id)))
        except Overlay2Error as error:
            return layer._replace(problems=(*layer.problems, error.message))

    def watched_directories(self) -> WatchedDirectories:
        """Returns the directories to watch for changes of layers, links and holders, as with inotify(7)."""
        return WatchedDirectories(*self.store.watched(), self.runtime.holders_dir)


def looks_like_home(path: str) -> bool:
    """True if a directory has the marks of a home, in whatever format, even one without layers."""
    return not GraphDriverStore(path).problems()


class Opened(Protocol):
    """Has an opened home, as a driver does."""

    @property
    def opened(self) -> Home:
        """The home."""


def home_of(opened: Home | Opened) -> Home:
    """Returns the home that a function was given, itself or by a driver of it."""
    return opened if isinstance(opened, Home) else opened.opened


def open_home(
    path: str,
    options: Iterable[str] = (),
    id_map: IdMap | None = None,
    *,
    read_only: bool = False,
    probe: bool = True,
) -> Home:
    """Opens the home at ``path``, which is made if it is missing.

    :param options: driver options such as ``"overlay2.size=10G"``.
    :param id_map: None for no mapping.
    :param read_only: change nothing in the home, which must exist.
    :param probe: with ``read_only``: find features by trial mounts, away from the home; False: by looking alone.
    :raises OptionError: a bad option.
    :raises NotSupported: the host or the file system cannot hold layers, with the reason.
    :raises HomeNotFound: ``read_only``, and there is no home.
    :raises Overlay2Error: ``read_only``, and the home may not be read.
    """
    parsed = parse_options(options)
    if not path:
        raise OptionError("the path of the home is empty", remedy="Name the folder, such as /var/lib/overlay2")
    path = os.path.abspath(path)
    mapping = IDENTITY if id_map is None else id_map
    store = GraphDriverStore(path)
    if read_only:
        runtime = _existing(path)
        features, quota = _look(path, parsed, runtime, probe)
    else:
        with translated("can't prepare the home", NotSupported):
            features = _probe(store, mapping)
            ensure_directory(path, 0o710, (os.geteuid(), mapping.root[1]))
            ensure_directory(os.path.join(path, LINK_DIR), 0o700, (os.geteuid(), os.getegid()))
            features, quota = _with_quota(path, parsed, features, QuotaControl.open)
        runtime = RuntimeState(path)
    staging = Staging(store, quota, mapping.root, durable=parsed.sync == "full")
    if not read_only:
        with translated("can't prepare the home", NotSupported):
            staging.sweep()
    holders = Holders(runtime)
    references = References(store, holders)
    home = Home(path, parsed, mapping, read_only, features, store, staging, runtime, holders, references, quota)
    log.debug("%s: %s", path, features)
    return home


def _probe(store: GraphDriverStore, id_map: IdMap) -> Features:
    """Detects features by trial mounts in the home, where a sweep finds what a kill leaves.

    If they fail, directories that were made for them are removed.
    """
    staging = Staging(store, None, id_map.root, durable=False)
    made = [directory for directory in _with_parents(staging.folder) if not os.path.lexists(directory)]
    try:
        if not os.path.isdir(store.path):
            ensure_directory(store.path, 0o710, (os.geteuid(), id_map.root[1]))
        with staging.stage() as scratch:
            return feature_detection.probe(store.path, scratch.path)
    except (NotSupported, OSError):
        for directory in made:
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        raise


def _existing(path: str) -> RuntimeState:
    """Returns the runtime state of a home that must exist."""
    try:
        os.stat(os.path.join(path, ""))
        return RuntimeState(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise HomeNotFound(
            "there is no driver home", path=path, remedy="Check the path, or create a layer in it first"
        ) from error
    except OSError as error:
        raise from_os_error(Overlay2Error, "can't read the home", error, path=path) from error


def _look(
    path: str, options: DriverOptions, runtime: RuntimeState, trial_mounts: bool
) -> tuple[Features, QuotaControl | None]:
    """Detects features without writing to the home: by mounts in the runtime directory, or by looking alone."""
    with translated("can't read the home", path=path):
        if not trial_mounts:
            features = feature_detection.unprobed(path, "nothing is mounted for this reader")
        else:
            try:
                with scratch_folder(runtime.scratch(), "probe-") as scratch:
                    features = feature_detection.probe(path, scratch)
            except (NotSupported, OSError) as error:
                return feature_detection.unprobed(path, str(error)), None
        return _with_quota(path, options, features, QuotaControl.for_reading)


def _with_quota(
    path: str, options: DriverOptions, features: Features, open_quota: Callable[[str], QuotaControl]
) -> tuple[Features, QuotaControl | None]:
    """Returns the features with those of project quota, and its control; moby looks for it on XFS only.

    :raises NotSupported: ``overlay2.size`` is given and there is no project quota.
    """
    if features.backing_fs != "xfs":
        if options.size:
            raise NotSupported(
                "Storage Option overlay2.size only supported for backingFS XFS. Found %s" % features.backing_fs,
                path=path,
                remedy="Leave overlay2.size out, or put the home on XFS mounted with pquota",
            )
        reason = "only XFS has project quota, and this is %s" % features.backing_fs
        return features._replace(project_quota_reason=reason), None
    try:
        return features._replace(project_quota=True), open_quota(path)
    except QuotaNotSupported as error:
        if options.size:
            raise NotSupported(
                "Storage option overlay2.size not supported. Filesystem does not support Project Quota: %s"
                % error.message,
                path=path,
                remedy=error.remedy,
            ) from error
        return features._replace(project_quota_reason=error.message), None


def _with_parents(path: str) -> list[str]:
    """Returns ``path`` and all directories above it, innermost first."""
    found = [path]
    while os.path.dirname(path) != path:
        path = os.path.dirname(path)
        found.append(path)
    return found
