"""The evidence of every feature, many consecutive features to a file. Each table is read by one
cursor in the order of the features, never once per feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from petriscope.atlas import records
from petriscope.atlas.evidence import checks
from petriscope.atlas.query import Atlas
from petriscope.enrich.kinds import KINDS, SCORED
from petriscope.web import digits
from petriscope.web.chunks import Written, compact, packed, write
from petriscope.web.modules import PHI
from petriscope.web.nearby import Nearby
from petriscope.web.source import Source, by_feature, columns_of, within

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
Parts = list[str]
"""JSON of one field, one text a feature."""


@dataclass
class Packer:
    """Writes features; what it needs of others is read once, before processes are forked."""

    source: Source
    nearby: Nearby
    briefs: Parts
    """label, q, direction and lineage of every feature, as JSON without braces"""
    labels: Parts

    @classmethod
    def of(cls, source: Source) -> Packer:
        """With what features say of each other."""
        rows = source.atlas.select("SELECT label, q, direction, lineage FROM features ORDER BY id")
        label, q, direction, lineage = columns_of(rows, 4)
        labels = digits.words(label)
        fields = {
            "label": labels,
            "q": digits.reals(q),
            "direction": digits.words(direction),
            "lineage": digits.words(lineage),
        }
        briefs = [text[1:-1] for text in digits.objects(fields, len(rows))]
        return cls(source, Nearby(source.atlas), briefs, labels)

    def size(self) -> int:
        """Features of a pack, so that a file has about `PACK_BYTES`: by samples of the atlas."""
        total, each = len(self.source.ids), 12
        if not total:
            return 1
        least = -(-total // MOST_PACKS)
        starts = {int(x) for x in np.linspace(0, max(total - each, 0), 12)}
        with self.source.opened() as atlas:
            texts = [self.features(atlas, s, min(s + each, total)) for s in sorted(starts)]
        sizes = [len(packed(digits.listed(t).encode(), LEVEL)) * 4 / 3 / len(t) for t in texts]
        return int(max(least, 1, PACK_BYTES // max(float(np.mean(sizes)), 1)))

    def write(self, folder: Path, first: int, last: int, size: int) -> list[Written]:
        """Write the packs of rows ``first`` to ``last``, which hold ``size`` features each."""
        with self.source.opened() as atlas:
            texts = self.features(atlas, first, last)
        written: list[Written] = []
        for start in range(first, last, size):
            own = texts[start - first : start - first + size]
            raw = digits.record({"first": str(start), "features": digits.listed(own)}).encode()
            written += write(folder, f"f/{start // size}", raw, LEVEL)
        return written

    def features(self, atlas: Atlas, first: int, last: int) -> Parts:
        """JSON of consecutive features."""
        block = self.source.ids[first:last]
        effects, told = self._effects(atlas, block)
        values, rows = self._values(atlas, block)
        contexts, totals = self._contexts(atlas, block)
        parts = {
            "id": [str(i) for i in block.tolist()],
            "values": values,
            "checks": self._checks(block, rows, told),
            "effects": effects,
            "activation": self._activation(atlas, block),
            "contexts": contexts,
            "contexts_total": totals,
            "annotations": self._annotations(atlas, block),
            "neighbors": self._neighbors(atlas, block),
            "ablation": self._curves(atlas, block, "ablation"),
            "steering": self._curves(atlas, block, "steering"),
            "genes": self._genes(atlas, block),
            "links": self._links(atlas, block),
            "celltypes": self._celltypes(atlas, block),
            "responses": self._responses(atlas, block),
            "documents": self._documents(atlas, block),
            "dependency": self._dependency(atlas, block),
            "modules": self._modules(atlas, block),
        }
        return digits.objects(parts, len(block))

    def _values(self, atlas: Atlas, block: np.ndarray) -> tuple[Parts, list[dict[str, Any]]]:
        names = list(atlas.columns)
        listed = ", ".join(f'"{name}"' for name in names)
        sql = f"SELECT {listed} FROM features WHERE id BETWEEN ? AND ? ORDER BY id"
        rows = atlas.select(sql, within(block))
        columns = zip(atlas.columns.values(), columns_of(rows, len(names)))
        fields = {c.name: digits.MAKERS[c.kind](column) for c, column in columns}
        return digits.objects(fields, len(rows)), [dict(zip(names, row)) for row in rows]

    def _checks(
        self, block: np.ndarray, rows: list[dict[str, Any]], told: list[list[Any]]
    ) -> Parts:
        """The checks; those that nothing measured are left out where nothing is contrasted."""
        atlas, found = self.source.atlas, []
        for identifier, values, effects in zip(block.tolist(), rows, told):
            feature = records.Feature(identifier, values, effects, [], [], {}, [], [])
            results = checks(feature, atlas.thresholds, atlas.declared)
            if not atlas.contrasted:
                results = [check for check in results if check.holds is not None]
            found.append(compact([check._asdict() for check in results]))
        return found

    def _effects(
        self, atlas: Atlas, block: np.ndarray
    ) -> tuple[Parts, list[list[records.LineageEffect]]]:
        names = records.LineageEffect._fields
        sql = (
            f"SELECT id, {', '.join(names)} FROM lineage_effects WHERE id BETWEEN ? AND ? "
            "ORDER BY id, lineage"
        )
        rows = atlas.select(sql, within(block))
        ids, lineage, *numbers = columns_of(rows, 1 + len(names))
        made = [digits.words(lineage), *map(digits.reals, numbers[:-1]), digits.whole(numbers[-1])]
        objects = digits.objects(dict(zip(names, made)), len(rows))
        places = by_feature(block, ids)
        told = [[records.LineageEffect._make(row[1:]) for row in rows[a:b]] for a, b in places]
        return [digits.listed(objects[a:b]) for a, b in places], told

    def _activation(self, atlas: Atlas, block: np.ndarray) -> Parts:
        sql = (
            "SELECT id, unit, mean, density, maximum, histogram FROM activation "
            "WHERE id BETWEEN ? AND ? ORDER BY id, unit"
        )
        rows = atlas.select(sql, within(block))
        ids, unit, *numbers, histogram = columns_of(rows, 6)
        fields = {"unit": digits.whole(unit)}
        fields |= {n: digits.reals(x) for n, x in zip(("mean", "density", "maximum"), numbers)}
        fields["histogram"] = [text.replace(" ", "") if text else "[]" for text in histogram]
        return _grouped(block, ids, digits.objects(fields, len(rows)))

    def _contexts(self, atlas: Atlas, block: np.ndarray) -> tuple[Parts, Parts]:
        own = atlas.declared.contexts
        more = "".join(f', b."{column.name}"' for column in own)
        sql = (
            "SELECT t.id, t.unit, t.rank, t.activation, b.name, b.chrom, b.start, "
            f'b."end"{more} FROM top t JOIN contexts b ON b.context = t.context '
            "WHERE t.id BETWEEN ? AND ? AND t.rank <= ? "
            "ORDER BY t.id, t.activation DESC, t.context"
        )
        rows = atlas.select(sql, (*within(block), CONTEXTS_PER_UNIT))
        places = by_feature(block, [row[0] for row in rows])
        kept = [row for a, b in places for row in rows[a : min(b, a + CONTEXTS)]]
        own_ids, unit, rank, activation, name, chrom, start, end, *values = columns_of(
            kept, 8 + len(own)
        )
        genes, hits = self.nearby.around(chrom, start, end)
        fields = {
            "unit": digits.whole(unit),
            "rank": digits.whole(rank),
            "activation": digits.reals(activation),
            "name": digits.words(name),
            "chrom": digits.words(chrom),
            "start": digits.whole(start),
            "end": digits.whole(end),
            "values": digits.objects(
                {c.name: digits.MAKERS[c.kind](v) for c, v in zip(own, values)}, len(kept)
            ),
            "genes": genes,
            "hits": hits,
        }
        return _grouped(block, own_ids, digits.objects(fields, len(kept))), [
            str(b - a) for a, b in places
        ]

    def _annotations(self, atlas: Atlas, block: np.ndarray) -> Parts:
        names = records.Annotation._fields[2:7] + records.Annotation._fields[8:]
        sql = (
            f"SELECT a.id, a.kind, t.name, a.scope, {', '.join(f'a.{n}' for n in names)} "
            "FROM annotations a JOIN terms t ON t.term = a.term "
            "WHERE a.id BETWEEN ? AND ? ORDER BY a.id, a.kind, a.rank"
        )
        rows = atlas.select(sql, within(block))
        ids, kind, term, scope, *rest = columns_of(rows, 4 + len(names))
        fields = {"term": digits.words(term), "scope": digits.words(scope)}
        for name, column in zip(names, rest):
            fields[name] = digits.words(column) if name == "genes" else digits.reals(column)
        alpha = atlas.thresholds.alpha
        q = rest[names.index("q")]
        fields["enriched"] = [
            "true" if (x < alpha if x is not None else k in SCORED_KINDS) else "false"
            for k, x in zip(kind, q)
        ]
        objects = digits.objects(fields, len(rows))
        return _nested(block, ids, kind, objects, [k.name for k in KINDS], LIMITS["annotations"])

    def _neighbors(self, atlas: Atlas, block: np.ndarray) -> Parts:
        sql = (
            "SELECT id, kind, other, value FROM similar WHERE id BETWEEN ? AND ? AND rank <= ? "
            "ORDER BY id, kind, rank"
        )
        rows = atlas.select(sql, (*within(block), LIMITS["neighbors"]))
        ids, kind, other, value = columns_of(rows, 4)
        briefs = [self.briefs[row] for row in self.source.rows(other).tolist()]
        objects = [
            f'{{"id":{i},"value":{v},{brief}}}'
            for i, v, brief in zip(other, digits.reals(value), briefs)
        ]
        return _nested(block, ids, kind, objects, sorted(set(kind)), LIMITS["neighbors"])

    def _curves(self, atlas: Atlas, block: np.ndarray, analysis: str) -> Parts:
        names = records.CurvePoint._fields
        sql = (
            f"SELECT id, {', '.join(names)} FROM curves WHERE analysis = ? "
            "AND id BETWEEN ? AND ? ORDER BY id, layer, lineage, arm, x"
        )
        rows = atlas.select(sql, (analysis, *within(block)))
        ids, layer, lineage, arm, *numbers, n = columns_of(rows, 1 + len(names))
        made = [digits.whole(layer), digits.words(lineage), digits.words(arm)]
        made += [*map(digits.reals, numbers), digits.whole(n)]
        return _grouped(block, ids, digits.objects(dict(zip(names, made)), len(rows)))

    def _genes(self, atlas: Atlas, block: np.ndarray) -> Parts:
        if not self.source.has("feature_genes"):
            return ["[]"] * len(block)
        sql = (
            "SELECT g.id, g.rank, t.name, g.value, g.fires, g.tokens FROM feature_genes g "
            "JOIN terms t ON t.term = g.gene WHERE g.id BETWEEN ? AND ? ORDER BY g.id, g.rank"
        )
        rows = atlas.select(sql, within(block))
        ids, rank, gene, value, fires, tokens = columns_of(rows, 6)
        fields = {
            "rank": digits.whole(rank),
            "gene": digits.words(gene),
            "value": digits.reals(value),
            "fires": digits.whole(fires),
            "tokens": digits.whole(tokens),
        }
        return _grouped(block, ids, digits.objects(fields, len(rows)), LIMITS["genes"])

    def _links(self, atlas: Atlas, block: np.ndarray) -> Parts:
        """Both ways, strongest first."""
        if not self.source.has("links"):
            return ["[]"] * len(block)
        names = "id, other, kind, value, tokens, p"
        rows = []
        for end in ("id", "other"):
            sql = f"SELECT {end}, {names} FROM links WHERE {end} BETWEEN ? AND ?"
            rows += atlas.select(sql, within(block))
        rows = sorted(set(rows), key=lambda row: (row[0], row[3], -row[4], row[1], row[2]))
        owner, *columns = columns_of(rows, 7)
        return _grouped(block, owner, self.link_objects(columns), LIMITS["links"])

    def link_objects(self, columns: list[tuple[Any, ...]]) -> Parts:
        """JSON of links: id, other, kind, value, tokens and p, with the labels of both."""
        ids, other, kind, value, tokens, p = columns
        fields = {
            "id": digits.whole(ids),
            "other": digits.whole(other),
            "kind": digits.words(kind),
            "value": digits.reals(value),
            "tokens": digits.whole(tokens),
            "p": digits.reals(p),
            "label": [self.labels[row] for row in self.source.rows(ids).tolist()],
            "other_label": [self.labels[row] for row in self.source.rows(other).tolist()],
        }
        return digits.objects(fields, len(ids))

    def _celltypes(self, atlas: Atlas, block: np.ndarray) -> Parts:
        if not self.source.has("celltypes"):
            return ["[]"] * len(block)
        sql = (
            "SELECT id, cell_type, effect, mean, p, q, donors FROM celltypes "
            "WHERE id BETWEEN ? AND ? AND rank <= ? ORDER BY id, rank"
        )
        rows = atlas.select(sql, (*within(block), LIMITS["celltypes"]))
        ids, cell_type, *numbers, donors = columns_of(rows, 7)
        fields = {"cell_type": digits.words(cell_type)}
        fields |= {n: digits.reals(x) for n, x in zip(("effect", "mean", "p", "q"), numbers)}
        fields["donors"] = digits.whole(donors)
        return _grouped(block, ids, digits.objects(fields, len(rows)))

    def _responses(self, atlas: Atlas, block: np.ndarray) -> Parts:
        if not self.source.has("responses"):
            return ["[]"] * len(block)
        sql = (
            "SELECT r.id, p.target, r.effect, r.p, r.q, r.cells FROM responses r "
            "JOIN perturbations p ON p.number = r.number WHERE r.id BETWEEN ? AND ? "
            "ORDER BY r.id, ABS(r.effect) DESC, p.target"
        )
        rows = atlas.select(sql, within(block))
        ids, target, *numbers, cells = columns_of(rows, 6)
        fields = {"target": digits.words(target)}
        fields |= {n: digits.reals(x) for n, x in zip(("effect", "p", "q"), numbers)}
        fields["cells"] = digits.whole(cells)
        return _grouped(block, ids, digits.objects(fields, len(rows)))

    def _documents(self, atlas: Atlas, block: np.ndarray) -> Parts:
        if not self.source.has("edges"):
            return ["[]"] * len(block)
        sql = (
            "SELECT e.id, d.name, e.tokens, e.activation, d.side, d.degree FROM edges e "
            "JOIN documents d ON d.document = e.document WHERE e.id BETWEEN ? AND ? "
            "ORDER BY e.id, e.tokens DESC, e.activation DESC, e.document"
        )
        rows = atlas.select(sql, within(block))
        ids, name, tokens, activation, side, degree = columns_of(rows, 6)
        fields = {
            "document": digits.words(name),
            "tokens": digits.whole(tokens),
            "activation": digits.reals(activation),
            "side": digits.words(side),
            "degree": digits.whole(degree),
        }
        return _grouped(block, ids, digits.objects(fields, len(rows)), DOCUMENTS)

    def _dependency(self, atlas: Atlas, block: np.ndarray) -> Parts:
        found = ["null"] * len(block)
        if self.source.has("maps"):
            sql = "SELECT id FROM maps WHERE id BETWEEN ? AND ?"
            for (identifier,) in atlas.select(sql, within(block)):
                told = atlas.dependency(identifier)
                assert told is not None
                fields = {
                    "document": digits.words([told.document])[0],
                    "pieces": digits.listed(digits.words(told.pieces)),
                    "cells": digits.listed([digits.listed(digits.reals(r)) for r in told.cells]),
                }
                found[int(np.searchsorted(block, identifier))] = digits.record(fields)
        return found

    def _modules(self, atlas: Atlas, block: np.ndarray) -> Parts:
        if not self.source.has("module_members"):
            sql = "SELECT module FROM features WHERE id BETWEEN ? AND ? ORDER BY id"
            modules = [module for (module,) in atlas.select(sql, within(block))]
            return ["[]" if m is None else f'[["{PHI}",{m}]]' for m in modules]
        sql = (
            "SELECT m.id, c.graph, c.module FROM module_members m JOIN modules c "
            "ON c.number = m.number WHERE m.id BETWEEN ? AND ? ORDER BY m.id, m.number"
        )
        ids, graph, module = columns_of(atlas.select(sql, within(block)), 3)
        pairs = digits.tuples([digits.words(graph), digits.whole(module)])
        return _grouped(block, ids, pairs)


def _grouped(block: np.ndarray, ids: Sequence[int], texts: Parts, most: int | None = None) -> Parts:
    """A list of JSON for each feature, of at most ``most``."""
    return [
        digits.listed(texts[a : b if most is None else min(b, a + most)])
        for a, b in by_feature(block, ids)
    ]


def _nested(
    block: np.ndarray,
    ids: Sequence[int],
    kinds: Sequence[str],
    texts: Parts,
    order: list[str],
    most: int,
) -> Parts:
    """For each feature an object: a list for every kind that it has."""
    found = []
    for a, b in by_feature(block, ids):
        lists: dict[str, Parts] = {}
        for kind, text in zip(kinds[a:b], texts[a:b]):
            lists.setdefault(kind, []).append(text)
        known = [kind for kind in order if kind in lists]
        found.append(digits.record({kind: digits.listed(lists[kind][:most]) for kind in known}))
    return found
