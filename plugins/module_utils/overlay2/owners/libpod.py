# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Podman's own database, read for one thing: which run root belongs to which graph root.

Podman writes both into its database when it makes it, and refuses to work with others afterwards (libpod,
sqlite_state.go: table ``DBConfig`` of ``db.sql``; boltdb_state.go: bucket ``runtime-config`` of ``bolt_state.db``). The
database lies in the graph root or its folder ``libpod``; that of a transient store lies in the run root.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple
from urllib.parse import quote

from . import bolt
from .files import Unreadable

_SQLITE = (os.path.join("libpod", "db.sql"), "db.sql")
_BOLT = (os.path.join("libpod", "bolt_state.db"), "bolt_state.db")
#: Virtual machine instructions after which a query of one row is given up: the database may have been made to loop.
_STEPS = 1_000_000


class Roots(NamedTuple):
    """The folders that a database belongs to, as Podman wrote them; "" where it left the default to be understood."""

    graph: str
    run: str
    #: The database.
    path: str


def databases(folder: str) -> list[str]:
    """Paths of Podman's databases in a graph root or a run root."""
    return [path for name in _SQLITE + _BOLT for path in [os.path.join(folder, name)] if os.path.lexists(path)]


def roots(path: str) -> Roots | None:
    """The folders that a database names; None if it was not completed yet.

    :raises Unreadable: it is damaged, or may not be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable(path, "is not a regular file")
        found = _of_sqlite(path) if path.endswith(".sql") else bolt.read(path, _of_bolt)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(path, "can't be read: %s" % error.strerror) from error
    except bolt.BoltError as error:
        raise Unreadable(path, str(error)) from error
    return Roots(found[0], found[1], path) if found else None


def _of_sqlite(path: str) -> tuple[str, str] | None:
    """Nothing is locked (``immutable``): the row is written once and never changed, so a writer does no harm."""
    try:
        import sqlite3
    except ImportError as error:
        raise Unreadable(path, "can't be read: this Python has no sqlite3") from error
    address = "file:%s?mode=ro&immutable=1" % quote(os.fsencode(os.path.abspath(path)))
    try:
        database = sqlite3.connect(address, uri=True)
        try:
            database.set_progress_handler(lambda: 1, _STEPS)
            tables = database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'DBConfig'")
            row = tables.fetchone() and database.execute("SELECT GraphRoot, RunRoot FROM DBConfig").fetchone()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise Unreadable(path, "can't be read: %s" % error) from error
    if row and not all(isinstance(each, str) for each in row):
        raise Unreadable(path, "holds something else than is expected")
    return row or None


def _of_bolt(root: bolt.Bucket) -> tuple[str, str] | None:
    configuration = root.get(b"runtime-config")
    if not isinstance(configuration, bolt.Bucket):
        return None
    graph, run = configuration.get(b"graph-root"), configuration.get(b"run-root")
    return (os.fsdecode(graph), os.fsdecode(run)) if isinstance(graph, bytes) and isinstance(run, bytes) else None
