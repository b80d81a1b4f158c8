"""Effect sizes are computed per feature: Hedges g, AUROC and log2 fold, with intervals from
resampled blocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from petriscope.contrast.design import Design
from petriscope.sae.moments import Moments

LEAST_BLOCKS = 4
"""Blocks below which no interval over blocks is worth printing."""


class Effect(NamedTuple):
    """An effect size per feature with its 95 % interval; all arrays (m,)."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Effects(NamedTuple):
    """Effect sizes of target against reference. Intervals: blocks resampled, units as they
    are."""

    difference: Effect
    """mean activation target minus reference."""
    hedges_g: Effect
    """over per-unit means; NaN with one unit a side."""
    auroc: Effect
    """chance that a (block, target unit) mean exceeds one (block, reference unit) mean of
    the same block."""
    log2_fold: Effect
    blocks: int


def hedges_correction(df: float | np.ndarray) -> np.ndarray:
    """J(df), the exact small-sample factor (Hedges 1981, eq. 6e)."""
    df = np.asarray(df, float)
    return np.exp(special.gammaln(df / 2) - 0.5 * np.log(df / 2) - special.gammaln((df - 1) / 2))


def hedges_g(a: np.ndarray, b: np.ndarray, axis: int = 0) -> np.ndarray:
    """Hedges g of ``a`` against ``b`` along ``axis``: pooled-variance d times J; NaN where there is
    no variance."""
    n_a, n_b = a.shape[axis], b.shape[axis]
    df = n_a + n_b - 2
    if df < 1 or min(n_a, n_b) < 1:
        return np.full(np.delete(a.shape, axis), np.nan)
    # g = J(n_a + n_b - 2) (mean a - mean b) / s, s^2 = (SS_a + SS_b)/(n_a + n_b - 2) (Hedges 1981)
    pooled = np.sqrt((a.var(axis) * n_a + b.var(axis) * n_b) / df)
    difference = a.mean(axis) - b.mean(axis)
    factor = float(hedges_correction(df)) if df > 1 else np.nan
    return np.divide(
        difference * factor, pooled, out=np.full(pooled.shape, np.nan), where=pooled > 0
    )


def hedges_g_av(after: np.ndarray, before: np.ndarray, axis: int = 0) -> np.ndarray:
    """Paired g_av: mean difference over the mean of both standard deviations, times J(n-1) (Lakens
    2013, eq. 10)."""
    n = after.shape[axis]
    spread = (after.std(axis, ddof=1) + before.std(axis, ddof=1)) / 2
    difference = (after - before).mean(axis) * hedges_correction(n - 1)
    return np.divide(difference, spread, out=np.full(np.shape(spread), np.nan), where=spread > 0)


def auroc(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of rows of ``a`` (n_a, m) against ``b`` (n_b, m), ties counted
    half."""
    above = (a[:, None] > b[None]).mean((0, 1)) + 0.5 * (a[:, None] == b[None]).mean((0, 1))
    return np.asarray(above)


def auroc_sparse(
    indices: np.ndarray,
    values: np.ndarray,
    positive: np.ndarray,
    *,
    n_positive: int,
    n_negative: int,
    m: int,
) -> np.ndarray:
    """Token-level AUROC per feature from sparse codes, ties (the many zeros among them) counted
    half.

    ``indices``, ``values`` (nnz,): feature and its activation > 0; ``positive`` (nnz,) bool: the
    token is target. ``n_positive``, ``n_negative``: tokens of either side, silent ones included.
    Equals the Mann-Whitney U / (n1 n0).
    """
    # U = sum over target tokens of (reference tokens below + half of those tied); AUROC = U/(n1 n0)
    order = np.lexsort((values, indices))
    feature, value = indices[order].astype(np.int64), values[order]
    hit = positive[order].astype(np.float64)
    ones, zeros = np.bincount(feature, hit, m), np.bincount(feature, 1 - hit, m)
    start = np.concatenate([[0], np.cumsum(np.bincount(feature, minlength=m))])
    below = np.concatenate([[0.0], np.cumsum(1 - hit)])
    fresh = np.ones(len(value), bool)
    fresh[1:] = (feature[1:] != feature[:-1]) | (value[1:] != value[:-1])
    run = np.cumsum(fresh) - 1
    first = np.flatnonzero(fresh)
    last = np.append(first[1:], len(value))
    mid = (below[first] + below[last]) / 2 if len(first) else np.zeros(0)
    silent = n_negative - zeros
    won = (
        np.bincount(feature, hit * (mid[run] - below[start[feature]]), m)
        if len(value)
        else np.zeros(m)
    )
    won += ones * silent + 0.5 * (n_positive - ones) * silent
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(won / (float(n_positive) * n_negative))


def log2_fold(target: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """log2 of the ratio of means, each plus 1 % of their average, so that a silent side gives at
    most 7.7."""
    floor = 0.005 * (target + reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(floor > 0, np.log2((target + floor) / (reference + floor)), 0.0)


def bootstrap_counts(blocks: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, blocks) how often each block is drawn."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples).astype(np.float64)


def expanded_percentiles(
    draws: np.ndarray, units: int, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap limits of draws (R, ...) from ``units`` units, widened to the coverage of t
    (Hesterberg 2015, 5.3)."""
    t = special.stdtrit(units - 1, 0.5 - level / 2)
    tail = float(special.ndtr(t * np.sqrt(units / (units - 1))))
    quantile = np.quantile if np.isfinite(draws).all() else np.nanquantile
    low, high = quantile(draws, [tail, 1 - tail], axis=0)
    return low, high


def symmetric_limits(
    estimate: np.ndarray,
    error: np.ndarray,
    draws: np.ndarray,
    errors: np.ndarray,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric bootstrap-t limits of estimates (m,): estimate -+ q error, q the quantile of |draw
    - estimate| / error.

    ``draws``, ``errors`` (R, m): each resample's estimate and its own standard error. Resamples
    without variation tell nothing and are left out; where they are more than half, the limits are
    NaN. Source: Hall 1988; Efron & Tibshirani 1993, ch. 12. Covers better than percentiles with
    few, skewed blocks.
    """
    low, high = np.full((2, *estimate.shape), np.nan)
    # a standard error is often the root of a difference of squares: rounding leaves 1e-8 of it
    usable = np.isfinite(draws) & np.isfinite(errors) & (errors > 1e-6 * error)
    known = np.isfinite(estimate) & (error > 0) & (usable.mean(0) > 0.5)
    if known.any():
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.where(usable, np.abs(draws - estimate) / errors, np.nan)[:, known]
        quantile = np.quantile if np.isfinite(size).all() else np.nanquantile
        half = quantile(size, level, axis=0) * error[known]
        low[known], high[known] = estimate[known] - half, estimate[known] + half
    return low, high


def mean_limits(units: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric bootstrap-t limits of the mean of units (n, m)."""
    n = len(units)
    counts = np.concatenate([np.ones((1, n)), bootstrap_counts(n, resamples, seed)])
    mean = counts @ units / n
    centered = units - units.mean(0)
    spread = counts @ centered**2 / n - (mean - mean[0]) ** 2
    error = np.sqrt(np.maximum(spread, 0) / (n - 1))
    return symmetric_limits(mean[0], error[0], mean[1:], error[1:])


def effects(
    moments: Moments,
    design: Design,
    stratum: str,
    *,
    resamples: int = 1000,
    seed: int = 0,
    chunk: int = 64,
) -> Effects:
    """All effect sizes of one stratum with block-bootstrap intervals, ``chunk`` features at a time.

    Blocks are resampled; an effect's standard error within a resample comes from its influence
    values (delta method), and the limits are symmetric bootstrap-t (`symmetric_limits`). Blocks
    without tokens of the stratum's units are left out.
    """
    reference, target = design.sides(stratum)
    chosen = np.concatenate([reference, target])
    used = np.flatnonzero((moments.tokens[:, chosen] > 0).all(1))
    tokens = moments.tokens[np.ix_(used, chosen)].astype(np.float64)
    counts = np.concatenate([np.ones((1, len(used))), bootstrap_counts(len(used), resamples, seed)])
    sample = _Resamples(counts, tokens, len(reference))
    m = moments.sum.shape[2]
    parts: list[list[Effect]] = []
    for start in range(0, m, chunk):
        columns = slice(start, min(m, start + chunk))
        parts.append(sample.effects(moments.sum[used][:, chosen, columns].astype(np.float64)))
    found = [Effect(*(np.concatenate(limits) for limits in zip(*column))) for column in zip(*parts)]
    return Effects(found[0], found[1], found[2], found[3], len(used))


class _Resamples(NamedTuple):
    """Block resamples of one stratum: the first row of ``counts`` (1 + R, n) is the data itself."""

    counts: np.ndarray
    tokens: np.ndarray
    """(n, S) tokens per block and unit, reference first."""
    n_reference: int

    def effects(self, sums: np.ndarray) -> list[Effect]:
        """Difference, Hedges g, AUROC and log2 fold of summed activations (n, S, m)."""
        n, size, width = sums.shape
        weight = self.counts @ self.tokens
        means = (self.counts @ sums.reshape(n, -1)).reshape(-1, size, width) / weight[:, :, None]
        b, a = means[:, : self.n_reference], means[:, self.n_reference :]
        n_b, n_a = b.shape[1], a.shape[1]
        mean_a, mean_b = a.mean(1), b.mean(1)
        difference = mean_a - mean_b
        sides = np.concatenate([np.full(n_b, -1 / n_b), np.full(n_a, 1 / n_a)])
        deviation = np.concatenate([b - mean_b[:, None], a - mean_a[:, None]], axis=1)
        g = hedges_g(a, b, axis=1)
        # delta method: gradients in each unit's mean of g = J d / s and of the log2 fold
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = g / difference
            pooled = (deviation**2).sum(1)
            g_slope = factor[:, None] * sides[:, None] - (g / pooled)[:, None] * deviation
            plus, minus = 1.005 * mean_a + 0.005 * mean_b, 0.005 * mean_a + 1.005 * mean_b
            by_a = (1.005 / plus - 0.005 / minus) / np.log(2) / n_a
            by_b = (0.005 / plus - 1.005 / minus) / np.log(2) / n_b
        fold_slope = np.concatenate(
            [np.repeat(by_b[:, None], n_b, 1), np.repeat(by_a[:, None], n_a, 1)], axis=1
        )
        flat = np.broadcast_to(sides[:, None], means.shape)
        within = sums / self.tokens[:, :, None]
        wins = np.stack(
            [auroc(block[self.n_reference :], block[: self.n_reference]) for block in within]
        )
        share = self.counts @ wins / n
        spread = self.counts @ wins**2 / n - share**2
        return [
            self._bounded(difference, self._error(sums, means, weight, flat)),
            self._bounded(g, self._error(sums, means, weight, g_slope)),
            self._bounded(share, np.sqrt(np.maximum(spread, 0) / max(1, n - 1)), 0.0, 1.0),
            self._bounded(log2_fold(mean_a, mean_b), self._error(sums, means, weight, fold_slope)),
        ]

    def _error(
        self, sums: np.ndarray, means: np.ndarray, weight: np.ndarray, slope: np.ndarray
    ) -> np.ndarray:
        """Standard error (1 + R, m) of a statistic with gradient ``slope`` (1 + R, S, m) in the
        units' means."""
        # infinitesimal jackknife: the sum over blocks of squared influences, over n (n - 1)
        n = len(sums)
        scaled = slope * (n / weight)[:, :, None]
        total = np.zeros((len(means), sums.shape[2]))
        for block in range(n):
            moved = sums[block] - means * self.tokens[block][:, None]
            total += self.counts[:, block, None] * np.einsum("rsm,rsm->rm", scaled, moved) ** 2
        return np.asarray(np.sqrt(total / (n * max(1, n - 1))))

    def _bounded(
        self, draws: np.ndarray, errors: np.ndarray, low: float = -np.inf, high: float = np.inf
    ) -> Effect:
        limits = symmetric_limits(draws[0], errors[0], draws[1:], errors[1:])
        return Effect(draws[0], np.clip(limits[0], low, high), np.clip(limits[1], low, high))
