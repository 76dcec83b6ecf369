# Copyright (c) 2026, The strata.overlay2 authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass on the results of the driver's modules as soon as a play receives them."""

from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: told
type: notification
short_description: Write what modules of strata.overlay2 report to a file descriptor
description:
  - One line of JSON for the start of each play, and for each result of M(strata.overlay2.overlay2_layer) and
    M(strata.overlay2.overlay2_mount).
  - The descriptor's number is in the environment variable E(OVERLAY2_TOLD).
"""

MODULES = ("strata.overlay2.overlay2_layer", "strata.overlay2.overlay2_mount")


class CallbackModule(CallbackBase):
    """The plugin."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "told"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, **facts):
        os.write(int(os.environ["OVERLAY2_TOLD"]), json.dumps(facts).encode() + b"\n")

    def v2_playbook_on_play_start(self, play):
        """A play begins."""
        self._write(play=play.get_name())

    def v2_runner_item_on_ok(self, result):
        """One item of a loop is done."""
        if result._task.action in MODULES:
            answer = result._result
            self._write(
                module=result._task.action.rpartition("_")[2],
                id=answer["item"]["id"],
                diff_id=answer.get("layer", {}).get("diff_id"),
                changed=answer["changed"],
            )
