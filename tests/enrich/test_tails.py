"""Log tails against scipy.stats where it does not underflow and against exact integer arithmetic
where it does."""

from __future__ import annotations

from fractions import Fraction
from math import comb, log

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from petriscope.enrich.tails import (
    benjamini_hochberg,
    homer_q,
    log_binomial_tail,
    log_fisher,
    log_hypergeometric_tail,
)


def log_fraction(value: Fraction) -> float:
    return log(value.numerator) - log(value.denominator)


def test_binomial_matches_scipy_over_the_whole_range():
    rng = np.random.default_rng(0)
    n = rng.integers(1, 5000, 4000)
    p = rng.uniform(0, 1, 4000) ** 3
    k = np.rint(n * p + rng.normal(0, 4, 4000) * np.sqrt(n * p * (1 - p))).clip(-2, n + 2)
    expected = stats.binom.logsf(k - 1, n, p)
    fine = expected > -600
    np.testing.assert_allclose(
        log_binomial_tail(k, n, p)[fine], expected[fine], rtol=1e-9, atol=1e-12
    )


def test_binomial_below_the_smallest_double():
    n, k, p = 3000, 2500, Fraction(1, 10)
    exact = sum((comb(n, x) * p**x * (1 - p) ** (n - x) for x in range(k, n + 1)), Fraction(0))
    assert log_binomial_tail(k, n, 0.1) == pytest.approx(log_fraction(exact), rel=1e-10)


def test_edges_of_the_support():
    np.testing.assert_array_equal(
        log_binomial_tail([0, 6, 5, 5, 1], 5, [0.5, 0.5, 1.0, 0.0, 0.0]),
        [0, -np.inf, 0, -np.inf, -np.inf],
    )
    np.testing.assert_array_equal(
        log_hypergeometric_tail([0, 4, 3, 2], 10, [3, 3, 3, 9], [5, 5, 2, 3]),
        [0, -np.inf, -np.inf, 0],
    )


def test_hypergeometric_matches_scipy():
    rng = np.random.default_rng(1)
    population = rng.integers(1, 20000, 4000)
    marked = rng.integers(0, population + 1)
    drawn = rng.integers(0, population + 1)
    mean = marked * drawn / population
    k = np.rint(mean + rng.normal(0, 3, 4000) * np.sqrt(mean + 1))
    expected = stats.hypergeom.logsf(k - 1, population, marked, drawn)
    fine = expected > -600
    np.testing.assert_allclose(
        log_hypergeometric_tail(k, population, marked, drawn)[fine],
        expected[fine],
        rtol=1e-8,
        atol=1e-11,
    )


def test_hypergeometric_below_the_smallest_double():
    population, marked, drawn, k = 20000, 4000, 2000, 1500
    exact = Fraction(
        sum(comb(marked, x) * comb(population - marked, drawn - x) for x in range(k, drawn + 1)),
        comb(population, drawn),
    )
    assert log_hypergeometric_tail(k, population, marked, drawn) == pytest.approx(
        log_fraction(exact), rel=1e-10
    )


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_fisher_matches_scipy(alternative):
    rng = np.random.default_rng(2)
    tables = np.concatenate([rng.integers(0, 15, (300, 4)), rng.integers(0, 400, (150, 4))])
    tables = tables[(tables[:, :2].sum(1) > 0) & (tables[:, 2:].sum(1) > 0)]
    a, b, c, d = tables.T
    ours = np.exp(log_fisher(a, a + b + c + d, a + c, a + b, alternative=alternative))
    scipy = [stats.fisher_exact([[w, x], [y, z]], alternative)[1] for w, x, y, z in tables]
    np.testing.assert_allclose(ours, scipy, rtol=1e-10, atol=1e-14)


def test_benjamini_hochberg_matches_statsmodels():
    p = np.random.default_rng(3).uniform(0, 1, (20, 7)) ** 4
    p[3, 3] = np.nan
    q = benjamini_hochberg(np.log(p))
    np.testing.assert_allclose(
        q[~np.isnan(p)], multipletests(p[~np.isnan(p)], method="fdr_bh")[1], rtol=1e-12
    )
    assert np.isnan(q[3, 3])
    np.testing.assert_allclose(benjamini_hochberg(np.array([-5000.0, -1.0])), [0, np.exp(-1.0)])


def test_homer_q_by_hand():
    q = homer_q(np.log([0.01, 0.02, 0.02, 0.9]))
    np.testing.assert_allclose(q, [0.04, 0.04, 0.04, 0.9])
    np.testing.assert_allclose(homer_q(np.log([0.03, 0.031])), [0.06, 0.06])
