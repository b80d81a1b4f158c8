"""Which features an arm of the ablation removes: rankings, and random sets that match a target set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from petriscope.causal.states import Codes
from petriscope.errors import UserError


class Firing(NamedTuple):
    """How a dictionary fires on some tokens; arrays (m,)."""

    rate: np.ndarray
    """share of tokens on which the feature is active."""
    weight: np.ndarray
    """mean activation times decoder norm: how much it moves the residual stream on average."""


def as_matrix(codes: Codes, m: int) -> sp.csr_matrix:
    """Codes as a scipy CSR matrix (n, m)."""
    return sp.csr_matrix((codes.values, codes.indices, codes.indptr), shape=(len(codes.indptr) - 1, m))


def firing(codes: sp.csr_matrix, directions: np.ndarray) -> Firing:
    """Firing rate and decoder-weighted activation of codes (n, m) with directions (m, d)."""
    n = max(1, codes.shape[0])
    rate = np.bincount(codes.indices, minlength=codes.shape[1]) / n
    mean = np.bincount(codes.indices, codes.data, minlength=codes.shape[1]) / n
    return Firing(rate, mean * np.linalg.norm(directions, axis=1))


def usable_ks(ks: list[int], alive: int) -> list[int]:
    """The k of ``ks`` that leave features for a random set, capped at half of the alive ones; never empty."""
    cap = alive // 2
    if cap < 1:
        raise UserError(
            f"{alive} feature(s) are alive, a matched random set needs as many again",
            field="ablation.ks",
            remedy="Train the autoencoder longer.",
        )
    return sorted({min(k, cap) for k in ks})


def matched_sets(target: np.ndarray, stats: Firing, sets: int, seed: int, *, neighbours: int = 12) -> np.ndarray:
    """(sets, k) random feature sets that match ``target`` (k,) one to one on log firing rate and log weight.

    Each target feature, in random order, is given one of its ``neighbours`` nearest alive features that are neither in
    the target nor taken. Raises `UserError` where fewer alive features remain than the target has.
    """
    alive = np.flatnonzero(stats.rate > 0)
    pool = np.setdiff1d(alive, target)
    if len(pool) < len(target):
        raise UserError(
            f"{len(target)} features are to be matched but only {len(pool)} other features are alive",
            field="ablation.ks",
            remedy="Choose smaller k.",
        )
    axes = np.log(np.stack([np.maximum(values, values[alive].min()) for values in stats], axis=1))
    axes = (axes - axes[alive].mean(0)) / np.where(axes[alive].std(0) > 0, axes[alive].std(0), 1.0)
    distance = np.linalg.norm(axes[target][:, None] - axes[pool][None], axis=2)
    nearest = np.argsort(distance, axis=1, kind="stable")
    rng = np.random.default_rng(seed)
    result = np.empty((sets, len(target)), np.int64)
    for row in result:
        taken = np.zeros(len(pool), bool)
        for i in rng.permutation(len(target)):
            free = nearest[i][~taken[nearest[i]]][:neighbours]
            chosen = rng.choice(free)
            taken[chosen] = True
            row[i] = pool[chosen]
    return result
