# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attributes that the modules of this collection declare."""

from __future__ import annotations


class ModuleDocFragment:
    # What each attribute means, and what is the same for all modules.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the changed status without modifying the target.
  diff_mode:
    description: Returns what has changed, or in C(check_mode) what would change, when in diff mode.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that nothing else has changed the target in between.
  platform:
    description: The operating systems that the module works on.
    support: full
    platforms: linux
"""

    # For modules that change nothing; use together with the fragment above.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - This action does not modify state.
"""

    # Membership in the action group that meta/runtime.yml lists.
    ACTIONGROUP_OVERLAY2 = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/strata.overlay2.overlay2) in C(module_defaults) to set O(home), O(options) and other defaults for
        all modules of this collection at once.
    support: full
    membership:
      - strata.overlay2.overlay2
"""
