"""A random graph with the same degrees: pairs of sequences trade the features that only one of them
has."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

TRADES = 12
"""Rounds in which every sequence trades once; what is shared with the start no longer falls after
about ten."""


def curveball(weights: sp.csr_matrix, seed: int, trades: int = TRADES) -> sp.csr_matrix:
    """The graph of ``weights`` (sequences, m) after ``trades`` rounds: int32 ones, every sequence
    and every feature with as many edges as before.

    In a round all sequences are paired at random; what both of a pair have stays, the rest is dealt
    out anew, each getting as many as it had. Source: Strona et al. 2014, Nature Communications 5,
    4114; rounds of all pairs at once after Carstens, Hamann, Meyer et al. 2018 (global curveball).
    """
    rng = np.random.default_rng(seed)
    rows, m = weights.shape
    sequence = np.repeat(np.arange(rows), np.diff(weights.indptr))
    feature = weights.indices.astype(np.int64)
    for _ in range(trades):
        sequence, feature = _round(sequence, feature, rows, m, rng)
    ones = np.ones(len(sequence), np.int32)
    found = sp.csr_matrix((ones, (sequence, feature)), shape=weights.shape)
    found.sort_indices()
    return found


def _round(
    sequence: np.ndarray, feature: np.ndarray, rows: int, m: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One trade of every sequence (with an odd number, one rests). Sorting whole numbers that hold
    pair, feature and side is several times faster than sorting an index."""
    shuffled = rng.permutation(rows)  # places 2i and 2i + 1 are a pair
    place = np.empty(rows, np.int64)
    place[shuffled] = np.arange(rows)
    at = place[sequence]
    key = np.sort(((at >> 1) * m + feature) * 2 + (at & 1))
    side, (pair, feature) = key & 1, np.divmod(key >> 1, m)
    twin = key[1:] >> 1 == key[:-1] >> 1
    free = np.flatnonzero(~(np.r_[False, twin] | np.r_[twin, False]))
    # within each pair the owners of the free features are dealt out in random order
    drawn = rng.integers(0, 1 << 30, len(free))
    side[free] = np.sort((pair[free] << 31) | (drawn << 1) | side[free]) & 1
    return shuffled[pair * 2 + side], feature
