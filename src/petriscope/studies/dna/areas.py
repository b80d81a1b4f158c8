"""The area under the ROC curve of scores, its interval over resampled groups, and how well
probabilities are calibrated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from petriscope.contrast.effects import expanded_percentiles

_AT_ONCE = 2_000_000  # resampled weights held


class Estimate(NamedTuple):
    """A number with its 95 % limits over groups."""

    value: float
    low: float
    high: float


def area_under_roc(score: np.ndarray, label: np.ndarray) -> float:
    """Mann–Whitney U / (n₁ n₀) of scores (n,), ties half; NaN with one class."""
    return float(weighted_areas(score, label, np.ones((1, len(score))))[0])


def weighted_areas(score: np.ndarray, label: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) areas of one score under row weights (R, n); NaN where a class has none."""
    order = np.argsort(score, kind="stable")
    value, hit = score[order], label[order].astype(np.float64)
    w = weights[:, order]
    ones, zeros = w * hit, w * (1 - hit)
    below = np.concatenate([np.zeros((len(w), 1)), np.cumsum(zeros, axis=1)], axis=1)
    first = np.searchsorted(value, value, "left")
    last = np.searchsorted(value, value, "right")
    won = (ones * (below[:, first] + below[:, last])).sum(1) / 2
    total = ones.sum(1) * zeros.sum(1)
    return np.divide(won, total, out=np.full(len(w), np.nan), where=total > 0)


def group_weights(group: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Row weights (r, n) of whole groups drawn with replacement, a few resamples at a time."""
    names, index = np.unique(group, return_inverse=True)
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // max(1, len(group)))
    for at in range(0, resamples, step):
        drawn = rng.integers(len(names), size=(min(step, resamples - at), len(names)))
        counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
        yield counts[:, index].astype(np.float64)


def area_draws(
    scores: np.ndarray, label: np.ndarray, group: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """(M, 1 + R) areas of scores (M, n): on the data, then on resampled groups, the same for all
    scores."""
    whole = np.array([[area_under_roc(score, label)] for score in scores])
    parts = [
        np.stack([weighted_areas(score, label, weights) for score in scores])
        for weights in group_weights(group, resamples, seed)
    ]
    return np.concatenate([whole, *parts], axis=1)


def interval(draws: np.ndarray, groups: int) -> Estimate:
    """The first of ``draws`` (1 + R,) with the percentile limits of the others, widened to the
    coverage of t; no limits with fewer than two groups or draws that are mostly undefined."""
    others = draws[1:]
    others = others[np.isfinite(others)]
    if groups < 2 or len(others) < max(20, 0.5 * (len(draws) - 1)):
        return Estimate(float(draws[0]), float("nan"), float("nan"))
    low, high = expanded_percentiles(others, groups)
    return Estimate(float(draws[0]), float(low), float(high))


class Calibration(NamedTuple):
    """How probabilities agree with outcomes."""

    shift: float
    """mean probability minus share of positives."""
    error: float
    """expected calibration error over ten equal bins."""


def calibration(chance: np.ndarray, label: np.ndarray) -> Calibration:
    """Of probabilities (n,) against ``label`` (n,) bool."""
    bins = np.minimum((chance * 10).astype(int), 9)
    count = np.bincount(bins, minlength=10)
    gap = np.bincount(bins, chance, 10) - np.bincount(bins, label.astype(float), 10)
    return Calibration(float(chance.mean() - label.mean()), float(np.abs(gap).sum() / count.sum()))
