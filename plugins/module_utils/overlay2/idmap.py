# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Identity mapping between a container's ids and the host's (Docker's ``idtools.IdentityMapping``)."""

from __future__ import annotations

from typing import NamedTuple, Tuple

from .errors import OptionError, from_os_error


class IdRange(NamedTuple):
    """``size`` consecutive ids: ``container`` + n inside is ``host`` + n outside."""

    container: int
    host: int
    size: int


class IdMap(NamedTuple):
    """The uid and gid ranges of a user namespace. An empty map is the identity."""

    uids: Tuple[IdRange, ...] = ()
    gids: Tuple[IdRange, ...] = ()

    @property
    def empty(self):
        """True where every id stands for itself (bool)."""
        return not self.uids and not self.gids

    @property
    def root(self):
        """Host (uid, gid) of container root; 0, 0 for an empty map (the seed's RootPair).

        :raises OptionError: the map has no place for id 0.
        """
        return _shift(0, self.uids, "uid", False), _shift(0, self.gids, "gid", False)

    def to_host(self, uid, gid):
        """Host (uid, gid) of a container's pair. An id that already is container root's host id stays (moby's ToHost).

        :raises OptionError: an id is outside every range.
        """
        root_uid, root_gid = self.root
        return (
            uid if uid == root_uid else _shift(uid, self.uids, "uid", False),
            gid if gid == root_gid else _shift(gid, self.gids, "gid", False),
        )

    def to_container(self, uid, gid):
        """Container (uid, gid) of a host pair.

        :raises OptionError: an id is outside every range.
        """
        return _shift(uid, self.uids, "uid", True), _shift(gid, self.gids, "gid", True)

    @classmethod
    def from_subid(cls, user, subuid="/etc/subuid", subgid="/etc/subgid"):
        """The map that ``/etc/subuid`` and ``/etc/subgid`` grant a user (name or number, as text).

        Ranges are laid end to end from container id 0 upwards, as dockerd's ``userns-remap`` does.

        :raises OptionError: the user has no range in one of the files, or it can't be read.
        """
        return cls(_read_subid(subuid, user), _read_subid(subgid, user))


#: Every id stands for itself.
IDENTITY = IdMap()


def _shift(value, ranges, what, outward):
    if not ranges:
        return value
    for entry in ranges:
        start, target = (entry.host, entry.container) if outward else (entry.container, entry.host)
        if start <= value < start + entry.size:
            return target + value - start
    raise OptionError(
        "%s %d has no place in the id map" % (what, value),
        remedy="Add a range that covers it to /etc/sub%s" % what,
    )


def _read_subid(path, user):
    ranges, used = [], 0
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as source:
            lines = source.read().splitlines()
    except OSError as error:
        raise from_os_error(OptionError, "the subordinate ids can't be read", error, path=path) from error
    for line in lines:
        fields = line.strip().split(":")
        if len(fields) != 3 or fields[0] != str(user):
            continue
        if not (fields[1].isdecimal() and fields[2].isdecimal()):
            raise OptionError("'%s' is no range of subordinate ids" % line, path=path, remedy="Write user:first:count")
        start, size = int(fields[1]), int(fields[2])
        ranges.append(IdRange(used, start, size))
        used += size
    if not ranges:
        raise OptionError(
            "no subordinate ids for user %s" % user, path=path, remedy="Add a line '%s:100000:65536'" % user
        )
    return tuple(ranges)
