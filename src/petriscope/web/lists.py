"""Tables that a page reads whole: numbers, curves of layers, perturbed genes, documents."""

from __future__ import annotations

from typing import Any

from petriscope.atlas.query import Atlas
from petriscope.web import digits
from petriscope.web.source import columns_of

RESPONSES = 100
"""Features kept of a perturbed gene, strongest first; `responding` counts all."""
IN_DOCUMENT = 40
"""Features kept of a document: as many as the terminal UI shows."""
DOCUMENT_BYTES = 2_000_000
"""Of the documents' JSON, about: those with most features are kept."""
Table = dict[str, Any] | list[dict[str, Any]]


def small_tables(atlas: Atlas) -> dict[str, Table]:
    """Chunks that are written as they are; a table without rows is absent."""
    curves = {name: [p._asdict() for p in atlas.curves(name)] for name in ("ablation", "steering")}
    found: dict[str, Table] = {
        "numbers": [number._asdict() for number in atlas.numbers()],
        "curves": curves if any(curves.values()) else {},
        "perturbations": perturbations(atlas),
    }
    return {name: rows for name, rows in found.items() if rows}


def perturbations(atlas: Atlas) -> list[dict[str, Any]]:
    """Genes that were changed, each with the features that respond most."""
    responses: dict[int, list[tuple[Any, ...]]] = {}
    if "responses" in atlas.tables:
        sql = "SELECT number, id, effect, p, q FROM responses WHERE rank <= ? ORDER BY number, rank"
        for number, *rest in atlas.select(sql, (RESPONSES,)):
            responses.setdefault(number, []).append(tuple(rest))
    found = []
    for one in atlas.perturbations():
        values = one._asdict()
        number = values.pop("number")
        found.append({**values, "responses": responses.get(number, [])})
    return found


def documents(atlas: Atlas) -> tuple[list[dict[str, Any]], int]:
    """The documents in which most features fire, and of how many those are."""
    if "documents" not in atlas.tables:
        return [], 0
    names = ("name", "side", "detail", "content", "degree", "chrom", "start", "end")
    listed = ", ".join(f'"{name}"' for name in names)
    sql = f"SELECT document, {listed} FROM documents ORDER BY COALESCE(degree, 0) DESC, document"
    rows = atlas.select(sql)
    features = _features_in(atlas)
    kept: list[dict[str, Any]] = []
    room = DOCUMENT_BYTES
    for number, *fields in rows:
        of = features.get(number, [])
        room -= sum(len(str(field)) for field in fields) + sum(
            len(str(value)) + 1 for row in of for value in row
        )
        if room < 0 and kept:
            break
        kept.append({**dict(zip(names, fields)), "features": of})
    return kept, len(rows)


def _features_in(atlas: Atlas) -> dict[int, list[tuple[Any, ...]]]:
    """The features of each document, those that fire on most tokens first: identifier, tokens,
    activation and where they lie."""
    if "edges" not in atlas.tables:
        return {}
    sql = (
        "SELECT document, id, tokens, activation, spans FROM (SELECT *, ROW_NUMBER() OVER "
        "(PARTITION BY document ORDER BY tokens DESC, activation DESC, id) AS place FROM edges) "
        "WHERE place <= ? ORDER BY document, place"
    )
    document, ids, tokens, activation, spans = columns_of(atlas.select(sql, (IN_DOCUMENT,)), 5)
    few = digits.anything(activation)
    found: dict[int, list[tuple[Any, ...]]] = {}
    for number, *row in zip(document, ids, tokens, few, spans):
        found.setdefault(number, []).append(tuple(row))
    return found
