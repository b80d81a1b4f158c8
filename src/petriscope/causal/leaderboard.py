"""The leaderboard puts the autoencoder beside rival dictionaries (principal components, raw
neurons, a single direction) on one footing: held-out AUROC, ablation effect, steering beyond
chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from petriscope.causal.directions import (
    UnitMeans,
    linear_probe,
    mean_difference,
    of_length,
    random_like,
    sae_additive,
    two_sided,
    unit_means,
)
from petriscope.causal.edits import (
    Activity,
    Pairs,
    as_matrix,
    closure_interval,
    encoded,
    gap_closure,
    gaps,
    steer_added,
)
from petriscope.contrast.design import Design
from petriscope.contrast.effects import auroc_sparse, bootstrap_counts, expanded_percentiles
from petriscope.contrast.evidence import unit_evidence
from petriscope.contrast.inference import stouffer
from petriscope.parallel import in_processes
from petriscope.probe.model import ProbedModel
from petriscope.probe.states import Dictionary, States, predict_edited, to_host


class BasisCodes(NamedTuple):
    """Dense codes written as CSR, so that every causal test takes them."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class SignedBasis:
    """Orthonormal directions (c, d) about a center (d,); each gives two latents, its positive and
    its negative part.

    Latents 2i and 2i + 1 are max(0, (h - center) . v_i) with direction v_i and max(0, -(h - center)
    . v_i) with -v_i.
    """

    basis: Tensor
    center: Tensor

    def to(self, device: str | torch.device) -> SignedBasis:
        """The same basis on another device, where it then encodes."""
        return SignedBasis(self.basis.to(device), self.center.to(device))

    @property
    def directions(self) -> Tensor:
        """(2c, d)"""
        return torch.stack([self.basis, -self.basis], dim=1).reshape(-1, self.basis.shape[1])

    def encode(self, x: np.ndarray | Tensor) -> BasisCodes:
        """Codes of raw hidden states (n, d)."""
        given = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
        rows = (given.to(self.center.device).float() - self.center) @ self.basis.T
        dense = to_host(torch.stack([rows, -rows], dim=2).reshape(len(rows), -1).clamp_min(0))
        row, latent = np.nonzero(dense)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(dense)))]).astype(
            np.int64
        )
        return BasisCodes(indptr, latent.astype(np.int32), dense[row, latent])

    def decode(self, codes: BasisCodes) -> np.ndarray:
        """Reconstruction (n, d)."""
        n = len(codes.indptr) - 1
        dense = np.zeros((n, 2 * len(self.basis)), np.float32)
        dense[np.repeat(np.arange(n), np.diff(codes.indptr)), codes.indices] = codes.values
        return dense @ to_host(self.directions) + to_host(self.center)


def principal_components(rows: np.ndarray, count: int | None = None) -> SignedBasis:
    """Principal components of hidden states (n, d), by the eigenvectors of their covariance,
    largest first.

    The sign of a component is fixed by its largest entry, so that the same rows give the same
    bytes.
    """
    values = np.asarray(rows, np.float64)
    center = values.mean(0)
    _, vectors = np.linalg.eigh(np.cov(values, rowvar=False))
    basis = vectors.T[::-1][:count]
    largest = np.take_along_axis(basis, np.abs(basis).argmax(1)[:, None], axis=1)
    basis = basis * np.sign(largest)
    return SignedBasis(
        torch.from_numpy(basis.astype(np.float32)), torch.from_numpy(center.astype(np.float32))
    )


def raw_neurons(rows: np.ndarray) -> SignedBasis:
    """The coordinates of the residual stream themselves, centered on hidden states (n, d)."""
    center = np.asarray(rows, np.float64).mean(0).astype(np.float32)
    identity = np.eye(len(center), dtype=np.float32)
    return SignedBasis(torch.from_numpy(identity), torch.from_numpy(center))


def single_direction(direction: np.ndarray, rows: np.ndarray) -> SignedBasis:
    """One direction (d,), of any norm, as a dictionary of two latents centered on hidden states (n,
    d)."""
    unit = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    center = np.asarray(rows, np.float64).mean(0).astype(np.float32)
    return SignedBasis(torch.from_numpy(unit.astype(np.float32))[None], torch.from_numpy(center))


def condition_order(
    basis: SignedBasis, means: np.ndarray, target: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """(c,) directions by the size of the difference between conditions: |mean of the target units -
    mean of the others| along each, per unit of its standard deviation ``spread`` (c,). ``means``
    (S, d) per unit, ``target`` (S,) bool."""
    difference = (means[target].mean(0) - means[~target].mean(0)) @ to_host(basis.basis).T
    size = np.divide(np.abs(difference), spread, out=np.zeros_like(difference), where=spread > 0)
    return np.argsort(-size, kind="stable")


def divergent_components(rows: np.ndarray, unit: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(d, d) principal directions of hidden states (n, d), in `condition_order`; ``unit`` (n,),
    ``target`` (S,) bool."""
    basis = principal_components(rows)
    means = np.stack([rows[unit == s].mean(0) for s in range(len(target))])
    scale = ((rows - rows.mean(0)) @ to_host(basis.basis).T).std(0)
    return to_host(basis.basis)[condition_order(basis, means, target, scale)]


class Learning(NamedTuple):
    """Tokens that every entrant learns from; no read-out sees them."""

    hidden: np.ndarray
    """(n, d)"""
    unit: np.ndarray
    """(n,) row of the design"""
    design: Design

    def only(self, stratum: str) -> Learning:
        """The tokens and units of one stratum."""
        member = self.design.stratum_of == self.design.strata.index(stratum)
        rows = member[self.unit]
        return Learning(
            self.hidden[rows], (np.cumsum(member) - 1)[self.unit[rows]], self.design.only(stratum)
        )


def entrants(learning: Learning, autoencoders: Mapping[str, Dictionary]) -> dict[str, Dictionary]:
    """The autoencoders given (trained, frozen-decoder, ...) and the simple bases: principal
    components, raw neurons, the difference of means and the linear probe."""
    design, hidden = learning.design, learning.hidden
    means = unit_means(hidden, np.zeros((len(design.units), 1)), learning.unit, design)
    simple: dict[str, Dictionary] = {
        "pca": principal_components(hidden),
        "raw_neurons": raw_neurons(hidden),
        "difference_of_means": single_direction(mean_difference(means, design.strata), hidden),
        "linear_probe": single_direction(linear_probe(means, design.strata), hidden),
    }
    return dict(autoencoders) | simple


class Interval(NamedTuple):
    """An estimate with its block-bootstrap 95 % limits; NaN limits with one block."""

    value: float
    low: float
    high: float


def discriminant(codes: sp.csr_matrix, target: np.ndarray, *, ridge: float = 1e-2) -> np.ndarray:
    """(k,) weights of the ridge discriminant of latents (n, k): (C + ridge tr(C)/k I)^-1 (mean
    target - mean reference).

    C is the covariance within conditions, ``target`` (n,) bool.
    """
    k = codes.shape[1]
    sides = [codes[np.flatnonzero(target == side)] for side in (True, False)]
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


class Contest(NamedTuple):
    """The same test for all entrants."""

    k: int = 25
    alphas: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)
    """strengths in units of `UnitMeans.spread`, the same for every entrant"""
    random_draws: int = 10
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class LeaderboardNumbers:
    """What the claims say of the contest: means over strata."""

    untestable: str | None = None
    """why it was not run; None where it was"""
    layer: int | None = None
    entrants: list[dict[str, Any]] | None = None
    """name, auroc, effect and gc_minus_random of each entrant"""
    fvu: dict[str, float] | None = None
    """of each autoencoder"""
    best_auroc: str | None = None
    best_steering: str | None = None

    @classmethod
    def of(cls, board: pd.DataFrame, fvu: Mapping[str, float], layer: int) -> LeaderboardNumbers:
        """The numbers of `leaderboard`'s table."""
        measures = ["auroc", "effect", "gc_minus_random"]
        mean = board.groupby("entrant", sort=False)[measures].mean()
        return cls(
            layer=layer,
            entrants=[{"name": name} | row.to_dict() for name, row in mean.iterrows()],
            fvu=dict(fvu),
            best_auroc=str(mean["auroc"].idxmax()),
            best_steering=str(mean["gc_minus_random"].idxmax()),
        )


def leaderboard(
    model: ProbedModel,
    autoencoders: Mapping[str, Dictionary],
    learning: Learning,
    *,
    tune: Pairs,
    test: Pairs,
    contest: Contest,
) -> pd.DataFrame:
    """One row per (stratum, entrant): all is learned and read within the stratum, `entrants` of its
    own tokens included.

    An entrant's latents are ranked by the contrast on ``learning``; the first k are read on
    ``test``. Columns: stratum, entrant, latents, k; auroc: of the discriminant of the k latents
    (fitted on ``learning``) on test tokens, with block-bootstrap limits, and auroc_single: mean
    over the k latents, each in the direction learned (.5 = chance); effect: mean |change| of the
    prediction at the read bins when they are removed from the reference rows, shift: its part
    toward the target, each with limits, edit: mean norm of the removal per token, and
    effect_per_edit, their ratio; gc, gc_minus_random with limits: gap closure of the additive
    vector, alpha chosen on ``tune``. Strata without both conditions are left out.
    """
    jobs = []
    device = test.reference.hidden.device
    for stratum in two_sided(learning.design):
        if not (test.reference.labels.stratum == stratum).any():
            continue
        mine = learning.only(stratum)
        jobs += [
            (stratum, mine, name, entrant.to(device))
            for name, entrant in entrants(mine, autoencoders).items()
        ]

    def one(number: int) -> dict[str, object]:
        stratum, mine, name, entrant = jobs[number]
        pairs = {"tune": tune.only(stratum), "test": test.only(stratum)}
        return {"stratum": stratum, "entrant": name} | read_entrant(
            model, entrant, mine, contest=contest, **pairs
        )

    return pd.DataFrame(in_processes(one, range(len(jobs)), "leaderboard", unit="entrant"))


def read_entrant(
    model: ProbedModel,
    entrant: Dictionary,
    learning: Learning,
    *,
    tune: Pairs,
    test: Pairs,
    contest: Contest,
) -> dict[str, object]:
    """One entrant's row of `leaderboard`, over all strata that ``learning`` holds."""
    directions = to_host(entrant.directions)
    m = len(directions)
    codes = as_matrix(entrant.encode(learning.hidden), m)
    means = unit_means(
        learning.hidden, _latent_means(codes, learning), learning.unit, learning.design
    )
    score = _scores(means, learning.design)
    k = max(1, min(contest.k, m))
    chosen = np.argsort(-np.abs(score), kind="stable")[:k]
    weights = discriminant(codes[:, chosen], learning.design.is_target[learning.unit])
    row: dict[str, object] = {"latents": m, "k": k}
    row |= _held_out_auroc(entrant, test, chosen, np.sign(score[chosen]), weights, contest)
    row |= _ablation(model, entrant, test, chosen, contest)
    return row | _steering(model, means, directions, chosen, tune, test, contest)


def _latent_means(codes: sp.csr_matrix, learning: Learning) -> np.ndarray:
    """(S, m) mean activation per unit."""
    means = np.zeros((len(learning.design.units), codes.shape[1]))
    for s in range(len(means)):
        rows = np.flatnonzero(learning.unit == s)
        means[s] = np.asarray(codes[rows].sum(0)).ravel() / max(1, len(rows))
    return means


def _scores(means: UnitMeans, design: Design) -> np.ndarray:
    """(m,) signed Stouffer score over strata, or the mean difference where no stratum has
    replicates."""
    alive = means.features.max(0) > 0
    score = np.zeros(means.features.shape[1])
    strata = means.design.strata
    evidence = unit_evidence(means.features[:, alive], design, "moderated", strata)
    if evidence:
        score[alive] = np.nan_to_num(
            stouffer(np.stack([line.test.z() for line in evidence.values()]))
        )
    else:
        score[alive] = means.difference(means.features, strata)[alive]
    return score


def _held_out_auroc(
    entrant: Dictionary,
    test: Pairs,
    chosen: np.ndarray,
    sign: np.ndarray,
    weights: np.ndarray,
    contest: Contest,
) -> dict[str, float]:
    tokens = torch.cat([side.tokens() for side in test])
    m = len(entrant.directions)
    raw = encoded(entrant, tokens)
    n = int(test.reference.kept.sum())
    positive = np.arange(len(tokens)) >= n
    active = np.repeat(positive, np.diff(raw.indptr))
    found = auroc_sparse(
        raw.indices, raw.values, active, n_positive=len(tokens) - n, n_negative=n, m=m
    )[chosen]
    bins = test.reference.prediction.shape[1]
    block = np.repeat(np.concatenate([side.labels.block for side in test]), bins)
    combined = as_matrix(raw, m)[:, chosen] @ weights
    interval = block_auroc(
        combined, positive, block, resamples=contest.resamples, seed=contest.seed
    )
    row = {name: value for name, value in zip(("auroc", "auroc_low", "auroc_high"), interval)}
    return row | {"auroc_single": float(np.where(sign >= 0, found, 1 - found).mean())}


def _ablation(
    model: ProbedModel, entrant: Dictionary, test: Pairs, chosen: np.ndarray, contest: Contest
) -> dict[str, float]:
    states: States = test.reference
    delta = Activity.of(entrant, [states]).removed(chosen)
    change = predict_edited(model, states, delta) - states.prediction
    toward = np.sign(test.target.prediction - states.prediction)
    names, index = np.unique(states.labels.block, return_inverse=True)
    counts = bootstrap_counts(len(names), contest.resamples, contest.seed)
    bins = np.bincount(index, states.read.sum(1))
    row = {"edit": float(delta.norm(dim=1).mean())}
    for measure, values in (("effect", np.abs(change)), ("shift", change * toward)):
        per_block = np.bincount(index, np.where(states.read, values, 0).sum(1)) / bins
        row[measure] = float(per_block.mean())
        limits = (float("nan"), float("nan"))
        if len(names) > 1:
            low, high = expanded_percentiles(counts @ per_block / len(names), len(names))
            limits = (float(low), float(high))
        row[f"{measure}_low"], row[f"{measure}_high"] = limits
    return row | {
        "effect_per_edit": row["effect"] / row["edit"] if row["edit"] > 0 else float("nan")
    }


def _steering(
    model: ProbedModel,
    means: UnitMeans,
    directions: np.ndarray,
    chosen: np.ndarray,
    tune: Pairs,
    test: Pairs,
    contest: Contest,
) -> dict[str, float]:
    vector = of_length(sae_additive(means, directions, chosen, means.design.strata), means.spread)
    tuned = [
        gaps(steer_added(model, tune.reference, vector, alpha), tune) for alpha in contest.alphas
    ]
    alpha = contest.alphas[
        int(np.nanargmax([gap_closure(found.remaining, found.gap) for found in tuned]))
    ]
    found = gaps(steer_added(model, test.reference, vector, alpha), test)
    drawn = random_like(vector, contest.random_draws, contest.seed)
    random = np.mean(
        [gaps(steer_added(model, test.reference, other, alpha), test).remaining for other in drawn],
        axis=0,
    )
    lead = closure_interval(
        random - found.remaining,
        found.gap,
        test.reference.labels.block,
        resamples=contest.resamples,
        seed=contest.seed,
    )
    return {
        "alpha": alpha,
        "gc": gap_closure(found.remaining, found.gap),
        "gc_minus_random": lead.value,
        "gc_minus_random_low": lead.low,
        "gc_minus_random_high": lead.high,
    }
