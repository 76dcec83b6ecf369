# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""A dockerd of our own: own data root, exec root, socket, cgroup; all gone again when the block ends.

It is spoken to by its HTTP API (version 1.41), of which the ``docker`` program only prints the answers, so no
particular version of that program is needed.
"""

from __future__ import annotations

import contextlib
import glob
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from typing import NamedTuple, Tuple

from . import environment, need, scratch

API = "/v1.41"
START_SECONDS = 30
STOP_SECONDS = 20
ARCHIVE = "image.tar"


class DockerError(Exception):
    """dockerd did not start, or answered a request with an error; the message has its own words."""


class SavedLayer(NamedTuple):
    """One layer of a saved image: its diff ID (``sha256:…``) and the file that holds its tar."""

    diff_id: str
    path: str


class Image(NamedTuple):
    """An image as dockerd tells it; all tuples run from the lowest layer to the uppermost."""

    inspect: dict
    archive: str
    saved: Tuple[SavedLayer, ...]
    layer_ids: Tuple[str, ...]
    sizes: Tuple[int, ...]


@contextlib.contextmanager
def running():
    """Run a dockerd for the length of a ``with`` block; gives a :class:`Dockerd`.

    Whatever happens in the block, its processes are ended, its mounts and cgroups taken away and its folder removed.
    """
    need("dockerd", "containerd", "runc", "busybox")
    with scratch("dockerd") as folder:
        docker = Dockerd(folder)
        try:
            docker.start()
            yield docker
        finally:
            docker.end()


class Dockerd:
    """One dockerd in `folder`. `home` is where its overlay2 driver keeps its layers."""

    def __init__(self, folder):
        self.folder = folder
        self.data_root = os.path.join(folder, "data")
        self.exec_root = os.path.join(folder, "exec")
        self.socket = os.path.join(folder, "docker.sock")
        self.log = os.path.join(folder, "dockerd.log")
        self.name = os.path.basename(folder)
        self.home = os.path.join(self.data_root, "overlay2")
        self._process = None

    # -- the daemon

    def start(self):
        """Start it and wait until it answers; raises :class:`DockerError` with the end of its log if it does not."""
        command = [
            "dockerd",
            "--data-root", self.data_root,
            "--exec-root", self.exec_root,
            "--pidfile", os.path.join(self.folder, "pid"),
            "--host", "unix://" + self.socket,
            "--bridge=none",
            "--iptables=false",
            "--storage-driver=overlay2",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            "--cgroup-parent=/" + self.name,
            "--containerd-namespace=" + self.name,
            "--containerd-plugins-namespace=" + self.name + "-plugins",
        ]  # fmt: skip
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise DockerError(f"dockerd does not answer; the end of its log:\n{self.log_tail()}")
            time.sleep(0.05)

    def stop(self):
        """Stop it as an administrator would (SIGTERM, containers included) and wait for the end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def end(self):
        """Stop it, and end what it could not end itself: containers by their cgroup, its own by our folder's name."""
        self.stop()
        deadline = time.monotonic() + STOP_SECONDS
        while self._kill_rest() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _kill_rest(self):
        pids = set(self._daemons())
        tops = glob.glob("/sys/fs/cgroup/*/" + self.name) + glob.glob("/sys/fs/cgroup/" + self.name)
        for folder in [where for top in tops for where, _folders, _files in os.walk(top, topdown=False)]:
            with contextlib.suppress(OSError), open(os.path.join(folder, "cgroup.procs")) as members:
                pids.update(map(int, members))
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

    def _daemons(self):
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            with contextlib.suppress(OSError), open(path, "rb") as command:
                program, _nul, arguments = command.read().partition(b"\0")
                is_ours = os.path.basename(program).startswith((b"containerd", b"dockerd"))
                if is_ours and self.name.encode() in arguments:
                    yield int(path.split("/")[2])

    def log_tail(self):
        """The last 2,000 characters of the daemon's log."""
        with open(self.log, errors="replace") as log:
            return log.read()[-2000:]

    def complaints(self):
        """The daemon's log lines of level error (a list of str)."""
        with open(self.log, errors="replace") as log:
            return [line for line in log if "level=error" in line or "level=fatal" in line]

    def _answers(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._request("GET", "/_ping") == b"OK"
        return False

    # -- images

    def import_image(self, tar, reference):
        """``docker import``: `tar` (path of a tar) becomes the one layer of an image."""
        repository, tag = reference.split(":")
        with open(tar, "rb") as body:
            self._stream("POST", "/images/create", {"fromSrc": "-", "repo": repository, "tag": tag}, body)

    def build(self, context, reference):
        """``docker build`` by the classic builder: `context` is the path of a tar that has a Dockerfile in it."""
        query = {"t": reference, "networkmode": "none", "rm": "1", "forcerm": "1", "nocache": "1", "version": "1"}
        with open(context, "rb") as body:
            self._stream("POST", "/build", query, body)

    def load(self, archive):
        """``docker load`` of the file `archive`."""
        with open(archive, "rb") as body:
            self._stream("POST", "/images/load", {"quiet": "1"}, body)

    def image(self, reference, save_to):
        """All about an image, `docker save` included: a :class:`Image`.

        :param save_to: an empty folder that will hold the saved layers.
        """
        inspect = self.json("GET", f"/images/{reference}/json")
        steps = self.json("GET", f"/images/{reference}/history")
        saved = self.save(reference, save_to)
        made_layers = [not step.get("empty_layer") for step in _saved_config(save_to)[0]["history"]]
        return Image(
            inspect=inspect,
            archive=os.path.join(save_to, ARCHIVE),
            saved=saved,
            layer_ids=layer_ids(inspect["GraphDriver"]["Data"]),
            sizes=tuple(step["Size"] for step, made_layer in zip(steps[::-1], made_layers) if made_layer),
        )

    def save(self, reference, folder):
        """``docker save``, unpacked into `folder`; a tuple of :class:`SavedLayer`, lowest first."""
        archive = os.path.join(folder, ARCHIVE)
        with open(archive, "wb") as target:
            self._request("GET", "/images/get", {"names": reference}, into=target)
        subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
        config, layers = _saved_config(folder)
        return tuple(
            SavedLayer(diff_id, os.path.join(folder, path))
            for diff_id, path in zip(config["rootfs"]["diff_ids"], layers)
        )

    # -- containers

    def create(self, reference, *command, **host_config):
        """``docker create``; gives the container's id."""
        body = {"Image": reference, "Cmd": list(command), "HostConfig": dict(NetworkMode="none", **host_config)}
        return self.json("POST", "/containers/create", body=body)["Id"]

    def run(self, reference, *command, **host_config):
        """``docker run -d`` of `command`; gives the container's id."""
        container = self.create(reference, *command, **host_config)
        self.json("POST", f"/containers/{container}/start")
        return container

    def wait(self, container):
        """Wait for the container's end; raises :class:`DockerError` with its output unless its status is 0."""
        status = self.json("POST", f"/containers/{container}/wait")["StatusCode"]
        if status != 0:
            logs = self._request("GET", f"/containers/{container}/logs", {"stdout": "1", "stderr": "1"})
            raise DockerError("the container ended with %d: %s" % (status, logs.decode(errors="replace")))

    def kill(self, container):
        """``docker kill``."""
        self.json("POST", f"/containers/{container}/kill")

    def remove(self, container):
        """``docker rm -f``."""
        self.json("DELETE", f"/containers/{container}", {"force": "1", "v": "1"})

    def container(self, container):
        """``docker inspect -s`` of a container (a dict)."""
        return self.json("GET", f"/containers/{container}/json", {"size": "1"})

    def changes(self, container):
        """``docker diff``: a sorted list of (path, kind), kind 0 modified, 1 added, 2 deleted."""
        answer = self.json("GET", f"/containers/{container}/changes") or []
        return sorted((change["Path"], change["Kind"]) for change in answer)

    def commit(self, container, reference):
        """``docker commit``."""
        repository, tag = reference.split(":")
        self.json("POST", "/commit", {"container": container, "repo": repository, "tag": tag}, body={})

    # -- HTTP

    def json(self, method, path, query=None, body=None):
        """One request, its answer decoded from JSON (None if empty); raises :class:`DockerError`."""
        encoded = None if body is None else json.dumps(body).encode()
        answer = self._request(method, path, query, encoded, "application/json")
        return json.loads(answer) if answer else None

    def _stream(self, method, path, query, body):
        # These answer 200 and then report progress, and failure, one JSON object a line.
        answer = self._request(method, path, query, body, "application/x-tar")
        steps = [json.loads(line) for line in answer.splitlines() if line.strip()]
        for step in steps:
            if "error" in step:
                said = "".join(step.get("stream", "") for step in steps)
                raise DockerError(f"{path}: {step['error']}\n{said}")

    def _request(self, method, path, query=None, body=None, kind=None, into=None):
        if query:
            path += "?" + urllib.parse.urlencode(query)
        connection = _UnixConnection(self.socket)
        try:
            connection.request(method, API + path, body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            if answer.status >= 400:
                raise DockerError("%s %s: %d %s" % (method, path, answer.status, answer.read().decode()))
            if into is None:
                return answer.read()
            shutil.copyfileobj(answer, into, 1 << 20)
            return b""
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _saved_config(folder):
    """Of an unpacked `docker save`: the image's configuration (a dict) and the names of its layers, lowest first."""
    with open(os.path.join(folder, "manifest.json")) as source:
        manifest = json.load(source)[0]
    with open(os.path.join(folder, manifest["Config"])) as source:
        return json.load(source), manifest["Layers"]


def layer_ids(data):
    """The layer folders that a GraphDriver.Data names, lowest first (a tuple of str)."""
    folders = [data["UpperDir"]] + [folder for folder in data.get("LowerDir", "").split(":") if folder]
    return tuple(os.path.basename(os.path.dirname(folder)) for folder in reversed(folders))
