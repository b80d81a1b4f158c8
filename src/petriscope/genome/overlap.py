"""Interval arithmetic on arrays: reading BED files, and all overlapping pairs of two sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.genome.intervals import Lines, check_bounds, read_chunks

_NAMES = ("chrom", "start", "end", "name", "score", "strand", "thick_start", "thick_end", "colour")


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
    """A BED file (plain or gzipped; comments, 'track' and 'browser' lines skipped; columns
    separated by tabs, or all of them by spaces) with up to nine named columns.

    Raises UserError naming file and line for a missing column, a coordinate that is not a whole
    number, or an end before its start.
    """
    path = Path(path)
    words = {i: _NAMES[i] for i in range(3, min_columns)}
    columns = Lines(path, {1: "start", 2: "end"}, {}, words, spaces=True).columns
    words = dict(enumerate(_NAMES[3:columns], start=3))
    parts = []
    for chunk in read_chunks(path, text=words, closed=False, spaces=True):
        check_bounds(path, chunk, {})
        parts.append(chunk.frame.astype({"chrom": str}))
    return pd.concat(parts, ignore_index=True)


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
