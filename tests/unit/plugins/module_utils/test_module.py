# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What stands between a task and the driver."""

from __future__ import annotations

import json
import logging
import os

import pytest
from ansible_collections.strata.overlay2.plugins.module_utils import _module
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import Driver, errors

testing = pytest.importorskip("ansible.module_utils.testing")


@pytest.fixture
def run(capsys, home):
    """run(job, **arguments): what a module that does ``job`` says to Ansible (dict)."""

    def call(job, arguments=None, **arguments_given):
        given = dict({"home": home}, **arguments_given)
        with testing.patch_module_args(given), pytest.raises(SystemExit):
            _module.DriverModule(arguments or {}).run(job)
        return json.loads(capsys.readouterr().out)

    return call


def raising(error):
    def job(module):
        raise error

    return job


def test_a_result_is_passed_on_as_it_is(run):
    result = run(lambda module: {"changed": True, "path": "/", "size": 7})
    assert result["changed"]
    assert result["size"] == 7
    assert "owner" not in result


def test_a_driver_error_is_told_in_parts(run):
    result = run(raising(errors.LayerInUse("it is held by web", layer="app", path="/x", remedy="Unmount it")))
    assert result["failed"]
    assert result["msg"] == "layer app: it is held by web (path: /x). Unmount it"
    parts = {key: result[key] for key in ("error", "layer_id", "error_path", "remedy")}
    assert parts == {"error": "LayerInUse", "layer_id": "app", "error_path": "/x", "remedy": "Unmount it"}
    assert not {"layer", "path"} & set(result), "they mean something else on success"
    assert "Traceback" not in json.dumps(result)


def test_an_error_of_the_system_is_told_likewise(run):
    result = run(raising(PermissionError(1, "Operation not permitted", "/x")))
    assert result["failed"]
    assert result["msg"].startswith("Operation not permitted (path: /x). ")
    assert result["error_path"] == "/x"


def test_a_bug_is_not_hidden(home):
    with testing.patch_module_args({"home": home}), pytest.raises(ZeroDivisionError):
        _module.DriverModule({}).run(lambda module: 1 // 0)


def test_warnings_of_the_driver_are_the_tasks(run):
    log = logging.getLogger("overlay2")

    def job(module):
        log.info("of no interest")
        log.warning("layer %s: look here", "web")
        log.warning("layer %s: look here", "web")
        log.error("and here")
        return {"changed": False}

    handlers = list(log.handlers)
    warnings = [warning if isinstance(warning, str) else str(warning) for warning in run(job)["warnings"]]
    assert len(warnings) == 2
    assert "layer web: look here" in warnings[0]
    assert "and here" in warnings[1]
    assert log.handlers == handlers


@pytest.mark.parametrize(
    ("check_mode", "make_home", "made"), [(False, True, True), (False, False, False), (True, True, False)]
)
def test_a_missing_home_is_made_only_where_it_is_needed(run, home, check_mode, make_home, made):
    missing = os.path.join(home, "new")
    answers = []
    run(
        lambda module: answers.append(module.open_driver(make_home=make_home)) or {},
        home=missing,
        _ansible_check_mode=check_mode,
    )
    assert (answers[0] is not None) == made
    assert os.path.isdir(missing) == made


def test_check_mode_opens_for_reading(run, home):
    modes = []
    for check_mode in (False, True):
        run(lambda module: modes.append(module.open_driver().read_only) or {}, _ansible_check_mode=check_mode)
    assert modes == [False, True]


def test_a_layer_that_is_needed(run, home):
    spec = {"id": {"type": "str"}}
    missing = run(lambda module: {"layer": module.require_layer(module.open_driver())}, spec, id="web")
    assert missing["error"] == "LayerNotFound"
    assert missing["error_path"] == os.path.join(home, "web")
    assert "overlay2_layer" in missing["remedy"]
    foreseen = run(
        lambda module: {"layer": module.require_layer(module.open_driver())}, spec, id="web", _ansible_check_mode=True
    )
    assert foreseen["layer"] is None
    assert "web does not exist; assuming that an earlier task creates it" in str(foreseen["warnings"])


def test_find_layer(home):
    assert _module.find_layer(None, "web") is None
    driver = Driver(home)
    assert _module.find_layer(driver, "web") is None
    driver.create("web")
    assert _module.find_layer(driver, "web").id == "web"
    for nowhere in (None, driver):
        with pytest.raises(errors.InvalidLayerId):
            _module.find_layer(nowhere, "../web")


def test_names_fit_into_json(run):
    assert _module.plain_text("/straße") == "/straße"
    name = os.fsdecode(b"/bad\xff")
    assert _module.plain_text(name) == "/bad\\udcff"
    told = run(lambda module: {"layer": {"id": name}, "holders": {name: 1}, "kept": [name, 5, None]})
    assert (told["layer"], told["holders"]) == ({"id": "/bad\\udcff"}, {"/bad\\udcff": 1})
    assert told["kept"] == ["/bad\\udcff", 5, None]
