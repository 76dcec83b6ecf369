# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The values of constants in the kernel's C headers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def ask(folder: Path, includes: list[str], expressions: list[str]) -> list[int]:
    """Values of C *expressions*, computed by a program compiled in *folder*. Skips where there is no compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler to ask the kernel's headers with (package gcc)")
    lines = ["#define _GNU_SOURCE", *(f"#include <{name}>" for name in [*includes, "stddef.h", "stdio.h"])]
    lines += ["int main(void) {", *(f'    printf("%lld ", (long long)({text}));' for text in expressions), "}"]
    (folder / "ask.c").write_text("\n".join(lines) + "\n")
    subprocess.run([compiler, "-o", folder / "ask", folder / "ask.c"], check=True)
    told = subprocess.run([folder / "ask"], check=True, capture_output=True, text=True).stdout
    return [int(word) for word in told.split()]
