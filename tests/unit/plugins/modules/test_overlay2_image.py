# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What overlay2_image returns, in check mode as in the real run, and what it refuses."""

from __future__ import annotations

import os

import pytest
import yaml
from ansible_collections.strata.overlay2.plugins.modules import overlay2_image
from support import images as make
from support import modules

TARS = (make.BASE, make.TOP)
IDS = make.ids(*TARS)
RETURNED = set(yaml.safe_load(overlay2_image.RETURN)) - {"error", "layer_id", "error_path", "remedy"}


@pytest.fixture
def simple(real_tmp):
    """A layout with one image of two layers."""
    return make.simple(real_tmp / "simple", *TARS, ref_name="v1")


def run(home, check_mode=False, **arguments):
    return modules.run("overlay2_image", check_mode, home=home, options=["overlay2.sync=none"], **arguments)


def without_space(result):
    return {key: value for key, value in result.items() if key not in ("space_free", "invocation")}


def test_check_real_again(home, simple):
    os.rmdir(home)
    check = run(home, True, src=simple, reference="shop:v1")
    assert not os.path.exists(home)
    real = run(home, src=simple, reference="shop:v1")
    assert check["changed"]
    assert real["changed"]
    assert without_space(check) == without_space(real)
    assert set(real) >= RETURNED
    assert real["chain_ids"] == make.chain_ids(*TARS)
    assert real["top_layer"] == IDS[1]
    assert [(layer["id"], layer["action"]) for layer in real["layers"]] == [(id, "applied") for id in IDS]
    assert [layer["created_by"] for layer in real["layers"]] == ["step 0", "step 1"]
    assert real["config"]["entrypoint"] == ["/run"]
    assert real["config"]["env"] == {"PATH": "/bin", "EMPTY": ""}
    assert (real["reference"], real["platform"]) == ("docker.io/library/shop:v1", "linux/amd64")
    assert real["diff"]["before"] == {"references": [], "holders": [], "layers": []}
    assert real["diff"]["after"]["layers"] == IDS
    again = run(home, src=simple, reference="shop:v1")
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"]
    assert [layer["action"] for layer in again["layers"]] == ["kept", "kept"]
    assert again["space_needed"] == 0


def test_absent(home, simple):
    run(home, src=simple, reference="shop:v1", holder="one")
    run(home, src=simple, reference="shop:v1", holder="two")
    first = run(home, reference="shop:v1", holder="one", state="absent")
    assert (first["changed"], first["holders"]) == (True, ["two"])
    assert [layer["action"] for layer in first["layers"]] == ["kept", "kept"]
    check = run(home, True, reference="shop:v1", holder="two", state="absent")
    real = run(home, reference="shop:v1", holder="two", state="absent")
    assert without_space(check) == without_space(real)
    assert [layer["action"] for layer in real["layers"]] == ["removed", "removed"]
    again = run(home, reference="shop:v1", holder="two", state="absent")
    assert not again["changed"]
    assert set(again) >= RETURNED
    assert [name for name in os.listdir(home) if not name.startswith(".")] == ["l"]


def test_force_gives_back_for_all(home, simple):
    image = run(home, src=simple, holder="one")["image_id"]
    assert not run(home, digest=image, state="absent")["changed"]
    assert run(home, digest=image, state="absent", force=True)["changed"]


def test_registries_are_not_implemented(home):
    result = run(home, reference="shop:4.2")
    assert result["failed"]
    assert "not implemented yet" in result["msg"]
    assert "skopeo copy docker://shop:4.2" in result["remedy"]


@pytest.mark.parametrize("option", ["reference", "src", "platform", "holder", "digest"])
def test_an_empty_option_is_an_error(home, simple, option):
    result = run(home, **{"src": simple, option: ""})
    assert (result["failed"], result["error"]) == (True, "OptionError")


def test_absent_needs_a_name(home):
    assert run(home, state="absent")["error"] == "OptionError"


def test_a_refused_image_makes_no_home(home, real_tmp):
    os.rmdir(home)
    path = make.simple(real_tmp / "a", *TARS, rootfs={"type": "nonsense"})
    result = run(home, src=path)
    assert (result["error"], result["error_path"]) == ("ImageError", path)
    assert not os.path.exists(home)


def test_a_source_that_is_missing_in_check_mode(home, real_tmp):
    result = run(home, True, src=str(real_tmp / "later"), reference="shop:v1")
    assert result["changed"]
    assert "assuming that an earlier task creates it" in str(result["warnings"])
