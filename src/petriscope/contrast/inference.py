"""Two-sample tests over many features at once: Welch, moderated t (limma), and how strata are
combined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special


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


def p_two_sided(t: np.ndarray, df: np.ndarray | float) -> np.ndarray:
    """Two-sided p of Student's t (normal where df is infinite)."""
    return np.where(np.isinf(df), 2 * special.ndtr(-np.abs(t)), 2 * special.stdtr(df, -np.abs(t)))


def normal_score(t: np.ndarray, df: np.ndarray | float) -> np.ndarray:
    """The z with the tail probability of t at df; finite for every finite t."""
    tail = np.maximum(p_two_sided(t, df) / 2, np.finfo(float).tiny)
    return -np.sign(t) * special.ndtri(tail)


def t_test(estimate: np.ndarray, error: np.ndarray, df: np.ndarray) -> TTest:
    """t and p of estimates (m,) with their errors and degrees of freedom.

    A feature that is the same number in every unit shows no difference: t = 0, p = 1. A difference
    with no variation around it has no t: NaN.
    """
    constant = (error == 0) & (estimate == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(constant, 0.0, np.where(error > 0, estimate / error, np.nan))
    df = np.where(constant & ~np.isfinite(df), 1.0, df)
    return TTest(estimate, error, df, t, p_two_sided(t, df))


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


def squeeze(variance: np.ndarray, df: float, prior: Prior) -> np.ndarray:
    """Posterior variances (limma `squeezeVar`): the mean of own and prior variance, weighted by
    degrees of freedom."""
    if np.isinf(prior.df):
        return np.array(prior.variance)
    return (df * variance + prior.df * prior.variance) / (df + prior.df)


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
    d0 = 2 * trigamma_inverse(float(excess))
    return Prior(d0, np.exp(fitted + special.digamma(d0 / 2) - np.log(d0 / 2)))


def trigamma_inverse(x: float) -> float:
    """y with trigamma(y) = x > 0, by Newton's iteration on 1/trigamma (Smyth 2004, appendix)."""
    if x > 1e7:
        return 1 / np.sqrt(x)
    if x < 1e-6:
        return 1 / x
    y = 0.5 + 1 / x
    for _ in range(50):
        value = float(special.polygamma(1, y))
        step = value * (1 - value / x) / float(special.polygamma(2, y))
        y += step
        if -step / y < 1e-12:
            break
    return y


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
