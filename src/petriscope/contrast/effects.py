"""Effect sizes: Hedges g, AUROC, log2 fold, with intervals from resampled blocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from petriscope.contrast.moments import Design, Moments


class Effect(NamedTuple):
    """An effect size per feature with its 95 % interval; all arrays (m,)."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Effects(NamedTuple):
    """Effect sizes of in vivo against in vitro. Intervals: blocks resampled, biosamples as they are."""

    difference: Effect
    """mean activation in vivo minus in vitro."""
    hedges_g: Effect
    """over per-biosample means; NaN with one biosample a side."""
    auroc: Effect
    """chance that a (block, in vivo biosample) mean exceeds one (block, in vitro biosample) mean of the same block."""
    log2_fold: Effect
    blocks: int


def hedges_correction(df: float | np.ndarray) -> np.ndarray:
    """J(df), the exact small-sample factor (Hedges 1981, eq. 6e)."""
    df = np.asarray(df, float)
    return np.exp(special.gammaln(df / 2) - 0.5 * np.log(df / 2) - special.gammaln((df - 1) / 2))


def hedges_g(a: np.ndarray, b: np.ndarray, axis: int = 0) -> np.ndarray:
    """Hedges g of ``a`` against ``b`` along ``axis``: pooled-variance d times J; NaN where there is no variance."""
    n_a, n_b = a.shape[axis], b.shape[axis]
    df = n_a + n_b - 2
    if df < 1 or min(n_a, n_b) < 1:
        return np.full(np.delete(a.shape, axis), np.nan)
    pooled = np.sqrt((a.var(axis) * n_a + b.var(axis) * n_b) / df)
    difference = a.mean(axis) - b.mean(axis)
    factor = float(hedges_correction(df)) if df > 1 else np.nan
    return np.divide(difference * factor, pooled, out=np.full(pooled.shape, np.nan), where=pooled > 0)


def hedges_g_av(after: np.ndarray, before: np.ndarray, axis: int = 0) -> np.ndarray:
    """Paired g_av: mean difference over the mean of both standard deviations, times J(n-1) (Lakens 2013, eq. 10)."""
    n = after.shape[axis]
    spread = (after.std(axis, ddof=1) + before.std(axis, ddof=1)) / 2
    difference = (after - before).mean(axis) * hedges_correction(n - 1)
    return np.divide(difference, spread, out=np.full(np.shape(spread), np.nan), where=spread > 0)


def auroc(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of rows of ``a`` (n_a, m) against ``b`` (n_b, m), ties counted half."""
    above = (a[:, None] > b[None]).mean((0, 1)) + 0.5 * (a[:, None] == b[None]).mean((0, 1))
    return np.asarray(above)


def auroc_sparse(
    indices: np.ndarray, values: np.ndarray, positive: np.ndarray, *, n_positive: int, n_negative: int, m: int
) -> np.ndarray:
    """Token-level AUROC per feature from sparse codes, ties (the many zeros among them) counted half.

    ``indices``, ``values`` (nnz,): feature and its activation > 0; ``positive`` (nnz,) bool: the token is in vivo.
    ``n_positive``, ``n_negative``: tokens of either side, silent ones included. Equals the Mann-Whitney U / (n1 n0).
    """
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
    won = np.bincount(feature, hit * (mid[run] - below[start[feature]]), m) if len(value) else np.zeros(m)
    won += ones * silent + 0.5 * (n_positive - ones) * silent
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(won / (float(n_positive) * n_negative))


def log2_fold(vivo: np.ndarray, vitro: np.ndarray) -> np.ndarray:
    """log2 of the ratio of means, each plus 1 % of their average, so that a silent side gives at most 7.7."""
    floor = 0.005 * (vivo + vitro)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(floor > 0, np.log2((vivo + floor) / (vitro + floor)), 0.0)


def bootstrap_counts(blocks: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, blocks) how often each block is drawn."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples).astype(np.float64)


def expanded_percentiles(draws: np.ndarray, units: int, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap limits of draws (R, ...) from ``units`` units, widened to the coverage of t (Hesterberg 2015, 5.3)."""
    t = special.stdtrit(units - 1, 0.5 - level / 2)
    tail = float(special.ndtr(t * np.sqrt(units / (units - 1))))
    quantile = np.quantile if np.isfinite(draws).all() else np.nanquantile
    low, high = quantile(draws, [tail, 1 - tail], axis=0)
    return low, high


def effects(
    moments: Moments, design: Design, lineage: str, *, resamples: int = 1000, seed: int = 0, chunk: int = 256
) -> Effects:
    """All effect sizes of one lineage with block-bootstrap intervals, ``chunk`` features at a time.

    Source: percentile bootstrap over blocks, expanded. Blocks without tokens of the lineage's biosamples are left out.
    """
    vitro, vivo = design.sides(lineage)
    chosen = np.concatenate([vitro, vivo])
    used = np.flatnonzero((moments.tokens[:, chosen] > 0).all(1))
    tokens = moments.tokens[np.ix_(used, chosen)].astype(np.float64)
    counts = np.concatenate([np.ones((1, len(used))), bootstrap_counts(len(used), resamples, seed)])
    weight = counts @ tokens
    n_vitro = len(vitro)
    parts: list[list[np.ndarray]] = []
    m = moments.sum.shape[2]
    for start in range(0, m, chunk):
        columns = slice(start, min(m, start + chunk))
        sums = moments.sum[used][:, chosen, columns].astype(np.float64)
        width = sums.shape[2]
        means = (counts @ sums.reshape(len(used), -1)).reshape(len(counts), len(chosen), width) / weight[:, :, None]
        a, b = means[:, n_vitro:], means[:, :n_vitro]
        within = sums / tokens[:, :, None]
        wins = np.stack([auroc(block[n_vitro:], block[:n_vitro]) for block in within])
        parts.append(
            [
                a.mean(1) - b.mean(1),
                hedges_g(a, b, axis=1),
                counts @ wins / len(used),
                log2_fold(a.mean(1), b.mean(1)),
            ]
        )
    found = []
    for draws in (np.concatenate(columns, axis=1) for columns in zip(*parts)):
        low, high = np.full((2, m), np.nan)
        known = np.isfinite(draws[0]) & (np.isfinite(draws[1:]).any(0) if len(used) > 1 else False)
        if known.any():
            low[known], high[known] = expanded_percentiles(draws[1:, known], len(used))
        found.append(Effect(draws[0], low, high))
    return Effects(found[0], found[1], found[2], found[3], len(used))
