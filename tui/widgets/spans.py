# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""Text with meaning: widgets say that something is good or bad, the theme decides how that looks.

All text that is drawn comes through :func:`spans`, which makes it safe for a terminal. None of it is read as markup.
"""

from __future__ import annotations

import textwrap

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from ..model.plain import visible

#: A piece of text and what it means: one of the keys of :data:`STYLES`.
#: Signs and words carry the same news as colours do, so nothing is lost without them.
STYLES = {
    "": "",
    "dim": "$foreground-muted",
    "strong": "bold",
    "accent": "$text-accent",
    "good": "$text-success",
    "warn": "$text-warning",
    "bad": "$text-error",
    "title": "bold $text-primary",
}

#: The narrowest column that text is wrapped into.
_LEAST_HANGING = 16
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"


def content(*lines):
    """Textual's Content of lines, each a str, a (text, meaning) pair, or a list of such pairs."""
    parts = []
    for number, line in enumerate(lines):
        if number:
            parts.append("\n")
        for text, meaning in spans(line):
            parts.append((text, STYLES[meaning]) if STYLES[meaning] else text)
    return Content.assemble(*parts)


def spans(line):
    """A line in its short forms as a list of (text, meaning) pairs, the text safe for a terminal."""
    if isinstance(line, str):
        return [(visible(line), "")]
    return [(visible(text), meaning) for text, meaning in ([line] if isinstance(line, tuple) else line)]


def plain(line):
    """The text of a line (str)."""
    return "".join(text for text, _meaning in spans(line))


def fit(line, width, right=False):
    """A line cut or filled to ``width`` cells, wide characters counted as they show: list of (text, meaning)."""
    pieces = spans(line)
    length = sum(cell_len(text) for text, _meaning in pieces)
    if length <= width:
        blank = (" " * (width - length), "")
        return [blank, *pieces] if right else [*pieces, blank]
    kept, room = [], width - 1
    for text, meaning in pieces:
        size = cell_len(text)
        if size > room:
            kept.append((set_cell_size(text, room), meaning))
            break
        kept.append((text, meaning))
        room -= size
    return [*kept, ("…", "dim")] if width > 0 else []


def cut(text, width):
    """Text of ``width`` cells at most (str), which ends in ``…`` if some of it was left out."""
    text = visible(text)
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def cut_start(text, width):
    """The same with the end kept: a path's end tells more than its beginning."""
    text = visible(text)
    if cell_len(text) <= width:
        return text
    kept = text[-width:]
    while cell_len(kept) > width - 1:
        kept = kept[1:]
    return "…" + kept


def hang(line, width):
    """A line wrapped to ``width`` cells, what follows its first line standing below its last piece: list of lines.

    Only a line of several pieces hangs; others are the terminal's to wrap.
    """
    pieces = spans(line)
    text, meaning = pieces[-1]
    left = sum(cell_len(piece) for piece, _meaning in pieces[:-1])
    if len(pieces) < 2 or not left or width - left < _LEAST_HANGING or left + cell_len(text) <= width:
        return [line]
    wrapped = textwrap.wrap(text, width - left, break_on_hyphens=False) or [""]
    return [[*pieces[:-1], (wrapped[0], meaning)], *([(" " * left, ""), (more, meaning)] for more in wrapped[1:])]


def filled(share, width):
    """A filled bar of ``width`` cells for a share from 0 to 1 (str)."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width, "░")


def trend(values, width):
    """The last ``width`` values as a line of little columns (str), from their least to their greatest."""
    values = values[-width:]
    if not values:
        return ""
    least, most = min(values), max(values)
    if least == most:
        return _LEVELS[0] * len(values)
    return "".join(_LEVELS[(value - least) * (len(_LEVELS) - 1) // (most - least)] for value in values)


def fullness(share):
    """What it means that a share of something is used up."""
    return "bad" if share >= 0.95 else "warn" if share >= 0.8 else "good"
