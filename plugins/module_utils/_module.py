# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What stands between a task and the driver: shared arguments, errors and warnings, records as plain data.

Private to this collection.
"""

from __future__ import annotations

import logging
import os

from ansible.module_utils.basic import AnsibleModule

from . import _zip_imports  # first, it speeds up those below  # noqa: F401  # pylint: disable=unused-import
from .overlay2.basedriver import BaseDriver
from .overlay2.errors import HINTS, LayerNotFound, Overlay2Error
from .overlay2.home.layout import check_id

#: The arguments that every module takes, as the documentation fragment ``driver`` describes them.
DRIVER_ARGUMENTS = {
    "home": {"type": "path", "default": "/var/lib/overlay2"},
    "options": {"type": "list", "elements": "str", "default": []},
}


class DriverModule(AnsibleModule):
    """A module that opens a home. All of them support check mode.

    :param arguments: the module's own arguments (dict), beside :data:`DRIVER_ARGUMENTS`.
    :param driver: class of the driver; the base is enough to manage layers, and what it lacks is not sent.
    :param kwargs: what else AnsibleModule takes.
    """

    def __init__(self, arguments, driver=BaseDriver, **kwargs):
        self._driver = driver
        super().__init__(argument_spec=dict(DRIVER_ARGUMENTS, **arguments), supports_check_mode=True, **kwargs)

    def run(self, job):
        """Call ``job(module)`` and end with the result (dict) that it returns, or with the driver's error.

        What the driver logs as a warning becomes a warning of the task.
        """
        log, handler = logging.getLogger("overlay2"), _TaskWarnings(self)
        log.addHandler(handler)
        try:
            self.exit_json(**job(self))
        except Overlay2Error as error:
            self.fail_json(**failure(error))
        except OSError as error:
            remedy = HINTS.get(error.errno)
            self.fail_json(**failure(Overlay2Error(error.strerror or str(error), path=error.filename, remedy=remedy)))
        finally:
            log.removeHandler(handler)

    def open_driver(self, read_only=None, make_home=False):
        """The driver of the home that the task names.

        :param read_only: (bool) None means: in check mode.
        :param make_home: (bool) whether a missing home is made. If not, and in check mode, the answer is None for one.
        :raises Overlay2Error: the home can't be used.
        """
        home, options = self.params["home"], self.params["options"]
        read_only = self.check_mode if read_only is None else read_only
        if (read_only or not make_home) and not os.path.isdir(home):
            return None
        return self._driver(home, options, read_only=read_only)

    def require_layer(self, driver):
        """The record of the layer that the task names; in check mode None where it is missing, with a warning.

        :raises LayerNotFound: it is missing.
        """
        layer_id = self.params["id"]
        layer = find_layer(driver, layer_id)
        if layer is None and not self.check_mode:
            raise LayerNotFound(
                "no such layer",
                layer=layer_id,
                path=os.path.join(self.params["home"], layer_id),
                remedy="Create it with strata.overlay2.overlay2_layer, or correct home and id",
            )
        if layer is None:
            self.missing_in_check_mode("the layer %s" % layer_id)
        return layer

    def missing_in_check_mode(self, what):
        """Warn that check mode counts on an earlier task for what is not there."""
        self.warn("%s does not exist; check mode takes it that an earlier task makes it" % what)

    def add_path_info(self, kwargs):
        """Leave results as they are: Ansible would add owner, mode and size of a ``path`` or ``dest``, over our own."""
        return kwargs


class _TaskWarnings(logging.Handler):
    """Passes each of the driver's warnings on to the user, once."""

    def __init__(self, module):
        super().__init__(logging.WARNING)
        self._module = module
        self._seen = set()

    def emit(self, record):
        text = record.getMessage()
        if text not in self._seen:
            self._seen.add(text)
            self._module.warn(text)


def failure(error):
    """What ``fail_json`` says of a driver error (dict): the sentence, and its parts for a play to act on."""
    return {
        "msg": str(error),
        "error": type(error).__name__,
        "layer": error.layer,
        "path": error.path,
        "remedy": error.remedy,
    }


def find_layer(driver, layer_id):
    """The layer's record, or None where there is no such layer or (``driver`` is None) no home.

    :raises InvalidLayerId: no layer can have that id.
    """
    check_id(layer_id)
    if driver is None or not driver.exists(layer_id):
        return None
    return driver.layer(layer_id)


def plain_text(path):
    """A path (str) as JSON can carry it: a byte that is no UTF-8 becomes ``\\udcXX``."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def layer_record(home, layer, size=None):
    """A layer as the modules return it (dict of plain data).

    :param home: the home (str).
    :param layer: the driver's record.
    :param size: bytes of the layer's own content (int), None where nobody counted.
    """
    folder = os.path.join(home, layer.id)
    return {
        "id": layer.id,
        "parent": layer.parent,
        "depth": layer.depth,
        "lowers": list(layer.lower),
        "upper_dir": os.path.join(folder, "diff"),
        "work_dir": os.path.join(folder, "work"),
        "merged_dir": os.path.join(folder, "merged"),
        "link": layer.link,
        "committed": layer.committed,
        "read_write": layer.read_write,
        "size": size,
        "diff_id": layer.diff_id,
        "quota": quota_record(layer.quota),
    }


def finding_record(finding):
    """A finding of ``health`` as the modules return it (dict)."""
    return {
        "code": finding.code,
        "severity": finding.severity,
        "layer": plain_text(finding.layer),
        "path": plain_text(finding.path),
        "evidence": plain_text(finding.evidence),
        "remedy": plain_text(finding.remedy),
        "repairable": finding.repairable,
    }


def quota_record(usage):
    """A quota as the modules return it (dict of int, sizes in bytes), or None."""
    return None if usage is None else dict(usage._asdict())
