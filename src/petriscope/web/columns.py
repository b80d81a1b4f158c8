"""The columns of all features, the dictionaries of those that hold words, the flags, and the first
rows of every sorting."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import Column
from petriscope.web.chunks import Written, write_items, write_json
from petriscope.web.source import Source, columns_of

FIRST = 64
"""Rows of a sorting that are kept ready."""
SHOWN = (
    "label",
    "density",
    "cds",
    "q",
    "effect",
    "lineage",
    "direction",
    "stability",
    "causal_percentile",
)
PLAIN = ("label", "density", "mean_activation", "module", "stability")
"""Columns that people see first, with and without a contrast; the study's own follow."""
DTYPES = {
    "f32": "<f4",
    "f64": "<f8",
    "u16": "<u2",
    "i32": "<i4",
    "code": "<u2",
    "code32": "<u4",
}
SMALLEST, LARGEST = 1e-37, 1e38
"""What float32 holds with all its digits."""
MISSING = {"u16": 65_535, "i32": -2_147_483_648}


class Stored(NamedTuple):
    """How a column is stored."""

    store: str
    words: list[str]
    """of a column of words"""


def shown(atlas: Atlas) -> list[str]:
    """Names of the columns that people see first, as in the terminal UI."""
    if atlas.contrasted or not atlas.total:
        return [name for name in SHOWN if name in atlas.columns]
    own = (column.name for column in atlas.declared.features)
    found = [name for name in (*PLAIN, *own) if name in atlas.filled and name in atlas.columns]
    return found or ["density"]


def stored(atlas: Atlas, column: Column) -> Stored:
    """The smallest store that holds every value of a column."""
    name = f'"{column.name}"'
    if column.kind == "text":
        # As the stored text, not as the column's collation has it: "b" and "B" are two words.
        sql = f"SELECT DISTINCT CAST({name} AS BLOB) FROM features WHERE {name} IS NOT NULL"
        words = sorted(blob.decode("utf-8") for (blob,) in atlas.select(sql))
        return Stored("code" if len(words) < 65_536 else "code32", words)
    real, low, high, least = atlas.select(
        f"SELECT MAX(typeof({name}) = 'real'), MIN({name}), MAX({name}), "
        f"MIN(CASE WHEN {name} <> 0 THEN ABS({name}) END) FROM features"
    )[0]
    if low is None:
        return Stored("f32" if column.kind == "real" else "u16", [])
    if column.kind == "real" or real or not -(2**31) < low <= high < 2**31:
        narrow = max(-low, high) < LARGEST and (least is None or least > SMALLEST)
        return Stored("f32" if narrow else "f64", [])
    small = 0 <= low <= high < MISSING["u16"]
    return Stored("u16" if small else "i32", [])


def write_column(folder: Path, source: Source, column: Column) -> list[Written]:
    """Write a column and its dictionary."""
    with source.opened() as atlas:
        how = stored(atlas, column)
        rows = atlas.select(f'SELECT "{column.name}" FROM features ORDER BY id')
    items = _items([value for (value,) in rows], how)
    written = write_items(folder, f"col/{column.name}", items)
    if column.kind == "text":
        written += write_json(folder, f"dict/{column.name}", how.words)
    return written


def _items(values: list[Any], how: Stored) -> np.ndarray:
    if how.store in ("f32", "f64"):
        return np.array(values, np.float64).astype(DTYPES[how.store])
    if how.store in MISSING:
        missing = MISSING[how.store]
        return np.array([missing if v is None else v for v in values], DTYPES[how.store])
    code = {word: number for number, word in enumerate(how.words, 1)}
    return np.array([0 if v is None else code[v] for v in values], DTYPES[how.store])


def write_first_rows(folder: Path, source: Source, name: str) -> list[Written]:
    """Write the first rows by a column, rising and falling, as the terminal UI sorts them."""
    written: list[Written] = []
    with source.opened() as atlas:
        names = shown(atlas)
        for descending in (False, True):
            ids = atlas.order("", name, descending)[:FIRST].tolist()
            rows = atlas.rows(ids, names) if ids else []
            chunk = f"rows/{name}-down" if descending else f"rows/{name}"
            value = {"columns": names, "ids": ids, "rows": [list(row) for row in rows]}
            written += write_json(folder, chunk, value)
    return written


def write_positions(folder: Path, source: Source) -> list[Written]:
    """Write where the map draws each feature, as columns x and y; NaN where it does not."""
    ids, *ends = columns_of(source.atlas.layout(), 3)
    written: list[Written] = []
    for name, values in zip(("x", "y"), ends):
        items = np.full(len(source.ids), np.nan, "<f4")
        items[source.rows(ids)] = values
        written += write_items(folder, f"col/{name}", items)
    return written
