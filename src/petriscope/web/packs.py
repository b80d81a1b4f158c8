"""The evidence of every feature, many consecutive features to a file. Each table is read by one
cursor in the order of the features, never once per feature, and is written column by column: names
of columns are not repeated, and equal things lie beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from petriscope.atlas import records
from petriscope.atlas.evidence import checks
from petriscope.atlas.query import Atlas
from petriscope.enrich.kinds import KINDS, SCORED
from petriscope.web import digits
from petriscope.web.chunks import Written, as_json, packed, stored_json, write
from petriscope.web.modules import PHI
from petriscope.web.nearby import Nearby
from petriscope.web.source import Source, columns_of, within

PACK_BYTES = 50_000
"""Of a file of features, about."""
MOST_PACKS = 8_000
LEVEL = 4
"""Of compression: packs are most of the bytes of a folder, and 6 takes twice as long for 8 per cent
of them."""
CONTEXTS_PER_UNIT = 8
CONTEXTS = 64
"""A feature's strongest contexts that are kept, of those that `Atlas.contexts` gives."""
LIMITS = {"annotations": 50, "neighbors": 12, "genes": 50, "links": 20, "celltypes": 20}
SCORED_KINDS = frozenset(kind.name for kind in SCORED)
DOCUMENTS = 20
"""As many as the terminal UI shows."""
Columns = dict[str, Any]
"""By name: a column (`digits.Column`), or columns again."""


@dataclass
class Table:
    """Rows of consecutive features, column by column."""

    edges: np.ndarray
    """(features + 1,): where the rows of each feature begin, and where the last one's end"""
    columns: Columns

    def part(self, first: int, last: int) -> dict[str, Any]:
        """Of some of the features: columns, and after how many rows each feature ends."""
        lo, hi = int(self.edges[first]), int(self.edges[last])
        ends = np.ascontiguousarray(self.edges[first + 1 : last + 1] - lo)
        return {"ends": ends, **sliced(self.columns, lo, hi)}


def sliced(columns: Columns, lo: int, hi: int) -> Columns:
    """Rows ``lo`` to ``hi`` of every column."""
    return {
        name: sliced(column, lo, hi) if isinstance(column, dict) else column[lo:hi]
        for name, column in columns.items()
    }


@dataclass
class Block:
    """Consecutive features."""

    columns: Columns
    """one value a feature"""
    tables: dict[str, Table]
    asks: list[tuple[str, str]]
    """What the checks ask, and what they compare with; the table ``checks`` counts in it."""
    dependency: dict[int, dict[str, Any]]
    """by place in the block; most features have none"""

    def part(self, first: int, last: int) -> bytes:
        """JSON of some of them."""
        value = {
            **sliced(self.columns, first, last),
            "asks": self.asks,
            "tables": {
                name: table.part(first, last)
                for name, table in self.tables.items()
                if table.edges[first] < table.edges[last]
            },
            "dependency": {
                str(place - first): told
                for place, told in self.dependency.items()
                if first <= place < last
            },
        }
        return as_json(value)


@dataclass
class Packer:
    """Writes features; what it needs of others is read once, before processes are forked."""

    source: Source
    nearby: Nearby
    briefs: Columns
    """label, q, direction and lineage of every feature"""

    @classmethod
    def of(cls, source: Source) -> Packer:
        """With what features say of each other."""
        rows = source.atlas.select("SELECT label, q, direction, lineage FROM features ORDER BY id")
        label, q, direction, lineage = columns_of(rows, 4)
        briefs = {"label": label, "q": digits.reals(q), "direction": direction, "lineage": lineage}
        return cls(source, Nearby(source.atlas), briefs)

    def size(self) -> int:
        """Features of a pack, so that a file has about `PACK_BYTES`: by samples of the atlas."""
        total, each = len(self.source.ids), 24
        if not total:
            return 1
        least = -(-total // MOST_PACKS)
        starts = {int(x) for x in np.linspace(0, max(total - each, 0), 12)}
        sizes = []
        with self.source.opened() as atlas:
            for start in sorted(starts):
                count = min(each, total - start)
                raw = self.features(atlas, start, start + count).part(0, count)
                sizes.append(len(packed(raw, LEVEL)) * 4 / 3 / count)
        return int(max(least, 1, PACK_BYTES // max(float(np.mean(sizes)), 1)))

    def write(self, folder: Path, first: int, last: int, size: int) -> list[Written]:
        """Write the packs of rows ``first`` to ``last``, which hold ``size`` features each."""
        with self.source.opened() as atlas:
            block = self.features(atlas, first, last)
        written: list[Written] = []
        for start in range(first, last, size):
            raw = block.part(start - first, min(start + size, last) - first)
            written += write(folder, f"f/{start // size}", raw, LEVEL)
        return written

    def features(self, atlas: Atlas, first: int, last: int) -> Block:
        """Consecutive features."""
        ids = self.source.ids[first:last]
        effects, told = self._effects(atlas, ids)
        values, rows = self._values(atlas, ids)
        contexts, total = self._contexts(atlas, ids)
        asks, found = self._checks(ids, rows, told)
        tables = {
            "checks": found,
            "effects": effects,
            "activation": self._activation(atlas, ids),
            "contexts": contexts,
            "annotations": self._annotations(atlas, ids),
            "neighbors": self._neighbors(atlas, ids),
            "ablation": self._curves(atlas, ids, "ablation"),
            "steering": self._curves(atlas, ids, "steering"),
            "modules": self._modules(atlas, ids),
        }
        for name, table, read in (
            ("genes", "feature_genes", self._genes),
            ("links", "links", self._links),
            ("celltypes", "celltypes", self._celltypes),
            ("responses", "responses", self._responses),
            ("documents", "edges", self._documents),
        ):
            if self.source.has(table):
                tables[name] = read(atlas, ids)
        columns = {"id": ids, "values": values, "contexts_total": total}
        return Block(columns, tables, asks, self._dependency(atlas, ids))

    def _values(self, atlas: Atlas, block: np.ndarray) -> tuple[Columns, list[dict[str, Any]]]:
        names = list(atlas.columns)
        listed = ", ".join(f'"{name}"' for name in names)
        sql = f"SELECT {listed} FROM features WHERE id BETWEEN ? AND ? ORDER BY id"
        rows = atlas.select(sql, within(block))
        found = zip(names, columns_of(rows, len(names)))
        values = {name: digits.anything(column) for name, column in found}
        return values, [dict(zip(names, row)) for row in rows]

    def _checks(
        self, block: np.ndarray, rows: list[dict[str, Any]], told: list[list[Any]]
    ) -> tuple[list[tuple[str, str]], Table]:
        """The checks; those that nothing measured are left out where nothing is contrasted."""
        atlas = self.source.atlas
        asks: dict[tuple[str, str], int] = {}
        counts, found = [], []
        for identifier, values, effects in zip(block.tolist(), rows, told):
            feature = records.Feature(identifier, values, effects, [], [], {}, [], [])
            results = checks(feature, atlas.thresholds, atlas.declared)
            if not atlas.contrasted:
                results = [check for check in results if check.holds is not None]
            counts.append(len(results))
            for ask, what, holds, null in results:
                found.append((asks.setdefault((ask, null), len(asks)), what, holds))
        ask, what, holds = columns_of(found, 3)
        edges = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        return list(asks), Table(edges, {"ask": ask, "found": what, "holds": holds})

    def _effects(
        self, atlas: Atlas, block: np.ndarray
    ) -> tuple[Table, list[list[records.LineageEffect]]]:
        names = records.LineageEffect._fields
        sql = (
            f"SELECT id, {', '.join(names)} FROM lineage_effects WHERE id BETWEEN ? AND ? "
            "ORDER BY id, lineage"
        )
        rows = atlas.select(sql, within(block))
        ids, lineage, *numbers, units = columns_of(rows, 1 + len(names))
        columns = {"lineage": lineage, **_reals(names[1:-1], numbers), names[-1]: units}
        table = Table(edges_of(block, ids), columns)
        told = [records.LineageEffect._make(row[1:]) for row in rows]
        at = table.edges.tolist()
        return table, [told[a:b] for a, b in pairwise(at)]

    def _activation(self, atlas: Atlas, block: np.ndarray) -> Table:
        sql = (
            "SELECT id, unit, mean, density, maximum, histogram FROM activation "
            "WHERE id BETWEEN ? AND ? ORDER BY id, unit"
        )
        ids, unit, *numbers, histogram = columns_of(atlas.select(sql, within(block)), 6)
        columns = {"unit": unit, **_reals(("mean", "density", "maximum"), numbers)}
        columns["histogram"] = [stored_json(text or "[]") for text in histogram]
        return Table(edges_of(block, ids), columns)

    def _contexts(self, atlas: Atlas, block: np.ndarray) -> tuple[Table, np.ndarray]:
        """The strongest of each feature, and of how many."""
        own = atlas.declared.contexts
        more = "".join(f', b."{column.name}"' for column in own)
        sql = (
            "SELECT t.id, t.unit, t.rank, t.activation, b.name, b.chrom, b.start, "
            f'b."end"{more} FROM top t JOIN contexts b ON b.context = t.context '
            "WHERE t.id BETWEEN ? AND ? AND t.rank <= ? "
            "ORDER BY t.id, t.activation DESC, t.context"
        )
        rows = atlas.select(sql, (*within(block), CONTEXTS_PER_UNIT))
        edges = edges_of(block, [row[0] for row in rows])
        rows = _cut(rows, edges, CONTEXTS)
        ids, unit, rank, activation, name, chrom, start, end, *values = columns_of(
            rows, 8 + len(own)
        )
        genes, hits = self.nearby.around(chrom, start, end)
        columns = {
            "unit": unit,
            "rank": rank,
            "activation": digits.reals(activation),
            "name": name,
            "chrom": chrom,
            "start": start,
            "end": end,
            "values": {c.name: digits.anything(column) for c, column in zip(own, values)},
            "genes": genes,
            "hits": hits,
        }
        return Table(edges_of(block, ids), columns), np.diff(edges)

    def _annotations(self, atlas: Atlas, block: np.ndarray) -> Table:
        names = records.Annotation._fields[2:7] + records.Annotation._fields[8:]
        sql = (
            f"SELECT a.id, a.kind, t.name, a.scope, {', '.join(f'a.{n}' for n in names)} "
            "FROM annotations a JOIN terms t ON t.term = a.term "
            "WHERE a.id BETWEEN ? AND ? ORDER BY a.id, a.kind, a.rank"
        )
        rows = atlas.select(sql, within(block))
        if np.diff(edges_of(block, [row[0] for row in rows])).max() > LIMITS["annotations"]:
            runs = edges_of_runs([row[:2] for row in rows])
            rows = _cut(rows, runs, LIMITS["annotations"])
        ids, kind, term, scope, *rest = columns_of(rows, 4 + len(names))
        known = {k.name: number for number, k in enumerate(KINDS)}
        alpha = atlas.thresholds.alpha
        q = rest[names.index("q")]
        genes = rest[names.index("genes")]
        numbers = [(n, column) for n, column in zip(names, rest) if n != "genes"]
        columns = {
            "kind": [known[k] for k in kind],
            "term": term,
            "scope": scope,
            **_reals(*zip(*numbers)),
            "genes": genes,
            "enriched": [
                x < alpha if x is not None else k in SCORED_KINDS for k, x in zip(kind, q)
            ],
        }
        return Table(edges_of(block, ids), columns)

    def _neighbors(self, atlas: Atlas, block: np.ndarray) -> Table:
        sql = (
            "SELECT id, kind, other, value FROM similar WHERE id BETWEEN ? AND ? AND rank <= ? "
            "ORDER BY id, kind, rank"
        )
        rows = atlas.select(sql, (*within(block), LIMITS["neighbors"]))
        ids, kind, other, value = columns_of(rows, 4)
        at = self.source.rows(other)
        columns = {"kind": kind, "id": other, "value": digits.reals(value)}
        return Table(edges_of(block, ids), {**columns, **_taken(self.briefs, at)})

    def _curves(self, atlas: Atlas, block: np.ndarray, analysis: str) -> Table:
        names = records.CurvePoint._fields
        sql = (
            f"SELECT id, {', '.join(names)} FROM curves WHERE analysis = ? "
            "AND id BETWEEN ? AND ? ORDER BY id, layer, lineage, arm, x"
        )
        rows = atlas.select(sql, (analysis, *within(block)))
        ids, layer, lineage, arm, *numbers, n = columns_of(rows, 1 + len(names))
        columns = {"layer": layer, "lineage": lineage, "arm": arm}
        columns |= {**_reals(names[3:-1], numbers), names[-1]: n}
        return Table(edges_of(block, ids), columns)

    def _genes(self, atlas: Atlas, block: np.ndarray) -> Table:
        sql = (
            "SELECT g.id, g.rank, t.name, g.value, g.fires, g.tokens FROM feature_genes g "
            "JOIN terms t ON t.term = g.gene WHERE g.id BETWEEN ? AND ? ORDER BY g.id, g.rank"
        )
        rows = atlas.select(sql, within(block))
        rows = _cut(rows, edges_of(block, [row[0] for row in rows]), LIMITS["genes"])
        ids, rank, gene, value, fires, tokens = columns_of(rows, 6)
        columns = {"rank": rank, "gene": gene, "value": digits.reals(value)}
        return Table(edges_of(block, ids), {**columns, "fires": fires, "tokens": tokens})

    def _links(self, atlas: Atlas, block: np.ndarray) -> Table:
        """Both ways, strongest first."""
        names = "id, other, kind, value, tokens, p"
        rows = []
        for end in ("id", "other"):
            sql = f"SELECT {end}, {names} FROM links WHERE {end} BETWEEN ? AND ?"
            rows += atlas.select(sql, within(block))
        rows = sorted(set(rows), key=lambda row: (row[0], row[3], -row[4], row[1], row[2]))
        rows = _cut(rows, edges_of(block, [row[0] for row in rows]), LIMITS["links"])
        owner, ids, other, kind, value, tokens, p = columns_of(rows, 7)
        label = {"label": self.briefs["label"]}
        columns = {
            "id": ids,
            "other": other,
            "kind": kind,
            "value": digits.reals(value),
            "tokens": tokens,
            "p": digits.reals(p),
            **_taken(label, self.source.rows(ids)),
            "other_label": _taken(label, self.source.rows(other))["label"],
        }
        return Table(edges_of(block, owner), columns)

    def _celltypes(self, atlas: Atlas, block: np.ndarray) -> Table:
        sql = (
            "SELECT id, cell_type, effect, mean, p, q, donors FROM celltypes "
            "WHERE id BETWEEN ? AND ? AND rank <= ? ORDER BY id, rank"
        )
        rows = atlas.select(sql, (*within(block), LIMITS["celltypes"]))
        ids, cell_type, *numbers, donors = columns_of(rows, 7)
        columns = {"cell_type": cell_type, **_reals(("effect", "mean", "p", "q"), numbers)}
        return Table(edges_of(block, ids), {**columns, "donors": donors})

    def _responses(self, atlas: Atlas, block: np.ndarray) -> Table:
        sql = (
            "SELECT r.id, p.target, r.effect, r.p, r.q, r.cells FROM responses r "
            "JOIN perturbations p ON p.number = r.number WHERE r.id BETWEEN ? AND ? "
            "ORDER BY r.id, ABS(r.effect) DESC, p.target"
        )
        ids, target, *numbers, cells = columns_of(atlas.select(sql, within(block)), 6)
        columns = {"target": target, **_reals(("effect", "p", "q"), numbers), "cells": cells}
        return Table(edges_of(block, ids), columns)

    def _documents(self, atlas: Atlas, block: np.ndarray) -> Table:
        sql = (
            "SELECT e.id, d.name, e.tokens, e.activation, d.side, d.degree FROM edges e "
            "JOIN documents d ON d.document = e.document WHERE e.id BETWEEN ? AND ? "
            "ORDER BY e.id, e.tokens DESC, e.activation DESC, e.document"
        )
        rows = atlas.select(sql, within(block))
        rows = _cut(rows, edges_of(block, [row[0] for row in rows]), DOCUMENTS)
        ids, name, tokens, activation, side, degree = columns_of(rows, 6)
        columns = {"document": name, "tokens": tokens, "activation": digits.reals(activation)}
        return Table(edges_of(block, ids), {**columns, "side": side, "degree": degree})

    def _dependency(self, atlas: Atlas, block: np.ndarray) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        if self.source.has("maps"):
            sql = "SELECT id FROM maps WHERE id BETWEEN ? AND ?"
            for (identifier,) in atlas.select(sql, within(block)):
                told = atlas.dependency(identifier)
                assert told is not None
                found[int(np.searchsorted(block, identifier))] = {
                    "document": told.document,
                    "pieces": told.pieces,
                    "cells": [digits.reals(row) for row in told.cells],
                }
        return found

    def _modules(self, atlas: Atlas, block: np.ndarray) -> Table:
        if self.source.has("module_members"):
            sql = (
                "SELECT m.id, c.graph, c.module FROM module_members m JOIN modules c "
                "ON c.number = m.number WHERE m.id BETWEEN ? AND ? ORDER BY m.id, m.number"
            )
            values: tuple[Any, ...] = within(block)
        else:
            sql = (
                "SELECT id, ?, module FROM features WHERE id BETWEEN ? AND ? "
                "AND module IS NOT NULL ORDER BY id"
            )
            values = (PHI, *within(block))
        ids, graph, module = columns_of(atlas.select(sql, values), 3)
        return Table(edges_of(block, ids), {"graph": graph, "module": module})


def edges_of(block: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """(features + 1,): where the rows of each feature of ``block`` begin; ``ids`` are in order."""
    found = np.asarray(ids, np.int64)
    return np.append(np.searchsorted(found, block), len(found))


def edges_of_runs(keys: Sequence[Any]) -> np.ndarray:
    """Where runs of equal keys begin, and where the last one ends."""
    starts = [i for i, key in enumerate(keys) if not i or key != keys[i - 1]]
    return np.array([*starts, len(keys)])


def _cut(rows: list[Any], edges: np.ndarray, most: int) -> list[Any]:
    """At most ``most`` rows of each run."""
    if np.diff(edges).max(initial=0) <= most:
        return rows
    at = edges.tolist()
    return [row for a, b in pairwise(at) for row in rows[a : min(b, a + most)]]


def _reals(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> Columns:
    return {name: digits.reals(column) for name, column in zip(names, columns, strict=True)}


def _taken(columns: Columns, rows: np.ndarray) -> Columns:
    """Some rows of columns of all features."""
    at = rows.tolist()
    return {
        name: column[rows] if isinstance(column, np.ndarray) else [column[i] for i in at]
        for name, column in columns.items()
    }
