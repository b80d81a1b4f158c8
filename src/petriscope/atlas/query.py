"""An atlas file is read through this one interface, and searched by name over motifs, gene sets,
states, genes, labels, regions and features (standard library only: no numpy, pandas, torch or dvc).
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from petriscope.atlas import records, schema
from petriscope.atlas.filters import Clause, Region, compile_filter, overlap_clause, parse_region
from petriscope.atlas.records import Found
from petriscope.enrich.kinds import KINDS
from petriscope.errors import UserError

R = TypeVar("R")


class Atlas:
    """One atlas file, opened read-only and immutable. Cheap to open (milliseconds); use one per
    thread.

    Older formats of `schema.READABLE` open too: what they lack is absent. Raises UserError where
    the file is absent, is no atlas, or has a format that this program does not read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(
                "no atlas here", file=path, remedy="Run the pipeline as far as the stage atlas"
            )
        uri = f"file:{quote(os.fspath(self.path.absolute()))}?mode=ro&immutable=1"
        try:
            self._db = sqlite3.connect(
                uri, uri=True, check_same_thread=False, cached_statements=256
            )
            application = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"not a readable atlas ({error})", file=path, remedy="Run the stage atlas again"
            ) from None
        if application != schema.APPLICATION_ID:
            raise UserError(
                "this SQLite file is not a Petriscope atlas",
                file=path,
                remedy="Run the stage atlas again",
            )
        if version not in schema.READABLE:
            older = version < schema.VERSION
            raise UserError(
                f"the atlas has format {version}, this program reads "
                f"{' and '.join(str(known) for known in schema.READABLE)}",
                file=path,
                remedy="Run the stage atlas again, or open it with the version that wrote it"
                if older
                else "Open it with the version that wrote it, or a later one",
            )
        self.format: int = version
        self._db.execute("PRAGMA cache_size=-16000")
        names = [row[1] for row in self._db.execute("PRAGMA table_info(features)")]
        self.lineages: list[str] = [
            n.removeprefix(schema.LINEAGE_PREFIX)
            for n in names
            if n.startswith(schema.LINEAGE_PREFIX)
        ]
        self.declared = self._declared()
        everything = schema.feature_columns(self.lineages, self.declared)
        self.columns: dict[str, schema.Column] = {c.name: c for c in everything if c.name in names}
        self.thresholds = schema.Thresholds(
            **dict(self._db.execute("SELECT name, value FROM thresholds"))
        )
        self.total: int = self._db.execute("SELECT COUNT(*) FROM features").fetchone()[0]
        made = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        self.tables = frozenset(name for (name,) in made if name in schema.OPTIONAL)
        """Those of `schema.OPTIONAL` that lie in the file."""
        self.has_motif_hits = self._any("motif_hits")

    @cached_property
    def filled(self) -> frozenset[str]:
        """Columns of features that have any value."""
        found = self._db.execute("SELECT column FROM orders WHERE filled > 0")
        return frozenset(name for (name,) in found)

    @property
    def contrasted(self) -> bool:
        """Whether any feature was tested for a difference between two conditions."""
        return "cds" in self.filled

    def _declared(self) -> schema.Declared:
        """The study's own columns and its words, as the file says."""
        places = ("words", "units", "contexts", "features")
        found: dict[str, list[schema.Column]] = {place: [] for place in places}
        rows = self._db.execute(
            "SELECT place, name, kind, head, form, text, indexed FROM columns "
            "ORDER BY place, number"
        )
        for place, name, kind, head, form, text, indexed in rows:
            column = schema.Column(name, kind, head, form, text, indexed=bool(indexed))
            found[place].append(column)
        words = {column.name: column.head for column in found["words"]}
        return schema.Declared(
            **words,  # type: ignore[arg-type]  # its fields that are text
            units=tuple(found["units"]),
            contexts=tuple(found["contexts"]),
            features=tuple(found["features"]),
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # The features table
    # ------------------------------------------------------------------------------------------

    def order(self, query: str = "", sort: str = "layer", descending: bool = False) -> array[int]:
        """Identifiers of all features that pass the filter ``query``, sorted by a column; empty
        cells come last.

        Raises filters.FilterError (a UserError) where the filter or the column means nothing.
        """
        if sort not in self.columns:
            raise UserError(
                f"no column {sort!r} to sort by", remedy="One of " + ", ".join(self.columns)
            )
        everything = self._sorted(sort, descending)
        where = self.where(query)
        if where.sql == "1":
            return everything
        found = {
            row[0]
            for row in self._db.execute(f"SELECT id FROM features WHERE {where.sql}", where.values)
        }
        return array(schema.ID_CODE, [i for i in everything if i in found])

    def _sorted(self, sort: str, descending: bool) -> array[int]:
        """All identifiers in the stored order of a column; empty cells last in both directions."""
        filled, blob = self._db.execute(
            "SELECT filled, ids FROM orders WHERE column = ?", (sort,)
        ).fetchone()
        ids = array(schema.ID_CODE, blob)
        if sys.byteorder == "big":
            ids.byteswap()
        if not descending:
            return ids
        return ids[:filled][::-1] + ids[filled:]

    def where(self, query: str) -> Clause:
        """The compiled filter; raises FilterError."""
        return compile_filter(query, self.columns, self.thresholds, self.tables)

    def rows(self, ids: Sequence[int], columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """One tuple of ``columns`` per identifier, in the order of ``ids``."""
        names = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join("?" * len(ids))
        found = {
            r[0]: r[1:]
            for r in self._db.execute(
                f"SELECT id, {names} FROM features WHERE id IN ({marks})", tuple(ids)
            )
        }
        return [found[i] for i in ids]

    def stream(self, ids: Sequence[int], columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        """``rows`` for any number of identifiers, fetched in pages (for exports)."""
        for start in range(0, len(ids), 500):
            yield from self.rows(list(ids[start : start + 500]), columns)

    def count(self, query: str = "") -> int:
        """How many features pass the filter."""
        where = self.where(query)
        return int(
            self._db.execute(
                f"SELECT COUNT(*) FROM features WHERE {where.sql}", where.values
            ).fetchone()[0]
        )

    # One feature
    # ------------------------------------------------------------------------------------------

    def has(self, identifier: int) -> bool:
        """Whether the atlas knows the feature."""
        return (
            self._db.execute("SELECT 1 FROM features WHERE id = ?", (identifier,)).fetchone()
            is not None
        )

    def feature(self, identifier: int, contexts: int = 8, neighbors: int = 12) -> records.Feature:
        """Everything the feature page shows. Raises UserError where the feature is unknown."""
        row = self._db.execute("SELECT * FROM features WHERE id = ?", (identifier,)).fetchone()
        if row is None:
            raise UserError(f"no feature {schema.feature_name(identifier)} in this atlas")
        names = ["id", *self.columns]
        return records.Feature(
            identifier,
            dict(zip(names, row)),
            self._all(
                records.LineageEffect,
                "SELECT lineage, t, p, q, mean_vivo, mean_vitro, effect, lo, hi, auroc, "
                "log2_fold, n_units"
                " FROM lineage_effects WHERE id = ?",
                (identifier,),
            ),
            self.activation(identifier),
            self.contexts(identifier, contexts),
            self.neighbors(identifier, neighbors),
            self.curves("ablation", identifier),
            self.curves("steering", identifier),
        )

    def activation(self, identifier: int) -> list[records.Activation]:
        """Mean, density and histogram per unit, in the data set's order."""
        units = self.units
        rows = self._db.execute(
            "SELECT unit, mean, density, maximum, histogram FROM activation WHERE id = ? "
            "ORDER BY unit",
            (identifier,),
        )
        return [
            records.Activation._make(
                (units[unit], *numbers, json.loads(histogram) if histogram else [])
            )
            for unit, *numbers, histogram in rows
        ]

    def contexts(self, identifier: int, per_unit: int = 8) -> list[records.TopContext]:
        """Where it fires hardest, over all units, strongest first."""
        return self._top(
            "top t JOIN contexts b ON b.context = t.context WHERE t.id = ? AND t.rank <= ?"
            " ORDER BY t.activation DESC, t.context",
            (identifier, per_unit),
        )

    def _top(self, source: str, values: Sequence[object]) -> list[records.TopContext]:
        units = self.units
        names = [c.name for c in self.declared.contexts]
        more = "".join(f', b."{name}"' for name in names)
        rows = self._db.execute(
            "SELECT t.id, t.unit, t.rank, t.activation, b.name, b.chrom, b.start, "
            f'b."end"{more} FROM {source}',
            tuple(values),
        )
        return [
            records.TopContext._make((row[0], units[row[1]], *row[2:8], dict(zip(names, row[8:]))))
            for row in rows
        ]

    def annotations(self, identifier: int, kind: str, limit: int = 50) -> list[records.Annotation]:
        """Tests of one kind (`enrich.kinds`: chromhmm, motif, geneset), best first."""
        return self._all(
            records.Annotation,
            "SELECT t.name, a.scope, a.estimate, a.lo, a.hi, a.p, a.q, a.rank, a.genes,"
            " a.specificity, a.specificity_low, a.specificity_high FROM annotations a"
            " JOIN terms t ON t.term = a.term WHERE a.id = ? AND a.kind = ? ORDER BY a.rank "
            "LIMIT ?",
            (identifier, kind, limit),
        )

    def neighbors(self, identifier: int, limit: int = 12) -> dict[str, list[records.Neighbor]]:
        """Similar features by kind of similarity, most similar first."""
        result: dict[str, list[records.Neighbor]] = {}
        rows = self._db.execute(
            "SELECT s.kind, f.id, s.value, f.layer, f.lineage, f.direction, f.q, f.label FROM "
            "similar s"
            " JOIN features f ON f.id = s.other WHERE s.id = ? AND s.rank <= ? ORDER BY s.kind, "
            "s.rank",
            (identifier, limit),
        )
        for kind, *rest in rows:
            result.setdefault(kind, []).append(records.Neighbor(*rest))
        return result

    def curves(self, analysis: str, identifier: int | None = None) -> list[records.CurvePoint]:
        """Points of the ablation or steering curves: of one feature, or (None) those of whole
        layers and the run."""
        return self._all(
            records.CurvePoint,
            "SELECT layer, lineage, arm, x, estimate, lo, hi, n FROM curves WHERE analysis = ? "
            "AND id IS ?"
            " ORDER BY layer, lineage, arm, x",
            (analysis, identifier),
        )

    # Places
    # ------------------------------------------------------------------------------------------

    def region(self, region: Region, limit: int = 500) -> list[records.TopContext]:
        """Top contexts in a region, strongest first."""
        place = overlap_clause(region)
        return self._top(
            f"(SELECT * FROM contexts WHERE {place.sql}) b "
            "CROSS JOIN top t ON t.context = b.context ORDER BY t.activation DESC, t.id LIMIT ?",
            (*place.values, limit),
        )

    def motif_hits(self, region: Region) -> list[records.MotifHit]:
        """Motif occurrences in a region, left to right."""
        if "motif_hits" not in self.tables:
            return []
        place = overlap_clause(region)
        sql = (
            f'SELECT start, "end", strand, motif, score FROM motif_hits WHERE {place.sql} '
            "ORDER BY start, score DESC"
        )
        return self._all(records.MotifHit, sql, place.values)

    def genes(self, region: Region) -> list[records.Gene]:
        """Transcription start sites in a region, left to right."""
        if "genes" not in self.tables:
            return []
        sql = (
            "SELECT symbol, chrom, tss, strand FROM genes "
            "WHERE chrom = ? AND tss >= ? AND tss < ? ORDER BY tss"
        )
        return self._all(records.Gene, sql, (region.chrom, region.start, region.end))

    def gene(self, symbol: str) -> list[records.Gene]:
        """Start sites of one gene, ignoring case."""
        if "genes" not in self.tables:
            return []
        return self._all(
            records.Gene, "SELECT symbol, chrom, tss, strand FROM genes WHERE symbol = ?", (symbol,)
        )

    # The graph of documents and features
    # ------------------------------------------------------------------------------------------

    @cached_property
    def has_graph(self) -> bool:
        """Whether features are joined to documents."""
        return self._any("edges")

    def _any(self, table: str) -> bool:
        """Whether a table of `schema.OPTIONAL` holds a row."""
        return (
            table in self.tables
            and self._db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None
        )

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of annotation that some feature was tested for."""
        return frozenset(row[0] for row in self._db.execute("SELECT DISTINCT kind FROM terms"))

    def document(self, name: str) -> records.Document | None:
        """A document by its name."""
        if "documents" not in self.tables:
            return None
        fields = ", ".join(f'"{field}"' for field in records.Document._fields)
        found = self._all(
            records.Document, f"SELECT {fields} FROM documents WHERE name = ?", (name,)
        )
        return found[0] if found else None

    def documents_of(self, identifier: int, limit: int = 20) -> list[records.Edge]:
        """Documents in which a feature fires, on most tokens first."""
        return self._edges("e.id = ?", "e.document", (identifier, limit))

    def features_in(self, name: str, limit: int = 40) -> list[records.Edge]:
        """Features that fire in a document, on most tokens first."""
        return self._edges("d.name = ?", "e.id", (name, limit))

    def dependency(self, identifier: int) -> records.DependencyMap | None:
        """What a feature depends on, in the document kept for it."""
        if "maps" not in self.tables:
            return None
        row = self._db.execute(
            "SELECT document, pieces, cells FROM maps WHERE id = ?", (identifier,)
        ).fetchone()
        if row is None:
            return None
        return records.DependencyMap(row[0], row[1].split(), json.loads(row[2]))

    def _edges(self, where: str, last: str, values: Sequence[object]) -> list[records.Edge]:
        if "edges" not in self.tables:
            return []
        sql = (
            "SELECT e.id, d.name, e.tokens, e.activation, e.spans, d.side, d.degree, f.label, "
            "f.density FROM edges e JOIN documents d ON d.document = e.document "
            f"JOIN features f ON f.id = e.id WHERE {where} "
            f"ORDER BY e.tokens DESC, e.activation DESC, {last} LIMIT ?"
        )
        return self._all(records.Edge, sql, values)

    # Genes, modules, links, perturbations, cell types
    # ------------------------------------------------------------------------------------------

    def listed(self, identifier: int, limit: int = 50) -> list[records.ListedGene]:
        """The gene list of a feature, in its order."""
        return self._listed("g.id = ? ORDER BY g.rank LIMIT ?", (identifier, limit))

    def listing(self, gene: str, limit: int = 500) -> list[records.ListedGene]:
        """Features that list a gene, ignoring case: highest ranks first."""
        return self._listed(
            "t.kind = 'gene' AND t.name = ? COLLATE NOCASE ORDER BY g.rank, g.id LIMIT ?",
            (gene, limit),
        )

    def ranks(self, gene: str) -> list[records.Listed]:
        """How many features of each layer list a gene at each rank."""
        sql = (
            f"SELECT g.id / {schema.LAYER_STRIDE} AS layer, g.rank, COUNT(*) FROM terms t JOIN "
            "feature_genes g ON g.gene = t.term WHERE t.kind = 'gene' AND t.name = ? "
            "COLLATE NOCASE GROUP BY 1, 2 ORDER BY 1, 2"
        )
        return self._all(records.Listed, sql, (gene,)) if "feature_genes" in self.tables else []

    def annotated(self, kind: str, term: str) -> list[records.Listed]:
        """How many features of each layer are enriched for a term (rank: 0)."""
        sql = (
            f"SELECT a.id / {schema.LAYER_STRIDE}, 0, COUNT(DISTINCT a.id) FROM terms t JOIN "
            "annotations a ON a.term = t.term WHERE t.kind = ? AND t.name = ? "
            "AND NOT COALESCE(a.q, 0) >= ? GROUP BY 1 ORDER BY 1"
        )
        return self._all(records.Listed, sql, (kind, term, self.thresholds.alpha))

    def enriched(self, kind: str, term: str, limit: int = 500) -> list[records.Enriched]:
        """Features that are enriched for a term, most significant first."""
        sql = (
            "SELECT a.id, a.scope, a.estimate, a.q, f.label FROM terms t JOIN annotations a ON "
            "a.term = t.term JOIN features f ON f.id = a.id WHERE t.kind = ? AND t.name = ? "
            "AND NOT COALESCE(a.q, 0) >= ? ORDER BY a.q IS NULL, a.q, a.id LIMIT ?"
        )
        return self._all(records.Enriched, sql, (kind, term, self.thresholds.alpha, limit))

    def named(
        self, kinds: Sequence[str], text: str = "", limit: int = 100
    ) -> list[tuple[str, str, int]]:
        """Terms of these kinds that contain a text, ignoring case: kind, name, features; those
        that begin with it first, then by falling number of features."""
        marks = ", ".join("?" * len(kinds))
        like = text.replace("\\", "").replace("%", "").replace("_", r"\_")
        sql = (
            f"SELECT kind, name, features FROM terms WHERE kind IN ({marks}) AND features > 0 AND "
            "name LIKE ? ESCAPE '\\' ORDER BY name LIKE ? ESCAPE '\\' DESC, features DESC, name "
            "LIMIT ?"
        )
        return self._db.execute(sql, (*kinds, f"%{like}%", f"{like}%", limit)).fetchall()

    def modules(self, layer: int | None = None) -> list[records.Module]:
        """Communities of features: of all layers, or of one."""
        if "modules" not in self.tables:
            return []
        fields = ", ".join(records.Module._fields)
        where = "" if layer is None else " WHERE layer = ?"
        values = () if layer is None else (layer,)
        return self._all(records.Module, f"SELECT {fields} FROM modules{where}", values)

    def members(self, number: int) -> list[int]:
        """Identifiers of a module's features."""
        if "module_members" not in self.tables:
            return []
        sql = "SELECT id FROM module_members WHERE number = ? ORDER BY id"
        return [row[0] for row in self._db.execute(sql, (number,))]

    def module_edges(self, layer: int | None = None) -> list[records.ModuleEdge]:
        """Links between modules of one layer beside what degrees alone give, of all layers or of
        one: those furthest above it first."""
        if "module_edges" not in self.tables:
            return []
        where = "" if layer is None else " WHERE m.layer = ?"
        values = () if layer is None else (layer,)
        sql = (
            "SELECT e.number, e.other, e.weight, e.null_weight FROM module_edges e JOIN modules m "
            f"ON m.number = e.number{where} ORDER BY e.weight - e.null_weight DESC, e.number, "
            "e.other"
        )
        return self._all(records.ModuleEdge, sql, values)

    @cached_property
    def layout_made(self) -> records.LayoutMade | None:
        """How the positions of the map were made; None where the atlas has no map."""
        if "layout_made" not in self.tables:
            return None
        fields = ", ".join(records.LayoutMade._fields)
        row = self._db.execute(f"SELECT {fields} FROM layout_made").fetchone()
        return records.LayoutMade(*row) if row else None

    def layout(self) -> list[tuple[int, float, float]]:
        """Identifier, x and y of every feature that has a place on the map, in order."""
        if "layout" not in self.tables:
            return []
        return self._db.execute("SELECT id, x, y FROM layout ORDER BY id").fetchall()

    def links(self, identifier: int, limit: int = 20) -> list[records.Link]:
        """Links of a feature with features of other layers, both ways, strongest first."""
        return self._links(
            "(k.id = ? OR k.other = ?) ORDER BY k.kind, k.value DESC, k.id, k.other LIMIT ?",
            (identifier, identifier, limit),
        )

    def links_between(self, layer: int, other_layer: int, limit: int = 200) -> list[records.Link]:
        """Strongest links of two layers."""
        first = layer * schema.LAYER_STRIDE
        return self._links(
            "k.id >= ? AND k.id < ? AND k.other_layer = ? "
            "ORDER BY k.kind, k.value DESC, k.id, k.other LIMIT ?",
            (first, first + schema.LAYER_STRIDE, other_layer, limit),
        )

    def linked_layers(self) -> list[tuple[int, int]]:
        """Pairs of layers with links."""
        if "links" not in self.tables:
            return []
        sql = f"SELECT DISTINCT id / {schema.LAYER_STRIDE}, other_layer FROM links ORDER BY 1, 2"
        return self._db.execute(sql).fetchall()

    def numbers(self, layer: int | None = None) -> list[records.Number]:
        """Measured numbers in the order given: all, or those of one layer alone."""
        if "numbers" not in self.tables:
            return []
        fields = ", ".join(f'"{name}"' for name in records.Number._fields)
        where = "" if layer is None else " WHERE layer = ? AND other_layer IS NULL"
        values = () if layer is None else (layer,)
        sql = f"SELECT {fields} FROM numbers{where} ORDER BY number"
        return self._all(records.Number, sql, values)

    def perturbations(self) -> list[records.Perturbation]:
        """Genes that were changed, in the order given."""
        if "perturbations" not in self.tables:
            return []
        fields = ", ".join(f'"{name}"' for name in records.Perturbation._fields)
        return self._all(records.Perturbation, f"SELECT {fields} FROM perturbations")

    def responses(
        self, *, number: int | None = None, identifier: int | None = None
    ) -> list[records.Response]:
        """What responds to a perturbation, or to what a feature responds: strongest first."""
        if "responses" not in self.tables:
            return []
        sql = (
            "SELECT p.target, r.id, r.effect, r.p, r.q, r.cells, f.label, f.density FROM "
            "responses r JOIN perturbations p ON p.number = r.number JOIN features f ON "
            "f.id = r.id WHERE "
        )
        if number is not None:
            return self._all(records.Response, f"{sql} r.number = ? ORDER BY r.rank", (number,))
        order = "ORDER BY ABS(r.effect) DESC, p.target"
        return self._all(records.Response, f"{sql} r.id = ? {order}", (identifier,))

    def celltypes(self, identifier: int, limit: int = 20) -> list[records.CellType]:
        """A feature's cell types, most significant first."""
        if "celltypes" not in self.tables:
            return []
        sql = (
            "SELECT id, cell_type, effect, mean, p, q, donors FROM celltypes WHERE id = ? "
            "ORDER BY rank LIMIT ?"
        )
        return self._all(records.CellType, sql, (identifier, limit))

    def _listed(self, where: str, values: Sequence[object]) -> list[records.ListedGene]:
        if "feature_genes" not in self.tables:
            return []
        sql = (
            "SELECT g.id, g.rank, t.name, g.value, g.fires, g.tokens FROM feature_genes g "
            f"JOIN terms t ON t.term = g.gene WHERE {where}"
        )
        return self._all(records.ListedGene, sql, values)

    def _links(self, where: str, values: Sequence[object]) -> list[records.Link]:
        if "links" not in self.tables:
            return []
        sql = (
            "SELECT k.id, k.other, k.kind, k.value, k.tokens, k.p, a.label, b.label FROM links k "
            f"JOIN features a ON a.id = k.id JOIN features b ON b.id = k.other WHERE {where}"
        )
        return self._all(records.Link, sql, values)

    # The run
    # ------------------------------------------------------------------------------------------

    def layers(self) -> list[records.Layer]:
        """One row per layer."""
        return self._all(
            records.Layer, f"SELECT {', '.join(records.Layer._fields)} FROM layers ORDER BY layer"
        )

    @cached_property
    def layer_names(self) -> dict[int, str]:
        """What people call each layer: its number, or model and depth where there are several."""
        rows = self._db.execute("SELECT layer, model, depth FROM layers ORDER BY layer")
        return {
            layer: str(layer) if model is None else f"{model} {depth}"
            for layer, model, depth in rows
        }

    def same_depth(self, identifier: int) -> list[int]:
        """The feature of this number in the other models' layers of that depth."""
        layer, feature = divmod(identifier, schema.LAYER_STRIDE)
        sql = "SELECT layer FROM layers WHERE depth = ? AND layer <> ? ORDER BY layer"
        found = [
            schema.feature_id(other, feature) for (other,) in self._db.execute(sql, (layer, layer))
        ]
        return [other for other in found if self.has(other)]

    def density_histogram(self, layer: int) -> list[tuple[float, int]]:
        """(log10 density at the left edge of a half-decade bin, number of features)."""
        sql = "SELECT decade, features FROM density_histogram WHERE layer = ? ORDER BY decade"
        return self._db.execute(sql, (layer,)).fetchall()

    def flow(self) -> list[records.Flow]:
        """Cross-layer links."""
        return self._all(
            records.Flow, f"SELECT {', '.join(records.Flow._fields)} FROM layer_flow ORDER BY 1, 2"
        )

    def claims(self) -> list[records.Claim]:
        """The claims ledger in its own order."""
        return self._all(
            records.Claim, f"SELECT {', '.join(records.Claim._fields)} FROM claims ORDER BY number"
        )

    def run(self) -> dict[str, str | None]:
        """The run card."""
        return dict(self._db.execute("SELECT key, value FROM run"))

    @cached_property
    def units(self) -> list[records.Unit]:
        """All units in the data set's order."""
        names = [c.name for c in self.declared.units]
        more = "".join(f', "{name}"' for name in names)
        rows = self._db.execute(f"SELECT unit{more} FROM units ORDER BY number")
        return [records.Unit(row[0], dict(zip(names, row[1:]))) for row in rows]

    def state_colors(self) -> dict[str, str]:
        """Official colors of the ChromHMM states as #rrggbb, where known."""
        if "chromhmm_states" not in self.tables:
            return {}
        rows = self._db.execute(
            "SELECT name, colour FROM chromhmm_states WHERE colour GLOB '#*' ORDER BY number"
        )
        return dict(rows)

    def select(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a SELECT of the caller's own (notebooks; the file cannot be changed through
        it)."""
        return self._db.execute(sql, tuple(values)).fetchall()

    def _all(self, record: type[R], sql: str, values: Sequence[object] = ()) -> list[R]:
        return [record(*row) for row in self._db.execute(sql, tuple(values))]


FILTER_OF = {**{kind.name: kind.filters[0] for kind in KINDS}, "gene": "gene"}
_PLACES = ("gene", *(kind.name for kind in sorted(KINDS, key=lambda kind: bool(kind.scope))))
_KIND_ORDER = {name: place for place, name in enumerate(_PLACES)}
"""Genes first, then terms of all, then those tested within a scope (states)."""


def search(atlas: Atlas, text: str, limit: int = 60) -> list[Found]:
    """What ``text`` may mean, best first: exact names, then names that contain it, then names that
    share its trigrams.

    Each result carries the filter (``query``) that lists its features; a gene or region also opens
    as a place.
    """
    text = " ".join(text.replace("\0", " ").split())
    if not text:
        return []
    identifier = schema.parse_feature(text)
    if identifier is not None:
        ids = [identifier] if atlas.has(identifier) else []
        names = [schema.feature_name(i) for i in (*ids, *atlas.same_depth(identifier))]
        return [Found("feature", name, 1, name) for name in names]
    region = parse_region(text)
    if region:
        query = f"region:{region}"
        return [Found("region", str(region), atlas.count(query), query)]
    found = _containing(atlas, text, limit)
    if len(found) < limit and len(text) >= 4:
        seen = {(f.kind, f.name) for f in found}
        found += [f for f in _resembling(atlas, text, limit) if (f.kind, f.name) not in seen]
    close = sum(f.name.casefold().startswith(text.casefold()) for f in found)
    return [*found[:close], *_labels(atlas, text), *found[close:]][:limit]


def common_terms(atlas: Atlas, limit: int = 30) -> list[Found]:
    """Motifs, gene sets and states by the number of features enriched for them: where to begin."""
    rows = atlas.select(
        "SELECT kind, name, features FROM terms WHERE features > 0 AND kind <> 'gene' "
        "ORDER BY features DESC, name "
        "LIMIT ?",
        (limit,),
    )
    return [_found(*row) for row in rows]


def _containing(atlas: Atlas, text: str, limit: int) -> list[Found]:
    if len(text) >= 3:
        quoted = '"' + text.replace('"', '""') + '"'
        rows = atlas.select(
            "SELECT t.kind, t.name, t.features FROM terms_fts f JOIN terms t ON t.term = f.rowid"
            " WHERE terms_fts MATCH ?",
            (quoted,),
        )
    else:
        sql = "SELECT kind, name, features FROM terms WHERE name LIKE ? LIMIT 2000"
        rows = atlas.select(sql, (text.replace("%", "").replace("_", "") + "%",))
    folded = text.casefold()

    def order(row: tuple[str, str, int | None]) -> tuple[object, ...]:
        kind, name, features = row
        name = name.casefold()
        return (
            name != folded,
            not name.startswith(folded),
            _KIND_ORDER[kind],
            -(features or 0),
            len(name),
            name,
        )

    return [_found(*row) for row in sorted(rows, key=order)[:limit]]


def _resembling(atlas: Atlas, text: str, limit: int) -> list[Found]:
    """Names that share at least half of the trigrams of ``text``: forgives a typing slip."""
    folded = text.casefold()
    grams = {folded[i : i + 3] for i in range(len(folded) - 2)}
    query = " OR ".join('"' + gram.replace('"', '""') + '"' for gram in sorted(grams))
    rows = atlas.select(
        "SELECT t.kind, t.name, t.features FROM terms_fts f JOIN terms t ON t.term = f.rowid "
        "WHERE terms_fts MATCH ?"
        " ORDER BY f.rank LIMIT 200",
        (query,),
    )
    scored = []
    for kind, name, features in rows:
        low = name.casefold()
        shared = sum(gram in low for gram in grams) / len(grams)
        if shared >= 0.5:
            scored.append((-shared, len(name), _found(kind, name, features)))
    return [item[2] for item in sorted(scored)[:limit]]


def _labels(atlas: Atlas, text: str) -> list[Found]:
    query = f'label:"{text}"'
    count = 0 if '"' in text else atlas.count(query)
    return [Found("label", text, count, query)] if count else []


def _found(kind: str, name: str, features: int | None) -> Found:
    value = f'"{name}"' if " " in name else name
    return Found(kind, name, features, f"{FILTER_OF[kind]}:{value}")
