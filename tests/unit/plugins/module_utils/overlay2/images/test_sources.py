# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Which image of a layout or an archive is meant, and the sources that are refused."""

from __future__ import annotations

import json
import os

import pytest
from overlay2 import images
from overlay2.errors import CorruptArchive, DigestMismatch, ImageError, ImageNotFound, NotSupported, Overlay2Error
from overlay2.images import tarindex
from overlay2.images.descriptors import Digest
from support import images as make
from support import trees


def choose(path, reference="", platform="", digest=""):
    with images.open_source(str(path)) as source:
        return source.choose(images.wanted(reference, platform, digest))


def other(number):
    """A tar that differs from those of other numbers."""
    return trees.archive({f"file-{number}": b"%d" % number})


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(real_tmp):
    """A layout with two images by different conventions."""
    layout = make.Layout(real_tmp / "two")
    first = make.named(layout.image(other(1)), "v1")
    second = make.named(layout.image(other(2)), "v2", "docker.io/library/shop:v2")
    return layout.finish(first, second), first, second


@pytest.mark.parametrize(
    ("reference", "number"),
    [("v1", 0), ("anything:v1", 0), ("shop:v2", 1), ("docker.io/library/shop:v2", 1), ("v2", 1)],
)
def test_by_name(two, reference, number):
    path, *entries = two
    image, _names = choose(path, reference)
    assert image.manifest_digest == entries[number]["digest"]


def test_a_tag_alone_does_not_mean_an_image_of_another_name(two):
    """Else `nginx:v2` would be a shop."""
    with pytest.raises(ImageNotFound, match=r"nginx:v2; it has v1; docker.io/library/shop:v2"):
        choose(two[0], "nginx:v2")


def test_by_digest(two):
    path, first, second = two
    for entry in (first, second):
        image, _names = choose(path, digest=entry["digest"])
        assert image.manifest_digest == entry["digest"]
        assert choose(path, digest=image.id)[0] == image
    assert choose(path, "shop@" + second["digest"])[0].manifest_digest == second["digest"]
    with pytest.raises(ImageNotFound, match="does not have an image with the digest"):
        choose(path, digest="sha256:" + "0" * 64)
    with pytest.raises(ImageNotFound, match="does not have the digest"):
        choose(path, "v1", digest=second["digest"])


def test_several_images_need_a_name(two):
    with pytest.raises(ImageError, match=r"several images: v1; docker\.io/library/shop:v2"):
        choose(two[0])


def test_an_image_without_name_is_taken_if_it_is_the_only_one(real_tmp):
    path = make.simple(real_tmp / "a", make.BASE)
    assert choose(path)[0] == choose(path, "shop:4.2")[0]
    layout = make.Layout(real_tmp / "b")
    path = layout.finish(layout.image(other(1)), layout.image(other(2)))
    for reference in ("", "shop:4.2"):
        with pytest.raises(ImageError, match="without name"):
            choose(path, reference)


def test_of_one_name_given_twice_the_last_counts(real_tmp):
    layout = make.Layout(real_tmp / "a")
    entries = [make.named(layout.image(other(number)), "v1") for number in (1, 2)]
    path = layout.finish(*[make.on(entry, "linux/amd64") for entry in entries])
    assert choose(path, "v1", "linux/amd64")[0].manifest_digest == entries[1]["digest"]


def test_names_of_an_archive(real_tmp):
    path = make.docker(real_tmp / "a.tar", make.BASE, tags=("shop:4.2", "host.example/shop:latest", "\x1b[31m"))
    for reference in ("shop:4.2", "host.example/shop"):
        image, names = choose(path, reference)
        assert image.manifest_digest is None
        assert names == ("docker.io/library/shop:4.2", "host.example/shop:latest")
    with pytest.raises(ImageNotFound) as caught:
        choose(path, "nginx")
    assert "\x1b" not in str(caught.value)


# --- platforms --------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(real_tmp):
    """A layout with an index of several platforms, an attestation and an artifact, in an index of its own."""
    layout = make.Layout(real_tmp / "many")
    images_ = {
        name: make.on(layout.image(other(number), architecture=name.split("/")[1]), name)
        for number, name in enumerate(("linux/amd64", "linux/arm/v7", "linux/arm64/v8"))
    }
    unknown = {
        **layout.put(b"{}", "application/vnd.example.thing"),
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    index = layout.index(
        make.on(layout.image(other(8)), "unknown/unknown"),
        {**images_["linux/amd64"], "artifactType": "application/vnd.example"},
        unknown,
        *images_.values(),
    )
    return layout.finish(make.named(layout.index(index), "v1")), images_, index


@pytest.mark.parametrize(
    ("platform", "name"),
    [("linux/amd64", "linux/amd64"), ("amd64", "linux/amd64"), ("linux/arm64", "linux/arm64/v8"),
     ("linux/arm/v8", "linux/arm/v7")],
)  # fmt: skip
def test_by_platform(many, platform, name):
    path, known, _index = many
    image, _names = choose(path, "v1", platform)
    assert image.manifest_digest == known[name]["digest"]


def test_the_index_is_named_by_the_entry(many):
    path, known, _index = many
    image, _names = choose(path, "v1", "linux/amd64")
    with open(path + "/index.json", encoding="ascii") as index:
        listed = json.load(index)["manifests"][0]
    assert image.index_digest == listed["digest"]
    assert (
        choose(path, platform="linux/arm64", digest=listed["digest"])[0].manifest_digest
        == (known["linux/arm64/v8"]["digest"])
    )


def test_a_digest_within_an_index_decides_whatever_the_platform(many):
    path, known, _index = many
    digest = known["linux/arm64/v8"]["digest"]
    assert choose(path, "v1", digest=digest)[0].manifest_digest == digest
    assert choose(path, "x:v1@" + digest)[0].manifest_digest == digest


def test_a_platform_that_is_not_there(many):
    with pytest.raises(ImageNotFound, match=r"for linux/s390x, but for linux/amd64, linux/arm/v7, linux/arm64$"):
        try:
            choose(many[0], "v1", "linux/s390x")
        except ImageNotFound as error:
            raise ImageNotFound(error.message) from None


def test_entries_without_platform_are_told_by_their_configurations(real_tmp):
    layout = make.Layout(real_tmp / "a")
    entries = [layout.image(other(number), architecture=name) for number, name in enumerate(("amd64", "s390x"))]
    path = layout.finish(layout.index(*entries))
    for entry, name in zip(entries, ("amd64", "s390x")):
        assert choose(path, platform="linux/" + name)[0].manifest_digest == entry["digest"]


def test_a_single_image_for_another_platform(real_tmp, caplog):
    path = make.simple(real_tmp / "a", make.BASE, architecture="s390x")
    assert str(choose(path)[0].config.platform) == "linux/s390x"
    assert "is for linux/s390x" in caplog.text
    assert choose(path, platform="linux/s390x")
    with pytest.raises(ImageNotFound, match="for linux/amd64, but for linux/s390x"):
        choose(path, platform="linux/amd64")


# --- documents that are refused ---------------------------------------------------------------------------------------


def broken(real_tmp, edit):
    """A layout whose manifest or configuration *edit* changes; it gets (layout, manifest: dict, config: dict)."""
    layout = make.Layout(real_tmp / "broken")
    config, manifest = make.config_of(make.BASE), {"layers": layout.layers(make.BASE)}
    edit(layout, manifest, config)
    return layout.finish(layout.manifest(config, **manifest))


FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
REFUSED = {
    "is an index and a manifest": lambda _o, manifest, _c: manifest.update(manifests=[]),
    "of schema 1": lambda _o, manifest, _c: manifest.update(schemaVersion=1),
    "is of schema 1": lambda _o, manifest, _c: manifest.update(fsLayers=[]),
    "no schemaVersion": lambda _o, manifest, _c: manifest.update(schemaVersion="2"),
    "calls itself": lambda _o, manifest, _c: manifest.update(
        mediaType="application/vnd.docker.distribution.manifest.v2+json"
    ),
    "not of a container image": lambda _o, manifest, _c: manifest.update(artifactType="application/vnd.example"),
    "encrypted": lambda _o, manifest, _c: manifest["layers"][0].update(mediaType=make.LAYER + "+gzip+encrypted"),
    "unknown media type": lambda _o, manifest, _c: manifest["layers"][0].update(mediaType="application/vnd.\x1b"),
    "rootfs.type": lambda _o, _m, config: config["rootfs"].update(type="nonsense"),
    "2 diff IDs": lambda _o, _m, config: config["rootfs"]["diff_ids"].append("sha256:" + "1" * 64),
    "0 diff IDs": lambda _o, _m, config: config["rootfs"]["diff_ids"].pop(),
    "invalid digest": lambda _o, _m, config: config["rootfs"].update(diff_ids=["../../etc/passwd"]),
    "diff IDs of sha512": lambda _o, _m, config: config["rootfs"].update(diff_ids=["sha512:" + "1" * 128]),
    "is for windows": lambda _o, _m, config: config.update(os="windows"),
    "129 layers": lambda _o, _m, config: config["rootfs"].update(diff_ids=["sha256:" + "1" * 64] * 129),
    "'Env' is not": lambda _o, _m, config: config["config"].update(Env="PATH=/bin"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_refused_documents(real_tmp, words):
    path = broken(real_tmp, REFUSED[words])
    with pytest.raises(Overlay2Error, match=words) as caught:
        choose(path)
    assert caught.value.path
    assert caught.value.remedy
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "media_type", ["application/vnd.oci.empty.v1+json", "application/vnd.cncf.helm.config.v1+json"]
)
def test_artifacts_are_not_images(real_tmp, media_type):
    layout = make.Layout(real_tmp / "a")
    document = {"schemaVersion": 2, "config": layout.put(b"{}", media_type), "layers": []}
    path = layout.finish(layout.put(document, make.MANIFEST))
    with pytest.raises(ImageError, match="not of a container image"):
        choose(path)


def test_a_manifest_or_configuration_that_was_altered(real_tmp):
    layout = make.Layout(real_tmp / "a")
    entry = layout.image(make.BASE)
    path = layout.finish(entry)
    manifest = layout.blob(entry)
    good = manifest.read_bytes()
    manifest.write_bytes(good.replace(b"gzip", b"zstd", 1))
    with pytest.raises(DigestMismatch, match="altered"):
        choose(path)
    manifest.write_bytes(good[:100])
    with pytest.raises(ImageError, match="has 100 bytes, and"):
        choose(path)
    manifest.unlink()
    with pytest.raises(ImageError, match="is missing"):
        choose(path)
    manifest.write_bytes(good)
    config = layout.blob(json.loads(good)["config"])
    config.write_bytes(config.read_bytes().replace(b"/run", b"/bad"))
    with pytest.raises(DigestMismatch, match=r"configuration sha256:.* altered"):
        choose(path)


def test_documents_without_media_type(real_tmp):
    layout = make.Layout(real_tmp / "a")
    inner = layout.image(make.BASE)
    index = layout.put({"schemaVersion": 2, "manifests": [{**make.on(inner, "linux/amd64"), "mediaType": ""}]})
    path = layout.finish({key: index[key] for key in ("digest", "size")})
    assert choose(path, platform="linux/amd64")[0].manifest_digest == inner["digest"]


def test_indexes_in_indexes(real_tmp):
    def nested(depth):
        layout = make.Layout(real_tmp / str(depth))
        entry = layout.image(make.BASE)
        for _level in range(depth):
            entry = layout.index(make.on(entry, "linux/amd64"))
        return layout.finish(entry)

    assert choose(nested(8), platform="linux/amd64")
    with pytest.raises(ImageError, match="nested more than 8"):
        choose(nested(9), platform="linux/amd64")


def test_an_index_that_names_itself(real_tmp):
    layout = make.Layout(real_tmp / "a")
    entry = {"mediaType": make.INDEX, "digest": "sha256:" + "2" * 64, "size": 0}
    content = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    entry["size"] = len(content)
    layout.blob(entry).write_bytes(content)
    with pytest.raises(Overlay2Error, match=r"has \d+ bytes, and|altered"):
        choose(layout.finish(entry))


def test_documents_have_a_limit(real_tmp):
    path = make.simple(real_tmp / "a", make.BASE)
    with open(path + "/index.json", "ab") as index:
        index.truncate(5 << 20)
    with pytest.raises(ImageError, match="larger than 4194304"):
        choose(path)


def test_an_unknown_version(real_tmp):
    path = make.simple(real_tmp / "a", make.BASE)
    (real_tmp / "a/oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(ImageError, match=r"version .*2\.0\.0"):
        choose(path)


def test_history_is_for_display(real_tmp, caplog):
    path = make.simple(real_tmp / "a", make.BASE, make.TOP)
    assert choose(path)[0].config.created_by == ("step 0", "step 1")
    history = [{"created_by": "one"}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "two"}]
    path = make.simple(real_tmp / "b", make.BASE, make.TOP, history=history)
    assert choose(path)[0].config.created_by == ("one", "two")
    path = make.simple(real_tmp / "c", make.BASE, make.TOP, history=history[:2])
    assert choose(path)[0].config.created_by == ("", "")
    assert "the history tells of 1 layers, and there are 2" in caplog.text


# --- directories and tars ---------------------------------------------------------------------------------------------


def test_what_is_not_an_image(real_tmp):
    (real_tmp / "empty").mkdir()
    (real_tmp / "text").write_text("root:x:0:0" * 100)
    os.mkfifo(real_tmp / "fifo")
    (real_tmp / "rootfs.tar").write_bytes(make.BASE)
    for name in ("empty", "text", "fifo", "rootfs.tar", "missing"):
        with pytest.raises(Overlay2Error) as caught:
            choose(real_tmp / name)
        assert caught.value.path == str(real_tmp / name)
        assert caught.value.remedy or name == "fifo"
        assert "root:x" not in str(caught.value)


def test_files_of_a_layout_that_are_something_else(real_tmp):
    """A link could show any file of the host, and a pipe would be waited on."""
    path = make.simple(real_tmp / "a", make.BASE)
    index = real_tmp / "a/index.json"
    content = index.read_bytes()
    index.unlink()
    os.mkfifo(index)
    with pytest.raises(ImageError, match="not a file"):
        choose(path)
    index.unlink()
    (real_tmp / "outside").write_bytes(content)
    index.symlink_to("../outside")
    with pytest.raises(ImageError, match=r"can't open index\.json"):
        choose(path)


@pytest.mark.parametrize("compression", ["", "gzip", "bzip2", "xz", "zstd"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_layout_in_a_tar(real_tmp, compression, prefix):
    path = make.simple(real_tmp / "a", make.BASE, make.TOP)
    assert choose(make.tarred(path, real_tmp / "a.tar", compression, prefix)) == choose(path)


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_a_tar_that_is_cut_short(real_tmp, compression):
    path = make.tarred(make.simple(real_tmp / "a", os.urandom(100_000)), real_tmp / "a.tar", compression)
    size = os.path.getsize(path)
    for end in (20_000, size // 2, 600):
        os.truncate(path, end)
        with pytest.raises((CorruptArchive, ImageError)):
            choose(path)


def test_links_in_an_archive(real_tmp):
    """Docker links layers that are equal, and skopeo all of them."""
    config = json.dumps(make.config_of(make.BASE, make.TOP, make.BASE)).encode()
    listed = ["1/layer.tar", "2/layer.tar", "3/layer.tar"]
    members = [
        ("./2/layer.tar", make.TOP),
        ("3/layer.tar", trees.symlink("../1/layer.tar")),
        ("1/layer.tar", trees.hard_link("deep/base.tar")),
        ("deep/base.tar", trees.symlink("./.././base.tar")),
        ("base.tar", make.BASE),
        ("config.json", config),
        ("manifest.json", [{"Config": "config.json", "RepoTags": None, "Layers": listed}]),
    ]
    image, names = choose(make.saved(real_tmp / "a.tar", members))
    assert [blob.size for blob in image.blobs] == [len(make.BASE), len(make.TOP), len(make.BASE)]
    assert names == ()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("../../etc/passwd", "leads out"),
        ("/etc/passwd", "leads out"),
        ("layer.tar", "in a circle"),
        ("x", "is missing"),
    ],
)
def test_links_that_lead_nowhere(real_tmp, target, words):
    path = make.saved(real_tmp / "a.tar", {
        "1/layer.tar": trees.symlink(target),
        "c.json": make.config_of(make.BASE),
        "manifest.json": [{"Config": "c.json", "RepoTags": None, "Layers": ["1/layer.tar"]}],
    })  # fmt: skip
    with pytest.raises(ImageError, match=words):
        choose(path)


def test_names_that_lead_out_of_the_archive(real_tmp):
    path = make.saved(real_tmp / "a.tar", {
        "../layer.tar": make.BASE,
        "c.json": make.config_of(make.BASE),
        "manifest.json": [{"Config": "c.json", "RepoTags": None, "Layers": ["../layer.tar"]}],
    })  # fmt: skip
    with pytest.raises(ImageError, match="is missing"):
        choose(path)


def test_too_many_members(real_tmp, monkeypatch):
    monkeypatch.setattr(tarindex, "MAX_MEMBERS", 3)
    path = make.docker(real_tmp / "a.tar", make.BASE, make.TOP)
    with pytest.raises(ImageError, match="more than 3 members"):
        choose(path)


# --- archives of docker save ------------------------------------------------------------------------------------------


def test_an_archive_without_manifest(real_tmp):
    path = make.saved(real_tmp / "a.tar", {"repositories": {"shop": {"4.2": "0" * 64}}})
    with pytest.raises(ImageError, match=r"before 1\.10"):
        choose(path)


@pytest.mark.parametrize(
    "manifest", [{}, [1], [{}], [{"Config": 1}], [{"Config": "c.json", "Layers": "x"}], [{"Config": "/etc/passwd"}]]
)
def test_malformed_manifests_of_archives(real_tmp, manifest):
    path = make.saved(real_tmp / "a.tar", {"c.json": make.config_of(make.BASE), "manifest.json": manifest})
    with pytest.raises(ImageError):
        choose(path)


def test_a_configuration_with_another_digest_than_its_name(real_tmp):
    name = "0" * 64 + ".json"
    path = make.saved(real_tmp / "a.tar", {
        "layer.tar": make.BASE,
        name: make.config_of(make.BASE),
        "manifest.json": [{"Config": name, "RepoTags": [], "Layers": ["layer.tar"]}],
    })  # fmt: skip
    with pytest.raises(DigestMismatch, match="altered"):
        choose(path)


def test_several_images_and_one_listed_twice(real_tmp):
    configs = [make.config_of(other(number)) for number in (1, 2)]
    members = {f"{number}.tar": other(number) for number in (1, 2)}
    members.update({f"c{number}.json": config for number, config in enumerate(configs, 1)})
    members["manifest.json"] = [
        {"Config": "c1.json", "RepoTags": ["shop:1"], "Layers": ["1.tar"]},
        {"Config": "c2.json", "RepoTags": ["shop:2"], "Layers": ["2.tar"]},
        {"Config": "c1.json", "RepoTags": ["shop:latest"], "Layers": ["1.tar"]},
    ]
    path = make.saved(real_tmp / "a.tar", members)
    assert choose(path, "shop:1") == choose(path, "shop")
    assert choose(path, "shop:2")[0].config.diff_ids == (make.digest(other(2)),)
    with pytest.raises(ImageError, match="several images"):
        choose(path)


def both_forms(real_tmp, order, tags=("shop:4.2",)):
    """A layout with a manifest.json, as Docker 25 writes; *order* is that of the layers in the OCI manifest."""
    layout = make.Layout(real_tmp / "both")
    config = make.config_of(make.BASE, make.TOP)
    layers = layout.layers(make.BASE, make.TOP, compression="")
    entry = layout.manifest(config, [layers[number] for number in order])
    path = layout.finish(entry)
    names = ["blobs/" + layer["digest"].replace(":", "/") for layer in layers]
    name = "blobs/" + make.digest(json.dumps(config).encode()).replace(":", "/")
    manifest = [{"Config": name, "RepoTags": list(tags), "Layers": names}]
    (real_tmp / "both/manifest.json").write_text(json.dumps(manifest))
    return make.tarred(path, real_tmp / "both.tar"), entry


def test_the_layout_is_preferred_and_the_names_are_those_of_both(real_tmp):
    path, entry = both_forms(real_tmp, (0, 1))
    image, names = choose(path, "shop:4.2")
    assert image.manifest_digest == entry["digest"]
    assert names == ("docker.io/library/shop:4.2",)


@pytest.mark.parametrize("order", [(1, 0), (0,), ()])
def test_a_wrong_layout_beside_a_right_manifest(real_tmp, caplog, order):
    """Docker 25.0.0 wrote layers in the wrong order, a release candidate before it none (moby#47150, moby#47065)."""
    path, _entry = both_forms(real_tmp, order)
    image, _names = choose(path, "shop:4.2")
    assert image.manifest_digest is None
    assert [str(blob.digest) for blob in image.blobs] == list(image.config.diff_ids)
    assert "manifest.json is taken instead" in caplog.text


def test_both_wrong(real_tmp):
    layout = make.Layout(real_tmp / "a")
    layers = layout.layers(make.TOP, make.BASE, compression="")
    path = layout.finish(layout.manifest(make.config_of(make.BASE, make.TOP), layers))
    with pytest.raises(ImageError, match="order of its layers is wrong"):
        choose(path)


def test_a_digest_that_nobody_can_verify(real_tmp):
    layout = make.Layout(real_tmp / "a")
    entry = layout.image(make.BASE)
    (real_tmp / "a/blobs/blake3").mkdir()
    moved = {**entry, "digest": Digest("blake3:" + "0" * 64)}
    layout.blob(moved).write_bytes(layout.blob(entry).read_bytes())
    with pytest.raises(NotSupported, match="blake3"):
        choose(layout.finish(moved))
