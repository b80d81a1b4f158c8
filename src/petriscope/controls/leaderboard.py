"""The autoencoder against simpler bases on one footing: held-out AUROC, ablation effect, steering beyond chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from petriscope.causal.bases import principal_components, raw_neurons, single_direction
from petriscope.causal.directions import (
    ContextMeans,
    context_means,
    difference_of_means,
    linear_probe,
    random_like,
    sae_additive,
)
from petriscope.causal.feature_sets import as_matrix
from petriscope.causal.states import Dictionary, Resumable, States, predict_edited
from petriscope.causal.steering import Pairs, closure_interval, gap_closure, gaps, steer_added
from petriscope.contrast.effects import auroc_sparse, bootstrap_counts, expanded_percentiles
from petriscope.contrast.evidence import biosample_evidence
from petriscope.contrast.inference import stouffer
from petriscope.contrast.moments import Design
from petriscope.progress import progress


class Learning(NamedTuple):
    """Tokens that every entrant learns from; no read-out sees them."""

    hidden: np.ndarray
    """(n, d)"""
    biosample: np.ndarray
    """(n,) row of the design"""
    design: Design


class Contest(NamedTuple):
    """The same test for all entrants."""

    k: int = 25
    alphas: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    random_draws: int = 10
    resamples: int = 1000
    seed: int = 0


def entrants(learning: Learning, autoencoders: Mapping[str, Dictionary]) -> dict[str, Dictionary]:
    """The autoencoders given (trained, frozen-decoder, ...) and the simple bases: principal components, raw neurons, the
    difference of means and the linear probe."""
    features = np.zeros((len(learning.design.biosamples), 1))
    means = context_means(learning.hidden, features, learning.biosample, learning.design)
    lineages = learning.design.lineages
    simple: dict[str, Dictionary] = {
        "pca": principal_components(learning.hidden),
        "raw_neurons": raw_neurons(learning.hidden),
        "difference_of_means": single_direction(difference_of_means(means, lineages), learning.hidden),
        "linear_probe": single_direction(linear_probe(means, lineages), learning.hidden),
    }
    return dict(autoencoders) | simple


def leaderboard(
    model: Resumable,
    candidates: Mapping[str, Dictionary],
    learning: Learning,
    *,
    tune: Pairs,
    test: Pairs,
    contest: Contest,
    show_progress: bool = True,
) -> pd.DataFrame:
    """One row per entrant. Its latents are ranked by the contrast on ``learning``; the first k are read on ``test``.

    Columns: entrant, latents, k (at most half of the latents, at least one); auroc: mean over the k latents of the
    token-level AUROC of test tokens in the direction learnt (.5 = chance); effect: mean |change| of the prediction at
    the read bins when they are removed from the in vitro rows, shift: its part toward in vivo, each with block-bootstrap
    limits, and edit: mean norm of the removal per token; gc, gc_minus_random: gap closure of the additive vector, alpha
    chosen on ``tune``.
    """
    names = progress(candidates, "leaderboard", unit="entrant") if show_progress else candidates
    return pd.DataFrame([_row(name, model, candidates[name], learning, tune, test, contest) for name in names])


def _row(
    name: str,
    model: Resumable,
    entrant: Dictionary,
    learning: Learning,
    tune: Pairs,
    test: Pairs,
    contest: Contest,
) -> dict[str, object]:
    directions = entrant.directions.numpy()
    m = len(directions)
    means = context_means(learning.hidden, _latent_means(entrant, learning, m), learning.biosample, learning.design)
    score = _scores(means)
    k = max(1, min(contest.k, m // 2))
    chosen = np.argsort(-np.abs(score), kind="stable")[:k]
    row: dict[str, object] = {"entrant": name, "latents": m, "k": k}
    row["auroc"] = _held_out_auroc(entrant, test, chosen, np.sign(score[chosen]), m)
    row |= _ablation(model, entrant, test, chosen, contest)
    return row | _steering(model, means, directions, chosen, tune, test, contest)


def _latent_means(entrant: Dictionary, learning: Learning, m: int) -> np.ndarray:
    """(S, m) mean activation per biosample."""
    codes = as_matrix(entrant.encode(learning.hidden), m)
    means = np.zeros((len(learning.design.biosamples), m))
    for s in range(len(means)):
        rows = np.flatnonzero(learning.biosample == s)
        means[s] = np.asarray(codes[rows].sum(0)).ravel() / max(1, len(rows))
    return means


def _scores(means: ContextMeans) -> np.ndarray:
    """(m,) signed Stouffer score over lineages, or the mean difference where no lineage has replicates."""
    alive = means.features.max(0) > 0
    score = np.zeros(means.features.shape[1])
    lineages = means.design.lineages
    evidence = biosample_evidence(means.features[:, alive], means.design, "moderated", lineages)
    if evidence:
        score[alive] = np.nan_to_num(stouffer(np.stack([line.test.z() for line in evidence.values()])))
    else:
        score[alive] = means.difference(means.features, lineages)[alive]
    return score


def _held_out_auroc(entrant: Dictionary, test: Pairs, chosen: np.ndarray, sign: np.ndarray, m: int) -> float:
    tokens = torch.cat([test.vitro.tokens(), test.vivo.tokens()])
    codes = entrant.encode(tokens)
    n = len(test.vitro.tokens())
    positive = np.repeat(np.arange(len(tokens)), np.diff(codes.indptr)) >= n
    found = auroc_sparse(codes.indices, codes.values, positive, n_positive=len(tokens) - n, n_negative=n, m=m)[chosen]
    return float(np.where(sign >= 0, found, 1 - found).mean())


def _ablation(
    model: Resumable, entrant: Dictionary, test: Pairs, chosen: np.ndarray, contest: Contest
) -> dict[str, float]:
    states: States = test.vitro
    directions = entrant.directions.numpy()
    codes = as_matrix(entrant.encode(states.tokens()), len(directions)).tocsc()
    delta = torch.from_numpy(np.asarray(-(codes[:, chosen].tocsr() @ directions[chosen]), np.float32))
    change = predict_edited(model, states, delta) - states.prediction
    toward = np.sign(test.vivo.prediction - states.prediction)
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
    return row


def _steering(
    model: Resumable,
    means: ContextMeans,
    directions: np.ndarray,
    chosen: np.ndarray,
    tune: Pairs,
    test: Pairs,
    contest: Contest,
) -> dict[str, float]:
    vector = sae_additive(means, directions, chosen, means.design.lineages)
    tuned = [gaps(steer_added(model, tune.vitro, vector, alpha), tune) for alpha in contest.alphas]
    alpha = contest.alphas[int(np.nanargmax([gap_closure(found.remaining, found.gap) for found in tuned]))]
    found = gaps(steer_added(model, test.vitro, vector, alpha), test)
    drawn = random_like(vector, contest.random_draws, contest.seed)
    random = np.mean([gaps(steer_added(model, test.vitro, other, alpha), test).remaining for other in drawn], axis=0)
    lead = closure_interval(
        random - found.remaining,
        found.gap,
        test.vitro.labels.block,
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
