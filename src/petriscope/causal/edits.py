"""An edit of the residual stream removes, adds, scales or replaces what features or directions
carry, and is read in what the model then predicts: the effect of a set of features beside random
sets that match it, the gap that steering toward the target leaves, the loss recovered where a
reconstruction takes the place of the stream.

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

from petriscope.causal.directions import Replacement
from petriscope.contrast.effects import bootstrap_counts, expanded_percentiles
from petriscope.errors import UserError
from petriscope.probe.model import Edit, ProbedModel
from petriscope.probe.states import Codes, Dictionary, States, predict, predict_edited, to_host
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


class LossRecovered(NamedTuple):
    """Mean Poisson loss on the read (masked) bins under four residual streams at one layer."""

    model: float
    """h untouched"""
    spliced: float
    """ĥ = dec(enc(h)) at every predicted token"""
    zero: float
    """0 there: zero-ablation"""
    mean: float
    """the mean hidden state there: mean-ablation, which leaves only what tells tokens apart to be
    recovered"""

    @property
    def over_zero(self) -> float:
        """(zero − spliced) / (zero − model): 1 where ĥ serves as well as h; NaN where ablation
        costs nothing."""
        return _share(self.zero, self.spliced, self.model)

    @property
    def over_mean(self) -> float:
        """The same from mean-ablation: the stricter of the two where the stream's mean is large."""
        return _share(self.mean, self.spliced, self.model)


def loss_recovered(
    model: ProbedModel, dictionary: Dictionary, states: States, target: np.ndarray, mean: np.ndarray
) -> LossRecovered:
    """Loss of ``states`` (N rows held at one layer) as they are, reconstructed, zeroed, and set to
    the mean.

    target (N, T') unmasked accessibility per bin; mean (d) mean hidden state of predicted tokens.
    Loss recovered as in arXiv 2404.16014 (section 4) and, from mean-ablation, arXiv 2403.19647.
    """
    tokens = states.tokens()
    reconstruction = torch.from_numpy(dictionary.decode(encoded(dictionary, tokens)))
    spliced = predict_edited(model, states, reconstruction.to(tokens.device) - tokens)
    ablated, where = {}, states.where()
    for name, value in (
        ("zero", np.zeros(tokens.shape[1], np.float32)),
        ("mean", np.asarray(mean, np.float32)),
    ):
        hidden = states.hidden.clone()
        hidden[where] = torch.from_numpy(value).to(hidden.device)
        ablated[name] = predict(model, states.layer, hidden)
    losses = [
        masked_poisson(prediction, target, states.read)
        for prediction in (states.prediction, spliced, ablated["zero"], ablated["mean"])
    ]
    return LossRecovered(*losses)


def masked_poisson(prediction: np.ndarray, target: np.ndarray, read: np.ndarray) -> float:
    """Mean of ŷ − y·ln ŷ over read bins, as in pre-training (float64; ŷ below 1e-7 counts as 1e-7).
    All (N, T')."""
    guess = np.maximum(prediction[read].astype(np.float64), 0.0)
    return float(np.mean(guess - target[read].astype(np.float64) * np.log(guess + 1e-7)))


def _share(ablated: float, spliced: float, whole: float) -> float:
    return (ablated - spliced) / (ablated - whole) if ablated > whole else float("nan")
