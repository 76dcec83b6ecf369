# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The help and the command palette, both made from the key bindings."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Input

from .screens.base import HomeScreen
from .screens.dialogs import Section


def own_bindings(owner: type[DOMNode], below: type = object) -> list[Binding]:
    """The bindings that this program (not Textual) defines for a class, one for each key.

    :param owner: the app, a screen or a widget.
    :param below: leave out the bindings of this class and its bases.
    """
    found: list[Binding] = []
    for cls in owner.__mro__:
        if not cls.__module__.startswith(__package__) or issubclass(below, cls):
            continue
        for binding in cls.__dict__.get("BINDINGS", ()):
            found += [binding.with_key(key.strip()) for key in binding.key.split(",")]
    return found


def help_sections(app: App[None], screen: HomeScreen) -> list[Section]:
    """What the help of a screen says: its own keys, those of the focused list, those of the app."""
    sections: list[Section] = [(screen.MODE.capitalize(), screen.HELP, own_bindings(type(screen)))]
    focused = screen.focused
    if focused is not None and not isinstance(focused, Input):
        sections.append(("This list", getattr(type(focused), "HELP", "") or "", own_bindings(type(focused))))
    everywhere = "Ctrl+P opens the command palette. The mouse works too."
    return [*sections, ("Everywhere", everywhere, own_bindings(type(app)))]


def palette(app: App[None], screen: Screen[None]) -> Iterator[tuple[DOMNode, Binding]]:
    """Each command once, with the node whose action it is."""
    # The screen's own focus: while the palette is open, the app's focus is in it.
    owners: list[DOMNode] = [app, screen, *([screen.focused] if screen.focused is not None else [])]
    seen = set()
    for owner in owners:
        for binding in own_bindings(type(owner)):
            if binding.description and binding.description not in seen:
                seen.add(binding.description)
                yield owner, binding
