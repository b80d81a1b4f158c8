"""Tables that others released are read here for an audit: every cell checked, a mistake named by
file and line."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from petriscope.errors import UserError
from petriscope.textfile import open_text

UNCHANGED = "Use the released table unchanged."


def read_released(
    path: str | Path, numbers: Iterable[str], words: Iterable[str] = (), gaps: Collection[str] = ()
) -> pd.DataFrame:
    """A released table (tab-separated with a header, plain or gzipped).

    ``numbers`` become float64 and must be finite; ``words`` stay text; a cell of ``gaps`` may be
    empty. Further columns stay as text.

    Raises
    ------
    UserError
        For a file that is absent or damaged, a column that is missing, or the first cell that is
        not what it should be, by its line.
    """
    path = Path(path)
    lines = [(number, line.split("\t")) for number, line in open_text(path) if line.strip()]
    if len(lines) < 2:
        raise UserError("holds no row", file=path, remedy=UNCHANGED)
    (_, names), *rows = lines
    numbers = list(numbers)
    missing = [name for name in (*numbers, *words) if name not in names]
    if missing:
        raise UserError(f"lacks the column {missing[0]}", file=path, remedy=UNCHANGED)
    for number, row in rows:
        if len(row) != len(names):
            what = f"has {len(row)} cells, the header {len(names)}"
            raise UserError(what, file=path, field=f"line {number}", remedy=UNCHANGED)
    columns: dict[str, list[Any]] = {}
    for i, name in enumerate(names):
        cells = [(number, row[i].strip()) for number, row in rows]
        wanted = name in numbers
        empty = next((number for number, cell in cells if not cell), None)
        if empty is not None and name not in gaps and (wanted or name in words):
            where = f"line {empty}, {name}"
            raise UserError("is empty", file=path, field=where, remedy=UNCHANGED)
        values = [_number(path, name, *cell) for cell in cells] if wanted else None
        columns[name] = [cell for _, cell in cells] if values is None else values
    return pd.DataFrame(columns)


def _number(path: Path, name: str, line: int, cell: str) -> float:
    try:
        value = float(cell or "nan")
    except ValueError:
        value = math.inf
    if cell and not math.isfinite(value):
        where = f"line {line}, {name}"
        raise UserError(f"{cell!r} is no number", file=path, field=where, remedy=UNCHANGED)
    return value
