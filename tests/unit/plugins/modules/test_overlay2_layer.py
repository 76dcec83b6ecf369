# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What overlay2_layer says of archives, and of layers that are damaged."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import Driver
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import ArchiveError, LayerNotFound
from ansible_collections.strata.overlay2.plugins.modules.overlay2_layer import is_empty, opened, size_of
from support import modules, trees


def test_emptiness_and_size(home):
    driver = Driver(home)
    driver.create("web")
    folder = os.path.join(home, "web", "diff")
    assert is_empty(folder)
    assert size_of(driver, "web") == 0
    with open(os.path.join(folder, "file"), "wb") as file:
        file.write(b"12345")
    assert not is_empty(folder)
    assert size_of(driver, "web") == 5


def test_a_layer_that_lost_its_folder_has_no_size(home):
    driver = Driver(home)
    driver.create("web")
    os.rmdir(os.path.join(home, "web", "diff"))
    assert is_empty(os.path.join(home, "web", "diff"))
    assert size_of(driver, "web") is None


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(ArchiveError, match="No such file") as caught, opened(str(tmp_path / "a.tar"), "web"):
        pass
    assert (caught.value.layer, caught.value.path) == ("web", str(tmp_path / "a.tar"))
    assert "target" in caught.value.remedy


def test_errors_about_an_archive_name_it(tmp_path):
    (tmp_path / "a.tar").touch()
    with pytest.raises(ArchiveError) as caught, opened(str(tmp_path / "a.tar"), "web"):
        raise ArchiveError("no good")
    assert (caught.value.layer, caught.value.path) == ("web", str(tmp_path / "a.tar"))
    with pytest.raises(ArchiveError) as caught, opened(str(tmp_path / "a.tar"), "web"):
        raise ArchiveError("no good", path="etc/passwd")
    assert caught.value.path == "etc/passwd"


def test_other_errors_are_left_alone(tmp_path):
    """A missing parent is a FileNotFoundError too, and not about the archive."""
    (tmp_path / "a.tar").touch()
    with pytest.raises(LayerNotFound), opened(str(tmp_path / "a.tar"), "web"):
        raise LayerNotFound("no such layer", layer="base")


# --- the module as a whole --------------------------------------------------------------------------------------------


@pytest.fixture
def archive(real_tmp):
    """Path of an archive that takes a moment to apply."""
    path = real_tmp / "rootfs.tar"
    path.write_bytes(trees.archive({"etc/": None, "etc/conf": b"one", "big": bytes(8 << 20)}))
    return str(path)


@pytest.mark.parametrize("option", ["digest", "size", "owner"])
def test_an_empty_option_is_an_error(home, option):
    result = modules.run("overlay2_layer", home=home, id="web", read_write=True, **{option: ""})
    assert (result.get("failed"), result.get("error")) == (True, "OptionError")
    assert result["layer_id"] in (None, "web")
    assert not os.path.lexists(os.path.join(home, "web"))


def test_many_tasks_that_create_the_same_layer(home, archive):
    """One creates it, and the others find it as they want it."""
    processes = [modules.start("overlay2_layer", home=home, id="web", src=archive) for _number in range(4)]
    results = [modules.result(process) for process in processes]
    assert [result.get("msg") for result in results] == [None] * 4
    assert sorted(result["changed"] for result in results) == [False, False, False, True]
    assert len({result["layer"]["diff_id"] for result in results}) == 1


def test_the_size_is_the_recorded_one(home, archive):
    size = 3 + (8 << 20)
    for changed in (True, False):
        result = modules.run("overlay2_layer", home=home, id="web", src=archive)
        assert (result["changed"], result["layer"]["size"]) == (changed, size)
    (Path(home) / "web" / "diff" / "etc" / "conf").unlink()
    assert modules.run("overlay2_layer", home=home, id="web")["layer"]["size"] == size, "it was not counted again"
    assert modules.run("overlay2_layer", home=home, id="web", measure=True)["layer"]["size"] == size - 3


def test_a_layer_that_is_written_to_is_measured_on_request(home):
    arguments = {"home": home, "id": "web", "read_write": True}
    assert modules.run("overlay2_layer", **arguments)["layer"]["size"] is None
    assert modules.run("overlay2_layer", measure=True, **arguments)["layer"]["size"] == 0


def test_absent_refuses_what_a_process_uses(home, spawn):
    driver = Driver(home)
    driver.create("base")
    driver.create_read_write("web", "base")
    path = driver.get("web", holder="shop")
    process = spawn(["sh", "-c", "echo there; read line"], cwd=path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"there\n"
    driver.put("web", holder="shop")
    for check_mode in (True, False):
        result = modules.run("overlay2_layer", check_mode, home=home, id="web", state="absent")
        assert result["error"] == "LayerInUse"
        assert f"processes use it: {process.pid} (sh)" in result["msg"]
    assert driver.exists("web")
    assert modules.run("overlay2_layer", home=home, id="web", state="absent", force=True)["changed"]


def test_absent_refuses_a_base_that_a_process_uses(home, spawn):
    driver = Driver(home)
    driver.create("web")
    path = driver.get("web")
    process = spawn(["sh", "-c", "echo there; read line"], cwd=path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"there\n"
    driver.put("web")
    result = modules.run("overlay2_layer", home=home, id="web", state="absent")
    assert f"processes use it: {process.pid} (sh)" in result["msg"]
    process.communicate(b"\n", timeout=30)
    assert modules.run("overlay2_layer", home=home, id="web", state="absent")["changed"]


def test_an_owner_survives_and_protects(home):
    assert modules.run("overlay2_layer", home=home, id="web")["layer"]["owner"] is None
    for check_mode, changed in ((True, True), (False, True), (False, False)):
        result = modules.run("overlay2_layer", check_mode, home=home, id="web", owner="shop")
        assert (result["changed"], result["layer"]["owner"]) == (changed, "shop")
    result = modules.run("overlay2_layer", home=home, id="web", owner="db", state="absent")
    assert "belongs to shop, not to db" in result["msg"]
    assert modules.run("overlay2_layer", home=home, id="web", owner="shop", state="absent")["changed"]


def in_namespace(home, archive):
    return modules.run("overlay2_layer", home=home, id="web", src=archive)


def test_devices_that_are_left_out_are_counted(home, real_tmp, userns):
    path = real_tmp / "devices.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("null", "zero"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.devmajor, entry.devminor = tarfile.CHRTYPE, 1, 3
            archive.addfile(entry)
    result = userns(in_namespace, home, str(path))
    assert (result["changed"], result["skipped_devices"], result["dropped_attributes"]) == (True, 2, 0)
    assert "2 devices" in str(result["warnings"])
    again = userns(in_namespace, home, str(path))
    assert (again["changed"], again["skipped_devices"]) == (False, 0)


def test_attributes_that_are_left_out_are_counted(home, real_tmp):
    path = real_tmp / "mac.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("file")
        entry.pax_headers = {"SCHILY.xattr.com.apple.quarantine": "x"}
        archive.addfile(entry)
    result = modules.run("overlay2_layer", home=home, id="web", src=str(path))
    assert (result["changed"], result["dropped_attributes"], result["skipped_devices"]) == (True, 1, 0)
    assert "com.apple.quarantine" in str(result["warnings"])
