#!/usr/bin/python

# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay2_repair
short_description: Repair damage of an overlay2 home after a power cut or a mistake
version_added: 0.1.0
description:
  - Checks a home like M(strata.overlay2.overlay2_info) with O(strata.overlay2.overlay2_info#module:gather=health), and
    restores what can be derived from the rest of the home. For example, a missing short link is restored from the
    C(link) file of the layer, an empty C(link) file from the short link, and an empty C(lower) file from the chains of
    the layers above and the records of the engine.
  - Findings that cannot be repaired with certainty are left alone and returned in RV(findings), with a remedy.
  - The content of layers is never changed. Each change is a single rename, made under the locks of the home.
  - A home of dockerd or containers/storage is only repaired while that engine is stopped. The module checks the locks
    of the engine and holds them meanwhile. Use C(--check --diff) to see the changes first.
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
  codes:
    description:
      - Only repair findings with these codes, such as V(link-empty).
    type: list
    elements: str
seealso:
  - module: strata.overlay2.overlay2_info
  - module: strata.overlay2.overlay2_prune
"""

EXAMPLES = r"""
- name: Repair Docker's home after a power cut
  strata.overlay2.overlay2_repair:
    home: /var/lib/docker/overlay2
  register: repaired

- name: Show what has to be repaired by hand
  ansible.builtin.debug:
    msg: "{{ repaired.findings | map(attribute='remedy') }}"
"""

RETURN = r"""
repairs:
  description: The changes that were made, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: Code of the finding that is repaired.
      type: str
      sample: link-empty
    layer:
      description: The name of the layer; empty for the home itself.
      type: str
      sample: 7d2bd3e6ac2a
    path:
      description: The file, link or folder.
      type: str
      sample: /var/lib/docker/overlay2/7d2bd3e6ac2a/link
    action:
      description: One of V(make), V(change), V(remove).
      type: str
      sample: change
    before:
      description: The previous state; empty if nothing existed.
      type: str
      sample: "file 0644: "
    after:
      description: The new state; empty if it was removed.
      type: str
      sample: "file 0644: 5C7HYQ3TTGZEXY2KBCFVBT4LQN"
findings:
  description: The remaining problems, worst first, as returned by M(strata.overlay2.overlay2_info).
  returned: success
  type: list
  elements: dict
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

from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import health, repair
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import OptionError
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.records import finding_record


def repair_record(step: repair.Repair) -> dict[str, str]:
    """A repair as the module returns it."""
    names = ("code", "layer", "path", "action", "before", "after")
    return {name: str(getattr(step, name)) for name in names}


def difference(step: repair.Repair) -> dict[str, str]:
    """A repair for the diff."""
    before, after = str(step.before), str(step.after)
    return {
        "before_header": step.path,
        "after_header": step.path,
        "before": before + "\n" * bool(before),
        "after": after + "\n" * bool(after),
    }


def manage(module: DriverModule) -> dict[str, Any]:
    """Repair what can be repaired, and return the module's result."""
    codes = module.params["codes"]
    for code in codes or ():
        if code not in health.CODES:
            raise OptionError("unknown finding code: '%s'" % code, remedy="Leave codes out to repair all findings")
    driver = module.open_driver(read_only=True)
    findings = [] if driver is None else health.check(driver)
    chosen = [finding for finding in findings if codes is None or finding.code in codes]
    steps = [] if driver is None else repair.plan(driver, chosen)
    if steps and not module.check_mode:
        steps = repair.perform(driver, steps)
    mended = {step.path for step in steps}
    left = [finding for finding in findings if finding.step is None or finding.step.path not in mended]
    return {
        "changed": bool(steps),
        "repairs": [repair_record(step) for step in steps],
        "findings": [finding_record(finding) for finding in left],
        "diff": [difference(step) for step in steps],
    }


def main() -> None:
    DriverModule({"codes": {"type": "list", "elements": "str"}}).run(manage)


if __name__ == "__main__":
    main()
