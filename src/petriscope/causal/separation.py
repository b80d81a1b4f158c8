"""How well a few latents tell contexts apart on tokens nobody has seen: one score from all, its
AUROC by blocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from petriscope.contrast.effects import bootstrap_counts, expanded_percentiles


class Interval(NamedTuple):
    """An estimate with its block-bootstrap 95 % limits; NaN limits with one block."""

    value: float
    low: float
    high: float


def discriminant(codes: sp.csr_matrix, vivo: np.ndarray, *, ridge: float = 1e-2) -> np.ndarray:
    """(k,) weights of the ridge discriminant of latents (n, k): (C + ridge tr(C)/k I)^-1 (mean in
    vivo - mean in vitro).

    C is the covariance within contexts, ``vivo`` (n,) bool.
    """
    k = codes.shape[1]
    sides = [codes[np.flatnonzero(vivo == side)] for side in (True, False)]
    means = [np.asarray(side.mean(0)).ravel() for side in sides]
    within = np.zeros((k, k))
    for side, mean in zip(sides, means):
        within += (side.T @ side).toarray() - side.shape[0] * np.outer(mean, mean)
    within /= max(1, codes.shape[0] - 2)
    trace = float(np.trace(within))
    return np.linalg.solve(
        within + (ridge * trace / k if trace > 0 else 1.0) * np.eye(k), means[0] - means[1]
    )


def block_auroc(
    score: np.ndarray, positive: np.ndarray, block: np.ndarray, *, resamples: int, seed: int
) -> Interval:
    """AUROC of ``score`` (n,) for ``positive`` (n,) bool, ties counted half; whole blocks (n,) are
    resampled."""
    names, index = np.unique(block, return_inverse=True)
    order = np.argsort(score, kind="stable")
    ranked, hit, where = score[order], positive[order], index[order]
    first = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))

    def area(counts: np.ndarray) -> np.ndarray:
        weight = counts[:, where]
        ones = np.add.reduceat(np.where(hit, weight, 0.0), first, axis=1)
        zeros = np.add.reduceat(np.where(hit, 0.0, weight), first, axis=1)
        below = np.cumsum(zeros, axis=1) - zeros / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((ones * below).sum(1) / (ones.sum(1) * zeros.sum(1)))

    value = float(area(np.ones((1, len(names))))[0])
    if len(names) < 2:
        return Interval(value, float("nan"), float("nan"))
    drawn = bootstrap_counts(len(names), resamples, seed)
    areas = np.concatenate([area(drawn[at : at + 50]) for at in range(0, resamples, 50)])
    low, high = expanded_percentiles(areas[np.isfinite(areas)], len(names))
    return Interval(value, float(low), float(high))
