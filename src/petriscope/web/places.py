"""Top contexts on a genome from left to right: what a region, or a gene's neighborhood, holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from petriscope.web import digits
from petriscope.web.chunks import Written, write_json
from petriscope.web.source import Source, columns_of

EACH = 4_096
"""Contexts of a file: by count, since a dense region would make a large file."""


class Places:
    """The top contexts that lie on a genome, ordered by chromosome and start."""

    def __init__(self, source: Source) -> None:
        # Contexts are numbered in the order of the genome. The features that have them are read in
        # the order in which they lie, and sorted here: half the time of a join.
        sql = (
            'SELECT context, chrom, start, "end" FROM contexts WHERE chrom IS NOT NULL '
            "ORDER BY context"
        )
        context, chrom, start, end = columns_of(source.atlas.select(sql), 4)
        self.chroms: list[str] = sorted(set(chrom))
        code = {name: i for i, name in enumerate(self.chroms)}
        rows = source.atlas.select("SELECT id, unit, context, activation FROM top")
        ids, unit, of, activation = (np.array(column) for column in columns_of(rows, 4))
        known = np.array(context, np.int64)
        at = np.searchsorted(known, of)
        on = known[np.minimum(at, len(known) - 1)] == of
        order = np.flatnonzero(on)[np.lexsort((unit[on], ids[on], of[on]))]
        at = at[order]
        self.chrom = np.array([code[name] for name in chrom], np.int32)[at]
        self.start = np.array(start, np.int64)[at]
        self.end = np.array(end, np.int64)[at]
        self.row = source.rows(ids[order])
        self.unit = unit[order].astype(np.int32)
        self.activation = activation[order].astype(np.float64)
        self.cuts = self._cuts()
        """First and last place of each file, which holds one chromosome."""

    @property
    def width(self) -> int:
        """Length of the longest context."""
        return int((self.end - self.start).max(initial=0))

    def _cuts(self) -> list[tuple[int, int]]:
        found = []
        for code in range(len(self.chroms)):
            first, last = np.searchsorted(self.chrom, [code, code + 1]).tolist()
            found += [(a, min(a + EACH, last)) for a in range(first, last, EACH)]
        return found

    def index(self) -> list[tuple[str, int, int, int]]:
        """Chromosome, first and last start and largest end of each file."""
        return [
            (
                self.chroms[self.chrom[a]],
                int(self.start[a]),
                int(self.start[b - 1]),
                int(self.end[a:b].max()),
            )
            for a, b in self.cuts
        ]

    def write(self, folder: Path, number: int) -> list[Written]:
        """Write one file of contexts."""
        a, b = self.cuts[number]
        columns = {
            "chrom": [self.chroms[c] for c in self.chrom[a:b].tolist()],
            "start": self.start[a:b],
            "end": self.end[a:b],
            "row": self.row[a:b],
            "unit": self.unit[a:b],
            "activation": digits.reals(self.activation[a:b]),
        }
        return write_json(folder, f"place/{number}", columns)

    def near(
        self, chroms: Sequence[str | None], sites: Sequence[int | None], reach: int
    ) -> list[int]:
        """Features with a context within ``reach`` of each site (`filters`: gene:SYMBOL)."""
        bounds = dict(zip(self.chroms, range(len(self.chroms))))
        width, found = self.width, []
        for chrom, site in zip(chroms, sites):
            if chrom not in bounds or site is None:
                found.append(0)
                continue
            first, last = np.searchsorted(self.chrom, [bounds[chrom], bounds[chrom] + 1])
            starts = self.start[first:last]
            a = first + np.searchsorted(starts, site - reach - width, "right")
            b = first + np.searchsorted(starts, site + reach, "left")
            inside = self.end[a:b] > site - reach
            found.append(len(np.unique(self.row[a:b][inside])))
        return found
