# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Print the content of a home as JSON, without changing anything: `inspect_home.py HOME [LAYER...]`.

The layers named are read back in full, and their digest computed from what is in their `diff` folder; what the driver
has on record about them is not asked.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

from overlay2 import Driver, Overlay2Error


def digest_of(driver, layer):
    """`sha256:` and the digest of the layer's difference from its parent (str), or the error that comes in the way."""
    digest = hashlib.sha256()
    try:
        with driver.diff(layer.id, layer.parent or "") as stream:
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                digest.update(chunk)
    except Overlay2Error as error:
        return str(error)
    return "sha256:" + digest.hexdigest()


def listing(folder):
    """Names in a folder (list of str), none where there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def main():
    """Print the facts."""
    home, wanted = sys.argv[1], sys.argv[2:]
    driver = Driver(home, read_only=True)
    layers = {layer.id: layer for layer in driver.layers()}
    links = os.path.join(home, "l")
    records = driver.watched_directories().holders
    facts = {
        "shown": [name for name in listing(home) if name not in ("l", ".staging", "backingFsBlockDev")],
        "problems": {name: layer.problems for name, layer in layers.items() if layer.problems},
        "digests": {name: digest_of(driver, layers[name]) for name in wanted if name in layers},
        "staged": listing(os.path.join(home, ".staging")),
        "loose_links": [name for name in listing(links) if not os.path.exists(os.path.join(links, name))],
        "on_record": listing(records),
        "held": sorted({*driver.mounted_layers(), *(name for name in layers if driver.holders(name))}),
    }
    print(json.dumps(facts))


main()
