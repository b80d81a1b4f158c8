"""PageRank of a two-level graph, in which every edge leads from a sequence to a feature, has a
closed form: it is an affine function of the summed share of a feature in its sequences.

With N nodes, S sequences, damping d and x_f = Σ_s w_sf / Σ_f w_sf, the features pass nothing on, so
their mass returns evenly to all nodes. The fixed point is PR_s = c for every sequence and
PR_f = c (1 + d x_f), with c = 1 / (N + d S).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

DAMPING = 0.85
TOLERANCE = 1e-6
"""networkx's default, per node"""
ROUNDS = 100
"""networkx's default"""


class Ranks(NamedTuple):
    """PageRank of every node with an edge."""

    sequence: float
    """of each sequence: all have the same"""
    feature: np.ndarray
    """(m,) of each feature; NaN where it has no edge"""
    iterations: int | None
    """steps made; None for the closed form"""


class Iterated(NamedTuple):
    """Where the power iteration stood when it stopped: PR_f = ``sequence`` + d ``before`` x_f."""

    sequence: float
    before: float
    """the sequences' value one step earlier"""
    features: float
    """summed over features"""
    iterations: int


def shares(weights: sp.csr_matrix) -> np.ndarray:
    """(m,) x_f: a feature's share of the edge weight of each sequence, summed over the sequences
    of ``weights`` (sequences, m)."""
    sums = np.asarray(weights.sum(1), np.float64).ravel()
    scale = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)
    return np.bincount(
        weights.indices,
        np.repeat(scale, np.diff(weights.indptr)) * weights.data,
        minlength=weights.shape[1],
    )


def pagerank(weights: sp.csr_matrix, damping: float = DAMPING) -> Ranks:
    """The fixed point, in closed form. ``weights``: (sequences, m), positive where an edge is."""
    sequences, features, joined = _counted(weights)
    level = 1 / (sequences + features + damping * sequences)
    return Ranks(level, np.where(joined, level * (1 + damping * shares(weights)), np.nan), None)


def pagerank_iterated(weights: sp.csr_matrix, damping: float = DAMPING) -> Ranks:
    """What `networkx.pagerank` returns with its defaults: the power iteration from 1/N, stopped
    when the L1 change falls below N·1e-6, converged or not.

    Raises
    ------
    ValueError
        After 100 steps, where networkx raises too.
    """
    sequences, features, joined = _counted(weights)
    share = shares(weights)
    found = iterate(sequences, features, share[joined], damping=damping)
    values = found.sequence + damping * found.before * share
    return Ranks(found.sequence, np.where(joined, values, np.nan), found.iterations)


def iterate(
    sequences: int,
    features: int,
    share: np.ndarray | None = None,
    *,
    damping: float = DAMPING,
    tolerance: float = TOLERANCE,
) -> Iterated:
    """The power iteration as a recursion in two numbers: the value s of a sequence and the mass M
    of all features.

    s' = (d M + 1 - d) / N and M' = d S s + F s'. With ``share`` (F,), the x_f, the L1 change is
    networkx's; without it the features' change is |M' - M|, a lower bound that the counts alone
    give.
    """
    nodes = sequences + features
    previous, value, mass = 0.0, 1 / nodes, features / nodes
    for step in range(1, ROUNDS + 1):
        following = (damping * mass + 1 - damping) / nodes
        gained = damping * sequences * value + features * following
        if share is None:
            change = abs(gained - mass)
        else:
            change = np.abs(following - value + damping * (value - previous) * share).sum()
        change += sequences * abs(following - value)
        previous, value, mass = value, following, gained
        if change < nodes * tolerance:
            return Iterated(value, previous, mass, step)
    raise ValueError(f"PageRank did not settle within {ROUNDS} steps")


def log_ratio(first: np.ndarray, second: np.ndarray, offset: float = 1e-10) -> np.ndarray:
    """log10 of the ratio of two graphs' PageRank (m,), with the published offset; NaN where a
    feature is in one of them only.

    The graphs have different levels c, so a feature that is equally rare in both does not get 0.
    """
    return np.log10(first + offset) - np.log10(second + offset)


def _counted(weights: sp.csr_matrix) -> tuple[int, int, np.ndarray]:
    """Sequences and features with an edge, and which features those are."""
    joined = np.bincount(weights.indices, minlength=weights.shape[1]) > 0
    return int((np.diff(weights.indptr) > 0).sum()), int(joined.sum()), joined
