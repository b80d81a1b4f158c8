"""The autoencoder against simpler bases on one footing: held-out AUROC, ablation effect, steering
beyond chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from petriscope.causal.directions import (
    ContextMeans,
    context_means,
    of_length,
    random_like,
    sae_additive,
)
from petriscope.causal.entrants import Learning, entrants
from petriscope.causal.feature_sets import as_matrix
from petriscope.causal.separation import block_auroc, discriminant
from petriscope.causal.steering import Pairs, closure_interval, gap_closure, gaps, steer_added
from petriscope.contrast.effects import auroc_sparse, bootstrap_counts, expanded_percentiles
from petriscope.contrast.evidence import biosample_evidence
from petriscope.contrast.inference import stouffer
from petriscope.parallel import in_processes
from petriscope.probe.states import Dictionary, Resumable, States, predict_edited


class Contest(NamedTuple):
    """The same test for all entrants."""

    k: int = 25
    alphas: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)
    """strengths in units of `ContextMeans.spread`, the same for every entrant"""
    random_draws: int = 10
    resamples: int = 1000
    seed: int = 0


def leaderboard(
    model: Resumable,
    autoencoders: Mapping[str, Dictionary],
    learning: Learning,
    *,
    tune: Pairs,
    test: Pairs,
    contest: Contest,
) -> pd.DataFrame:
    """One row per (lineage, entrant): all is learnt and read within the lineage, `entrants` of its
    own tokens included.

    An entrant's latents are ranked by the contrast on ``learning``; the first k are read on
    ``test``. Columns: lineage, entrant, latents, k; auroc: of the discriminant of the k latents
    (fitted on ``learning``) on test tokens, with block-bootstrap limits, and auroc_single: mean
    over the k latents, each in the direction learnt (.5 = chance); effect: mean |change| of the
    prediction at the read bins when they are removed from the in vitro rows, shift: its part toward
    in vivo, each with limits, edit: mean norm of the removal per token, and effect_per_edit, their
    ratio; gc, gc_minus_random with limits: gap closure of the additive vector, alpha chosen on
    ``tune``. Lineages without both contexts are left out.
    """
    jobs = []
    for lineage in learning.design.lineages:
        if (
            learning.design.why_untestable(lineage, "locus")
            or not (test.vitro.labels.lineage == lineage).any()
        ):
            continue
        mine = learning.only(lineage)
        jobs += [
            (lineage, mine, name, entrant) for name, entrant in entrants(mine, autoencoders).items()
        ]

    def one(number: int) -> dict[str, object]:
        lineage, mine, name, entrant = jobs[number]
        pairs = {"tune": tune.only(lineage), "test": test.only(lineage)}
        return {"lineage": lineage, "entrant": name} | read_entrant(
            model, entrant, mine, contest=contest, **pairs
        )

    return pd.DataFrame(in_processes(one, range(len(jobs)), "leaderboard", unit="entrant"))


def read_entrant(
    model: Resumable,
    entrant: Dictionary,
    learning: Learning,
    *,
    tune: Pairs,
    test: Pairs,
    contest: Contest,
) -> dict[str, object]:
    """One entrant's row of `leaderboard`, over all lineages that ``learning`` holds."""
    directions = entrant.directions.numpy()
    m = len(directions)
    codes = as_matrix(entrant.encode(learning.hidden), m)
    means = context_means(
        learning.hidden, _latent_means(codes, learning), learning.biosample, learning.design
    )
    score = _scores(means)
    k = max(1, min(contest.k, m))
    chosen = np.argsort(-np.abs(score), kind="stable")[:k]
    weights = discriminant(codes[:, chosen], learning.design.vivo[learning.biosample])
    row: dict[str, object] = {"latents": m, "k": k}
    row |= _held_out_auroc(entrant, test, chosen, np.sign(score[chosen]), weights, contest)
    row |= _ablation(model, entrant, test, chosen, contest)
    return row | _steering(model, means, directions, chosen, tune, test, contest)


def _latent_means(codes: sp.csr_matrix, learning: Learning) -> np.ndarray:
    """(S, m) mean activation per biosample."""
    means = np.zeros((len(learning.design.biosamples), codes.shape[1]))
    for s in range(len(means)):
        rows = np.flatnonzero(learning.biosample == s)
        means[s] = np.asarray(codes[rows].sum(0)).ravel() / max(1, len(rows))
    return means


def _scores(means: ContextMeans) -> np.ndarray:
    """(m,) signed Stouffer score over lineages, or the mean difference where no lineage has
    replicates."""
    alive = means.features.max(0) > 0
    score = np.zeros(means.features.shape[1])
    lineages = means.design.lineages
    evidence = biosample_evidence(means.features[:, alive], means.design, "moderated", lineages)
    if evidence:
        score[alive] = np.nan_to_num(
            stouffer(np.stack([line.test.z() for line in evidence.values()]))
        )
    else:
        score[alive] = means.difference(means.features, lineages)[alive]
    return score


def _held_out_auroc(
    entrant: Dictionary,
    test: Pairs,
    chosen: np.ndarray,
    sign: np.ndarray,
    weights: np.ndarray,
    contest: Contest,
) -> dict[str, float]:
    tokens = torch.cat([test.vitro.tokens(), test.vivo.tokens()])
    m = len(entrant.directions)
    raw = entrant.encode(tokens)
    n = len(test.vitro.tokens())
    positive = np.arange(len(tokens)) >= n
    active = np.repeat(positive, np.diff(raw.indptr))
    found = auroc_sparse(
        raw.indices, raw.values, active, n_positive=len(tokens) - n, n_negative=n, m=m
    )[chosen]
    bins = test.vitro.prediction.shape[1]
    block = np.repeat(np.concatenate([test.vitro.labels.block, test.vivo.labels.block]), bins)
    combined = as_matrix(raw, m)[:, chosen] @ weights
    interval = block_auroc(
        combined, positive, block, resamples=contest.resamples, seed=contest.seed
    )
    row = {name: value for name, value in zip(("auroc", "auroc_low", "auroc_high"), interval)}
    return row | {"auroc_single": float(np.where(sign >= 0, found, 1 - found).mean())}


def _ablation(
    model: Resumable, entrant: Dictionary, test: Pairs, chosen: np.ndarray, contest: Contest
) -> dict[str, float]:
    states: States = test.vitro
    directions = entrant.directions.numpy()
    codes = as_matrix(entrant.encode(states.tokens()), len(directions)).tocsc()
    delta = torch.from_numpy(
        np.asarray(-(codes[:, chosen].tocsr() @ directions[chosen]), np.float32)
    )
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
    return row | {
        "effect_per_edit": row["effect"] / row["edit"] if row["edit"] > 0 else float("nan")
    }


def _steering(
    model: Resumable,
    means: ContextMeans,
    directions: np.ndarray,
    chosen: np.ndarray,
    tune: Pairs,
    test: Pairs,
    contest: Contest,
) -> dict[str, float]:
    vector = of_length(sae_additive(means, directions, chosen, means.design.lineages), means.spread)
    tuned = [gaps(steer_added(model, tune.vitro, vector, alpha), tune) for alpha in contest.alphas]
    alpha = contest.alphas[
        int(np.nanargmax([gap_closure(found.remaining, found.gap) for found in tuned]))
    ]
    found = gaps(steer_added(model, test.vitro, vector, alpha), test)
    drawn = random_like(vector, contest.random_draws, contest.seed)
    random = np.mean(
        [gaps(steer_added(model, test.vitro, other, alpha), test).remaining for other in drawn],
        axis=0,
    )
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
