# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Layers, mounts, owners and findings as plain data."""

from __future__ import annotations

import json

from overlay2 import Layer, records
from overlay2.health import Finding, Step
from overlay2.home.layer import LayerPaths
from overlay2.home.quota import QuotaUsage
from overlay2.owners import Evidence, Owner, Ownership, Report

PATHS = LayerPaths("/home/web/diff", "/home/web/work", "")


def same_as_json(record):
    """The record, which holds nothing that JSON does not."""
    assert json.loads(json.dumps(record)) == record
    return record


def test_a_layer():
    quota = QuotaUsage(7, 8192, 10, 3)
    layer = Layer("web", None, ("base",), ("l/B",), "W", True, None, None, quota, ("torn",), owner="shop", size=9)
    record = same_as_json(records.layer_record(layer, PATHS, 12))
    assert (record["owner"], record["size"], record["problems"]) == ("shop", 12, ["torn"])
    assert records.layer_record(layer, PATHS)["size"] == 9
    assert (record["upper_dir"], record["work_dir"], record["merged_dir"]) == PATHS
    assert record["quota"] == {"project_id": 7, "limit": 8192, "used": 10, "inodes": 3}
    assert records.layer_record(layer._replace(quota=None), PATHS)["quota"] is None


def test_a_mount():
    record = same_as_json(records.mount_record("web", "/home/web/merged", True, {"shop": 2, "": 1}))
    assert (record["ref_count"], record["holders"]) == (3, {"shop": 2, "": 1})
    unknown = records.mount_record("web", "/home/web/merged", True, None)
    assert (unknown["ref_count"], unknown["holders"]) == (None, None)


def test_a_finding():
    finding = Finding("link-empty", "web", "/home/web/link", "it is empty", "Write it", Step("/home/web/link", "", ""))
    record = same_as_json(records.finding_record(finding))
    assert (record["severity"], record["layer"], record["repairable"]) == ("error", "web", True)
    assert not records.finding_record(finding._replace(step=None))["repairable"]


def test_owners():
    owner = Owner("image", "sha256:1", ("shop:4",), "tagged", False, (Evidence("/x", "y"),))
    ownership = Ownership("web", "image", (owner,), reason="it is", evidence=(Evidence("/x", "y"), Evidence("/z")))
    record = same_as_json(records.owners_record(Report("/home", "dockerd", "/root", None, {"web": ownership})))
    assert (record["engine"], record["running"], record["counts"]["image"]) == ("dockerd", None, 1)
    (layer,) = record["layers"]
    assert (layer["id"], layer["names"], layer["state"]) == ("web", ["shop:4"], "tagged")
    assert layer["evidence"] == ["/x: y", "/z"]
    assert layer["owners"] == [
        {"kind": "image", "id": "sha256:1", "names": ["shop:4"], "state": "tagged", "direct": False}
    ]
