"""Which features an arm of the ablation removes: rankings, and random sets that match a target
set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

from petriscope.errors import UserError
from petriscope.probe.states import Codes


class Firing(NamedTuple):
    """How a dictionary fires on some tokens; arrays (m,)."""

    rate: np.ndarray
    """share of tokens on which the feature is active."""
    weight: np.ndarray
    """mean activation times decoder norm: how much it moves the residual stream on average."""


def as_matrix(codes: Codes, m: int) -> sp.csr_matrix:
    """Codes as a scipy CSR matrix (n, m)."""
    return sp.csr_matrix(
        (codes.values, codes.indices, codes.indptr), shape=(len(codes.indptr) - 1, m)
    )


def firing(codes: sp.csr_matrix, directions: np.ndarray) -> Firing:
    """Firing rate and decoder-weighted activation of codes (n, m) with directions (m, d)."""
    n = max(1, codes.shape[0])
    rate = np.bincount(codes.indices, minlength=codes.shape[1]) / n
    mean = np.bincount(codes.indices, codes.data, minlength=codes.shape[1]) / n
    return Firing(rate, mean * np.linalg.norm(directions, axis=1))


def usable_ks(ks: list[int], alive: int) -> list[int]:
    """The k of ``ks`` that leave features for a random set, capped at half of the alive ones; never
    empty."""
    cap = alive // 2
    if cap < 1:
        raise UserError(
            f"{alive} feature(s) are alive, a matched random set needs as many again",
            field="ablation.ks",
            remedy="Train the autoencoder longer.",
        )
    return sorted({min(k, cap) for k in ks})


def matched_sets(
    target: np.ndarray, stats: Firing, sets: int, seed: int, *, neighbours: int = 5
) -> np.ndarray:
    """(sets, k) random feature sets that match ``target`` (k,) one to one on log firing rate and
    log weight.

    Each set is a least-cost assignment of alive features outside the target to the target's, where
    a pair costs its squared distance plus an exponential draw scaled to the squared distance of the
    ``neighbours``-th nearest: sets differ among near matches, and a feature without counterpart in
    the target (one that carries much of the residual stream, say) is not drawn while others are
    free. Raises `UserError` where fewer alive features remain than the target has.
    """
    alive = np.flatnonzero(stats.rate > 0)
    pool = np.setdiff1d(alive, target)
    if len(pool) < len(target):
        raise UserError(
            f"{len(target)} features are to be matched but only {len(pool)} other features are "
            f"alive",
            field="ablation.ks",
            remedy="Choose smaller k.",
        )
    axes = np.log(np.stack([np.maximum(values, values[alive].min()) for values in stats], axis=1))
    axes = (axes - axes[alive].mean(0)) / np.where(axes[alive].std(0) > 0, axes[alive].std(0), 1.0)
    cost = ((axes[target][:, None] - axes[pool][None]) ** 2).sum(2)
    near = np.partition(cost, min(neighbours, len(pool)) - 1, axis=1)[
        :, min(neighbours, len(pool)) - 1
    ]
    scale = max(float(np.median(near)), np.finfo(float).tiny)
    rng = np.random.default_rng(seed)
    drawn = [
        linear_sum_assignment(cost + scale * rng.exponential(size=cost.shape))[1]
        for _ in range(sets)
    ]
    return pool[np.stack(drawn)]
