# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""What the roles do beyond what the Molecule scenario deploys: whose layers a purge removes, and archives' names."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess

import pytest
from overlay2 import Driver
from support import host, playbooks, trees

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


@pytest.fixture
def play(home, real_tmp):
    """play(*tasks, check=False): the output of a playbook with these tasks, which is expected to succeed."""

    def run(*tasks, check=False, succeeds=True):
        arguments = ["--check"] if check else []
        done = playbooks.play(real_tmp, playbooks.tasks(*tasks), *arguments)
        assert (done.returncode == 0) == succeeds, done.stdout
        return done.stdout

    return run


def layers(home, holder, listed, mounts=(), **variables):
    """The role `layers` with layers as (id, parent, read_write)."""
    items = [
        {"id": layer, "read_write": read_write, **({"parent": parent} if parent else {})}
        for layer, parent, read_write in listed
    ]
    variables = {"layers_" + key: value for key, value in variables.items()}
    mounts = [{"id": mount} if isinstance(mount, str) else mount for mount in mounts]
    return playbooks.role(
        "layers", layers_home=home, layers_holder=holder, layers_list=items, layers_mounts=mounts, **variables
    )


def ids(home):
    return [layer.id for layer in Driver(home, read_only=True).layers()]


def reboot(home):
    """As far as mounts and holders go."""
    for layer in Driver(home).mounted_layers():
        Driver(home).put_all(layer)
    shutil.rmtree(os.environ["OVERLAY2_RUN_ROOT"])


def test_a_purge_leaves_the_layers_of_others_after_a_reboot(home, play):
    play(layers(home, "b", [("b", None, False), ("b-data", "b", True)], ["b-data"]))
    Driver(home).create("unowned")
    reboot(home)
    play(layers(home, "a", [("a", None, False), ("old", "a", True)]))
    play(layers(home, "a", [("a", None, False)], purge=True))
    assert ids(home) == ["a", "b", "b-data", "unowned"]


def test_an_empty_list_is_purged_only_when_that_is_said(home, play):
    play(layers(home, "a", [("a", None, False), ("a-run", "a", True)], ["a-run"]))
    Driver(home).create("unowned")
    for check in (True, False):
        output = play(layers(home, "a", [], purge=True), check=check, succeeds=False)
        assert "layers_purge_all" in output
    assert ids(home) == ["a", "a-run", "unowned"]
    play(layers(home, "a", [], purge=True, purge_all=True), check=True)
    assert ids(home) == ["a", "a-run", "unowned"]
    play(layers(home, "a", [], purge=True, purge_all=True))
    assert ids(home) == ["unowned"]
    play(layers(home, "a", [], purge=True, purge_all=True, purge_unowned=True))
    assert ids(home) == []


def test_a_purge_lets_go_of_every_holder_that_the_play_names(home, play):
    for release in ("1", "2"):
        listed = [("r" + release, None, False), (f"r{release}-run", "r" + release, True)]
        play(layers(home, "ansible", listed, [{"id": f"r{release}-run", "holder": "shop"}], purge=True))
    assert ids(home) == ["r2", "r2-run"]
    assert Driver(home).holders("r2-run") == {"shop": 1}
    Driver(home).put_all("r2-run")


def test_a_layer_below_those_of_others_stays(home, play):
    play(layers(home, "a", [("shared", None, False), ("a", "shared", False)]))
    play(layers(home, "b", [("shared", None, False), ("b", "shared", False)]))
    play(layers(home, "a", [("other", None, False)], purge=True))
    assert ids(home) == ["b", "other", "shared"]


def test_a_purge_leaves_a_running_service_its_files(home, play, spawn):
    play(layers(home, "shop", [("r1", None, False), ("r1-run", "r1", True)], ["r1-run"]))
    path = os.path.join(home, "r1-run", "merged")
    service = spawn(["sh", "-c", "echo there; read line"], cwd=path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert service.stdout.readline() == b"there\n"
    release = layers(home, "shop", [("r2", None, False), ("r2-run", "r2", True)], ["r2-run"], purge=True)
    for check in (True, False):
        output = play(release, check=check)
        assert f"processes use it: {service.pid} (sh)" in output
    assert ids(home) == ["r1", "r1-run", "r2", "r2-run"]
    assert Driver(home).holders("r1-run") == {"shop": 1}
    service.communicate(b"\n", timeout=30)
    play(release)
    assert ids(home) == ["r2", "r2-run"]
    Driver(home).put_all("r2-run")


def test_archives_of_one_base_name_are_told_apart(home, play, real_tmp):
    items = []
    for name in ("a", "b"):
        (real_tmp / name).mkdir()
        (real_tmp / name / "rootfs.tar").write_bytes(trees.archive({"who": name.encode()}))
        items.append({"id": name, "archive": str(real_tmp / name / "rootfs.tar")})
    cache = real_tmp / "cache"
    task = playbooks.role("layers", layers_home=home, layers_list=items, layers_archive_dir=str(cache))
    play(task)
    for name in ("a", "b"):
        with open(os.path.join(home, name, "diff", "who")) as file:
            assert file.read() == name
    assert "changed=0" in play(task)
    assert len(os.listdir(cache)) == 2


@pytest.mark.skipif(not host.is_real_root() or shutil.which("mkfs.xfs") is None, reason="loop devices and XFS")
def test_blanks_in_paths_are_escaped_in_fstab(real_tmp):
    """In a mount namespace with a copy of /etc. A line that an earlier release wrote unescaped is replaced."""
    work = real_tmp / "with blank"
    for name in ("upper", "work", "etc"):
        (real_tmp / name).mkdir()
    work.mkdir()
    variables = {
        "host_home": f"{work}/home",
        "host_xfs_file": f"{work}/disk.img",
        "host_xfs_size": "400M",
        "host_mount_options": "noatime",  # not every kernel has XFS with quota
        "host_load_module": False,
        "host_install_packages": False,
    }
    broken = f"{work}/disk.img {work}/home xfs noatime,loop,nofail 0 0"
    plays = json.dumps(playbooks.tasks(playbooks.role("host", **variables)))
    script = f"""
mount -t overlay o -o lowerdir=/etc,upperdir={real_tmp}/upper,workdir={real_tmp}/work /etc
printf '# kept\\n%s\\n' "{broken}" > /etc/fstab
"$@"
status=$?
findmnt --verify --tab-file /etc/fstab 2>&1 | grep -i 'parse error'
findmnt --noheadings --mountpoint "{work}/home" --output FSTYPE | sed 's/^/mounted: /'
sed 's/^/fstab: /' /etc/fstab
umount "{work}/home"
exit $status
"""
    prefix = ["unshare", "--mount", "--propagation", "private", "bash", "-c", script, "-"]
    for _again in range(2):
        done = playbooks.play(real_tmp, plays, prefix=prefix)
        assert done.returncode == 0, done.stdout
        lines = [line for line in done.stdout.splitlines() if line.startswith(("fstab: ", "mounted: "))]
        escaped = f"{work}".replace(" ", "\\040")
        assert lines == [
            "mounted: xfs",
            "fstab: # kept",
            f"fstab: {escaped}/disk.img {escaped}/home xfs noatime,loop,nofail 0 0",
        ], done.stdout
        assert "0 parse errors" in done.stdout


@pytest.mark.parametrize("arguments", [["--limit", "h1"], ["--check"], []])
def test_the_fleet_playbook(home, real_tmp, arguments):
    """With a canary alone, as a rehearsal on a fresh control node, and in full; two hosts with a home of their own."""
    content = trees.archive({"who": b"shop"})
    (real_tmp / "shop.tar").write_bytes(content)
    variables = {
        "fleet_cache": str(real_tmp / "cache"),
        "fleet_home": home + "/{{ inventory_hostname }}",
        "fleet_become": False,
        "fleet_serial": 1,
        "host_load_module": False,
        "layers_archive_dir": str(real_tmp / "incoming-{{ inventory_hostname }}"),
        "fleet_layers": [
            {
                "id": "shop",
                "url": (real_tmp / "shop.tar").as_uri(),
                "checksum": "sha256:" + hashlib.sha256(content).hexdigest(),
            },
            {"id": "run", "parent": "shop", "read_write": True},
        ],
    }
    plays = (playbooks.ROOT / "playbooks/fleet.yml").read_text()
    done = playbooks.play(real_tmp, plays, "--inventory", "h1,h2,", "--extra-vars", json.dumps(variables), *arguments)
    assert done.returncode == 0, done.stdout
    reached = [] if arguments == ["--check"] else ["h1"] if arguments else ["h1", "h2"]
    assert sorted(os.listdir(home)) == reached
    for host_name in reached:
        assert ids(os.path.join(home, host_name)) == ["run", "shop"]
