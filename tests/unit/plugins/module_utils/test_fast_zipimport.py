# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Out of a zip, as Ansible sends it, each source is compiled once, and errors still name the right file."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

MODULE_UTILS = Path(__file__).parents[4] / "plugins" / "module_utils"

PROGRAM = """
import collections, json, sys
compiled = collections.Counter()
sys.addaudithook(lambda event, args: compiled.update([str(args[1])]) if event == "compile" else None)
sys.path.insert(0, sys.argv[1])
%s
import utils.core.part
try:
    utils.core.part.fail()
except ZeroDivisionError as error:
    at = error.__traceback__.tb_next.tb_frame.f_code.co_filename
print(json.dumps([{name: count for name, count in compiled.items() if "core" in name}, at, utils.core.part.__file__]))
"""

INSTALL = "import utils._fast_zipimport; utils._fast_zipimport.install(); utils._fast_zipimport.install()"


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "sent.zip"
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("utils/__init__.py", "")
        target.write(MODULE_UTILS / "_fast_zipimport.py", "utils/_fast_zipimport.py")
        target.writestr("utils/core/__init__.py", "from . import part\n")
        target.writestr("utils/core/part.py", "def fail():\n    return 1 // 0\n")
    return path


def outcome(archive, first):
    done = subprocess.run([sys.executable, "-c", PROGRAM % first, archive], capture_output=True, check=True, text=True)
    return json.loads(done.stdout)


def test_each_source_is_compiled_once_and_keeps_its_name(archive):
    compiled, at, file = outcome(archive, INSTALL)
    part = f"{archive}/utils/core/part.py"
    assert compiled[part] == 1
    assert at == file == part


def test_without_it_python_compiles_twice(archive):
    """When this fails, the newest Python has mended it, and the module can go once that is the oldest supported."""
    compiled, _at, _file = outcome(archive, "")
    if 1 in compiled.values():
        pytest.skip("this Python compiles once by itself")
    assert set(compiled.values()) == {2}


def test_outside_a_zip_nothing_is_changed():
    before = list(sys.path_hooks)
    import ansible_collections.strata.overlay2.plugins.module_utils._fast_zipimport as module

    module.install()
    assert module.UncompiledNames not in before
    assert sys.path_hooks == before
