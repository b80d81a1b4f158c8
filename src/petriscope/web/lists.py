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


def documents(atlas: Atlas) -> tuple[str, int, int]:
    """JSON of the documents in which most features fire, how many those are, and of how many."""
    if "documents" not in atlas.tables:
        return "[]", 0, 0
    sql = 'SELECT document, name, side, detail, content, degree, chrom, start, "end" FROM documents'
    rows = atlas.select(f"{sql} ORDER BY COALESCE(degree, 0) DESC, document")
    features = _features_in(atlas)
    kept: list[tuple[Any, ...]] = []
    room = DOCUMENT_BYTES
    for number, *fields in rows:
        of = features.get(number, [])
        room -= sum(len(str(field)) for field in fields) + sum(map(len, of))
        if room < 0 and kept:
            break
        kept.append((*fields, digits.listed(of)))
    name, side, detail, content, degree, chrom, start, end, lists = columns_of(kept, 9)
    texts = {
        "name": digits.words(name),
        "side": digits.words(side),
        "detail": digits.words(detail),
        "content": digits.words(content),
        "degree": digits.whole(degree),
        "chrom": digits.words(chrom),
        "start": digits.whole(start),
        "end": digits.whole(end),
        "features": list(lists),
    }
    return digits.listed(digits.objects(texts, len(kept))), len(kept), len(rows)


def _features_in(atlas: Atlas) -> dict[int, list[str]]:
    """JSON of the features of each document: those that fire on most tokens first."""
    if "edges" not in atlas.tables:
        return {}
    sql = (
        "SELECT document, id, tokens, activation, spans FROM (SELECT *, ROW_NUMBER() OVER "
        "(PARTITION BY document ORDER BY tokens DESC, activation DESC, id) AS place FROM edges) "
        "WHERE place <= ? ORDER BY document, place"
    )
    document, ids, tokens, activation, spans = columns_of(atlas.select(sql, (IN_DOCUMENT,)), 5)
    texts = digits.tuples(
        [digits.whole(ids), digits.whole(tokens), digits.reals(activation), digits.words(spans)]
    )
    found: dict[int, list[str]] = {}
    for number, text in zip(document, texts):
        found.setdefault(number, []).append(text)
    return found
