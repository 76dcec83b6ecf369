#!/usr/bin/python

# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay2_repair
short_description: Mend what a power cut or a helping hand broke in an overlay2 home
version_added: 0.1.0
description:
  - Checks a home as M(strata.overlay2.overlay2_info) does with O(strata.overlay2.overlay2_info#module:gather=health),
    and mends what the rest of the home proves, as a lost short link from the layer's own C(link) file, an empty C(link)
    file from the short link, or an empty C(lower) file from the chains of the layers above and the engine's records.
  - What is not proven is left alone and returned in RV(findings), with a remedy.
  - No layer's content is touched. Each change is one rename, made under the locks of the home.
  - The home of dockerd or containers/storage is mended only while that engine is at rest, which its own locks tell;
    they are held meanwhile. Look first, with C(--check --diff).
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
      - Only mend findings with these codes, as V(link-empty).
    type: list
    elements: str
seealso:
  - module: strata.overlay2.overlay2_info
  - module: strata.overlay2.overlay2_prune
"""

EXAMPLES = r"""
- name: Mend Docker's home after the power cut
  strata.overlay2.overlay2_repair:
    home: /var/lib/docker/overlay2
  register: mended

- name: What is left to do by hand
  ansible.builtin.debug:
    msg: "{{ mended.findings | map(attribute='remedy') }}"
"""

RETURN = r"""
repairs:
  description: The changes that were made, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: Code of the finding that is mended.
      type: str
      sample: link-empty
    layer:
      description: The layer's name, empty for the home itself.
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
      description: What was there; empty for nothing.
      type: str
      sample: "file 0644: "
    after:
      description: What is there now; empty for nothing.
      type: str
      sample: "file 0644: 5C7HYQ3TTGZEXY2KBCFVBT4LQN"
findings:
  description: What is wrong beyond that, worst first, as in M(strata.overlay2.overlay2_info).
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

from ansible_collections.strata.overlay2.plugins.module_utils._module import DriverModule
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2 import health, repair
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.driver import Driver
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.errors import OptionError
from ansible_collections.strata.overlay2.plugins.module_utils.overlay2.records import finding_record


def repair_record(step):
    """A repair as the module returns it (dict of str)."""
    return dict(step._asdict())


def difference(step):
    """A repair for the diff."""
    return {
        "before_header": step.path,
        "after_header": step.path,
        "before": step.before + "\n" * bool(step.before),
        "after": step.after + "\n" * bool(step.after),
    }


def manage(module):
    """Mend what can be, and return the module's result (dict)."""
    codes = module.params["codes"]
    for code in codes or ():
        if code not in health.CODES:
            raise OptionError("there is no finding of the code '%s'" % code, remedy="Leave codes out to mend all")
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


def main():
    DriverModule({"codes": {"type": "list", "elements": "str"}}, driver=Driver).run(manage)


if __name__ == "__main__":
    main()
