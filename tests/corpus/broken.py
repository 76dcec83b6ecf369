# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Kinds of damage to a home: what power cuts, killed engines and helping hands leave, each made on a healthy home.

A damage names the finding that it is, and whether the rest of the home proves how to mend it.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import Callable, NamedTuple, Tuple

from overlay2.home.layout import LayerRecord

OURS, DOCKERD, CONTAINERS = "overlay2", "dockerd", "containers-storage"
ALL = (OURS, DOCKERD, CONTAINERS)
NAME = "A" * 26


class Damage(NamedTuple):
    """One kind of damage."""

    name: str
    code: str
    #: What tests call the layer that the finding is about; "" for the home.
    layer: str
    repairable: bool
    kinds: Tuple[str, ...]
    do: Callable
    root: bool = False
    deep: bool = False


DAMAGES = []


def damage(code, layer="", *, repairable=False, kinds=ALL, **more):
    """Add a function that damages a made home to the list."""

    def add(function):
        name = function.__name__.lstrip("_").replace("_", "-")
        DAMAGES.append(Damage(name, code, layer, repairable, kinds, function, **more))
        return function

    return add


def put(path, text):
    with open(path, "w") as target:
        target.write(text)


def text(path):
    with open(path) as source:
        return source.read()


# --- names in l ---------------------------------------------------------------------------------------------------


@damage("link-dir-missing", repairable=True)
def link_dir_removed(made):
    shutil.rmtree(os.path.join(made.home, "l"))


@damage("link-missing", "middle", repairable=True)
def link_removed(made):
    os.unlink(made.path("middle", "link"))


@damage("link-empty", "middle", repairable=True)
def link_emptied(made):
    put(made.path("middle", "link"), "")


@damage("link-garbled", "base", repairable=True)
def link_zeroed(made):
    put(made.path("base", "link"), "\0" * 26)


@damage("link-missing", "solo")
def link_and_short_link_removed(made):
    os.unlink(os.path.join(made.home, "l", made.link("solo")))
    os.unlink(made.path("solo", "link"))


@damage("link-shared", "solo", repairable=True)
def link_of_another(made):
    put(made.path("solo", "link"), made.link("base"))


@damage("short-link-missing", "middle", repairable=True)
def short_link_removed(made):
    os.unlink(os.path.join(made.home, "l", made.link("middle")))


@damage("short-link-missing", "run", repairable=True)
def short_links_all_removed(made):
    for name in os.listdir(os.path.join(made.home, "l")):
        os.unlink(os.path.join(made.home, "l", name))


@damage("short-link-wrong", "middle", repairable=True)
def short_link_to_another(made):
    path = os.path.join(made.home, "l", made.link("middle"))
    os.unlink(path)
    os.symlink("../%s/diff" % made.ids["solo"], path)


@damage("short-link-wrong", "base", repairable=True)
def short_link_to_nothing(made):
    path = os.path.join(made.home, "l", made.link("base"))
    os.unlink(path)
    os.symlink("../nobody/diff", path)


@damage("short-link-wrong", "base")
def short_link_a_file(made):
    path = os.path.join(made.home, "l", made.link("base"))
    os.unlink(path)
    put(path, "")


@damage("short-link-dangling", repairable=True)
def short_link_dangling(made):
    os.symlink("../%s/diff" % ("f" * 64), os.path.join(made.home, "l", NAME))


@damage("short-link-duplicate", "base", repairable=True)
def short_link_twice(made):
    os.symlink("../%s/diff" % made.ids["base"], os.path.join(made.home, "l", NAME))


@damage("short-link-duplicate", "middle")
def link_renewed_under_children(made):
    """What moby's create does to an id that exists: a new name, while those above have the old one."""
    put(made.path("middle", "link"), NAME)
    os.symlink("../%s/diff" % made.ids["middle"], os.path.join(made.home, "l", NAME))


@damage("short-link-stray")
def short_link_stray(made):
    put(os.path.join(made.home, "l", "notes.txt"), "whose?")


@damage("short-link-stray")
def short_link_out_of_the_home(made):
    os.symlink("/etc", os.path.join(made.home, "l", NAME))


# --- lower chains -------------------------------------------------------------------------------------------------


@damage("lower-missing", "middle", repairable=True, kinds=(OURS, DOCKERD))
def lower_removed(made):
    os.unlink(made.path("middle", "lower"))


@damage("lower-empty", "middle", repairable=True)
def lower_emptied(made):
    put(made.path("middle", "lower"), "")


@damage("lower-empty", "run", kinds=(OURS,))
def lower_of_the_top_emptied(made):
    put(made.path("run", "lower"), "")


@damage("lower-empty", "run", repairable=True, kinds=(DOCKERD, CONTAINERS))
def lower_of_the_top_emptied_with_its_parent_on_record(made):
    put(made.path("run", "lower"), "")


@damage("lower-garbled", "middle", repairable=True, kinds=(DOCKERD, CONTAINERS))
def lower_garbled_and_link_lost(made):
    put(made.path("middle", "lower"), "\0" * 28)
    put(made.path("middle", "link"), "")


@damage("lower-garbled", "middle", kinds=(DOCKERD,))
def lower_that_layers_above_and_records_tell_otherwise(made):
    put(made.path("middle", "lower"), "garbage")
    put(os.path.join(made.chains["middle"], "parent"), "sha256:" + os.path.basename(made.chains["solo"]))


@damage("lower-garbled", "middle", repairable=True)
def lower_zeroed(made):
    put(made.path("middle", "lower"), "\0" * 28)


@damage("lower-garbled", "run", kinds=(OURS,))
def lower_with_paths(made):
    put(made.path("run", "lower"), "/var/lib/elsewhere/diff:l/" + made.link("base"))


@damage("lower-layer-missing", "middle")
def lower_layer_deleted(made):
    os.unlink(os.path.join(made.home, "l", made.link("base")))
    shutil.rmtree(made.path("base"))


@damage("lower-layer-missing", "run")
def lower_name_wrong(made):
    put(made.path("run", "lower"), "l/" + NAME)


@damage("lower-loop", "middle")
def lower_names_itself(made):
    put(made.path("middle", "lower"), "l/%s:l/%s" % (made.link("middle"), made.link("base")))


@damage("lower-loop", "run")
def lower_names_one_twice(made):
    name = made.link("middle")
    put(made.path("run", "lower"), "l/%s:l/%s" % (name, name))


@damage("lower-too-long", "run", kinds=(OURS, DOCKERD))
def lower_too_long(made):
    names = [made.link("middle"), made.link("base")] + [NAME] * 127
    put(made.path("run", "lower"), ":".join("l/" + name for name in names))


@damage("lower-inconsistent", "run")
def lower_skips_one(made):
    put(made.path("run", "lower"), "l/%s:l/%s" % (made.link("middle"), made.link("solo")))


# --- folders ------------------------------------------------------------------------------------------------------


@damage("diff-missing", "middle")
def diff_removed(made):
    shutil.rmtree(made.path("middle", "diff"))


@damage("diff-not-folder", "middle")
def diff_a_file(made):
    shutil.rmtree(made.path("middle", "diff"))
    put(made.path("middle", "diff"), "")


@damage("work-missing", "run", repairable=True)
def work_removed(made):
    shutil.rmtree(made.path("run", "work"))


@damage("work-not-folder", "run")
def work_a_file(made):
    shutil.rmtree(made.path("run", "work"))
    put(made.path("run", "work"), "")


@damage("work-refused", "run", kinds=(OURS, DOCKERD))
def work_of_a_volatile_mount(made):
    os.makedirs(made.path("run", "work", "work", "incompat", "volatile"))


@damage("layer-incomplete", "half")
def layer_half_made(made):
    made.ids["half"] = "e" * 64
    os.makedirs(made.path("half", "work"))


@damage("layer-unfinished", "solo", kinds=(DOCKERD, CONTAINERS))
def layer_whose_removal_was_cut_off(made):
    if made.kind == DOCKERD:
        os.rename(made.chains["solo"], made.chains["solo"] + "-" + "0" * 64 + "-removing")
        shutil.rmtree(made.images)  # the image went first
        os.mkdir(made.images)
    else:
        path = made.beside("overlay-layers", "layers.json")
        records = json.loads(text(path))
        next(each for each in records if each["id"] == made.ids["solo"])["flags"] = {"incomplete": True}
        put(path, json.dumps(records))
    os.unlink(os.path.join(made.home, "l", made.link("solo")))
    os.unlink(made.path("solo", "link"))
    made.truth[made.ids["solo"]] = "unowned"


@damage("layer-incomplete", "half", repairable=True)
def layer_empty(made):
    made.ids["half"] = "e" * 64
    os.makedirs(made.path("half"))


@damage("merged-leftover", "run", repairable=True, kinds=(OURS, DOCKERD))
def merged_left(made):
    os.mkdir(made.path("run", "merged"), 0o700)


@damage("merged-not-empty", "run", kinds=(OURS, DOCKERD))
def merged_written_to(made):
    os.mkdir(made.path("run", "merged"), 0o700)
    put(made.path("run", "merged", "important"), "data")


@damage("committed-missing", "base", repairable=True, kinds=(OURS, DOCKERD))
def committed_removed(made):
    os.unlink(made.path("base", "committed"))


@damage("temporary-leftover", "middle", repairable=True)
def temporary_left(made):
    put(made.path("middle", ".tmp-link123456"), NAME)


@damage("record-garbled", "solo", kinds=(OURS,))
def record_emptied(made):
    put(made.path("solo", "strata.json"), "")


@damage("record-garbled", "base", kinds=(OURS,))
def record_zeroed(made):
    put(made.path("base", "strata.json"), "\0" * 100)


# --- rights -------------------------------------------------------------------------------------------------------


@damage("home-mode", repairable=True)
def home_open(made):
    os.chmod(made.home, 0o777)


@damage("link-dir-mode", repairable=True)
def link_dir_open(made):
    os.chmod(os.path.join(made.home, "l"), 0o777)


@damage("layer-mode", "middle", repairable=True)
def layer_open(made):
    os.chmod(made.path("middle"), 0o777)


@damage("layer-mode", "run", repairable=True)
def work_open(made):
    os.chmod(made.path("run", "work"), 0o777)


@damage("layer-owner", "middle", repairable=True, kinds=(OURS,), root=True)
def layer_of_somebody(made):
    os.chown(made.path("middle"), 1234, -1)


@damage("layer-owner", "middle", kinds=(DOCKERD, CONTAINERS), root=True)
def layer_of_somebody_who_may_be_the_root_of_a_user_namespace(made):
    os.chown(made.path("middle"), 1234, -1)


@damage("layer-owner", "run", kinds=(OURS,), root=True)
def layer_of_somebody_with_its_content(made):
    for name in ("", "diff", "work"):
        os.chown(made.path("run", name), 1234, -1)


# --- leftovers ----------------------------------------------------------------------------------------------------


@damage("staging-leftover", repairable=True, kinds=(OURS,))
def staged_left(made):
    os.makedirs(os.path.join(made.home, ".staging", "0123456789abcdef", "diff", "etc"))


@damage("probe-leftover")
def probe_left(made):
    os.makedirs(os.path.join(made.home, "check-overlayfs-support123456", "lower1"))


@damage("holder-without-layer", "run", repairable=True, kinds=(OURS,))
def layer_removed_under_its_holder(made):
    from overlay2 import Driver

    driver = Driver(made.home)
    driver.get("solo", holder="shop")
    made.ids["run"], solo = "solo", made.path("solo")
    os.unlink(os.path.join(made.home, "l", made.link("solo")))
    shutil.rmtree(solo)


# --- records of the engine, content -------------------------------------------------------------------------------


@damage("record-without-layer", "solo", kinds=(DOCKERD, CONTAINERS))
def layer_removed_by_hand(made):
    os.unlink(os.path.join(made.home, "l", made.link("solo")))
    shutil.rmtree(made.path("solo"))
    if made.kind == CONTAINERS:  # the one that stands on it would be found wrong too
        os.unlink(os.path.join(made.home, "l", made.link("named")))
        shutil.rmtree(made.path("named"))


@damage("engine-record-unreadable", kinds=(DOCKERD,))
def cache_id_emptied(made):
    put(os.path.join(made.chains["middle"], "cache-id"), "")


@damage("engine-record-unreadable", kinds=(DOCKERD,))
def parent_zeroed(made):
    put(os.path.join(made.chains["middle"], "parent"), "\0" * 71)


@damage("engine-record-unreadable", kinds=(DOCKERD,))
def image_cut_short(made):
    name = sorted(os.listdir(made.images))[0]
    path = os.path.join(made.images, name)
    put(path, text(path)[:20])


@damage("engine-record-unreadable", kinds=(DOCKERD,))
def image_without_its_layers(made):
    shutil.rmtree(made.chains["solo"])


@damage("engine-record-unreadable", kinds=(DOCKERD,))
def tags_emptied(made):
    put(made.beside("image", "overlay2", "repositories.json"), "")


@damage("engine-record-unreadable", kinds=(DOCKERD,))
def container_emptied(made):
    put(made.beside("containers", made.container, "config.v2.json"), "")


@damage("engine-record-unreadable", kinds=(DOCKERD,))
def mount_id_emptied(made):
    put(made.beside("image", "overlay2", "layerdb", "mounts", made.container, "mount-id"), "")


@damage("engine-record-unreadable", kinds=(DOCKERD,))
def build_cache_cut_short(made):
    path = made.beside("buildkit", "snapshots.db")
    os.truncate(path, 4 * 4096)


@damage("engine-record-unreadable", kinds=(DOCKERD,))
def build_cache_zeroed(made):
    path = made.beside("buildkit", "snapshots.db")
    put(path, "\0" * os.path.getsize(path))


@damage("engine-record-unreadable", kinds=(CONTAINERS,))
def layers_json_cut_short(made):
    path = made.beside("overlay-layers", "layers.json")
    put(path, text(path)[:200])


@damage("engine-record-unreadable", kinds=(CONTAINERS,))
def images_json_emptied(made):
    put(made.beside("overlay-images", "images.json"), "")


@damage("engine-record-unreadable", kinds=(CONTAINERS,))
def containers_json_of_another_form(made):
    put(made.beside("overlay-containers", "containers.json"), json.dumps([{"id": 7}]))


@damage("digest-unverifiable", "base", kinds=(CONTAINERS,), deep=True)
def layer_of_composefs(made):
    """Not damaged, but its content is not where its archive's frame says."""
    path = made.beside("overlay-layers", "layers.json")
    records = json.loads(text(path))
    next(each for each in records if each["id"] == made.ids["base"])["diff-digest"] = "sha256:" + "0" * 64
    put(path, json.dumps(records))
    put(made.beside("overlay-layers", made.ids["base"] + ".tar-split.gz"), "")
    os.mkdir(made.path("base", "composefs-data"))
    put(made.path("base", "composefs-data", "composefs.blob"), "")


@damage("digest-mismatch", "base", kinds=(OURS,), deep=True)
def content_changed(made):
    path = made.path("base", "strata.json")
    record = LayerRecord.decode(text(path).encode())
    put(path, record._replace(read_write=None).encode().decode())
    put(made.path("base", "diff", "of-base"), "tampered")
