"""The vocabulary and what is known by it: terms and the features enriched for them, genes and the
features that list them, cell types and the features that tell them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from petriscope.atlas.filters import GENE_REACH
from petriscope.web import digits
from petriscope.web.chunks import Written, write_json
from petriscope.web.places import Places
from petriscope.web.source import ENRICHED, Source, by_feature, columns_of

TOLD = 2_000
"""Entries of a term that come with their numbers; of further features only the rows are kept, which
filters need."""
ENTRIES = 2_500
"""Of a file, about."""


class Group(NamedTuple):
    """Terms of one file: their numbers in the atlas, in the order of the vocabulary."""

    name: str
    terms: list[int]


def _groups(counts: list[tuple[int, int]], name: str) -> list[Group]:
    """Consecutive terms with about `ENTRIES` entries; ``counts``: term, entries."""
    groups: list[Group] = []
    room = 0.0
    for term, count in counts:
        weight = min(count, TOLD) + max(count - TOLD, 0) / 10
        if not groups or weight > room:
            groups.append(Group(f"{name}/{len(groups)}", []))
            room = float(ENTRIES)
        groups[-1].terms.append(term)
        room -= weight
    return groups


class Vocabulary:
    """Terms and genes, and which file holds the features of each."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.alpha = source.atlas.thresholds.alpha
        where = ENRICHED.format(q="q")
        sql = f"SELECT term, COUNT(*) FROM annotations WHERE {where} GROUP BY term"
        found = dict(source.atlas.select(sql, (self.alpha,)))
        counts = [(term, found[term]) for term in source.numbered if term in found]
        self.posts = _groups(counts, "post")
        self.genes = _gene_rows(source)
        self.listed = {term: i for i, term in enumerate(self.genes.terms) if term is not None}
        """Term of the atlas → its number in data/genes.js."""
        self.listings: list[Group] = []
        if source.has("feature_genes"):
            sql = "SELECT gene, COUNT(*) FROM feature_genes GROUP BY gene"
            listed = dict(source.atlas.select(sql))
            ordered = [term for term in self.genes.terms if term is not None and term in listed]
            self.listings = _groups([(t, listed[t]) for t in ordered], "listing")

    def write_terms(self, folder: Path) -> list[Written]:
        """Write data/terms.js."""
        sql = "SELECT term, kind, name, features FROM terms WHERE kind <> 'gene' ORDER BY term"
        term, kind, name, features = columns_of(self.source.atlas.select(sql), 4)
        chunk = _chunks(self.posts)
        value = {
            "kind": kind,
            "name": name,
            "features": features,
            "chunk": [chunk.get(t, -1) for t in term],
        }
        return write_json(folder, "terms", value)

    def write_genes(self, folder: Path, places: Places | None) -> list[Written]:
        """Write data/genes.js; where features list no genes, the number that fires near each."""
        genes, chunk = self.genes, _chunks(self.listings)
        features: list[int | None] = list(genes.features)
        if not self.listings and places is not None:
            near = places.near(genes.chrom, genes.tss, GENE_REACH)
            features = [n if where else None for n, where in zip(near, genes.chrom)]
        value = {
            "name": genes.name,
            "features": features,
            "chrom": genes.chrom,
            "tss": genes.tss,
            "strand": genes.strand,
            "chunk": [-1 if t is None else chunk.get(t, -1) for t in genes.terms],
        }
        return write_json(folder, "genes", value)

    def write_posts(self, folder: Path, group: Group) -> list[Written]:
        """Write the features enriched for some terms, most significant first."""
        sql = (
            "SELECT term, id, scope, estimate, lo, hi, q FROM annotations "
            f"WHERE term BETWEEN ? AND ? AND {ENRICHED.format(q='q')} "
            "ORDER BY term, q IS NULL, q, id, scope"
        )
        with self.source.opened() as atlas:
            rows = atlas.select(sql, (group.terms[0], group.terms[-1], self.alpha))
        names = ("scope", "estimate", "lo", "hi", "q")
        return self._write(folder, group, self.source.numbered, rows, names)

    def write_listing(self, folder: Path, group: Group) -> list[Written]:
        """Write the features that list some genes, highest rank first."""
        sql = (
            "SELECT gene, id, rank, value, fires, tokens FROM feature_genes "
            "WHERE gene BETWEEN ? AND ? ORDER BY gene, rank, id"
        )
        with self.source.opened() as atlas:
            rows = atlas.select(sql, (group.terms[0], group.terms[-1]))
        return self._write(folder, group, self.listed, rows, ("rank", "value", "fires", "tokens"))

    def _write(
        self,
        folder: Path,
        group: Group,
        number: dict[int, int],
        rows: list[tuple[Any, ...]],
        names: Sequence[str],
    ) -> list[Written]:
        """Write the entries of a group's terms: rows of features and numbers of the first ones,
        then the rows of the others. ``rows``: term, identifier and what ``names`` names."""
        places = by_feature(np.array(group.terms), [row[0] for row in rows])
        told = [row for a, b in places for row in rows[a : min(b, a + TOLD)]]
        _, ids, *values = columns_of(told, 2 + len(names))
        at = self.source.rows(ids)
        columns = {name: digits.anything(column) for name, column in zip(names, values)}
        found: dict[str, dict[str, Any]] = {}
        first = 0
        for term, (a, b) in zip(group.terms, places):
            last = first + min(b - a, TOLD)
            own = at[first:last]
            if b - a > TOLD:
                others = self.source.rows([row[1] for row in rows[a + TOLD : b]])
                own = np.concatenate([own, np.setdiff1d(others, own)])
            entries = {name: column[first:last] for name, column in columns.items()}
            found[str(number[term])] = {"row": own, "total": b - a, **entries}
            first = last
        return write_json(folder, group.name, found)

    def write_celltypes(self, folder: Path) -> list[Written]:
        """Write data/celltypes.js: the features that are higher in each cell type."""
        sql = (
            "SELECT DISTINCT cell_type, id FROM celltypes WHERE q < ? AND effect > 0 "
            "ORDER BY cell_type, id"
        )
        found = self.source.atlas.select(sql, (self.alpha,))
        rows: dict[str, list[int]] = {}
        for (name, _), row in zip(found, self.source.rows([i for _, i in found]).tolist()):
            rows.setdefault(name, []).append(row)
        return write_json(folder, "celltypes", {"name": list(rows), "rows": list(rows.values())})


class Genes(NamedTuple):
    """Start sites and listed genes by name; columns of equal length."""

    terms: list[int | None]
    """their numbers among the atlas's terms"""
    name: list[str]
    features: list[int | None]
    chrom: list[str | None]
    tss: list[int | None]
    strand: list[str | None]


def _gene_rows(source: Source) -> Genes:
    if source.has("genes"):
        sql = (
            "SELECT t.term, t.name, t.features, g.chrom, g.tss, g.strand FROM terms t "
            "LEFT JOIN genes g ON g.symbol = t.name AND g.symbol = t.name COLLATE BINARY "
            "WHERE t.kind = 'gene' ORDER BY t.term, g.gene"
        )
    else:
        sql = (
            "SELECT term, name, features, NULL, NULL, NULL FROM terms WHERE kind = 'gene' "
            "ORDER BY term"
        )
    rows = source.atlas.select(sql)
    return Genes(*(list(column) for column in columns_of(rows, 6)))


def _chunks(groups: list[Group]) -> dict[int, int]:
    """Term → number of the file that holds its features."""
    return {term: k for k, group in enumerate(groups) for term in group.terms}
