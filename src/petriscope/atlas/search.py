"""Fuzzy search over motifs, gene sets, states, genes, labels, regions and feature names (standard
library only)."""

from __future__ import annotations

from petriscope.atlas import schema
from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Found
from petriscope.atlas.region import parse_region
from petriscope.enrich.kinds import KINDS

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
        name = schema.feature_name(identifier)
        return [Found("feature", name, 1, name)] if atlas.has(identifier) else []
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
        "SELECT kind, name, features FROM terms WHERE features > 0 ORDER BY features DESC, name "
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
