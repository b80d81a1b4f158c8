"""Delimited files as aligned text: numbers at the right with three digits, a heading, long files
cut with their length said."""

from __future__ import annotations

import csv
import io
from textwrap import wrap

from rich.text import Text

from petriscope_tui.form import number

WIDEST, NARROWEST = 40, 18


def aligned(
    content: str, separator: str, accent: str, dim: str, width: int, rows: int = 500
) -> Text:
    """``content`` (comma- or tab-separated, first line the heading) as at most ``rows`` lines of
    ``width`` cells.

    Text columns shrink to make room; columns that still do not fit are named instead of shown.
    """
    lines = [row for row in csv.reader(io.StringIO(content), delimiter=separator) if row]
    if not lines:
        return Text("empty", style=dim)
    count = max(len(row) for row in lines)
    cells = [[shortened(v) for v in row] + [""] * (count - len(row)) for row in lines[: rows + 1]]
    numeric = [
        any(row[i] for row in cells[1:]) and all(_is_number(r[i]) for r in cells[1:] if r[i])
        for i in range(count)
    ]
    natural = [max(len(row[i]) for row in cells) for i in range(count)]
    widest = WIDEST
    while widest > NARROWEST and sum(min(w, widest) + 2 for w in natural) > width:
        widest -= 1
    widths = [w if right else min(w, widest) for w, right in zip(natural, numeric)]
    shown = count
    while shown > 1 and sum(w + 2 for w in widths[:shown]) - 2 > width:
        shown -= 1
    text = Text(no_wrap=True)
    for place, row in enumerate(cells):
        line = [
            _cut(v, w).rjust(w) if r else _cut(v, w).ljust(w)
            for v, w, r in zip(row[:shown], widths, numeric)
        ]
        text.append("  ".join(line).rstrip() + "\n", style=f"bold {accent}" if place == 0 else "")
    if shown < count:
        text.append(
            "\n".join(wrap(f"further columns: {', '.join(cells[0][shown:])}", width)) + "\n",
            style=dim,
        )
    if len(lines) > rows + 1:
        text.append(f"the first {rows} of {len(lines) - 1:,} rows", style=dim)
    text.rstrip()
    return text


def shortened(cell: str) -> str:
    """A number of many digits with three; anything else as it is."""
    if "." not in cell and "e" not in cell.lower():
        return cell
    return number(float(cell)) if _is_number(cell) else cell


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
