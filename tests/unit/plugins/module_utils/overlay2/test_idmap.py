# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Maps between a container's ids and the host's."""

from __future__ import annotations

import pytest
from overlay2.errors import OptionError
from overlay2.idmap import IDENTITY, IdMap, IdRange

MAP = IdMap((IdRange(0, 100000, 1000), IdRange(1000, 500, 1), IdRange(2000, 300000, 10)), (IdRange(0, 200000, 65536),))


def test_no_map_is_the_identity():
    assert IDENTITY.empty
    assert IDENTITY.root == (0, 0)
    assert IDENTITY.to_host(7, 4294967294) == (7, 4294967294)
    assert IDENTITY.to_container(7, 8) == (7, 8)
    assert not MAP.empty
    assert not IdMap(gids=(IdRange(0, 5, 1),)).empty


def test_root_is_the_host_id_of_container_root():
    assert MAP.root == (100000, 200000)
    assert IdMap(uids=(IdRange(0, 7, 1),)).root == (7, 0)


@pytest.mark.parametrize(
    ("container", "host"), [(0, 100000), (999, 100999), (1000, 500), (2000, 300000), (2009, 300009)]
)
def test_both_ways_within_ranges(container, host):
    assert MAP.to_host(container, 5) == (host, 200005)
    assert MAP.to_container(host, 200005) == (container, 5)


@pytest.mark.parametrize("uid", [1001, 1999, 2010, 65535])
def test_a_container_id_outside_every_range(uid):
    with pytest.raises(OptionError, match="uid %d is not in the id map.*/etc/subuid" % uid):
        MAP.to_host(uid, 0)


@pytest.mark.parametrize("gid", [0, 199999, 265536])
def test_a_host_id_outside_every_range(gid):
    with pytest.raises(OptionError, match="gid %d is not in the id map.*/etc/subgid" % gid):
        MAP.to_container(100000, gid)


def test_container_roots_own_host_ids_are_left_alone():
    assert MAP.to_host(100000, 200000) == (100000, 200000)


def test_a_map_without_root_has_no_root():
    with pytest.raises(OptionError, match="uid 0 is not in the id map"):
        IdMap(uids=(IdRange(1, 100000, 10),)).root  # noqa: B018


@pytest.fixture
def files(real_tmp):
    """A function that writes the two files and returns their paths."""

    def write(uids, gids):
        (real_tmp / "subuid").write_bytes(uids)
        (real_tmp / "subgid").write_bytes(gids)
        return str(real_tmp / "subuid"), str(real_tmp / "subgid")

    return write


def test_subordinate_ids_are_laid_end_to_end(files):
    paths = files(b"other:1:1\nme:100000:65536\n# comment\n\nme:500000:10\nmemory:7:7\n", b" me:9:2 \n")
    assert IdMap.from_subid("me", *paths) == IdMap(
        (IdRange(0, 100000, 65536), IdRange(65536, 500000, 10)), (IdRange(0, 9, 2),)
    )


@pytest.mark.parametrize("user", ["1000", 1000])
def test_subordinate_ids_of_a_number(files, user):
    assert IdMap.from_subid(user, *files(b"1000:5:6\n", b"1000:7:8\n")).root == (5, 7)


def test_a_name_that_is_no_utf8_does_no_harm(files):
    assert IdMap.from_subid("me", *files(b"\xff\xfe:1:1\nme:2:3\n", b"me:4:5")).root == (2, 4)


@pytest.mark.parametrize("gids", [b"", b"you:1:1\n", b"me:1\n", b"me:1:1:1\n"])
def test_a_user_without_subordinate_ids(files, gids):
    with pytest.raises(OptionError, match=r"no subordinate ids for user me.*me:100000:65536") as refused:
        IdMap.from_subid("me", *files(b"me:1:1\n", gids))
    assert refused.value.path.endswith("subgid")


@pytest.mark.parametrize("line", [b"me:abc:1", b"me:1:", b"me:-1:5", b"me:1:-5", b"me:1.5:1"])
def test_a_line_that_is_no_range(files, line):
    with pytest.raises(OptionError, match="'%s' is not a range of subordinate ids" % line.decode()):
        IdMap.from_subid("me", *files(line, b"me:1:1\n"))


def test_files_that_are_not_there(real_tmp):
    with pytest.raises(OptionError, match="the subordinate ids can't be read: No such file"):
        IdMap.from_subid("me", str(real_tmp / "none"), str(real_tmp / "none"))
