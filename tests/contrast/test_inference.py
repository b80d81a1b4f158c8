"""Reference: scipy's Welch test and t, limma's fitFDist/squeezeVar (values of its port InMoose
0.9.1, to 1e-12)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from petriscope.contrast.inference import (
    conjunction,
    fit_prior,
    moderated,
    normal_score,
    one_sample,
    pool,
    squeeze,
    stouffer,
    trigamma_inverse,
    welch,
)


def variances_and_covariate() -> tuple[np.ndarray, np.ndarray]:
    """40 variances with 4 degrees of freedom that fall along a covariate: the numbers given to
    InMoose's squeezeVar."""
    rng = np.random.default_rng(5)
    covariate = rng.uniform(0, 6, 40)
    variance = np.exp(1 - 0.4 * covariate) * rng.chisquare(4, 40) / 4 * (6 / rng.chisquare(6, 40))
    return np.round(variance, 8), np.round(covariate, 6)


def test_welch_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 2.0, (4, 50)), rng.normal(0.0, 0.5, (3, 50))
    ours, theirs = welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    np.testing.assert_allclose(ours.t, theirs.statistic, rtol=1e-12)
    np.testing.assert_allclose(ours.p, theirs.pvalue, rtol=1e-10)
    np.testing.assert_allclose(ours.df, theirs.df, rtol=1e-12)
    limits = theirs.confidence_interval(0.95)
    np.testing.assert_allclose(ours.interval(), (limits.low, limits.high), rtol=1e-10)


def test_one_sample_equals_scipy_and_skips_missing_units() -> None:
    values = np.random.default_rng(1).normal(0.2, 1.0, (30, 20))
    values[3, 5] = np.nan
    theirs = stats.ttest_1samp(values, 0.0, nan_policy="omit")
    np.testing.assert_allclose(one_sample(values).t, theirs.statistic, rtol=1e-12)
    np.testing.assert_allclose(one_sample(values).p, theirs.pvalue, rtol=1e-10)


def test_prior_equals_limma() -> None:
    variance, _ = variances_and_covariate()
    prior = fit_prior(variance, 4)
    assert prior.df == pytest.approx(2.9531064940591567, rel=1e-12)
    np.testing.assert_allclose(prior.variance, 0.595555943744983, rtol=1e-12)
    expected = [0.43025994893145186, 0.2734669239818868, 0.576786207499545, 1.0237071575317485]
    np.testing.assert_allclose(squeeze(variance, 4, prior)[:4], expected, rtol=1e-12)


def test_prior_with_trend_equals_limma() -> None:
    variance, covariate = variances_and_covariate()
    prior = fit_prior(variance, 4, covariate)
    assert prior.df == pytest.approx(15.123624484156723, rel=1e-10)
    expected = [0.3010934056991101, 0.2996961868900819, 0.6588844307552936, 1.5329099450100032]
    np.testing.assert_allclose(prior.variance[:4], expected, rtol=1e-10)
    expected = [0.3025852514121022, 0.2444723338785749, 0.6388138670742739, 1.4925182807269095]
    np.testing.assert_allclose(squeeze(variance, 4, prior)[:4], expected, rtol=1e-10)


def test_prior_is_infinite_where_variances_differ_by_chance_alone() -> None:
    variance = np.random.default_rng(2).chisquare(4, 5000) / 4
    prior = fit_prior(np.sort(variance)[1000:4000], 4)
    assert np.isinf(prior.df)
    np.testing.assert_array_equal(squeeze(variance[:3000], 4, prior), prior.variance)


def test_prior_recovers_its_parameters() -> None:
    rng = np.random.default_rng(3)
    variance = 2.0 * (8 / rng.chisquare(8, 60_000)) * rng.chisquare(4, 60_000) / 4
    prior = fit_prior(variance, 4)
    assert prior.df == pytest.approx(8, rel=0.05)
    assert prior.variance[0] == pytest.approx(2.0, rel=0.02)


def test_moderated_is_uniform_under_its_model() -> None:
    rng = np.random.default_rng(4)
    sigma = np.sqrt(6 / rng.chisquare(6, 20_000))
    test = moderated(rng.normal(size=(3, 20_000)) * sigma, rng.normal(size=(3, 20_000)) * sigma)
    assert abs((test.p < 0.05).mean() - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 20_000)
    assert stats.kstest(test.p, "uniform").pvalue > 0.01


def test_trigamma_inverse() -> None:
    for x in (1e-8, 1e-3, 0.4, 1.0, 7.0, 1e9):
        assert special.polygamma(1, trigamma_inverse(x)) == pytest.approx(
            x, rel=1e-4 if x > 1e7 else 1e-6
        )


def test_combinations_equal_scipy() -> None:
    rng = np.random.default_rng(6)
    t, df = rng.normal(size=(3, 10)) * 3, 4.0
    z = normal_score(t, df)
    np.testing.assert_allclose(stats.norm.sf(np.abs(z)), stats.t.sf(np.abs(t), df), rtol=1e-10)
    one_sided = stats.t.sf(t, df)
    for column in range(10):
        combined = stats.combine_pvalues(one_sided[:, column], method="stouffer")
        assert stouffer(z)[column] == pytest.approx(combined.statistic, rel=1e-10)
    p = rng.uniform(size=(3, 10))
    np.testing.assert_array_equal(conjunction(p), p.max(0))


def test_stouffer_accounts_for_dependence() -> None:
    z = np.array([[2.0], [2.0]])
    same = np.ones((1, 2, 2))
    assert stouffer(z, same)[0] == pytest.approx(2.0)
    assert stouffer(z)[0] == pytest.approx(2 * np.sqrt(2))


def test_pool_of_one_group_is_that_test_and_two_are_satterthwaite() -> None:
    rng = np.random.default_rng(7)
    first, second = (welch(rng.normal(size=(4, 5)), rng.normal(size=(5, 5))) for _ in range(2))
    np.testing.assert_allclose(pool([first]).p, first.p)
    both = pool([first, second])
    np.testing.assert_allclose(both.estimate, (first.estimate + second.estimate) / 2)
    expected = (first.error**2 + second.error**2) ** 2 / (
        first.error**4 / first.df + second.error**4 / second.df
    )
    np.testing.assert_allclose(both.df, expected)


def test_constant_features_have_no_difference_and_differences_without_variation_have_no_t() -> None:
    a, b = np.zeros((3, 2)), np.zeros((3, 2))
    a[:, 1] = 1.0
    test = welch(a, b)
    assert test.p[0] == 1.0
    assert test.t[0] == 0.0
    assert np.isnan(test.t[1])
    assert np.isnan(test.p[1])


def test_extreme_t_never_gives_p_of_zero_score() -> None:
    z = normal_score(np.array([1e6, -1e6]), 1e5)
    assert np.isfinite(z).all()
    assert z[0] == -z[1] > 30
