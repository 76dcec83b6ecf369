# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""What all modules share: arguments, opening the home, errors and warnings, records as plain data.

Private to this collection.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from . import _fast_zipimport

_fast_zipimport.install()

from .overlay2.errors import LayerNotFound, Overlay2Error, printable, remedy_for
from .overlay2.home.layout import check_id
from .overlay2.mountdriver import MountDriver

#: The arguments that every module takes, as the documentation fragment ``driver`` describes them.
DRIVER_ARGUMENTS = {
    "home": {"type": "path", "default": "/var/lib/overlay2"},
    "options": {"type": "list", "elements": "str", "default": []},
}


class DriverModule(AnsibleModule):
    """A module that opens a home. All of them support check mode.

    :param arguments: the module's own arguments, beside :data:`DRIVER_ARGUMENTS`.
    :param driver: class of the driver; the least that the module needs, as Ansible sends what it imports.
    :param kwargs: passed on to AnsibleModule.
    """

    def __init__(self, arguments: dict[str, Any], driver: type[MountDriver] = MountDriver, **kwargs: Any) -> None:
        self._driver = driver
        super().__init__(argument_spec=dict(DRIVER_ARGUMENTS, **arguments), supports_check_mode=True, **kwargs)

    def run(self, job: Callable[[DriverModule], dict[str, Any]]) -> None:
        """Call ``job(module)`` and end with the result that it returns, or with the driver's error.

        Warnings that the driver logs become warnings of the task.
        """
        log, handler = logging.getLogger("overlay2"), _TaskWarnings(self)
        log.addHandler(handler)
        try:
            self.exit_json(**plain_data(job(self)))
        except Overlay2Error as error:
            self.fail_json(**failure(error))
        except OSError as error:
            remedy = remedy_for(error.errno, error.filename)
            self.fail_json(**failure(Overlay2Error(error.strerror or str(error), path=error.filename, remedy=remedy)))
        finally:
            log.removeHandler(handler)

    def open_driver(self, read_only: bool | None = None, make_home: bool = False) -> Any:
        """The driver of the home that the task names.

        :param read_only: None means: in check mode.
        :param make_home: create a missing home. Without it, and in check mode, None is returned for a missing home.
        :raises Overlay2Error: the home can't be used.
        """
        home, options = self.params["home"], self.params["options"]
        read_only = self.check_mode if read_only is None else read_only
        if (read_only or not make_home) and not os.path.isdir(home):
            return None
        return self._driver(home, options, read_only=read_only)

    def require_layer(self, driver: MountDriver | None) -> Any:
        """The record of the layer that the task names; in check mode None if it is missing, with a warning.

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

    def missing_in_check_mode(self, what: str) -> None:
        """Warn that check mode relies on an earlier task for something that is missing."""
        self.warn("%s does not exist; assuming that an earlier task creates it (check mode)" % what)

    def add_path_info(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Leave results unchanged: Ansible would add owner, mode and size of a ``path`` or ``dest``, over our own."""
        return kwargs


class _TaskWarnings(logging.Handler):
    """Passes each of the driver's warnings on to the user, once."""

    def __init__(self, module: AnsibleModule) -> None:
        super().__init__(logging.WARNING)
        self._module = module
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._seen:
            self._seen.add(text)
            self._module.warn(text)


def failure(error: Overlay2Error) -> dict[str, Any]:
    """Arguments of ``fail_json`` for a driver error: the sentence, and its parts for a play to act on."""
    return {
        "msg": str(error),
        "error": type(error).__name__,
        "layer_id": error.layer,
        "error_path": error.path,
        "remedy": error.remedy,
    }


def find_layer(driver: MountDriver | None, layer_id: str) -> Any:
    """The layer's record, or None if there is no such layer or (``driver`` is None) no home.

    :raises InvalidLayerId: no layer can have that id.
    """
    check_id(layer_id)
    if driver is None or not driver.exists(layer_id):
        return None
    return driver.layer(layer_id)


def plain_text(path: str) -> str:
    """A path as JSON can carry it: a byte that is not UTF-8 becomes ``\\udcXX``."""
    return path if path.isascii() else path.encode("utf-8", "backslashreplace").decode("utf-8")


def plain_data(data: Any) -> Any:
    """A result in which every text went through :func:`plain_text`."""
    if isinstance(data, str):
        return plain_text(data)
    if isinstance(data, dict):
        return {plain_data(key): plain_data(value) for key, value in data.items()}
    return [plain_data(value) for value in data] if isinstance(data, (list, tuple)) else data


def user_records(users: Any) -> list[dict[str, Any]]:
    """Processes that use a layer as the modules return them. A process chooses its name, so that is escaped."""
    return [dict(user._asdict(), command=printable(user.command)) for user in users]
