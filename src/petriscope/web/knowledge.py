"""The graph of features with the terms they are enriched for and the documents they fire in, and
each node's PageRank beside that of rewired graphs."""

from __future__ import annotations

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
    edges = edges_of(atlas)
    if not edges:
        return None
    strongest = chosen(edges)
    kept = [edge for edge in edges if edge[2] in strongest]
    features = sorted(strongest)
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
        "features": len({identifier for _, _, identifier, _ in edges}),
    }


def edges_of(atlas: Atlas) -> list[Edge]:
    """Documents with the tokens on which a feature fires in them, terms for which it is enriched
    (weight 1) and the first genes of its list (1), in a fixed order."""
    found: list[Edge] = []
    if atlas.has_graph:
        sql = (
            "SELECT d.name, e.id, e.tokens FROM edges e JOIN documents d ON "
            "d.document = e.document ORDER BY d.name, e.id"
        )
        word = atlas.declared.document
        found += [
            (word, name, identifier, tokens) for name, identifier, tokens in atlas.select(sql)
        ]
    sql = (
        "SELECT DISTINCT t.kind, t.name, a.id FROM annotations a JOIN terms t ON t.term = a.term "
        "WHERE t.kind <> 'gene' AND NOT COALESCE(a.q, 0) >= ? ORDER BY 1, 2, 3"
    )
    alpha = atlas.thresholds.alpha
    found += [(kind, name, i, 1) for kind, name, i in atlas.select(sql, (alpha,))]
    if "feature_genes" in atlas.tables:
        sql = (
            "SELECT DISTINCT t.name, g.id FROM feature_genes g JOIN terms t ON t.term = g.gene "
            "WHERE g.rank <= ? ORDER BY 1, 2"
        )
        found += [(GENE, name, identifier, 1) for name, identifier in atlas.select(sql, (LISTED,))]
    return found


def chosen(edges: list[Edge], most: int = FEATURES) -> set[int]:
    """The features with most edges, of each layer as many as of the others, as far as it has so
    many."""
    degree: dict[int, int] = defaultdict(int)
    for _, _, identifier, _ in edges:
        degree[identifier] += 1
    layers: dict[int, list[int]] = defaultdict(list)
    for identifier in sorted(degree, key=lambda i: (-degree[i], i)):
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
