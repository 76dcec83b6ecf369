# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""One source tree, two names: what pip installs, and that the core stands alone."""

from __future__ import annotations

import ast
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import overlay2
import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "plugins/module_utils/overlay2"
IMPORT_BUDGET_MS = 30


def pyproject():
    """The project file as a dict; tomllib is there from Python 3.11, which the environment has."""
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def python_files(folder):
    """All Python files below *folder*, sorted."""
    return sorted(folder.rglob("*.py"))


def test_package_list_equals_the_folders():
    settings = pyproject()["tool"]["setuptools"]
    listed = set(settings["packages"])
    found = set()
    for package, folder in settings["package-dir"].items():
        for file in (ROOT / folder).rglob("*.py"):
            found.add(".".join((package, *file.parent.relative_to(ROOT / folder).parts)))
    assert listed == found


def test_package_data_is_there():
    """`py.typed` tells type checkers to read our annotations, and stubs and style sheets lie beside the modules."""
    settings = pyproject()["tool"]["setuptools"]
    for package, folder in settings["package-dir"].items():
        found = {file for pattern in settings["package-data"][package] for file in (ROOT / folder).glob(pattern)}
        assert ROOT / folder / "py.typed" in found
        others = {file for file in (ROOT / folder).rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
        assert others == found


def test_a_target_needs_nothing_but_python():
    assert pyproject()["project"]["dependencies"] == []


def test_the_installed_package_is_this_tree():
    assert Path(overlay2.__file__).resolve() == CORE / "__init__.py"


def test_versions_agree():
    galaxy = re.search(r"^version: (\S+)$", (ROOT / "galaxy.yml").read_text(), re.MULTILINE)
    assert galaxy[1] == pyproject()["project"]["version"]


def test_core_imports_itself_relatively_and_the_standard_library():
    """An absolute import of itself would drag Ansible along, and anything else would have to be installed first."""
    optional = {"backports", "compression"}  # tried, and reported when used
    wrong = []
    for file in python_files(CORE):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            for name in names:
                first = name.split(".")[0]
                if first not in sys.stdlib_module_names and first not in optional:
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: {name}")
    assert wrong == []


def floors():
    """The import contract of docs/architecture.md: (name of the floor, its number) by file name in the core."""
    contract = {}
    name = number = None
    for line in (ROOT / "docs/architecture.md").read_text().splitlines():
        heading = re.match(r"### Floor ((\d+)[a-z]?): ", line)
        row = re.match(r"\| `([\w/]+\.py)` \| \S", line)
        if heading:
            name, number = heading[1], int(heading[2])
        elif line.startswith("#"):
            name = None
        elif row and name:
            assert row[1] not in contract, f"{row[1]} is listed twice"
            contract[row[1]] = (name, number)
    return contract


def imported_files(file):
    """The files of the core that one imports, wherever the statement stands; relative to the core, with lines."""
    package = file.relative_to(CORE).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - node.level + 1] + tuple(node.module.split(".") if node.module else ())
        for parts in {(*base, alias.name) for alias in node.names} | {base}:
            path = CORE.joinpath(*parts)
            if path.with_suffix(".py").is_file():
                yield path.with_suffix(".py").relative_to(CORE).as_posix(), node.lineno
            elif path.is_dir() and path != CORE:  # `from . import x` runs no more than what runs already
                yield (path / "__init__.py").relative_to(CORE).as_posix(), node.lineno


def test_every_file_of_the_core_has_a_floor():
    """Both ways: list a new file in docs/architecture.md, and remove the row of one that is gone."""
    found = {file.relative_to(CORE).as_posix() for file in python_files(CORE)}
    listed = set(floors())
    assert sorted(found - listed) == []
    assert sorted(listed - found) == []


def test_no_module_imports_from_a_higher_floor():
    """Neither does one of floor 5a import from 5b, or the other way round."""
    contract = floors()
    wrong = []
    for file in python_files(CORE):
        name = file.relative_to(CORE).as_posix()
        for imported, line in imported_files(file):
            same, below = contract[imported][0] == contract[name][0], contract[imported][1] < contract[name][1]
            if not same and not below:
                wrong.append(f"{name}:{line}: imports {imported} of floor {contract[imported][0]}")
    assert wrong == []


def test_imports_form_no_cycle():
    pending = {}
    for file in python_files(CORE):
        name = file.relative_to(CORE).as_posix()
        package = (file.parent / "__init__.py").relative_to(CORE).as_posix()  # runs before the file does
        pending[name] = {imported for imported, _line in imported_files(file)} - {package}
    while pending:
        done = {name for name, imported in pending.items() if not imported & pending.keys()}
        assert done, f"cycle among {sorted(pending)}"
        pending = {name: imported for name, imported in pending.items() if name not in done}


def test_the_architecture_page_names_every_directory():
    page = (ROOT / "docs/architecture.md").read_text()
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    names = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0")
    found = {name.split("/")[0] for name in names if "/" in name and not name.startswith((".", "plugins/"))}
    found |= {"/".join(name.split("/")[:2]) for name in names if name.startswith("plugins/")}
    listed = {
        name for row in re.findall(r"^\| (`[^|]+`) \|", page, re.MULTILINE) for name in re.findall(r"`([\w/]+)`", row)
    }
    assert found == listed


def test_the_package_offers_its_names():
    """Lazily, yet as any package: all are there, listed, and no others."""
    assert {name for name in overlay2.__all__ if getattr(overlay2, name).__name__ == name} == set(overlay2.__all__)
    assert set(overlay2.__all__) <= set(dir(overlay2))
    with pytest.raises(AttributeError, match="no attribute 'Drivers'"):
        getattr(overlay2, "Drivers")  # noqa: B009


def test_import_stands_alone():
    """`overlay2` and all that it holds brings neither Ansible nor Textual, and starts no process."""
    modules = sorted(
        ".".join(("overlay2", *file.relative_to(CORE).with_suffix("").parts)).replace(".__init__", "")
        for file in python_files(CORE)
    )
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"ansible", "ansible_collections", "textual", "rich", "yaml"}


def test_import_time_is_reported(report):
    """In processor time, as the machine may be busy; told at the end of the run rather than asserted."""
    code = "import time; t = time.process_time(); from overlay2 import Driver; print((time.process_time() - t) * 1000)"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    taken = []
    for _number in range(7):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        taken.append(float(done.stdout))
        time.sleep(0.01)
    taken = statistics.median(taken[1:])
    excess = ", EXCEEDED" * (taken > IMPORT_BUDGET_MS)
    report(f"importing the driver: {taken:.1f} ms (budget {IMPORT_BUDGET_MS} ms{excess})")


def test_file_heads_name_the_licence():
    wrong = []
    files = [file for folder in ("plugins", "scripts", "tui") for file in python_files(ROOT / folder)]
    for file in filter(lambda file: file.stat().st_size, files):
        head = "".join(file.read_text().splitlines(keepends=True)[:20])
        gpl = file.is_relative_to(ROOT / "plugins/modules") or file.is_relative_to(ROOT / "plugins/doc_fragments")
        licence = "GPL-3.0-or-later" if gpl else "BSD-2-Clause"
        owner = "Copyright (c) 2026, The strata.overlay2 authors"
        wanted = [owner, "SPDX-License" + f"-Identifier: {licence}"]  # apart, as `reuse lint` takes it for this file's
        if gpl:  # ansible-test looks for it there; elsewhere it would only be sent along with each module
            wanted.append(f"GNU General Public License v3.0+ (see LICENSES/{licence}.txt")
        wrong += [f"{file.relative_to(ROOT)}: {text}" for text in wanted if text not in head]
    assert wrong == []
    for licence in ("GPL-3.0-or-later", "BSD-2-Clause", "Apache-2.0"):
        assert (ROOT / "LICENSES" / f"{licence}.txt").stat().st_size > 1000
