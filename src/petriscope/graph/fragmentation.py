"""A graph falls apart as its features are removed one after another; the whole curve is one pass
backwards."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.graph.bipartite import degrees, two_level
from petriscope.graph.centrality import shares


def removal_order(weights: sp.csr_matrix) -> np.ndarray:
    """Features with an edge by falling PageRank, the lower number first among equals.

    PageRank rises with a feature's summed share; shares that differ by rounding only are equal.
    """
    share = shares(weights)
    joined = np.flatnonzero(np.bincount(weights.indices, minlength=weights.shape[1]))
    return joined[np.lexsort((joined, -np.round(share[joined], 9)))]


def fragmentation(weights: sp.csr_matrix, order: np.ndarray) -> pd.DataFrame:
    """Columns removed, components, density, edges: after the first 0, 1, … features of
    ``order`` were removed, down to none.

    Components are the weakly connected ones, sequences left without a feature among them. Features
    are added in reverse order by union-find, which is Kruskal's algorithm on edges weighted by the
    place of their feature: the edges of its forest whose features are present number nodes minus
    components.
    """
    joined = np.flatnonzero(np.bincount(weights.indices, minlength=weights.shape[1]))
    if not np.array_equal(np.sort(order), joined):
        raise ValueError("the order does not name each feature with an edge once")
    sequences = int((degrees(weights)[0] > 0).sum())
    place = np.zeros(weights.shape[1], np.int64)
    place[order] = np.arange(len(order), 0, -1)  # added first: 1
    forest = sp.csgraph.minimum_spanning_tree(two_level(weights, place[weights.indices]))
    kept = np.bincount(forest.data.astype(np.int64), minlength=len(order) + 1)[1:].cumsum()
    edges = np.bincount(place[weights.indices], minlength=len(order) + 1)[1:].cumsum()
    kept, edges = np.r_[0, kept][::-1], np.r_[0, edges][::-1]
    removed = np.arange(len(order) + 1)
    nodes = sequences + len(order) - removed
    pairs = np.maximum(nodes * (nodes - 1), 1)
    return pd.DataFrame(
        {
            "removed": removed,
            "components": nodes - kept,
            "density": np.where(nodes > 1, edges / pairs, 0.0),
            "edges": edges,
        }
    )
