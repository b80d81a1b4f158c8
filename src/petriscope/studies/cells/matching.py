"""Random sets of genes that resemble a given one, gene by gene: the null of a set's statistic."""

from __future__ import annotations

import numpy as np

NEIGHBORS = 10
"""genes among which each member's counterpart is drawn"""
_TRIES = 50


def matched_genes(
    members: np.ndarray,
    axes: np.ndarray,
    pool: np.ndarray,
    draws: int,
    seed: int,
    *,
    neighbors: int = NEIGHBORS,
) -> np.ndarray:
    """(draws, k) genes of ``pool``, without the members, that match ``members`` (k,) one to one.

    axes: (G, a) what to match on. A counterpart is one of the ``neighbors`` nearest by Euclidean
    distance on axes in units of their spread over the pool (of more, where the set is larger); no
    gene stands twice in a set. Raises ValueError where the pool holds fewer genes than the set.
    """
    pool = np.setdiff1d(pool, members)
    if len(pool) < len(members):
        raise ValueError(f"{len(members)} genes are to be matched by {len(pool)}")
    spread = axes[pool].std(0)
    scaled = axes / np.where(spread > 0, spread, 1.0)
    distance = ((scaled[members][:, None] - scaled[pool][None]) ** 2).sum(2)
    width = min(len(pool), max(neighbors, 2 * len(members)))
    near = np.argsort(distance, axis=1, kind="stable")[:, :width]
    rng = np.random.default_rng(seed)
    drawn = near[np.arange(len(members)), rng.integers(0, width, (draws, len(members)))]
    for _ in range(_TRIES):
        again = _repeated(drawn)
        if not again.any():
            break
        row, column = np.nonzero(again)
        drawn[row, column] = near[column, rng.integers(0, width, len(row))]
    for left in np.flatnonzero(_repeated(drawn).any(1)):
        drawn[left] = _in_turn(near, rng)
    return pool[drawn]


def _repeated(drawn: np.ndarray) -> np.ndarray:
    """Where a row names what it named further left."""
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered = np.take_along_axis(drawn, order, axis=1)
    same = np.zeros(drawn.shape, bool)
    same[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    found = np.zeros(drawn.shape, bool)
    np.put_along_axis(found, order, same, axis=1)
    return found


def _in_turn(near: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One set, member after member, in random order, each from those that are left."""
    found = np.full(len(near), -1)
    for member in rng.permutation(len(near)):
        left = np.setdiff1d(near[member], found[found >= 0])
        found[member] = rng.choice(left)
    return found


def share_as_large(null: np.ndarray, observed: float) -> float:
    """(1 + draws at least as large) / (1 + draws): one-sided p of a permutation or matched null."""
    return (1 + int((null >= observed).sum())) / (1 + len(null))
