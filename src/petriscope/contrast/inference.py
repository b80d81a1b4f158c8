"""Tests are made over many features at once: Welch's and the moderated t (limma), permutation and
sign-flip nulls in matrix form (exact or Monte Carlo p, Westfall-Young maxT), and how strata are
combined."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import special

EXPANDED_FROM, EXPANDED_TO = 1000, 6.0
"""Degrees of freedom, and largest |t|, where Hill's expansion is as exact as the incomplete beta
function."""


class TTest(NamedTuple):
    """One test per feature; all arrays (m,)."""

    estimate: np.ndarray
    """mean of side a minus mean of side b."""
    error: np.ndarray
    """standard error of the estimate."""
    df: np.ndarray
    t: np.ndarray
    p: np.ndarray
    """two-sided."""

    def z(self) -> np.ndarray:
        """Signed normal scores with the same tail probability as t."""
        return normal_score(self.t, self.df)

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper confidence limits of the estimate."""
        half = special.stdtrit(self.df, 0.5 + level / 2) * self.error
        return self.estimate - half, self.estimate + half


class Prior(NamedTuple):
    """Scaled inverse-chi-square prior of the variances (Smyth 2004)."""

    df: float
    """prior degrees of freedom d0; infinity where variances differ no more than chance."""
    variance: np.ndarray
    """(m,) prior variance s0², constant unless a covariate was given."""


class Priors(NamedTuple):
    """A prior for each of k sets of variances: `Prior` without a covariate."""

    df: np.ndarray
    """(k,)"""
    variance: np.ndarray
    """(k, m)"""


def p_two_sided(t: np.ndarray, df: np.ndarray | float) -> np.ndarray:
    """Two-sided p of Student's t (normal where df is infinite)."""
    normal, tail = np.isinf(df), -np.abs(t)
    if not np.any(normal):  # the other is not computed: it is most of the work of a large family
        return 2 * special.stdtr(df, tail)
    return np.where(normal, 2 * special.ndtr(tail), 2 * special.stdtr(df, tail))


def p_of_many(t: np.ndarray, df: np.ndarray) -> np.ndarray:
    """`p_two_sided` of a large family, to a relative 1e-13, in a third of the time: by the normal
    deviate that has the same tail, where df and t let its expansion be that exact.

    Source: Hill 1970, Communications of the ACM 13, 617 (algorithm 395).
    """
    df = np.broadcast_to(df, t.shape)
    near = (df >= EXPANDED_FROM) & (np.abs(t) <= EXPANDED_TO) & np.isfinite(df)
    with np.errstate(invalid="ignore"):  # where it is not taken
        a = df - 0.5
        b = 48 * a**2
        y = a * np.log1p(t**2 / df)
        more = (((-0.4 * y - 3.3) * y - 24) * y - 85.5) / (0.8 * y**2 + 100 + b)
        p = 2 * special.ndtr(-((more + y + 3) / b + 1) * np.sqrt(y))
    far = ~near
    p[far] = p_two_sided(t[far], df[far])
    return p


def normal_score(t: np.ndarray, df: np.ndarray | float) -> np.ndarray:
    """The z with the tail probability of t at df; finite for every finite t."""
    tail = np.maximum(p_two_sided(t, df) / 2, np.finfo(float).tiny)
    return -np.sign(t) * special.ndtri(tail)


def t_test(
    estimate: np.ndarray,
    error: np.ndarray,
    df: np.ndarray,
    tail: Callable[[np.ndarray, np.ndarray], np.ndarray] = p_two_sided,
) -> TTest:
    """t and p of estimates (m,) with their errors and degrees of freedom; ``tail`` makes p.

    A feature that is the same number in every unit shows no difference: t = 0, p = 1. A difference
    with no variation around it has no t: NaN.
    """
    constant = (error == 0) & (estimate == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(constant, 0.0, np.where(error > 0, estimate / error, np.nan))
    df = np.where(constant & ~np.isfinite(df), 1.0, df)
    return TTest(estimate, error, df, t, tail(t, df))


def log_mean(mean: np.ndarray) -> np.ndarray:
    """Log of mean activation (m,), silent features at the smallest value there is: the axis of
    variance trends."""
    floor = mean[mean > 0].min() if (mean > 0).any() else 1.0
    return np.log(np.maximum(mean, floor))


def welch(a: np.ndarray, b: np.ndarray) -> TTest:
    """Welch's t of rows of ``a`` (n_a, m) against ``b`` (n_b, m); NaN where both sides are
    constant.

    Source: Welch 1947; equals `scipy.stats.ttest_ind(a, b, equal_var=False)`.
    """
    part_a, part_b = a.var(0, ddof=1) / len(a), b.var(0, ddof=1) / len(b)
    squared = part_a + part_b
    with np.errstate(divide="ignore", invalid="ignore"):
        df = squared**2 / (part_a**2 / (len(a) - 1) + part_b**2 / (len(b) - 1))
    return t_test(a.mean(0) - b.mean(0), np.sqrt(squared), df)


def one_sample(values: np.ndarray) -> TTest:
    """t of the mean of ``values`` (n, m) against zero; rows with NaN are left out feature by
    feature."""
    n = np.isfinite(values).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.nansum(values, axis=0) / n
        variance = np.nansum((values - mean) ** 2, axis=0) / (n - 1)
        return t_test(mean, np.sqrt(variance / n), (n - 1).astype(float))


def moderated(a: np.ndarray, b: np.ndarray, covariate: np.ndarray | None = None) -> TTest:
    """Empirical-Bayes moderated t of rows of ``a`` (n_a, m) against ``b`` (n_b, m).

    The pooled variance of each feature is shrunk to a prior estimated from all features, along
    ``covariate`` (m,) where given (limma-trend). Degrees of freedom are d0 + n_a + n_b - 2, at most
    the sum over features. Source: Smyth 2004, eq. 3-10; limma `eBayes`.
    """
    residual = len(a) + len(b) - 2
    variance = (a.var(0) * len(a) + b.var(0) * len(b)) / residual
    prior = fit_prior(variance, residual, covariate)
    posterior = squeeze(variance, residual, prior)
    df = min(prior.df + residual, residual * float(len(variance)))
    error = np.sqrt(posterior * (1 / len(a) + 1 / len(b)))
    return t_test(a.mean(0) - b.mean(0), error, np.full(len(variance), df))


def moderated_one_sample(values: np.ndarray, covariate: np.ndarray | None = None) -> TTest:
    """Empirical-Bayes moderated t of the mean of ``values`` (n, m) against zero, variances shrunk
    as in `moderated` on d0 + n - 1 degrees of freedom. Source: Smyth 2004, eq. 3-10; limma `eBayes`
    of paired differences."""
    n = len(values)
    variance = values.var(0, ddof=1)
    prior = fit_prior(variance, n - 1, covariate)
    df = min(prior.df + n - 1, (n - 1) * float(len(variance)))
    error = np.sqrt(squeeze(variance, n - 1, prior) / n)
    return t_test(values.mean(0), error, np.full(len(variance), df))


def squeeze(variance: np.ndarray, df: float, prior: Prior) -> np.ndarray:
    """Posterior variances (limma `squeezeVar`): the mean of own and prior variance, weighted by
    degrees of freedom."""
    if np.isinf(prior.df):
        return np.array(prior.variance)
    return (df * variance + prior.df * prior.variance) / (df + prior.df)


def squeezed(variance: np.ndarray, df: np.ndarray, priors: Priors) -> np.ndarray:
    """`squeeze` of every row of variances (k, m), priors as of `fit_priors`."""
    d0 = priors.df[:, None]
    finite = np.where(np.isinf(d0), 0.0, d0)
    mean = (df[:, None] * variance + finite * priors.variance) / (df[:, None] + finite)
    return np.where(np.isinf(d0), priors.variance, mean)


def fit_prior(variance: np.ndarray, df: float, covariate: np.ndarray | None = None) -> Prior:
    """Moment estimates of d0 and s0² from variances (m,) with ``df`` degrees of freedom each.

    With a covariate, log s0² follows a natural spline in it. Source: Smyth 2004, section 6.2; limma
    `fitFDist`.
    """
    usable = np.isfinite(variance) & (variance >= 0)
    if covariate is not None:
        usable &= np.isfinite(covariate)
    known = variance[usable]
    if len(known) == 0 or np.median(known) == 0:
        return Prior(0.0, np.zeros(len(variance)))
    if len(known) == 1:
        return Prior(0.0, np.full(len(variance), known[0]))
    known = np.maximum(known, 1e-5 * np.median(known))
    e = np.log(known) - special.digamma(df / 2) + np.log(df / 2)
    if covariate is None:
        fitted: np.ndarray = np.full(len(variance), e.mean())
        spread = e.var(ddof=1)
    else:
        width = min(
            4, len(np.unique(covariate[usable])), 1 + (len(e) >= 3) + (len(e) >= 6) + (len(e) >= 30)
        )
        basis = natural_spline_basis(
            covariate[usable], np.where(np.isfinite(covariate), covariate, 0.0), width
        )
        coefficients, _, rank, _ = np.linalg.lstsq(basis.fitted, e, rcond=None)
        fitted = basis.evaluated @ coefficients
        spread = ((e - basis.fitted @ coefficients) ** 2).sum() / max(1, len(e) - rank)
    excess = spread - special.polygamma(1, df / 2)
    if excess <= 0:
        return Prior(np.inf, np.exp(fitted))
    d0 = 2 * float(trigamma_inverse(float(excess)))
    return Prior(d0, np.exp(fitted + special.digamma(d0 / 2) - np.log(d0 / 2)))


def fit_priors(variance: np.ndarray, df: np.ndarray) -> Priors:
    """`fit_prior` of every row of variances (k, m) with ``df`` (k,) degrees of freedom, at
    once."""
    middle = np.median(variance, axis=1, keepdims=True) if variance.size else np.zeros((len(df), 1))
    plain = (np.isfinite(variance) & (variance >= 0)).all(1) & (middle[:, 0] > 0)
    plain &= variance.shape[1] > 1
    found = Priors(np.zeros(len(df)), np.zeros_like(variance))
    for row in np.flatnonzero(~plain):
        found.df[row], found.variance[row] = fit_prior(variance[row], float(df[row]))
    half = df[plain] / 2
    known = np.maximum(variance[plain], 1e-5 * middle[plain])
    e = np.log(known) - special.digamma(half)[:, None] + np.log(half)[:, None]
    excess = e.var(1, ddof=1) - special.polygamma(1, half)
    vary = excess > 0
    d0 = np.full(len(half), np.inf)
    d0[vary] = 2 * trigamma_inverse(excess[vary])
    fitted = e.mean(1)
    fitted[vary] += special.digamma(d0[vary] / 2) - np.log(d0[vary] / 2)
    found.df[plain], found.variance[plain] = d0, np.exp(fitted)[:, None]
    return found


def trigamma_inverse(x: np.ndarray | float) -> np.ndarray:
    """y with trigamma(y) = x > 0, by Newton's iteration on 1/trigamma (Smyth 2004, appendix), each
    of an array until it is steady."""
    shape = np.shape(x)
    x = np.atleast_1d(np.asarray(x, np.float64))
    y = 0.5 + 1 / x
    left = (x <= 1e7) & (x >= 1e-6)
    for _ in range(50):
        value = special.polygamma(1, y[left])
        step = value * (1 - value / x[left]) / special.polygamma(2, y[left])
        y[left] += step
        left[left] = -step / y[left] >= 1e-12
        if not left.any():
            break
    return np.where(x > 1e7, 1 / np.sqrt(x), np.where(x < 1e-6, 1 / x, y)).reshape(shape)


def pool(tests: Sequence[TTest]) -> TTest:
    """The mean of independent estimates, with Satterthwaite's degrees of freedom (t and p of that
    mean)."""
    squared = np.stack([test.error**2 for test in tests])
    df = np.stack([test.df for test in tests])
    with np.errstate(divide="ignore", invalid="ignore"):
        joint = squared.sum(0) ** 2 / (squared**2 / df).sum(0)
    estimate = np.mean([test.estimate for test in tests], axis=0)
    return t_test(estimate, np.sqrt(squared.sum(0)) / len(tests), joint)


def stouffer(z: np.ndarray, correlation: np.ndarray | None = None) -> np.ndarray:
    """Signed Stouffer score of z (L, m): sum over strata divided by its standard deviation.

    ``correlation`` (m, L, L): between the strata's scores, where they share units (blocks);
    independent without it. Source: Stouffer 1949; Strube 1985 for dependent scores.
    """
    total = z.sum(0)
    if correlation is None:
        return total / np.sqrt(len(z))
    return total / np.sqrt(np.maximum(correlation.sum((1, 2)), np.finfo(float).eps))


def conjunction(p: np.ndarray) -> np.ndarray:
    """(m,) largest p over the strata of p (L, m): small only where every stratum shows the
    difference."""
    return p.max(0)


def union(p: np.ndarray) -> np.ndarray:
    """(m,) smallest p over the strata of p (L, m), Šidák-corrected: small where any stratum shows
    a difference.

    Exact for independent strata; conservative for two-sided t's that share a variance (Šidák
    1967).
    """
    least = np.minimum(p.min(0), 1 - np.finfo(float).eps)
    return np.asarray(-np.expm1(len(p) * np.log1p(-least)))


class SplineBasis(NamedTuple):
    """A basis with intercept; columns span the same space as `ns(x, df, intercept=TRUE)`."""

    fitted: np.ndarray
    """(n, width) at the points the knots come from."""
    evaluated: np.ndarray
    """(m, width) at the points asked for; linear beyond the boundary knots."""


def natural_spline_basis(x: np.ndarray, at: np.ndarray, width: int) -> SplineBasis:
    """Natural cubic spline basis with ``width`` columns, inner knots at quantiles of ``x`` (n,),
    evaluated ``at`` (m,).

    Truncated-power form (Hastie, Tibshirani, Friedman 2009, eq. 5.4-5.5) on x scaled to [0, 1].
    """
    low, high = float(x.min()), float(x.max())
    scale = (high - low) or 1.0
    knots = (np.quantile(x, np.linspace(0, 1, width)) - low) / scale if width > 1 else np.zeros(1)

    def columns(values: np.ndarray) -> np.ndarray:
        u = (values - low) / scale
        if width == 1:
            return np.ones((len(u), 1))

        def d(k: int) -> np.ndarray:
            gap = knots[-1] - knots[k]
            if gap == 0:
                return np.zeros(len(u))
            return (np.maximum(u - knots[k], 0) ** 3 - np.maximum(u - knots[-1], 0) ** 3) / gap

        parts = [np.ones(len(u)), u] + [d(k) - d(width - 2) for k in range(width - 2)]
        return np.stack(parts, axis=1)

    return SplineBasis(columns(x), columns(at))


ROWS = 128
"""relabellings at a time: they stay in cache, and their count fits a byte"""
TIE = 1e-5
"""relative difference below which a null statistic counts as equal to the observed one (float32
products)"""

Null = Callable[[np.ndarray], Iterator[np.ndarray]]
"""null(columns) yields float32 chunks (at most ROWS, len(columns)) of their null statistics"""


class PermutationP(NamedTuple):
    """Permutation p-values of m statistics and the null distribution of their largest."""

    p: np.ndarray
    """(m,) share of relabellings with a statistic at least as large: (b+1)/(N+1), or b/N over a
    full enumeration."""
    max_t: np.ndarray
    """(m,) Westfall-Young step-down adjusted p (family-wise error)."""
    null_max: np.ndarray
    """(N,) largest |statistic| of each relabelling: combine layers by taking the elementwise
    maximum."""
    statistic: np.ndarray
    """(m,) the observed statistic, on the scale of ``null_max``."""
    n: int
    """relabellings drawn, or enumerated."""
    exact: bool
    """every relabelling was enumerated (the observed one among them)."""


def permutation_p(observed: np.ndarray, null: Null, *, exact: bool) -> PermutationP:
    """Compare |observed| (m,) with all rows of ``null``; a feature whose observed statistic is NaN
    stays NaN.

    maxT is the step-down form: each feature is compared with the largest null statistic among
    itself and all features of smaller observed statistic; the p-values are then made monotone.
    Source: Westfall & Young 1993, algorithm 2.8; Phipson & Smyth 2010 for (b+1)/(N+1).
    """
    tested = np.flatnonzero(np.isfinite(observed))
    order = tested[np.argsort(np.abs(observed[tested]), kind="stable")]
    level = (np.abs(observed[order]) * (1 - TIE)).astype(np.float32)
    above, above_max = np.zeros(len(order), np.int64), np.zeros(len(order), np.int64)
    maxima = []
    for chunk in null(order):
        size = np.abs(chunk, out=chunk)
        above += (size >= level).view(np.uint8).sum(0, dtype=np.uint8)
        np.maximum.accumulate(size, axis=1, out=size)
        above_max += (size >= level).view(np.uint8).sum(0, dtype=np.uint8)
        maxima.append(size[:, -1].copy() if len(order) else np.zeros(len(chunk), np.float32))
    null_max = np.concatenate(maxima)
    n, extra = len(null_max), 0 if exact else 1
    p, max_t = np.full(len(observed), np.nan), np.full(len(observed), np.nan)
    p[order] = (above + extra) / (n + extra)
    max_t[order] = np.maximum.accumulate((above_max[::-1] + extra) / (n + extra))[::-1]
    return PermutationP(p, max_t, null_max, observed, n, exact)


def single_step_max_t(observed: np.ndarray, null_max: np.ndarray, *, exact: bool) -> np.ndarray:
    """Single-step maxT adjusted p of |observed| (any shape) against null maxima (N,), e.g. over
    layers."""
    ordered = np.sort(null_max)
    above = len(ordered) - np.searchsorted(ordered, np.abs(observed) * (1 - TIE), side="left")
    extra = 0 if exact else 1
    return np.where(np.isfinite(observed), (above + extra) / (len(ordered) + extra), np.nan)


def joint_max_t(parts: Sequence[PermutationP]) -> list[np.ndarray]:
    """Single-step maxT adjusted p of several sets of features as one family, e.g. all layers; one
    array per part.

    The parts must come from the same relabellings in the same order (same design, number and seed).
    """
    if len({(part.n, part.exact) for part in parts}) != 1:
        raise ValueError("the parts come from different relabellings")
    null_max = np.maximum.reduce([part.null_max for part in parts])
    return [single_step_max_t(part.statistic, null_max, exact=part.exact) for part in parts]


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, ROWS):
        yield slice(start, min(n, start + ROWS))


def signs(n: int, units: int, seed: int) -> tuple[np.ndarray, bool]:
    """(N, units) int8 sign flips and whether they are all 2^units of them (then N = 2^units <=
    n)."""
    if units < 63 and 2**units <= n:
        codes = np.arange(2**units)[:, None] >> np.arange(units)
        return (1 - 2 * (codes & 1)).astype(np.int8), True
    rng = np.random.default_rng(seed)
    return (1 - 2 * rng.integers(0, 2, (n, units), dtype=np.int8)).astype(np.int8), False


def sign_flip(units: np.ndarray, n: int, seed: int, *, studentise: bool = True) -> PermutationP:
    """Sign-flip test of the mean of ``units`` (n_units, m) against zero.

    With ``studentise`` the statistic is t. A sign flip keeps the sum of squares, so t is monotone
    in sum / sqrt(sum of squares): one matrix product gives all relabellings of all features.
    """
    scale = np.sqrt((units**2).sum(0)) if studentise else np.full(units.shape[1], float(len(units)))
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(scale > 0, units / scale, np.nan)
    flips, exact = signs(n, len(units), seed)

    def null(columns: np.ndarray) -> Iterator[np.ndarray]:
        working = scaled[:, columns].astype(np.float32)
        return (flips[rows].astype(np.float32) @ working for rows in _chunks(len(flips)))

    return permutation_p(scaled.sum(0), null, exact=exact)


def label_splits(n_reference: int, n_target: int, n: int, seed: int) -> tuple[np.ndarray, bool]:
    """(N, n_reference + n_target) bool, True = called target: every relabelling if there are at
    most n, else n drawn.

    The first row is the observed labelling (reference rows first).
    """
    total = n_reference + n_target
    observed = np.arange(total) >= n_reference
    if math.comb(total, n_target) <= n:
        rows = np.zeros((math.comb(total, n_target), total), bool)
        for row, chosen in zip(rows, combinations(range(total - 1, -1, -1), n_target)):
            row[list(chosen)] = True
        return rows, True
    rng = np.random.default_rng(seed)
    return np.concatenate([observed[None], rng.permuted(np.tile(observed, (n, 1)), axis=1)]), False


def stratified_labels(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    strata: list[tuple[np.ndarray, np.ndarray]],
    n: int,
    seed: int,
) -> PermutationP:
    """Permute labels within strata; the test statistic is the sum of the strata's scores
    over sqrt(L).

    ``strata``: (reference (n0, m), target (n1, m)) per stratum. ``statistic(a, b)`` scores a
    against b -> (m,) and is re-computed in full, prior included, on each relabelling. All
    combinations are enumerated where at most ``n`` exist.
    """
    tables, first, observed = [], [], np.zeros(strata[0][0].shape[1])
    for i, (reference, target) in enumerate(strata):
        splits, complete = label_splits(len(reference), len(target), n, seed + 1 + i)
        values = np.concatenate([reference, target])
        tables.append(np.stack([statistic(values[split], values[~split]) for split in splits]))
        first.append(0 if complete else 1)
        observed += tables[-1][0]
    sizes = [len(table) for table in tables]
    exact = not any(first) and math.prod(sizes) <= n
    if exact:
        index = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)
    else:
        rng = np.random.default_rng(seed)
        index = np.stack([rng.integers(low, size, n) for low, size in zip(first, sizes)], axis=1)
    root = math.sqrt(len(tables))

    def null(columns: np.ndarray) -> Iterator[np.ndarray]:
        working = [np.nan_to_num(table[:, columns] / root).astype(np.float32) for table in tables]
        for rows in _chunks(len(index)):
            total = working[0][index[rows, 0]]
            for i, table in enumerate(working[1:], start=1):
                total += table[index[rows, i]]
            yield total

    return permutation_p(observed / root, null, exact=exact)
