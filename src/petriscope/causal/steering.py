"""Steering rows of the reference condition toward the target: add a direction, scale features, or
swap states, and measure the gap left."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from petriscope.causal.directions import Replacement
from petriscope.causal.edits import Activity, combined
from petriscope.contrast.effects import bootstrap_counts, expanded_percentiles
from petriscope.errors import UserError
from petriscope.probe.model import Edit, ProbedModel
from petriscope.probe.states import Dictionary, States, predict_edited


class Pairs(NamedTuple):
    """Reference rows and the target rows they should become: same window and stratum, row by
    row."""

    reference: States
    target: States

    def check(self) -> Pairs:
        """Return self if the rows pair up."""
        for name in ("window", "stratum"):
            if not np.array_equal(
                getattr(self.reference.labels, name), getattr(self.target.labels, name)
            ):
                raise UserError(
                    f"the rows differ in {name}",
                    field="steering",
                    remedy="Pair rows of the same window.",
                )
        return self

    def only(self, stratum: str) -> Pairs:
        """The rows of one stratum."""
        rows = self.reference.labels.stratum == stratum
        return Pairs(self.reference.subset(rows), self.target.subset(rows))


class Gaps(NamedTuple):
    """L1 distances over what is read, per row (N,)."""

    remaining: np.ndarray
    """of the steered from the target prediction."""
    gap: np.ndarray
    """of the reference from the target prediction."""
    beyond: np.ndarray
    """how far the steered prediction lies beyond the target one, seen from the reference one."""


class Closure(NamedTuple):
    """Gap closure with its block-bootstrap 95 % limits."""

    value: float
    low: float
    high: float


def gaps(steered: np.ndarray, pairs: Pairs) -> Gaps:
    """L1 distances of ``steered`` (N, T') and of the reference prediction from the target
    prediction."""
    return distances(
        steered, pairs.reference.prediction, pairs.target.prediction, pairs.reference.read
    )


def distances(steered: np.ndarray, start: np.ndarray, target: np.ndarray, read: np.ndarray) -> Gaps:
    """`Gaps` of predictions (N, ...) where ``read`` (their leading axes) holds."""
    target, start = target.astype(np.float64), start.astype(np.float64)
    read = read.reshape(read.shape + (1,) * (start.ndim - read.ndim))
    beyond = np.maximum(0, (steered - target) * np.sign(target - start))
    return Gaps(
        *(
            np.where(read, part, 0).reshape(len(start), -1).sum(1)
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


def steering_edit(vector: np.ndarray, alpha: float, kept: np.ndarray) -> Edit:
    """The edit h' = h + alpha v at the ``kept`` tokens (N, T); alpha = 0 returns the hidden state
    itself."""
    added = torch.from_numpy(np.asarray(alpha * vector, np.float32))

    def edit(hidden: Tensor) -> Tensor:
        if alpha == 0:
            return hidden
        edited = hidden.clone()
        edited[torch.from_numpy(kept).to(hidden.device)] += added.to(hidden.device)
        return edited

    return edit


def steer_added(model: ProbedModel, states: States, vector: np.ndarray, alpha: float) -> np.ndarray:
    """(N, ...) prediction with alpha times ``vector`` (d,) added at every kept token."""
    if alpha == 0 or not np.any(vector):
        return states.prediction.copy()
    added = torch.from_numpy(np.asarray(alpha * vector, np.float32))
    return predict_edited(model, states, added.expand(int(states.kept.sum()), -1))


def steer_replaced(
    model: ProbedModel,
    states: States,
    replacement: Replacement,
    alpha: float,
    write: np.ndarray | None = None,
) -> np.ndarray:
    """(N, T') prediction with the condition's coordinate of every token moved ``alpha`` of the way
    to the target mean.

    ``write`` (d,): another direction to move along by the same amount per token (its random
    counterpart).
    """
    tokens = states.tokens()
    read, along = (
        torch.from_numpy(np.asarray(part, np.float32)).to(tokens.device)
        for part in (replacement.read, replacement.write if write is None else write)
    )
    offset = replacement.target + float(replacement.read @ replacement.center)
    coordinate = offset - tokens @ read
    return predict_edited(model, states, alpha * coordinate[:, None] * along)


class Scaling(NamedTuple):
    """Published steering: codes of ``up`` times ``alpha`` and of ``down`` times ``beta``."""

    up: np.ndarray
    down: np.ndarray
    alpha: float
    beta: float


def steer_scaled(
    model: ProbedModel, dictionary: Dictionary, states: States, scaling: Scaling
) -> np.ndarray:
    """(N, T') prediction of the published form: h is replaced by dec(z'), so the reconstruction
    error goes with it."""
    activity = Activity.of(dictionary, [states])
    factor = np.zeros(len(activity.directions), np.float32)
    factor[scaling.up], factor[scaling.down] = scaling.alpha - 1, scaling.beta - 1
    scaled = activity.codes.multiply(factor[None]).tocsr()
    change = combined(scaled, activity.directions, activity.tokens)
    decoded = torch.from_numpy(dictionary.decode(activity.raw)).to(change.device)
    return predict_edited(model, states, decoded + change - activity.tokens)


def reconstructed(model: ProbedModel, dictionary: Dictionary, states: States) -> np.ndarray:
    """(N, T') prediction with dec(enc(h)) in place of h: what the autoencoder alone does."""
    none = np.zeros(0, np.int64)
    return steer_scaled(model, dictionary, states, Scaling(none, none, 1.0, 1.0))


def swapped_features(
    model: ProbedModel, dictionary: Dictionary, pairs: Pairs, features: np.ndarray
) -> np.ndarray:
    """(N, T') prediction of the reference rows with the target's codes of ``features``, token by
    token, all else kept.

    h' = h + sum over f of (z_f target - z_f reference) d_f: how much of the gap these features
    carry.
    """
    target, reference = (
        Activity.of(dictionary, [side]) for side in (pairs.target, pairs.reference)
    )
    difference = (target.columns[:, features] - reference.columns[:, features]).tocsr()
    delta = combined(difference, reference.directions[features], reference.tokens)
    return predict_edited(model, pairs.reference, delta)


def swapped(model: ProbedModel, pairs: Pairs) -> np.ndarray:
    """(N, T') prediction of the reference rows with the target state at the kept tokens: the
    ceiling."""
    return predict_edited(model, pairs.reference, pairs.target.tokens() - pairs.reference.tokens())
