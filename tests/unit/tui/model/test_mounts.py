# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What the kernel, the holders and the layers' files disagree about."""

from __future__ import annotations

import os
import subprocess

from overlay2_tui.model.source import HomeSource


def problems(source):
    """What is wrong, as text."""
    return [f"{remark.layer}: {remark.text}" for remark in source.read().problems]


def test_disagreements_between_kernel_and_holders(driver):
    subprocess.run(["umount", os.path.join(driver.home, "top/merged")], check=True)
    assert any("held by web, but the kernel has nothing mounted" in text for text in problems(HomeSource(driver.home)))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", os.path.join(driver.home, "top/merged")], check=True)
    assert any(
        "mount on its merged folder is not an overlay but tmpfs" in text for text in problems(HomeSource(driver.home))
    )


def test_stacked_mounts_and_foreign_mounts(driver):
    home = driver.home
    options = f"lowerdir={home}/base/diff:{home}/middle/diff"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{home}/top/merged"], check=True)
    os.mkdir(os.path.join(home, "extra"))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{home}/extra"], check=True)
    source = HomeSource(home)
    text = "\n".join(problems(source))
    assert "2 mounts are stacked" in text
    assert "Mounted read-only, though it was created for writing" in text
    assert any(
        "does not belong to a layer" in remark.text for mount in source.snapshot.mounts for remark in mount.remarks
    )
