# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""The configuration of containers/storage, and the folders that it, running engines and Podman's databases name.

After containers/storage's types/options.go and pkg/homedir: files of the vendor, the administrator and each user, and
one that the environment names. A few keys are searched for, as Python has no TOML parser before 3.11.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
from typing import Dict, Iterator, List, NamedTuple, Tuple

from . import libpod
from .files import Unreadable, content_of

_SYSTEM = (
    "/usr/share/containers/storage.conf", "/usr/share/containers/storage.conf.d/*.conf",
    "/usr/share/containers/storage.rootful.conf.d/*.conf", "/usr/share/containers/storage.rootless.conf.d/*.conf",
    "/etc/containers/storage.conf", "/etc/containers/storage.conf.d/*.conf",
    "/etc/containers/storage.rootful.conf.d/*.conf", "/etc/containers/storage.rootless.conf.d/*.conf",
    "/etc/crio/crio.conf", "/etc/crio/crio.conf.d/*",
)  # fmt: skip
_DEFAULT_GRAPH_ROOT, _DEFAULT_RUN_ROOT = "/var/lib/containers/storage", "/run/containers/storage"
#: Where a user's run root is without ``XDG_RUNTIME_DIR``, in the versions of the last years.
_USER_RUN_ROOTS = (
    "/run/user/%d/containers", "/tmp/storage-run-%d/containers", "/tmp/podman-run-%d/containers",
    "/tmp/containers-user-%d/containers", "/tmp/run-%d/containers",
)  # fmt: skip
_KEY = re.compile(rb"""^\s*(\w+)\s*=\s*(?:"([^"\n]*)"|'([^'\n]*)')""", re.MULTILINE)
_OTHER_STORES = re.compile(rb"^\s*additionalimagestores\s*=\s*\[([^\]]*)\]", re.MULTILINE)
_QUOTED = re.compile(rb"""["']([^"']+)["']""")
#: Programs that work in a store, and those that wait for its containers to end.
_PROGRAMS = frozenset((b"podman", b"buildah", b"crio", b"conmon", b"conmonrs", b"skopeo"))


class Configuration(NamedTuple):
    """The keys of one file, "" for a missing one."""

    graph_root: str
    run_root: str
    #: Stores that layers may stand on: ``imagestore`` and ``additionalimagestores``.
    other_stores: Tuple[str, ...]


class RunRoot(NamedTuple):
    """A folder in which a transient store may keep the records of its containers."""

    path: str
    #: A database or a configuration names it together with the graph root.
    is_ours: bool


class _Process(NamedTuple):
    """A process that may work in a store."""

    arguments: List[bytes]
    environment: Dict[bytes, bytes]


def _configurations(root: str, processes: list[_Process]) -> list[Configuration]:
    """Returns the configuration files that may apply to a graph root."""
    files = [path for pattern in _SYSTEM for path in sorted(glob.glob(pattern))]
    for user in _users(root):
        files.append(os.path.join(user.pw_dir, ".config", "containers", "storage.conf"))
    for process in processes:
        files.append(os.fsdecode(process.environment.get(b"CONTAINERS_STORAGE_CONF", b"")))
        home = os.fsdecode(process.environment.get(b"XDG_CONFIG_HOME", b""))
        files.append(os.path.join(home, "containers", "storage.conf") if home else "")
    found = []
    for path in dict.fromkeys(filter(None, files)):
        try:
            found.append(_parsed(content_of(path) or b"", root))
        except Unreadable:
            continue
    return found


def other_stores(root: str) -> list[str]:
    """Graph roots of the stores that layers of a store may stand on."""
    processes = _processes(root)
    found = [store for each in _configurations(root, processes) for store in each.other_stores]
    return list(dict.fromkeys(found + [store for each in processes for store in _values(each, "--imagestore")]))


def run_roots(root: str, driver: str) -> tuple[list[RunRoot], list[Unreadable]]:
    """The folders in which the records of a store's containers may be, and the databases that can't be read.

    One that belongs to another store is not left out: it does no harm, as it names no layer of this one.

    :param root: the graph root.
    :param driver: the storage driver's name, which files and folders begin with.
    """
    found: dict[str, bool] = {}
    failed: list[Unreadable] = []
    processes = _processes(root)

    def add(path: str, is_ours: bool = False) -> None:
        if path:
            found[path] = found.get(path, False) or is_ours

    add(_DEFAULT_RUN_ROOT, root == _DEFAULT_GRAPH_ROOT)
    for user in _users(root):
        for pattern in _USER_RUN_ROOTS:
            add(pattern % user.pw_uid)
        add(os.path.join(user.pw_dir, "rundir", "containers"))
    for pattern in ("/run/*/%s-containers", "/run/*/*/%s-containers", "/run/user/*/*/%s-containers"):
        for path in glob.glob(pattern % glob.escape(driver)):
            add(os.path.dirname(path))
    for each in _configurations(root, processes):
        add(each.run_root, bool(each.run_root) and _same(each.graph_root, root))
    for process in processes:
        for path in _named_by(process, driver):
            add(path)
    for path in libpod.databases(root):
        try:
            named = libpod.roots(path)
        except Unreadable as error:
            failed.append(error)
        else:
            add(named.run if named else "", True)
    for path in found:
        found[path] = found[path] or _has_database_of(path, root)
    return [RunRoot(path, is_ours) for path, is_ours in found.items() if not _same(path, root)], failed


def _has_database_of(run_root: str, root: str) -> bool:
    """Whether a run root holds the database of a transient store with this graph root."""
    for path in libpod.databases(run_root):
        try:
            named = libpod.roots(path)
        except Unreadable:
            continue
        if named and _same(named.graph, root):
            return True
    return False


def _same(first: str, second: str) -> bool:
    return bool(first) and os.path.realpath(first) == os.path.realpath(second)


def _users(root: str) -> list[pwd.struct_passwd]:
    """The users who may have configured a store: its owner, root, and who asks."""
    ids = [0, os.getuid()]
    try:
        ids.append(os.stat(root).st_uid)
    except OSError:
        pass
    found = []
    for id in dict.fromkeys(ids):
        try:
            found.append(pwd.getpwuid(id))
        except KeyError:
            continue
    return found


def _parsed(content: bytes, root: str) -> Configuration:
    keys = {key: double or single for key, double, single in _KEY.findall(content)}
    stores = [store for listed in _OTHER_STORES.findall(content) for store in _QUOTED.findall(listed)]
    graph_root = keys.get(b"graphroot") or keys.get(b"rootless_storage_path") or keys.get(b"root", b"")
    stores += [keys[b"imagestore"]] if keys.get(b"imagestore") else []
    return Configuration(
        _expanded(graph_root, root),
        _expanded(keys.get(b"runroot", b""), root),
        tuple(_expanded(store, root) for store in stores),
    )


def _expanded(path: bytes, root: str) -> str:
    """A path with the variables that a user's file may have in it: those of the store's owner."""
    text = os.fsdecode(path)
    if "$" in text:
        owner = _users(root)[-1:]
        for name, value in [("UID", "%d" % each.pw_uid) for each in owner] + [("HOME", each.pw_dir) for each in owner]:
            text = text.replace("${%s}" % name, value).replace("$" + name, value)
    return os.path.expandvars(text)


def _processes(root: str) -> list[_Process]:
    """This process, and those of root, of its user and of the store's owner that are engines or work for one."""
    found = [_Process([], dict(os.environb))]
    allowed = {user.pw_uid for user in _users(root)}
    for process in filter(str.isdigit, os.listdir("/proc")):
        folder = os.path.join("/proc", process)
        try:
            if os.stat(folder).st_uid not in allowed:
                continue
            with open(os.path.join(folder, "cmdline"), "rb") as source:
                arguments = source.read().split(b"\0")
            if os.path.basename(arguments[0]) not in _PROGRAMS:
                continue
            with open(os.path.join(folder, "environ"), "rb") as source:
                pairs = [line.partition(b"=") for line in source.read().split(b"\0")]
        except OSError:
            continue
        found.append(_Process(arguments, {key: value for key, _equals, value in pairs}))
    return found


def _values(process: _Process, option: str) -> Iterator[str]:
    """The values that a process was given for an option; conmon has those of Podman's clean-up command."""
    arguments = [os.fsdecode(each) for each in process.arguments if each != b"--exit-command-arg"]
    for argument, following in zip(arguments, [*arguments[1:], ""]):
        if argument == option and following:
            yield following
        elif argument.startswith(option + "="):
            yield argument[len(option) + 1 :]


def _named_by(process: _Process, driver: str) -> Iterator[str]:
    """The run roots that a process was started with, or has files in."""
    yield from _values(process, "--runroot")
    inside = os.fsencode("/%s-containers/" % driver)
    for argument in process.arguments:
        if argument.startswith(b"/") and inside in argument:
            yield os.fsdecode(argument.partition(inside)[0])
    runtime = process.environment.get(b"XDG_RUNTIME_DIR")
    if runtime:
        yield os.path.join(os.fsdecode(runtime), "containers")
