"""Features are compared with each other: decoder cosine within and across layers, correlation of
firing, modules of co-firing."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import scipy.sparse as sp

MODULE_EDGE = 0.2
"""Least firing correlation that joins two features in the graph whose communities are the
modules."""


def nearest_decoders(
    decoder: np.ndarray, other: np.ndarray, *, same: bool, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ``other`` (n', d) with the highest cosine to each row of ``decoder`` (n, d); a row is
    not its own neighbor.

    Returns indices int64 and cosines float32, both (n, min(count, candidates)), falling.
    """
    cosine = _unit(decoder) @ _unit(other).T
    candidates = cosine.shape[1]
    if same:
        np.fill_diagonal(cosine, -2)
        candidates -= 1
    best = np.argsort(-cosine, axis=1, kind="stable")[:, : min(count, max(candidates, 0))]
    return best, np.take_along_axis(cosine, best, axis=1)


def firing_correlation(counts: sp.csr_matrix, tokens: int) -> sp.csr_matrix:
    """Pearson correlation (phi) of two features' firing over ``tokens`` tokens, for pairs that ever
    fire together.

    counts: int (m, m) of `petriscope.sae.codes.coactivation`, the diagonal each feature's own
    count. Returns float64 (m, m), symmetric, without diagonal; pairs that never meet (their phi is
    at most 0) are not stored.
    """
    pairs = counts.tocoo()
    own = counts.diagonal().astype(np.float64)
    off = (pairs.row != pairs.col) & (pairs.data > 0)
    row, column, both = pairs.row[off], pairs.col[off], pairs.data[off].astype(np.float64)
    spread = own[row] * (tokens - own[row]) * own[column] * (tokens - own[column])
    phi = np.divide(
        tokens * both - own[row] * own[column],
        np.sqrt(spread),
        out=np.zeros(len(both)),
        where=spread > 0,
    )
    return sp.csr_matrix((phi, (row, column)), shape=counts.shape)


def strongest_pairs(values: sp.csr_matrix, count: int) -> pd.DataFrame:
    """Columns feature, other, value: the ``count`` largest positive entries of each row,
    falling."""
    pairs = values.tocoo()
    frame = pd.DataFrame({"feature": pairs.row, "other": pairs.col, "value": pairs.data})
    frame = frame[frame.value > 0].sort_values(
        ["feature", "value", "other"], ascending=[True, False, True]
    )
    return frame.groupby("feature", sort=False).head(count).reset_index(drop=True)


def modules(correlation: sp.csr_matrix, *, edge: float = MODULE_EDGE, seed: int = 0) -> np.ndarray:
    """Module of each feature, int64 (m): 1, 2, … from the largest, 0 for a feature that co-fires
    with none.

    Louvain communities (Blondel et al. 2008, J. Stat. Mech. P10008; networkx) of the graph of
    correlations above ``edge``, weighted by them.
    """
    pairs = sp.triu(correlation, k=1).tocoo()
    strong = pairs.data > edge
    graph = nx.Graph()
    graph.add_weighted_edges_from(
        zip(
            pairs.row[strong].tolist(),
            pairs.col[strong].tolist(),
            pairs.data[strong].tolist(),
            strict=True,
        )
    )
    found = sorted(
        nx.community.louvain_communities(graph, seed=seed), key=lambda part: (-len(part), min(part))
    )
    result = np.zeros(correlation.shape[0], np.int64)
    for number, members in enumerate(found, start=1):
        result[list(members)] = number
    return result


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
