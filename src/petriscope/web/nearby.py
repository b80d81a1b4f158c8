"""Genes and motif occurrences near a context, looked up for many contexts at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from petriscope.atlas.filters import GENE_REACH
from petriscope.atlas.query import Atlas
from petriscope.web import digits
from petriscope.web.source import columns_of


class Sites(NamedTuple):
    """Start sites of one chromosome from left to right."""

    tss: np.ndarray
    texts: list[str]


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
    ) -> tuple[list[str], list[str]]:
        """JSON of start sites within reach of each place, and of motif occurrences inside it."""
        genes, hits = ["[]"] * len(chroms), ["null"] * len(chroms)
        names = np.array([c or "" for c in chroms], dtype=object)
        for chrom in sorted({c for c in chroms if c is not None}):
            at = np.flatnonzero(names == chrom)
            low = np.array([starts[i] for i in at.tolist()], np.int64)
            high = np.array([ends[i] for i in at.tolist()], np.int64)
            for i, text in zip(at.tolist(), self._genes(chrom, low, high)):
                genes[i] = text
            for i, text in zip(at.tolist(), self._inside(chrom, low, high)):
                hits[i] = text
        return genes, hits

    def _genes(self, chrom: str, low: np.ndarray, high: np.ndarray) -> list[str]:
        sites = self.sites.get(chrom)
        if sites is None:
            return ["[]"] * len(low)
        first = np.searchsorted(sites.tss, low - GENE_REACH, "left").tolist()
        last = np.searchsorted(sites.tss, high + GENE_REACH, "left").tolist()
        known: dict[tuple[int, int], str] = {}
        for pair in zip(first, last):
            if pair not in known:
                known[pair] = digits.listed(sites.texts[pair[0] : pair[1]])
        return [known[pair] for pair in zip(first, last)]

    def _inside(self, chrom: str, low: np.ndarray, high: np.ndarray) -> list[str]:
        if self.hits is None:
            return ["null"] * len(low)
        hits = self.hits.get(chrom)
        if hits is None:
            return ["[]"] * len(low)
        first = np.searchsorted(hits.start, low - hits.longest, "right")
        count = np.searchsorted(hits.start, high, "left") - first
        count = np.maximum(count, 0)
        owner = np.repeat(np.arange(len(low)), count)
        hit = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count - first, count)
        inside = hits.end[hit] > low[owner]
        owner, hit = owner[inside], hit[inside]
        several, at = np.unique(hit, return_inverse=True)
        known = self._texts(hits, several)
        texts = [known[i] for i in at.tolist()]
        edges = np.searchsorted(owner, np.arange(len(low) + 1)).tolist()
        return [digits.listed(texts[a:b]) for a, b in pairwise(edges)]

    def _texts(self, hits: Hits, chosen: np.ndarray) -> list[str]:
        """JSON of some occurrences."""
        columns = [
            digits.words([self.motifs[i] for i in hits.motif[chosen].tolist()]),
            digits.whole(hits.start[chosen].tolist()),
            digits.whole(hits.end[chosen].tolist()),
            [STRANDS[i] for i in hits.strand[chosen].tolist()],
            digits.reals(hits.score[chosen]),
        ]
        return digits.tuples(columns)

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


STRANDS = (digits.NULL, '"+"', '"-"')


def _sites(atlas: Atlas) -> dict[str, Sites]:
    rows = atlas.select("SELECT chrom, symbol, tss, strand FROM genes ORDER BY chrom, tss, gene")
    chrom, symbol, tss, strand = columns_of(rows, 4)
    texts = digits.tuples([digits.words(symbol), digits.whole(tss), digits.words(strand)])
    places: dict[str, list[int]] = {}
    for i, name in enumerate(chrom):
        places.setdefault(name, []).append(i)
    return {
        name: Sites(np.array([tss[i] for i in own], np.int64), [texts[i] for i in own])
        for name, own in places.items()
    }
