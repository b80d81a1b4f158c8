"""A random undirected graph with the same degrees: pairs of edges trade their ends."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

ROUNDS = 30
"""Rounds in which every edge is offered one trade; what is shared with the start no longer falls
after about twenty."""


def edge_swaps(graph: sp.csr_matrix, seed: int, rounds: int = ROUNDS) -> sp.csr_matrix:
    """The simple undirected graph of ``graph`` (n, n; symmetric, no loops) after ``rounds`` rounds
    of double edge swaps: int32 ones, every node with as many neighbors as before.

    In a round all edges are paired at random; a pair (a, b), (c, d) becomes (a, d), (c, b) unless
    that makes a loop, or one of the four is also an edge or an offer of another pair. A round
    leaves edges and offers together what they were, so that it is as likely as its undoing, and all
    graphs of these degrees become equally likely.
    Source: Maslov & Sneppen 2002, Science 296, 910; Fosdick et al. 2018, SIAM Review 60, 315.
    """
    rng = np.random.default_rng(seed)
    nodes = graph.shape[0]
    upper = sp.triu(graph, 1).tocoo()
    one, other = upper.row.astype(np.int64), upper.col.astype(np.int64)
    for _ in range(rounds):
        one, other = _round(one, other, nodes, rng)
    ones = np.ones(2 * len(one), np.int32)
    pairs = (np.concatenate([one, other]), np.concatenate([other, one]))
    swapped = sp.csr_matrix((ones, pairs), shape=graph.shape)
    swapped.sort_indices()
    return swapped


def _round(
    one: np.ndarray, other: np.ndarray, nodes: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One trade offered to every edge (with an odd number, one rests)."""
    order = rng.permutation(len(one))[: len(one) // 2 * 2].reshape(2, -1)
    turned = rng.random(order.shape[1]) < 0.5
    a, b = one[order[0]], other[order[0]]
    c = np.where(turned, other[order[1]], one[order[1]])
    d = np.where(turned, one[order[1]], other[order[1]])
    made = np.stack([_key(a, d, nodes), _key(c, b, nodes)])
    edges = _key(one, other, nodes)
    _, place, times = np.unique(
        np.concatenate([edges, made.ravel()]), return_inverse=True, return_counts=True
    )
    alone = times[place] == 1
    free = alone[order].all(0) & alone[len(edges) :].reshape(made.shape).all(0)
    kept = free & (a != d) & (c != b)
    one, other = one.copy(), other.copy()
    one[order[0][kept]], other[order[0][kept]] = a[kept], d[kept]
    one[order[1][kept]], other[order[1][kept]] = c[kept], b[kept]
    return one, other


def _key(one: np.ndarray, other: np.ndarray, nodes: int) -> np.ndarray:
    return np.asarray(np.minimum(one, other) * nodes + np.maximum(one, other))
