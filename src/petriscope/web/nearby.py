"""Genes and motif occurrences near a context, looked up for many contexts at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from petriscope.atlas.filters import GENE_REACH
from petriscope.atlas.query import Atlas
from petriscope.web import digits
from petriscope.web.source import columns_of


class Sites(NamedTuple):
    """Start sites of one chromosome from left to right."""

    tss: np.ndarray
    told: list[tuple[str, int, str | None]]
    """symbol, tss, strand"""


class Hits(NamedTuple):
    """Motif occurrences of one chromosome from left to right, equal starts by falling score."""

    start: np.ndarray
    end: np.ndarray
    longest: int
    motif: np.ndarray
    strand: np.ndarray
    score: np.ndarray


class Nearby:
    """What lies around a place of the genome."""

    def __init__(self, atlas: Atlas) -> None:
        self.sites = _sites(atlas) if "genes" in atlas.tables else {}
        self.motifs: list[str] = []
        self.hits = self._hits(atlas) if atlas.has_motif_hits else None
        """None: not measured"""

    def around(
        self, chroms: Sequence[str | None], starts: Sequence[int], ends: Sequence[int]
    ) -> tuple[list[Any], list[Any]]:
        """Start sites within reach of each place, and motif occurrences inside it (None: not
        measured)."""
        genes: list[Any] = [()] * len(chroms)
        hits: list[Any] = [None] * len(chroms)
        names = np.array([c or "" for c in chroms], dtype=object)
        for chrom in sorted({c for c in chroms if c is not None}):
            at = np.flatnonzero(names == chrom)
            low = np.array([starts[i] for i in at.tolist()], np.int64)
            high = np.array([ends[i] for i in at.tolist()], np.int64)
            for i, found in zip(at.tolist(), self._genes(chrom, low, high)):
                genes[i] = found
            for i, found in zip(at.tolist(), self._inside(chrom, low, high)):
                hits[i] = found
        return genes, hits

    def _genes(self, chrom: str, low: np.ndarray, high: np.ndarray) -> list[Any]:
        sites = self.sites.get(chrom)
        if sites is None:
            return [()] * len(low)
        first = np.searchsorted(sites.tss, low - GENE_REACH, "left").tolist()
        last = np.searchsorted(sites.tss, high + GENE_REACH, "left").tolist()
        return [sites.told[a:b] for a, b in zip(first, last)]

    def _inside(self, chrom: str, low: np.ndarray, high: np.ndarray) -> list[Any]:
        if self.hits is None:
            return [None] * len(low)
        hits = self.hits.get(chrom)
        if hits is None:
            return [()] * len(low)
        first = np.searchsorted(hits.start, low - hits.longest, "right")
        count = np.searchsorted(hits.start, high, "left") - first
        count = np.maximum(count, 0)
        owner = np.repeat(np.arange(len(low)), count)
        hit = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count - first, count)
        inside = hits.end[hit] > low[owner]
        owner, hit = owner[inside], hit[inside]
        several, at = np.unique(hit, return_inverse=True)
        known = self._told(hits, several)
        told = [known[i] for i in at.tolist()]
        edges = np.searchsorted(owner, np.arange(len(low) + 1)).tolist()
        return [told[a:b] for a, b in pairwise(edges)]

    def _told(self, hits: Hits, chosen: np.ndarray) -> list[tuple[Any, ...]]:
        """Motif, start, end, strand and score of some occurrences."""
        columns = [
            [self.motifs[i] for i in hits.motif[chosen].tolist()],
            hits.start[chosen].tolist(),
            hits.end[chosen].tolist(),
            [STRANDS[i] for i in hits.strand[chosen].tolist()],
            digits.reals(hits.score[chosen]).tolist(),
        ]
        return list(zip(*columns))

    def _hits(self, atlas: Atlas) -> dict[str, Hits]:
        """All motif occurrences, a number for each motif and strand."""
        sql = (
            'SELECT chrom, start, "end", motif, strand, score FROM motif_hits '
            "ORDER BY chrom, start, score DESC, hit"
        )
        chrom, start, end, motif, strand, score = columns_of(atlas.select(sql), 6)
        self.motifs = sorted(set(motif))
        number = {name: i for i, name in enumerate(self.motifs)}
        sign = {None: 0, "+": 1, "-": 2}
        columns = (
            np.array(start, np.int64),
            np.array(end, np.int64),
            np.array([number[name] for name in motif], np.int32),
            np.array([sign.get(mark, 0) for mark in strand], np.int8),
            np.array(score, np.float64),
        )
        names = np.array(chrom, dtype=object)
        found = {}
        for name in sorted(set(chrom)):
            own = np.flatnonzero(names == name)
            begin, stop, *rest = (column[own] for column in columns)
            found[name] = Hits(begin, stop, int((stop - begin).max()), *rest)
        return found


STRANDS = (None, "+", "-")


def _sites(atlas: Atlas) -> dict[str, Sites]:
    rows = atlas.select("SELECT chrom, symbol, tss, strand FROM genes ORDER BY chrom, tss, gene")
    places: dict[str, list[tuple[str, int, str | None]]] = {}
    for name, *told in rows:
        places.setdefault(name, []).append(tuple(told))
    return {
        name: Sites(np.array([tss for _, tss, _ in told], np.int64), told)
        for name, told in places.items()
    }
