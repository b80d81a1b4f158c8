"""Steering in vitro rows toward in vivo: add a direction, scale features, or swap states, and
measure the gap left."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from petriscope.causal.directions import Replacement
from petriscope.causal.feature_sets import as_matrix
from petriscope.contrast.effects import bootstrap_counts, expanded_percentiles
from petriscope.errors import UserError
from petriscope.probe.model import Edit
from petriscope.probe.states import Dictionary, Resumable, States, predict, predict_edited


class Pairs(NamedTuple):
    """In vitro rows and the in vivo rows they should become: same window and lineage, row by
    row."""

    vitro: States
    vivo: States

    def check(self) -> Pairs:
        """Return self if the rows pair up."""
        for name in ("window", "lineage"):
            if not np.array_equal(
                getattr(self.vitro.labels, name), getattr(self.vivo.labels, name)
            ):
                raise UserError(
                    f"the rows differ in {name}",
                    field="steering",
                    remedy="Pair rows of the same window.",
                )
        return self

    def only(self, lineage: str) -> Pairs:
        """The rows of one lineage."""
        rows = self.vitro.labels.lineage == lineage
        return Pairs(self.vitro.subset(rows), self.vivo.subset(rows))


class Gaps(NamedTuple):
    """L1 distances over the read bins, per row (N,)."""

    remaining: np.ndarray
    """of the steered from the in vivo prediction."""
    gap: np.ndarray
    """of the in vitro from the in vivo prediction."""
    beyond: np.ndarray
    """how far the steered prediction lies beyond the in vivo one, seen from the in vitro one."""


class Closure(NamedTuple):
    """Gap closure with its block-bootstrap 95 % limits."""

    value: float
    low: float
    high: float


def gaps(steered: np.ndarray, pairs: Pairs) -> Gaps:
    """L1 distances of ``steered`` (N, T') and of the in vitro prediction from the in vivo
    prediction."""
    read = pairs.vitro.read
    target, start = (
        pairs.vivo.prediction.astype(np.float64),
        pairs.vitro.prediction.astype(np.float64),
    )
    beyond = np.maximum(0, (steered - target) * np.sign(target - start))
    return Gaps(
        *(
            np.where(read, part, 0).sum(1)
            for part in (np.abs(steered - target), np.abs(start - target), beyond)
        )
    )


def gap_closure(remaining: np.ndarray, gap: np.ndarray) -> float:
    """GC = 1 - sum of what remains / sum of the gap, over rows; NaN where there is no gap."""
    total = float(gap.sum())
    return 1 - float(remaining.sum()) / total if total > 0 else float("nan")


def closure_interval(
    closed: np.ndarray, gap: np.ndarray, block: np.ndarray, *, resamples: int, seed: int
) -> Closure:
    """sum(closed)/sum(gap) over rows (N,), blocks resampled. ``closed`` = gap - remaining gives GC;
    the difference of two methods' remaining distances gives the difference of their GC."""
    names, index = np.unique(block, return_inverse=True)
    above, below = np.bincount(index, closed), np.bincount(index, gap)
    if not below.sum() > 0:
        return Closure(float("nan"), float("nan"), float("nan"))
    value = float(above.sum() / below.sum())
    if len(names) < 2:
        return Closure(value, float("nan"), float("nan"))
    counts = bootstrap_counts(len(names), resamples, seed)
    total = counts @ below
    low, high = expanded_percentiles((counts @ above)[total > 0] / total[total > 0], len(names))
    return Closure(value, float(low), float(high))


def steering_edit(vector: np.ndarray, alpha: float, crop: int) -> Edit:
    """The edit h' = h + alpha v at the predicted tokens; alpha = 0 returns the hidden state
    itself."""
    added = torch.from_numpy(np.asarray(alpha * vector, np.float32))

    def edit(hidden: Tensor) -> Tensor:
        if alpha == 0:
            return hidden
        edited = hidden.clone()
        edited[:, crop : hidden.shape[1] - crop] += added
        return edited

    return edit


def steer_added(model: Resumable, states: States, vector: np.ndarray, alpha: float) -> np.ndarray:
    """(N, T') prediction with alpha times ``vector`` (d,) added at every predicted token."""
    if alpha == 0 or not np.any(vector):
        return states.prediction.copy()
    return predict(model, states.layer, steering_edit(vector, alpha, states.crop)(states.hidden))


def steer_replaced(
    model: Resumable,
    states: States,
    replacement: Replacement,
    alpha: float,
    write: np.ndarray | None = None,
) -> np.ndarray:
    """(N, T') prediction with the context coordinate of every token moved ``alpha`` of the way to
    the in vivo mean.

    ``write`` (d,): another direction to move along by the same amount per token (its random
    counterpart).
    """
    read, along = (
        torch.from_numpy(np.asarray(part, np.float32))
        for part in (replacement.read, replacement.write)
    )
    if write is not None:
        along = torch.from_numpy(np.asarray(write, np.float32))
    offset = replacement.target + float(replacement.read @ replacement.centre)
    coordinate = offset - states.tokens() @ read
    return predict_edited(model, states, alpha * coordinate[:, None] * along)


class Scaling(NamedTuple):
    """Published steering: codes of ``up`` times ``alpha`` and of ``down`` times ``beta``."""

    up: np.ndarray
    down: np.ndarray
    alpha: float
    beta: float


def steer_scaled(
    model: Resumable, dictionary: Dictionary, states: States, scaling: Scaling
) -> np.ndarray:
    """(N, T') prediction of the published form: h is replaced by dec(z'), so the reconstruction
    error goes with it."""
    tokens = states.tokens()
    codes = dictionary.encode(tokens)
    directions = dictionary.directions.numpy()
    factor = np.zeros(len(directions), np.float32)
    factor[scaling.up], factor[scaling.down] = scaling.alpha - 1, scaling.beta - 1
    change = as_matrix(codes, len(directions)).multiply(factor[None]).tocsr() @ directions
    reconstruction = torch.from_numpy(dictionary.decode(codes) + np.asarray(change, np.float32))
    return predict_edited(model, states, reconstruction - tokens)


def reconstructed(model: Resumable, dictionary: Dictionary, states: States) -> np.ndarray:
    """(N, T') prediction with dec(enc(h)) in place of h: what the autoencoder alone does."""
    none = np.zeros(0, np.int64)
    return steer_scaled(model, dictionary, states, Scaling(none, none, 1.0, 1.0))


def swapped_features(
    model: Resumable, dictionary: Dictionary, pairs: Pairs, features: np.ndarray
) -> np.ndarray:
    """(N, T') prediction of the in vitro rows with the in vivo codes of ``features``, token by
    token, all else kept.

    h' = h + sum over f of (z_f in vivo - z_f in vitro) d_f: how much of the gap these features
    carry.
    """
    directions = dictionary.directions.numpy()
    vivo, vitro = (
        as_matrix(dictionary.encode(side.tokens()), len(directions)).tocsc()[:, features]
        for side in (pairs.vivo, pairs.vitro)
    )
    delta = (vivo - vitro).tocsr() @ directions[features]
    return predict_edited(model, pairs.vitro, torch.from_numpy(np.asarray(delta, np.float32)))


def swapped(model: Resumable, pairs: Pairs) -> np.ndarray:
    """(N, T') prediction of the in vitro rows with the in vivo state at the predicted tokens: the
    ceiling."""
    return predict_edited(model, pairs.vitro, pairs.vivo.tokens() - pairs.vitro.tokens())
