"""The graph of features with the terms they are enriched for and the documents they fire in, and
each node's PageRank beside that of rewired graphs."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import LAYER_STRIDE, feature_name
from petriscope.enrich.kinds import KINDS
from petriscope.graph.centrality import pagerank
from petriscope.graph.curveball import curveball
from petriscope.web.digits import DIGITS
from petriscope.web.source import ENRICHED

FEATURE = "feature"
FEATURES = 1500
"""Nodes that are features, at most: a page draws a part of the graph, no one reads it whole."""
GENE, LISTED = "gene", 5
"""Genes of a feature's list that are its neighbors: the first ones."""
REWIRINGS = 100
SEED = 0
Edge = tuple[str, str, int, int]
"""kind and name of the document or term, feature, weight"""


class Null(NamedTuple):
    """PageRank of each feature in rewired graphs, (features,)."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def knowledge_graph(atlas: Atlas) -> dict[str, Any] | None:
    """The value of chunk ``graph/kg``; None where no feature has an edge."""
    degrees = degrees_of(atlas)
    if not degrees:
        return None
    features = sorted(chosen(degrees))
    kept = edges_of(atlas, features)
    kinds = [FEATURE, *_kinds(atlas, kept)]
    place = {kind: number for number, kind in enumerate(kinds)}
    sources = sorted({(place[kind], name) for kind, name, _, _ in kept})
    number = {source: i for i, source in enumerate(sources)}
    column = {identifier: i for i, identifier in enumerate(features)}
    row = np.array([number[place[kind], name] for kind, name, _, _ in kept])
    of = np.array([column[identifier] for _, _, identifier, _ in kept])
    joined = sp.csr_matrix(
        (np.ones(len(kept), np.int32), (row, of)), shape=(len(sources), len(features))
    )
    joined.sort_indices()
    ranks = pagerank(joined)
    null = rewired_ranks(joined, np.array([kind for kind, _ in sources]))
    level = _short([ranks.sequence] * len(sources))
    degree = np.r_[
        np.bincount(of, minlength=len(features)), np.bincount(row, minlength=len(sources))
    ]
    return {
        "kinds": kinds,
        "kind": [0] * len(features) + [kind for kind, _ in sources],
        "name": [feature_name(i) for i in features] + [name for _, name in sources],
        "degree": degree.tolist(),
        "pagerank": _short(ranks.feature) + level,
        "null_pagerank": _short(null.mean) + level,
        "null_low": _short(null.low) + level,
        "null_high": _short(null.high) + level,
        "a": of.tolist(),
        "b": (row + len(features)).tolist(),
        "weight": [weight for _, _, _, weight in kept],
        "features": len(degrees),
    }


def degrees_of(atlas: Atlas) -> dict[int, int]:
    """How many edges (`edges_of`) each feature has; those with none are absent."""
    queries: list[tuple[str, tuple[float, ...]]] = []
    if atlas.has_graph:
        queries.append(("SELECT id, COUNT(*) FROM edges GROUP BY id", ()))
    sql = (
        "SELECT id, COUNT(DISTINCT term) FROM annotations "
        f"WHERE {ENRICHED.format(q='q')} AND kind <> 'gene' GROUP BY id"
    )
    queries.append((sql, (atlas.thresholds.alpha,)))
    if "feature_genes" in atlas.tables:
        sql = "SELECT id, COUNT(DISTINCT gene) FROM feature_genes WHERE rank <= ? GROUP BY id"
        queries.append((sql, (LISTED,)))
    found: dict[int, int] = defaultdict(int)
    for sql, values in queries:
        for identifier, count in atlas.select(sql, values):
            found[identifier] += count
    return found


def edges_of(atlas: Atlas, features: list[int]) -> list[Edge]:
    """Documents with the tokens on which one of ``features`` fires in them, terms for which it is
    enriched (weight 1) and the first genes of its list (1), in a fixed order."""
    found: list[Edge] = []
    own, ids = "IN (SELECT value FROM json_each(?))", json.dumps(features)
    if atlas.has_graph:
        sql = (
            "SELECT d.name, e.id, e.tokens FROM edges e JOIN documents d ON "
            f"d.document = e.document WHERE e.id {own} ORDER BY d.name, e.id"
        )
        word = atlas.declared.document
        rows = atlas.select(sql, (ids,))
        found += [(word, name, identifier, tokens) for name, identifier, tokens in rows]
    sql = (
        "SELECT DISTINCT t.kind, t.name, a.id FROM annotations a JOIN terms t ON t.term = a.term "
        f"WHERE a.id {own} AND {ENRICHED.format(q='a.q')} AND a.kind <> 'gene' ORDER BY 1, 2, 3"
    )
    rows = atlas.select(sql, (ids, atlas.thresholds.alpha))
    found += [(kind, name, i, 1) for kind, name, i in rows]
    if "feature_genes" in atlas.tables:
        sql = (
            "SELECT DISTINCT t.name, g.id FROM feature_genes g JOIN terms t ON t.term = g.gene "
            f"WHERE g.id {own} AND g.rank <= ? ORDER BY 1, 2"
        )
        rows = atlas.select(sql, (ids, LISTED))
        found += [(GENE, name, identifier, 1) for name, identifier in rows]
    return found


def chosen(degrees: dict[int, int], most: int = FEATURES) -> set[int]:
    """The features with most edges, of each layer as many as of the others, as far as it has so
    many."""
    layers: dict[int, list[int]] = defaultdict(list)
    for identifier in sorted(degrees, key=lambda i: (-degrees[i], i)):
        layers[identifier // LAYER_STRIDE].append(identifier)
    turn = [(place, layer) for layer, of in layers.items() for place in range(len(of))]
    return {layers[layer][place] for place, layer in sorted(turn)[:most]}


def rewired_ranks(joined: sp.csr_matrix, kind: np.ndarray, count: int = REWIRINGS) -> Null:
    """Each feature's PageRank where edges are dealt out anew among the documents or terms of one
    kind, every node with as many as before: mean, and the middle 95 %.

    ``joined``: (sources, features) ones; ``kind``: int (sources,), in blocks.
    """
    blocks = [joined[kind == one] for one in np.unique(kind)]
    drawn = np.array(
        [
            pagerank(sp.vstack([curveball(b, SEED + i) for b in blocks], format="csr")).feature
            for i in range(count)
        ]
    )
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return Null(drawn.mean(0), low, high)


def _kinds(atlas: Atlas, edges: list[Edge]) -> list[str]:
    """Kinds of documents and terms that have an edge, in a fixed order."""
    found = {kind for kind, _, _, _ in edges}
    return [
        k for k in (atlas.declared.document, *(kind.name for kind in KINDS), GENE) if k in found
    ]


def _short(values: Any) -> list[float | None]:
    return [float(f"{v:.{DIGITS}g}") if np.isfinite(v) else None for v in np.asarray(values, float)]
