"""Leiden communities of a weighted graph: each maximizes modularity at a resolution, and no part of
one is loose."""

from __future__ import annotations

import graspologic_native
import numpy as np
import scipy.sparse as sp

MORE_ROUNDS = 10
"""Rounds of the whole algorithm where one leaves nodes that would gain by moving. A graph with
communities needs one; in one without, the first few still gain a few thousandths."""
SETTLED = 1e-4
"""Modularity still to be gained by moving single nodes, below which one round is enough."""

SMALL, TRIALS = 1000, 10
"""Entries of a graph so small that the best of so many runs is taken: a run takes a millisecond,
and in a sparse graph single runs end in optima of their own."""


def leiden(weights: sp.csr_matrix, resolution: float = 1.0, seed: int = 0) -> np.ndarray:
    """Community of each node, int64 (n,): 0, 1, ... from the largest, equal ones by their first
    node. A node without an edge is a community of its own.

    ``weights``: (n, n) symmetric, not negative; the diagonal is left out. ``resolution``: γ of
    `modularity`; more and smaller communities the larger it is. Deterministic for a seed.

    Source: Traag, Waltman & van Eck 2019, Scientific Reports 9, 5233 (graspologic-native's
    implementation; leidenalg's RBConfigurationVertexPartition maximizes the same).

    Raises
    ------
    ValueError
        Where a weight is negative or not finite.
    """
    plain = _plain(weights)
    if not plain.nnz:
        return np.arange(plain.shape[0])
    if plain.nnz < SMALL:
        return _from_largest(_once(plain, resolution, seed, MORE_ROUNDS, TRIALS))
    labels = _once(plain, resolution, seed, 1)
    if _to_gain(plain, labels, resolution) > SETTLED:
        labels = _once(plain, resolution, seed, MORE_ROUNDS)
    return _from_largest(labels)


def modularity(weights: sp.csr_matrix, labels: np.ndarray, resolution: float = 1.0) -> float:
    """Q = Σ_c [ w_c / 2m - γ (k_c / 2m)² ]: w_c the weight inside community c counted from both
    ends, k_c its nodes' summed strength, 2m all of it; 0 without edges.

    ``weights``: (n, n) symmetric, the diagonal is left out; ``labels``: int (n,), from 0.
    """
    plain = _plain(weights)
    total = plain.data.sum()
    if not total:
        return 0.0
    labels = np.asarray(labels)
    row = np.repeat(labels, np.diff(plain.indptr))
    inside = plain.data[row == labels[plain.indices]].sum()
    strength = np.bincount(row, plain.data)
    return float(inside / total - resolution * ((strength / total) ** 2).sum())


def cohesion(weights: sp.csr_matrix, labels: np.ndarray) -> np.ndarray:
    """w_ic / k_i - k_c / 2m, float64 (n,): the share of a node's weight that stays in its community
    c, less the share of all strength that c has; 0 for a node without an edge.

    Weighted by k_i its mean is `modularity` at resolution 1; arguments are the same.
    """
    plain, labels = _plain(weights), np.asarray(labels)
    row = np.repeat(np.arange(len(labels)), np.diff(plain.indptr))
    same = labels[row] == labels[plain.indices]
    strength = np.bincount(row, plain.data, len(labels))
    own = np.bincount(row[same], plain.data[same], len(labels))
    of_part = np.bincount(labels, strength)[labels] / max(strength.sum(), 1e-300)
    share = np.divide(own, strength, out=np.zeros(len(labels)), where=strength > 0)
    return np.where(strength > 0, share - of_part, 0.0)


def adjusted_rand(first: np.ndarray, second: np.ndarray) -> float:
    """Adjusted Rand index of two partitions (n,): 1 where they are the same, 0 on average where
    they have nothing in common (Hubert & Arabie 1985)."""
    first, second = (np.unique(one, return_inverse=True)[1] for one in (first, second))
    n, width = len(first), int(second.max(initial=0)) + 1
    together = np.unique(first * width + second, return_counts=True)[1]
    both, one, other = (
        _pairs(counts).sum() for counts in (together, np.bincount(first), np.bincount(second))
    )
    expected = one * other / max(_pairs(np.array(n)), 1.0)
    largest = (one + other) / 2
    return 1.0 if largest == expected else float((both - expected) / (largest - expected))


def _pairs(counts: np.ndarray) -> np.ndarray:
    counts = counts.astype(np.float64)
    return counts * (counts - 1) / 2


def _plain(weights: sp.csr_matrix) -> sp.csr_matrix:
    """As float64, without diagonal and zeros, columns ascending."""
    if len(weights.data) and not (np.isfinite(weights.data).all() and weights.data.min() >= 0):
        raise ValueError("weights of a graph are finite and not negative")
    plain = sp.csr_matrix(weights, dtype=np.float64)
    row = np.repeat(np.arange(plain.shape[0]), np.diff(plain.indptr))
    kept = (plain.indices != row) & (plain.data != 0)
    if not (kept.all() and plain.has_canonical_format):
        entries = (plain.data[kept], (row[kept], plain.indices[kept]))
        plain = sp.csr_matrix(entries, shape=plain.shape)
    return plain


def _once(
    plain: sp.csr_matrix, resolution: float, seed: int, rounds: int, trials: int = 1
) -> np.ndarray:
    """Labels (n,) after so many rounds, of the best of ``trials`` runs."""
    n = plain.shape[0]
    _, found = graspologic_native.leiden_csr(
        plain.indptr.astype(np.int64),
        plain.indices.astype(np.int32),
        plain.data,
        n,
        resolution=resolution,
        iterations=rounds,
        seed=seed,
        trials=trials,
    )
    labels = np.full(n, -1, np.int64)
    labels[list(found)] = list(found.values())
    alone = np.flatnonzero(np.diff(plain.indptr) == 0)
    labels[alone] = labels.max() + 1 + np.arange(len(alone))
    return labels


def _to_gain(plain: sp.csr_matrix, labels: np.ndarray, resolution: float) -> float:
    """Summed gain of modularity of the nodes that would gain by moving to another community, each
    moved alone."""
    total = plain.data.sum()
    n, parts = plain.shape[0], int(labels.max()) + 1
    member = sp.csr_matrix((np.ones(n), labels, np.arange(n + 1)), shape=(n, parts))
    to = sp.csr_matrix(plain @ member)  # weight from a node to a community
    strength = np.asarray(plain.sum(1)).ravel()
    of_part = np.bincount(labels, strength, minlength=parts)
    row = np.repeat(np.arange(n), np.diff(to.indptr))
    own = to.indices == labels[row]
    to_own = np.bincount(row[own], to.data[own], minlength=n)
    expected = resolution * strength / total
    stay = to_own - expected * (of_part[labels] - strength)
    move = np.where(own, -np.inf, to.data - expected[row] * of_part[to.indices])
    best = np.maximum.reduceat(move, to.indptr[:-1][np.diff(to.indptr) > 0])
    stay = stay[np.diff(to.indptr) > 0]
    return float(2 * np.maximum(best - stay, 0).sum() / total)


def _from_largest(labels: np.ndarray) -> np.ndarray:
    """The same partition with communities numbered by falling size, then by their first node."""
    _, first, number, size = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(size), np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    return rank[number]
