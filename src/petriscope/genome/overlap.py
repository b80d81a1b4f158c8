"""Interval arithmetic on arrays: reading BED files, and all overlapping pairs of two sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.files import open_text

_NAMES = ("chrom", "start", "end", "name", "score", "strand", "thick_start", "thick_end", "colour")

HEADER = re.compile(r"#|(track|browser)(\s|$)")
"""Lines of a BED file that are no interval."""


class Intervals(NamedTuple):
    """Half-open intervals in any order; they may overlap."""

    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Intervals:
        """The columns chrom, start, end of a frame."""
        return cls(*(frame[name].to_numpy() for name in ("chrom", "start", "end")))


class Overlaps(NamedTuple):
    """Every pair of a query and a subject interval that share at least one base, by query then
    subject order."""

    query: np.ndarray
    """(k,) int64 row in the query."""
    subject: np.ndarray
    """(k,) int64 row in the subject."""
    bases: np.ndarray
    """(k,) int64 shared bases."""


def read_bed(path: str | Path, min_columns: int = 3) -> pd.DataFrame:
    """A BED file (plain or gzipped; comments, 'track' and 'browser' lines skipped) with up to nine
    named columns.

    Raises UserError naming file and line for a missing column, a coordinate that is not a whole
    number, or an end before its start.
    """
    path = Path(path)
    rows, numbers = [], []
    for number, line in open_text(path):
        if line.strip() and not HEADER.match(line):
            rows.append(line.split("\t") if "\t" in line else line.split())
            numbers.append(number)
    width = min((len(row) for row in rows), default=0)
    if width < min_columns:
        number = next((n for n, row in zip(numbers, rows) if len(row) < min_columns), 1)
        raise UserError(
            f"{width} columns where at least {min_columns} are needed"
            if rows
            else "the file holds no interval",
            file=path,
            field=f"line {number}",
            remedy=f"A BED line here has {', '.join(_NAMES[:min_columns])}, separated by tabs",
        )
    used = min(len(rows[0]), len(_NAMES))
    for number, row in zip(numbers, rows):
        if min(len(row), len(_NAMES)) != used:
            raise UserError(
                f"has {len(row)} columns where the first interval has {len(rows[0])}",
                file=path,
                field=f"line {number}",
                remedy="Give every line the same columns; the file may be cut.",
            )
    frame = pd.DataFrame({name: [row[i] for row in rows] for i, name in enumerate(_NAMES[:used])})
    for column in ("start", "end"):
        text = frame[column].str.strip()
        bad = np.flatnonzero(~text.str.fullmatch(r"[+-]?[0-9]{1,18}").to_numpy(bool))
        if bad.size:
            raise UserError(
                f"{column} '{frame[column].iloc[bad[0]]}' is not a number",
                file=path,
                field=f"line {numbers[bad[0]]}",
                remedy="Coordinates are whole numbers, 0-based start",
            )
        frame[column] = text.astype(np.int64)
    nameless = np.flatnonzero((frame["chrom"].str.strip() == "").to_numpy(bool))
    if nameless.size:
        raise UserError(
            "the chromosome has no name",
            file=path,
            field=f"line {numbers[nameless[0]]}",
            remedy="Write it in column 1.",
        )
    wrong = np.flatnonzero((frame["end"] <= frame["start"]) | (frame["start"] < 0))
    if wrong.size:
        row = frame.iloc[wrong[0]]
        raise UserError(
            f"interval {row['chrom']}:{row['start']}-{row['end']} is empty or negative",
            file=path,
            field=f"line {numbers[wrong[0]]}",
            remedy="start must be at least 0 and below end",
        )
    return frame


def within_genome(
    frame: pd.DataFrame, sizes: Mapping[str, int], path: str | Path, slack: int = 0
) -> None:
    """Raise UserError when an interval ends more than ``slack`` bp past its chromosome: the mark of
    another build."""
    limit = frame["chrom"].map(dict(sizes))
    past = np.flatnonzero((frame["end"] > limit + slack).to_numpy(dtype=bool, na_value=False))
    if past.size:
        row = frame.iloc[past[0]]
        raise UserError(
            f"{row['chrom']}:{row['start']}-{row['end']} ends past the chromosome "
            f"({sizes[row['chrom']]:,} bp); "
            f"{past.size} such intervals",
            file=path,
            remedy="The file is of another genome build: lift it over or change the genome",
        )


def overlaps(query: Intervals, subject: Intervals) -> Overlaps:
    """All pairs of intervals that share a base; either side in any order, overlapping itself or
    not."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    query_of, subject_of = _by_chrom(query.chrom), _by_chrom(subject.chrom)
    for chrom, mine in query_of.items():
        theirs = subject_of.get(chrom)
        if theirs is None:
            continue
        theirs = theirs[np.argsort(subject.start[theirs], kind="stable")]
        starts = subject.start[theirs]
        reach = np.maximum.accumulate(subject.end[theirs])
        low = np.searchsorted(reach, query.start[mine], side="right")
        count = np.maximum(np.searchsorted(starts, query.end[mine], side="left") - low, 0)
        which = np.repeat(np.arange(len(mine)), count)
        within = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
        q, s = mine[which], theirs[np.repeat(low, count) + within]
        real = subject.end[s] > query.start[q]
        found.append((q[real], s[real]))
    if not found:
        return Overlaps(*(np.zeros(0, dtype=np.int64) for _ in range(3)))
    q, s = (np.concatenate([pair[i] for pair in found]) for i in range(2))
    order = np.lexsort((s, q))
    q, s = q[order], s[order]
    bases = np.minimum(query.end[q], subject.end[s]) - np.maximum(query.start[q], subject.start[s])
    keep = bases > 0
    return Overlaps(q[keep], s[keep], bases[keep].astype(np.int64))


def _by_chrom(chrom: np.ndarray) -> dict[object, np.ndarray]:
    """Rows of each chromosome."""
    codes, names = pd.factorize(np.asarray(chrom, dtype=object))
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
    return {name: order[edges[i] : edges[i + 1]] for i, name in enumerate(names)}
