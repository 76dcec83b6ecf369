# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The same archives and the same changes in a containers/storage store and in a home of ours, both ways.

Where the two may differ, the difference is named, with its reason, in a function or table below or in peers, and
nothing else is let through.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from overlay2 import Driver
from peers import archives, containers_storage, diskfacts, material, tarfacts

pytestmark = [pytest.mark.root, pytest.mark.interop]

KINDS = {"MODIFY": 0, "ADD": 1, "DELETE": 2}
MODIFIED, ADDED, DELETED = range(3)

# containers/storage lists what the upper folder holds; this driver, as dockerd, lists what a compare of the two trees
# tells. So per change: what only it lists, and what only ours lists.
CHANGES_LISTED_OTHERWISE = {
    # An opaque folder is there deleted as a whole, and what is new in it added. Compared, the folder is still there.
    "replace": (
        {("/etc/link-to-folder", DELETED), ("/trees/opaque", DELETED), ("/trees/emptied", DELETED)},
        {
            ("/etc/link-to-folder", MODIFIED),
            ("/trees/opaque", MODIFIED),
            ("/trees/opaque/old", DELETED),
            ("/trees/emptied", MODIFIED),
            ("/trees/emptied/old", DELETED),
        },
    ),
    # Copied up by the new hard link to it; nothing that the compare looks at changed.
    "links": ({("/links/first", MODIFIED)}, set()),
    # A compare lists the folders that changed things lie in; there, one with its old mode and time is left out. And a
    # folder's time alone is no change in a compare.
    "metadata": ({("/trees/touched", MODIFIED)}, {("/caps", MODIFIED), ("/etc", MODIFIED), ("/trees", MODIFIED)}),
}


@pytest.fixture(scope="module")
def store():
    """A store (peers.containers_storage.Store) with the layer ``base``, and on it one layer per change, made there."""
    with containers_storage.store() as peer:
        material.base_archive(archive_of(peer, "base"), peer.folder)
        peer.create("base")
        peer.apply("base", archive_of(peer, "base"))
        for change, script in material.CHANGES.items():
            peer.create(change, "base")
            with peer.mounted(change) as root:
                run_change(script, root)
            with open(archive_of(peer, change), "wb") as target:
                target.write(peer.diff(change))
        yield peer


@pytest.fixture
def driver(store):
    """This driver on the store's home, forbidden to change it."""
    return Driver(store.home, read_only=True)


# --- its layers, read here --------------------------------------------------------------------------------------------


def test_layers_and_chains(store, driver):
    ours = {layer.id: layer for layer in driver.layers()}
    assert {layer.id: layer.parent for layer in ours.values()} == store.layers()
    assert {layer.id: layer.problems for layer in ours.values() if layer.problems} == {}
    assert ours["delete"].lower == ("base",)


@pytest.mark.parametrize("change", material.CHANGES)
def test_diff_of_its_layer(store, driver, change):
    with driver.diff(change, "base") as stream:
        ours = tarfacts.entries(stream)
    theirs = [as_ours(entry) for entry in tarfacts.entries(store.diff(change))]
    assert tarfacts.neutral(ours) == tarfacts.neutral(theirs)
    assert ours or change == "nothing"


def test_diff_of_its_base(store, driver):
    with driver.diff("base") as stream:
        ours = tarfacts.entries(stream)
    assert ours == [as_ours(entry) for entry in tarfacts.entries(store.diff("base"))]
    # With the archive's frame kept (tar-split), it gives back what was applied, bit for bit.
    assert ours == [as_ours(entry) for entry in tarfacts.entries(store.diff("base", own=False))]


def test_user_attributes_on_request(store, driver):
    """containers/storage always writes user.*; ours, as dockerd, writes security.capability unless asked for all."""
    with driver.diff("base", all_xattrs=True) as stream:
        ours = {member.name: tarfacts.xattrs(member) for _name, member in tarfacts.members(stream)}
    with driver.diff("base") as stream:
        plain = {name for _name, member in tarfacts.members(stream) for name in tarfacts.xattrs(member)}
    theirs = {member.name: tarfacts.xattrs(member) for _name, member in tarfacts.members(store.diff("base"))}
    assert ours["etc/mode"] == theirs["etc/mode"] == {"user.comment": b"not carried by a layer's tar"}
    assert plain == {"security.capability"}


@pytest.mark.parametrize("change", material.CHANGES)
def test_changes_of_its_layer(store, driver, change):
    ours, theirs = shown(driver.changes(change, "base")), changes_told(store, change)
    only_theirs, only_ours = CHANGES_LISTED_OTHERWISE.get(change, (set(), set()))
    assert theirs - ours == only_theirs
    assert ours - theirs == only_ours


def test_changes_of_its_base(store, driver):
    assert shown(driver.changes("base")) == set(store.changes("base"))


@pytest.mark.parametrize("change", ["base", *material.CHANGES])
def test_diff_size_of_its_layer(store, driver, change):
    assert driver.diff_size(change, "base" if change != "base" else "") == store.diff_size(change)


def test_reading_a_store_changes_nothing(store, driver):
    prints = diskfacts.fingerprint(store.home)
    for layer in driver.layers():
        driver.get_metadata(layer.id)
        driver.changes(layer.id, layer.parent)
        driver.diff_size(layer.id, layer.parent)
        with driver.diff(layer.id, layer.parent) as stream:
            stream.read()
    driver.status()
    assert diskfacts.fingerprint(store.home) == prints
    assert store.run("layers")


# --- one archive, applied by both -------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", material.CHANGES)
def test_its_diff_applied_by_both(store, home, change):
    """On disk, mounted, as a diff and as changes: the layer is the same."""
    driver, theirs = Driver(home), "applied-" + change
    store.create(theirs, "base")
    store.apply(theirs, archive_of(store, change))
    apply_chain(driver, archive_of(store, "base"), archive_of(store, change))
    listed = listed_folders(archive_of(store, change))

    first = diskfacts.applied(os.path.join(home, "top", "diff"), listed)
    second = diskfacts.applied(os.path.join(store.home, theirs, "diff"), listed)
    assert first[1:] == second[1:]
    with store.mounted(theirs) as second:
        first = driver.get("top")
        assert diskfacts.applied(first)[1:] == diskfacts.applied(second)[1:]
        driver.put("top")
    with driver.diff("top", "base") as stream:
        ours = tarfacts.entries(stream)
    theirs = [as_ours(entry) for entry in tarfacts.entries(store.diff(theirs))]
    assert tarfacts.neutral(ours) == tarfacts.neutral(theirs)
    as_it_was_made = Driver(store.home, read_only=True).changes(change, "base")
    assert driver.changes("top", "base") == as_it_was_made


@pytest.mark.parametrize("change", material.CHANGES)
def test_our_diff_applied_by_it(store, home, tmp_path, change):
    """The same change made through our mount; our diff of it in its store mounts as ours does."""
    driver, theirs, archive = Driver(home), "ours-" + change, str(tmp_path / "ours.tar")
    apply_chain(driver, archive_of(store, "base"))
    driver.create_read_write("top", "base")
    root = driver.get("top")
    run_change(material.CHANGES[change], root)
    with driver.diff("top", "base") as stream, open(archive, "wb") as target:
        shutil.copyfileobj(stream, target)
    store.create(theirs, "base")
    store.apply(theirs, archive)
    with store.mounted(theirs) as second:
        first, second = diskfacts.applied(root)[1:], diskfacts.applied(second)[1:]
    assert [as_carried(item) for item in first] == [as_carried(item) for item in second]
    driver.put("top")


@pytest.mark.parametrize("name", archives.ARCHIVES)
def test_archives_are_applied_as_it_applies_them(store, home, tmp_path, name):
    """What other programs write as layers: the folders that come of it are the same, and what is seen mounted too."""
    driver, archive, theirs = Driver(home), str(tmp_path / "layer.tar"), "odd-" + name
    archives.ARCHIVES[name](archive)
    listed = listed_folders(archive)
    store.create(theirs, "base")
    store.apply(theirs, archive)
    apply_chain(driver, archive_of(store, "base"), archive)
    first = diskfacts.applied(os.path.join(home, "top", "diff"), listed)
    second = diskfacts.applied(os.path.join(store.home, theirs, "diff"), listed)
    assert first[1:] == second[1:]
    assert first[0].xattrs == second[0].xattrs
    in_base = listed_folders(archive_of(store, "base"))
    with store.mounted(theirs) as second:
        first = driver.get("top")
        changed_here = {item.name for item in diskfacts.items(os.path.join(home, "top", "diff"))} - listed
        seen = (listed | in_base) - changed_here
        assert diskfacts.applied(first, seen)[1:] == diskfacts.applied(second, seen)[1:]
        driver.put("top")


def test_an_opaque_root_hides_what_is_below_and_with_it_nothing(store, home, tmp_path):
    """A difference on purpose: an image specification's deletion is not lost."""
    driver, archive = Driver(home), str(tmp_path / "layer.tar")
    archives.OPAQUE_ROOT(archive)
    store.create("opaque-root", "base")
    store.apply("opaque-root", archive)
    apply_chain(driver, archive_of(store, "base"), archive)
    with store.mounted("opaque-root") as theirs:
        assert {"only", "etc", "bin"} <= set(os.listdir(theirs))
    assert os.listdir(driver.get("top")) == ["only"]
    driver.put("top")


@pytest.mark.parametrize("name", archives.REFUSED_BY_PEERS)
def test_archives_that_it_refuses(store, home, tmp_path, name):
    """Taken here, so held against GNU tar, which unpacks them as a plain folder."""
    write, words = archives.REFUSED_BY_PEERS[name]
    archive, plain = str(tmp_path / "layer.tar"), str(tmp_path / "plain")
    write(archive)
    store.create("refused-" + name, "base")
    with pytest.raises(containers_storage.StorageError, match=words):
        store.apply("refused-" + name, archive)
    os.mkdir(plain)
    subprocess.run(["tar", "-C", plain, "--numeric-owner", "-xpf", archive], check=True)
    driver = Driver(home)
    apply_chain(driver, archive)
    listed = listed_folders(archive)
    assert diskfacts.applied(os.path.join(home, "base", "diff"), listed)[1:] == diskfacts.applied(plain, listed)[1:]


def test_empty_attribute(store, home, tmp_path):
    """Kept here, as by GNU tar; for Go, and so for dockerd and containers/storage, an empty record is none."""
    archive, plain = str(tmp_path / "layer.tar"), str(tmp_path / "plain")
    archives.empty_attribute(archive)
    store.create("empty-attribute", "base")
    store.apply("empty-attribute", archive)
    os.mkdir(plain)
    subprocess.run(["tar", "-C", plain, "--xattrs", "--xattrs-include=*", "-xf", archive], check=True)
    apply_chain(Driver(home), archive)
    folders = (os.path.join(home, "base", "diff"), plain, os.path.join(store.home, "empty-attribute", "diff"))
    ours, gnu, theirs = (os.listxattr(os.path.join(folder, "file")) for folder in folders)
    assert sorted(ours) == sorted(gnu) == ["user.empty", "user.one"]
    assert theirs == ["user.one"]


@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz", "zstd"])
def test_compressed_archives(store, home, tmp_path, program):
    archive, theirs = str(tmp_path / "layer.tar"), "by-" + program
    with open(archive, "wb") as target:
        subprocess.run([program, "-c", archive_of(store, "replace")], stdout=target, check=True)
    store.create(theirs, "base")
    store.apply(theirs, archive)
    apply_chain(Driver(home), archive_of(store, "base"), archive)
    first = diskfacts.applied(os.path.join(home, "top", "diff"))
    assert first[1:] == diskfacts.applied(os.path.join(store.home, theirs, "diff"))[1:]


# --- helpers ----------------------------------------------------------------------------------------------------------


def archive_of(store, layer):
    return os.path.join(store.folder, layer + ".tar")


def apply_chain(driver, base, top=None):
    """The layer ``base`` of one archive, and on it ``top`` of the other."""
    for layer, parent, archive in (("base", "", base), ("top", "base", top)):
        if archive:
            with open(archive, "rb") as stream:
                driver.create(layer, parent)
                driver.apply_diff(layer, parent, stream)


def run_change(script, root):
    """Make a change of peers.material in the tree `root`, with the shell and tools that containers make it with."""
    subprocess.run(["busybox", "sh", "-ec", script], cwd=root, check=True)


def listed_folders(archive):
    with open(archive, "rb") as stream:
        return {entry.name for entry in tarfacts.entries(stream) if entry.kind == "dir"}


# --- what may differ, and why -----------------------------------------------------------------------------------------


def as_ours(entry):
    """An entry of containers/storage's as this driver, and dockerd, write it.

    * it leaves a capability in version 3, which names the root of a user namespace;
    * it gives what hides something the mode of the whiteout on disk; dockerd writes 0600.
    """
    if tarfacts.whiteout_of(entry.name):
        entry = entry._replace(mode=0o600)
    return tarfacts.in_second_version(entry)


def as_carried(item):
    """An item of a tree as a diff of ours carries it: whole seconds, security.capability in version 2 and no other."""
    kept = tuple(
        (name, value[:3] + b"\x02" + value[4:20]) for name, value in item.xattrs if name == "security.capability"
    )
    # A file with many names is one inode only within a layer: below it, the names are files of their own.
    return item._replace(mtime=item.mtime // 10**9, xattrs=kept)


def shown(changes):
    """Our changes as JSON answers show them, a set of (path, number of the kind): what is not UTF-8 is replaced."""
    return {(os.fsencode(change.path).decode("utf-8", "replace"), KINDS[change.kind.name]) for change in changes}


def changes_told(store, layer):
    """The changes that containers-storage lists, and for the one it cannot list, those that were made.

    For a folder in place of a file it looks for what is in the folder below the file, and gives up (ENOTDIR).
    """
    try:
        return set(store.changes(layer))
    except containers_storage.StorageError as error:
        if layer != "file-to-folder" or "not a directory" not in str(error):
            raise
        return {("/etc", MODIFIED), ("/etc/to-folder", MODIFIED), ("/etc/to-folder/in", ADDED)}
