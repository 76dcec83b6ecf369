# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Maps user and group ids between a container and the host (Docker's ``idtools.IdentityMapping``)."""

from __future__ import annotations

from typing import NamedTuple, Sequence, Tuple

from .errors import OptionError, translated


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
    def empty(self) -> bool:
        """True if every id is mapped to itself."""
        return not self.uids and not self.gids

    @property
    def root(self) -> tuple[int, int]:
        """Host (uid, gid) of container root; 0, 0 for an empty map; moby's RootPair.

        :raises OptionError: the map does not contain id 0.
        """
        return _shift(0, self.uids, "uid", False), _shift(0, self.gids, "gid", False)

    def to_host(self, uid: int, gid: int) -> tuple[int, int]:
        """Returns the host's (uid, gid) for a container's; container root's host id is left unchanged; moby's ToHost.

        :raises OptionError: an id is outside every range.
        """
        root_uid, root_gid = self.root
        return (
            uid if uid == root_uid else _shift(uid, self.uids, "uid", False),
            gid if gid == root_gid else _shift(gid, self.gids, "gid", False),
        )

    def to_container(self, uid: int, gid: int) -> tuple[int, int]:
        """Returns the container's (uid, gid) for the host's.

        :raises OptionError: an id is outside every range.
        """
        return _shift(uid, self.uids, "uid", True), _shift(gid, self.gids, "gid", True)

    @classmethod
    def from_subid(cls, user: str, subuid: str = "/etc/subuid", subgid: str = "/etc/subgid") -> IdMap:
        """Returns the map that ``/etc/subuid`` and ``/etc/subgid`` grant a user.

        Ranges are placed end to end from container id 0 upwards, as by dockerd's ``userns-remap``.

        :param user: name or number.
        :raises OptionError: the user has no range in one of the files, or one cannot be read.
        """
        return cls(_read_subid(subuid, user), _read_subid(subgid, user))


#: Every id is mapped to itself.
IDENTITY = IdMap()


def _shift(value: int, ranges: Sequence[IdRange], kind: str, outward: bool) -> int:
    if not ranges:
        return value
    for entry in ranges:
        start, target = (entry.host, entry.container) if outward else (entry.container, entry.host)
        if start <= value < start + entry.size:
            return target + value - start
    raise OptionError(
        "%s %d is not in the id map" % (kind, value),
        remedy="Add a range that contains it to /etc/sub%s" % kind,
    )


def _read_subid(path: str, user: str) -> tuple[IdRange, ...]:
    ranges: list[IdRange] = []
    used = 0
    with translated("the subordinate ids can't be read", OptionError, path=path):
        with open(path, encoding="utf-8", errors="surrogateescape") as source:
            lines = source.read().splitlines()
    for line in lines:
        fields = line.strip().split(":")
        if len(fields) != 3 or fields[0] != str(user):
            continue
        if not (fields[1].isdecimal() and fields[2].isdecimal()):
            raise OptionError(
                "'%s' is not a range of subordinate ids" % line, path=path, remedy="Write user:first:count"
            )
        start, size = int(fields[1]), int(fields[2])
        ranges.append(IdRange(used, start, size))
        used += size
    if not ranges:
        raise OptionError(
            "no subordinate ids for user %s" % user, path=path, remedy="Add a line '%s:100000:65536'" % user
        )
    return tuple(ranges)
