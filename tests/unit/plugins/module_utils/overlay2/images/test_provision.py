# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Images in a home: what is there afterwards, what is refused before anything shows, kills, and giving back."""

from __future__ import annotations

import json
import os
import time

import pytest
from overlay2 import Driver, images
from overlay2.errors import (
    CorruptArchive,
    DigestMismatch,
    ImageError,
    ImageNotFound,
    LayerExists,
    NotEnoughSpace,
    Overlay2Error,
    ReadOnlyDriver,
)
from overlay2.home.opening import open_home
from overlay2.images import provision, records, removal
from support import homes, steps, trees
from support import images as make

TARS = (make.BASE, make.TOP)
IDS = make.ids(*TARS)


def layers_in(home):
    """Ids of the layers in a home."""
    return sorted(layer.id for layer in Driver(home, read_only=True, probe=False).layers())


def untouched(home):
    """What changes whenever something in the home is written to."""
    return {path: facts for path, facts in trees.inode_facts(home).items() if ".staging" not in path}


@pytest.fixture
def simple(real_tmp):
    """A layout with one image of two layers."""
    return make.simple(real_tmp / "simple", *TARS, ref_name="v1")


# --- what is there ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_layers_are_named_by_chain_id_and_recorded(home, provide, real_tmp, compression):
    done = provide(make.simple(real_tmp / "a", *TARS, compression=compression), "shop:4.2")
    assert [(layer.id, layer.action) for layer in done.layers] == [(id, "applied") for id in IDS]
    driver = Driver(home)
    base, top = (driver.layer(id) for id in IDS)
    assert (base.parent, top.parent) == ("", IDS[0])
    assert (base.diff_id, top.diff_id) == (make.digest(make.BASE), make.digest(make.TOP))
    assert homes.flaws(home) == []
    path = driver.get(IDS[1], holder="test")
    try:
        assert sorted(os.listdir(path)) == ["data", "etc", "to"]
        with pytest.raises(OSError):
            open(os.path.join(path, "new"), "x")
    finally:
        driver.put_all(IDS[1])


def test_the_record(opened, provide, simple):
    done = provide(simple, "shop:v1", holder="web")
    (record,) = images.read_all(opened)
    assert record == done.after
    assert record.id == done.image.id
    assert record.references == ["docker.io/library/shop:v1"]
    assert record.claims == {"web": ("docker.io/library/shop:v1",)}
    assert record.manifests[0].digest == done.image.manifest_digest
    assert record.parsed().settings["env"] == {"PATH": "/bin", "EMPTY": ""}
    assert record.tar_sizes == {make.digest(content): len(content) for content in TARS}
    assert os.stat(os.path.join(opened.path, ".images")).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("form", ["directory", "tar", "gzip", "zstd", "docker", "docker.gz"])
def test_a_second_run_reads_no_layer_and_writes_nothing(opened, provide, real_tmp, form):
    layout = make.simple(real_tmp / "a", *TARS)
    path = {
        "directory": lambda: layout,
        "tar": lambda: make.tarred(layout, real_tmp / "a.tar"),
        "gzip": lambda: make.tarred(layout, real_tmp / "a.tar", "gzip"),
        "zstd": lambda: make.tarred(layout, real_tmp / "a.tar", "zstd"),
        "docker": lambda: make.docker(real_tmp / "a.tar", *TARS),
        "docker.gz": lambda: make.docker(real_tmp / "a.tar", *TARS, compression="gzip"),
    }[form]()
    assert provide(path, "shop:4.2").changed
    before = untouched(opened.path)
    if form == "directory":
        for blob in json.loads(images.read_all(opened)[0].manifests[0].content)["layers"]:
            os.unlink(os.path.join(layout, "blobs", blob["digest"].replace(":", "/")))
    again = provide(path, "shop:4.2")
    assert not again.changed
    assert [layer.action for layer in again.layers] == ["kept", "kept"]
    assert [layer.tar_size for layer in again.layers] == ([None, None] if "z" in form else [len(tar) for tar in TARS])
    assert untouched(opened.path) == before


def test_all_forms_of_one_image_are_one_image(opened, provide, real_tmp):
    provide(make.docker(real_tmp / "a.tar", *TARS), "shop:4.2")
    done = provide(make.simple(real_tmp / "a", *TARS), "shop:4.2")
    assert [layer.action for layer in done.layers] == ["kept", "kept"]
    (record,) = images.read_all(opened)
    assert [manifest.digest for manifest in record.manifests] == [done.image.manifest_digest]
    assert not provide(make.docker(real_tmp / "b.tar", *TARS), "shop:4.2").changed


def test_the_history_of_an_image_that_is_there_is_no_news(opened, provide, real_tmp, caplog):
    provide(make.simple(real_tmp / "a", *TARS, history=[{"created_by": "x"}]))
    assert "history tells" in caplog.text
    caplog.clear()
    provide(make.simple(real_tmp / "b", make.TOP))
    images.sweep(opened)
    assert caplog.text == ""


def test_images_share_layers(home, provide, real_tmp):
    provide(make.simple(real_tmp / "a", *TARS))
    more = trees.archive({"more": b"1"})
    done = provide(make.simple(real_tmp / "b", make.BASE, more))
    assert [layer.action for layer in done.layers] == ["kept", "applied"]
    assert done.bytes_present == done.layers[0].blob.size
    assert layers_in(home) == sorted({*IDS, *make.ids(make.BASE, more)})


def test_equal_layers_in_one_image(home, provide, real_tmp):
    done = provide(make.simple(real_tmp / "a", make.TOP, make.TOP, make.TOP))
    assert layers_in(home) == sorted(layer.id for layer in done.layers)
    assert len(layers_in(home)) == 3


def test_an_image_without_layers(home, provide, opened, real_tmp):
    done = provide(make.simple(real_tmp / "a"), "scratch:1")
    assert done.changed
    assert done.layers == ()
    assert layers_in(home) == []
    assert len(images.release(opened, "ansible", "docker.io/library/scratch:1")) == 1


def test_a_plan_writes_nothing(opened, simple):
    before = untouched(opened.path)
    with images.open_source(simple) as source:
        planned = images.plan(opened, opened.path, source, images.wanted(), "ansible")
    assert planned.changed
    assert planned.space_needed == sum(map(len, TARS))
    assert planned.space_free > planned.space_needed
    assert untouched(opened.path) == before


def test_a_home_for_reading(home, opened, simple):
    reading = open_home(home, read_only=True)
    with images.open_source(simple) as source, pytest.raises(ReadOnlyDriver):
        images.provide(reading, source, images.wanted(), "ansible")


# --- what is refused --------------------------------------------------------------------------------------------------


def altered(layout, layers, _config):
    content = make.COMPRESSORS["gzip"](trees.archive({"etc/new": os.urandom(64)}))
    layers[1]["size"] = len(content)
    layout.blob(layers[1]).write_bytes(content)


def of_other_size(difference):
    def edit(_layout, layers, _config):
        layers[1]["size"] += difference

    return edit


def wrong_diff_id(_layout, _layers, config):
    config["rootfs"]["diff_ids"][1] = "sha256:" + "0" * 64


def fewer_diff_ids(_layout, _layers, config):
    config["rootfs"]["diff_ids"].pop()


def more_diff_ids(_layout, _layers, config):
    config["rootfs"]["diff_ids"].append("sha256:" + "1" * 64)


def missing_blob(layout, layers, _config):
    layout.blob(layers[1]).unlink()


def rewritten(change):
    def edit(layout, layers, _config):
        layers[1] = layout.put(change(layout.blob(layers[1]).read_bytes()), layers[1]["mediaType"])

    return edit


def unknown_media_type(_layout, layers, _config):
    layers[1]["mediaType"] = "application/vnd.example.thing"


def wrong_rootfs(_layout, _layers, config):
    config["rootfs"]["type"] = "nonsense"


def foreign(layout, layers, _config):
    layout.blob(layers[1]).unlink()
    layers[1]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    layers[1]["urls"] = ["https://example.invalid/\x1b[31m"]


#: What is wrong: (how, error, words of it).
DEFECTS = {
    "blob bytes differ from the digest": (altered, DigestMismatch, "does not have its digest"),
    "size too small": (of_other_size(-1), ImageError, r"has \d+ bytes, and \d+ are given"),
    "size too large": (of_other_size(1), ImageError, r"has \d+ bytes, and \d+ are given"),
    "wrong diff ID": (wrong_diff_id, DigestMismatch, "the configuration and the layer disagree"),
    "fewer diff IDs than layers": (fewer_diff_ids, ImageError, "2 layers, and its configuration 1 diff IDs"),
    "more diff IDs than layers": (more_diff_ids, ImageError, "2 layers, and its configuration 3 diff IDs"),
    "missing blob": (missing_blob, ImageError, "is missing"),
    "gzip cut short": (rewritten(lambda blob: blob[:-20]), CorruptArchive, "cut short"),
    "bytes after the gzip member": (rewritten(lambda blob: blob + b"JUNK" * 8), CorruptArchive, "damaged"),
    "unknown media type": (unknown_media_type, ImageError, "unknown media type"),
    "rootfs.type not layers": (wrong_rootfs, ImageError, "rootfs.type"),
    "foreign layer": (foreign, ImageError, r"to be fetched from https://example\.invalid/"),
}


@pytest.mark.parametrize("form", ["directory", "tar", "tar.gz"])
@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_refused_before_the_image_shows(home, opened, provide, real_tmp, name, form):
    edit, error, words = DEFECTS[name]
    layout = make.Layout(real_tmp / "bad")
    config, layers = make.config_of(*TARS), layout.layers(*TARS)
    edit(layout, layers, config)
    path = layout.finish(layout.manifest(config, layers))
    if form != "directory":
        path = make.tarred(path, real_tmp / "bad.tar", form[4:] and "gzip")
    with pytest.raises(error, match=words) as caught:
        provide(path)
    assert caught.value.path == path
    assert caught.value.remedy
    assert "\x1b" not in str(caught.value)
    assert IDS[1] not in layers_in(home)
    assert images.read_all(opened) == []
    assert homes.flaws(home) == []
    assert os.listdir(os.path.join(home, ".staging")) == []


@pytest.mark.parametrize("compression", ["", "gzip", "bzip2", "xz", "zstd"])
def test_an_altered_blob_is_refused_whatever_its_compression(home, provide, real_tmp, compression):
    """Bytes that the diff ID does not cover: only the blob's digest tells."""
    layout = make.Layout(real_tmp / "bad")
    (layer,) = layout.layers(make.BASE, compression=compression)
    layer["mediaType"] = make.LAYER + "+gzip"
    blob = layout.blob(layer)
    content = make.COMPRESSORS["gzip"](make.BASE)
    if compression in ("", "gzip"):
        content = content[:4] + b"\1" + content[5:]  # another time in the header
    blob.write_bytes(content)
    layer["size"] = len(content)
    with pytest.raises(DigestMismatch, match=r"layer 1 of 1, blob sha256:.*does not have its digest"):
        provide(layout.finish(layout.manifest(make.config_of(make.BASE), [layer])))
    assert layers_in(home) == []


def test_a_claim_of_compression_that_is_wrong_is_only_a_warning(home, provide, real_tmp, caplog):
    """Docker, containerd and skopeo look at the bytes; the digests decide."""
    layout = make.Layout(real_tmp / "a")
    (layer,) = layout.layers(make.BASE, compression="")
    layer["mediaType"] = make.LAYER + "+gzip"
    provide(layout.finish(layout.manifest(make.config_of(make.BASE), [layer])))
    assert layers_in(home) == IDS[:1]
    assert "not compressed as its media type says" in caplog.text


def test_a_foreign_layer_that_is_there_is_a_layer(home, provide, real_tmp):
    layout = make.Layout(real_tmp / "a")
    (layer,) = layout.layers(make.BASE)
    layer.update(
        mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["https://example.invalid"]
    )
    provide(layout.finish(layout.manifest(make.config_of(make.BASE), [layer])))
    assert layers_in(home) == IDS[:1]


def test_entries_that_would_leave_the_layer(home, provide, real_tmp):
    hostile = trees.archive({"../../escape": b"x"})
    with pytest.raises(Overlay2Error, match=r"layer 1 of 1, blob sha256:.*escape"):
        provide(make.simple(real_tmp / "a", hostile))
    assert layers_in(home) == []


def test_space_is_checked_before_anything_is_written(home, provide, real_tmp):
    """The blob of a sparse terabyte: its size is known before the first byte is read."""
    tar = trees.archive({"x": b""})
    layout = make.Layout(real_tmp / "big")
    (layer,) = layout.layers(tar, compression="")
    layer["size"] = 1 << 42
    os.truncate(layout.blob(layer), 1 << 42)
    path = layout.finish(layout.manifest(make.config_of(tar), [layer]))
    before = untouched(home)
    with pytest.raises(NotEnoughSpace, match=r"needs 4\.0 TiB"):
        provide(path)
    assert untouched(home) == before


def test_another_layer_of_that_name(home, provide, simple):
    Driver(home).create(IDS[0])
    with pytest.raises(LayerExists, match="not the image's"):
        provide(simple)
    assert layers_in(home) == IDS[:1]


def test_a_layer_that_is_there_already_is_used_and_stays(home, opened, provide, simple):
    with open(os.path.join(os.path.dirname(simple), "base.tar"), "w+b") as file:
        file.write(make.BASE)
        file.seek(0)
        Driver(home).create(IDS[0], diff=file)
    assert [layer.action for layer in provide(simple).layers] == ["kept", "applied"]
    (released,) = images.release(opened, "ansible", digest=images.read_all(opened)[0].id)
    assert released.removed == (IDS[1],)
    assert layers_in(home) == IDS[:1]


def test_a_damaged_record(home, opened, provide, simple, caplog, real_tmp):
    provide(simple, "shop:v1")
    path = os.path.join(home, ".images", os.listdir(os.path.join(home, ".images"))[0])
    for content in (b"", b"{}", b"secret", b'{"id": "../x"}'):
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(ImageError, match="record of an image is damaged") as caught:
            provide(simple, "shop:v1")
        assert "secret" not in str(caught.value)
        with pytest.raises(ImageError, match="damaged"):
            images.release(opened, "ansible", "docker.io/library/other:1")
        images.sweep(opened, keep=-1)
        assert layers_in(home) == sorted(IDS)
    provide(make.simple(real_tmp / "b", make.BASE), "other:1")  # the others are not concerned
    assert "damaged" in caplog.text
    os.unlink(path)
    assert [layer.action for layer in provide(simple, "shop:v1").layers] == ["kept", "kept"]


# --- holders ----------------------------------------------------------------------------------------------------------


def test_layers_go_with_the_last_claim(home, opened, provide, simple):
    name = "docker.io/library/shop:v1"
    provide(simple, "shop:v1", holder="one")
    provide(simple, "shop:v1", holder="two")
    provide(simple, "other:v1", holder="two")
    assert images.release(opened, "nobody", name) == []
    for holder, label in (("one", name), ("two", name)):
        (released,) = images.release(opened, holder, label)
        assert released.removed == ()
        assert layers_in(home) == sorted(IDS)
    (released,) = images.release(opened, "two", "docker.io/library/other:v1")
    assert released.after is None
    assert released.removed == (IDS[1], IDS[0])
    assert layers_in(home) == []
    assert images.read_all(opened) == []
    assert homes.flaws(home) == []


def test_all_claims_at_once(home, opened, provide, simple):
    done = provide(simple, "shop:v1", holder="one")
    provide(simple, "other:v1", holder="two")
    assert images.release(opened, "three", digest=done.image.manifest_digest) == []
    assert len(images.release(opened, "three", digest=done.image.manifest_digest, force=True)) == 1
    assert layers_in(home) == []


def test_what_others_use_stays(home, opened, provide, simple, real_tmp, caplog):
    provide(simple, "shop:v1")
    provide(make.simple(real_tmp / "b", make.BASE), "base:1")
    driver = Driver(home)
    driver.create_read_write("run", IDS[1])
    (released,) = images.release(opened, "ansible", "docker.io/library/shop:v1")
    assert released.removed == ()
    driver.remove("run")
    driver.get(IDS[1], holder="x")
    images.sweep(opened, keep=-1)
    assert layers_in(home) == sorted(IDS)
    driver.put_all(IDS[1])
    images.sweep(opened)
    assert layers_in(home) == sorted(IDS)  # not for a day
    images.sweep(opened, keep=-1)
    assert layers_in(home) == IDS[:1]  # which the other image needs


def test_a_name_moves_and_the_previous_image_is_kept_for_a_day(home, opened, provide, simple, real_tmp):
    old = provide(simple, "shop:v1").image.id
    done = provide(make.simple(real_tmp / "b", make.BASE), "shop:v1")
    assert [record.id for record in done.moved] == [old]
    kept = {record.id: record.claims for record in images.read_all(opened)}
    assert kept == {old: {}, done.image.id: {"ansible": ("docker.io/library/shop:v1",)}}
    assert [layer.action for layer in provide(simple, "shop:v1").layers] == ["kept", "kept"]
    provide(make.simple(real_tmp / "c", make.BASE), "shop:v1")
    yesterday = time.time() - removal.KEEP - 1
    record = os.path.join(home, ".images", records.file_name(old))
    os.utime(record, (yesterday, yesterday))
    os.utime(os.path.join(home, IDS[1], "link"), (yesterday, yesterday))
    images.sweep(opened)
    assert [record.id for record in images.read_all(opened)] == [done.image.id]
    assert layers_in(home) == IDS[:1]


# --- kills ------------------------------------------------------------------------------------------------------------


def state(home):
    """Images and layers of a home."""
    opened = open_home(home, read_only=True, probe=False)
    return [record.id for record in images.read_all(opened)], layers_in(home)


#: One step in so many is tried, as each takes long under watch. Those of applying and removing layers are tried one
#: by one in test_crashes.py.
STRIDE = 5


def test_a_kill_at_any_step_leaves_an_image_or_none_and_the_next_run_goes_on(home, opened, provide, simple):
    name = "docker.io/library/shop:v1"

    def act():
        provide(simple, "shop:v1")

    provide(simple, "shop:v1")  # makes the directory of the records
    images.release(opened, "ansible", name)
    total = steps.count(act)
    images.release(opened, "ansible", name)
    applied = set()
    for number in range(1, total + 1, STRIDE):
        assert steps.kill_before(number, act), number
        opened.staging.sweep()
        found, layers = state(home)
        assert found == [] or set(layers) == set(IDS), number
        assert homes.flaws(home) == [], number
        applied.add(len(layers))
        with images.open_source(simple) as source:
            done = images.provide(opened, source, images.wanted("shop:v1"), "ansible")
        assert sum(layer.action == "kept" for layer in done.layers) == len(layers), number
        assert state(home) == ([done.image.id], sorted(IDS)), number
        assert os.listdir(os.path.join(home, ".images")) == [done.after.file_name], number
        images.release(opened, "ansible", name)
        assert state(home) == ([], []), number
    assert applied >= {0, 1}


@pytest.mark.parametrize(
    ("function", "found"),
    [("remove_image", (1, IDS)), ("hide", (0, IDS)), ("delete", (0, IDS[:1])), ("sweep_locked", (0, []))],
)
def test_a_kill_while_an_image_is_removed_leaves_it_or_layers_without_image(
    home, opened, provide, simple, function, found
):
    """At named functions: how many steps it takes depends on the processes of the host, which are asked for users."""
    name = "docker.io/library/shop:v1"
    provide(simple, "shop:v1")
    steps.kill_in(function, lambda: images.release(opened, "ansible", name))
    opened.staging.sweep()
    kept, layers = state(home)
    assert (len(kept), layers) == (found[0], sorted(found[1]))
    assert homes.flaws(home) == []
    images.release(opened, "ansible", name)
    images.sweep(opened, keep=-1)
    assert state(home) == ([], [])


def test_an_archive_that_shrinks_while_it_is_read(home, provide, real_tmp, monkeypatch):
    path = make.tarred(make.simple(real_tmp / "a", make.BASE, compression=""), real_tmp / "a.tar")
    real = provision.refuse_space

    def shrink(*arguments):
        os.truncate(path, 4096)
        real(*arguments)

    monkeypatch.setattr(provision, "refuse_space", shrink)
    with pytest.raises(Overlay2Error, match="layer 1 of 1"):
        provide(path)
    assert layers_in(home) == []


def test_it_is_not_there(provide, simple):
    with pytest.raises(ImageNotFound, match=r"it has v1"):
        provide(simple, "nginx:1")
