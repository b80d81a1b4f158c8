"""Each feature is edited by itself: does removing it change the prediction where it fires, and only
there, and what does scaling it do?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pandas as pd
import torch

from petriscope.causal.directions import random_like
from petriscope.causal.edits import Activity
from petriscope.contrast.effects import bootstrap_counts, expanded_percentiles
from petriscope.parallel import in_processes
from petriscope.probe.model import ProbedModel
from petriscope.probe.states import Dictionary, States, predict_edited

NULL = ("null_own", "null_percentile")
FACTORS = (0.0, 0.5, 2.0, 4.0)
SCALED = ("feature", "bins", "factor", "change", "low", "high", "blocks")


def single_feature_effects(
    model: ProbedModel,
    dictionary: Dictionary,
    states: States,
    features: np.ndarray,
    *,
    max_rows: int = 24,
    null_draws: int = 19,
    null_rows: int = 6,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Remove each feature from the rows on which it is most active (at most ``max_rows``), read the
    prediction.

    'own': bins on which the feature fires. 'matched': for each of them the silent bin of the same
    row with the nearest predicted accessibility. The targets are bins of the model's output, never
    the feature's own annotation, so the ratio is not circular. Columns: feature, rows, blocks,
    bins, own (mean |change|), matched, specificity (own / matched) with block-bootstrap limits,
    signed (mean change at own bins: negative where the feature opens). The null of a feature keeps
    its tokens and the size of its edit and draws the direction: null_own (mean |change| at own bins
    over ``null_draws`` random directions, on its ``null_rows`` strongest rows) and null_percentile
    (100 (1 - p), p the share of draws that change at least as much as the feature on the same rows,
    itself counted: 19 draws reach 95). Features silent on these rows have 0 bins and NaN.
    """
    activity = Activity.of(dictionary, [states])
    directions = activity.directions
    n, bins = states.prediction.shape

    def one(feature: int) -> dict[str, float]:
        column = activity.column(feature).reshape(n, bins)
        strength = column.sum(1)
        strongest = np.argsort(-strength, kind="stable")[:max_rows]
        strongest = strongest[strength[strongest] > 0]
        rows = np.sort(strongest)
        if len(rows) == 0:
            nothing = (
                "own",
                "matched",
                "specificity",
                "specificity_low",
                "specificity_high",
                "signed",
                *NULL,
            )
            return {"feature": int(feature), "rows": 0, "blocks": 0, "bins": 0} | dict.fromkeys(
                nothing, np.nan
            )
        part, active = states.subset(rows), column[rows]
        delta = torch.from_numpy(-active.reshape(-1, 1) * directions[feature][None])
        change = predict_edited(model, part, delta) - part.prediction
        row, own, matched = _matched_bins(active > 0, part.prediction)
        block = part.labels.block[row]
        at_own, at_matched = np.abs(change[row, own]), np.abs(change[row, matched])
        low, high = _ratio_limits(at_own, at_matched, block, resamples, seed)
        return {
            "feature": int(feature),
            "rows": len(rows),
            "blocks": len(np.unique(block)),
            "bins": len(row),
            "own": _mean(at_own),
            "matched": _mean(at_matched),
            "specificity": float(at_own.sum() / at_matched.sum())
            if at_matched.sum() > 0
            else np.nan,
            "specificity_low": low,
            "specificity_high": high,
            "signed": _mean(change[row, own]),
        } | _null(
            model,
            states,
            column,
            np.sort(strongest[:null_rows]),
            directions[feature],
            null_draws,
            seed + feature,
        )

    return pd.DataFrame(in_processes(one, features, "single features", unit="feature"))


def scaled_feature_effects(
    model: ProbedModel,
    dictionary: Dictionary,
    states: States,
    features: np.ndarray,
    *,
    factors: Sequence[float] = FACTORS,
    rows: int = 6,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Multiply each feature by ``factors`` on the ``rows`` rows where it is most active (0 ablates,
    1 would do nothing).

    The edit is h + (factor - 1) z d at every token of those rows: error-preserving, all else as it
    was. Columns: feature, bins ('own': where it fires; 'silent': where it does not), factor, change
    (mean signed change of the prediction), low, high (95 %, block bootstrap; NaN under two blocks),
    blocks. Features silent on all rows are left out.
    """
    activity = Activity.of(dictionary, [states])
    directions, shape = activity.directions, states.prediction.shape

    def one(feature: int) -> list[tuple[int, str, float, float, float, float, int]]:
        found: list[tuple[int, str, float, float, float, float, int]] = []
        column = activity.column(feature).reshape(shape)
        strength = column.sum(1)
        strongest = np.argsort(-strength, kind="stable")[:rows]
        strongest = np.sort(strongest[strength[strongest] > 0])
        if not len(strongest):
            return found
        part, active = states.subset(strongest), column[strongest]
        for factor in factors:
            delta = torch.from_numpy(
                (np.float32(factor) - 1) * active.reshape(-1, 1) * directions[feature][None]
            )
            change = predict_edited(model, part, delta) - part.prediction
            for bins, mask in (("own", active > 0), ("silent", active == 0)):
                if mask.any():
                    estimate = _block_mean(change, mask, part.labels.block, resamples, seed)
                    found.append((int(feature), bins, float(factor), *estimate))
        return found

    rows_of = in_processes(one, features, "scaling single features", unit="feature")
    return pd.DataFrame(list(chain.from_iterable(rows_of)), columns=list(SCALED))


def _null(
    model: ProbedModel,
    states: States,
    column: np.ndarray,
    rows: np.ndarray,
    direction: np.ndarray,
    draws: int,
    seed: int,
) -> dict[str, float]:
    """The feature's effect on its own bins of ``rows`` among those of random directions at the same
    tokens and size."""
    part, active = states.subset(rows), column[rows]

    def own(along: np.ndarray) -> float:
        delta = torch.from_numpy(-active.reshape(-1, 1) * along.astype(np.float32)[None])
        return _mean(np.abs(predict_edited(model, part, delta) - part.prediction)[active > 0])

    observed = own(direction)
    drawn = np.array([own(other) for other in random_like(direction, draws, seed)])
    p = (1 + int((drawn >= observed).sum())) / (1 + draws)
    return dict(zip(NULL, (float(drawn.mean()), 100 * (1 - p))))


def _matched_bins(
    active: np.ndarray, prediction: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, own bin, matched bin) of every active bin of rows that have silent bins."""
    rows, owns, matches = [], [], []
    for i, fires in enumerate(active):
        own, silent = np.flatnonzero(fires), np.flatnonzero(~fires)
        if len(silent) == 0:
            continue
        nearest = np.abs(prediction[i, own][:, None] - prediction[i, silent][None]).argmin(1)
        rows.append(np.full(len(own), i))
        owns.append(own)
        matches.append(silent[nearest])
    if not rows:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    return np.concatenate(rows), np.concatenate(owns), np.concatenate(matches)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _ratio_limits(
    above: np.ndarray, below: np.ndarray, block: np.ndarray, resamples: int, seed: int
) -> tuple[float, float]:
    names, index = np.unique(block, return_inverse=True)
    if len(names) < 2:
        return float("nan"), float("nan")
    counts = bootstrap_counts(len(names), resamples, seed)
    top, bottom = counts @ np.bincount(index, above), counts @ np.bincount(index, below)
    if not (bottom > 0).any():
        return float("nan"), float("nan")
    low, high = expanded_percentiles(top[bottom > 0] / bottom[bottom > 0], len(names))
    return float(low), float(high)


def _block_mean(
    change: np.ndarray, mask: np.ndarray, block: np.ndarray, resamples: int, seed: int
) -> tuple[float, float, float, int]:
    """Mean of ``change`` (n, bins) over ``mask``, its limits over blocks of rows, and how many
    blocks."""
    names, index = np.unique(block, return_inverse=True)
    total = np.bincount(index, (change * mask).sum(1), minlength=len(names))
    count = np.bincount(index, mask.sum(1), minlength=len(names))
    mean = float(total.sum() / count.sum())
    if len(names) < 2:
        return mean, float("nan"), float("nan"), len(names)
    weights = bootstrap_counts(len(names), resamples, seed)
    bins = weights @ count
    low, high = expanded_percentiles((weights @ total)[bins > 0] / bins[bins > 0], len(names))
    return mean, float(low), float(high), len(names)
