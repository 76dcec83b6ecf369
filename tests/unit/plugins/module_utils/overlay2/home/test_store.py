# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The store as it lies on disk: ids, links, lower chains, records, and layers that something has damaged."""

from __future__ import annotations

import contextlib
import io
import os
import shutil

import pytest
from overlay2 import Driver
from overlay2.errors import (
    DepthExceeded,
    InvalidLayerId,
    LayerDamaged,
    LayerInUse,
    LayerNotFound,
    MountError,
    OptionError,
    Overlay2Error,
)
from overlay2.home.layout import MAX_DEPTH, LayerRecord
from overlay2.home.opening import looks_like_home
from overlay2.home.store import GraphDriverStore
from support import homes, host, trees

NO_IDS = ["", ".", "..", "l", ".staging", "backingFsBlockDev", "a/b", "/a", "a/", "../a", "a\0b", "x" * 256,
          "ö" * 128, "\ud800", None, 7, b"bytes"]  # fmt: skip

ODD_IDS = ["x" * 255, "-x", ".hidden", "a b", "ünï", "a:b", "a,b", "a\\b", "a\nb", "\udcff\udcfe", "merged", "diff",
           "link", "~", "l.", "%s", "id'\"$(x)"]  # fmt: skip

CALLS = {
    "create": lambda driver, id: driver.create(id),
    "create_read_write": lambda driver, id: driver.create_read_write(id),
    "create with that parent": lambda driver, id: driver.create("new", id),
    "apply_diff": lambda driver, id: driver.apply_diff(id, "", io.BytesIO(trees.archive({"f": b""}))),
    "apply_diff with that parent": lambda driver, id: driver.apply_diff("base", id, trees.stream({})),
    "remove": lambda driver, id: driver.remove(id),
    "get": lambda driver, id: driver.get(id),
    "put": lambda driver, id: driver.put(id),
    "put_all": lambda driver, id: driver.put_all(id),
    "holders": lambda driver, id: driver.holders(id),
    "mounted": lambda driver, id: driver.mounted(id),
    "children": lambda driver, id: driver.children(id),
    "layer": lambda driver, id: driver.layer(id),
    "get_metadata": lambda driver, id: driver.get_metadata(id),
    "diff": lambda driver, id: driver.diff(id),
    "diff with that parent": lambda driver, id: driver.diff("base", id),
    "diff_size": lambda driver, id: driver.diff_size(id),
    "changes": lambda driver, id: driver.changes(id),
    "changes with that parent": lambda driver, id: driver.changes("base", id),
    "set_quota": lambda driver, id: driver.set_quota(id, 1 << 20),
}
WITH_PARENT = [call for call in CALLS if "parent" in call]


@pytest.fixture
def driver(home):
    """A driver that does not wait for the disk, with the layer `base`."""
    made = Driver(home, ["overlay2.sync=none"])
    made.create("base")
    return made


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_every_call_refuses_what_is_no_folder_name_and_touches_nothing(driver, run_root, call):
    before = trees.inode_facts(driver.home), trees.paths_below(run_root)
    for id in NO_IDS:
        if call in WITH_PARENT and not id:
            continue  # there it means "none"
        with pytest.raises(InvalidLayerId):
            CALLS[call](driver, id)
    assert (trees.inode_facts(driver.home), trees.paths_below(run_root)) == before


@pytest.mark.parametrize("id", NO_IDS)
def test_what_is_no_folder_name_does_not_exist(driver, id):
    assert driver.exists(id) is False


def test_a_refused_id_is_an_option_error_with_a_printable_message(driver):
    for id in NO_IDS:
        with pytest.raises(OptionError) as refused:
            driver.remove(id)
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize("id", ODD_IDS)
def test_any_folder_name_is_an_id(driver, id):
    driver.create(id, "base", diff=trees.stream({"below": b"1"}))
    driver.create_read_write("top", id)
    for layer in (id, "top"):
        merged = driver.get(layer, holder="web")
        assert os.listdir(merged) == ["below"]
        assert driver.holders(layer) == {"web": 1}
        driver.put(layer, holder="web")
        assert not driver.mounted(layer)
    assert [change.path for change in driver.changes(id, "base")] == ["/below"]
    assert driver.layer("top").parent == id
    assert driver.children(id) == ["top"]
    assert driver.get_metadata("top")["LowerDir"] == f"{driver.home}/{id}/diff:{driver.home}/base/diff"
    driver.remove("top")
    driver.remove(id)
    assert homes.layer_names(driver.home) == ["base"]
    assert homes.flaws(driver.home) == []


def test_calls_say_that_a_layer_is_missing(driver):
    missing_ok = ("remove", "put", "put_all", "holders", "mounted", "children", "create", "create_read_write",
                  "apply_diff with that parent")  # fmt: skip
    for name, call in CALLS.items():
        if name in missing_ok or (name == "set_quota" and not driver.features.project_quota):
            continue
        with pytest.raises(LayerNotFound) as refused:
            call(driver, "nowhere")
        assert refused.value.layer == "nowhere", name
        assert refused.value.remedy, name
    assert homes.layer_names(driver.home) == ["base"]


# --- links and chains -------------------------------------------------------------------------------------------------


def test_a_layer_without_parent_has_a_link_and_a_diff_and_no_more(driver):
    names = set(os.listdir(os.path.join(driver.home, "base")))
    assert names == {"diff", "link", "strata.json"}
    link = homes.content_of(driver.home, "base", "link")
    assert homes.LINK_NAME.fullmatch(link)
    assert os.readlink(os.path.join(driver.home, "l", link)) == "../base/diff"
    assert os.listdir(os.path.join(driver.home, "l")) == [link]


def test_link_ids_differ(driver):
    for number in range(30):
        driver.create("n%d" % number)
    links = {homes.content_of(driver.home, name, "link") for name in homes.layer_names(driver.home)}
    assert len(links) == 31
    # 5 bits a character: each position takes many values
    assert all(len({link[position] for link in links}) > 5 for position in range(26))


def test_a_lower_file_lists_the_chain_uppermost_first(driver):
    driver.create("middle", "base")
    driver.create_read_write("top", "middle")
    link = {name: "l/" + homes.content_of(driver.home, name, "link") for name in ("base", "middle", "top")}
    assert homes.content_of(driver.home, "middle", "lower") == link["base"]
    assert homes.content_of(driver.home, "top", "lower") == link["middle"] + ":" + link["base"]
    assert set(os.listdir(os.path.join(driver.home, "top"))) == {"diff", "link", "lower", "work", "strata.json"}
    assert driver.get_metadata("top") == {
        "UpperDir": driver.home + "/top/diff",
        "WorkDir": driver.home + "/top/work",
        "MergedDir": driver.home + "/top/merged",
        "LowerDir": driver.home + "/middle/diff:" + driver.home + "/base/diff",
    }
    assert "LowerDir" not in driver.get_metadata("base")


def test_the_direct_parent_is_told_from_the_rest(driver):
    driver.create("middle", "base")
    driver.create("top", "middle")
    store = GraphDriverStore(driver.home)
    direct = {(layer, parent) for layer in ("base", "middle", "top") for parent in ("", "base", "middle", "top", "gone")
              if store.is_parent(store.files(layer), parent)}  # fmt: skip
    assert direct == {("base", ""), ("middle", "base"), ("top", "middle")}
    os.unlink(os.path.join(driver.home, "l", homes.content_of(driver.home, "middle", "link")))
    assert not store.is_parent(store.files("top"), "middle")


def test_children_are_the_layers_directly_above(driver):
    driver.create("left", "base")
    driver.create("right", "base")
    driver.create("far", "left")
    assert driver.children("base") == ["left", "right"]
    assert driver.children("left") == ["far"]
    assert driver.children("far") == driver.children("gone") == []


def test_128_lower_layers_and_not_one_more(driver):
    trees.write_tree(driver.home + "/base/diff", {"bottom": b"here"})
    below = "base"
    for number in range(1, MAX_DEPTH + 1):
        driver.create("n%d" % number, below)
        below = "n%d" % number
    assert driver.layer(below).depth == MAX_DEPTH == 128
    assert driver.layer(below).problems == ()
    assert len(homes.content_of(driver.home, below, "lower").split(":")) == 128
    merged = driver.get(below)
    assert os.listdir(merged) == ["bottom"]
    driver.put(below)

    before = trees.inode_facts(driver.home)
    for create in (driver.create, driver.create_read_write):
        with pytest.raises(DepthExceeded, match="max depth exceeded") as refused:
            create("one too many", below)
        assert refused.value.layer == below
    assert trees.inode_facts(driver.home) == before
    assert not driver.layer(below).committed


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_layer_record_says_what_its_files_say(driver):
    content = trees.archive({"f": b"12345"})
    driver.create("image", "base", diff=io.BytesIO(content))
    driver.create_read_write("box", "image")
    base, image, box = driver.layer("base"), driver.layer("image"), driver.layer("box")
    assert [layer.id for layer in driver.layers()] == ["base", "box", "image"]
    assert (base.parent, base.lower, base.depth, base.lower_links) == ("", (), 0, ())
    assert (image.parent, image.lower, image.depth) == ("base", ("base",), 1)
    assert (box.parent, box.lower, box.depth) == ("image", ("image", "base"), 2)
    assert box.lower_links == ("l/" + image.link, "l/" + base.link)
    assert [layer.committed for layer in (base, image, box)] == [True, True, False]
    assert [layer.read_write for layer in (base, image, box)] == [False, False, True]
    assert [layer.diff_id is None for layer in (base, image, box)] == [True, False, True]
    assert image.diff_id.startswith("sha256:")
    assert all(layer.problems == () and layer.quota is None for layer in driver.layers())


def test_a_layer_of_another_program_is_a_layer_too(driver):
    driver.create("theirs", "base")
    os.unlink(os.path.join(driver.home, "theirs", "strata.json"))
    layer = driver.layer("theirs")
    assert (layer.read_write, layer.diff_id, layer.problems) == (None, None, ())
    assert os.listdir(driver.get("theirs")) == []
    driver.put("theirs")


def test_what_is_no_layer_is_not_listed(driver):
    os.mkdir(os.path.join(driver.home, "empty folder"))
    trees.write_tree(driver.home, {"a file": b"", "a link": "base", "other/file": b""})
    assert [layer.id for layer in driver.layers()] == ["base"]


# --- damage -----------------------------------------------------------------------------------------------------------


def _write(name, content):
    def damage(home, layer):
        with open(os.path.join(home, layer, name), "wb") as target:
            target.write(content)

    return damage


def _unlink(name):
    return lambda home, layer: os.unlink(os.path.join(home, layer, name))


def _folder_for(name):
    def damage(home, layer):
        os.unlink(os.path.join(home, layer, name))
        os.makedirs(os.path.join(home, layer, name, "x"))

    return damage


def _link_path(home, layer):
    return os.path.join(home, "l", homes.content_of(home, layer, "link"))


def _drop_link_in_l(home, layer):
    os.unlink(_link_path(home, layer))


def _turn_link_in_l(home, layer):
    path = _link_path(home, layer)
    os.unlink(path)
    os.symlink("../good/diff", path)


def _drop_link_of_lower(home, layer):
    os.unlink(_link_path(home, "below"))


def _drop_lower_layer(home, layer):
    shutil.rmtree(os.path.join(home, "below"))


def _drop_diff(home, layer):
    shutil.rmtree(os.path.join(home, layer, "diff"))


def _file_for_diff(home, layer):
    _drop_diff(home, layer)
    _write("diff", b"")(home, layer)


def _stand_on_itself(home, layer):
    own = "l/" + homes.content_of(home, layer, "link")
    with open(os.path.join(home, layer, "lower"), "a") as target:
        target.write(":" + own)


def _name_a_lower_twice(home, layer):
    content = homes.content_of(home, layer, "lower")
    _write("lower", os.fsencode(content + ":" + content))(home, layer)


def _cut_lower(home, layer):
    """A name less would mean the home itself as the last lower layer."""
    content = homes.content_of(home, layer, "lower")
    _write("lower", os.fsencode(content + ":"))(home, layer)


def _too_deep(home, layer):
    content = homes.content_of(home, layer, "lower")
    _write("lower", os.fsencode(":".join([content] * 129)))(home, layer)


#: name: (what happens to the layer `hurt`, which stands on `below`; words of its problem; whether it still mounts)
DAMAGE = {
    "empty link": (_write("link", b""), "link file is empty", True),
    "missing link": (_unlink("link"), "link file is missing", True),
    "link with a slash": (_write("link", b"../../x"), "link file is not a link name", True),
    "link of zeros": (_write("link", b"\0" * 26), "link file is not a link name", True),
    "link is a folder": (_folder_for("link"), "link", True),
    "link names nothing": (_write("link", b"A" * 26), "is missing or leads elsewhere", True),
    "no link in l": (_drop_link_in_l, "is missing or leads elsewhere", True),
    "link in l leads elsewhere": (_turn_link_in_l, "is missing or leads elsewhere", True),
    "empty lower": (_write("lower", b""), "lower file is empty", False),
    "lower of zeros": (_write("lower", b"\0" * 28), "lower file is garbled", False),
    "lower is a folder": (_folder_for("lower"), "lower", False),
    "lower is garbage": (_write("lower", b"\xff\xfe:no/such"), "lower file is garbled", False),
    "lower ends too soon": (_cut_lower, "lower file is garbled", False),
    "lower link missing": (_drop_link_of_lower, "leads nowhere", False),
    "lower layer missing": (_drop_lower_layer, "leads nowhere", False),
    "no diff": (_drop_diff, "diff folder is missing", False),
    "diff is a file": (_file_for_diff, "diff folder is missing", False),
    "stands on itself": (_stand_on_itself, "itself", False),
    "names a lower layer twice": (_name_a_lower_twice, "twice", False),
    "129 lower layers": (_too_deep, "129 entries", False),
    "record is a folder": (_folder_for("strata.json"), "strata.json", True),
}


@pytest.fixture
def damaged(driver, request):
    """A home with a sound chain (`base`, `good`), and `hurt` standing on `below`, damaged."""
    driver.create_read_write("good", "base")
    driver.create("below")
    driver.create_read_write("hurt", "below")
    DAMAGE[request.param][0](driver.home, "hurt")
    return driver


@pytest.mark.parametrize("damaged", DAMAGE, indirect=True)
def test_damage_is_told_and_the_rest_of_the_home_works(damaged, request):
    words, mounts = DAMAGE[request.node.callspec.params["damaged"]][1:]
    driver = Driver(damaged.home, ["overlay2.sync=none"])
    problems = {layer.id: " ".join(layer.problems) for layer in driver.layers()}
    below = ["below"] if driver.exists("below") else []
    assert sorted(problems) == ["base", *below, "good", "hurt"]
    assert words in problems["hurt"]
    assert problems["base"] == problems["good"] == ""
    assert driver.layer("hurt").problems
    assert "\0" not in problems["hurt"]

    if mounts:
        driver.get("hurt")
        driver.put("hurt")
    else:
        with pytest.raises((LayerDamaged, MountError)) as refused:
            driver.get("hurt")
        assert refused.value.layer == "hurt"
        assert refused.value.path
        assert refused.value.remedy
    assert host.mounts_below(driver.home) == []
    assert not os.path.lexists(os.path.join(driver.home, "hurt", "merged"))
    assert driver.holders("hurt") == {}

    # the sound ones, and new ones
    assert os.listdir(driver.get("good")) == []
    driver.put("good")
    driver.create("new", "good")
    driver.remove("new", guard=True)


@pytest.mark.parametrize("damaged", DAMAGE, indirect=True)
def test_whatever_is_asked_of_a_damaged_layer_fails_in_the_driver_s_own_words(damaged):
    for call in CALLS.values():
        with contextlib.suppress(Overlay2Error):  # and nothing else
            result = call(damaged, "hurt")
            if hasattr(result, "close"):
                result.close()
    assert host.mounts_below(damaged.home) == []
    assert os.listdir(os.path.join(damaged.home, ".staging")) == []
    assert damaged.exists("base")
    assert damaged.exists("good")


@pytest.mark.parametrize("damaged", DAMAGE, indirect=True)
def test_a_damaged_layer_can_be_removed_and_takes_nothing_else_along(damaged):
    keep = {name: trees.inode_facts(os.path.join(damaged.home, name)) for name in ("base", "good")}
    links = {homes.content_of(damaged.home, name, "link") for name in keep}
    damaged.remove("hurt", guard=True)
    assert not damaged.exists("hurt")
    assert {name: trees.inode_facts(os.path.join(damaged.home, name)) for name in keep} == keep
    assert links <= set(os.listdir(os.path.join(damaged.home, "l")))
    assert os.listdir(os.path.join(damaged.home, ".staging")) == []


@pytest.mark.parametrize("content", [
    b"", b"{", b"\xff\xfe\0", b"[]", b"null", b"7", b'"x"', b'{"diff_id": 5, "read_write": "yes"}', b"[" * 100_000,
    b'{"unknown": true}',
])  # fmt: skip
def test_a_garbled_record_is_as_none(driver, content):
    driver.create_read_write("hurt", "base")
    _write("strata.json", content)(driver.home, "hurt")
    layer = driver.layer("hurt")
    assert (layer.read_write, layer.diff_id, layer.problems) == (None, None, ())
    driver.get("hurt")
    driver.put("hurt")


def test_layers_that_stand_on_each_other_are_told_and_do_not_hang(driver):
    for one in ("one", "two"):
        driver.create_read_write(one, "base")
    link = {one: homes.content_of(driver.home, one, "link") for one in ("one", "two")}
    _write("lower", b"l/" + link["two"].encode() + b":l/" + link["one"].encode())(driver.home, "one")
    _write("lower", b"l/" + link["one"].encode() + b":l/" + link["two"].encode())(driver.home, "two")
    assert all("itself" in " ".join(driver.layer(one).problems) for one in ("one", "two"))
    for one in ("one", "two"):
        with pytest.raises((LayerDamaged, MountError)):
            driver.get(one)
    assert host.mounts_below(driver.home) == []
    for one in ("one", "two"):
        driver.remove(one)
    assert homes.flaws(driver.home) == []


def test_a_child_of_a_damaged_parent_is_refused_and_leaves_nothing(driver):
    for name, content in (("link", b""), ("lower", b""), ("link", b"\0" * 26), ("lower", b"\0" * 28)):
        driver.create("hurt", "base")
        _write(name, content)(driver.home, "hurt")
        before = trees.inode_facts(driver.home)
        with pytest.raises(LayerDamaged) as refused:
            driver.create("new", "hurt")
        assert refused.value.path == os.path.join(driver.home, "hurt", name)
        assert trees.inode_facts(driver.home) == before
        driver.remove("hurt")


def test_a_broken_symlink_or_loop_in_l_is_no_obstacle(driver):
    odd = {"LOOP": "LOOP", "NOWHERE": "../gone/diff", "FILE": b"", "FOLDER": None}
    trees.write_tree(os.path.join(driver.home, "l"), odd)
    assert [layer.id for layer in driver.layers()] == ["base"]
    driver.create("next", "base")
    driver.get("next")
    driver.put("next")
    Driver(driver.home)


# --- whose a layer is -------------------------------------------------------------------------------------------------


def test_a_layer_keeps_its_owner(home):
    made = Driver(home)
    made.create("base", diff=trees.stream({"a": b"one"}), owner="shop")
    made.create_read_write("box", "base", owner="shop")
    made.create("other", "base")
    shutil.rmtree(os.environ["OVERLAY2_RUN_ROOT"])  # as after a reboot
    owners = {layer.id: layer.owner for layer in Driver(home, read_only=True).layers()}
    assert owners == {"base": "shop", "box": "shop", "other": None}


def test_new_content_leaves_the_owner(home):
    made = Driver(home)
    made.create("base", diff=trees.stream({"a": b"one"}), owner="shop")
    made.apply_diff("base", "", trees.stream({"a": b"two"}), replace=True)
    assert made.layer("base").owner == "shop"


def test_a_layer_without_owner_can_be_claimed_once(home):
    made = Driver(home)
    made.create_read_write("box")
    before = made.layer("box")
    made.set_owner("box", "shop")
    made.set_owner("box", "shop")
    assert made.layer("box") == before._replace(owner="shop")
    with pytest.raises(LayerInUse, match="belongs to shop"):
        made.set_owner("box", "web")
    assert made.layer("box").owner == "shop"
    assert set(os.listdir(os.path.join(home, "box"))) == {"diff", "link", "strata.json"}


def test_a_layer_of_another_program_is_not_claimed(home):
    """A record of ours in dockerd's layer would say that it is ours to remove."""
    made = Driver(home)
    made.create("theirs")
    os.unlink(os.path.join(home, "theirs", "strata.json"))
    with pytest.raises(Overlay2Error, match="another program created it"):
        made.set_owner("theirs", "shop")
    assert not os.path.lexists(os.path.join(home, "theirs", "strata.json"))


@pytest.mark.parametrize("owner", ["", 7])
def test_an_owner_has_a_name(home, owner):
    made = Driver(home)
    with pytest.raises(OptionError, match="owner"):
        made.create("base", owner=owner)
    assert not made.exists("base")


@pytest.mark.parametrize("content", [b'{"owner": 7}', b'{"owner": ""}', b'{"owner": null}', b'{"read_write": false}'])
def test_a_record_without_a_usable_owner_has_none(content):
    assert LayerRecord.decode(content).owner is None


# --- how large it is --------------------------------------------------------------------------------------------------


def test_a_layer_remembers_the_size_of_its_content(home):
    made = Driver(home)
    made.create("base", diff=trees.stream({"a": b"12345", "b/": None, "b/c": b"678"}))
    made.create("empty", "base")
    assert {layer.id: layer.size for layer in made.layers()} == {"base": 8, "empty": None}
    assert made.own_size("base") == 8
    made.apply_diff("base", "", trees.stream({"a": b"1"}), replace=True)
    assert made.layer("base").size == made.own_size("base") == 1


def test_a_layer_that_is_written_to_has_no_recorded_size(home):
    made = Driver(home)
    made.create_read_write("box", diff=trees.stream({"a": b"12345"}))
    assert made.layer("box").size is None


@pytest.mark.parametrize("content", [b'{"size": "7"}', b'{"size": -1}', b'{"size": true}', b'{"size": 1.5}'])
def test_a_record_without_a_usable_size_has_none(content):
    assert LayerRecord.decode(content).size is None


def test_directories_without_marks_are_not_a_home(home):
    assert not looks_like_home(home)
    assert GraphDriverStore(home).problems()
    Driver(home)
    assert looks_like_home(home)
    assert GraphDriverStore(home).problems() == []


def test_a_chain_tells_what_is_broken_and_the_rest(driver):
    store = driver.opened.store
    driver.create("a")
    driver.create("b", "a")
    driver.create("c", "b")
    assert [(lower.id, lower.path) for lower in store.lower_chain("c")] == [
        ("b", store.upper_dir("b")),
        ("a", store.upper_dir("a")),
    ]
    link = driver.layer("b").link
    os.unlink(os.path.join(driver.home, "l", link))
    broken, whole = store.lower_chain("c")
    assert (broken.id, broken.path) == (f"l/{link}", "")
    assert f"l/{link}" in broken.problem
    assert whole == ("a", store.upper_dir("a"), "")
    assert store.lower_chain("a") == []


def test_what_is_listed_is_a_layer(driver):
    store = driver.opened.store
    driver.create("a")
    os.mkdir(os.path.join(driver.home, "empty"))
    assert store.is_layer("a")
    assert not any(map(store.is_layer, ("empty", "l", ".staging", "missing")))
    assert store.paths("a") == tuple(os.path.join(driver.home, "a", name) for name in ("diff", "work", "merged"))
