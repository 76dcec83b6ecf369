# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What a driver tells of itself and of a layer's folders: status, get_metadata, exists."""

from __future__ import annotations

import os
import subprocess

import pytest
from overlay2 import Driver
from overlay2.errors import InvalidLayerId, LayerDamaged, LayerNotFound
from overlay2.linux import kernel
from support import chains, host, overlay_module

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")

FAST = ["overlay2.sync=none"]


def yes(value):
    return "true" if value else "false"


@pytest.fixture
def driver(tmpfs_home):
    return Driver(tmpfs_home, FAST)


# status


@pytest.mark.parametrize(("fixture", "name"), [("home", ""), ("tmpfs_home", "tmpfs"), ("xfs_home", "xfs")])
def test_status_starts_as_dockers_does(request, fixture, name):
    home = request.getfixturevalue(fixture)
    kind = name or host.filesystem_type(home).replace("ext4", "extfs")
    assert Driver(home, FAST).status()[:5] == [
        ("Backing Filesystem", kind),
        ("Supports d_type", "true"),
        ("Using metacopy", "false"),
        ("Native Overlay Diff", "true"),
        ("userxattr", yes(host.in_user_namespace())),
    ]


def test_status_goes_on_with_what_is_ours(driver):
    assert driver.status()[5:] == [
        ("Project Quota", "false"),
        ("Mount API (lowerdir+)", yes(kernel.release() >= (6, 8))),
        ("User Namespace", yes(host.in_user_namespace())),
        ("Sync", "none"),
        ("Kernel", "%d.%d" % kernel.release()),
    ]
    assert all(text.__class__ is str for pair in driver.status() for text in pair)


def test_status_tells_the_sync_option(tmpfs_home):
    assert dict(Driver(tmpfs_home).status())["Sync"] == "full"


@pytest.mark.root
@pytest.mark.parametrize(("parameter", "metacopy"), [("redirect_dir", "false"), ("metacopy", "true")])
def test_status_where_diffs_are_naive(tmpfs_home, parameter, metacopy):
    with overlay_module.parameter(parameter, "Y"):
        told = dict(Driver(tmpfs_home, FAST).status())
    assert (told["Native Overlay Diff"], told["Using metacopy"]) == ("false", metacopy)
    assert dict(Driver(tmpfs_home, FAST).status())["Native Overlay Diff"] == "true"


@pytest.mark.root
def test_status_of_a_home_on_a_file_system_without_attributes(real_tmp):
    subprocess.run(["mount", "-t", "ramfs", "ramfs", real_tmp], check=True)
    told = Driver(str(real_tmp), FAST).status()
    assert told[:4] == [
        ("Backing Filesystem", "ramfs"),
        ("Supports d_type", "true"),
        ("Using metacopy", "false"),
        ("Native Overlay Diff", "false"),
    ]


# get_metadata


def test_metadata_of_a_layer_without_parent(driver):
    driver.create("base")
    home = driver.home
    assert driver.get_metadata("base") == {
        "WorkDir": home + "/base/work", "MergedDir": home + "/base/merged", "UpperDir": home + "/base/diff",
    }  # fmt: skip


def test_metadata_of_a_chain_names_the_lower_folders_uppermost_first(driver):
    driver.create("one")
    driver.create("two", "one")
    driver.create_read_write("top", "two")
    home = driver.home
    assert driver.get_metadata("two")["LowerDir"] == home + "/one/diff"
    assert driver.get_metadata("top") == {
        "WorkDir": home + "/top/work", "MergedDir": home + "/top/merged", "UpperDir": home + "/top/diff",
        "LowerDir": "%s/two/diff:%s/one/diff" % (home, home),
    }  # fmt: skip


def test_metadata_is_of_the_folders_that_are_mounted(driver):
    driver.create("base")
    driver.create_read_write("top", "base")
    told = driver.get_metadata("top")
    assert driver.get("top") == told["MergedDir"]
    assert driver.get_metadata("top") == told
    os.mkdir(told["MergedDir"] + "/new")
    assert os.listdir(told["UpperDir"]) == ["new"]
    assert os.listdir(told["WorkDir"]) == ["work"]
    driver.put("top")


def test_metadata_of_128_lower_layers(tmpfs_home):
    chain = chains.make(tmpfs_home, 128)
    lowers = Driver(tmpfs_home, FAST).get_metadata(chain.layer)["LowerDir"].split(":")
    assert lowers == [os.path.join(tmpfs_home, str(number), "diff") for number in reversed(range(128))]


@pytest.mark.parametrize("name", ["none", "diff", "x" * 255])
def test_metadata_of_no_layer(driver, name):
    with pytest.raises(LayerNotFound, match="no such layer") as refused:
        driver.get_metadata(name)
    assert (refused.value.layer, refused.value.path) == (name, os.path.join(driver.home, name))
    assert refused.value.remedy


@pytest.mark.parametrize("name", ["", ".", "..", "l", ".staging", "a/b", "../home"])
def test_metadata_of_what_can_be_no_layer(driver, name):
    with pytest.raises(InvalidLayerId):
        driver.get_metadata(name)


@pytest.mark.parametrize("damage", ["link", "empty", "garbled"])
def test_metadata_of_a_broken_chain(tmpfs_home, damage):
    chain = chains.make(tmpfs_home, 3)
    driver = Driver(tmpfs_home, FAST)
    if damage == "link":
        os.unlink(os.path.join(tmpfs_home, chain.links[1]))
    else:
        with open(chain.path("lower"), "w", encoding="ascii") as file:
            file.write("" if damage == "empty" else "/etc:l/../..")
    with pytest.raises(LayerDamaged) as refused:
        driver.get_metadata(chain.layer)
    assert refused.value.layer == chain.layer
    assert refused.value.path == os.path.join(tmpfs_home, chain.links[1] if damage == "link" else "top/lower")
    assert refused.value.remedy
    # The lower layers are sound, but for the middle one where its own chain is broken too.
    assert "LowerDir" not in driver.get_metadata("0")
    assert driver.get_metadata("1")["LowerDir"] == tmpfs_home + "/0/diff"


def test_a_link_that_another_program_wrote_with_more_steps(tmpfs_home):
    """The path is cleaned, as Docker does it."""
    chain = chains.make(tmpfs_home, 1)
    link = os.path.join(tmpfs_home, chain.links[0])
    os.unlink(link)
    os.symlink("../l/.././0/diff/", link)
    driver = Driver(tmpfs_home, FAST)
    assert driver.get_metadata(chain.layer)["LowerDir"] == tmpfs_home + "/0/diff"


# exists


def test_exists(driver):
    driver.create("base")
    assert driver.exists("base") is True
    assert driver.exists("none") is False
    driver.remove("base")
    assert driver.exists("base") is False


def test_a_folder_exists_whatever_is_in_it(driver):
    """Docker asks for the folder alone, and so a damaged layer can be seen and removed."""
    os.mkdir(os.path.join(driver.home, "half"))
    assert driver.exists("half") is True


@pytest.mark.parametrize(
    "name", ["", ".", "..", "l", ".staging", "backingFsBlockDev", "base/diff", "/", "\0", "x" * 300, None, 7]
)
def test_what_can_be_no_layer_does_not_exist(driver, name):
    driver.create("base")
    assert driver.exists(name) is False
