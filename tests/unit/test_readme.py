# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The examples of the README and of docs/ work as they are shown, and links and targets exist."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
import yaml
from support import images

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    file.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "roles/*/README.md", ".github/*.md")
    for file in ROOT.glob(pattern)
)
# Plays that need what not every host has; their syntax is checked.
NEEDS_MORE = {
    "The same with a quota for each layer": "XFS",
    "A host with a quota for each layer": "XFS",
    "Docker's home after a power cut": "dockerd",
}
BASE, SHOP = {"etc/hostname": "base"}, {"opt/shop/version": "4.2"}
ENVIRONMENT = {
    **os.environ,
    "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
    "ANSIBLE_LOCALHOST_WARNING": "false",
    "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


def blocks(page, language):
    """The code blocks of that language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def plays():
    """(page, title of the play, its text) of all plays."""
    for page in PAGES:
        for text in blocks(page, "yaml"):
            for play in yaml.safe_load(text) if text.startswith("-") else ():
                if "hosts" in play:  # else it is a task of one
                    yield page, play["name"], text


def write_archive(path, mode, files):
    """An archive of small text files; zstd by its program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.fixture
def srv(real_tmp):
    """A folder in place of /srv, with the archives that the examples name."""
    for folder in ("srv/images", "play/images"):
        write_archive(real_tmp / folder / "debian-12-rootfs.tar.xz", "w:xz", BASE)
        write_archive(real_tmp / folder / "shop-4.2.tar", "w", SHOP)
        subprocess.run(["zstd", "-q", "--rm", real_tmp / folder / "shop-4.2.tar"], check=True)
        images.docker(real_tmp / folder / "shop.tar", images.BASE, images.TOP)
    (real_tmp / "srv/backup").mkdir()
    return real_tmp / "srv"


def digest(files, folder):
    """The diff ID of an archive as `write_archive` makes it."""
    write_archive(folder / "plain.tar", "w", files)
    return "sha256:" + hashlib.sha256((folder / "plain.tar").read_bytes()).hexdigest()


def run_playbook(path, *arguments):
    """Run it on this host in place of the hosts it names; returns the finished process."""
    program = os.path.join(sysconfig.get_path("scripts"), "ansible-playbook")
    command = [program, "--inventory", "web,", "--connection", "local", *arguments, str(path)]
    command += ["--extra-vars", json.dumps({"ansible_python_interpreter": sys.executable, "ansible_become": False})]
    return subprocess.run(command, env=ENVIRONMENT, cwd=path.parent, capture_output=True, text=True, check=False)


def recap(done):
    """The last line's counts, by name."""
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", done.stdout.splitlines()[-2])}


@as_root
@pytest.mark.parametrize("page", [page for page in PAGES if "import Driver" in "".join(blocks(page, "python"))])
def test_library_examples(page, home, real_tmp):
    write_archive(real_tmp / "base.tar.gz", "w:gz", {"etc/hostname": "base"})
    (text,) = blocks(page, "python")
    text = text.replace("/srv/overlay2", home)
    if "web" not in re.findall(r'write\("(\w+)"\)', text):  # the README leaves the writing to the application
        writing = 'open(path + "/etc/hostname", "w").write("web")\n'
        text = text.replace("print(driver.changes", writing + "print(driver.changes")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text], cwd=real_tmp, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert "Change(path='/etc/hostname', kind=<ChangeKind.MODIFY" in done.stdout
    if "web.tar" in text:
        with tarfile.open(real_tmp / "web.tar") as archive:
            assert archive.extractfile("etc/hostname").read() == b"web"


@as_root
def test_the_example_of_images(home, real_tmp):
    images.docker(real_tmp / "shop.tar", images.BASE, images.TOP)
    (text,) = blocks("docs/images.md", "python")
    command = [sys.executable, "-W", "error", "-c", text.replace("/srv/overlay2", home)]
    done = subprocess.run(command, cwd=real_tmp, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert re.fullmatch(r"sha256:[0-9a-f]{64} %s \['/run'\]\n" % images.ids(images.BASE, images.TOP)[-1], done.stdout)
    assert sorted(name for name in os.listdir(home) if not name.startswith(".")) == ["l"]


@pytest.mark.parametrize("text", [text for *_of, text in plays()], ids=[name for _page, name, _text in plays()])
def test_plays_are_valid(text, real_tmp):
    playbook = real_tmp / "playbook.yml"
    playbook.write_text("---\n" + text)
    done = run_playbook(playbook, "--syntax-check")
    assert done.returncode == 0, done.stderr


@as_root
@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({page for page, name, _text in plays() if name not in NEEDS_MORE}))
def test_plays_run(page, srv, real_tmp):
    """On a plain file system without an engine. The second run of the README's play has nothing to do."""
    texts = [text for of, name, text in plays() if of == page and name not in NEEDS_MORE]
    playbook = real_tmp / "play/playbook.yml"
    text = "---\n" + "\n".join(texts)
    playbook.write_text(text.replace("/srv/", f"{srv}/").replace("hosts: localhost", "hosts: web"))
    settings = {
        "host_load_module": False,
        "layers_archive_dir": str(srv / "cache"),
        "debian_12_diff_id": digest(BASE, srv),
        "shop_diff_id": digest(SHOP, srv),
    }
    try:
        assert recap(run_playbook(playbook, "--extra-vars", json.dumps(settings)))["changed"]
        if page == "README.md":
            assert recap(run_playbook(playbook, "--extra-vars", json.dumps(settings)))["changed"] == 0
    finally:
        unmount_all(srv / "overlay2")


def unmount_all(home):
    """Mounts end, as with a reboot."""
    if home.exists():
        from overlay2 import Driver

        Driver(str(home)).cleanup()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) < 1800


def test_the_readme_lists_all_modules_and_roles():
    listed = re.findall(r"^\| `([a-z][a-z0-9_]*)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    modules = [file.stem for file in (ROOT / "plugins/modules").glob("[!_]*.py")]
    assert sorted(listed) == sorted([*modules, *(folder.name for folder in (ROOT / "roles").iterdir())])


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = (ROOT / page).read_text()
        assert set(re.findall(r"(?:`|\$ )make ([a-z][a-z-]*)", text)) <= targets, page


def test_links_stay_in_the_repository():
    missing = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _hash, anchor = target.partition("#")
            if path.startswith("https://"):
                continue
            file = (ROOT / page).parent / path if path else ROOT / page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                missing.append(f"{page}: {target}")
    assert missing == []


def anchors(page):
    """The anchors that a page's headings get on the usual hosts."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_files_that_contributors_are_sent_to_exist():
    """The table of CONTRIBUTING.md, with its two abbreviations spelled out."""
    core = "plugins/module_utils/overlay2"
    tests = "tests/unit/plugins/module_utils/overlay2"
    rows = re.findall(r"^\| .* \| (.*) \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    missing = []
    for code, test in rows[2:]:
        for name in re.findall(r"`([\w./<>*…-]+)`", f"{code} {test}"):
            pattern = re.sub(r"<\w+>", "*", name.replace("…", tests))
            pattern = re.sub(r"^overlay2(?=/)", core, pattern)
            folders = (ROOT / "plugins", ROOT / "roles", ROOT / "tests")
            if not any(ROOT.glob(pattern)) and not any(any(folder.rglob(pattern)) for folder in folders):
                missing.append(name)
    assert missing == []
