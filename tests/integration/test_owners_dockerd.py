# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Owners and a prune on a home that a real dockerd made: at work, stopped, killed, and killed while it was removing."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import stat
import subprocess
import tarfile
import threading
import time

import pytest
from overlay2 import Driver, health, owners, prune
from overlay2.errors import EngineRunning
from peers import dockerd, environment, material, need
from support import host

pytestmark = [pytest.mark.root, pytest.mark.interop, pytest.mark.slow, pytest.mark.time_limit(300)]


@pytest.fixture
def docker():
    with dockerd.running() as daemon:
        yield daemon


def resolve(docker):
    return owners.resolve(Driver(docker.home, read_only=True, probe=False))


def truth(docker):
    """Layer folders that the daemon itself says it needs for images and containers: id to what for."""
    found = {}
    for image in docker.json("GET", "/images/json", {"all": "1"}):
        data = docker.json("GET", f"/images/{image['Id']}/json")["GraphDriver"]["Data"]
        if data:
            found.update(dict.fromkeys(dockerd.layer_ids(data), "image"))
    for container in docker.json("GET", "/containers/json", {"all": "1"}):
        data = docker.json("GET", f"/containers/{container['Id']}/json")["GraphDriver"]["Data"]
        found.update(dict.fromkeys(dockerd.layer_ids(data), "container"))
    return found


def folders(docker):
    return {name for name in os.listdir(docker.home) if name not in ("l", "backingFsBlockDev")}


def build(docker, folder, reference, text, buildkit):
    """``docker build`` of three layers with *text* in the last, by BuildKit or by the classic builder."""
    os.makedirs(folder, exist_ok=True)
    shutil.copy(shutil.which("busybox"), os.path.join(folder, "busybox"))
    with open(os.path.join(folder, "text"), "w") as target:
        target.write(text)
    with open(os.path.join(folder, "Dockerfile"), "w") as target:
        target.write(
            'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox","mkdir","/made"]\n'
            'COPY text /text\nCMD ["/bin/busybox","sleep","1000"]\n'
        )
    need("/usr/bin/docker")  # Debian's: later ones need a plugin to build
    variables = environment(DOCKER_BUILDKIT=str(int(buildkit)), DOCKER_HOST="unix://" + docker.socket)
    command = ["/usr/bin/docker", "build", "--network=none", "-t", reference, folder]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def crash(docker):
    """End dockerd and its containerd as a power cut would, running containers included."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(docker._process.pid, signal.SIGKILL)
    docker._process.wait()
    docker._process = None
    deadline = time.monotonic() + 20
    while docker._kill_rest() and time.monotonic() < deadline:
        time.sleep(0.05)
    host.remove_tree(docker.exec_root)  # what lies in /run is gone after a power cut
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(docker.folder, "pid"))


def assert_right(docker, report_line, needed, unowned=0):
    """No layer that the daemon needs is called unowned, or unknown; gives the report.

    *unowned*: how many are; None where the daemon was killed at work, and may have left half a record or more garbage.
    """
    report = resolve(docker)
    wrong = [layer for layer in needed if report.layers[layer].kind in ("unowned", "unknown")]
    assert wrong == []
    assert not report.problems or unowned is None
    report_line(f"owners, dockerd: {len(report.layers)} layers, {report.counts()}, of {len(needed)} needed 0 wrong")
    if unowned is not None:
        assert len(report.unowned()) == unowned, report.unowned()
    return report


def test_images_containers_and_build_cache(docker, real_tmp, report):
    build(docker, str(real_tmp / "classic"), "shop:1", "one", buildkit=False)
    first = docker.json("GET", "/images/shop:1/json")["Id"]
    build(docker, str(real_tmp / "classic"), "shop:1", "two", buildkit=False)  # the tag moves
    build(docker, str(real_tmp / "kit"), "kit:1", "three", buildkit=True)
    build(docker, str(real_tmp / "kit"), "kit:1", "four", buildkit=True)
    running = docker.run("shop:1")
    created = docker.create("kit:1", "/bin/busybox", "true")
    ended = docker.run("kit:1", "/bin/busybox", "true")
    docker.wait(ended)
    gone = docker.run(first, "/bin/busybox", "sleep", "1000")
    docker.remove(gone)

    needed = truth(docker)
    found = assert_right(docker, report, needed)
    assert found.running is True
    assert set(found.layers) == folders(docker)
    for id, state in ((running, "running"), (created, "created"), (ended, "exited")):
        inspect = docker.json("GET", f"/containers/{id}/json")
        layer = dockerd.layer_ids(inspect["GraphDriver"]["Data"])[-1]
        assert (found.layers[layer].names, found.layers[layer].state) == ((inspect["Name"][1:],), state)
    for reference in ("shop:1", "kit:1"):
        for layer in dockerd.layer_ids(docker.json("GET", f"/images/{reference}/json")["GraphDriver"]["Data"]):
            assert reference in found.layers[layer].names
    dangling = dockerd.layer_ids(docker.json("GET", f"/images/{first}/json")["GraphDriver"]["Data"])[-1]
    assert (found.layers[dangling].kind, found.layers[dangling].state) == ("image", "dangling")
    assert [str(each) for each in health.check(Driver(docker.home, read_only=True, probe=False), deep=True)] == []

    crash(docker)
    found = assert_right(docker, report, needed)
    assert (found.running, set(found.layers)) == (False, folders(docker))
    docker.start()
    needed = truth(docker)
    before = folders(docker)
    cached = {layer for layer, owned in resolve(docker).layers.items() if owned.kind == "build-cache"}
    docker.json("POST", "/build/prune", {"all": "1"})
    assert before - folders(docker) == cached  # what was said to be build cache, and no more, went with it
    docker.stop()
    assert_right(docker, report, set(needed) & folders(docker))

    tampered = next(layer for layer in needed if os.path.exists(os.path.join(docker.home, layer, "diff", "text")))
    with open(os.path.join(docker.home, tampered, "diff", "text"), "r+") as target:
        target.write("X")
    driver = Driver(docker.home, read_only=True, probe=False)
    assert health.check(driver) == []  # only who reads all of it sees that
    assert [(each.code, each.layer) for each in health.check(driver, deep=True)] == [("digest-mismatch", tampered)]


def test_answers_while_the_engine_works(docker, real_tmp, report):
    """Builds, containers and removals go on, databases are written to: no record is misread, nothing called garbage."""
    build(docker, str(real_tmp / "kit"), "kit:0", "0", buildkit=True)
    over = threading.Event()
    failures = []

    def work():
        try:
            for number in range(1, 6):
                build(docker, str(real_tmp / "kit"), f"kit:{number}", str(number), buildkit=True)
                docker.wait(docker.run(f"kit:{number}", "/bin/busybox", "true"))
                docker.remove(docker.create(f"kit:{number}", "/bin/busybox", "true"))
                docker.json("DELETE", f"/images/kit:{number - 1}", {"force": "1"})
                docker.json("POST", "/build/prune", {})
        except Exception as error:  # told below, in the test's own thread
            failures.append(error)
        finally:
            over.set()

    working = threading.Thread(target=work)
    working.start()
    answers, layers = 0, set()
    while not over.is_set():
        found = resolve(docker)
        answers, layers = answers + 1, layers | set(found.layers)
        assert found.unowned() == []
        assert found.problems == ()
    working.join()
    assert failures == []
    report(f"owners, dockerd at work: {answers} answers on {len(layers)} layers that came and went, none wrong")
    assert_right(docker, report, truth(docker))


def test_orphans_of_a_killed_engine_and_their_prune(docker, real_tmp, report):
    archive = str(real_tmp / "base.tar")
    material.base_archive(archive, str(real_tmp))
    docker.import_image(archive, "keep:1")
    build(docker, str(real_tmp / "kept"), "kept:1", "kept", buildkit=True)
    kept = docker.run("kept:1", "/bin/busybox", "true")
    docker.wait(kept)
    saved = real_tmp / "doomed.tar"
    for number in range(3):
        docker.import_image(_many_files(real_tmp, number), f"doomed:{number}")
    with open(saved, "wb") as target:
        docker._request("GET", "/images/get", {"names": "doomed:0"}, into=target)
    again = docker.json("GET", "/images/doomed:0/json")["Id"]
    for number in range(3):  # killed at the moment when the image is gone, and its layer is about to go
        config = docker.json("GET", f"/images/doomed:{number}/json")["Id"].replace(":", "/")
        config = os.path.join(docker.data_root, "image", "overlay2", "imagedb", "content", config)
        kill_once(docker, lambda path=config: not os.path.exists(path), _remove_image, f"doomed:{number}")
        docker.start()
    for _attempt in range(2):  # and at the moment when a container's layers are made, and not yet on record
        known = len(os.listdir(docker.home))
        kill_once(docker, lambda known=known: len(os.listdir(docker.home)) > known, _make_container, "kept:1")
        docker.start()
    crash(docker)
    driver = Driver(docker.home, read_only=True, probe=False)
    planned = prune.plan(driver)
    assert planned.candidates, "no orphan arose in all attempts"
    assert {candidate.layer for candidate in planned.candidates} == {each.layer for each in resolve(docker).unowned()}
    report(f"prune, dockerd: {len(planned.candidates)} orphans, {planned.size} bytes, after 5 kills")
    before = folders(docker)
    with pytest.raises(EngineRunning, match="unless that is asked for"):
        prune.perform(driver, planned)
    docker.start()
    # The engine finishes removals of its own at its start; what is left is refused while it runs.
    with pytest.raises(EngineRunning, match="at work"):
        prune.perform(driver, planned, foreign=True)
    assert_right(docker, report, truth(docker), unowned=None)
    docker.stop()
    assert folders(docker) <= before
    planned = prune.plan(driver)
    size_before = _size(docker.home)
    done = prune.perform(driver, planned, foreign=True)
    assert [each.layer for each in done] == [each.layer for each in planned.candidates]
    assert size_before - _size(docker.home) >= planned.size
    assert not {each.layer for each in done} & folders(docker)
    assert resolve(docker).unowned() == []
    assert prune.plan(driver).candidates == ()
    assert [finding.code for finding in health.check(driver) if finding.severity == "error"] == []

    docker.start()
    complaints = docker.complaints()
    docker.load(str(saved))  # its layers, of which the records went with the folders, are made anew
    assert docker.json("GET", "/images/doomed:0/json")["Id"] == again
    docker.wait(docker.run("doomed:0", "/bin/busybox", "ls", "/0-29"))
    docker.wait(docker.run("kept:1", "/bin/busybox", "cat", "/text"))
    docker.save("keep:1", _empty(real_tmp / "saved"))
    assert docker.complaints() == complaints
    assert_right(docker, report, truth(docker), unowned=None)


def test_a_layer_that_a_killed_load_left(docker, real_tmp, report):
    archive = str(real_tmp / "base.tar")
    material.base_archive(archive, str(real_tmp))
    half = str(real_tmp / "half.tar")
    with open(archive, "rb") as source, open(half, "wb") as target:
        target.write(source.read(os.path.getsize(archive) // 2))
    os.mkfifo(real_tmp / "pipe")
    pipe = str(real_tmp / "pipe")
    loading = threading.Thread(target=_import, args=(docker, pipe))
    loading.start()
    with open(pipe, "wb") as target, open(half, "rb") as source:
        target.write(source.read())
        target.flush()
        deadline = time.monotonic() + 20
        while not folders(docker) and time.monotonic() < deadline:
            time.sleep(0.05)
        (layer,) = folders(docker)
        found = resolve(docker)
        assert found.layers[layer].kind in ("mount", "unknown")  # dockerd unpacks into it, as a root of its own
        crash(docker)
    loading.join()
    found = resolve(docker).layers[layer]
    report(f"owners, dockerd: a layer of a killed import is {found.kind}, {found.certainty}: {found.reason}")
    assert (found.kind, found.certainty) == ("unowned", "certain")
    driver = Driver(docker.home, read_only=True, probe=False)
    assert [each.layer for each in prune.perform(driver, prune.plan(driver), foreign=True)] == [layer]
    docker.start()
    docker.import_image(archive, "base:1")
    assert_right(docker, report, truth(docker))


def _import(docker, path):
    with contextlib.suppress(OSError, http.client.HTTPException, dockerd.DockerError):
        docker.import_image(path, "base:1")


def kill_once(docker, happened, action, *arguments):
    """Have *action* done by the daemon, and kill it at the moment when *happened()* is true."""
    doing = threading.Thread(target=action, args=(docker, *arguments))
    doing.start()
    deadline = time.monotonic() + 20
    while not happened() and time.monotonic() < deadline:
        pass
    crash(docker)
    doing.join()
    host.unmount_below(docker.folder)


def _remove_image(docker, reference):
    with contextlib.suppress(OSError, http.client.HTTPException, dockerd.DockerError):
        docker.json("DELETE", f"/images/{reference}", {"force": "1"})


def _make_container(docker, reference):
    with contextlib.suppress(OSError, http.client.HTTPException, dockerd.DockerError):
        docker.create(reference, "/bin/busybox", "true")


def _many_files(real_tmp, number):
    """A tar of files enough that their removal takes a while."""
    archive = str(real_tmp / f"{number}.tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(shutil.which("busybox"), "bin/busybox")
        for file in range(3000):
            tar.addfile(tarfile.TarInfo(f"{number}-{file // 100}/{file}"))
    return archive


def _size(folder):
    found = (os.lstat(os.path.join(at, name)) for at, folders, files in os.walk(folder) for name in folders + files)
    return sum(info.st_size for info in found if not stat.S_ISDIR(info.st_mode))


def _empty(folder):
    folder.mkdir()
    return str(folder)
