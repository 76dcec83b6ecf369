#!/usr/bin/python

# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay2_prune
short_description: List layers that nobody needs, and remove them on request
version_added: 0.1.0
description:
  - Finds the layers of a home that are certain to be garbage, using the records of the engine that created it (dockerd,
    containers/storage) and the mounts in all mount namespaces. By default it only lists them.
  - A layer is not garbage if an image, a container, the build cache, a holder or a mount needs it or a layer above it,
    if its owner is unknown because a record can't be read, or if a running engine may be creating it. Layers that this
    collection created are never garbage.
  - The records of dockerd about a layer are removed together with it, in the same order as dockerd does. In a home of
    containers/storage, only folders without a record are removed. Use its own commands to remove other layers.
author:
  - The strata.overlay2 authors (@strata-overlay2)
extends_documentation_fragment:
  - strata.overlay2.driver
  - strata.overlay2.attributes
  - strata.overlay2.attributes.actiongroup_overlay2
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  dry_run:
    description:
      - Only list the layers that would be removed.
    type: bool
    default: true
  foreign:
    description:
      - Allow to remove layers from a home of dockerd or containers/storage. The engine must be stopped. The module
        checks the locks of the engine and holds them until it is done.
      - Without this option, a task that would remove something from such a home fails.
    type: bool
    default: false
  layers:
    description:
      - Only remove these layers. Layers that somebody needs are kept nevertheless.
    type: list
    elements: str
seealso:
  - module: strata.overlay2.overlay2_info
  - module: strata.overlay2.overlay2_repair
"""

EXAMPLES = r"""
- name: List the garbage in Docker's home
  strata.overlay2.overlay2_prune:
    home: /var/lib/docker/overlay2
  register: garbage

- name: Show its size
  ansible.builtin.debug:
    msg: "{{ garbage.candidates | length }} layers, {{ garbage.size | human_readable }}"

- name: Remove the garbage while Docker is stopped
  when: garbage.candidates | length > 0
  block:
    - name: Stop Docker
      ansible.builtin.service:
        name: "{{ item }}"
        state: stopped
      loop: [docker.socket, docker.service]

    - name: Remove the layers that nobody needs
      strata.overlay2.overlay2_prune:
        home: /var/lib/docker/overlay2
        dry_run: false
        foreign: true
  always:
    - name: Start Docker
      ansible.builtin.service:
        name: docker.service
        state: started
"""

RETURN = r"""
engine:
  description: The engine that created the home, V(dockerd), V(containers-storage) or V(overlay2); empty if unknown.
  returned: success
  type: str
  sample: dockerd
candidates:
  description: The layers that are certain to be garbage, in the order of removal.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The name of the layer.
      type: str
      sample: 7d2bd3e6ac2a5b6a1a29a0b6ad9e1cf1f0b8d0a5b4d4a0c8f0f4bb1d1c7a9e55
    path:
      description: The folder of the layer.
      type: str
      sample: /var/lib/docker/overlay2/7d2bd3e6ac2a5b6a1a29a0b6ad9e1cf1f0b8d0a5b4d4a0c8f0f4bb1d1c7a9e55
    size:
      description: Bytes of its files; null if they can't be counted.
      type: int
      sample: 104857600
    reason:
      description: Why it is garbage.
      type: str
      sample: the engine has no record of it
    evidence:
      description: Where its owner would be recorded.
      type: list
      elements: str
      sample: [/var/lib/docker/image/overlay2/layerdb/sha256, /var/lib/docker/image/overlay2/layerdb/mounts]
kept:
  description: Layers that seem to be garbage but are kept, with the reason.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 5f1c1a0e
      reason: dockerd is running, and only it knows what it is about to refer to; the engine has no record of it
size:
  description: Bytes of all candidates.
  returned: success
  type: int
  sample: 104857600
removed:
  description: Names of the layers that were removed, or would be in check mode; empty in a dry run.
  returned: success
  type: list
  elements: str
  sample: []
error:
  description: Class of the driver's error, to tell cases apart in a rescue section.
  returned: failure of the driver
  type: str
  sample: EngineRunning
layer_id:
  description: The layer that the error is about; null if it is not about a layer.
  returned: failure of the driver
  type: str
  sample: null
error_path:
  description: The file or folder that the error is about; null if there is none.
  returned: failure of the driver
  type: str
  sample: /var/lib/docker/volumes/metadata.db
remedy:
  description: What to do about the error; null if that is not known.
  returned: failure of the driver
  type: str
  sample: Stop dockerd first
"""

from typing import Any

from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule, plain_text
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import prune


def candidate_record(candidate: Any) -> dict[str, Any]:
    """A candidate as the module returns it."""
    return {
        "id": plain_text(candidate.layer),
        "path": plain_text(candidate.path),
        "size": candidate.size,
        "reason": candidate.reason,
        "evidence": [plain_text(str(evidence)) for evidence in candidate.evidence],
    }


def limited(planned: prune.Plan, layers: list[str] | None) -> prune.Plan:
    """The plan with only the candidates that the task names; all of them if it names none."""
    if layers is None:
        return planned
    chosen = tuple(candidate for candidate in planned.candidates if candidate.layer in layers)
    return planned._replace(candidates=chosen)


def manage(module: DriverModule) -> dict[str, Any]:
    """List, or remove, the garbage, and return the module's result."""
    params = module.params
    driver = module.open_driver(read_only=True)
    if driver is None:
        planned = prune.Plan((), (), "")
    else:
        planned = limited(prune.plan(driver), params["layers"])
    removed = [] if params["dry_run"] else list(planned.candidates)
    if removed:
        prune.refuse_foreign(planned, params["home"], params["foreign"])
        if not module.check_mode:
            removed = prune.perform(driver, planned, foreign=params["foreign"])
    names = [plain_text(candidate.layer) for candidate in removed]
    listed = [plain_text(candidate.layer) for candidate in planned.candidates]
    return {
        "changed": bool(removed),
        "engine": planned.engine,
        "candidates": [candidate_record(candidate) for candidate in planned.candidates],
        "kept": [{"id": plain_text(kept.layer), "reason": kept.reason} for kept in planned.kept],
        "size": planned.size,
        "removed": names,
        "diff": {
            "before": {"unowned": sorted(listed)},
            "after": {"unowned": sorted(set(listed) - set(names))},
        },
    }


def main() -> None:
    DriverModule(
        {
            "dry_run": {"type": "bool", "default": True},
            "foreign": {"type": "bool", "default": False},
            "layers": {"type": "list", "elements": "str"},
        },
    ).run(manage)


if __name__ == "__main__":
    main()
