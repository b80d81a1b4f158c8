"""Frames become one atlas file: every table is checked, terms and bins are normalized and indexed,
and the file is renamed into place."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from petriscope.atlas import schema
from petriscope.atlas.filters import DEPTH, MIN_SHIFT
from petriscope.enrich.kinds import BY_NAME
from petriscope.errors import UserError
from petriscope.files import atomic_path


@dataclass(frozen=True)
class AtlasTables:
    """The atlas as frames; columns as in ``schema.TABLES`` under the same name, each frame but
    features optional. ``thresholds`` are those that the run judged its features by; ``declared``
    are the study's own columns of features, units and contexts.

    ``features`` may carry one ``t_<lineage>`` column per lineage. ``activation.histogram`` holds a
    sequence of counts. ``annotations`` stacks the rows of every kind of annotation (column
    ``kind``). ``curves`` holds the ablation (x = k) and steering (x = alpha) curves: rows with a
    feature belong to it, rows without to the layer or the whole run. A table of
    ``schema.OPTIONAL`` that is None does not lie in the file at all.
    """

    features: pd.DataFrame
    thresholds: schema.Thresholds
    lineage_effects: pd.DataFrame | None = None
    units: pd.DataFrame | None = None
    activation: pd.DataFrame | None = None
    contexts: pd.DataFrame | None = None
    annotations: pd.DataFrame | None = None
    motif_hits: pd.DataFrame | None = None
    similar: pd.DataFrame | None = None
    documents: pd.DataFrame | None = None
    edges: pd.DataFrame | None = None
    maps: pd.DataFrame | None = None
    layers: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    claims: pd.DataFrame | None = None
    run: pd.DataFrame | None = None
    genes: pd.DataFrame | None = None
    chromhmm_states: pd.DataFrame | None = None
    feature_genes: pd.DataFrame | None = None
    modules: pd.DataFrame | None = None
    module_members: pd.DataFrame | None = None
    module_edges: pd.DataFrame | None = None
    layout: pd.DataFrame | None = None
    layout_made: pd.DataFrame | None = None
    links: pd.DataFrame | None = None
    numbers: pd.DataFrame | None = None
    perturbations: pd.DataFrame | None = None
    responses: pd.DataFrame | None = None
    celltypes: pd.DataFrame | None = None
    declared: schema.Declared = schema.Declared()


def build_atlas(path: str | Path, tables: AtlasTables) -> None:
    """Write ``tables`` to the SQLite file ``path`` atomically; the same tables give the same bytes.

    Raises UserError that names the table and column where a required column is missing, a column is
    unknown, a key is repeated, or a row points at a feature or unit that does not exist.
    """
    declared = tables.declared
    frames = {
        field.name: _checked(field.name, getattr(tables, field.name), declared)
        for field in fields(tables)
        if field.name in schema.TABLES
    }
    lineages = [c[2:] for c in frames["features"].columns if c.startswith(schema.LINEAGE_PREFIX)]
    given = [name for name in schema.OPTIONAL if getattr(tables, name) is not None]
    made = "".join(schema.OPTIONAL[name][0] for name in given)
    indexes = "".join(schema.OPTIONAL[name][1] for name in given)
    with atomic_path(path) as temporary:
        temporary.unlink(missing_ok=True)
        connection = sqlite3.connect(temporary)
        try:
            connection.executescript(
                "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA page_size=8192;"
            )
            connection.executescript(schema.declared_ddl(lineages, declared) + schema.DDL + made)
            _fill(connection, frames, lineages, tables.thresholds, declared)
            _optional(connection, {name: frames[name] for name in given}, frames["features"])
            connection.executescript(
                schema.INDEXES + indexes + schema.features_indexes(lineages, declared) + "ANALYZE;"
            )
            _orders(connection, schema.feature_columns(lineages, declared))
            connection.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={schema.VERSION}")
            connection.commit()
        finally:
            connection.close()


def _fill(
    connection: sqlite3.Connection,
    frames: dict[str, pd.DataFrame],
    lineages: list[str],
    thresholds: schema.Thresholds,
    declared: schema.Declared,
) -> None:
    _declared(connection, declared)
    _insert(
        connection,
        "thresholds",
        ["name", "value"],
        [list(thresholds._fields), [float(value) for value in thresholds]],
    )
    features = frames["features"].sort_values(["layer", "feature"], kind="stable")
    known = _ids(features)
    _unique("features", features, ["layer", "feature"])
    names = [c.name for c in schema.feature_columns(lineages, declared)]
    _insert(connection, "features", ["id", *names], [known.tolist(), *_columns(features, names)])
    connection.execute("INSERT INTO labels_fts(labels_fts) VALUES('rebuild')")

    units = _units(frames)
    names = ["unit", *(c.name for c in declared.units)]
    _insert(
        connection,
        "units",
        ["number", *names],
        [list(range(len(units))), *_columns(units, names)],
    )
    number = {name: i for i, name in enumerate(units["unit"])}

    _keyed(connection, "lineage_effects", frames["lineage_effects"], known, ["lineage"])
    histograms = pd.Series(
        [_histogram_text(x) for x in frames["activation"]["histogram"]], dtype=object
    )
    codes = frames["activation"]["unit"].map(number)
    activation = frames["activation"].assign(unit=codes, histogram=histograms)
    _keyed(connection, "activation", activation, known, ["unit"])
    _contexts(connection, frames["contexts"], known, number, declared)
    _terms(connection, frames, known, thresholds)
    _similar(connection, frames["similar"], known, thresholds)
    _layers(connection, frames, thresholds)
    _curves(connection, frames["curves"], known)
    for table, key in (("claims", "claim"), ("run", "key")):
        _unique(table, frames[table], [key])
        _plain(connection, table, frames[table])


def _optional(
    connection: sqlite3.Connection, frames: dict[str, pd.DataFrame], features: pd.DataFrame
) -> None:
    """The tables that not every study fills."""
    known = np.sort(_ids(features))
    if "motif_hits" in frames:
        _motif_hits(connection, frames["motif_hits"])
    _graph(connection, frames, known)
    if "maps" in frames:
        maps = frames["maps"].assign(id=_ids(frames["maps"]))
        _exists("maps", maps["id"].to_numpy(), known)
        _unique("maps", maps, ["id"])
        names = ["id", "document", "pieces", "cells"]
        _insert(connection, "maps", names, _columns(maps.sort_values("id", kind="stable"), names))
    if "chromhmm_states" in frames:
        states = frames["chromhmm_states"]
        _unique("chromhmm_states", states, ["name"])
        states = states.assign(colour=[_hex(color) for color in states["colour"]])
        _plain(connection, "chromhmm_states", states)
    for table in ("genes", "numbers"):
        if table in frames:
            _plain(connection, table, frames[table])
    if "feature_genes" in frames:
        _feature_genes(connection, frames["feature_genes"], known)
    _numbered(
        connection, frames, ("modules", "module_members"), ["graph", "layer", "module"], known
    )
    if "module_edges" in frames:
        _module_edges(connection, frames)
    _layout(connection, frames, known)
    _numbered(connection, frames, ("perturbations", "responses"), ["target", "layer"], known)
    if "links" in frames:
        links = frames["links"].assign(other=_others(frames["links"]))
        _exists("links", links["other"].to_numpy(), known)
        _ranked(connection, "links", links, ["kind", "other_layer"], ["value", "other"], known)
    if "celltypes" in frames:
        order = ["q", "p", "cell_type"]
        _ranked(connection, "celltypes", frames["celltypes"], [], order, known)


def _plain(connection: sqlite3.Connection, table: str, frame: pd.DataFrame) -> None:
    """Rows as they are."""
    wanted = [c.name for c in schema.TABLES[table]]
    _insert(connection, table, wanted, _columns(frame, wanted))


def _feature_genes(connection: sqlite3.Connection, frame: pd.DataFrame, known: np.ndarray) -> None:
    """The gene lists; genes by their numbers among the terms."""
    number = dict(connection.execute("SELECT name, term FROM terms WHERE kind = 'gene'").fetchall())
    frame = frame.assign(id=_ids(frame), gene=frame["gene"].map(number))
    _exists("feature_genes", frame["id"].to_numpy(), known)
    _unique("feature_genes", frame, ["id", "rank"])
    columns = ["id", "rank", "gene", "value", "fires", "tokens"]
    frame = frame.sort_values(["id", "rank"], kind="stable")
    _insert(connection, "feature_genes", columns, _columns(frame, columns))


def _numbered(
    connection: sqlite3.Connection,
    frames: dict[str, pd.DataFrame],
    pair: tuple[str, str],
    key: list[str],
    known: np.ndarray,
) -> None:
    """A table of things that have a ``key``, in the order given, and one of their features, by
    falling |effect| where they have one."""
    whole, part = pair
    if not _whole(frames, whole, part):
        return
    _unique(whole, frames[whole], key)
    things = frames[whole].assign(number=range(len(frames[whole])))
    names = ["number", *(c.name for c in schema.TABLES[whole])]
    _insert(connection, whole, names, _columns(things, names))
    if part not in frames:
        return
    members = frames[part].assign(id=_ids(frames[part]))
    _exists(part, members["id"].to_numpy(), known)
    _unique(part, members, [*key, "id"])
    members = members.merge(things[[*key, "number"]], on=key, how="left")
    lost = members["number"].isna()
    if lost.any():
        first = ", ".join(str(x) for x in members.loc[lost, key].iloc[0])
        raise UserError(f"{first} is not in the table {whole}", file=f"atlas table {part}")
    columns = ["number", "id"]
    if "effect" in members:
        size = -pd.to_numeric(members["effect"]).abs()
        members = members.assign(size=size).sort_values(["number", "size", "id"], kind="stable")
        members["rank"] = members.groupby("number", sort=False).cumcount() + 1
        columns = ["number", "rank", "id", "effect", "p", "q", "cells"]
    else:
        members = members.sort_values(columns, kind="stable")
    _insert(connection, part, columns, _columns(members, columns))


def _module_edges(connection: sqlite3.Connection, frames: dict[str, pd.DataFrame]) -> None:
    """Links between modules by their numbers, the lower one first."""
    _whole(frames, "modules", "module_edges")
    key = ["graph", "layer", "module"]
    modules = frames["modules"]
    number = {row: i for i, row in enumerate(zip(*(modules[name] for name in key)))}
    edges = frames["module_edges"]
    ends: dict[str, list[int]] = {}
    for end, column in (("one", "module"), ("two", "other_module")):
        rows = list(zip(edges["graph"], edges["layer"], edges[column]))
        lost = [row for row in rows if row not in number]
        if lost:
            first = ", ".join(str(part) for part in lost[0])
            raise UserError(f"{first} is not in the table modules", file="atlas table module_edges")
        ends[end] = [number[row] for row in rows]
    pairs = np.sort(np.array([ends["one"], ends["two"]], dtype=np.int64), axis=0)
    edges = edges.assign(number=pairs[0], other=pairs[1])
    _unique("module_edges", edges, ["number", "other"])
    columns = ["number", "other", "weight", "null_weight"]
    edges = edges.sort_values(columns[:2], kind="stable")
    _insert(connection, "module_edges", columns, _columns(edges, columns))


def _layout(
    connection: sqlite3.Connection, frames: dict[str, pd.DataFrame], known: np.ndarray
) -> None:
    """Positions, and the one row that says how they were made: neither without the other."""
    _whole(frames, "layout", "layout_made")
    if not _whole(frames, "layout_made", "layout"):
        return
    if len(frames["layout_made"]) != 1:
        raise UserError("has not one row", file="atlas table layout_made")
    _plain(connection, "layout_made", frames["layout_made"])
    places = frames["layout"].assign(id=_ids(frames["layout"]))
    _exists("layout", places["id"].to_numpy(), known)
    _unique("layout", places, ["id"])
    columns = ["id", "x", "y"]
    _insert(connection, "layout", columns, _columns(places.sort_values("id"), columns))


def _whole(frames: dict[str, pd.DataFrame], whole: str, part: str) -> bool:
    """Whether a table is given. Raises `UserError` where only the one that refers to it is."""
    if part in frames and whole not in frames:
        raise UserError(f"refers to the table {whole}, which is absent", file=f"atlas table {part}")
    return whole in frames


def _ranked(
    connection: sqlite3.Connection,
    table: str,
    frame: pd.DataFrame,
    within: list[str],
    by: list[str],
    known: np.ndarray,
) -> None:
    """Rows of features, ranked within (feature, ``within``) by rising ``by``, a value falling."""
    frame = frame.assign(id=_ids(frame))
    _exists(table, frame["id"].to_numpy(), known)
    keys = ["id", *within]
    _unique(table, frame, [*keys, by[-1]])
    rising = [name != "value" for name in [*keys, *by]]
    frame = frame.sort_values([*keys, *by], ascending=rising, kind="stable")
    frame["rank"] = frame.groupby(keys, sort=False).cumcount() + 1
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    _insert(connection, table, columns, _columns(frame, columns))


def _declared(connection: sqlite3.Connection, declared: schema.Declared) -> None:
    """The study's own columns with their heads and meanings, and its words."""
    words = (schema.Column(name, "text", getattr(declared, name), "text") for name in schema.WORDS)
    for place, columns in (
        ("words", words),
        ("units", declared.units),
        ("contexts", declared.contexts),
        ("features", declared.features),
    ):
        for number, c in enumerate(columns):
            row = (place, number, c.name, c.kind, c.head, c.form, c.text, int(c.indexed))
            connection.execute("INSERT INTO columns VALUES(?,?,?,?,?,?,?,?)", row)


def _orders(connection: sqlite3.Connection, columns: Sequence[schema.Column]) -> None:
    """Every sorting of the features, computed once here so that a sort is one read."""
    for column in columns:
        name = f'"{column.name}"'
        filled = connection.execute(
            f"SELECT id FROM features WHERE {name} IS NOT NULL ORDER BY {name}, id"
        ).fetchall()
        empty = connection.execute(
            f"SELECT id FROM features WHERE {name} IS NULL ORDER BY id"
        ).fetchall()
        ids = np.array(filled + empty, dtype="<i4").tobytes()
        connection.execute("INSERT INTO orders VALUES(?, ?, ?)", (column.name, len(filled), ids))


def _checked(table: str, frame: pd.DataFrame | None, declared: schema.Declared) -> pd.DataFrame:
    """``frame`` with every column of the schema and those declared (missing optional ones all
    None); mistakes raise naming the column."""
    more = {"features": declared.features, "units": declared.units, "contexts": declared.contexts}
    columns = (*schema.TABLES[table], *more.get(table, ()))
    known = [c.name for c in columns]
    twice = [name for name in known if known.count(name) > 1]
    if twice:
        raise UserError("is declared twice", file=f"atlas table {table}", field=twice[0])
    if frame is None:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in known})
    for column in columns:
        if column.required and column.name not in frame.columns:
            raise UserError(
                "required column is missing", file=f"atlas table {table}", field=column.name
            )
        if column.required and frame[column.name].isna().any():
            raise UserError(
                "required column has empty cells", file=f"atlas table {table}", field=column.name
            )
    for name in frame.columns:
        lineage = table == "features" and str(name).startswith(schema.LINEAGE_PREFIX)
        if name not in known and not lineage:
            near = get_close_matches(str(name), known, 1)
            remedy = f"Did you mean {near[0]}?" if near else f"The table has {', '.join(known)}"
            raise UserError(
                "unknown column", file=f"atlas table {table}", field=str(name), remedy=remedy
            )
    return frame.assign(**{name: None for name in known if name not in frame.columns}).reset_index(
        drop=True
    )


def _units(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The declared units in their order, or those that only activations and contexts mention."""
    declared = frames["units"]
    _unique("units", declared, ["unit"])
    mentioned = pd.concat([frames["activation"]["unit"], frames["contexts"]["unit"]]).unique()
    extra = sorted(set(mentioned) - set(declared["unit"]))
    if len(declared) and extra:
        raise UserError(
            f"unit {extra[0]!r} is not in the units table",
            file="atlas table activation or contexts",
        )
    return declared if len(declared) else declared.reindex(range(len(extra))).assign(unit=extra)


def _contexts(
    connection: sqlite3.Connection,
    frame: pd.DataFrame,
    known: np.ndarray,
    number: dict[str, int],
    declared: schema.Declared,
) -> None:
    """Each place once in ``contexts``; ranks by falling activation within (feature, unit)."""
    ids = _ids(frame)
    _exists("contexts", ids, known)
    frame = frame.assign(id=ids, number=frame["unit"].map(number))
    place = ["name", "chrom", "start", "end", *(c.name for c in declared.contexts)]
    places = frame.drop_duplicates("name")[place]
    places = places.sort_values(["chrom", "start", "end", "name"], kind="stable").reset_index(
        drop=True
    )
    places["context"] = range(len(places))
    lies = places["chrom"].notna().to_numpy(bool)
    gbin = np.full(len(places), None, dtype=object)
    gbin[lies] = _genomic_bins(places[lies]).tolist()
    columns = ["context", "name", "chrom", "start", "end", "gbin", *place[4:]]
    _insert(connection, "contexts", columns, _columns(places.assign(gbin=gbin), columns))
    frame = frame.merge(places[["name", "context"]], on="name", how="left")
    frame = frame.sort_values(
        ["id", "number", "activation", "context"],
        ascending=[True, True, False, True],
        kind="stable",
    )
    frame["rank"] = frame.groupby(["id", "number"], sort=False).cumcount() + 1
    _insert(
        connection,
        "top",
        ["id", "unit", "rank", "context", "activation"],
        _columns(frame, ["id", "number", "rank", "context", "activation"]),
    )


def _terms(
    connection: sqlite3.Connection,
    frames: dict[str, pd.DataFrame],
    known: np.ndarray,
    thresholds: schema.Thresholds,
) -> None:
    """Annotations by term number; the vocabulary (with genes) indexed for fuzzy search."""
    frame = frames["annotations"]
    ids = _ids(frame)
    _exists("annotations", ids, known)
    bad = set(frame["kind"]) - set(BY_NAME)
    if bad:
        raise UserError(
            f"unknown kind {min(bad)!r}",
            file="atlas table annotations",
            field="kind",
            remedy=f"Use {', '.join(BY_NAME)}",
        )
    frame = frame.assign(id=ids, scope=frame["scope"].where(frame["scope"].notna(), ""))
    _unique("annotations", frame, ["id", "kind", "term", "scope"])
    order = frame.sort_values(["id", "kind", "q", "p", "term"], kind="stable")
    rank = order.groupby(["id", "kind"], sort=False).cumcount() + 1
    frame["rank"] = frame["rank"].where(frame["rank"].notna(), rank.reindex(frame.index))
    strong = frame[~(pd.to_numeric(frame["q"]) >= thresholds.alpha)]
    counts = strong.groupby(["kind", "term"])["id"].nunique()
    vocabulary = (
        frame[["kind", "term"]]
        .drop_duplicates()
        .sort_values(["kind", "term"])
        .reset_index(drop=True)
    )
    vocabulary["number"] = range(len(vocabulary))
    vocabulary["features"] = [
        int(counts.get((k, t), 0)) for k, t in zip(vocabulary["kind"], vocabulary["term"])
    ]
    listed = frames["feature_genes"].drop_duplicates(["layer", "feature", "gene"])["gene"]
    lists = listed.value_counts()
    genes = sorted({*frames["genes"]["symbol"], *lists.index})
    rows = list(
        zip(
            vocabulary["number"].tolist(),
            vocabulary["kind"],
            vocabulary["term"],
            vocabulary["features"].tolist(),
        )
    )
    rows += [
        (len(rows) + i, "gene", symbol, int(lists[symbol]) if symbol in lists.index else None)
        for i, symbol in enumerate(genes)
    ]
    connection.executemany("INSERT INTO terms VALUES(?,?,?,?)", rows)
    connection.execute("INSERT INTO terms_fts(terms_fts) VALUES('rebuild')")
    frame = frame.merge(vocabulary[["kind", "term", "number"]], on=["kind", "term"], how="left")
    frame = frame.sort_values(["id", "kind", "rank", "number"], kind="stable")
    columns = ["id", "kind", "rank", "term", "scope", "estimate", "lo", "hi", "p", "q", "genes"]
    columns += ["specificity", "specificity_low", "specificity_high"]
    _insert(
        connection,
        "annotations",
        columns,
        _columns(frame, [c if c != "term" else "number" for c in columns]),
    )


def _motif_hits(connection: sqlite3.Connection, frame: pd.DataFrame) -> None:
    frame = frame.assign(gbin=_genomic_bins(frame))
    columns = ["chrom", "start", "end", "gbin", "strand", "motif", "score"]
    _insert(connection, "motif_hits", columns, _columns(frame, columns))


def _similar(
    connection: sqlite3.Connection,
    frame: pd.DataFrame,
    known: np.ndarray,
    thresholds: schema.Thresholds,
) -> None:
    """Neighbors ranked by falling value, and how many features of one layer have a close match in
    another."""
    other = _others(frame)
    frame = frame.assign(id=_ids(frame), other=other)
    _exists("similar", frame["id"].to_numpy(), known)
    _exists("similar", other, known)
    frame = frame.sort_values(
        ["id", "kind", "value", "other"], ascending=[True, True, False, True], kind="stable"
    )
    frame["rank"] = frame.groupby(["id", "kind"], sort=False).cumcount() + 1
    columns = ["id", "kind", "rank", "other", "value"]
    _insert(connection, "similar", columns, _columns(frame, columns))
    connection.execute(
        "INSERT INTO layer_flow SELECT a.layer, b.layer, COUNT(*), SUM(s.value >= :stable), "
        "SUM(COALESCE(a.q < :alpha, 0)),"
        " SUM(COALESCE(s.value >= :stable AND a.q < :alpha AND b.q < :alpha"
        " AND a.direction = b.direction, 0)), "
        "AVG(s.value)"
        " FROM (SELECT s.id, s.other, MAX(s.value) AS value FROM similar s JOIN features f ON "
        "f.id = s.other"
        " WHERE s.kind = 'decoder' GROUP BY s.id, f.layer) s"
        " JOIN features a ON a.id = s.id JOIN features b ON b.id = s.other WHERE a.layer <> "
        "b.layer GROUP BY 1, 2",
        thresholds._asdict(),
    )


def _graph(
    connection: sqlite3.Connection, frames: dict[str, pd.DataFrame], known: np.ndarray
) -> None:
    """Documents in the order given, and the features that fire in them."""
    if not _whole(frames, "documents", "edges"):
        return
    documents = frames["documents"]
    _unique("documents", documents, ["name"])
    columns = [c.name for c in schema.TABLES["documents"]]
    numbers = list(range(len(documents)))
    rows = [numbers, *_columns(documents, columns)]
    _insert(connection, "documents", ["document", *columns], rows)
    if "edges" not in frames:
        return
    edges = frames["edges"]
    number = edges["document"].map(dict(zip(documents["name"], numbers)))
    if number.isna().any():
        absent = edges["document"][number.isna()].iloc[0]
        raise UserError(
            f"document {absent!r} is not in the documents table", file="atlas table edges"
        )
    edges = edges.assign(id=_ids(edges), document=number)
    _exists("edges", edges["id"].to_numpy(), known)
    _unique("edges", edges, ["id", "document"])
    edges = edges.sort_values(["id", "document"], kind="stable")
    columns = ["id", "document", "tokens", "activation", "spans"]
    _insert(connection, "edges", columns, _columns(edges, columns))


def _layers(
    connection: sqlite3.Connection,
    frames: dict[str, pd.DataFrame],
    thresholds: schema.Thresholds,
) -> None:
    """Layer rows as given (or counted from the features), and half-decade histograms of feature
    density."""
    _unique("layers", frames["layers"], ["layer"])
    columns = [c.name for c in schema.TABLES["layers"]]
    _insert(connection, "layers", columns, _columns(frames["layers"], columns))
    connection.execute(
        "INSERT OR IGNORE INTO layers(layer, alive, n_context, fraction) SELECT layer, "
        "SUM(alive), SUM(q < ?),"
        " CAST(SUM(q < ?) AS REAL) / NULLIF(SUM(alive), 0) FROM features GROUP BY layer",
        (thresholds.alpha, thresholds.alpha),
    )
    features = frames["features"]
    density = pd.to_numeric(features["density"]).to_numpy(float)
    firing = density > 0
    decade = np.floor(np.log10(density[firing]) * 2) / 2
    table = pd.DataFrame({"layer": features["layer"].to_numpy()[firing], "decade": decade})
    counts = table.groupby(["layer", "decade"]).size().reset_index(name="features")
    columns = ["layer", "decade", "features"]
    _insert(connection, "density_histogram", columns, _columns(counts, columns))


def _curves(connection: sqlite3.Connection, frame: pd.DataFrame, known: np.ndarray) -> None:
    own = frame["feature"].notna().to_numpy(bool)
    ids = pd.Series([None] * len(frame), dtype=object)
    ids[own] = _ids(frame[own]).tolist()
    _exists("curves", np.array([i for i in ids if i is not None], dtype=np.int64), known)
    columns = ["analysis", "layer", "id", "lineage", "arm", "x", "estimate", "lo", "hi", "n"]
    _insert(connection, "curves", columns, _columns(frame.assign(id=ids), columns))


def _histogram_text(counts: Any) -> str | None:
    return None if counts is None or np.isscalar(counts) else json.dumps([int(v) for v in counts])


def _hex(color: Any) -> str | None:
    """``#rrggbb`` from itself or from ``r,g,b``; None where nothing is given."""
    if not isinstance(color, str) or not color.strip():
        return None
    parts = (
        [int(part) for part in color.split(",")]
        if re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*){2}", color)
        else []
    )
    if len(parts) == 3 and max(parts) < 256:
        return "#" + "".join(f"{part:02x}" for part in parts)
    if re.fullmatch("#[0-9A-Fa-f]{6}", color.strip()):
        return color.strip().lower()
    raise UserError(
        f"{color!r} is no color",
        file="atlas table chromhmm_states",
        field="colour",
        remedy="Write #ff4500",
    )


def _keyed(
    connection: sqlite3.Connection,
    table: str,
    frame: pd.DataFrame,
    known: np.ndarray,
    key: list[str],
) -> None:
    frame = frame.assign(id=_ids(frame)).sort_values(["id", *key], kind="stable")
    _exists(table, frame["id"].to_numpy(), known)
    _unique(table, frame, ["id", *key])
    columns = ["id", *(c.name for c in schema.TABLES[table] if c.name not in ("layer", "feature"))]
    _insert(connection, table, columns, _columns(frame, columns))


def _ids(frame: pd.DataFrame) -> np.ndarray:
    feature = frame["feature"].to_numpy(np.int64)
    if len(feature) and (feature.min() < 0 or feature.max() >= schema.LAYER_STRIDE):
        raise UserError(
            "feature index out of range 0 to 999,999", file="atlas tables", field="feature"
        )
    return frame["layer"].to_numpy(np.int64) * schema.LAYER_STRIDE + feature


def _others(frame: pd.DataFrame) -> np.ndarray:
    """Identifiers of the partners in a table of pairs."""
    other = {"other_layer": "layer", "other_feature": "feature"}
    return _ids(frame[list(other)].rename(columns=other))


def _exists(table: str, ids: np.ndarray, known: np.ndarray) -> None:
    missing = np.setdiff1d(ids.astype(np.int64), known)
    if len(missing):
        name = schema.feature_name(int(missing[0]))
        raise UserError(
            f"{name} (and {len(missing) - 1} more) is not in the features table",
            file=f"atlas table {table}",
        )


def _unique(table: str, frame: pd.DataFrame, key: list[str]) -> None:
    twice = frame.duplicated(key)
    if twice.any():
        first = frame[key].iloc[int(twice.to_numpy().argmax())].tolist()
        row = ", ".join(f"{name}={value}" for name, value in zip(key, first))
        raise UserError(f"row {row} is given twice", file=f"atlas table {table}")


def _genomic_bins(frame: pd.DataFrame) -> np.ndarray:
    """``region.bin_of`` for every row at once."""
    start = frame["start"].to_numpy(np.int64)
    last = np.maximum(frame["end"].to_numpy(np.int64) - 1, start)
    result = np.zeros(len(frame), np.int64)
    for level in range(1, DEPTH + 1):
        shift = MIN_SHIFT + 3 * (DEPTH - level)
        result = np.where(
            start >> shift == last >> shift, ((1 << 3 * level) - 1) // 7 + (start >> shift), result
        )
    return result


def _columns(frame: pd.DataFrame, names: Sequence[str]) -> list[list[Any]]:
    """Columns as lists of Python values with None for anything missing."""
    result = []
    for name in names:
        column = frame[name]
        values = column.astype(object).where(column.notna(), None).tolist()
        result.append([v.item() if isinstance(v, np.generic) else v for v in values])
    return result


def _insert(
    connection: sqlite3.Connection, table: str, names: Sequence[str], columns: Iterable[list[Any]]
) -> None:
    quoted = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join("?" * len(names))
    connection.executemany(f"INSERT INTO {table}({quoted}) VALUES({marks})", zip(*columns))
