# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Text with meaning: widgets say that something is good or bad, the theme decides how that looks.

All text that is drawn comes through :func:`spans`, which makes it safe for a terminal. None of it is read as markup.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Union

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from ..model.plain import visible

#: A piece of text and what it means, one of the keys of :data:`STYLES`.
Span = tuple[str, str]
#: One line: plain text, one span, or several.
Line = Union[str, Span, list[Span]]

#: Signs and words always say the same as the colours, so nothing is lost without them.
STYLES = {
    "": "",
    "dim": "$foreground-muted",
    "strong": "bold",
    "accent": "$text-primary",
    "good": "$text-success",
    "warn": "$text-warning",
    "bad": "$text-error",
    "title": "bold $text-primary",
}

#: The narrowest column that text is wrapped into.
_LEAST_HANGING = 16
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"


def content(*lines: Line) -> Content:
    """Lines as Textual draws them."""
    parts: list[str | tuple[str, str]] = []
    for number, line in enumerate(lines):
        if number:
            parts.append("\n")
        for text, meaning in spans(line):
            parts.append((text, STYLES[meaning]) if STYLES[meaning] else text)
    return Content.assemble(*parts)


def spans(line: Line) -> list[Span]:
    """The spans of a line, their text safe for a terminal."""
    if isinstance(line, str):
        return [(visible(line), "")]
    return [(visible(text), meaning) for text, meaning in ([line] if isinstance(line, tuple) else line)]


def plain(line: Line) -> str:
    """The text of a line."""
    return "".join(text for text, _meaning in spans(line))


def fit(line: Line, width: int, right: bool = False) -> list[Span]:
    """A line cut or padded to ``width`` cells (a wide character takes two)."""
    pieces = spans(line)
    length = sum(cell_len(text) for text, _meaning in pieces)
    if length <= width:
        blank = (" " * (width - length), "")
        return [blank, *pieces] if right else [*pieces, blank]
    kept: list[Span] = []
    left = width - 1
    for text, meaning in pieces:
        size = cell_len(text)
        if size > left:
            kept.append((set_cell_size(text, left), meaning))
            break
        kept.append((text, meaning))
        left -= size
    return [*kept, ("…", "dim")] if width > 0 else []


def cut(text: str, width: int) -> str:
    """Text of ``width`` cells at most, which ends in ``…`` if it was longer."""
    text = visible(text)
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def cut_start(text: str, width: int) -> str:
    """The same with the end kept, which tells more of a path than its beginning."""
    text = visible(text)
    if cell_len(text) <= width:
        return text
    kept = text[-width:]
    while cell_len(kept) > width - 1:
        kept = kept[1:]
    return "…" + kept


def hang(line: Line, width: int) -> list[Line]:
    """A line wrapped to ``width`` cells, its last span indented to where it begins.

    A line of a single span is returned as it is, and wrapped by the widget.
    """
    pieces = spans(line)
    text, meaning = pieces[-1]
    left = sum(cell_len(piece) for piece, _meaning in pieces[:-1])
    if len(pieces) < 2 or not left or width - left < _LEAST_HANGING or left + cell_len(text) <= width:
        return [line]
    wrapped = textwrap.wrap(text, width - left, break_on_hyphens=False) or [""]
    return [[*pieces[:-1], (wrapped[0], meaning)], *([(" " * left, ""), (more, meaning)] for more in wrapped[1:])]


def filled(share: float, width: int) -> str:
    """A bar of ``width`` cells for a share from 0 to 1."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width, "░")


def trend(values: Sequence[int], width: int) -> str:
    """The last ``width`` values as a line of small columns."""
    values = values[-width:]
    if not values:
        return ""
    least, most = min(values), max(values)
    if least == most:
        return _LEVELS[0] * len(values)
    return "".join(_LEVELS[(value - least) * (len(_LEVELS) - 1) // (most - least)] for value in values)


def fullness(share: float) -> str:
    """The meaning of a used share of something limited."""
    return "bad" if share >= 0.95 else "warn" if share >= 0.8 else "good"
