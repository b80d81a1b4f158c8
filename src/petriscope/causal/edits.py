"""Edits of the residual stream by features of a dictionary: what a set of features adds to each
token, and random sets that match a target set.

Codes are kept as sparse matrices on the host; products with the directions are made where the
stream lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from petriscope.errors import UserError
from petriscope.probe.states import Codes, Dictionary, States, to_host
from petriscope.sae.sparse import Pattern, on_host, weighted_rows


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


def encoded(dictionary: Dictionary, tokens: Tensor) -> Codes:
    """Codes of tokens (n, d), computed where the dictionary lies."""
    return dictionary.encode(tokens.to(dictionary.directions.device))


def combined(codes: sp.csr_matrix, directions: np.ndarray, like: Tensor) -> Tensor:
    """(n, d) float32 codes (n, k) times directions (k, d), on the device of ``like``."""
    if on_host(like):
        return torch.from_numpy(np.asarray(codes @ directions, np.float32))
    indptr, columns, values, table = (
        torch.from_numpy(np.ascontiguousarray(array, kind)).to(like.device)
        for array, kind in (
            (codes.indptr, np.int32),
            (codes.indices, np.int32),
            (codes.data, np.float32),
            (directions, np.float32),
        )
    )
    return weighted_rows(Pattern(indptr, columns, len(directions)), values, table)


@dataclass(frozen=True)
class Activity:
    """Tokens held at a layer, and how a dictionary fires on them."""

    tokens: Tensor
    """(n, d) on the device of the stream."""
    raw: Codes
    """As the dictionary made them, for its ``decode``."""
    directions: np.ndarray
    """(m, d)"""

    @classmethod
    def of(cls, dictionary: Dictionary, states: Sequence[States]) -> Activity:
        """Codes of all kept tokens of ``states``, in order."""
        tokens = torch.cat([part.tokens() for part in states])
        return cls(tokens, encoded(dictionary, tokens), to_host(dictionary.directions))

    @cached_property
    def codes(self) -> sp.csr_matrix:
        """(n, m)"""
        return as_matrix(self.raw, len(self.directions))

    @cached_property
    def columns(self) -> sp.csc_matrix:
        """The same by feature."""
        return self.codes.tocsc()

    @cached_property
    def firing(self) -> Firing:
        """Rate and weight of every feature."""
        return firing(self.codes, self.directions)

    def scaled(self, features: np.ndarray, factor: float) -> Tensor:
        """(n, d) sum over ``features`` of (factor - 1) z_f d_f: the error-preserving edit."""
        chosen = np.asarray(features, np.int64)
        added = self.columns[:, chosen].tocsr()
        return combined((factor - 1) * added, self.directions[chosen], self.tokens)

    def removed(self, features: np.ndarray) -> Tensor:
        """(n, d) dec(z') - dec(z) = minus the sum of z_f d_f over ``features`` (arXiv
        2403.19647)."""
        chosen = np.asarray(features, np.int64)
        added = self.columns[:, chosen].tocsr()
        return -combined(added, self.directions[chosen], self.tokens)

    def clamped(self, features: np.ndarray, value: float) -> Tensor:
        """(n, d) sum over ``features`` of (value - z_f) d_f: every token carries them at
        ``value``."""
        chosen = np.asarray(features, np.int64)
        constant = np.asarray(value * self.directions[chosen].sum(0), np.float32)
        return torch.from_numpy(constant).to(self.tokens.device) + self.removed(chosen)

    def column(self, feature: int) -> np.ndarray:
        """(n,) float32 activation of one feature."""
        return np.asarray(self.columns[:, [feature]].todense(), np.float32).ravel()


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
    target: np.ndarray, stats: Firing, sets: int, seed: int, *, neighbors: int = 5
) -> np.ndarray:
    """(sets, k) random feature sets that match ``target`` (k,) one to one on log firing rate and
    log weight.

    Each set is a least-cost assignment of alive features outside the target to the target's, where
    a pair costs its squared distance plus an exponential draw scaled to the squared distance of the
    ``neighbors``-th nearest: sets differ among near matches, and a feature without counterpart in
    the target (one that carries much of the residual stream, say) is not drawn while others are
    free. Raises `UserError` where fewer alive features remain than the target has.
    """
    alive = np.flatnonzero(stats.rate > 0)
    pool = np.setdiff1d(alive, target)
    if len(pool) < len(target):
        raise UserError(
            f"{len(target)} features are to be matched but only {len(pool)} other features are "
            f"alive",
            field="features",
            remedy="Choose fewer of them, a smaller k.",
        )
    axes = np.log(np.stack([np.maximum(values, values[alive].min()) for values in stats], axis=1))
    axes = (axes - axes[alive].mean(0)) / np.where(axes[alive].std(0) > 0, axes[alive].std(0), 1.0)
    cost = ((axes[target][:, None] - axes[pool][None]) ** 2).sum(2)
    near = np.partition(cost, min(neighbors, len(pool)) - 1, axis=1)[
        :, min(neighbors, len(pool)) - 1
    ]
    scale = max(float(np.median(near)), np.finfo(float).tiny)
    rng = np.random.default_rng(seed)
    drawn = [
        linear_sum_assignment(cost + scale * rng.exponential(size=cost.shape))[1]
        for _ in range(sets)
    ]
    return pool[np.stack(drawn)]
