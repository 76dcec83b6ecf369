# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""RETURN has no fragments, so records are documented wherever they are returned: those places must agree."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import records
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.health import Finding
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.home.layer import Layer, LayerPaths
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.home.quota import QuotaUsage
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.owners import Owner, Ownership, Report

MODULES = Path(__file__).resolve().parents[4] / "plugins/modules"
NAMES = sorted(file.stem for file in MODULES.glob("overlay2_*.py"))
FAILURE = ("error", "layer_id", "error_path", "remedy")

PATHS = LayerPaths("/home/web/diff", "/home/web/work", "/home/web/merged")
QUOTA = QuotaUsage(7, 8192, 10, 3)
LAYER = records.layer_record(Layer("web", "", (), (), "W", False, quota=QUOTA), PATHS)
OWNERS = records.owners_record(
    Report("/home", "dockerd", "/root", True, {"web": Ownership("web", "image", (Owner("image", "sha256:1"),))})
)
#: Where a record is documented: (module, path of keys), and an example of the record.
RECORDS = [
    ("overlay2_info", ("layers",), LAYER),
    ("overlay2_layer", ("layer",), LAYER),
    ("overlay2_info", ("mounts",), records.mount_record("web", "/home/web/merged", True, {})),
    ("overlay2_info", ("quota",), dict(records.quota_record(QUOTA), id="web")),
    ("overlay2_info", ("layers", "quota"), records.quota_record(QUOTA)),
    ("overlay2_layer", ("layer", "quota"), records.quota_record(QUOTA)),
    ("overlay2_info", ("owners",), OWNERS),
    ("overlay2_info", ("owners", "layers"), OWNERS["layers"][0]),
    ("overlay2_info", ("health",), records.finding_record(Finding("link-empty", "web", "/x", "is", "do"))),
]


def documented(module):
    """The RETURN documentation of a module."""
    package = "ansible_collections.strata.overlay2.plugins.modules"
    return yaml.safe_load(importlib.import_module(f"{package}.{module}").RETURN)


def contained(module, path):
    """What a key of the documentation contains."""
    keys = documented(module)
    for name in path:
        keys = keys[name]["contains"]
    return keys


@pytest.mark.parametrize(("module", "path", "record"), RECORDS)
def test_records_are_documented_as_they_are(module, path, record):
    keys = contained(module, path)
    assert set(keys) == set(record)
    for name, value in record.items():
        assert value is None or type(value).__name__ == keys[name]["type"], name


def test_a_layer_is_the_same_in_every_module():
    def outline(keys):
        return {name: (one["type"], outline(one.get("contains", {}))) for name, one in keys.items()}

    assert outline(contained("overlay2_info", ("layers",))) == outline(contained("overlay2_layer", ("layer",)))


@pytest.mark.parametrize("module", NAMES)
def test_a_failure_is_the_same_in_every_module(module):
    keys, reference = documented(module), documented("overlay2_info")
    for name in FAILURE:
        for field in ("type", "returned"):
            assert keys[name][field] == reference[name][field], name
