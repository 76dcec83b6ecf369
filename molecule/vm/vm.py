#!/usr/bin/env python
# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Test VMs in QEMU: build the image once, start, cut the power, start again on the same disk, run commands by ssh.

    vm.py image [--built]                 print the folder of the image, built if the recipe is new (--built: else fail)
    vm.py start NAME [--disk xfs|ext4]    start (again) and wait for ssh; prints what an inventory needs, as JSON
    vm.py ssh NAME COMMAND...             run a command as root; standard input and output are passed on
    vm.py cut NAME                        kill the machine, as a power failure would
    vm.py stop NAME                       shut it down in order
    vm.py remove NAME                     stop it and delete its disk

The scenario's plays call it, and so may you: `molecule/vm/vm.py start x` gives a machine to try things on. State
lies in VM_RUN (default: below XDG_RUNTIME_DIR or /tmp), images in VM_CACHE (default: ~/.cache/overlay2-vm/<digest>).
VM_ACCEL=kvm|tcg overrides the choice of accelerator. Needs root only to build the image.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = Path(__file__).resolve().parent / "image"
DISK_SIZE = 1 << 30  # sparse
MEMORY = "512"
DEFAULT_RUN = Path(
    os.environ.get("VM_RUN") or Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / "overlay2-vm"
)
BOOT_SECONDS = 120
#: A guest under emulation now and then panics before it is up (seen with QEMU 7.2); it gets another chance.
BOOT_ATTEMPTS = 3

MAKE_FILE_SYSTEM = {"xfs": ["mkfs.xfs", "-q"], "ext4": ["mke2fs", "-q", "-F", "-t", "ext4"]}


class VmError(Exception):
    """A machine can't be built, started or reached; the text says what it printed."""


# --- the image --------------------------------------------------------------------------------------------------------


def image(only_built: bool = False) -> Path:
    """The folder with kernel, initramfs, root file system and key, built if there is none of this recipe yet.

    :raises VmError: there is none, and it is not to be built.
    """
    cache = Path(os.environ.get("VM_CACHE") or Path.home() / ".cache" / "overlay2-vm")
    folder = cache / _recipe_digest()
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if only_built and not folder.is_dir():
            raise VmError(f"there is no {folder} yet")
        if not folder.is_dir():
            building = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
            try:
                subprocess.run(["sh", RECIPE / "build.sh", building], check=True, stdout=sys.stderr)
                building.chmod(0o755)
                building.rename(folder)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return folder


def _recipe_digest() -> str:
    digest = hashlib.sha256()
    for name in ("VM_SUITE", "VM_KERNEL_SUITE", "VM_ROOT_SIZE"):
        digest.update(f"{name}={os.environ.get(name, '')}\n".encode())
    for path in sorted(RECIPE.iterdir()):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


# --- one machine ------------------------------------------------------------------------------------------------------


class Machine:
    """A machine by name. All that it is lies in files, so every process can speak of the same machine."""

    def __init__(self, name: str, run: Path) -> None:
        self.name = name
        self._run = run
        self._disk = run / f"{name}.disk"
        self._pidfile = run / f"{name}.pid"
        self._console = run / f"{name}.console"
        self._facts = run / f"{name}.json"
        #: Socket (Path) on which one program may listen to what the guest writes to its virtio port `steps`.
        self.steps_path = run / f"{name}.steps"

    def facts(self) -> dict:
        """What an inventory needs: name, address, port, user, identity file; and the disk's file system."""
        try:
            return json.loads(self._facts.read_text())
        except FileNotFoundError:
            raise VmError(f"there is no machine {self.name} in {self._run}") from None

    def start(self, disk: str) -> dict:
        """Boot, on the disk that is there or on a new one, and wait until ssh answers. Returns :meth:`facts`."""
        if self._pid() is not None:
            return self.facts()
        self._run.mkdir(parents=True, exist_ok=True)
        folder = image()
        if not self._disk.exists():
            self._new_disk(disk, folder)
        for attempt in range(1, BOOT_ATTEMPTS + 1):
            self._boot(folder)
            try:
                self._wait()
                return self.facts()
            except VmError as error:
                self.cut()
                if attempt == BOOT_ATTEMPTS:
                    raise
                print(f"{error}\nvm.py: starting {self.name} again", file=sys.stderr)
        raise AssertionError("not reached")

    def ssh_command(self) -> list[str]:
        """The start of a command line that runs the rest in the guest."""
        facts = self.facts()
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
            "ConnectTimeout": "20",
            # a machine whose power was cut never closes its connections
            "ServerAliveInterval": "5",
        }
        command = ["ssh", "-p", str(facts["port"]), "-i", facts["identity_file"]]
        for key, value in options.items():
            command += ["-o", f"{key}={value}"]
        return [*command, f"{facts['user']}@{facts['address']}"]

    def cut(self) -> None:
        """Kill the machine. What the guest had not synced is lost to it."""
        pid = self._pid()
        if pid is not None:
            _end(pid, signal.SIGKILL, 10)
        self._pidfile.unlink(missing_ok=True)

    def stop(self) -> None:
        """Let the guest sync, unmount and power off; kill it if it does not in time."""
        pid = self._pid()
        if pid is not None:
            with contextlib.suppress(subprocess.SubprocessError):
                subprocess.run([*self.ssh_command(), "kill -TERM 1"], timeout=30, check=False, capture_output=True)
            _end(pid, None, 20)
        self.cut()

    def remove(self) -> bool:
        """Stop the machine and delete its files. Returns whether there were any."""
        self.cut()
        there = self._facts.exists()
        for path in (self._disk, self._console, self._facts, self.steps_path):
            path.unlink(missing_ok=True)
        return there

    def _new_disk(self, kind: str, folder: Path) -> None:
        with open(self._disk, "wb") as stream:
            stream.truncate(DISK_SIZE)
        subprocess.run([*MAKE_FILE_SYSTEM[kind], self._disk], check=True)
        # ssh wants a key that only its owner reads, whatever became of the cache's permissions
        facts = {
            "instance": self.name,
            "address": "127.0.0.1",
            "port": 0,
            "user": "root",
            "identity_file": str(folder / "id_ed25519"),
            "disk": kind,
        }
        (folder / "id_ed25519").chmod(0o600)
        self._facts.write_text(json.dumps(facts))

    def _boot(self, folder: Path) -> None:
        """Start QEMU. A port once given stays the machine's, for inventories that have it; else any free one."""
        facts = self.facts()
        for _round in range(5):
            port = facts["port"] or _free_port()
            done = subprocess.run(self._qemu(folder, port, facts["disk"]), capture_output=True, text=True, check=False)
            if not done.returncode:
                self._facts.write_text(json.dumps({**facts, "port": port}))
                return
            if "host forwarding" not in done.stderr:
                break
            time.sleep(0.5)  # somebody took the port between our question and QEMU's
        raise VmError(f"QEMU does not start: {done.stderr.strip()}")

    def _qemu(self, folder: Path, port: int, disk: str) -> list[str]:
        accelerator, processor = ("kvm", "host") if _has_kvm() else ("tcg,thread=multi,tb-size=256", "max,-cx16")
        return [
            "qemu-system-x86_64", "-name", self.name, "-machine", "q35", "-nodefaults", "-display", "none",
            # Without cx16: kernel 6.12 with that instruction emulated by QEMU 7.2 panics in about every other boot.
            "-accel", accelerator, "-cpu", processor, "-m", MEMORY,
            "-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd.img"),
            "-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on tsc=unstable",
            "-drive", f"id=root,file={folder / 'root.ext4'},format=raw,if=none,snapshot=on",
            "-device", "virtio-blk-pci,drive=root,serial=root",
            # A cut takes the guest's memory. What it has written is the host's by then, so flushing is for naught.
            "-drive", f"id=data,file={self._disk},format=raw,if=none,discard=unmap,cache=unsafe",
            "-device", f"virtio-blk-pci,drive=data,serial=data-{disk}",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
            "-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci",
            "-chardev", f"socket,id=steps,path={self.steps_path},server=on,wait=off",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=steps,name=steps",
            "-serial", f"file:{self._console}", "-no-reboot", "-daemonize", "-pidfile", str(self._pidfile),
        ]  # fmt: skip

    def _wait(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            if self._pid() is None:
                raise VmError(f"machine {self.name} died; its console ends:\n{self._console_end()}")
            # The forwarded port accepts at once: only sshd's greeting tells that the guest is up.
            if _greeting(self.facts()["port"]).startswith(b"SSH-"):
                return
            time.sleep(0.2)
        raise VmError(f"machine {self.name} is not up after {BOOT_SECONDS} s; its console ends:\n{self._console_end()}")

    def _console_end(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self._console.read_text(errors="replace").splitlines()[-40:])
        return ""

    def _pid(self) -> int | None:
        """Process id of this very machine's QEMU, None if it does not run (the id may be another's by now)."""
        try:
            pid = int(self._pidfile.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if os.fsencode(self._pidfile) in words else None


def _end(pid: int, number: int | None, seconds: float) -> None:
    """Send a signal, if one is given, and wait until the process is gone or the time is up."""
    with contextlib.suppress(ProcessLookupError):
        if number is not None:
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)


def _greeting(port: int) -> bytes:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.settimeout(2)
        return connection.recv(64)
    return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _has_kvm() -> bool:
    """Whether KVM can run a stock kernel: the device alone proves nothing, the processor must have the extension."""
    wanted = os.environ.get("VM_ACCEL")
    if wanted:
        return wanted == "kvm"
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return bool({"vmx", "svm"} & flags) and os.access("/dev/kvm", os.R_OK | os.W_OK)


# --- the command ------------------------------------------------------------------------------------------------------


def main() -> int:
    """Run one of the commands of the module's docstring; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help="folder for state")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("image").add_argument("--built", action="store_true")
    for name in ("start", "cut", "stop", "remove", "ssh"):
        commands.add_parser(name).add_argument("name")
    commands.choices["start"].add_argument("--disk", choices=sorted(MAKE_FILE_SYSTEM), default="xfs")
    commands.choices["ssh"].add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    arguments = parser.parse_args()
    if arguments.command == "image":
        print(image(only_built=arguments.built))
        return 0
    machine = Machine(arguments.name, arguments.run.resolve())
    if arguments.command == "start":
        print(json.dumps(machine.start(arguments.disk)))
    elif arguments.command == "ssh":
        return subprocess.run([*machine.ssh_command(), *arguments.words], check=False).returncode
    elif arguments.command == "remove":
        print("removed" if machine.remove() else "nothing to remove")
    else:
        getattr(machine, arguments.command)()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (VmError, subprocess.CalledProcessError) as problem:
        sys.exit(f"vm.py: {problem}")
